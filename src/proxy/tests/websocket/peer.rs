//! A strict server of WebSockets (RFC 6455) that echoes messages, and remembers every byte that it was sent.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use crate::proxy::tests::world::{Instance, PATIENCE, read_head};

/// What the server saw of one connection.
#[derive(Debug, PartialEq, Eq)]
pub struct PeerSaw {
    /// The lines of the request that belong to WebSockets, in their order.
    pub asked: Vec<String>,
    /// All that came behind the request.
    pub bytes: Vec<u8>,
    /// The other side ended properly.
    pub ended: bool,
}

/// Lines of a head that belong to WebSockets.
pub fn websocket_lines(head: &str) -> Vec<String> {
    head.lines().map(str::to_ascii_lowercase).filter(|line| line.starts_with("sec-websocket-")).collect()
}

pub struct Peer {
    pub address: SocketAddr,
    saw: Receiver<PeerSaw>,
}

impl Peer {
    pub fn start() -> Self {
        let (told, saw) = channel();
        let told = Mutex::new(told);
        let address = Instance::raw(move |stream, _| {
            let saw = serve(&stream);
            told.lock().expect("told").send(saw).expect("someone listens");
        });
        Self { address, saw }
    }

    /// Of the connection that ended next.
    #[track_caller]
    pub fn saw(&self) -> PeerSaw {
        self.saw.recv_timeout(PATIENCE).expect("the connection ends at the server too")
    }
}

/// Remembers what is read through it.
struct Tee<'a> {
    from: BufReader<&'a TcpStream>,
    seen: Vec<u8>,
}

impl Read for Tee<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let n = self.from.read(to)?;
        self.seen.extend_from_slice(&to[..n]);
        Ok(n)
    }
}

fn serve(stream: &TcpStream) -> PeerSaw {
    stream.set_nodelay(true).expect("nodelay");
    let mut from = BufReader::new(stream);
    let head = read_head(&mut from).unwrap_or_default();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut from = Tee { from, seen: Vec::new() };
    let ended = converse(stream, &mut from, &head, &path).is_ok();
    PeerSaw { asked: websocket_lines(&head), bytes: from.seen, ended }
}

/// To the end of the other side's bytes.
fn converse(mut to: &TcpStream, from: &mut Tee<'_>, head: &str, path: &str) -> std::io::Result<()> {
    let switch = |more: &str| {
        let fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        format!("HTTP/1.1 101 Switching Protocols\r\n{fields}{more}\r\n").into_bytes()
    };
    match path {
        "/refuses" => to.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")?,
        "/version" => {
            to.write_all(b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n")?;
        }
        // The first frames come with the head of the answer.
        "/greets" => to.write_all(&[switch(""), vec![0x81, 2, b'h', b'i', 0x89, 0]].concat())?,
        // Half of the first frame does.
        "/greets-in-parts" => {
            to.write_all(&[switch(""), vec![0x82, 126, 1]].concat())?;
            to.write_all(&[vec![0], vec![b'x'; 256]].concat())?;
        }
        "/protocol" => to.write_all(&switch("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: x-made; a=b\r\n"))?,
        // Closes first, and waits for the answer.
        "/closes" => to.write_all(&[switch(""), close(1001)].concat())?,
        // Ends without a word.
        "/drops" => {
            to.write_all(&[switch(""), vec![0x81, 5, b'h']].concat())?;
            to.shutdown(Shutdown::Write)?;
        }
        _ => to.write_all(&switch(""))?,
    }
    if !head.to_ascii_lowercase().contains("upgrade: websocket") || matches!(path, "/refuses" | "/version") {
        to.shutdown(Shutdown::Write)?;
    } else if let Err(code) = echo(to, from)? {
        to.write_all(&code.map_or_else(Vec::new, close))?;
        to.shutdown(Shutdown::Write)?;
    }
    // Whatever still comes is seen, so that what is seen does not depend on the moment.
    std::io::copy(from, &mut std::io::sink()).map(drop)
}

fn close(code: u16) -> Vec<u8> {
    [&[0x88, 2][..], &code.to_be_bytes()].concat()
}

/// The code of the close frame that is owed, if any.
type Close = Option<u16>;

/// Echoes until the end: of the bytes (no error, or the close that is owed), or by a rule.
fn echo(mut to: &TcpStream, from: &mut Tee<'_>) -> std::io::Result<Result<(), Close>> {
    let mut message: Option<(u8, Vec<u8>)> = None;
    loop {
        let frame = match read(from) {
            Ok(frame) => frame,
            Err(Broken::Rule) => return Ok(Err(Some(1002))),
            Err(Broken::End) => return Ok(Err(None)),
        };
        match (frame.opcode, &mut message) {
            (8, _) => return Ok(Err(owed(&frame.payload))),
            (9, _) => to.write_all(&server_frame(10, &frame.payload))?,
            (10, _) => {}
            (0, Some((_, so_far))) => so_far.extend_from_slice(&frame.payload),
            (1 | 2, None) => message = Some((frame.opcode, frame.payload)),
            // A continuation of nothing, or a message inside another.
            _ => return Ok(Err(Some(1002))),
        }
        if frame.opcode < 8
            && frame.last
            && let Some((opcode, whole)) = message.take()
        {
            if opcode == 1 && std::str::from_utf8(&whole).is_err() {
                return Ok(Err(Some(1007)));
            }
            to.write_all(&server_frame(opcode, &whole))?;
        }
    }
}

/// The answer to a close frame (RFC 6455 §7.4).
fn owed(payload: &[u8]) -> Close {
    match payload {
        [] => Some(1000),
        [high, low, reason @ ..] => match u16::from_be_bytes([*high, *low]) {
            code @ (1000..=1003 | 1007..=1011 | 3000..=4999) if std::str::from_utf8(reason).is_ok() => Some(code),
            1000..=1003 | 1007..=1011 | 3000..=4999 => Some(1007),
            _ => Some(1002),
        },
        [_] => Some(1002),
    }
}

fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    [super::cases::head(0x80 | opcode, 0, payload.len()), payload.to_vec()].concat()
}

struct Frame {
    last: bool,
    opcode: u8,
    payload: Vec<u8>,
}

enum Broken {
    Rule,
    End,
}

fn read(from: &mut impl Read) -> Result<Frame, Broken> {
    let mut bytes = |n: usize| {
        let mut bytes = vec![0; n];
        from.read_exact(&mut bytes).map(|()| bytes).map_err(|_| Broken::End)
    };
    let start = bytes(2)?;
    let (last, opcode, short) = (start[0] & 0x80 != 0, start[0] & 0x0f, start[1] & 0x7f);
    if start[0] & 0x70 != 0 || start[1] & 0x80 == 0 || !matches!(opcode, 0..=2 | 8..=10) {
        return Err(Broken::Rule);
    }
    if opcode >= 8 && (!last || short > 125) {
        return Err(Broken::Rule);
    }
    let (length, least) = match short {
        126 => (bytes(2)?.iter().fold(0, |sum, b| sum << 8 | u64::from(*b)), 126),
        127 => (bytes(8)?.iter().fold(0, |sum, b| sum << 8 | u64::from(*b)), 65_536),
        short => (u64::from(short), 0),
    };
    // The shortest form, and no more than the cases have.
    if length < least || length > 1 << 24 {
        return Err(Broken::Rule);
    }
    let mask = bytes(4)?;
    let mut payload = bytes(length as usize)?;
    payload.iter_mut().enumerate().for_each(|(n, b)| *b ^= mask[n % 4]);
    Ok(Frame { last, opcode, payload })
}
