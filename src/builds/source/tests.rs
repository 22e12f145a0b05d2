use std::io::Write;

use super::peek::SourceTree;
use super::{SourceLimits, SourceSummary, read_manifest_files, receive};
use crate::builds::error::BuildError;

mod costs;

const LIMITS: SourceLimits = SourceLimits { bytes: 1 << 20, files: 50, keep_free: 0 };

/// One entry, written byte by byte: the tar crate refuses to write most of what is tested here.
struct Raw(Vec<u8>);

impl Raw {
    fn new() -> Self {
        Raw(Vec::new())
    }

    fn entry(self, kind: u8, name: &[u8], link: &[u8], data: &[u8]) -> Self {
        self.sized(kind, name, link, data, data.len() as u64, 0o644)
    }

    fn sized(mut self, kind: u8, name: &[u8], link: &[u8], data: &[u8], size: u64, mode: u32) -> Self {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name);
        header[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
        header[108..116].copy_from_slice(b"0001750\0");
        header[116..124].copy_from_slice(b"0001750\0");
        header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        header[136..148].copy_from_slice(b"14500000000\0");
        header[156] = kind;
        header[157..157 + link.len()].copy_from_slice(link);
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().div_ceil(512) * 512, 0);
        self
    }

    fn file(self, name: &str, data: &str) -> Self {
        self.entry(b'0', name.as_bytes(), b"", data.as_bytes())
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(b'2', name.as_bytes(), target.as_bytes(), b"")
    }

    fn pax(self, kind: u8, records: &[(&str, &str)]) -> Self {
        let mut data = String::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let mut length = rest.len() + 1;
            while format!("{length}").len() + rest.len() != length {
                length += 1;
            }
            data.push_str(&format!("{length}{rest}"));
        }
        self.entry(kind, b"pax", b"", data.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

async fn take_as(bytes: &[u8], strip: bool) -> (tempfile::TempDir, Result<SourceSummary, BuildError>) {
    let dir = tempfile::tempdir().expect("temp dir");
    let done = receive(bytes, &dir.path().join("s.tar"), strip, LIMITS).await;
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("list").map(|e| e.expect("entry").file_name()).collect();
    match &done {
        Ok(_) => assert_eq!(left, ["s.tar"], "nothing beside it"),
        Err(_) => assert!(left.is_empty(), "a refused source leaves nothing: {left:?}"),
    }
    (dir, done)
}

async fn take(bytes: &[u8]) -> (tempfile::TempDir, Result<SourceSummary, BuildError>) {
    take_as(bytes, false).await
}

#[track_caller]
fn assert_says(name: &str, error: &BuildError, part: &str) {
    assert!(error.to_string().contains(part), "{name}: `{error}` should say `{part}`");
}

#[tokio::test]
async fn hostile_archives_are_refused_with_the_entry_and_the_reason() {
    let long = "x/".repeat(120);
    let corpus: Vec<(&str, Vec<u8>, &str)> = vec![
        ("absolute path", Raw::new().file("/etc/passwd", "x").end(), "absolute"),
        ("parent", Raw::new().file("../x", "x").end(), "`..`"),
        ("parent inside", Raw::new().file("a/../../x", "x").end(), "`..`"),
        ("parent that comes back", Raw::new().file("a/../b", "x").end(), "`..`"),
        ("NUL in a pax path", Raw::new().pax(b'x', &[("path", "a\0b")]).file("a", "x").end(), "NUL"),
        ("parent by pax", Raw::new().pax(b'x', &[("path", "../../x")]).file("a", "x").end(), "`..`"),
        (
            "absolute by long name",
            Raw::new().entry(b'L', b"././@LongLink", b"", b"/etc/cron.d/x\0").file("a", "x").end(),
            "absolute",
        ),
        ("symlink up", Raw::new().link("a", "../x").end(), "outside"),
        ("symlink absolute", Raw::new().link("a", "/etc/passwd").end(), "`/etc/passwd`"),
        ("symlink deep up", Raw::new().link("a/b", "../../x").end(), "outside"),
        ("symlink by pax", Raw::new().pax(b'x', &[("linkpath", "/etc")]).link("a", "b").end(), "outside"),
        ("symlink through a symlink", Raw::new().link("a/b/s", "../..").link("t", "a/b/s/../x").end(), "outside"),
        ("symlink over a missing folder", Raw::new().link("t", "no/../../x").end(), "outside"),
        ("symlink without target", Raw::new().entry(b'2', b"a", b"", b"").end(), "target"),
        ("written through a symlink", Raw::new().file("d/x", "x").link("l", "d").file("l/y", "y").end(), "through the symlink"),
        ("symlink over a folder", Raw::new().file("d/x", "x").link("d", "e").end(), "twice"),
        ("file over a symlink", Raw::new().link("a", "b").file("a", "x").end(), "twice"),
        ("file twice", Raw::new().file("a", "1").file("./a", "2").end(), "twice"),
        ("file in a file", Raw::new().file("a", "1").file("a/b", "2").end(), "which is a file"),
        ("hardlink out", Raw::new().entry(b'1', b"a", b"/etc/shadow", b"").end(), "hardlink"),
        ("hardlink to a parent", Raw::new().entry(b'1', b"a", b"../x", b"").end(), "hardlink"),
        ("hardlink to what comes later", Raw::new().entry(b'1', b"a", b"b", b"").file("b", "x").end(), "hardlink"),
        ("hardlink to a symlink", Raw::new().link("s", "t").entry(b'1', b"a", b"s", b"").end(), "hardlink"),
        ("character device", Raw::new().entry(b'3', b"null", b"", b"").end(), "device"),
        ("block device", Raw::new().entry(b'4', b"sda", b"", b"").end(), "device"),
        ("fifo", Raw::new().entry(b'6', b"pipe", b"", b"").end(), "pipe"),
        ("unknown kind", Raw::new().entry(b'Z', b"odd", b"", b"").end(), "unknown kind"),
        ("GNU sparse", Raw::new().entry(b'S', b"sparse", b"", b"").end(), "sparse"),
        ("pax sparse", Raw::new().pax(b'x', &[("GNU.sparse.major", "1")]).file("a", "x").end(), "sparse"),
        ("pax size that differs", Raw::new().pax(b'x', &[("size", "0")]).file("a", "hello").end(), "size"),
        ("two names", Raw::new().pax(b'x', &[("path", "a")]).entry(b'L', b"l", b"", b"b\0").file("c", "x").end(), "twice"),
        ("global path", Raw::new().pax(b'g', &[("path", "x")]).file("a", "x").end(), "whole archive"),
        ("malformed pax", Raw::new().entry(b'x', b"pax", b"", b"99 path=a\n").file("a", "x").end(), "malformed"),
        ("huge pax", Raw::new().entry(b'x', b"pax", b"", &[b'x'; 70_000]).file("a", "x").end(), "extension header"),
        ("huge file", Raw::new().sized(b'0', b"big", b"", b"", 5 << 30, 0o644).end(), "5120 MiB"),
        ("too many bytes", many(20, 60_000), "more than 1 MiB"),
        ("too many files", many(60, 1), "more than 50 files"),
        (
            "a name too long",
            Raw::new().entry(b'L', b"l", b"", "n".repeat(300).as_bytes()).file("c", "x").end(),
            "longer than 255",
        ),
        (
            "a path too long",
            Raw::new().entry(b'L', b"l", b"", long.repeat(20).as_bytes()).file("c", "x").end(),
            "longer than 4095",
        ),
        ("cut between entries", Raw::new().file("a", "x").0, "ends in the middle"),
        ("cut in a file", Raw::new().file("a", &"x".repeat(900)).0[..700].to_vec(), "can't be read"),
        ("no archive", b"hello, I am not a tar archive at all".repeat(40), "can't be read"),
        ("a file named like a folder", Raw::new().entry(b'0', b"a/", b"", b"x").end(), "named like a folder"),
    ];
    assert!(corpus.len() >= 25);
    for (name, bytes, part) in corpus {
        let error = take(&bytes).await.1.err().unwrap_or_else(|| panic!("{name} was taken"));
        assert_says(name, &error, part);
    }
}

fn many(files: usize, bytes: usize) -> Vec<u8> {
    (0..files).fold(Raw::new(), |raw, n| raw.file(&format!("f{n}"), &"x".repeat(bytes))).end()
}

#[tokio::test]
async fn a_bomb_is_ended_by_its_unpacked_size() {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0u8; 1 << 20];
    gz.write_all(&Raw::new().sized(b'0', b"pax", b"", b"", 512, 0o644).0).expect("gzip");
    for _ in 0..64 {
        gz.write_all(&zeros).expect("gzip");
    }
    let bytes = gz.finish().expect("gzip");
    assert!(bytes.len() < 200_000);
    assert_says("bomb", &take(&bytes).await.1.expect_err("refused"), "unpacks to more than");
    let zst = zstd::encode_all(&[many(10, 10), vec![0u8; 64 << 20]].concat()[..], 1).expect("zstd");
    assert_says("bomb", &take(&zst).await.1.expect_err("refused"), "unpacks to more than");
}

#[tokio::test]
async fn a_proper_tree_is_cleaned_and_the_same_tree_is_the_same_tar() {
    let long = format!("{}/file.txt", "d".repeat(120));
    let archive = || {
        Raw::new()
            .pax(b'g', &[("comment", "0123456789abcdef0123456789abcdef01234567")])
            .entry(b'5', b"./", b"", b"")
            .entry(b'5', b"bin/", b"", b"")
            .sized(b'0', b"bin/run", b"", b"#!/bin/sh", 9, 0o6755)
            .link("bin/again", "run")
            .link("latest", "bin/../bin/again")
            .link("dangling", "nowhere/at/all")
            .entry(b'1', b"copy", b"bin/run", b"")
            .pax(b'x', &[("path", long.as_str()), ("mtime", "1.5")])
            .entry(b'0', b"short", b"", b"long name")
            .file(".git/config", "[core]")
            .file("paas.toml", "[build]\npath = \"web\"\n")
            .file("Procfile", "web: top\n")
            .file("web/Procfile", "web: inner\n")
            .end()
    };
    let (dir, done) = take(&archive()).await;
    let summary = done.expect("taken");
    let path = dir.path().join("s.tar");
    let mut entries = Vec::new();
    for entry in tar::Archive::new(std::fs::File::open(&path).expect("open")).entries().expect("tar") {
        let entry = entry.expect("entry");
        let header = entry.header();
        assert_eq!((header.uid().expect("uid"), header.gid().expect("gid")), (0, 0));
        entries.push(format!("{:o} {}", header.mode().expect("mode"), entry.path().expect("path").display()));
    }
    assert!(entries.contains(&"755 bin/run".to_owned()), "setuid is gone: {entries:?}");
    assert!(entries.contains(&"755 copy".to_owned()), "a hardlink is a copy: {entries:?}");
    assert!(entries.contains(&format!("644 {long}")));
    assert!(!entries.iter().any(|e| e.contains(".git")));
    let tree = SourceTree::open(&path, None).expect("tree");
    assert_eq!(tree.text("copy").as_deref(), Some("#!/bin/sh"));
    assert_eq!(tree.text("bin/again").as_deref(), Some("#!/bin/sh"));
    let files = read_manifest_files(&path, None).expect("manifest files");
    assert_eq!(files.procfile.as_deref(), Some("web: inner\n"), "the folder that is built comes first");
    let inner = SourceTree::open(&path, Some("web")).expect("tree");
    assert_eq!(inner.files().collect::<Vec<_>>(), ["Procfile"]);
    assert_eq!(take(&archive()).await.1.expect("taken").sha256, summary.sha256);
}

#[tokio::test]
async fn only_a_single_top_folder_is_stripped() {
    let one = Raw::new().file("shop-1/a", "1").file("shop-1/b/c", "2").link("shop-1/l", "b/c").end();
    let (dir, done) = take_as(&one, true).await;
    done.expect("taken");
    let tree = SourceTree::open(&dir.path().join("s.tar"), None).expect("tree");
    assert_eq!(tree.files().collect::<Vec<_>>(), ["a", "b/c"]);
    let two = Raw::new().file("shop-1/a", "1").file("b", "2").end();
    let (dir, done) = take_as(&two, true).await;
    done.expect("taken");
    let tree = SourceTree::open(&dir.path().join("s.tar"), None).expect("tree");
    assert_eq!(tree.files().collect::<Vec<_>>(), ["b", "shop-1/a"]);
    let out = Raw::new().file("shop-1/a", "1").link("shop-1/l", "../shop-1/a").end();
    let error = take_as(&out, true).await.1.expect_err("the link leaves the tree once its top is gone");
    assert_says("stripped link", &error, "outside");
}

#[tokio::test]
async fn a_sender_that_goes_away_is_no_finished_source() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (mut ours, theirs) = tokio::io::duplex(64);
    let sending = async move {
        use tokio::io::AsyncWriteExt;
        let bytes = Raw::new().file("a", "x").0;
        ours.write_all(&bytes).await.expect("sent");
    };
    let to = dir.path().join("s.tar");
    let ((), done) = tokio::join!(sending, receive(theirs, &to, false, LIMITS));
    assert!(done.is_err());
    assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
}
