//! What must hold for any bytes of a stranger, as functions of bytes: for the fuzz targets in tests/fuzz, and for the tests of this room.
//! Each panics if an invariant is broken. The first bytes of the data decide where the rest is cut into pieces.

use std::net::{IpAddr, Ipv4Addr};

use bytes::{BufMut, BytesMut};

use super::h1::body::{Decoder, Framing, Length};
use super::h1::head::{Declared, Fields, HeadError, HeadScan};
use super::h1::request::Request;
use super::h1::response::Response;
use super::headers::{self, Added, Ending, Provenance};
use super::routes::Table;
use crate::base::clock::UnixMillis;
use crate::wire::proxy::Snapshot;

/// Small, so that inputs reach it.
const HEAD_LIMIT: usize = 2048;

/// xorshift64*: the same numbers for the same seed.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.word() % limit as u64).unwrap_or(0)
    }
}

/// A request and its body, read whole and in pieces, and written for an instance: all agree about what it is and where it ends.
/// True: the head was a good one.
pub fn request(data: &[u8]) -> bool {
    let Some((seed, wire)) = data.split_first_chunk::<4>() else { return false };
    let numbers = Numbers::new(u64::from(u32::from_le_bytes(*seed)));
    let end = head_end(wire, &mut numbers.clone());
    let Some(end) = end else { return false };
    let mut buf = BytesMut::from(wire);
    let Ok(request) = Request::take(&mut buf, end) else { return false };
    assert_eq!(&buf[..], &wire[end..], "exactly the head was taken");
    let length = match request.body {
        Declared::Nothing => Length::None,
        Declared::Length(n) => Length::Exact(n),
        Declared::Chunked => Length::Chunked,
    };
    body(length, &wire[end..], numbers);
    // One without a name has no route and reaches nobody.
    if request.host.name.is_some() {
        rewritten(&request);
    }
    true
}

/// The same for an answer: the first byte also says to what kind of request.
pub fn response(data: &[u8]) -> bool {
    let Some((seed, wire)) = data.split_first_chunk::<4>() else { return false };
    let numbers = Numbers::new(u64::from(u32::from_le_bytes(*seed)));
    let Some(end) = head_end(wire, &mut numbers.clone()) else { return false };
    let mut buf = BytesMut::from(wire);
    let Ok(response) = Response::take(&mut buf, end) else { return false };
    let asked: &[u8] = match seed[0] % 3 {
        0 => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        1 => b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        _ => b"GET / HTTP/1.0\r\n\r\n",
    };
    let asked = Request::take(&mut BytesMut::from(asked), asked.len()).expect("a good request");
    let length = response.body(asked.is_head());
    body(length, &wire[end..], numbers);
    let mut out = BytesMut::new();
    match response.status {
        101 => headers::write_switch(&mut out, &response, b"websocket"),
        _ if response.is_interim() => headers::write_interim(&mut out, &response),
        _ => {
            let ending = Ending::of(&asked, length, false);
            headers::write_answer(&mut out, &asked, &response, ending, Added { release: None, hsts: None });
            let again = answer_again(&mut out);
            let Some(again) = again else { return true };
            let expected = match (length, ending.framing) {
                (Length::None, _) => Length::None,
                (Length::Exact(n), _) => Length::Exact(n),
                (_, Framing::Chunked) => Length::Chunked,
                (_, Framing::Plain) => Length::UntilClose,
            };
            assert_eq!(again.body(asked.is_head()), expected, "the client reads the body that we write");
            assert_eq!(again.keep_alive, !ending.close, "the client knows whether the connection goes on");
            assert_eq!((again.status, again.reason()), (response.status, response.reason()));
            return true;
        }
    }
    if let Some(again) = answer_again(&mut out) {
        assert_eq!((again.status, again.declared), (response.status, Declared::Nothing));
    }
    true
}

/// Any JSON: a table or an error, and the same one again.
pub fn snapshot(data: &[u8]) -> bool {
    let Ok(snapshot) = serde_json::from_slice::<Snapshot>(data) else { return false };
    let written = serde_json::to_vec(&snapshot).expect("what was read can be written");
    let again: Snapshot = serde_json::from_slice(&written).expect("what we wrote can be read");
    assert_eq!(again, snapshot);
    let Ok(table) = Table::build(&snapshot, &Table::default()) else { return false };
    for route in &snapshot.routes {
        assert_eq!(table.route(&route.host).map(|r| &r.app), Some(&route.app), "each route is in the table");
    }
    assert_eq!(table.targets.len(), snapshot.targets.len());
    let next = Table::build(&again, &table).expect("the same snapshot again");
    assert_eq!(next.version, Some(snapshot.version));
    true
}

/// Where the head ends, if it does and is good. Whole or in pieces makes no difference.
fn head_end(wire: &[u8], numbers: &mut Numbers) -> Option<usize> {
    let whole = HeadScan::default().scan(wire, HEAD_LIMIT);
    let mut scan = HeadScan::default();
    let mut came = 0;
    let pieces = loop {
        came = (came + 1 + numbers.below(40)).min(wire.len());
        match scan.scan(&wire[..came], HEAD_LIMIT) {
            Ok(None) if came < wire.len() => {}
            result => break result,
        }
    };
    match (whole, pieces) {
        (Ok(a), Ok(b)) => assert_eq!(a, b, "the end of the head"),
        (a, b) => assert!(a.is_err() && b.is_err(), "whole {a:?}, in pieces {b:?}"),
    }
    whole.ok().flatten()
}

#[derive(Debug, PartialEq, Eq)]
struct Read {
    good: bool,
    done: bool,
    payload: Vec<u8>,
    /// What was not taken; of a broken body nobody asks.
    left: Option<Vec<u8>>,
}

/// Reads a body in the pieces that `piece` gives, and writes it anew.
fn read(length: Length, wire: &[u8], framing: Framing, mut piece: impl FnMut() -> usize) -> Read {
    let (mut decoder, mut from, mut to) = (Decoder::new(length), BytesMut::new(), BytesMut::new());
    let (mut came, mut counted, mut good) = (0, 0, true);
    while came < wire.len() && good {
        let n = piece().clamp(1, wire.len() - came);
        from.put_slice(&wire[came..came + n]);
        came += n;
        match decoder.transfer(&mut from, &mut to, framing) {
            Ok(moved) => counted += moved,
            Err(_) => good = false,
        }
    }
    if good && framing == Framing::Plain {
        assert_eq!(counted, to.len() as u64, "the payload is counted");
    }
    Read { good, done: decoder.is_done(), payload: to.to_vec(), left: good.then(|| from.to_vec()) }
}

fn body(length: Length, wire: &[u8], mut numbers: Numbers) {
    let whole = read(length, wire, Framing::Plain, || usize::MAX);
    let pieces = read(length, wire, Framing::Plain, || 1 + numbers.below(20));
    // Where a body waits for more, how much of a line lies in the buffer is the same too.
    assert_eq!(whole, pieces, "a body whole and in pieces");
    if let (Length::Exact(n), true) = (length, whole.good) {
        assert_eq!(whole.done, whole.payload.len() as u64 == n);
    }
    let anew = read(length, wire, Framing::Chunked, || 1 + numbers.below(20));
    assert_eq!((anew.good, anew.done, &anew.left), (whole.good, whole.done, &whole.left), "in either framing");
    if length != Length::Chunked || !anew.good || !anew.done {
        return;
    }
    let reader = read(Length::Chunked, &anew.payload, Framing::Plain, || 1 + numbers.below(20));
    let expected = Read { good: true, done: true, payload: whole.payload, left: Some(Vec::new()) };
    assert_eq!(reader, expected, "what is written is the same body, and ends where it ends");
}

/// What the instance gets is one request: the same one, framed in the same way, with our own word about the client and no other.
fn rewritten(request: &Request) {
    let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let about = Provenance { client, port: 80, https: false, trusted: false, id: "id", at: UnixMillis(0) };
    let mut out = BytesMut::new();
    headers::write_request(&mut out, request, &about);
    let end = HeadScan::default().scan(&out, usize::MAX).expect("what is written is good");
    assert_eq!(end, Some(out.len()), "one head and nothing behind it");
    let again = match Request::take(&mut out, end.unwrap_or_default()) {
        // Together with ours there may be too many fields.
        Err(HeadError::TooLarge) => return,
        again => again.expect("what is written is good"),
    };
    assert_eq!((again.method(), again.target()), (request.method(), request.target()));
    assert_eq!((again.body, &again.host.raw), (request.body, &request.host.raw));
    assert_eq!((again.expects_continue, &again.upgrade), (request.expects_continue, &request.upgrade));
    once(&again.fields, "host");
    once(&again.fields, "x-forwarded-for");
    once(&again.fields, "x-request-id");
    assert_eq!(again.fields.first("x-forwarded-for"), Some(b"192.0.2.1".as_slice()));
}

#[track_caller]
fn once(fields: &Fields, name: &str) {
    let dashed =
        |n: &[u8]| n.iter().map(|b| if b.is_ascii_alphanumeric() { b.to_ascii_lowercase() } else { b'-' }).collect::<Vec<_>>();
    let times = fields.iter().filter(|(n, _)| dashed(n) == name.as_bytes()).count();
    assert_eq!(times, 1, "{name} stands once, in whatever spelling");
}

/// Reads the head that was written for a client. None: with our fields there are too many.
fn answer_again(out: &mut BytesMut) -> Option<Response> {
    let end = HeadScan::default().scan(out, usize::MAX).expect("what is written is good");
    assert_eq!(end, Some(out.len()), "one head and nothing behind it");
    match Response::take(out, end.unwrap_or_default()) {
        Err(HeadError::TooLarge) => None,
        again => Some(again.expect("what is written is good")),
    }
}
