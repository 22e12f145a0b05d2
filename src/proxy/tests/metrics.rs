//! What is measured and logged, and a daemon that is newer than the proxy.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use super::world::*;
use crate::names::InstanceId;
use crate::proxy::limits::ACCESS_PATH_BYTES;
use crate::wire::metrics::{Metrics, Sums};
use crate::wire::proxy::{AccessLine, AccessLines, FromProxy, Rules, Snapshot, ToProxy};

/// Waits until the latest that was told of target `id` (0: of the app itself) is as wanted.
#[track_caller]
fn measured(world: &World, id: i64, wanted: impl Fn(&Sums) -> bool) -> Sums {
    let until = Instant::now() + PATIENCE;
    let of = |metrics: Metrics| {
        let target = metrics.targets.into_iter().find(|t| t.target == InstanceId(id)).map(|t| t.sums);
        target.or_else(|| metrics.apps.into_iter().find(|_| id == 0).map(|a| a.sums))
    };
    loop {
        let mut told = world.daemon.messages().into_iter().rev();
        let latest = told.find_map(|m| if let FromProxy::Metrics(metrics) = m { of(metrics) } else { None });
        match latest {
            Some(sums) if wanted(&sums) => return sums,
            latest => assert!(Instant::now() < until, "not measured as wanted: {latest:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn lines(world: &World) -> Vec<AccessLine<'_>> {
    let told = world.daemon.messages().into_iter();
    told.filter_map(|m| if let FromProxy::Access { lines, .. } = m { Some(lines) } else { None }).flatten().collect()
}

fn with_rules(version: u64, rules: Rules) -> Snapshot {
    let mut snapshot = snapshot(version, &[1], &[]);
    snapshot.routes[0].rules = rules;
    snapshot
}

fn post(bytes: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes))
}

#[test]
fn each_request_is_measured_where_it_was_answered() {
    let app = Instance::fixed(&ok("four"));
    let world = World::with(&[&app]);
    world.activate(&with_rules(2, Rules { max_body: Some(9), ..Rules::default() }));
    for _ in 0..3 {
        assert_eq!(world.get("/").body, "four");
    }
    assert_eq!((world.ask(&post(7)).status, world.ask(&post(10)).status), (200, 413));

    let sums = measured(&world, 1, |s| s.requests() == 4);
    assert_eq!((sums.by_class, sums.bytes_in, sums.bytes_out), ([0, 0, 4, 0, 0, 0], 7, 16));
    assert_eq!((sums.total.count(), sums.first_byte.count(), sums.streams), (4, 4, 0));
    assert!(sums.total.sum >= sums.first_byte.sum && (1..=4).contains(&sums.dial.count()), "{sums:?}");
    assert!(sums.dropped.is_empty());
    let own = measured(&world, 0, |s| s.requests() == 1);
    assert_eq!((own.by_class[4], own.dropped["too_large"]), (1, 1));

    // The next daemon is told all of it at once, before anything else that is counted.
    world.daemon.hang_up();
    let again = |m: &FromProxy| matches!(m, FromProxy::Hello { .. });
    let until = Instant::now() + PATIENCE;
    let after = loop {
        let messages = world.daemon.messages();
        let second = messages.iter().enumerate().filter(|(_, m)| again(m)).map(|(at, _)| at).nth(1);
        if let Some(next) = second.and_then(|at| messages.get(at + 1)) {
            break next.clone();
        }
        assert!(Instant::now() < until, "the proxy did not come back");
        std::thread::sleep(Duration::from_millis(10));
    };
    let FromProxy::Metrics(all) = after else { panic!("{after:?}") };
    assert_eq!((&all.targets[0].sums, &all.apps[0].sums), (&sums, &own));
}

#[test]
fn a_daemon_is_told_that_nothing_was_measured_before_it_came() {
    let world = World::start();
    world.daemon.wait("the first measurements", |m| matches!(m, FromProxy::Metrics(_)));
    let messages = world.daemon.messages();
    // Without it the daemon would take the first requests for some of before.
    let FromProxy::Metrics(first) = &messages[1] else { panic!("{messages:?}") };
    assert_eq!(*first, Metrics::default());
}

#[test]
fn a_stream_has_a_first_byte_but_no_total() {
    let app = Instance::start(|_, to| {
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").expect("write");
        false
    });
    let world = World::with(&[&app]);
    assert_eq!(world.get("/").status, 200);
    let sums = measured(&world, 1, |s| s.requests() == 1);
    assert_eq!((sums.streams, sums.total.count(), sums.first_byte.count()), (1, 0, 1));
}

#[test]
fn an_instance_that_drops_requests_is_seen_to() {
    let app = Instance::start(|_, to| {
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").expect("write");
        false
    });
    let world = World::with(&[&app]);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert!(client.try_answer(false).is_none());
    let sums = measured(&world, 1, |s| s.requests() == 1);
    assert_eq!((sums.dropped["bad_answer"], sums.by_class[0], sums.bytes_out), (1, 1, 4));
}

#[test]
fn only_requests_that_went_wrong_have_a_line_where_the_app_wants_it_so() {
    let app = Instance::fixed(&ok("four"));
    let world = World::with(&[&app]);
    let access = AccessLines { sample_ppm: 0, troubles: true };
    world.activate(&with_rules(2, Rules { max_body: Some(9), access, ..Rules::default() }));
    for _ in 0..20 {
        world.get("/");
    }
    world.ask(&post(10));
    world.daemon.wait("a line", |m| matches!(m, FromProxy::Access { .. }));
    let found = lines(&world);
    assert_eq!(found.iter().map(|l| (l.status, l.sample_ppm)).collect::<Vec<_>>(), [(413, 1_000_000)]);

    let access = AccessLines { sample_ppm: 200_000, troubles: true };
    world.activate(&with_rules(3, Rules { max_body: Some(9), access, ..Rules::default() }));
    for _ in 0..300 {
        world.get("/");
    }
    world.ask(&post(11));
    let is_last = |line: &AccessLine| line.status == 413;
    world.daemon.wait("the last line", |m| matches!(m, FromProxy::Access { lines, .. } if lines.iter().any(is_last)));
    measured(&world, 1, |s| s.requests() == 320);
    std::thread::sleep(Duration::from_millis(100));
    let sampled = lines(&world).iter().filter(|l| l.status == 200 && l.sample_ppm == 200_000 && l.path == "/").count();
    assert!((25..=110).contains(&sampled), "{sampled} of 300");

    let access = AccessLines { sample_ppm: 0, troubles: false };
    world.activate(&with_rules(4, Rules { max_body: Some(9), access, ..Rules::default() }));
    let before = lines(&world).len();
    world.ask(&post(12));
    measured(&world, 0, |s| s.requests() == 3);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(lines(&world).len(), before, "none at all");
}

#[test]
fn a_long_path_is_cut_in_its_line() {
    let world = World::with(&[&Instance::fixed(&ok("x"))]);
    world.get(&format!("/{}", "y".repeat(3000)));
    world.daemon.wait("a line", |m| matches!(m, FromProxy::Access { .. }));
    assert_eq!(lines(&world)[0].path.len(), ACCESS_PATH_BYTES);
}

#[test]
fn a_snapshot_of_a_newer_daemon_is_refused_and_the_connection_goes_on() {
    let app = Instance::fixed(&ok("one"));
    let world = World::with(&[&app]);
    let mut newer = serde_json::to_value(ToProxy::Prepare(snapshot(2, &[], &[]))).expect("encode");
    newer["Prepare"]["geo"] = json!(true);
    world.daemon.send(&newer);
    let said = |m: &FromProxy| matches!(m, FromProxy::Rejected { version: 2, why } if why.contains("geo"));
    world.daemon.wait("refused, with the reason", said);
    world.daemon.send(&json!({ "Dance": { "version": 2 } }));
    world.daemon.send(&ToProxy::Activate { version: 2 });
    assert_eq!(world.get("/").body, "one", "what was active is");
    world.activate(&snapshot(3, &[1], &[]));
    let messages = world.daemon.messages();
    assert_eq!(messages.iter().filter(|m| said(m)).count(), 2, "also when it is to be activated: {messages:?}");
    assert_eq!(messages.iter().filter(|m| matches!(m, FromProxy::Hello { .. })).count(), 1, "one connection: {messages:?}");
}
