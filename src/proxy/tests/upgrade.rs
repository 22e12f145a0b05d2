//! WebSockets and other upgrades.

use std::io::{BufReader, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::world::*;
use crate::proxy::limits::HALF_TUNNEL_TIME;
use crate::wire::proxy::FromProxy;

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\n";
const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\n";

/// Switches, then echoes bytes until the client ends; sends what it was sent after the end of the test's interest.
fn echo_server() -> SocketAddr {
    Instance::raw(|stream, _| {
        let mut write = stream.try_clone().expect("clone");
        let mut read = BufReader::new(stream);
        let head = read_head(&mut read).expect("head");
        assert!(head.contains("Connection: Upgrade\r\nUpgrade: websocket\r\n"), "{head}");
        write.write_all(SWITCH).expect("switch");
        let mut buf = [0; 4096];
        while let Ok(n) = read.read(&mut buf) {
            if n == 0 || write.write_all(&buf[..n]).is_err() {
                return;
            }
        }
    })
}

fn world_with(address: SocketAddr) -> World {
    let world = World::start();
    world.place(1, address);
    world.activate(&snapshot(1, &[1], &[]));
    world
}

#[test]
fn a_tunnel_carries_bytes_both_ways_even_those_sent_too_early() {
    let world = world_with(echo_server());
    let mut client = world.client();
    client.send(ASK.to_owned() + "early");
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("upgrade"), answer.field("connection")), (101, Some("websocket"), Some("Upgrade")));
    assert_eq!(answer.field("sec-websocket-accept"), Some("a"));
    assert_eq!(client.expect_bytes(5), b"early");
    for n in 0..100u8 {
        client.send([n; 1000]);
        assert_eq!(client.expect_bytes(1000), [n; 1000]);
    }
    let counts = world.daemon.wait_counts(1, |c| c.streams == 1);
    assert_eq!(counts.in_flight, 1);
    drop(client);
    assert_eq!(world.daemon.wait_counts(1, |c| c.in_flight == 0 && c.streams == 0).by_class[1], 1);
}

#[test]
fn a_drained_tunnel_lives_for_its_budget_and_ends_with_a_close_frame_at_a_boundary() {
    let world = world_with(echo_server());
    let mut client = world.client();
    client.send(ASK);
    assert_eq!(client.answer().status, 101);
    // Half a frame (text, 5 bytes, 2 of them here) is on its way when the budget ends.
    client.send([0x81, 0x03, b'a', b'b', b'c', 0x81, 0x05, b'h', b'e']);
    assert_eq!(client.expect_bytes(9), [0x81, 0x03, b'a', b'b', b'c', 0x81, 0x05, b'h', b'e']);
    world.activate(&snapshot(2, &[], &[(1, budget(50, 1500))]));
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert!(
        !world.daemon.messages().iter().any(|m| matches!(m, FromProxy::DrainEnded { .. })),
        "the requests' budget is not the tunnel's"
    );
    std::thread::sleep(std::time::Duration::from_millis(1200));
    client.send(b"llo");
    let rest = client.rest();
    assert_eq!(rest, [b'l', b'l', b'o', 0x88, 0x02, 0x03, 0xe9], "the frame is finished, then 1001, then the end");
    let FromProxy::DrainEnded { forced, .. } = world.daemon.wait("drain end", |m| matches!(m, FromProxy::DrainEnded { .. }))
    else {
        unreachable!()
    };
    assert_eq!(forced, 1);
    assert_eq!(world.daemon.wait_counts(1, |c| c.in_flight == 0).cut, 1);
}

#[test]
fn tunnels_of_a_process_that_leaves_end_one_after_another_over_the_last_tenth_of_its_grace() {
    let mut world = world_with(echo_server());
    let clients: Vec<Client> = (0..40)
        .map(|_| {
            let mut client = world.client();
            client.send(ASK);
            assert_eq!(client.answer().status, 101);
            client
        })
        .collect();
    let grace = Duration::from_secs(6);
    let begun = Instant::now();
    world.leave(grace);
    let ends = clients.into_iter().map(|mut client| std::thread::spawn(move || (client.rest(), begun.elapsed())));
    let ends: Vec<_> = ends.collect::<Vec<_>>().into_iter().map(|end| end.join().expect("no panic")).collect();

    assert!(ends.iter().all(|(rest, _)| rest == &[0x88, 0x02, 0x03, 0xe9]), "{ends:?}");
    let (first, last) = (ends.iter().map(|(_, at)| *at).min(), ends.iter().map(|(_, at)| *at).max());
    let (first, last) = (first.expect("one"), last.expect("one"));
    assert!(first >= grace * 9 / 10, "{first:?}");
    assert!(last < grace + Duration::from_secs(3), "{last:?}");
    assert!(last - first > grace / 25, "all at once: from {first:?} to {last:?}");
    world.join();
}

#[test]
fn a_tunnel_that_ends_by_itself_while_draining_counts_as_drained() {
    let world = world_with(echo_server());
    let mut client = world.client();
    client.send(ASK);
    assert_eq!(client.answer().status, 101);
    world.activate(&snapshot(2, &[], &[(1, budget(50, 60_000))]));
    client.send(b"still here");
    assert_eq!(client.expect_bytes(10), b"still here");
    drop(client);
    let ended = world.daemon.wait("drain end", |m| matches!(m, FromProxy::DrainEnded { .. }));
    assert!(matches!(ended, FromProxy::DrainEnded { forced: 0, .. }), "{ended:?}");
    let counts = world.daemon.wait_counts(1, |c| c.in_flight == 0);
    assert_eq!((counts.drained, counts.cut), (1, 0));
}

#[test]
fn without_the_instances_own_101_nothing_is_tunnelled() {
    let app = Instance::fixed(&ok("no"));
    let world = World::with(&[&app]);
    let mut client = world.client();
    client.send(ASK.to_owned() + "GET /next HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert_eq!(client.answer().body, "no");
    assert_eq!(client.answer().body, "no", "what came behind is a request like any other");
    assert_eq!(app.requests().len(), 2);
    // 101 to something else than was asked for.
    let app = Instance::fixed("HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n");
    assert_eq!(World::with(&[&app]).ask(ASK).status, 502);
    // Not asked for: h2c would hide requests, and an upgrade with a body would need two framings.
    let app = Instance::fixed(&ok("no"));
    let world = World::with(&[&app]);
    world.ask(&ASK.replace("WebSocket", "h2c"));
    world.ask("POST / HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx");
    world.ask("GET / HTTP/1.0\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    world.ask("GET / HTTP/1.1\r\nHost: shop.test\r\nUpgrade: websocket\r\n\r\n");
    assert!(app.requests().iter().all(|r| r.field("upgrade").is_none()), "{:?}", app.requests());
}

/// An open WebSocket.
fn opened(world: &World) -> Client {
    let mut client = world.client();
    client.send(ASK);
    assert_eq!(client.answer().status, 101);
    client
}

#[test]
fn a_tunnel_that_its_sender_has_closed_gets_no_second_close_frame() {
    let world = world_with(echo_server());
    let mut client = opened(&world);
    let close = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
    client.send(close);
    assert_eq!(client.expect_bytes(close.len()), close);
    world.activate(&snapshot(2, &[], &[(1, budget(50, 100))]));
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_client_has_time_to_reply_to_the_close_frame() {
    let world = world_with(echo_server());
    let mut client = opened(&world);
    world.activate(&snapshot(2, &[], &[(1, budget(50, 100))]));
    std::thread::sleep(std::time::Duration::from_millis(600));
    client.send([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]);
    std::thread::sleep(std::time::Duration::from_millis(200));
    // Had the first met a closed socket, its reset would be here by now.
    client.stream.write_all(b"x").expect("the proxy still reads");
    assert_eq!(client.rest(), [0x88, 0x02, 0x03, 0xe9]);
}

#[test]
fn a_tunnel_of_which_one_side_has_ended_does_not_last() {
    let world = world_with(Instance::raw(|stream, _| {
        let mut write = stream.try_clone().expect("clone");
        let mut read = BufReader::new(stream);
        read_head(&mut read).expect("head");
        write.write_all(SWITCH).expect("switch");
        // It says nothing more, and does not end either.
        let _ = read.read_to_end(&mut Vec::new());
        std::thread::sleep(PATIENCE);
    }));
    let mut client = opened(&world);
    client.stream.shutdown(std::net::Shutdown::Write).expect("half close");
    let begun = std::time::Instant::now();
    assert_eq!(client.rest(), b"");
    let took = begun.elapsed();
    assert!(took + std::time::Duration::from_millis(100) >= HALF_TUNNEL_TIME && took < HALF_TUNNEL_TIME * 2, "{took:?}");
}

#[test]
fn a_tunnel_ends_properly_with_the_process() {
    let mut world = world_with(echo_server());
    let mut client = opened(&world);
    world.shut_down();
    assert_eq!(client.rest(), [0x88, 0x02, 0x03, 0xe9]);
    world.join();
}
