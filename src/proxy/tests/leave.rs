//! A process whose place another has taken: it takes nothing new, and loses nothing of what it has.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use super::world::frames::{ACK, FrameClient, HEADERS, PING, WHOLE, block, frame};
use super::world::*;
use crate::proxy::limits::{FOLLOWED_TIME, H2_GOODBYE_TIME, H2_SHORT_GOODBYE_TIME};
use crate::wire::proxy::Action;

const GET: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";
const LONG: Duration = Duration::from_secs(600);

/// An instance that answers when it is told.
fn gated() -> (Instance, Sender<()>) {
    let (go, gate) = channel();
    let gate = std::sync::Mutex::new(gate);
    let app = Instance::start(move |_, to| {
        gate.lock().expect("gate").recv_timeout(PATIENCE).expect("go");
        std::io::Write::write_all(to, ok("whole").as_bytes()).is_ok()
    });
    (app, go)
}

#[test]
fn what_it_has_is_finished_and_every_connection_ends_with_its_next_answer() {
    let (app, go) = gated();
    let mut world = World::with(&[&app]);
    let (mut idle, mut busy, mut lost) = (world.client(), world.client(), world.client());
    busy.send(GET);
    world.daemon.wait_counts(1, |c| c.in_flight == 1);

    world.leave(LONG);
    refused(&world);
    // Longer than after a SIGTERM: nothing has to be over soon, and closing a connection that is used is a loss.
    idle.stream.set_read_timeout(Some(Duration::from_millis(800))).expect("timeout");
    let quiet = std::io::Read::read(&mut idle.stream, &mut [0]).map_err(|e| e.kind());
    assert!(matches!(quiet, Err(ErrorKind::WouldBlock)), "an idle connection stays: {quiet:?}");
    go.send(()).expect("go");
    assert_eq!(busy.answer().body, "whole");

    idle.stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    for client in [&mut idle, &mut busy] {
        client.send(GET);
        go.send(()).expect("go");
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    }
    lost.send("GET / HTTP/1.1\r\nHost: nowhere.test\r\n\r\n");
    let answer = lost.answer();
    assert_eq!((answer.status, answer.field("connection")), (404, Some("close")), "our own answers too");
    world.join();
}

#[test]
fn a_held_request_is_held_on_and_follows_the_routes() {
    let app = Instance::fixed(&ok("late"));
    let mut world = World::start();
    world.place(1, app.address);
    world.activate(&routed(1, Action::Hold { limit_ms: 20_000 }, vec![]));
    let mut held = world.client();
    held.send(GET);
    std::thread::sleep(Duration::from_millis(200));
    world.leave(LONG);
    refused(&world);
    world.activate(&snapshot(2, &[1], &[]));
    assert_eq!(held.answer().body, "late");
    drop(held);
    world.join();
}

#[test]
fn at_the_end_of_its_grace_and_at_a_stop_the_rest_is_ended_as_at_any_stop() {
    for told_to_stop in [false, true] {
        let (app, go) = gated();
        let mut world = World::with(&[&app]);
        let mut busy = world.client();
        busy.send(GET);
        world.daemon.wait_counts(1, |c| c.in_flight == 1);
        let begun = Instant::now();
        world.leave(if told_to_stop { LONG } else { Duration::from_millis(500) });
        refused(&world);
        if told_to_stop {
            world.shut_down();
        }
        world.join();
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        assert_eq!(busy.answer().status, 504, "told so, and not just cut off");
        assert_eq!(world.daemon.wait_counts(1, |c| c.failed == 1).cut, 0, "no drain cut it");
        drop(go);
    }
}

#[test]
fn a_client_of_http_2_is_told_to_go_and_loses_nothing_that_it_sent_before_it_knew() {
    let app = Instance::start(|got, to| {
        if got.head.contains("/slow") {
            std::thread::sleep(Duration::from_millis(1500));
        }
        std::io::Write::write_all(to, ok("whole").as_bytes()).is_ok()
    });
    let mut world = super::h2::world_with(&app);
    let get = |stream: u32, path: &str| {
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "shop.test"), (":path", path)];
        frame(HEADERS, WHOLE, stream, block(&fields.map(|(name, value)| (name, value.as_bytes()))))
    };
    let mut client = FrameClient::connect(&world);
    client.send(&[FrameClient::hello(), get(1, "/first"), get(3, "/slow")].concat());
    assert_eq!(client.see(&[1]).status.get(&1), Some(&200));

    world.leave(LONG);
    let told = client.see_until(|seen| !seen.pings.is_empty());
    assert_eq!((told.goaway, told.last), (Some(0), Some((1 << 31) - 1)), "no stream is ruled out yet: {told:?}");
    // Sent before the client knew, for all that the proxy can tell.
    client.send(&get(5, "/crossed"));
    client.send(&frame(PING, ACK, 0, &told.pings[0]));
    let told = client.see_until(|seen| seen.ended.contains(&5) && seen.goaway.is_some());
    assert_eq!((told.status.get(&5), told.goaway, told.last), (Some(&200), Some(0), Some(5)), "{told:?}");
    // The client knows: this one it may send again elsewhere, as it is never taken.
    client.send(&get(7, "/late"));
    let rest = client.see_until(|seen| seen.closed);
    assert_eq!(rest.status, [(3, 200)].into(), "the slow one is finished, the late one is not answered: {rest:?}");
    let mut paths: Vec<_> = app.requests().iter().filter_map(|r| r.head.split(' ').nth(1).map(str::to_owned)).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/crossed", "/first", "/slow"]);
    // What the client still has to say meets no closed socket, whose reset could take the end of an answer with it.
    for _ in 0..2 {
        assert!(client.send(&frame(PING, 0, 0, [0; 8])), "the proxy does not read on");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(client);
    world.join();
}

#[test]
fn a_client_of_http_2_that_is_far_away_may_answer_the_goodbye_later_than_a_second_after_it() {
    let app = Instance::fixed(&ok("whole"));
    let mut world = super::h2::world_with(&app);
    let get = |stream: u32| {
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "shop.test"), (":path", "/")];
        frame(HEADERS, WHOLE, stream, block(&fields.map(|(name, value)| (name, value.as_bytes()))))
    };
    let mut client = FrameClient::connect(&world);
    client.send(&[FrameClient::hello(), get(1)].concat());
    assert_eq!(client.see(&[1]).status.get(&1), Some(&200));

    world.leave(LONG);
    let told = client.see_until(|seen| !seen.pings.is_empty());
    std::thread::sleep(Duration::from_millis(1500));
    // On its way when the goodbye came: no stream runs meanwhile.
    client.send(&[get(3), frame(PING, ACK, 0, &told.pings[0])].concat());

    let told = client.see_until(|seen| seen.closed);
    assert_eq!((told.status.get(&3), told.goaway, told.last), (Some(&200), Some(0), Some(3)), "{told:?}");
    world.join();
}

#[test]
fn a_client_of_http_2_that_does_not_answer_the_goodbye_has_less_time_when_the_process_stops_after_it() {
    let app = Instance::fixed(&ok("whole"));
    let mut world = super::h2::world_with(&app);
    let mut client = FrameClient::connect(&world);
    client.send(&FrameClient::hello());
    world.leave(LONG);
    client.see_until(|seen| !seen.pings.is_empty());

    world.shut_down();
    let begun = Instant::now();
    assert!(client.see_until(|seen| seen.closed).closed);
    let took = begun.elapsed();
    assert!(took < (H2_SHORT_GOODBYE_TIME + H2_GOODBYE_TIME) / 2, "as if nobody waited for the next process: {took:?}");
    assert!(took > H2_SHORT_GOODBYE_TIME / 2, "it had no time: {took:?}");
    world.join();
}

#[test]
fn one_that_takes_a_place_is_ready_when_the_daemon_has_told_it_the_routes() {
    let (world, ready) = World::begin(None, true);
    assert!(ready.recv_timeout(Duration::from_millis(400)).is_err(), "it does not wait for the daemon");
    let begun = Instant::now();
    world.activate(&snapshot(1, &[], &[]));
    ready.recv_timeout(PATIENCE).expect("it is ready");
    assert!(begun.elapsed() < FOLLOWED_TIME / 2, "it waits for nothing else: {:?}", begun.elapsed());
}

/// The world's listening socket is closed with the proxy's, as nobody else holds it here.
#[track_caller]
fn refused(world: &World) {
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(world.address).is_ok() {
        assert!(Instant::now() < end, "it still accepts");
        std::thread::sleep(Duration::from_millis(10));
    }
}
