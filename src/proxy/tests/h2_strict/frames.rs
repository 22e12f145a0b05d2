//! Frames in the wrong place, of the wrong size, or wrong inside.

use super::client::*;
use super::{CALM, FLOW, METHOD, PROTOCOL, Row, SCHEME, SIZE, Want, get, post};

/// The h2 crate says so of many a mistake for which RFC 9113 has a code of its own (§4.2, §4.3).
const ENDED: Want = Want::Ended(PROTOCOL);
const LINE: &str = "GET /row HTTP/1.1";
const PASSES: Want = Want::Reaches(LINE, "");

/// A good request on a stream.
fn good(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, get(&[]))
}

fn opened() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, post(&[]))
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, [id.to_be_bytes().as_slice(), &value.to_be_bytes()].concat())
}

fn number(n: u32) -> [u8; 4] {
    n.to_be_bytes()
}

fn streams() -> Vec<Row> {
    vec![
        Row::new("DATA before HEADERS", frame(DATA, END_STREAM, 1, "x"), ENDED),
        Row::new("DATA on stream 0", frame(DATA, 0, 0, "x"), ENDED),
        Row::new("HEADERS on stream 0", frame(HEADERS, WHOLE, 0, get(&[])), ENDED),
        Row::new("HEADERS on an even stream", frame(HEADERS, WHOLE, 2, get(&[])), ENDED),
        Row::new("a stream below the last one", [good(5), good(3)].concat(), Want::EndedLate(PROTOCOL)),
        Row::new("HEADERS on a stream that has ended", [good(1), good(1)].concat(), Want::EndedLate(PROTOCOL)),
        Row::new(
            "DATA on a stream that has ended",
            [good(1), frame(DATA, END_STREAM, 1, "x")].concat(),
            Want::EndedLate(PROTOCOL),
        ),
        Row::new("WINDOW_UPDATE on a stream that nobody opened", frame(WINDOW_UPDATE, 0, 1, number(1)), ENDED),
        Row::new("RST_STREAM on a stream that nobody opened", frame(RST_STREAM, 0, 1, number(8)), ENDED),
        Row::new("RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, number(8)), ENDED),
        Row::new("SETTINGS on a stream", [opened(), frame(SETTINGS, 0, 1, [])].concat(), ENDED),
        Row::new("PING on a stream", [opened(), frame(PING, 0, 1, [0; 8])].concat(), ENDED),
        Row::new("GOAWAY on a stream", [opened(), frame(GOAWAY, 0, 1, [0; 8])].concat(), ENDED),
        Row::new("PRIORITY on stream 0", frame(PRIORITY, 0, 0, [0, 0, 0, 3, 1]), ENDED),
        Row::new(
            "PUSH_PROMISE of a client",
            [opened(), frame(PUSH_PROMISE, END_HEADERS, 1, [&number(2)[..], &get(&[])].concat())].concat(),
            ENDED,
        ),
        Row::new("a frame that nobody knows", [frame(0xbe, 0xff, 1, "GET / HTTP/1.1\r\n\r\n"), good(1)].concat(), PASSES),
        Row::new("a PRIORITY before its stream", [frame(PRIORITY, 0, 1, [0, 0, 0, 3, 1]), good(1)].concat(), PASSES),
    ]
}

fn sizes() -> Vec<Row> {
    let long = vec![b'x'; 16_385];
    vec![
        Row::new("a DATA frame over the limit", [opened(), frame(DATA, END_STREAM, 1, &long)].concat(), Want::Ended(SIZE)),
        Row::new("a HEADERS frame over the limit", frame(HEADERS, WHOLE, 1, get(&[("x", &long)])), Want::Ended(SIZE)),
        Row::new("a frame of all the length there is", [0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1].to_vec(), Want::Ended(SIZE)),
        Row::new("RST_STREAM of 3 bytes", [opened(), frame(RST_STREAM, 0, 1, [0; 3])].concat(), ENDED),
        Row::new("PING of 7 bytes", frame(PING, 0, 0, [0; 7]), ENDED),
        Row::new("PING of 9 bytes", frame(PING, 0, 0, [0; 9]), ENDED),
        Row::new("WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, [0; 3]), ENDED),
        Row::new("GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, [0; 7]), ENDED),
        Row::new("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, [0; 5]), ENDED),
        Row::new("an acknowledgement with settings in it", frame(SETTINGS, ACK, 0, [0, 3, 0, 0, 0, 1]), ENDED),
        Row::new(
            "PRIORITY of 4 bytes",
            [opened(), frame(PRIORITY, 0, 1, [0; 4]), frame(DATA, END_STREAM, 1, "")].concat(),
            ENDED,
        ),
        Row::new("HEADERS with half a priority", frame(HEADERS, WHOLE | PRIORITISED, 1, [0; 4]), ENDED),
        Row::new("padding longer than the DATA", [opened(), frame(DATA, END_STREAM | PADDED, 1, b"\x05four")].concat(), ENDED),
        Row::new("a padded DATA frame of nothing", [opened(), frame(DATA, END_STREAM | PADDED, 1, [])].concat(), ENDED),
        Row::new("padding longer than the HEADERS", frame(HEADERS, WHOLE | PADDED, 1, [&[0xff][..], &get(&[])].concat()), ENDED),
        Row::new(
            "padding behind the HEADERS",
            frame(HEADERS, WHOLE | PADDED, 1, [&[3][..], &get(&[]), &[0; 3]].concat()),
            PASSES,
        ),
    ]
}

fn windows_and_settings() -> Vec<Row> {
    let most = (1 << 31) - 1;
    vec![
        Row::new("WINDOW_UPDATE of 0 for the connection", frame(WINDOW_UPDATE, 0, 0, number(0)), ENDED),
        Row::new("WINDOW_UPDATE of 0 for a stream", [opened(), frame(WINDOW_UPDATE, 0, 1, number(0))].concat(), ENDED),
        Row::new("a window of the connection that overflows", frame(WINDOW_UPDATE, 0, 0, number(most)), Want::Ended(FLOW)),
        Row::new(
            "a window of a stream that overflows",
            [opened(), frame(WINDOW_UPDATE, 0, 1, number(most))].concat(),
            Want::Broken(FLOW),
        ),
        Row::new("a push that is neither on nor off", setting(2, 2), ENDED),
        Row::new("a first window over 2^31", setting(4, 1 << 31), ENDED),
        Row::new("frames smaller than may be", setting(5, 16_383), ENDED),
        Row::new("frames larger than may be", setting(5, 1 << 24), ENDED),
        Row::new("a setting that nobody knows", [setting(0xff, 7), good(1)].concat(), PASSES),
        Row::new(
            "a stream that depends on itself",
            [frame(PRIORITY, 0, 1, [0, 0, 0, 1, 1]), good(1)].concat(),
            Want::Reset(PROTOCOL),
        ),
        Row::new(
            "HEADERS that depend on themselves",
            frame(HEADERS, WHOLE | PRIORITISED, 1, [&[0, 0, 0, 1, 1][..], &get(&[])].concat()),
            Want::Reset(PROTOCOL),
        ),
    ]
}

fn blocks() -> Vec<Row> {
    let whole = get(&[]);
    let (first, rest) = whole.split_at(20);
    let begun = frame(HEADERS, END_STREAM, 1, first);
    let end = frame(CONTINUATION, END_HEADERS, 1, rest);
    let between = |other: Vec<u8>| [begun.clone(), other, end.clone()].concat();
    vec![
        Row::new("CONTINUATION without HEADERS", frame(CONTINUATION, END_HEADERS, 1, get(&[])), ENDED),
        Row::new(
            "CONTINUATION behind a whole head",
            [good(1), frame(CONTINUATION, END_HEADERS, 1, "")].concat(),
            Want::EndedLate(PROTOCOL),
        ),
        Row::new("CONTINUATION on another stream", [begun.clone(), frame(CONTINUATION, END_HEADERS, 3, rest)].concat(), ENDED),
        Row::new("CONTINUATION on stream 0", [begun.clone(), frame(CONTINUATION, END_HEADERS, 0, rest)].concat(), ENDED),
        Row::new("DATA inside a head", between(frame(DATA, 0, 1, "x")), ENDED),
        Row::new("HEADERS inside a head", between(good(3)), ENDED),
        Row::new("PING inside a head", between(frame(PING, 0, 0, [0; 8])), ENDED),
        Row::new("SETTINGS inside a head", between(frame(SETTINGS, 0, 0, [])), ENDED),
        Row::new("WINDOW_UPDATE inside a head", between(frame(WINDOW_UPDATE, 0, 0, number(1))), ENDED),
        Row::new("RST_STREAM inside a head", between(frame(RST_STREAM, 0, 1, number(8))), ENDED),
        Row::new("a frame that nobody knows inside a head", between(frame(0xbe, 0, 1, "x")), ENDED),
        Row::new("a head in two pieces", between(vec![]), PASSES),
        Row::new("a head with an empty piece", between(frame(CONTINUATION, 0, 1, "")), PASSES),
        Row::new(
            "a head in very many pieces",
            [begun.clone(), frame(CONTINUATION, 0, 1, "").repeat(100), end.clone()].concat(),
            Want::Ended(CALM),
        ),
    ]
}

fn hpack() -> Vec<Row> {
    let with = |bytes: &[u8]| frame(HEADERS, WHOLE, 1, [&get(&[])[..], bytes].concat());
    let mut rows = vec![
        Row::new("index 0", with(&[0x80]), ENDED),
        Row::new("an index behind the static table", with(&[0xbe]), ENDED),
        Row::new("an index far away", with(&[0xff, 0xff, 0xff, 0x03]), ENDED),
        Row::new("a name by an index far away", with(&[0x7f, 0xff, 0x03, 0x01, b'a']), ENDED),
        Row::new("an index without end", with(&[0xff; 12]), ENDED),
        Row::new("a string longer than the block", with(&[0x00, 0x01, b'x', 0x7f, 0x01, b'a']), ENDED),
        Row::new("half a field", with(&[0x00, 0x01]), ENDED),
        Row::new(
            "a table larger than may be",
            frame(HEADERS, WHOLE, 1, [&[0x3f, 0xff, 0xff, 0x07][..], &get(&[])].concat()),
            ENDED,
        ),
        Row::new("a table that changes behind a field", with(&[0x20]), ENDED),
        Row::new("a Huffman code with its end in it", with(&[0x00, 0x01, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]), ENDED),
        Row::new("a Huffman code with zeros behind", with(&[0x00, 0x01, b'x', 0x81, 0x00]), ENDED),
        Row::new("a Huffman code with a byte too much behind", with(&[0x00, 0x01, b'x', 0x82, 0x1f, 0xff]), ENDED),
    ];
    // A line end that only shows when it is decoded: CR (30 bits, ..fffffea) and LF (30 bits, ..ffffff2) with two bits of padding.
    for (name, code) in [("a CR in Huffman's code", 0xffff_ffeb_u32), ("a LF in Huffman's code", 0xffff_fff3_u32)] {
        let value = code.to_be_bytes();
        rows.push(Row::new(name, with(&[&[0x00, 0x01, b'x', 0x84][..], &value].concat()), ENDED));
    }
    // The same by way of the table: put there in a good place, named in a bad one.
    let mut kept = vec![0x40, 1, b'x', 4];
    kept.extend_from_slice(b"a\r\nb");
    rows.push(Row::new("a line end kept in the table", with(&kept), ENDED));
    let small = [&super::block(&[METHOD, SCHEME])[..], &[0x84, 0x41, 9], b"shop.test", &[0x40, 1, b'x', 1, b'a', 0xbe]].concat();
    rows.push(Row {
        with: &["x: a\r\nx: a\r\n"],
        ..Row::new("a field by its place in the table", frame(HEADERS, WHOLE, 1, small), Want::Reaches("GET / HTTP/1.1", ""))
    });
    rows
}

pub fn rows() -> Vec<Row> {
    [streams(), sizes(), windows_and_settings(), blocks(), hpack()].into_iter().flatten().collect()
}
