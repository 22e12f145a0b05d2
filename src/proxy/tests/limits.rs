//! Clients that are slow on purpose, or too many: each is ended when its limit says so, and others are answered meanwhile.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::world::*;
use crate::proxy::limits::HALF_CLOSED_TIME;
use crate::wire::limits::{DropCounts, Limits};
use crate::wire::proxy::{Action, FromProxy, Front, Maintenance, Snapshot};

const MS: Duration = Duration::from_millis(1);
/// How much later than its limit an end may come.
const LATE: Duration = Duration::from_secs(1);

/// Limits short enough for a test; only one of them is the point of each.
fn short() -> Limits {
    Limits { stall_ms: 20_000, body_rate: 0, ..Limits::default() }
}

fn limited(version: u64, limits: Limits) -> Snapshot {
    Snapshot { front: Front { limits, ..Front::default() }, ..snapshot(version, &[1], &[]) }
}

fn world(instance: &Instance, limits: Limits) -> World {
    let world = World::with(&[instance]);
    world.activate(&limited(2, limits));
    world
}

/// A connection from another address of this host.
fn from(address: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.bind(SocketAddr::from((address, 0))).expect("bind");
        socket.connect(to).await.expect("connect").into_std().expect("std")
    });
    stream.set_nonblocking(false).expect("blocking");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

fn answers(stream: &mut TcpStream) -> bool {
    let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let mut first = [0; 12];
    asked.is_ok() && stream.read_exact(&mut first).is_ok() && &first == b"HTTP/1.1 200"
}

#[track_caller]
fn wait_for_drops(world: &World, wanted: impl Fn(&DropCounts) -> bool) {
    world.daemon.wait("drops", |m| matches!(m, FromProxy::Drops(counts) if wanted(counts)));
}

#[test]
fn a_head_that_drips_is_ended_in_time_while_others_are_answered() {
    let app = Instance::fixed(&ok("x"));
    let world = world(&app, Limits { head_ms: 1000, ..short() });
    let begun = Instant::now();
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let mut client = world.client();
            std::thread::spawn(move || {
                client.stream.set_read_timeout(Some(MS)).expect("timeout");
                client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n");
                let mut first = [0; 64];
                loop {
                    // One more byte now and then keeps an idle timer happy, not this one.
                    client.send("X");
                    match client.stream.read(&mut first) {
                        Ok(n) => return (String::from_utf8_lossy(&first[..n]).into_owned(), begun.elapsed()),
                        Err(_) => std::thread::sleep(50 * MS),
                    }
                }
            })
        })
        .collect();
    while begun.elapsed() < 900 * MS {
        assert_eq!(world.get("/").status, 200);
    }
    for client in slow {
        let (answer, after) = client.join().expect("a slow client");
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
        assert!((1000 * MS..1000 * MS + LATE).contains(&after), "after {after:?}");
    }
    wait_for_drops(&world, |c| c.slow_heads == 20);
}

#[test]
fn a_connection_without_a_request_is_closed_in_time() {
    let app = Instance::fixed(&ok("x"));
    let world = world(&app, Limits { idle_ms: 600, ..short() });
    let mut fresh = world.client();
    let mut used = world.client();
    used.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert_eq!(used.answer().status, 200);
    let begun = Instant::now();
    assert!(fresh.rest().is_empty() && used.rest().is_empty());
    assert!((400 * MS..600 * MS + LATE).contains(&begun.elapsed()), "after {:?}", begun.elapsed());
}

#[test]
fn a_body_below_the_rate_is_ended_in_time_and_one_above_it_is_not() {
    let app = Instance::fixed(&ok("x"));
    let world = world(&app, Limits { body_rate: 1000, body_window_ms: 1000, ..short() });
    let upload = |per_tick: usize, ticks: usize| {
        let mut client = world.client();
        client.stream.set_read_timeout(Some(MS)).expect("timeout");
        client.send(format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {}\r\n\r\n", per_tick * ticks));
        let (begun, mut first) = (Instant::now(), [0; 12]);
        for _ in 0..ticks + 200 {
            client.send("b".repeat(per_tick));
            if client.stream.read(&mut first).is_ok() {
                break;
            }
            std::thread::sleep(100 * MS);
        }
        (String::from_utf8_lossy(&first).into_owned(), begun.elapsed())
    };
    let (slow, after) = upload(50, 1000);
    assert_eq!(slow, "HTTP/1.1 408");
    assert!((900 * MS..1000 * MS + LATE).contains(&after), "after {after:?}");
    let (fast, _) = upload(400, 25);
    assert_eq!(fast, "HTTP/1.1 200", "four times the rate over more than two windows");
    wait_for_drops(&world, |c| c.slow_bodies == 1);
}

#[test]
fn time_in_which_the_instance_takes_nothing_is_not_the_clients() {
    let app = Instance::raw(|mut stream, _| {
        std::thread::sleep(Duration::from_secs(12));
        let mut read = std::io::BufReader::new(stream.try_clone().expect("clone"));
        let got = read_request(&mut read).expect("whole");
        let _ = stream.write_all(ok(&got.body.len().to_string()).as_bytes());
    });
    // In twelve seconds the rate wants more than all buffers on the way take (4 MiB); a machine that stands still now and then brings that
    // much in ten.
    let world = World::start();
    world.place(1, app);
    world.activate(&limited(2, Limits { body_rate: 500 << 10, body_window_ms: 10_000, ..short() }));
    let size = 30 << 20;
    let mut client = world.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {size}\r\n\r\n"));
    client.send(vec![b'b'; size]);
    assert_eq!(client.answer().body, size.to_string());
}

#[test]
fn a_stream_both_ways_and_a_client_that_waits_for_100_have_no_rate() {
    let app = Instance::raw(|mut stream, _| {
        let mut read = std::io::BufReader::new(stream.try_clone().expect("clone"));
        let head = read_head(&mut read).expect("head");
        if head.contains("100-continue") {
            std::thread::sleep(1500 * MS);
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").expect("write");
            read_body(&mut read, &head, false).expect("body");
            stream.write_all(ok("late").as_bytes()).expect("write");
        } else {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").expect("write");
            let body = read_body(&mut read, &head, false).expect("body");
            stream.write_all(&body).expect("write");
        }
    });
    let world = World::start();
    world.place(1, app);
    world.activate(&limited(2, Limits { body_rate: 1000, body_window_ms: 500, ..short() }));
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\n\r\n");
    for byte in *b"echo" {
        std::thread::sleep(400 * MS);
        client.send([byte]);
    }
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.as_str()), (200, "echo"));
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer().status, 100);
    client.send("b");
    assert_eq!(client.answer().body, "late");
}

#[test]
fn a_client_that_does_not_read_is_ended_in_time() {
    let (ended, ends) = mpsc::channel();
    let app = Instance::raw(move |mut stream, _| {
        let mut read = std::io::BufReader::new(stream.try_clone().expect("clone"));
        let Some(got) = read_request(&mut read) else { return };
        if got.head.starts_with("GET /small") {
            let _ = stream.write_all(ok("x").as_bytes());
            return;
        }
        let begun = Instant::now();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").expect("write");
        let piece = vec![b'x'; 1 << 20];
        while stream.write_all(&piece).is_ok() {}
        ended.send(begun.elapsed()).expect("told");
    });
    let world = World::start();
    world.place(1, app);
    world.activate(&limited(2, Limits { stall_ms: 1000, ..short() }));
    let mut client = world.client();
    client.send("GET /large HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert_eq!(world.get("/small").status, 200);
    let after = ends.recv_timeout(PATIENCE).expect("the instance is let go");
    assert!((1000 * MS..1000 * MS + LATE).contains(&after), "after {after:?}");
    wait_for_drops(&world, |c| c.slow_readers == 1);
}

#[test]
fn a_flood_of_one_address_turns_no_other_away() {
    let app = Instance::fixed(&ok("x"));
    let world = world(&app, Limits { connections_per_address: 20, ..short() });
    let (flooder, neighbour) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let mut flood: Vec<TcpStream> = (0..50).map(|_| from(flooder, world.address)).collect();
    let mut good = from(neighbour, world.address);
    assert!(answers(&mut good), "another address");
    let begun = Instant::now();
    let refused = flood.split_off(20);
    assert_eq!(refused.into_iter().filter_map(|mut s| answers(&mut s).then_some(())).count(), 0, "beyond its share");
    assert!(begun.elapsed() < LATE, "closed at once, not after {:?}", begun.elapsed());
    assert!(flood.iter_mut().all(answers), "its share");
    wait_for_drops(&world, |c| c.address_full == 30 && c.all_full == 0);
    // This host's own 127.0.0.1 has no share.
    let mut own: Vec<Client> = (0..50).map(|_| world.client()).collect();
    for client in &mut own {
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
    // What ends makes room, and a new limit needs no new proxy.
    drop(flood);
    let until = Instant::now() + PATIENCE;
    while !answers(&mut from(flooder, world.address)) {
        assert!(Instant::now() < until, "a connection that ended makes room");
    }
    world.activate(&limited(3, Limits { connections_per_address: 1, ..short() }));
    assert!(!answers(&mut from(neighbour, world.address)), "the second one now");
    drop(good);
    let until = Instant::now() + PATIENCE;
    while !answers(&mut from(neighbour, world.address)) {
        assert!(Instant::now() < until, "the first one again");
    }
}

#[test]
fn only_so_many_requests_of_an_app_wait_and_the_others_are_told_at_once() {
    let app = Instance::fixed(&ok("x"));
    let limits = Limits { held_per_app: 3, ..short() };
    let world = world(&app, limits);
    let mut holding = limited(3, limits);
    holding.routes[0].action = Action::Hold { limit_ms: 20_000 };
    let mut paused = limited(5, limits);
    paused.routes[0].rules.maintenance = Some(Maintenance { message: None, hold_ms: 20_000 });
    for (waits, over, retry_after) in [(holding, limited(4, limits), "1"), (paused, limited(6, limits), "30")] {
        world.activate(&waits);
        let mut held: Vec<Client> = (0..3).map(|_| world.client()).collect();
        for client in &mut held {
            client.send("GET /held HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        }
        std::thread::sleep(300 * MS);
        let begun = Instant::now();
        let told = world.get("/one-more");
        assert_eq!((told.status, told.field("retry-after")), (503, Some(retry_after)));
        assert!(begun.elapsed() < LATE, "told after {:?}", begun.elapsed());
        // One that gives up leaves its place to another, as soon as it can't be one that only ended its side.
        drop(held.pop());
        std::thread::sleep(HALF_CLOSED_TIME + 300 * MS);
        held.push(world.client());
        held[2].send("GET /held HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        std::thread::sleep(300 * MS);
        world.activate(&over);
        for client in &mut held {
            assert_eq!(client.answer().body, "x");
        }
    }
}

#[test]
fn those_that_wait_for_a_restart_count_among_those_of_their_app_that_wait() {
    let app = Instance::start(|_, to| std::io::Write::write_all(to, ok("back").as_bytes()).is_err());
    let limits = Limits { held_per_app: 2, ..short() };
    let world = world(&app, limits);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port that is free again");
    world.place(1, closed);
    let mut held: Vec<Client> = (0..2).map(|_| world.client()).collect();
    for client in &mut held {
        client.send("GET /held HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    }
    std::thread::sleep(500 * MS);
    let begun = Instant::now();
    let told = world.get("/one-more");
    assert_eq!((told.status, told.field("retry-after")), (503, Some("1")));
    assert!(begun.elapsed() < LATE, "told after {:?}", begun.elapsed());
    world.place(1, app.address);
    for client in &mut held {
        assert_eq!(client.answer().body, "back");
    }
    // They have left their places: as many may wait again.
    world.activate(&{
        let mut holding = limited(3, limits);
        holding.routes[0].action = Action::Hold { limit_ms: 20_000 };
        holding
    });
    for client in &mut held {
        client.send("GET /held HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    }
    std::thread::sleep(300 * MS);
    assert_eq!(world.get("/one-more").status, 503);
    world.activate(&limited(4, limits));
    for client in &mut held {
        assert_eq!(client.answer().body, "back");
    }
}

#[test]
fn beyond_the_sum_new_connections_are_closed_at_once() {
    let app = Instance::fixed(&ok("x"));
    let world = world(&app, Limits { connections: 10, ..short() });
    let mut kept: Vec<Client> = (0..10).map(|_| world.client()).collect();
    for client in &mut kept {
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
    let mut beyond = world.client();
    beyond.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert!(beyond.try_answer(false).is_none());
    wait_for_drops(&world, |c| c.all_full == 1);
    kept.clear();
    let until = Instant::now() + PATIENCE;
    loop {
        let mut client = world.client();
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        if client.try_answer(false).is_some() {
            break;
        }
        assert!(Instant::now() < until, "there is room again");
    }
}

#[test]
fn a_head_limit_is_the_snapshots() {
    let app = Instance::fixed(&ok("x"));
    let world = world(&app, Limits { head_bytes: 4096, ..short() });
    let head = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: shop.test\r\n\r\n", "y".repeat(n));
    assert_eq!((world.ask(&head(5000)).status, world.ask(&head(3000)).status), (431, 200));
    wait_for_drops(&world, |c| c.large_heads == 1);
    world.activate(&limited(3, short()));
    assert_eq!(world.ask(&head(5000)).status, 200);
}

#[test]
fn limits_that_would_serve_nobody_are_refused() {
    use crate::proxy::routes::{BadSnapshot, Table};
    for wrong in [
        Limits { head_bytes: 0, ..Limits::default() },
        Limits { connections: 0, ..Limits::default() },
        Limits { idle_ms: 0, ..Limits::default() },
        Limits { stall_ms: u64::MAX, ..Limits::default() },
    ] {
        let refused = Table::build(&limited(1, wrong), &Table::default());
        assert_eq!(refused.err(), Some(BadSnapshot::Limits), "{wrong:?}");
    }
}

#[test]
fn a_body_of_which_nothing_comes_is_ended_in_time_where_there_is_no_rate() {
    let app = Instance::fixed(&ok("x"));
    let world = world(&app, Limits { stall_ms: 1000, ..short() });
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 10\r\n\r\nhalf");
    let begun = Instant::now();
    assert_eq!(client.answer().status, 408);
    assert!((900 * MS..1000 * MS + LATE).contains(&begun.elapsed()), "after {:?}", begun.elapsed());
    wait_for_drops(&world, |c| c.slow_bodies == 1);
}

#[test]
fn what_a_client_sends_ahead_is_not_read_without_end() {
    let app = Instance::raw(|stream, _| {
        let mut read = std::io::BufReader::new(stream);
        while read_head(&mut read).is_some() {}
    });
    let world = World::start();
    world.place(1, app);
    world.activate(&limited(2, short()));
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    client.stream.set_write_timeout(Some(500 * MS)).expect("timeout");
    let piece = "GET /next HTTP/1.1\r\nHost: shop.test\r\n\r\n".repeat(4096);
    let taken = (0..512).take_while(|_| client.stream.write_all(piece.as_bytes()).is_ok()).count() * piece.len();
    // The buffers of the kernel on both sides take some MiB.
    assert!(taken < 32 << 20, "{taken} bytes were taken while the first request is not answered");
}
