//! Connections to instances: reuse, retries, refusals, full backlogs.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::world::*;
use crate::names::InstanceId;
use crate::proxy::limits::{DIAL_TARGETS, DIAL_TIME, POOL_IDLE_COUNT, POOL_IDLE_TIME, RESTART_PAUSE};
use crate::wire::proxy::Action;

#[test]
fn an_idle_connection_that_died_is_replaced_unseen_for_a_get() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    // Answers one request per connection, then closes at the next request's first byte: the worst moment.
    let address = Instance::raw(move |stream, _| {
        let mut write = stream.try_clone().expect("clone");
        let mut read = BufReader::new(stream);
        if read_request(&mut read).is_some() {
            count.fetch_add(1, Ordering::SeqCst);
            write.write_all(ok("x").as_bytes()).expect("answer");
            let _ = read.read(&mut [0; 1]);
        }
    });
    let world = World::start();
    world.place(1, address);
    world.activate(&snapshot(1, &[1], &[]));
    let mut client = world.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(world.daemon.wait_counts(1, |c| c.served == 3).retried, 2);
    // On the same kind of connection these may have been acted on, or can't be repeated: they are not sent twice.
    for (n, once) in (4..).zip([
        "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n",
        "PROPFIND / HTTP/1.1\r\nHost: shop.test\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1\r\n\r\nx",
        "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ]) {
        let mut client = world.client();
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        client.send(once);
        assert_eq!(client.answer().status, 502, "{once}");
        assert_eq!(served.load(Ordering::SeqCst), n, "{once}");
    }
}

#[test]
fn what_was_answered_in_part_is_not_sent_again() {
    for half in ["HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 20"] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let address = Instance::raw(move |stream, _| {
            let mut write = stream.try_clone().expect("clone");
            let mut read = BufReader::new(stream);
            for answer in [ok("x").as_str(), half] {
                if read_request(&mut read).is_none() {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                write.write_all(answer.as_bytes()).expect("answer");
            }
        });
        let world = World::start();
        world.place(1, address);
        world.activate(&snapshot(1, &[1], &[]));
        let mut client = world.client();
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n".repeat(2));
        let statuses: Vec<u16> =
            std::iter::repeat_with(|| client.answer().status).take(if half.contains("103") { 3 } else { 2 }).collect();
        assert_eq!(statuses.last(), Some(&502), "{half}: {statuses:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 2, "{half}");
    }
}

#[test]
fn a_post_takes_no_connection_that_idled_long() {
    let app = Instance::fixed(&ok("x"));
    let world = World::with(&[&app]);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    client.answer();
    std::thread::sleep(Duration::from_millis(1100));
    client.send("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1\r\n\r\nx");
    client.answer();
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    client.answer();
    let connections: Vec<usize> = app.requests().iter().map(|r| r.connection).collect();
    assert_eq!(connections, [0, 1, 1], "the POST on a fresh one, the next request on the one used last");
}

#[test]
fn a_target_that_refuses_is_passed_over_and_nothing_left_is_502() {
    let app = Instance::fixed(&ok("x"));
    let world = World::with(&[&app]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port that is free again");
    world.place(2, closed);
    world.activate(&snapshot(2, &[1, 2], &[]));
    for n in 0..10 {
        let post = format!("POST /{n} HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(world.ask(&post).status, 200, "nothing was sent to the other, so a POST may go on");
    }
    assert!(app.requests().iter().all(|r| r.body == b"hi"));
    assert!(world.daemon.wait_counts(1, |c| c.served == 10).retried > 0);
    assert_eq!(world.daemon.wait_counts(2, |_| true).failed, 0);
    world.activate(&snapshot(3, &[2], &[]));
    let answer = world.get("/");
    assert_eq!(answer.status, 502);
    assert_eq!(world.daemon.wait_counts(2, |c| c.failed == 1).by_class[5], 1);
    // Not known to the dialer at all: the same.
    world.activate(&snapshot(4, &[99], &[]));
    assert_eq!(world.get("/").status, 502);
}

#[test]
fn an_app_that_accepts_nothing_does_not_delay_another() {
    let app = Instance::fixed(&ok("quick"));
    let world = World::start();
    // A listener whose queue is full: connects hang until the deadline.
    let stuck = nix_listener_with_no_backlog();
    let address = stuck.local_addr().expect("address");
    let fillers: Vec<_> =
        (0..8).map(|_| std::thread::spawn(move || TcpStream::connect_timeout(&address, Duration::from_secs(3)))).collect();
    world.place(1, app.address);
    world.place(2, address);
    let mut routes = snapshot(1, &[1], &[]);
    let other = crate::names::AppName::parse("stuck").expect("app");
    routes.targets.push(crate::wire::proxy::Target { app: other.clone(), ..target(2, None) });
    routes.routes.push(crate::wire::proxy::Route {
        host: host("stuck.test"),
        app: other,
        action: Action::Forward { targets: vec![InstanceId(2)] },
        rules: Default::default(),
    });
    world.activate(&routes);
    let mut waiting: Vec<Client> = (0..100).map(|_| world.client()).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: stuck.test\r\n\r\n");
    }
    let begun = Instant::now();
    for _ in 0..50 {
        assert_eq!(world.get("/").body, "quick");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
    // Those that waited are told so when the time for a connection is over.
    assert_eq!(waiting[0].answer().status, 504);
    assert!(begun.elapsed() < DIAL_TIME + Duration::from_secs(3), "took {:?}", begun.elapsed());
    drop(fillers);
}

fn nix_listener_with_no_backlog() -> std::net::TcpListener {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, socket};
    use std::os::fd::AsRawFd;
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).expect("socket");
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).expect("bind");
    listen(&fd, Backlog::new(0).expect("backlog")).expect("listen");
    std::net::TcpListener::from(fd)
}

#[test]
fn a_request_that_nobody_took_waits_for_an_instance_that_comes_back_and_not_for_ever() {
    // Each connection serves one request, so that none is kept.
    let app = Instance::start(|_, to| to.write_all(ok("back").as_bytes()).is_err());
    let world = World::start();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port that is free again");
    world.place(1, closed);
    world.activate(&snapshot(1, &[1], &[]));
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\nhi");
    // It waits: the answer is not there before the instance is.
    client.stream.set_read_timeout(Some(Duration::from_millis(300))).expect("timeout");
    assert!(client.stream.peek(&mut [0; 1]).is_err(), "it was answered while nobody was there");
    // One that waits holds up no drain.
    world.daemon.wait_counts(1, |c| c.in_flight == 0);
    client.stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    world.place(1, app.address);
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.as_str()), (200, "back"));
    assert_eq!(app.requests()[0].body, b"hi");
    assert_eq!(world.daemon.wait_counts(1, |c| c.served == 1).held, 1);

    world.place(1, closed);
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().status, 502);
    assert_eq!(world.get("/").status, 502);
    assert!(begun.elapsed() < Duration::from_secs(15), "it waited {:?}", begun.elapsed());
}

#[test]
fn the_target_with_the_least_to_do_gets_the_next_request() {
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    let named = |name: &'static str| {
        let gate = Arc::clone(&gate);
        Instance::start(move |got, to| {
            if got.head.contains("/slow") {
                gate.lock().expect("gate").recv_timeout(PATIENCE).expect("go");
            }
            to.write_all(ok(name).as_bytes()).is_ok()
        })
    };
    let (one, two) = (named("one"), named("two"));
    let world = World::with(&[&one, &two]);
    let mut slow = world.client();
    slow.send("GET /slow HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let until = Instant::now() + PATIENCE;
    while one.requests().len() + two.requests().len() == 0 {
        assert!(Instant::now() < until, "it does not arrive");
        std::thread::sleep(Duration::from_millis(5));
    }
    let free = if one.requests().is_empty() { "one" } else { "two" };
    // On one connection each has been counted out when the next one is placed.
    let mut client = world.client();
    for _ in 0..10 {
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert_eq!(client.answer().body, free);
    }
    go.send(()).expect("go");
    assert_ne!(slow.answer().body, free);
}

#[test]
fn a_connection_that_the_instance_says_it_closes_serves_nobody_else() {
    // It says so, and leaves it open for now.
    let app = Instance::fixed("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx");
    let world = World::with(&[&app]);
    let mut client = world.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert_eq!(client.answer().body, "x");
    }
    assert_eq!(app.requests().iter().map(|r| r.connection).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn what_went_nowhere_on_a_kept_connection_is_sent_by_another_unless_it_has_a_body() {
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n", 200),
        ("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1\r\n\r\nx", 502),
    ] {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let ended = std::sync::Mutex::new(ended);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        // The first connection is ended when the test says so, whatever came of the other end.
        let address = Instance::raw(move |stream, number| {
            let mut write = stream.try_clone().expect("clone");
            let mut read = BufReader::new(stream);
            while read_request(&mut read).is_some() {
                count.fetch_add(1, Ordering::SeqCst);
                write.write_all(ok("x").as_bytes()).expect("answer");
            }
            if number == 0 {
                ended.lock().expect("ended").recv_timeout(PATIENCE).expect("told");
            }
        });
        let world = World::start();
        *world.dials.copies.lock().expect("copies") = Some(Vec::new());
        world.place(1, address);
        world.activate(&snapshot(1, &[1], &[]));
        let mut client = world.client();
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert_eq!(client.answer().status, 200);

        // It takes no byte more, and does not look it.
        let first = world.dials.copies.lock().expect("copies").take().expect("a list").remove(0);
        first.shutdown(std::net::Shutdown::Write).expect("shut down");
        client.send(request);
        world.daemon.wait_counts(1, |c| c.served == 1 && c.in_flight == 1);
        drop(first);
        end.send(()).expect("it waits");

        assert_eq!(client.answer().status, status, "{request}");
        assert_eq!(asked.load(Ordering::SeqCst), if status == 200 { 2 } else { 1 }, "{request}");
        let retried = u64::from(status == 200);
        world.daemon.wait_counts(1, |c| c.retried == retried && c.served == 1 + retried);
    }
}

#[test]
fn of_many_connections_that_are_free_at_once_few_are_kept() {
    const MANY: usize = 200;
    const WORKERS: usize = 2;
    let (here, open) = (Arc::new(std::sync::Barrier::new(MANY)), Arc::new(AtomicUsize::new(0)));
    let still = Arc::clone(&open);
    let address = Instance::raw(move |stream, _| {
        still.fetch_add(1, Ordering::SeqCst);
        let mut write = stream.try_clone().expect("clone");
        let mut read = BufReader::new(stream);
        if read_request(&mut read).is_some() {
            here.wait();
            write.write_all(ok("x").as_bytes()).expect("answer");
            let _ = read.read(&mut [0; 1]);
        }
        still.fetch_sub(1, Ordering::SeqCst);
    });
    let world = World::start();
    world.place(1, address);
    world.activate(&snapshot(1, &[1], &[]));
    let mut clients: Vec<Client> = (0..MANY).map(|_| world.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    // Long before idle ones are closed.
    let begun = Instant::now();
    while open.load(Ordering::SeqCst) > WORKERS * POOL_IDLE_COUNT {
        assert!(begun.elapsed() < POOL_IDLE_TIME / 2, "{} are open", open.load(Ordering::SeqCst));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(open.load(Ordering::SeqCst) > POOL_IDLE_COUNT, "none is kept, or all of one worker");
}

#[test]
fn a_request_tries_three_targets_and_waits_a_moment_before_it_tries_more() {
    let world = World::start();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port that is free again");
    let ids = [1, 2, 3, 4, 5, 6, 7];
    ids.iter().for_each(|id| world.place(*id, closed));
    world.activate(&snapshot(1, &ids, &[]));
    assert_eq!(world.get("/").status, 502);
    let dials = world.dials.begun.lock().expect("begun").clone();
    assert!(dials.len() >= 3 * DIAL_TARGETS, "{dials:?}");
    for (n, pair) in dials.windows(2).enumerate() {
        let paused = pair[1].1 - pair[0].1;
        let same_round = (n + 1) % DIAL_TARGETS != 0;
        assert!(same_round || paused >= RESTART_PAUSE.0, "{paused:?} before dial {}: {dials:?}", n + 2);
        assert!(!same_round || pair[0].0 != pair[1].0, "the same target twice: {dials:?}");
    }
}
