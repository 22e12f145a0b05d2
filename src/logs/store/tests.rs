use std::io::Write;

use super::*;
use crate::logs::{Kind, LogLine, Stream};
use crate::names::{ProcessName, ReleaseNumber};
use crate::wire::init::record::{self, Record};

fn app() -> AppName {
    AppName::parse("shop").expect("name")
}

fn web(index: u32) -> Source {
    let process = Some(ProcessName::parse("web").expect("name"));
    let instance = Some(InstanceId(i64::from(index)));
    Source { process, instance, index: Some(index), release: Some(ReleaseNumber(3)), ..Source::of_kind(app(), Kind::App) }
}

fn query() -> Query {
    Query::of(app())
}

fn store(dir: &std::path::Path) -> Arc<LogStore> {
    LogStore::open(dir.to_owned(), &LogsConfig { max_bytes_per_app: 1 << 20, lines_per_second: 1000, burst: 10_000 })
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|l| l.text.as_str()).collect()
}

/// What an init would append: (time in µs, text).
fn append(file: &mut File, records: &[(i64, &str)]) {
    for (n, (at_micros, text)) in records.iter().enumerate() {
        let mut bytes = Vec::new();
        let record =
            Record { number: n as u64 + 1, at_micros: *at_micros, stream: Stream::Stdout, flags: 0, text: text.as_bytes() };
        record::encode(&mut bytes, &record);
        file.write_all(&bytes).expect("write");
    }
}

/// Later than the headers of the segments, which carry the real time.
fn at(n: i64) -> i64 {
    4_000_000_000_000_000 + n
}

#[test]
fn lines_of_several_instances_come_in_the_order_of_time_and_by_any_filter() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = store(dir.path());
    let (mut one, mut two) = (store.segment(&web(1)).expect("segment"), store.segment(&web(2)).expect("segment"));
    append(&mut one.file, &[(at(1), "a"), (at(4), "d apple")]);
    append(&mut two.file, &[(at(2), "b apple"), (at(3), "c"), (at(5_000_000), "e")]);
    store.writer(&Source::of_kind(app(), Kind::Router)).expect("writer").line_at(
        UnixMillisOf(at(6_000_000)).into(),
        Stream::Platform,
        "f",
    );

    let page = store.query(&query(), None).expect("query");
    assert_eq!(texts(&page.lines), ["a", "b apple", "c", "d apple", "e", "f"]);
    assert_eq!(page.lines[1].label(), "web.2");
    let with = |change: &dyn Fn(&mut Query)| {
        let mut query = query();
        change(&mut query);
        store.query(&query, None).expect("query").lines.iter().map(|l| l.text.clone()).collect::<Vec<_>>()
    };
    assert_eq!(with(&|q| q.processes = vec!["web.1".to_owned(), "router".to_owned()]), ["a", "d apple", "f"]);
    assert_eq!(with(&|q| q.processes = vec!["web".to_owned()]).len(), 5);
    assert_eq!(with(&|q| q.grep = Some("apple".to_owned())), ["b apple", "d apple"]);
    assert_eq!(with(&|q| q.since = Some(UnixMillisOf(at(5_000_000)).into())), ["e", "f"]);
    assert_eq!(with(&|q| q.num = Some(2)), ["e", "f"]);
    assert_eq!(with(&|q| (q.num, q.grep) = (Some(1), Some("apple".to_owned()))), ["d apple"]);
    assert!(with(&|q| q.num = Some(0)).is_empty());
}

#[test]
fn a_clock_that_was_set_back_does_not_turn_the_lines_of_a_source_around() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = store(dir.path());
    let (mut one, mut two) = (store.segment(&web(1)).expect("segment"), store.segment(&web(2)).expect("segment"));
    append(&mut one.file, &[(at(10), "first"), (at(90), "second"), (at(20), "third"), (at(30), "fourth")]);
    append(&mut two.file, &[(at(25), "of another"), (at(95), "its last")]);
    let pages = ["first", "of another", "second", "third", "fourth", "its last"];
    assert_eq!(texts(&store.query(&query(), None).expect("query").lines), pages);
    let last = |num| store.query(&Query { num: Some(num), ..query() }, None).expect("query").lines;
    assert_eq!(texts(&last(6)), ["first", "second", "third", "of another", "fourth", "its last"]);
    // The newest of all, whatever an earlier line of its source claims.
    assert_eq!(texts(&last(2)), ["fourth", "its last"]);
    let mut three = store.segment(&web(3)).expect("segment");
    append(&mut three.file, &[(at(31), "after the clock"), (at(32), "was set back")]);
    assert_eq!(texts(&last(3)), ["after the clock", "was set back", "its last"]);
}

#[test]
fn the_last_lines_are_no_more_text_than_the_daemon_may_hold() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = store(dir.path());
    let (mut one, mut two) = (store.segment(&web(1)).expect("segment"), store.segment(&web(2)).expect("segment"));
    let long = "x".repeat(60_000);
    let lines = |first: i64| (0..300).map(|n| (at(2 * n + first), long.as_str())).collect::<Vec<_>>();
    append(&mut one.file, &lines(0));
    append(&mut two.file, &lines(1));
    let last = store.query(&Query { num: Some(100_000), ..query() }, None).expect("query").lines;
    assert!(last.iter().map(|l| l.text.len()).sum::<usize>() <= 32 << 20, "{} lines", last.len());
    let fitting = (32 << 20) / 60_000;
    assert!(last.iter().map(|l| l.at_micros).eq((600 - fitting..600).map(at)), "the newest, of both, without a gap");
}

struct UnixMillisOf(i64);

impl From<UnixMillisOf> for crate::base::clock::UnixMillis {
    fn from(micros: UnixMillisOf) -> Self {
        Self(micros.0 / 1000)
    }
}

#[test]
fn a_cursor_goes_on_without_loss_or_repetition_over_rotation_compression_and_a_new_daemon() {
    let dir = tempfile::tempdir().expect("temp dir");
    let first = store(dir.path());
    let mut old = first.segment(&web(1)).expect("segment");
    append(&mut old.file, &[(at(1), "1"), (at(2), "2")]);
    let page = first.query(&Query { num: Some(10), ..query() }, None).expect("query");
    assert_eq!(texts(&page.lines), ["1", "2"]);
    append(&mut old.file, &[(at(3), "3")]);
    let mut new = first.segment(&web(1)).expect("segment");
    append(&mut old.file, &[(at(4), "4")]);
    append(&mut new.file, &[(at(5), "5")]);
    first.finish_others(&app(), InstanceId(1), Some(new.number)).expect("finish");
    first.maintain();
    drop(first);

    let second = store(dir.path());
    let cursor: Cursor = page.cursor.to_string().parse().expect("cursor");
    let page = second.query(&query(), Some(&cursor)).expect("query");
    assert_eq!(texts(&page.lines), ["3", "4", "5"]);
    append(&mut new.file, &[(at(6), "6")]);
    assert_eq!(texts(&second.query(&query(), Some(&page.cursor)).expect("query").lines), ["6"]);
    // A client that saw only "3" and "5" of the page says so behind its old cursor.
    let seen = |n: usize| format!(";{}:{}", page.lines[n].segment, page.lines[n].end);
    let cursor: Cursor = format!("{cursor}{}{}", seen(0), seen(2)).parse().expect("cursor");
    assert_eq!(texts(&second.query(&query(), Some(&cursor)).expect("query").lines), ["4", "6"]);
}

#[test]
fn a_reader_that_leaves_in_the_middle_of_the_newest_lines_goes_on_after_its_last_one() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = store(dir.path());
    let (mut one, mut two) = (store.segment(&web(1)).expect("segment"), store.segment(&web(2)).expect("segment"));
    append(&mut one.file, &[(at(1), "old"), (at(2), "a"), (at(5), "d")]);
    append(&mut two.file, &[(at(0), "older"), (at(3), "b"), (at(4), "c"), (at(6), "e")]);
    let page = store.query(&Query { num: Some(5), ..query() }, None).expect("query");
    assert_eq!(texts(&page.lines), ["a", "b", "c", "d", "e"]);
    let mut cursor = page.begin();
    for seen in 0..=page.lines.len() {
        let rest = store.query(&query(), Some(&cursor)).expect("query");
        assert_eq!(texts(&rest.lines), texts(&page.lines)[seen..], "after {seen} lines");
        if let Some(line) = page.lines.get(seen) {
            cursor.pass(line.segment, line.end);
        }
    }
}

#[test]
fn the_daemons_own_lines_go_on_in_number_after_a_crash_in_the_middle_of_a_record() {
    let dir = tempfile::tempdir().expect("temp dir");
    let source = Source::of_kind(app(), Kind::Build);
    let first = store(dir.path());
    first.writer(&source).expect("writer").line(Stream::Platform, "one\ntwo\n");
    drop(first);
    let path = dir.path().join("shop/0000000001.log");
    let bytes = std::fs::read(&path).expect("read");
    let mut file = File::options().append(true).open(&path).expect("open");
    file.write_all(&bytes[bytes.len() - 31..bytes.len() - 10]).expect("a torn record");
    let second = store(dir.path());
    second.writer(&source).expect("writer").line(Stream::Platform, "three");
    let lines = second.query(&query(), None).expect("query").lines;
    assert_eq!(lines.iter().map(|l| (l.seq, l.text.as_str())).collect::<Vec<_>>(), [(1, "one"), (2, "two"), (3, "three")]);
    assert_eq!(std::fs::read_dir(dir.path().join("shop")).expect("list").count(), 1);
}

#[test]
fn a_log_keeps_to_its_share_and_pages_through_all_that_is_left() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = store(dir.path());
    let writer = store.writer(&Source::of_kind(app(), Kind::Router)).expect("writer");
    // Text that does not compress, 12 times the share of one MiB.
    let mut random = 1u64;
    for n in 0..12_000 {
        let noise: String = (0..64)
            .map(|_| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                format!("{random:016x}")
            })
            .collect();
        writer.line(Stream::Platform, &format!("{n} {noise}"));
        if n % 500 == 0 {
            store.maintain();
        }
    }
    store.maintain();
    let bytes: u64 =
        std::fs::read_dir(dir.path().join("shop")).expect("list").map(|f| f.expect("f").metadata().expect("meta").len()).sum();
    assert!(bytes <= 1 << 20, "{bytes}");
    let (mut numbers, mut page) = (Vec::new(), store.query(&query(), None).expect("query"));
    loop {
        numbers.extend(page.lines.iter().map(|l| l.seq));
        if !page.more {
            break;
        }
        page = store.query(&query(), Some(&page.cursor)).expect("query");
    }
    assert!(numbers.len() > 1000, "{}", numbers.len());
    let first = numbers[0];
    assert!(numbers.iter().copied().eq(first..=12_000), "from {first} on without a gap to the newest");
    let last = store.query(&Query { num: Some(1500), ..query() }, None).expect("query");
    assert_eq!(last.lines.first().map(|l| l.seq), Some(12_000 - 1499));
}

#[tokio::test]
async fn a_follower_gets_every_line_once_while_segments_change_under_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    let store = store(dir.path());
    let writer = store.writer(&Source::of_kind(app(), Kind::Router)).expect("writer");
    let mut follow = store.follow(&query(), Cursor::default()).expect("follow");
    let behind = store.clone();
    let writing = tokio::task::spawn_blocking(move || {
        for n in 0..3000 {
            writer.line(Stream::Platform, &format!("{n} {}", "x".repeat(200)));
            if n % 300 == 0 {
                behind.maintain();
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 3000 {
        let page =
            tokio::time::timeout(Duration::from_secs(10), follow.next()).await.expect("in time").expect("page").expect("read");
        seen.extend(page.lines.iter().map(|l| l.seq));
    }
    assert!(seen.into_iter().eq(1..=3000));
    writing.await.expect("writer");
}
