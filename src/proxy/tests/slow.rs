//! What peers that take or bring nothing make the kernel and the proxy hold.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::time::timeout;

use super::world::target;
use crate::proxy::access::Record;
use crate::proxy::answer::Answer;
use crate::proxy::conn::{Upstream, tune};
use crate::proxy::forwarded::Origin;
use crate::proxy::h1::body::{Decoder, Framing, Length};
use crate::proxy::h1::request::Request;
use crate::proxy::limits::{MOST_READ_BYTES, SLIM_AFTER, UNSENT_BYTES, UNSENT_TO_INSTANCE_BYTES};
use crate::proxy::target::Target;
use crate::proxy::upload::{Flow, upload};
use crate::wire::limits::Limits;

/// Longer than a moment.
const LONG: Duration = SLIM_AFTER.saturating_mul(6);

/// A connection that a listening socket of ours gave, and its other end.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    tune(&listener, UNSENT_BYTES);
    let far = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    (listener.accept().expect("accept").0, far)
}

fn request(head: &str) -> (Request, Record) {
    let mut bytes = BytesMut::from(head);
    let length = bytes.len();
    let request = Request::take(&mut bytes, length).expect("a request");
    let origin = Origin { client: [127, 0, 0, 1].into(), trusted: false, https: false };
    let record = Record::new(origin, "1".to_owned(), Some(&request));
    (request, record)
}

#[test]
fn for_a_peer_that_takes_nothing_the_kernel_queues_little() {
    // One as the listening socket gives it, one that is tuned by itself.
    let ((accepted, far), (other_far, made)) = (pair(), pair());
    tune(&made, UNSENT_TO_INSTANCE_BYTES);
    for (mut stream, far, most) in [(accepted, far, UNSENT_BYTES), (made, other_far, UNSENT_TO_INSTANCE_BYTES)] {
        setsockopt(&far, sockopt::RcvBuf, &4096).expect("a small window");
        stream.set_nonblocking(true).expect("nonblocking");
        let piece = vec![0; MOST_READ_BYTES];
        let mut queued = 0;
        for _ in 0..20 {
            loop {
                match stream.write(&piece) {
                    Ok(n) => queued += n,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            // What its window lets through comes in over a moment.
            std::thread::sleep(Duration::from_millis(10));
        }
        let (most, window) = (most as usize, 256 * 1024);
        assert!((most..most + window).contains(&queued), "{queued} bytes for a peer that reads none, with {most}");
    }
}

#[tokio::test]
async fn an_upload_that_waits_for_its_client_holds_no_empty_buffer() {
    for first in [100, 2 << 20] {
        let (near, mut client) = pair();
        let (to_app, mut app) = pair();
        let (mut near, mut to_app) = (Upstream::new(near).expect("near"), Upstream::new(to_app).expect("to the app"));
        let length = first + 1000;
        // As for the head, which goes before it.
        to_app.writer.prepare();
        let (_, record) = request(&format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {length}\r\n\r\n"));
        let taken = std::thread::spawn(move || app.read_exact(&mut vec![0; length]).map(|()| app));
        let limits = Limits::default();
        let (flow, mut body) = (Flow::new(&limits, false), Decoder::new(Length::Exact(length as u64)));
        let from = std::thread::spawn(move || client.write_all(&vec![1; first]).map(|()| client));

        // As long as anything moves, and then the time that the test is about.
        let mut seen = 0;
        loop {
            let (from, to) = (&mut near.reader, &mut to_app.writer);
            let sent = timeout(LONG, upload(from, &mut body, Framing::Plain, to, &flow, &record)).await;
            assert!(sent.is_err(), "{sent:?}");
            if std::mem::replace(&mut seen, record.bytes_in.get()) == first as u64 {
                break;
            }
        }
        assert_eq!((near.reader.buf.capacity(), to_app.writer.out.capacity()), (0, 0), "after {first} bytes");

        let mut client = from.join().expect("no panic").expect("sent");
        client.write_all(&[2; 1000]).expect("the rest");
        let (from, to) = (&mut near.reader, &mut to_app.writer);
        let sent = timeout(LONG, upload(from, &mut body, Framing::Plain, to, &flow, &record)).await;
        assert!(sent.is_err() && body.is_done(), "{sent:?}");
        taken.join().expect("no panic").expect("the app has all of it");
    }
}

#[tokio::test]
async fn an_answer_that_waits_for_its_client_holds_no_empty_buffer() {
    let (near, mut client) = pair();
    let (from_app, mut app) = pair();
    let (mut near, mut from_app) = (Upstream::new(near).expect("near"), Upstream::new(from_app).expect("from the app"));
    let length = 32 << 20;
    let sending = std::thread::spawn(move || {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        app.write_all(head.as_bytes()).and_then(|()| app.write_all(&vec![1; length])).map(|()| app)
    });
    let (request, record) = request("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let claim = Arc::new(Target::new(target(1, None))).claim().expect("open");
    let flow = Flow::new(&Limits::default(), false);
    flow.uploaded.set(true);
    let answer = Answer {
        request: &request,
        record: &record,
        claim: &claim,
        flow: &flow,
        commit_header: false,
        stopping: false,
        endable: Cell::new(false),
    };
    let (from, to) = (&mut from_app.reader, &mut near.writer);
    let mut relay = Box::pin(answer.relay(from, to));
    // As long as anything moves, and then the time that the test is about.
    let mut written = 0;
    loop {
        assert!(timeout(LONG, relay.as_mut()).await.is_err(), "nobody reads");
        let before = std::mem::replace(&mut written, record.bytes_out.get());
        if written > 0 && written == before {
            break;
        }
    }
    assert!(written > UNSENT_BYTES.into(), "{written}");
    drop(relay);
    assert_eq!(from_app.reader.buf.capacity(), 0);
    assert!((1..=2 * MOST_READ_BYTES).contains(&near.writer.out.len()), "{}", near.writer.out.len());

    // What was told as written is there for one that reads after all.
    let reading = std::thread::spawn(move || client.read_exact(&mut vec![0; written as usize]).map(|()| client));
    near.writer.flush().await.expect("flushed");
    reading.join().expect("no panic").expect("read");
    drop(from_app);
    drop(sending.join());
}
