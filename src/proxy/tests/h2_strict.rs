//! HTTP/2 that breaks its rules, or that HTTP/1.1 could not say: what the client is told, and what reached the instance. Each row is sent as
//! frames, with a good request behind it on the same connection.

use super::world::frames::{self as client, FrameClient, HEADERS, NEXT, Seen, WHOLE, block, frame};
use super::world::*;
use crate::proxy::limits::{H2_CONNECTION_WINDOW, H2_STREAM_WINDOW, H2_STREAMS};

mod frames;
mod heads;
mod lengths;

/// Codes of RFC 9113 §7.
const PROTOCOL: u32 = 1;
const FLOW: u32 = 3;
const CLOSED: u32 = 5;
const SIZE: u32 = 6;
const REFUSED: u32 = 7;
const CALM: u32 = 11;

/// What must come of a row, whose request is on stream 1.
#[derive(Debug, Clone)]
enum Want {
    /// This reset of the stream, not one byte at the instance, and the connection goes on.
    Reset(u32),
    /// The same for a body that breaks: its beginning may have reached the instance, but no whole request.
    Broken(u32),
    /// The same, but the request was whole by its own length before the mistake, and may have been served.
    BrokenLate(u32),
    /// The end of the connection with this code, and no request of the row at the instance.
    Ended(u32),
    /// The same, but requests of before the mistake count.
    EndedLate(u32),
    /// This status from the proxy itself; the connection goes on.
    Page(u16),
    /// One request at the instance, with this first line and body (trailers in brackets); the connection goes on.
    Reaches(&'static str, &'static str),
}

impl Want {
    /// How much of it may reach the instance, and so late that a later row meets it.
    fn leaves(&self) -> u8 {
        match self {
            Self::Reset(_) | Self::Page(_) => 0,
            Self::Reaches(..) => 1,
            Self::Broken(_) | Self::Ended(_) => 2,
            Self::BrokenLate(_) | Self::EndedLate(_) => 3,
        }
    }
}

struct Row {
    name: &'static str,
    bytes: Vec<u8>,
    want: Want,
    /// What must stand in the head that the instance got, and what must not, in any case of letters.
    with: &'static [&'static str],
    without: &'static [&'static str],
}

impl Row {
    fn new(name: &'static str, bytes: Vec<u8>, want: Want) -> Self {
        Self { name, bytes, want, with: &[], without: &[] }
    }
}

const METHOD: (&str, &[u8]) = (":method", b"GET");
const SCHEME: (&str, &[u8]) = (":scheme", b"https");
const AUTHORITY: (&str, &[u8]) = (":authority", b"shop.test");
const PATH: (&str, &[u8]) = (":path", b"/row");

/// The header block of a good GET with these fields behind.
fn get(more: &[(&str, &[u8])]) -> Vec<u8> {
    block(&[&[METHOD, SCHEME, AUTHORITY, PATH], more].concat())
}

fn post(more: &[(&str, &[u8])]) -> Vec<u8> {
    block(&[&[(":method", b"POST".as_slice()), SCHEME, AUTHORITY, PATH], more].concat())
}

/// None: as wanted.
fn judge(row: &Row, seen: &Seen, got: &[Got], raw: usize) -> Option<&'static str> {
    let of_row: Vec<&Got> = got.iter().filter(|r| !["/next ", "/after "].iter().any(|path| r.head.contains(path))).collect();
    let goes_on = seen.status.get(&NEXT) == Some(&200) && seen.goaway.is_none() && !seen.closed;
    let heads: usize = got.iter().map(|r| r.head.len()).sum();
    let nothing = of_row.is_empty() && raw == heads;
    let answer = (seen.status.get(&1).copied(), seen.resets.get(&1).copied());
    match row.want {
        Want::Reset(code) | Want::Broken(code) | Want::BrokenLate(code) if answer.1 != Some(code) => Some("no such reset"),
        Want::Page(status) if answer.0 != Some(status) => Some("another answer"),
        Want::Ended(code) | Want::EndedLate(code) if seen.goaway != Some(code) => Some("no such end of the connection"),
        Want::Ended(_) | Want::EndedLate(_) if !seen.closed => Some("the connection is not closed"),
        Want::Ended(_) | Want::Broken(_) if !of_row.is_empty() => Some("a request reached the instance"),
        Want::Reset(_) | Want::Page(_) if !nothing => Some("something of it reached the instance"),
        Want::Reset(_) | Want::Broken(_) | Want::BrokenLate(_) | Want::Page(_) | Want::Reaches(..) if !goes_on => {
            Some("the connection does not go on")
        }
        Want::Reaches(..) if answer.0 != Some(200) => Some("another answer"),
        Want::Reaches(line, body) => {
            let [only] = of_row[..] else { return Some("another number of requests") };
            let head = only.head.to_lowercase();
            let checks = [
                (only.head.lines().next() != Some(line), "another first line"),
                (only.body != body.as_bytes(), "another body"),
                (row.with.iter().any(|part| !head.contains(part)), "a part is missing"),
                (row.without.iter().any(|part| head.contains(part)), "a part is too much"),
            ];
            checks.into_iter().find_map(|(wrong, why)| wrong.then_some(why))
        }
        Want::Reset(_) | Want::Broken(_) | Want::BrokenLate(_) | Want::Page(_) | Want::Ended(_) | Want::EndedLate(_) => None,
    }
}

fn try_all(mut rows: Vec<Row>) {
    rows.sort_by_key(|row| row.want.leaves());
    let app = Instance::fixed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let world = super::h2::world_with(&app);
    let mut wrong = Vec::new();
    let count = rows.len();
    let next = block(&[METHOD, SCHEME, AUTHORITY, (":path", b"/next")]);
    for row in rows {
        let mut client = FrameClient::connect(&world);
        client.send(&[FrameClient::hello(), row.bytes.clone(), frame(HEADERS, WHOLE, NEXT, &next)].concat());
        let seen = client.see(&[1, NEXT]);
        // What was still on its way to the instance is there when another request is answered.
        world.get("/after");
        let (got, raw) = app.take();
        if let Some(why) = judge(&row, &seen, &got, raw.len()) {
            let raw = raw[..raw.len().min(600)].escape_ascii();
            wrong.push(format!("* {}: {why}\n  wanted   {:?}\n  got      {seen:?}\n  instance {raw}", row.name, row.want));
        }
    }
    assert!(wrong.is_empty(), "{} of {count} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_tables_of_frames_are_as_large_as_they_should_be() {
    let rows = || [heads::rows(), lengths::rows(), frames::rows()].into_iter().flatten();
    let malformed = rows().filter(|row| !matches!(row.want, Want::Reaches(..))).count();
    assert!(malformed >= 120, "{malformed}");
    each_once(rows().map(|row| row.name));
}

#[test]
fn heads_that_break_the_rules_of_http_2_never_reach_the_instance() {
    try_all(heads::rows());
}

#[test]
fn lengths_and_trailers_that_do_not_fit_never_make_a_whole_request() {
    try_all(lengths::rows());
}

#[test]
fn frames_that_break_the_rules_end_the_stream_or_the_connection() {
    try_all(frames::rows());
}

#[test]
fn more_than_the_window_of_a_stream_ends_it_and_nothing_of_it_reaches_the_instance() {
    let app = Instance::fixed(&ok("x"));
    let world = World::start();
    world.place(1, app.address);
    // While it is held nobody reads its body, so no window is given back.
    let held = crate::wire::proxy::Action::Hold { limit_ms: 20_000 };
    world.activate(&with_certs(routed(1, held, vec![]), vec![certificate(&["shop.test"])]));
    let fill = |stream: u32, pieces: usize| {
        let piece = frame(client::DATA, 0, stream, [b'x'; 16_384]);
        [frame(HEADERS, client::END_HEADERS, stream, post(&[])), piece.repeat(pieces)].concat()
    };
    let begin = || {
        let mut client = FrameClient::connect(&world);
        client.send(&FrameClient::hello());
        // Before the proxy has said how much it takes, the windows of the standard hold.
        assert_eq!(client.see_until(|seen| seen.window > 0).window, H2_CONNECTION_WINDOW - 65_535);
        client
    };
    let window = H2_STREAM_WINDOW as usize / 16_384;
    let mut client = begin();
    client.send(&[fill(1, window), fill(3, window + 1)].concat());
    let seen = client.see(&[3]);
    assert_eq!((seen.resets, seen.goaway), ([(3, FLOW)].into(), None), "the first one fits, and the connection goes on");
    // All streams together are the connection's.
    let mut client = begin();
    client.send(&[1, 3, 5, 7, 9].map(|stream| fill(stream, window)).concat());
    let seen = client.see(&[1]);
    // What is still on its way may meet a closed socket, so the client need not see the reason.
    assert!(seen.closed && seen.resets.is_empty() && seen.goaway.is_none_or(|code| code == FLOW), "{seen:?}");
    world.activate(&with_certs(snapshot(2, &[1], &[]), vec![certificate(&["shop.test"])]));
    assert_eq!(world.get("/after").status, 200);
    assert!(app.requests().iter().all(|got| got.head.contains("/after")), "{:?}", app.requests());
}

#[test]
fn more_streams_at_once_than_may_be_are_refused_and_the_connection_goes_on() {
    let world = World::start();
    let held = crate::wire::proxy::Action::Hold { limit_ms: 20_000 };
    world.activate(&with_certs(routed(1, held, vec![]), vec![certificate(&["shop.test"])]));
    let mut client = FrameClient::connect(&world);
    let last = 2 * H2_STREAMS + 1;
    let open: Vec<u8> = (1..=last).step_by(2).flat_map(|stream| frame(HEADERS, WHOLE, stream, get(&[]))).collect();
    client.send(&[FrameClient::hello(), open].concat());
    let seen = client.see(&[last]);
    assert_eq!((seen.resets, seen.goaway), ([(last, REFUSED)].into(), None));
}

#[test]
fn frames_on_a_stream_that_was_answered_bring_no_second_request() {
    let app = Instance::fixed(&ok("x"));
    let world = super::h2::world_with(&app);
    for late in [frame(HEADERS, WHOLE, 1, get(&[])), frame(client::DATA, client::END_STREAM, 1, "GET /evil HTTP/1.1\r\n\r\n")] {
        let mut client = FrameClient::connect(&world);
        client.send(&[FrameClient::hello(), frame(HEADERS, WHOLE, 1, get(&[]))].concat());
        assert_eq!(client.see(&[1]).status.get(&1), Some(&200));
        client.send(&late);
        let seen = client.see(&[1]);
        let told = seen.resets.get(&1).or(seen.goaway.as_ref());
        assert!(matches!(told, Some(&(PROTOCOL | CLOSED))), "{seen:?}");
        assert_eq!(app.take().0.len(), 1);
    }
}
