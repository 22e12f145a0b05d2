use bytes::BytesMut;

use super::body::{BodyError, Decoder, Framing, Length};
use super::head::{HeadError, HeadScan};

/// Feeds `wire` in pieces of `step` bytes; gives what came out and what was left.
fn decode(length: Length, framing: Framing, wire: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>, bool), BodyError> {
    let (mut decoder, mut from, mut to) = (Decoder::new(length), BytesMut::new(), BytesMut::new());
    for piece in wire.chunks(step) {
        from.extend_from_slice(piece);
        decoder.transfer(&mut from, &mut to, framing)?;
    }
    Ok((to.to_vec(), from.to_vec(), decoder.is_done()))
}

#[test]
fn a_chunked_body_reads_the_same_however_it_is_cut() {
    let wire = b"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\nnext";
    for step in 1..=wire.len() {
        let (plain, left, done) = decode(Length::Chunked, Framing::Plain, wire, step).expect("good");
        assert_eq!(
            (plain.as_slice(), left.as_slice(), done),
            (&b"hello0123456789"[..], &b"next"[..], true),
            "in pieces of {step}"
        );
        let (chunked, ..) = decode(Length::Chunked, Framing::Chunked, wire, step).expect("good");
        assert!(chunked.ends_with(b"0\r\nX-T: 1\r\n\r\n"), "in pieces of {step}");
        let (again, _, done) = decode(Length::Chunked, Framing::Plain, &chunked, 7).expect("our own chunks");
        assert_eq!((again.as_slice(), done), (&b"hello0123456789"[..], true));
    }
}

#[test]
fn a_body_by_length_takes_no_byte_more() {
    for step in 1..=9 {
        let (out, left, done) = decode(Length::Exact(5), Framing::Plain, b"hellonext", step).expect("good");
        assert_eq!((out.as_slice(), left.as_slice(), done), (&b"hello"[..], &b"next"[..], true));
    }
    let mut short = Decoder::new(Length::Exact(5));
    assert_eq!(short.end(&mut BytesMut::new(), Framing::Plain), Err(BodyError::Truncated));
    let mut open = Decoder::new(Length::UntilClose);
    let mut to = BytesMut::new();
    assert_eq!((open.end(&mut to, Framing::Chunked), &to[..]), (Ok(()), &b"0\r\n\r\n"[..]));
}

/// What the scan is a quick form of: each byte by itself.
fn slow_scan(buf: &[u8], limit: usize) -> Result<Option<usize>, HeadError> {
    for i in 0..buf.len() {
        let before = i.checked_sub(1).map(|b| buf[b]);
        match (before, buf[i]) {
            (Some(b'\r'), b'\n') if i >= 3 && buf[i - 2] == b'\n' => {
                return if i < limit { Ok(Some(i + 1)) } else { Err(HeadError::TooLarge) };
            }
            (Some(b'\r'), b'\n') => {}
            (_, b'\n') => return Err(HeadError::Malformed("bare LF")),
            (Some(b'\r'), _) => return Err(HeadError::Malformed("bare CR")),
            (None, b'\r') => return Err(HeadError::Malformed("an empty first line")),
            (_, 0) => return Err(HeadError::Malformed("NUL")),
            _ => {}
        }
    }
    if buf.len() >= limit { Err(HeadError::TooLarge) } else { Ok(None) }
}

#[test]
fn every_short_text_of_what_matters_is_judged_alike_whole_and_in_pieces() {
    let letters = [b'a', b'\r', b'\n', 0];
    for length in 0..=7_u32 {
        for number in 0..4_usize.pow(length) {
            let text: Vec<u8> = (0..length).map(|digit| letters[number / 4_usize.pow(digit) % 4]).collect();
            let expected = slow_scan(&text, 6);
            assert_eq!(HeadScan::default().scan(&text, 6), expected, "{text:?}");
            for cut in 0..text.len() {
                let mut scan = HeadScan::default();
                let first = scan.scan(&text[..cut], 6);
                let judged = if first == Ok(None) { scan.scan(&text, 6) } else { first };
                let slow = slow_scan(&text[..cut], 6);
                let expected = if slow == Ok(None) { expected } else { slow };
                assert_eq!(judged, expected, "{text:?} at {cut}");
            }
        }
    }
}

#[test]
fn the_end_of_a_head_is_found_however_it_is_cut() {
    let wire = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
    for step in 1..=wire.len() {
        let mut scan = HeadScan::default();
        let mut found = None;
        for end in (step..wire.len() + step).step_by(step) {
            found = scan.scan(&wire[..end.min(wire.len())], 1000).expect("good");
            if found.is_some() {
                break;
            }
        }
        assert_eq!(found, Some(wire.len() - 4), "in pieces of {step}");
    }
    assert!(HeadScan::default().scan(wire, 10).is_err(), "over the limit");
}
