//! Drains, held requests, the control connection, the end of the process.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use super::world::*;
use crate::proxy::limits::LAST_CALL;
use crate::wire::proxy::{Action, FromProxy, ToProxy};

/// An instance whose every answer waits for a word.
fn gated(body: &'static str) -> (Instance, Sender<()>) {
    let (go, wait): (Sender<()>, Receiver<()>) = channel();
    let wait = Mutex::new(wait);
    let app = Instance::start(move |_, to| {
        wait.lock().expect("wait").recv().expect("go");
        to.write_all(ok(body).as_bytes()).is_ok()
    });
    (app, go)
}

/// An instance whose answer is a stream with one event, and no end.
fn one_event() -> Instance {
    Instance::start(|_, to| {
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").expect("write");
        std::thread::sleep(PATIENCE);
        false
    })
}

fn ended(world: &World) -> u64 {
    match world.daemon.wait("drain end", |m| matches!(m, FromProxy::DrainEnded { .. })) {
        FromProxy::DrainEnded { forced, .. } => forced,
        other => panic!("{other:?}"),
    }
}

/// How many were cut at each end that was told, once there are `count`.
fn ends(world: &World, count: usize) -> Vec<u64> {
    let until = Instant::now() + PATIENCE;
    loop {
        let forced = |m| if let FromProxy::DrainEnded { forced, .. } = m { Some(forced) } else { None };
        let told: Vec<u64> = world.daemon.messages().into_iter().filter_map(forced).collect();
        if told.len() >= count {
            return told;
        }
        assert!(Instant::now() < until, "{told:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_request_in_flight_ends_well_while_new_ones_go_elsewhere() {
    let (old, go) = gated("old");
    let new = Instance::fixed(&ok("new"));
    let world = World::with(&[&old]);
    let mut slow = world.client();
    slow.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    world.daemon.wait_counts(1, |c| c.in_flight == 1);
    world.place(2, new.address);
    world.activate(&snapshot(2, &[2], &[(1, budget(60_000, 60_000))]));
    for _ in 0..20 {
        assert_eq!(world.get("/").body, "new");
    }
    assert!(!world.daemon.messages().iter().any(|m| matches!(m, FromProxy::DrainEnded { .. })));
    go.send(()).expect("go");
    assert_eq!(slow.answer().body, "old");
    assert_eq!(ended(&world), 0);
    let counts = world.daemon.wait_counts(1, |c| c.in_flight == 0);
    assert_eq!((counts.served, counts.drained, counts.cut), (1, 1, 0));
    // Whoever hears of the end has all that was counted.
    let messages = world.daemon.messages();
    let at = messages.iter().position(|m| matches!(m, FromProxy::DrainEnded { .. })).expect("the end");
    let told = |m: &FromProxy| matches!(m, FromProxy::Counts(counts) if counts.iter().any(|c| c.target.0 == 1 && c.drained == 1));
    assert!(messages[..at].iter().any(told), "{messages:?}");
    // The same client connection goes on, at the new target.
    slow.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert_eq!(slow.answer().body, "new");
}

#[test]
fn at_the_end_of_the_budget_a_request_is_answered_504_and_events_end_properly() {
    let (old, _go) = gated("never");
    let world = World::with(&[&old]);
    let mut slow = world.client();
    slow.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    world.daemon.wait_counts(1, |c| c.in_flight == 1);
    world.activate(&snapshot(2, &[], &[(1, budget(100, 60_000))]));
    assert_eq!(slow.answer().status, 504);
    assert_eq!(ended(&world), 1);
    // The next snapshot that names it is told the same end, and no drain begins anew.
    world.activate(&snapshot(3, &[], &[(1, budget(100, 60_000))]));
    assert_eq!(ends(&world, 2), [1, 1]);
    // What was cut then cuts nothing once the target serves again.
    let again = Instance::fixed(&ok("again"));
    world.place(1, again.address);
    world.activate(&snapshot(4, &[1], &[]));
    assert_eq!(world.get("/").body, "again");
    assert_eq!(world.daemon.wait_counts(1, |c| c.served == 1).drained, 0, "it was let in and answered while the target served");
    world.activate(&snapshot(5, &[], &[(1, budget(100, 60_000))]));
    assert_eq!(ends(&world, 3), [1, 1, 0], "each drain counts its own");

    let events = one_event();
    let world = World::with(&[&events]);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    world.daemon.wait_counts(1, |c| c.streams == 1);
    world.activate(&snapshot(2, &[], &[(1, budget(0, 300))]));
    assert_eq!(client.answer().body, "data: 1\n\n", "a whole answer with its last chunk");
    assert_eq!(ended(&world), 1);
}

#[test]
fn a_budget_that_is_shortened_counts_from_the_beginning_of_the_drain() {
    let events = one_event();
    let world = World::with(&[&events]);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    world.daemon.wait_counts(1, |c| c.streams == 1);
    world.activate(&snapshot(2, &[], &[(1, budget(60_000, 120_000))]));
    std::thread::sleep(Duration::from_millis(2_100));
    let changed = Instant::now();
    world.activate(&snapshot(3, &[], &[(1, budget(2_000, 2_000))]));
    assert_eq!(client.answer().body, "data: 1\n\n", "a whole answer with its last chunk");
    assert_eq!(ended(&world), 1);
    assert!(changed.elapsed() < Duration::from_millis(1_500), "the drain began anew: {:?}", changed.elapsed());
}

#[test]
fn an_idle_target_drains_at_once_and_its_idle_connections_close() {
    let app = Instance::fixed(&ok("x"));
    let world = World::with(&[&app]);
    world.get("/");
    let begun = Instant::now();
    world.activate(&snapshot(2, &[], &[(1, budget(60_000, 60_000))]));
    assert_eq!(ended(&world), 0);
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(world.get("/").status, 503);
    // A snapshot that names it again takes the drain back.
    world.activate(&snapshot(3, &[1], &[]));
    assert_eq!(world.get("/").status, 200);
    assert_eq!(app.requests().iter().map(|r| r.connection).collect::<Vec<_>>(), [0, 1], "the idle connection was closed");
}

#[test]
fn a_held_request_goes_on_with_the_next_snapshot_or_gives_up() {
    let app = Instance::fixed(&ok("after"));
    let world = World::start();
    world.place(1, app.address);
    world.activate(&routed(1, Action::Hold { limit_ms: 60_000 }, vec![]));
    let mut clients: Vec<Client> = (0..10).map(|_| world.client()).collect();
    for client in &mut clients {
        client.send("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\n\r\nbody");
    }
    std::thread::sleep(Duration::from_millis(200));
    world.activate(&snapshot(2, &[1], &[]));
    for client in &mut clients {
        assert_eq!(client.answer().body, "after");
    }
    assert_eq!(world.daemon.wait_counts(1, |c| c.served == 10).held, 10);
    assert!(app.requests().iter().all(|r| r.body == b"body"));
    let line = world.daemon.wait("access", |m| matches!(m, FromProxy::Access { lines, .. } if !lines.is_empty()));
    assert!(matches!(line, FromProxy::Access { lines, .. } if lines[0].held_ms >= 150), "the time is in the access line");

    world.activate(&routed(3, Action::Hold { limit_ms: 200 }, vec![target(1, None)]));
    let answer = world.get("/");
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
    // With a target that the hold closed there is a deploy to tell of it.
    let closed = vec![target(1, Some(budget(60_000, 60_000)))];
    world.activate(&routed(4, Action::Hold { limit_ms: 200 }, closed));
    assert_eq!(world.get("/").status, 503);
    let counts = world.daemon.wait_counts(1, |c| c.failed == 1);
    assert_eq!((counts.failed_draining, counts.served, counts.held), (1, 10, 10));
}

#[test]
fn a_bad_snapshot_is_refused_with_its_reason_and_the_old_one_serves() {
    let app = Instance::fixed(&ok("x"));
    let world = World::with(&[&app]);
    let mut twice = snapshot(2, &[1], &[]);
    twice.routes.push(twice.routes[0].clone());
    let mut missing = snapshot(3, &[1], &[]);
    missing.targets.clear();
    let mut draining = snapshot(4, &[1], &[]);
    draining.targets[0].drain = Some(budget(1, 1));
    let mut changed = snapshot(5, &[1], &[]);
    changed.targets[0].release = crate::names::ReleaseNumber(77);
    let mut foreign = snapshot(8, &[1, 2], &[]);
    foreign.targets[1].app = crate::names::AppName::parse("blog").expect("app");
    let mut same = snapshot(9, &[1], &[]);
    same.targets.push(same.targets[0].clone());
    let itself = routed(10, Action::Redirect { to: host("shop.test") }, vec![]);
    let bad = [
        (twice, "two routes"),
        (missing, "does not have"),
        (draining, "drains"),
        (changed, "something else"),
        (foreign, "another app"),
        (same, "twice"),
        (itself, "redirects to itself"),
    ];
    for (bad, reason) in bad {
        let version = bad.version;
        world.daemon.send(&ToProxy::Prepare(bad));
        let answer = world.daemon.wait("rejected", |m| matches!(m, FromProxy::Rejected { version: v, .. } if *v == version));
        assert!(matches!(&answer, FromProxy::Rejected { why, .. } if why.contains(reason)), "{answer:?}");
    }
    world.daemon.send(&ToProxy::Activate { version: 5 });
    world.daemon.wait("rejected", |m| matches!(m, FromProxy::Rejected { version: 5, why } if why.contains("not prepared")));
    // Another one than was prepared.
    world.daemon.send(&ToProxy::Prepare(snapshot(6, &[], &[])));
    world.daemon.send(&ToProxy::Activate { version: 7 });
    world.daemon.wait("rejected", |m| matches!(m, FromProxy::Rejected { version: 7, why } if why.contains("not prepared")));
    assert_eq!(world.get("/").status, 200);
    assert_eq!(world.kept.lock().expect("kept").len(), 1);
}

#[test]
fn everything_goes_on_without_the_daemon_and_it_is_told_again_what_it_missed() {
    let app = Instance::fixed(&ok("x"));
    let world = World::with(&[&app]);
    world.activate(&snapshot(2, &[1], &[(7, budget(1, 1))]));
    ended(&world);
    let before = world.daemon.messages().len();
    world.daemon.hang_up();
    for _ in 0..10 {
        assert_eq!(world.get("/").status, 200);
    }
    world.daemon.wait_counts(1, |c| c.served == 10);
    let news = world.daemon.messages().split_off(before);
    let hello = news.iter().find(|m| matches!(m, FromProxy::Hello { active: Some(2), .. }));
    assert!(hello.is_some(), "{news:?}");
    // What was on its way to the one that hung up is lost, and counted.
    let until = Instant::now() + PATIENCE;
    while told_or_lost(&world.daemon.messages()) < 10 {
        assert!(Instant::now() < until, "{:?}", world.daemon.messages());
        std::thread::sleep(Duration::from_millis(10));
    }
    let again = news.iter().filter(|m| matches!(m, FromProxy::DrainEnded { .. })).count();
    assert_eq!(again, 1, "a new daemon may not know of the drain's end");
    world.activate(&snapshot(2, &[1], &[(7, budget(1, 1))]));
}

fn told_or_lost(messages: &[FromProxy]) -> u64 {
    let access = messages.iter().filter_map(|m| match m {
        FromProxy::Access { lines, lost } => Some((lines.len() as u64, *lost)),
        _ => None,
    });
    let (told, lost): (Vec<u64>, Vec<u64>) = access.unzip();
    told.iter().sum::<u64>() + lost.last().copied().unwrap_or_default()
}

#[test]
fn a_proxy_that_starts_with_the_kept_snapshot_serves_at_once() {
    let app = Instance::fixed(&ok("x"));
    let first = World::with(&[&app]);
    let kept = first.kept.lock().expect("kept").last().cloned().expect("kept");
    let second = World::start_with(Some(kept));
    second.place(1, app.address);
    assert_eq!(second.get("/").status, 200);
    second.daemon.wait("hello", |m| matches!(m, FromProxy::Hello { active: Some(1), .. }));
    let third = World::start_with(Some(b"{broken".to_vec()));
    assert_eq!(third.get("/").status, 503);
}

#[test]
fn at_the_end_requests_finish_idle_connections_close_and_no_new_ones_come() {
    let (app, go) = gated("whole");
    let mut world = World::with(&[&app]);
    let mut idle = world.client();
    let mut busy = world.client();
    busy.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    world.daemon.wait_counts(1, |c| c.in_flight == 1);
    let begun = Instant::now();
    world.shut_down();
    assert!(idle.rest().is_empty(), "closed");
    assert!(begun.elapsed() >= LAST_CALL, "a request that was on its way had no time: {:?}", begun.elapsed());
    go.send(()).expect("go");
    let answer = busy.answer();
    assert_eq!(answer.body, "whole");
    world.join();
    // The last words of the process.
    assert_eq!(world.daemon.wait_counts(1, |c| c.in_flight == 0).served, 1);
    world.daemon.wait("its line", |m| matches!(m, FromProxy::Access { lines, .. } if lines.iter().any(|l| l.status == 200)));
    assert!(std::net::TcpStream::connect(world.address).is_err());
}

#[test]
fn an_answer_that_flows_for_long_is_a_stream_and_its_end_by_force_does_not_look_whole() {
    let app = Instance::start(|_, to| {
        to.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n").expect("write");
        std::thread::sleep(PATIENCE);
        false
    });
    let world = World::with(&[&app]);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    world.daemon.wait_counts(1, |c| c.in_flight == 1 && c.streams == 0);
    world.daemon.wait_counts(1, |c| c.streams == 1);
    world.activate(&snapshot(2, &[], &[(1, budget(0, 300))]));
    assert!(client.try_answer(false).is_none());
    assert_eq!(ended(&world), 1);
    assert_eq!(world.daemon.wait_counts(1, |c| c.in_flight == 0).cut, 1);
}

#[test]
fn a_target_that_leaves_the_routes_without_a_drain_keeps_no_idle_connection() {
    let (ended, ends) = channel();
    let ended = Mutex::new(ended);
    let address = Instance::raw(move |stream, _| {
        let mut write = stream.try_clone().expect("clone");
        let mut read = std::io::BufReader::new(stream);
        while read_head(&mut read).is_some() {
            write.write_all(ok("x").as_bytes()).expect("answer");
        }
        let _ = ended.lock().expect("ended").send(Instant::now());
    });
    let world = World::start();
    world.place(1, address);
    world.activate(&snapshot(1, &[1], &[]));
    assert_eq!(world.get("/").status, 200);
    let begun = Instant::now();
    world.activate(&snapshot(2, &[], &[]));
    let end = ends.recv_timeout(PATIENCE).expect("the connection is closed");
    assert!(
        end.duration_since(begun) < Duration::from_secs(2),
        "not only when it idled too long: {:?}",
        end.duration_since(begun)
    );
}

#[test]
fn a_held_request_is_told_when_the_process_ends() {
    let mut world = World::start();
    world.activate(&routed(1, Action::Hold { limit_ms: 60_000 }, vec![]));
    let mut held = world.client();
    held.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    std::thread::sleep(Duration::from_millis(200));
    world.shut_down();
    let answer = held.answer();
    assert_eq!((answer.status, answer.field("connection")), (503, Some("close")));
    world.join();
}
