//! Content-Length against what comes, and what stands behind a body.

use super::client::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, WHOLE, block, frame};
use super::{PROTOCOL, Row, Want, get, post};

const LINE: &str = "POST /row HTTP/1.1";
const RESET: Want = Want::Reset(PROTOCOL);
const BROKEN: Want = Want::Broken(PROTOCOL);

type Pieces = &'static [&'static [u8]];
type Fields = &'static [(&'static str, &'static [u8])];

/// The values of Content-Length, the pieces of DATA (the last one ends the stream; none: the head does), and what comes of it.
const LENGTHS: &[(&str, Pieces, Pieces, Want)] = &[
    ("a length without a body", &[b"5"], &[], RESET),
    ("more than its length", &[b"3"], &[b"four"], BROKEN),
    ("less than its length", &[b"5"], &[b"four"], BROKEN),
    ("more than its length in the second piece", &[b"5"], &[b"four", b"four"], BROKEN),
    ("less than its length in two pieces", &[b"9"], &[b"four", b"four"], BROKEN),
    ("a body and a length of 0", &[b"0"], &[b"x"], Want::BrokenLate(PROTOCOL)),
    ("a request behind its length", &[b"1"], &[b"xGET /evil HTTP/1.1\r\nHost: shop.test\r\n\r\n"], BROKEN),
    ("the same length twice", &[b"4", b"4"], &[b"four"], Want::Page(400)),
    ("two lengths", &[b"4", b"5"], &[b"four"], BROKEN),
    ("a list of lengths", &[b"4, 4"], &[b"four"], BROKEN),
    ("a length with plus", &[b"+4"], &[b"four"], BROKEN),
    ("a length with minus", &[b"-4"], &[b"four"], BROKEN),
    ("a length in hex", &[b"0x4"], &[b"four"], BROKEN),
    ("an empty length", &[b""], &[b"four"], BROKEN),
    ("a length of letters", &[b"four"], &[b"four"], BROKEN),
    ("a length with a space inside", &[b"4 0"], &[b"four"], BROKEN),
    ("a length with a space behind", &[b"4 "], &[b"four"], BROKEN),
    ("a length over 2^64", &[b"18446744073709551620"], &[b"four"], BROKEN),
    ("a length of twenty nines", &[b"99999999999999999999"], &[b"four"], BROKEN),
];

const GOOD: &[(&str, Pieces, Pieces, &str, &[&str])] = &[
    ("a body of its length", &[b"4"], &[b"four"], "four", &["content-length: 4\r\n"]),
    ("a body of its length in pieces", &[b"8"], &[b"four", b"", b"four", b""], "fourfour", &["content-length: 8\r\n"]),
    ("a body without a length", &[], &[b"four"], "four", &["transfer-encoding: chunked\r\n"]),
    ("no body and no length", &[], &[], "", &["content-length: 0\r\n"]),
    ("a length of 0", &[b"0"], &[], "", &["content-length: 0\r\n"]),
    ("a length of 0 and an empty piece", &[b"0"], &[b""], "", &["content-length: 0\r\n"]),
    (
        "a request in a body",
        &[b"23"],
        &[b"GET /inner HTTP/1.1\r\n\r\n"],
        "GET /inner HTTP/1.1\r\n\r\n",
        &["content-length: 23\r\n"],
    ),
    (
        "an end of chunks in a body",
        &[],
        &[b"0\r\n\r\nGET /inner HTTP/1.1\r\n\r\n"],
        "0\r\n\r\nGET /inner HTTP/1.1\r\n\r\n",
        &["transfer-encoding: chunked\r\n"],
    ),
];

fn sent(lengths: &[&[u8]], pieces: &[&[u8]]) -> Vec<u8> {
    let lengths: Vec<(&str, &[u8])> = lengths.iter().map(|value| ("content-length", *value)).collect();
    let flags = if pieces.is_empty() { WHOLE } else { END_HEADERS };
    let mut bytes = frame(HEADERS, flags, 1, post(&lengths));
    for (n, piece) in pieces.iter().enumerate() {
        bytes.extend(frame(DATA, if n + 1 == pieces.len() { END_STREAM } else { 0 }, 1, piece));
    }
    bytes
}

/// The section behind a body of four bytes.
const TRAILERS: &[(&str, Fields, Want)] = &[
    ("a trailer of HTTP/2", &[("x-sum", b"7")], Want::Reaches(LINE, "four[x-sum: 7]")),
    ("an empty section of trailers", &[], Want::Reaches(LINE, "four")),
    (
        "trailers that must not be in HTTP/2",
        &[("content-length", b"5"), ("host", b"evil.test"), ("x-forwarded-for", b"6.6.6.6"), ("x-ok", b"1")],
        Want::Reaches(LINE, "four[x-ok: 1]"),
    ),
    // Malformed, but the h2 crate drops them unseen; none of it reaches the instance.
    ("a path in the trailers", &[(":path", b"/evil")], Want::Reaches(LINE, "four")),
    ("a method in the trailers", &[(":method", b"GET"), ("x", b"a")], Want::Reaches(LINE, "four[x: a]")),
    ("a status in the trailers", &[(":status", b"200")], Want::Reaches(LINE, "four")),
    ("a name in capitals in the trailers", &[("X-Sum", b"7")], Want::Ended(PROTOCOL)),
    ("connection in the trailers", &[("connection", b"close")], BROKEN),
    ("transfer-encoding in the trailers", &[("transfer-encoding", b"chunked")], BROKEN),
    ("a line end in the trailers", &[("x-sum", b"7\r\n\r\nGET /evil HTTP/1.1\r\n\r\n")], Want::Ended(PROTOCOL)),
    ("a NUL in the trailers", &[("x-sum", b"7\0")], Want::Ended(PROTOCOL)),
    ("a space before a value in the trailers", &[("x-sum", b" 7")], BROKEN),
];

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(LENGTHS.iter().map(|(name, lengths, pieces, want)| Row::new(name, sent(lengths, pieces), want.clone())));
    rows.extend(GOOD.iter().map(|(name, lengths, pieces, body, with)| Row {
        with,
        ..Row::new(name, sent(lengths, pieces), Want::Reaches(LINE, body))
    }));
    let opened = [frame(HEADERS, END_HEADERS, 1, post(&[])), frame(DATA, 0, 1, "four")].concat();
    let with = |end: Vec<u8>| [opened.clone(), end].concat();
    rows.extend(
        TRAILERS.iter().map(|(name, fields, want)| Row::new(name, with(frame(HEADERS, WHOLE, 1, block(fields))), want.clone())),
    );
    rows.push(Row::new(
        "trailers that do not end the stream",
        with(frame(HEADERS, END_HEADERS, 1, block(&[("x", b"a")]))),
        BROKEN,
    ));
    let short = [frame(HEADERS, END_HEADERS, 1, post(&[("content-length", b"9")])), frame(DATA, 0, 1, "four")].concat();
    rows.push(Row::new(
        "trailers behind less than the length",
        [short, frame(HEADERS, WHOLE, 1, block(&[("x", b"a")]))].concat(),
        BROKEN,
    ));
    let length = [frame(HEADERS, END_HEADERS, 1, post(&[("content-length", b"4")])), frame(DATA, 0, 1, "four")].concat();
    rows.push(Row::new(
        "trailers behind a length are left out",
        [length, frame(HEADERS, WHOLE, 1, block(&[("x", b"a")]))].concat(),
        Want::Reaches(LINE, "four"),
    ));
    rows.push(Row::new(
        "padding is no part of a body",
        [
            frame(HEADERS, END_HEADERS, 1, post(&[("content-length", b"4")])),
            frame(DATA, PADDED | END_STREAM, 1, b"\x05fourevil!"),
        ]
        .concat(),
        Want::Reaches(LINE, "four"),
    ));
    let long = get(&[("x", &[b'y'; 40_000]), ("z", b"1")]);
    let (first, rest) = long.split_at(16_000);
    let (second, third) = rest.split_at(16_000);
    let pieces =
        [frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, 0, 1, second), frame(CONTINUATION, END_HEADERS, 1, third)];
    rows.push(Row {
        with: &["yyyy\r\nz: 1\r\n"],
        ..Row::new("a long head in pieces", pieces.concat(), Want::Reaches("GET /row HTTP/1.1", ""))
    });
    rows
}
