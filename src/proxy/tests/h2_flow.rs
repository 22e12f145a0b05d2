//! HTTP/2 to clients: flow, many streams, breaks, drains, floods.

use std::io::{BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncReadExt;

use super::h2::world_with;
use super::world::frames::{FrameClient, HEADERS, PREFACE, SETTINGS, WHOLE, WINDOW_UPDATE, block, frame};
use super::world::*;
use crate::proxy::limits::H2_GOODBYE_TIME;
use crate::wire::limits::Limits;
use crate::wire::proxy::{FromProxy, Front, Snapshot};

const MIB: usize = 1024 * 1024;

/// An instance that answers with what it is asked for: `/N` is N bytes in chunks.
fn sized() -> Instance {
    Instance::start(|got, to| {
        let size: usize = got.head.split(['/', ' ']).nth(2).and_then(|n| n.parse().ok()).unwrap_or(0);
        let sent = to.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_ok();
        let piece = vec![b'x'; 50_000];
        let mut left = size;
        while left > 0 {
            let n = left.min(piece.len());
            let chunk = [format!("{n:x}\r\n").as_bytes(), &piece[..n], b"\r\n"].concat();
            if to.write_all(&chunk).is_err() {
                return false;
            }
            left -= n;
        }
        sent && to.write_all(b"0\r\n\r\n").is_ok()
    })
}

/// An instance that answers with `size` bytes, and tells how many of them were taken.
fn counting(size: usize, sent: &Arc<AtomicUsize>) -> Instance {
    let count = Arc::clone(sent);
    Instance::start(move |_, to| {
        to.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").as_bytes()).expect("head");
        let piece = vec![b'x'; 64 * 1024];
        (0..size / piece.len()).all(|_| {
            count.fetch_add(piece.len(), Ordering::SeqCst);
            to.write_all(&piece).is_ok()
        })
    })
}

#[test]
fn a_client_that_opens_its_windows_and_does_not_read_makes_us_hold_little() {
    let sent = Arc::new(AtomicUsize::new(0));
    let world = world_with(&counting(64 * MIB, &sent));
    let mut client = FrameClient::connect(&world);
    let most: u32 = (1 << 31) - 1;
    let settings = [&[0, 1, 0, 0, 0, 0, 0, 4][..], &most.to_be_bytes()].concat();
    let get = [(":method", "GET"), (":scheme", "https"), (":authority", "shop.test"), (":path", "/")];
    let frames = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, 0, settings),
        frame(WINDOW_UPDATE, 0, 0, (most - 65_535).to_be_bytes()),
        frame(HEADERS, WHOLE, 1, block(&get.map(|(name, value)| (name, value.as_bytes())))),
    ];
    assert!(client.send(&frames.concat()));
    std::thread::sleep(Duration::from_millis(1500));
    let ahead = sent.load(Ordering::SeqCst);
    assert!((1..32 * MIB).contains(&ahead), "{ahead} bytes were taken from the instance for a client that reads none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_comes_whole_and_waits_for_a_client_that_does_not_read() {
    let sent = Arc::new(AtomicUsize::new(0));
    let size = 64 * MIB;
    let app = counting(size, &sent);
    let world = world_with(&app);
    let mut h2 = world.h2().await;
    let (answer, _) = h2.open(request("GET", "/"), true).await;
    let answer = answer.await.expect("head");
    tokio::time::sleep(Duration::from_millis(700)).await;
    let ahead = sent.load(Ordering::SeqCst);
    assert!(ahead < 32 * MIB, "{ahead} bytes were taken from the instance for a client that reads none");
    let small = h2.ask(request("HEAD", "/"), b"").await.expect("other streams go on");
    assert_eq!(small.status(), 200);
    assert_eq!(whole(answer).await.expect("whole").body.len(), size);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_goes_whole_and_waits_for_an_instance_that_does_not_read() {
    let (go, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let address = Instance::raw(move |stream, _| {
        let mut write = stream.try_clone().expect("clone");
        let mut read = BufReader::new(stream);
        let head = read_head(&mut read).expect("head");
        wait.lock().expect("wait").recv().expect("go");
        let body = read_body(&mut read, &head, false).expect("body");
        write.write_all(ok(&body.len().to_string()).as_bytes()).expect("answer");
    });
    let world = World::start();
    world.place(1, address);
    world.activate(&with_certs(snapshot(1, &[1], &[]), vec![certificate(&["shop.test"])]));
    let mut h2 = world.h2().await;
    let (answer, mut stream) = h2.open(request("POST", "/"), false).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let sending = tokio::spawn(async move {
        let piece = vec![b'x'; MIB];
        for n in 0..32 {
            upload(&mut stream, &piece, n == 31).await.expect("taken");
            count.fetch_add(MIB, Ordering::SeqCst);
        }
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    let ahead = taken.load(Ordering::SeqCst);
    assert!(ahead < 24 * MIB, "{ahead} bytes were taken for an instance that reads none");
    go.send(()).expect("go");
    sending.await.expect("sent");
    assert_eq!(whole(answer.await.expect("head")).await.expect("whole").text(), (32 * MIB).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_of_one_connection_run_at_once() {
    let app = sized();
    let world = world_with(&app);
    let mut h2 = world.h2().await;
    let mut open = Vec::new();
    for n in 0..90usize {
        let (answer, _) = h2.open(request("GET", &format!("/{}", n * 3000)), true).await;
        open.push((n, tokio::spawn(async move { whole(answer.await?).await })));
    }
    for (n, answer) in open {
        assert_eq!(answer.await.expect("no panic").expect("whole").body.len(), n * 3000);
    }
    assert_eq!(world.daemon.wait_counts(1, |c| c.served == 90 && c.in_flight == 0).failed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_of_the_client_ends_the_request_and_counts_against_nobody() {
    let (gone_tx, gone) = channel();
    let address = Instance::raw(move |stream, _| {
        let mut read = BufReader::new(stream);
        while read_head(&mut read).is_some() {}
        let _ = gone_tx.send(());
    });
    let world = World::start();
    world.place(1, address);
    world.activate(&with_certs(snapshot(1, &[1], &[]), vec![certificate(&["shop.test"])]));
    let mut h2 = world.h2().await;
    let (answer, mut stream) = h2.open(request("GET", "/"), true).await;
    tokio::task::block_in_place(|| world.daemon.wait_counts(1, |c| c.in_flight == 1));
    stream.send_reset(h2::Reason::CANCEL);
    drop(answer);
    let counts = tokio::task::block_in_place(|| world.daemon.wait_counts(1, |c| c.in_flight == 0));
    assert_eq!((counts.served, counts.failed, counts.by_class[0]), (0, 0, 1));
    gone.recv_timeout(PATIENCE).expect("the instance's connection is closed");
    // The end of the whole connection is the same for all its streams.
    let (_answer, _stream) = h2.open(request("GET", "/"), true).await;
    tokio::task::block_in_place(|| world.daemon.wait_counts(1, |c| c.in_flight == 1));
    h2.connection.abort();
    let counts = tokio::task::block_in_place(|| world.daemon.wait_counts(1, |c| c.in_flight == 0));
    assert_eq!((counts.served, counts.failed), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_a_reset_and_never_looks_whole() {
    let app = Instance::start(|got, to| {
        let answer: &[u8] = if got.head.contains("/length") {
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
        } else {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
        };
        to.write_all(answer).expect("write");
        false
    });
    let world = world_with(&app);
    let mut h2 = world.h2().await;
    for path in ["/length", "/chunks"] {
        let error = h2.ask(request("GET", path), b"").await.expect_err("broken");
        assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR), "{path}");
    }
    assert_eq!(tokio::task::block_in_place(|| world.daemon.wait_counts(1, |c| c.failed == 2)).served, 0);
    assert_eq!(h2.ask(request("TRACE", "/"), b"").await.expect("the connection goes on").status(), 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_before_the_end_of_the_upload_is_given_and_the_rest_not_wanted() {
    let address = Instance::raw(|stream, _| {
        let mut write = stream.try_clone().expect("clone");
        let mut read = BufReader::new(stream);
        read_head(&mut read).expect("head");
        write.write_all(b"HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig").expect("answer");
        let _ = std::io::copy(&mut read, &mut std::io::sink());
    });
    let world = World::start();
    world.place(1, address);
    world.activate(&with_certs(snapshot(1, &[1], &[]), vec![certificate(&["shop.test"])]));
    let mut h2 = world.h2().await;
    let (answer, mut stream) = h2.open(request("POST", "/"), false).await;
    stream.send_data(Bytes::from_static(b"the beginning"), false).expect("sent");
    let answer = whole(answer.await.expect("head")).await.expect("whole");
    assert_eq!((answer.status(), answer.text().as_str()), (413, "big"));
    let reset = std::future::poll_fn(|cx| stream.poll_reset(cx)).await.expect("told to stop");
    assert_eq!(reset, h2::Reason::NO_ERROR);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_at_a_draining_target_end_by_its_budget_and_others_go_on() {
    let old = Instance::start(|got, to| {
        let events = got.head.contains("/events");
        let head = if events { "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n" } else { "" };
        to.write_all(head.as_bytes()).expect("write");
        std::thread::sleep(PATIENCE);
        false
    });
    let new = Instance::fixed(&ok("new"));
    let world = world_with(&old);
    world.place(2, new.address);
    let mut h2 = world.h2().await;
    let (slow, _) = h2.open(request("GET", "/slow"), true).await;
    let (events, _) = h2.open(request("GET", "/events"), true).await;
    let events = events.await.expect("head");
    tokio::task::block_in_place(|| world.daemon.wait_counts(1, |c| c.in_flight == 2 && c.streams == 1));
    let drained = with_certs(snapshot(2, &[2], &[(1, budget(300, 900))]), vec![certificate(&["shop.test"])]);
    tokio::task::block_in_place(|| world.activate(&drained));
    assert_eq!(h2.get("/").await.text(), "new", "the connection itself is not drained");
    assert_eq!(whole(slow.await.expect("head")).await.expect("a page").status(), 504);
    assert_eq!(whole(events).await.expect("a proper end").text(), "data: 1\n\n");
    let ended = tokio::task::block_in_place(|| world.daemon.wait("end", |m| matches!(m, FromProxy::DrainEnded { .. })));
    assert!(matches!(ended, FromProxy::DrainEnded { forced: 2, .. }), "{ended:?}");
    assert_eq!(h2.get("/").await.text(), "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_end_of_the_process_the_client_is_told_and_streams_finish() {
    let (go, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let app = Instance::start(move |_, to| {
        wait.lock().expect("wait").recv().expect("go");
        to.write_all(ok("whole").as_bytes()).is_ok()
    });
    let mut world = world_with(&app);
    let mut h2 = world.h2().await;
    let idle = world.h2().await;
    let (answer, _) = h2.open(request("GET", "/"), true).await;
    tokio::task::block_in_place(|| world.daemon.wait_counts(1, |c| c.in_flight == 1));
    world.shut_down();
    idle.connection.await.expect("no panic").expect("GOAWAY without an error");
    go.send(()).expect("go");
    assert_eq!(whole(answer.await.expect("head")).await.expect("whole").text(), "whole");
    h2.connection.await.expect("no panic").expect("GOAWAY without an error");
    let begun = Instant::now();
    tokio::task::block_in_place(|| world.join());
    assert!(begun.elapsed() < Duration::from_secs(5), "nothing is waited for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_says_nothing_after_the_handshake_is_closed() {
    let world = world_with(&Instance::fixed(&ok("x")));
    let mut tls = world.h2_socket().await;
    let closed = tokio::time::timeout(Duration::from_secs(8), async {
        let mut sink = [0; 1024];
        while !matches!(tls.read(&mut sink).await, Ok(0) | Err(_)) {}
    });
    closed.await.expect("closed by the proxy");
    let mut plain = std::net::TcpStream::connect(world.address).expect("accepts");
    plain.set_read_timeout(Some(PATIENCE)).expect("timeout");
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("write");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 "), "no HTTP/2 without TLS");
}

#[test]
fn a_client_that_does_not_go_when_it_is_told_is_closed() {
    let app = Instance::fixed(&ok("x"));
    let world = World::start();
    world.place(1, app.address);
    let front = Front { limits: Limits { idle_ms: 600, ..Limits::default() }, ..Front::default() };
    world.activate(&with_certs(Snapshot { front, ..snapshot(1, &[1], &[]) }, vec![certificate(&["shop.test"])]));
    let mut client = FrameClient::connect(&world);
    client.send(&FrameClient::hello());
    let seen = client.see_until(|seen| seen.closed);
    assert_eq!(seen.goaway, Some(0), "{seen:?}");
    let idle = Duration::from_millis(600);
    assert!(
        (idle - Duration::from_millis(100)..idle + H2_GOODBYE_TIME + Duration::from_secs(2)).contains(&seen.took),
        "{seen:?}"
    );
}
