//! A client of HTTP/2 that writes frames as bytes, whatever they say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::{Offer, TlsClient, World};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITISED: u8 = 0x20;
/// A whole request without a body.
pub const WHOLE: u8 = END_STREAM | END_HEADERS;

/// The stream of the good request behind each row.
pub const NEXT: u32 = 101;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A length of HPACK with a prefix of seven bits and none of its own before.
fn length(out: &mut Vec<u8>, n: usize) {
    if n < 127 {
        return out.push(n as u8);
    }
    out.push(127);
    let mut rest = n - 127;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    out.push(rest as u8);
}

/// One field as a literal that is not indexed, letter by letter (RFC 7541 §6.2.2).
pub fn literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0);
    length(out, name.len());
    out.extend_from_slice(name);
    length(out, value.len());
    out.extend_from_slice(value);
}

pub fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        literal(&mut out, name.as_bytes(), value);
    }
    out
}

/// What the client saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub status: BTreeMap<u32, u16>,
    pub resets: BTreeMap<u32, u32>,
    pub ended: BTreeSet<u32>,
    /// The code of the last GOAWAY, and the last stream that it names.
    pub goaway: Option<u32>,
    pub last: Option<u32>,
    /// What the proxy added to the window of the connection.
    pub window: u32,
    /// What came in PINGs of the proxy.
    pub pings: Vec<Vec<u8>>,
    pub closed: bool,
    pub took: Duration,
}

impl Seen {
    fn over(&self, stream: u32) -> bool {
        self.ended.contains(&stream) || self.resets.contains_key(&stream)
    }
}

pub struct FrameClient(TlsClient);

impl FrameClient {
    pub fn connect(world: &World) -> Self {
        let config = Offer { alpn: &[b"h2"], ..Offer::default() }.config();
        let client = TlsClient::connect(world, "shop.test", &config);
        client.read.get_ref().sock.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        Self(client)
    }

    /// The preface, an empty table for answers (they are read without one), and the answer to the proxy's settings.
    pub fn hello() -> Vec<u8> {
        let settings = frame(SETTINGS, 0, 0, [0, 1, 0, 0, 0, 0]);
        [PREFACE, &settings, &frame(SETTINGS, ACK, 0, [])].concat()
    }

    /// False: the proxy has closed.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let to = self.0.read.get_mut();
        to.write_all(bytes).and_then(|()| to.flush()).is_ok()
    }

    /// Sends `piece` again and again until the proxy has closed, and gives how long that took. Panics if it takes it all for `patience`.
    #[track_caller]
    pub fn flood(&mut self, piece: &[u8], patience: Duration) -> Duration {
        let begun = Instant::now();
        self.0.read.get_ref().sock.set_write_timeout(Some(patience)).expect("timeout");
        while self.send(piece) {
            assert!(begun.elapsed() < patience, "the flood goes on after {patience:?}");
        }
        begun.elapsed()
    }

    /// Reads until the streams are over, or the connection is.
    pub fn see(&mut self, streams: &[u32]) -> Seen {
        self.see_until(|seen| streams.iter().all(|stream| seen.over(*stream)))
    }

    /// Reads until it has seen enough, or the connection is over.
    pub fn see_until(&mut self, enough: impl Fn(&Seen) -> bool) -> Seen {
        let (begun, mut seen) = (Instant::now(), Seen::default());
        while !enough(&seen) {
            let Some((kind, flags, stream, payload)) = self.next() else {
                seen.closed = true;
                break;
            };
            match kind {
                HEADERS => {
                    seen.status.insert(stream, status(&payload));
                }
                RST_STREAM => {
                    seen.resets.insert(stream, number(&payload));
                }
                GOAWAY => (seen.last, seen.goaway) = (Some(number(&payload)), Some(number(&payload[4..]))),
                WINDOW_UPDATE if stream == 0 => seen.window += number(&payload),
                PING if flags & ACK == 0 => seen.pings.push(payload),
                _ => {}
            }
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                seen.ended.insert(stream);
            }
        }
        seen.took = begun.elapsed();
        seen
    }

    /// None: the end. Panics if nothing comes in time, as every row has an outcome.
    fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        if let Err(error) = self.0.read.read_exact(&mut head) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "nothing came of it");
            return None;
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read.read_exact(&mut payload).ok()?;
        Some((head[3], head[4], number(&head[5..]), payload))
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(u32::MAX, |bytes| u32::from_be_bytes(*bytes))
}

/// The status at the front of a header block that knows no table but the static one (RFC 7541, Appendix A).
fn status(block: &[u8]) -> u16 {
    // Changes of the table's size may stand before it.
    let mut at = block.iter().skip_while(|b| **b & 0xe0 == 0x20).copied();
    match at.next() {
        Some(indexed @ 0x88..=0x8e) => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        // A literal with the name of entry 8, with or without a place in the table.
        Some(0x08 | 0x18 | 0x48) => {
            let length = at.next().expect("a length");
            let value: Vec<u8> = at.take(usize::from(length & 0x7f)).collect();
            let digits = if length & 0x80 == 0 { value } else { digits(&value) };
            String::from_utf8(digits).expect("digits").parse().expect("a status")
        }
        other => panic!("{other:?} is no status"),
    }
}

/// Three digits in the Huffman code of HPACK (RFC 7541, Appendix B).
fn digits(bytes: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1)).collect();
    let (mut out, mut at) = (Vec::new(), 0);
    let take = |at: &mut usize, n: usize| {
        let value = bits[*at..*at + n].iter().fold(0, |sum, bit| sum * 2 + bit);
        *at += n;
        value
    };
    while out.len() < 3 {
        out.push(match take(&mut at, 5) {
            few @ 0..=2 => b'0' + few,
            more => b'0' + (more * 2 + take(&mut at, 1)) - 0b011001 + 3,
        });
    }
    out
}
