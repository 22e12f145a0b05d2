//! Log lines of real instances: complete, in order, once; over floods, long lines, full segments and restarts of the daemon.

use std::time::{Duration, Instant};

use paas::config::LogsConfig;
use paas::logs::{Cursor, LogLine, Query};

use super::init::world::{Instance, LIMIT, World, config, query, temp};

/// Follows until a line says `done`, or for at most `limit`.
fn follow(world: &World, cursor: Cursor, limit: Duration) -> (Vec<LogLine>, Cursor) {
    let mut follow = world.logs.follow(&query(), cursor).expect("follow");
    let (mut lines, until) = (Vec::new(), Instant::now() + limit);
    while !lines.iter().any(|l: &LogLine| l.text == "done") {
        let left = until.saturating_duration_since(Instant::now());
        match world.block_on(async { tokio::time::timeout(left, follow.next()).await }) {
            Ok(page) => lines.extend(page.expect("page").expect("read").lines),
            Err(_) => break,
        }
    }
    let cursor = follow.cursor().clone();
    (lines, cursor)
}

#[test]
fn fifty_thousand_lines_come_once_each_though_the_daemon_restarts_and_segments_change() {
    let dir = temp();
    let mut world = World::new(dir.path(), config());
    let _instance = Instance::shell(
        &world,
        "for b in 0 1 2 3 4; do seq -f 'line %.0f of an app with something to say' $((b*10000+1)) $((b*10000+10000)); sleep 0.3; done; echo done; exec sleep 1000",
    );
    world.open();
    let (mut lines, mut cursor) = (Vec::new(), Cursor::default());
    let started = Instant::now();
    while lines.last().is_none_or(|l: &LogLine| l.text != "done") {
        assert!(started.elapsed() < LIMIT * 2, "{} lines", lines.len());
        let (more, at) = follow(&world, cursor, Duration::from_millis(400));
        lines.extend(more);
        cursor = at.to_string().parse().expect("a cursor comes back from the client as text");
        world.logs.maintain();
        world = world.restarted();
    }
    let numbers: Vec<u64> = lines.iter().map(|l| l.seq).collect();
    assert_eq!(numbers.len(), 50_001);
    assert!(numbers.into_iter().eq(1..=50_001));
    let page = world.logs.query(&Query { num: Some(3), processes: vec!["web.1".to_owned()], ..query() }, None).expect("query");
    let last: Vec<&str> = page.lines.iter().map(|l| l.text.split(' ').nth(1).unwrap_or("done")).collect();
    assert_eq!(last, ["49999", "50000", "done"]);
}

#[test]
fn a_line_of_a_megabyte_comes_in_parts_and_a_prompt_without_an_end_is_shown() {
    let dir = temp();
    let world = World::new(dir.path(), config());
    let _instance = Instance::shell(
        &world,
        "head -c 1000000 /dev/zero | tr '\\0' x; echo; printf 'name? '; sleep 2; echo; echo done; exec sleep 1000",
    );
    world.open();
    let (lines, _) = follow(&world, Cursor::default(), LIMIT);
    let texts: Vec<&LogLine> = lines.iter().collect();
    let long: Vec<&&LogLine> = texts.iter().filter(|l| l.text.starts_with('x')).collect();
    assert_eq!(long.iter().map(|l| l.text.len()).sum::<usize>(), 1_000_000);
    assert!(long[..long.len() - 1].iter().all(|l| l.truncated) && !long[long.len() - 1].truncated);
    let rest: Vec<&str> = texts.iter().map(|l| l.text.as_str()).filter(|t| !t.starts_with('x')).collect();
    assert_eq!(rest, ["name? ", "done"]);
}

#[test]
fn an_app_that_floods_is_cut_with_a_count_and_is_never_held_up() {
    let dir = temp();
    let world = World::new(dir.path(), LogsConfig { lines_per_second: 100, burst: 500, ..config() });
    let _instance = Instance::shell(&world, "seq 100000; touch finished; sleep 2; echo done; exec sleep 1000");
    world.open();
    let (lines, _) = follow(&world, Cursor::default(), LIMIT);
    let dropped: usize = lines.iter().filter(|l| l.notice).filter_map(|l| l.text.split(' ').next()?.parse::<usize>().ok()).sum();
    let kept = lines.iter().filter(|l| !l.notice && l.text != "done").count();
    assert_eq!(kept + dropped, 100_000, "{kept} kept");
    assert!((500..2000).contains(&kept), "{kept}");
}

#[test]
fn while_the_daemon_is_away_a_segment_stops_at_its_cap_and_the_loss_is_counted() {
    let dir = temp();
    // A share of 1 MiB makes segments of 64 KiB, capped at 256 KiB.
    let small = LogsConfig { max_bytes_per_app: 1 << 20, ..config() };
    let world = World::new(dir.path(), small.clone());
    let script = "echo up; while [ ! -e go ]; do sleep 0.05; done; seq 20000; touch wrote; while [ ! -e back ]; do sleep 0.05; done; sleep 1; echo done; exec sleep 1000";
    let _instance = Instance::shell(&world, script);
    world.open();
    world.wait_for_line("up");
    world.gone();
    std::fs::write(dir.path().join("go"), "").expect("write");
    let until = Instant::now() + LIMIT;
    while !dir.path().join("wrote").exists() {
        assert!(Instant::now() < until, "the app was held up");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    let bytes: u64 = std::fs::read_dir(dir.path().join("logs/shop"))
        .expect("list")
        .map(|f| f.expect("file").metadata().expect("meta").len())
        .sum();
    assert!((192 * 1024..=256 * 1024).contains(&bytes), "{bytes}");
    let world = World::new(dir.path(), small);
    world.wait(|s| s.connected);
    std::fs::write(dir.path().join("back"), "").expect("write");
    world.wait_for_line("done");
    let lines = world.all_lines();
    let dropped: usize = lines.iter().filter(|l| l.notice).filter_map(|l| l.text.split(' ').next()?.parse::<usize>().ok()).sum();
    let kept = lines.iter().filter(|l| l.text.parse::<u32>().is_ok()).count();
    assert!(dropped > 0);
    assert_eq!(kept + dropped, 20_000);
    assert!(lines.iter().map(|l| l.seq).eq(1..=lines.len() as u64));
}
