use super::*;

fn record(number: u64, text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, &Record { number, at_micros: 1_700_000_000_000_000, stream: Stream::Stderr, flags: PARTIAL, text });
    bytes
}

#[test]
fn a_record_comes_back_as_it_was() {
    let bytes = record(7, "grüße\0".as_bytes());
    let Decoded::Whole(back, length) = decode(&bytes) else { panic!("not whole") };
    assert_eq!(length, bytes.len());
    assert_eq!((back.number, back.stream, back.flags, back.text), (7, Stream::Stderr, PARTIAL, "grüße\0".as_bytes()));
}

#[test]
fn every_cut_is_seen_as_incomplete_and_every_flipped_bit_as_no_record_of_the_same_content() {
    let bytes = record(7, b"a line of the app");
    for cut in 0..bytes.len() {
        assert_eq!(decode(&bytes[..cut]), Decoded::Incomplete, "cut at {cut}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(!matches!(decode(&bad), Decoded::Whole(..)), "bit {bit}");
    }
    assert_eq!(decode(&[0; 100]), Decoded::Torn, "a hole that a power cut left");
}

#[test]
fn a_reader_finds_the_next_whole_record_after_a_torn_one() {
    let mut bytes = record(1, &[b'x'; 500])[..100].to_vec();
    let torn = bytes.len();
    bytes.extend(record(2, b"next"));
    assert_eq!(find_next(&bytes), Some(torn));
    assert_eq!(find_next(&bytes[..torn]), None);
}
