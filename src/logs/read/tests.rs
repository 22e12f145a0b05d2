use std::path::Path;

use super::*;

fn write(folder: &Path, bytes: &[u8]) {
    std::fs::write(raw_path(folder, 1), bytes).expect("write");
}

fn records(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        let text = text.as_bytes();
        record::encode(&mut bytes, &Record { number: n as u64, at_micros: n as i64, stream: Stream::Stdout, flags: 0, text });
    }
    bytes
}

fn texts(reader: &mut SegmentReader) -> Vec<String> {
    std::iter::from_fn(|| reader.next().expect("read")).map(|i| String::from_utf8(i.text).expect("utf-8")).collect()
}

#[test]
fn a_record_that_is_still_being_written_is_given_when_it_is_whole() {
    let dir = tempfile::tempdir().expect("temp dir");
    let all = records(&["one", "two"]);
    write(dir.path(), &all[..all.len() - 2]);
    let mut reader = SegmentReader::open(dir.path(), 1, 0).expect("open");
    assert_eq!(texts(&mut reader), ["one"]);
    write(dir.path(), &all);
    assert_eq!(texts(&mut reader), ["two"]);
    assert_eq!(reader.position(), all.len() as u64);
}

#[test]
fn a_torn_record_and_a_hole_cost_themselves_alone() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut bytes = records(&["one", &"x".repeat(60_000)]);
    bytes.truncate(bytes.len() - 100);
    bytes.extend(records(&["after the torn one"]));
    bytes.extend(vec![0; 600_000]);
    bytes.extend(records(&["after the hole"]));
    write(dir.path(), &bytes);
    let mut reader = SegmentReader::open(dir.path(), 1, 0).expect("open");
    assert_eq!(texts(&mut reader), ["one", "after the torn one", "after the hole"]);
    assert_eq!(reader.position(), bytes.len() as u64);
}

#[test]
fn a_position_is_good_in_the_compressed_segment_too() {
    let dir = tempfile::tempdir().expect("temp dir");
    let bytes = records(&["one", "two", "three"]);
    write(dir.path(), &bytes);
    let mut reader = SegmentReader::open(dir.path(), 1, 0).expect("open");
    let first = reader.next().expect("read").expect("record");
    let packed = zstd::encode_all(bytes.as_slice(), 3).expect("compress");
    std::fs::write(packed_path(dir.path(), 1), packed).expect("write");
    std::fs::remove_file(raw_path(dir.path(), 1)).expect("remove");
    let mut later = SegmentReader::open(dir.path(), 1, first.end).expect("open");
    assert_eq!(texts(&mut later), ["two", "three"]);
    assert_eq!(texts(&mut reader), ["two", "three"], "an open reader of the raw file goes on");
}
