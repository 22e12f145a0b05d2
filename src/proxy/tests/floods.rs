//! Floods of HTTP/2: what costs work and brings nothing is closed within a second, and who asks for something is answered meanwhile.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::h2::world_with;
use super::world::frames::*;
use super::world::*;
use crate::proxy::limits::H2_RESETS;

/// From the first byte of a flood to the end of its connection.
const SOON: Duration = Duration::from_secs(1);

/// The header block of a good request.
fn block_of(method: &[u8]) -> Vec<u8> {
    block(&[(":method", method), (":scheme", b"https"), (":authority", b"shop.test"), (":path", b"/flood")])
}

/// `each` for streams 1, 3, 5 …, 20,000 of them: far more than any limit.
fn streams(each: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..20_000).flat_map(|n| each(2 * n + 1)).collect()
}

/// What is sent once, and what again and again.
type Flood = (&'static str, Vec<u8>, Vec<u8>);

/// Those that our own counter ends.
fn counted() -> Vec<Flood> {
    let open = frame(HEADERS, END_HEADERS, 1, block_of(b"POST"));
    vec![
        ("PING", vec![], frame(PING, 0, 0, b"abcdefgh").repeat(64)),
        ("PING answers", vec![], frame(PING, ACK, 0, b"abcdefgh").repeat(64)),
        ("SETTINGS", vec![], frame(SETTINGS, 0, 0, [0, 4, 0, 1, 0, 0]).repeat(64)),
        ("PRIORITY", vec![], frame(PRIORITY, 0, 1, [0, 0, 0, 3, 16]).repeat(64)),
        ("frames that nobody knows", vec![], frame(0xbe, 0, 0, "x").repeat(64)),
        ("empty DATA", open.clone(), frame(DATA, 0, 1, "").repeat(64)),
        ("DATA of nothing but padding", open, frame(DATA, PADDED, 1, [0]).repeat(64)),
        ("WINDOW_UPDATE", vec![], frame(WINDOW_UPDATE, 0, 0, [0, 0, 0, 1]).repeat(64)),
    ]
}

/// Those that the h2 crate ends by what it is told of our limits, or by its own.
fn bounded() -> Vec<Flood> {
    let get = block_of(b"GET");
    let begun = frame(HEADERS, END_STREAM, 1, &get);
    let rapid = |n| [frame(HEADERS, WHOLE, n, &get), frame(RST_STREAM, 0, n, [0, 0, 0, 8])].concat();
    let made = |n| [frame(HEADERS, WHOLE, n, &get), frame(WINDOW_UPDATE, 0, n, [0x7f, 0xff, 0xff, 0xff])].concat();
    let itself = |n: u32| frame(HEADERS, WHOLE | PRIORITISED, n, [&n.to_be_bytes()[..], &[1], &get].concat());
    vec![
        ("CONTINUATION", begun.clone(), frame(CONTINUATION, 0, 1, "").repeat(64)),
        ("CONTINUATION with fields", begun, frame(CONTINUATION, 0, 1, block(&[("x", b"y")])).repeat(64)),
        ("rapid resets", vec![], streams(rapid)),
        ("resets that we are made to send", vec![], streams(made)),
        ("streams that depend on themselves", vec![], streams(itself)),
    ]
}

/// Set when it is dropped.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn close_all(floods: Vec<Flood>) {
    let app = Instance::start(|_, to| {
        std::thread::sleep(Duration::from_millis(5));
        to.write_all(ok("x").as_bytes()).is_ok()
    });
    let world = world_with(&app);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !over.load(Ordering::SeqCst) {
                let asked = Instant::now();
                assert_eq!(world.get("/beside").status, 200);
                slowest = slowest.max(asked.elapsed());
            }
            slowest
        });
        // Also when an assertion fails: else the test would wait for the client beside for ever.
        let end = EndOf(&over);
        for (name, once, again) in floods {
            let mut client = FrameClient::connect(&world);
            client.send(&[FrameClient::hello(), once].concat());
            let took = client.flood(&again, 5 * SOON);
            println!("{name}: closed after {took:?}");
            assert!(took < SOON, "{name}: closed only after {took:?}");
        }
        drop(end);
        let slowest = beside.join().expect("the client beside is answered");
        assert!(slowest < SOON, "a client beside the floods waited {slowest:?}");
    });
    // Streams that are reset before they are begun cost no request.
    let flooded = app.requests().iter().filter(|got| got.head.contains("/flood")).count();
    assert!(flooded < 1000, "{flooded}");
}

#[test]
fn floods_that_we_count_are_closed_within_a_second_while_others_are_answered() {
    close_all(counted());
}

#[test]
fn floods_that_the_h2_crate_bounds_are_closed_within_a_second_while_others_are_answered() {
    close_all(bounded());
}

/// Each stream is at the instance before it is reset, which the h2 crate allows for ever: its bound is for those that nobody took yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_of_requests_that_were_begun_are_counted_too() {
    let address = Instance::raw(|stream, _| {
        let mut read = std::io::BufReader::new(stream);
        while read_head(&mut read).is_some() {}
    });
    let world = World::start();
    world.place(1, address);
    world.activate(&with_certs(snapshot(1, &[1], &[]), vec![certificate(&["shop.test"])]));
    let mut h2 = world.h2().await;
    let (at_once, mut reset) = (80, 0);
    while reset + at_once <= H2_RESETS {
        let mut open = Vec::new();
        for _ in 0..at_once {
            open.push(h2.open(request("GET", "/"), true).await);
        }
        tokio::task::block_in_place(|| world.daemon.wait_counts(1, |c| c.in_flight == u64::from(at_once)));
        for (_, mut stream) in open {
            stream.send_reset(h2::Reason::CANCEL);
        }
        reset += at_once;
        tokio::task::block_in_place(|| world.daemon.wait_counts(1, |c| c.in_flight == 0));
    }
    assert!(!h2.connection.is_finished(), "so many are nothing odd");
    let mut open = Vec::new();
    for _ in reset..=H2_RESETS {
        open.push(h2.open(request("GET", "/"), true).await);
    }
    tokio::task::block_in_place(|| world.daemon.wait_counts(1, |c| c.in_flight == open.len() as u64));
    let begun = Instant::now();
    for (_, stream) in &mut open {
        stream.send_reset(h2::Reason::CANCEL);
    }
    let error = tokio::time::timeout(SOON, h2.connection).await.expect("closed in time").expect("no panic").expect_err("closed");
    println!("closed {:?} after the reset too much", begun.elapsed());
    assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{error:?}");
    assert!(!format!("{error:?}").contains("too_many"), "the h2 crate's own bound came first: {error:?}");
    assert_eq!(world.h2().await.send.ready().await.map(drop).ok(), Some(()));
}
