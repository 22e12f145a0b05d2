use std::fs::OpenOptions;

use super::*;
use crate::wire::init::record::Decoded;

fn texts(bytes: &[u8]) -> Vec<(u64, String)> {
    let (mut at, mut out) = (0, Vec::new());
    while let Decoded::Whole(r, length) = record::decode(&bytes[at..]) {
        out.push((r.number, String::from_utf8_lossy(r.text).into_owned()));
        at += length;
    }
    assert_eq!(at, bytes.len(), "nothing torn");
    out
}

fn open(path: &std::path::Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).expect("open")
}

fn line(appender: &mut Appender, text: &str) {
    appender.push(1, Stream::Stdout, 0, text.as_bytes());
    appender.flush();
}

#[test]
fn a_full_segment_loses_lines_by_count_and_says_so_in_the_next_one() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (first, second) = (dir.path().join("1"), dir.path().join("2"));
    let mut appender = Appender::new(1);
    appender.use_segment(1, open(&first), 50, 100).expect("first");
    for n in 0..5 {
        line(&mut appender, &format!("line {n}"));
    }
    assert!(appender.wants_segment());
    assert_eq!(appender.segment().map(|(n, _)| n), Some(1));
    appender.use_segment(2, open(&second), 1000, 2000).expect("second");
    line(&mut appender, "after");
    assert_eq!(texts(&std::fs::read(&first).expect("read")).len(), 2);
    let second = texts(&std::fs::read(&second).expect("read"));
    assert_eq!(second[0], (3, "3 lines were dropped: the log segment was full and nobody gave a new one".to_owned()));
    assert_eq!(second[1], (4, "after".to_owned()));
}

#[test]
fn a_full_disk_loses_lines_by_count_and_never_fails() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut appender = Appender::new(1);
    line(&mut appender, "before there was a segment");
    let full = OpenOptions::new().append(true).open("/dev/full").expect("/dev/full");
    appender.use_segment(1, full, 1000, 2000).expect("full");
    line(&mut appender, "lost");
    appender.over_rate(7);
    assert!(appender.owes_marker());
    let path = dir.path().join("2");
    appender.use_segment(2, open(&path), 1000, 2000).expect("second");
    appender.mark(1);
    line(&mut appender, "after");
    let lines = texts(&std::fs::read(&path).expect("read"));
    assert_eq!(lines[0], (1, "1 line was dropped: more than 7 lines per second".to_owned()));
    assert!(lines[1].1.starts_with("2 lines were dropped: the log could not be written: No space left"), "{lines:?}");
    assert_eq!(lines[2], (3, "after".to_owned()));
    assert!(!appender.owes_marker());
}
