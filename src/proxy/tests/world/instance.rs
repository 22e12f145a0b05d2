//! Servers in the place of apps, and how they read.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What an instance got.
#[derive(Debug, Clone, Default)]
pub struct Got {
    pub head: String,
    pub body: Vec<u8>,
    pub connection: usize,
}

impl Got {
    pub fn field(&self, name: &str) -> Option<String> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|l| l.split_once(": "))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.to_owned())
    }
}

/// A server in the place of an app.
pub struct Instance {
    pub address: SocketAddr,
    pub got: Arc<Mutex<Vec<Got>>>,
    /// All that came, also what never became a whole request.
    pub raw: Arc<Mutex<Vec<u8>>>,
}

/// Remembers what is read through it.
struct Tee<R> {
    from: R,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let n = self.from.read(to)?;
        self.seen.lock().expect("seen").extend_from_slice(&to[..n]);
        Ok(n)
    }
}

impl Instance {
    /// Reads whole requests, records them, and gives each to `answer`, which writes; false ends the connection.
    pub fn start(answer: impl Fn(&Got, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let seen = Arc::clone(&got);
        let raw: Arc<Mutex<Vec<u8>>> = Arc::default();
        let all = Arc::clone(&raw);
        let address = Self::raw(move |stream, connection| {
            let mut write = stream.try_clone().expect("clone");
            let mut read = BufReader::new(Tee { from: stream, seen: Arc::clone(&all) });
            while let Some(mut request) = read_request(&mut read) {
                request.connection = connection;
                seen.lock().expect("got").push(request.clone());
                if !answer(&request, &mut write) {
                    return;
                }
            }
        });
        Self { address, got, raw }
    }

    /// Always the same bytes.
    pub fn fixed(answer: &str) -> Self {
        let answer = answer.as_bytes().to_vec();
        Self::start(move |_, to| to.write_all(&answer).is_ok())
    }

    /// Every connection as it is, with its number.
    pub fn raw(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (serve, Ok(stream)) = (Arc::clone(&serve), stream) else { return };
                std::thread::spawn(move || serve(stream, number));
            }
        });
        address
    }

    /// Takes all that was recorded so far: requests, and every byte.
    pub fn take(&self) -> (Vec<Got>, Vec<u8>) {
        (std::mem::take(&mut *self.got.lock().expect("got")), std::mem::take(&mut *self.raw.lock().expect("raw")))
    }

    pub fn requests(&self) -> Vec<Got> {
        self.got.lock().expect("got").clone()
    }
}

/// Reads one request as an app server would; None at the end of the connection.
pub fn read_request(from: &mut impl BufRead) -> Option<Got> {
    let head = read_head(from)?;
    let got = Got { head, ..Got::default() };
    let body = read_body(from, &got.head, false)?;
    Some(Got { body, ..got })
}

pub fn read_head(from: &mut impl BufRead) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if from.read_until(b'\n', &mut head).ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

pub fn head_value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).filter_map(|l| l.split_once(':')).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
}

pub fn read_body(from: &mut impl BufRead, head: &str, until_close: bool) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if head_value(head, "transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            from.read_line(&mut line).ok()?;
            let size = usize::from_str_radix(line.trim_end(), 16).ok()?;
            if size == 0 {
                break;
            }
            let begin = body.len();
            body.resize(begin + size, 0);
            from.read_exact(&mut body[begin..]).ok()?;
            from.read_line(&mut String::new()).ok()?;
        }
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            from.read_line(&mut line).ok().filter(|n| *n > 0)?;
            if line != "\r\n" {
                body.extend_from_slice(format!("[{}]", line.trim_end()).as_bytes());
            }
        }
    } else if let Some(length) = head_value(head, "content-length") {
        body.resize(length.parse().ok()?, 0);
        from.read_exact(&mut body).ok()?;
    } else if until_close {
        from.read_to_end(&mut body).ok()?;
    }
    Some(body)
}
