use std::fs::File;
use std::io::Write;

use super::*;
use crate::wire::init::record::{self, Decoded, MARKER};

fn output_into(path: &std::path::Path) -> (Output, File, File) {
    let mut output = Output::new();
    let segment = File::options().append(true).create(true).open(path).expect("segment");
    output.appender().use_segment(1, segment, 1 << 20, 1 << 24).expect("use");
    let (out_read, out_write) = nix::unistd::pipe().expect("pipe");
    let (err_read, err_write) = nix::unistd::pipe().expect("pipe");
    output.attach(Pipes { stdout: out_read, stderr: err_read });
    (output, File::from(out_write), File::from(err_write))
}

fn lines(path: &std::path::Path) -> Vec<(u64, Stream, u8, String)> {
    let bytes = std::fs::read(path).expect("read");
    let (mut at, mut out) = (0, Vec::new());
    while let Decoded::Whole(r, length) = record::decode(&bytes[at..]) {
        out.push((r.number, r.stream, r.flags, String::from_utf8_lossy(r.text).into_owned()));
        at += length;
    }
    out
}

#[test]
fn both_streams_are_written_as_numbered_records_and_the_end_without_newline_too() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s");
    let (mut output, mut out, mut err) = output_into(&path);
    write!(out, "one\ntwo").expect("write");
    writeln!(err, "oops").expect("write");
    output.read([true, true]);
    drop((out, err));
    output.drain();
    let lines = lines(&path);
    assert_eq!(lines.iter().map(|l| l.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(lines[1], (2, Stream::Stderr, 0, "oops".to_owned()));
    assert_eq!(lines[2].3, "two");
    assert_eq!(output.last_lines(), ["one", "oops", "two"]);
}

#[test]
fn lines_over_the_rate_are_counted_exactly_and_said_within_a_second() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("s");
    let (mut output, mut out, _err) = output_into(&path);
    output.set_limits(1, 100);
    for n in 0..1000 {
        writeln!(out, "line {n}").expect("write");
    }
    output.read([true, false]);
    assert!(output.deadline().is_some());
    assert!(output.pipes().iter().all(Option::is_none), "a flood is left alone for a moment");
    output.tick(Instant::now() + MARK_AFTER);
    assert!(output.pipes().iter().all(Option::is_some));
    let lines = lines(&path);
    let marker = lines.last().expect("marker");
    assert_eq!(marker.2, MARKER);
    let dropped: usize = marker.3.split(' ').next().and_then(|n| n.parse().ok()).expect("count");
    assert_eq!(lines.len() - 1 + dropped, 1000);
    assert!(marker.3.ends_with("lines were dropped: more than 1 lines per second"), "{}", marker.3);
    assert_eq!(output.last_lines().last().map(String::as_str), Some("line 999"), "last words are kept even if not logged");
}

#[test]
fn who_goes_on_writing_does_not_keep_init_from_letting_the_pipe_go() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (mut output, _out, _err) = output_into(&dir.path().join("s"));
    // What has always something to read, as a pipe into which somebody writes as fast as it is read.
    let endless = || File::open("/dev/zero").expect("it is there").into();
    output.attach(Pipes { stdout: endless(), stderr: endless() });
    let (told, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        output.drain();
        told.send(()).expect("somebody waits");
    });
    done.recv_timeout(std::time::Duration::from_secs(20)).expect("it reads on and on");
}
