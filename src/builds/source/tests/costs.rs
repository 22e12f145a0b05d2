//! A small archive must not cost much, and a deep tree is no attack.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::*;
use crate::builds::source::{input, strict};

const WIDE: SourceLimits = SourceLimits { bytes: 1 << 30, files: 100_000, keep_free: 0 };

impl Raw {
    fn long(self, name: &str) -> Self {
        self.entry(b'L', b"long", b"", name.as_bytes()).file("short", "")
    }

    fn linked(self, name: &str, target: &str) -> Self {
        self.pax(b'x', &[("linkpath", target)]).link(name, "short")
    }
}

async fn within(limits: SourceLimits, bytes: &[u8]) -> (tempfile::TempDir, Result<SourceSummary, BuildError>) {
    let dir = tempfile::tempdir().expect("temp dir");
    let done = receive(bytes, &dir.path().join("s.tar"), false, limits).await;
    (dir, done)
}

#[tokio::test]
async fn a_small_archive_that_would_cost_much_is_refused_at_once_with_the_reason() {
    let few = SourceLimits { files: 1000, ..WIDE };
    let entries = |count: usize, name: &dyn Fn(usize) -> String| (0..count).fold(Raw::new(), |raw, n| raw.long(&name(n))).end();
    let tangle =
        (0..200).fold(Raw::new().link("z", "."), |raw, n| raw.linked(&format!("l{n}"), &("z/".repeat(39) + &"./".repeat(200))));
    let corpus: Vec<(&str, Vec<u8>, SourceLimits, &str)> = vec![
        ("deep paths", entries(300, &|n| format!("{n}/{}x", "a/".repeat(2045))), WIDE, "has 2047 parts, and at most 256"),
        ("folders without end", entries(5, &|n| format!("{n}/{}x", "a/".repeat(250))), few, "more than 1000 files and folders"),
        (
            "long names",
            entries(100, &|n| format!("{}{n}", format!("{}/", "d".repeat(250)).repeat(16))),
            few,
            "names alone take more",
        ),
        ("a long target", Raw::new().linked("l", &"a/".repeat(32_000)).end(), WIDE, "has 64000 bytes, and at most 4095"),
        ("a deep target", Raw::new().linked("l", &"a/".repeat(2000)).end(), WIDE, "has 2000 parts, and at most 256"),
        ("a tangle of links", tangle.end(), WIDE, "lead through each other too often"),
    ];
    for (name, bytes, limits, part) in corpus {
        let begun = Instant::now();
        let error =
            within(limits, &bytes).await.1.err().unwrap_or_else(|| panic!("{name} was taken after {:?}", begun.elapsed()));
        assert_says(name, &error, part);
        assert!(error.hint().is_some(), "{name}: it says what to do");
        assert!(begun.elapsed() < Duration::from_secs(5), "{name} took {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_deep_tree_of_packages_with_many_symlinks_is_taken() {
    let nested = |depth: usize| "node_modules/some-package/".repeat(depth);
    let mut raw = Raw::new().long(&format!("{}x", "d/".repeat(255)));
    for depth in 0..60 {
        raw = raw.long(&format!("{}package.json", nested(depth))).long(&format!("{}lib/index.js", nested(depth)));
    }
    for n in 0..500 {
        raw = raw.long(&format!("store/p{n}@1.0.0/node_modules/p{n}/index.js"));
        raw = raw.link(&format!("linked/p{n}"), &format!("../store/p{n}@1.0.0/node_modules/p{n}"));
        // What one package needs of another lies behind two links.
        raw = raw.link(&format!("store/p{n}@1.0.0/node_modules/needed"), &format!("../../../linked/p{}/index.js", (n + 1) % 500));
    }

    let (dir, done) = within(WIDE, &raw.end()).await;

    let summary = done.expect("taken");
    assert_eq!(summary.files, 1 + 120 + 1500);
    let tree = SourceTree::open(&dir.path().join("s.tar"), None).expect("tree");
    assert!(tree.has_folder("d/d") && tree.has_folder(nested(59).trim_end_matches('/')) && tree.has("linked/p7"));
}

#[tokio::test]
async fn a_source_that_nobody_waits_for_any_more_is_not_kept() {
    let dir = tempfile::tempdir().expect("temp dir");
    let to = dir.path().join("s.tar");
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    input::pump(&Raw::new().file("a", "x").end()[..], sender, input::PACE).await;
    let reading = tokio::task::spawn_blocking(move || {
        strict::clean(input::ChannelReader::new(receiver), &to, false, WIDE, &Mutex::new(false))
    });
    assert!(reading.await.expect("no panic").expect_err("nobody waits").is_cancelled());
    assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
}

/// What became of a source of which a kilobyte comes every few milliseconds, for a while.
async fn paced(pace: input::Pace) -> Option<std::io::Error> {
    use tokio::io::AsyncWriteExt;
    let (mut ours, theirs) = tokio::io::duplex(64 * 1024);
    let sending = tokio::spawn(async move {
        for _ in 0..100 {
            if ours.write_all(&[b'x'; 1024]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let (sender, mut receiver) = tokio::sync::mpsc::channel(8);
    let pumping = tokio::spawn(input::pump(theirs, sender, pace));
    let mut broke = None;
    while let Some(chunk) = receiver.recv().await {
        broke = broke.or(chunk.err());
    }
    pumping.await.expect("no panic");
    sending.await.expect("no panic");
    broke
}

#[tokio::test]
async fn a_source_that_comes_too_slowly_is_given_up_and_a_slow_line_is_not() {
    let error = paced(input::Pace { window: Duration::from_millis(200), least: 1 << 20 }).await.expect("it was given up");
    assert!(error.to_string().contains("1 MiB are the least"), "{error}");
    let slow = input::Pace { window: Duration::from_millis(400), least: 1024 };
    assert!(paced(slow).await.is_none(), "a slow line is waited for");
}
