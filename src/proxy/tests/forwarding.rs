//! Routing, heads, framing, keep-alive, streaming.

use std::io::{BufReader, Read, Write};
use std::time::Duration;

use super::world::*;

#[test]
fn a_request_goes_to_the_app_that_owns_the_host_in_any_spelling() {
    let app = Instance::fixed(&ok("hello"));
    let world = World::with(&[&app]);
    for spelling in ["shop.test", "SHOP.test", "shop.test.", "shop.test:8080", "Shop.Test.:80"] {
        let answer = world.ask(&format!("GET / HTTP/1.1\r\nHost: {spelling}\r\n\r\n"));
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"), "{spelling}");
        assert_eq!(app.requests().last().expect("one").field("host").as_deref(), Some(spelling), "Host as sent");
    }
    let seen = app.requests().len();
    for stranger in ["other.test", "shop.test.evil", "xshop.test", "127.0.0.1", "[::1]:80", "my_shop.test"] {
        let answer = world.ask(&format!("GET / HTTP/1.1\r\nHost: {stranger}\r\n\r\n"));
        assert_eq!(answer.status, 404, "{stranger}");
        assert!(!answer.body.contains("shop") && !answer.body.contains("paas"), "the page reveals nothing: {}", answer.body);
    }
    assert_eq!(app.requests().len(), seen);
}

#[test]
fn the_instance_learns_the_client_from_us_and_not_from_the_client() {
    let app = Instance::fixed(&ok(""));
    let world = World::with(&[&app]);
    world.ask(
        "GET /a?b=1 HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nContent_Length: 6.6.6.6\r\nx-forwarded-proto: https\r\n\
         X-Forwarded-Evil: 1\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nProxy: evil:1\r\nProxy-Connection: close\r\n\
         Keep-Alive: 5\r\nConnection: X-Gone, keep-alive\r\nX-Gone: 1\r\nX-Request-Start: 1\r\nX-Request-ID: short\r\nHTTP2-Settings: a\r\n\
         Upgrade: h2c\r\nCookie: kept\r\nX-Kept: a\r\nX-Kept: b\r\n\r\n",
    );
    let got = app.requests().remove(0);
    assert!(got.head.starts_with("GET /a?b=1 HTTP/1.1\r\nHost: shop.test\r\n"), "{}", got.head);
    assert!(
        !got.head.contains("6.6.6.6") && !got.head.contains("evil") && !got.head.to_lowercase().contains("gone"),
        "{}",
        got.head
    );
    for gone in ["keep-alive", "proxy-connection", "http2-settings", "upgrade", "connection", "x-forwarded-evil"] {
        assert_eq!(got.field(gone), None, "{gone}");
    }
    assert_eq!(got.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(got.field("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(got.field("x-forwarded-host").as_deref(), Some("shop.test"));
    assert_eq!(got.field("x-forwarded-port"), Some(world.address.port().to_string()));
    assert_eq!(got.field("x-request-id").expect("id").len(), 32);
    assert!(got.field("x-request-start").expect("start").len() >= 13);
    assert!(got.head.contains("Cookie: kept\r\nX-Kept: a\r\nX-Kept: b\r\n"), "order and repeats are kept: {}", got.head);
}

#[test]
fn connections_are_kept_on_both_sides_and_pipelined_requests_answered_in_order() {
    let app = Instance::start(|got, to| to.write_all(ok(got.head.split(' ').nth(1).expect("path")).as_bytes()).is_ok());
    let world = World::with(&[&app]);
    let mut client = world.client();
    for n in 0..20 {
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: shop.test\r\n\r\n"));
        assert_eq!(client.answer().body, format!("/{n}"));
    }
    let batch: String = (20..40).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: shop.test\r\n\r\n")).collect();
    client.send(batch);
    for n in 20..40 {
        assert_eq!(client.answer().body, format!("/{n}"));
    }
    assert!(app.requests().iter().all(|r| r.connection == 0), "one connection serves them all");
    // A client that has said all it wants to say still gets its answers.
    client.send("GET /last HTTP/1.1\r\nHost: shop.test\r\n\r\n".repeat(3));
    client.stream.shutdown(std::net::Shutdown::Write).expect("half close");
    assert_eq!([client.answer().body, client.answer().body, client.answer().body], ["/last"; 3]);
    assert!(client.rest().is_empty());
}

#[test]
fn bodies_are_framed_anew_both_ways_with_their_trailers() {
    let app = Instance::start(|got, to| {
        assert_eq!(got.field("transfer-encoding").as_deref(), Some("chunked"));
        let body = String::from_utf8_lossy(&got.body).into_owned();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x};ext=1\r\n{body}\r\n0\r\nX-Sum: 9\r\nContent-Length: 7\r\n\r\n",
            body.len()
        );
        to.write_all(answer.as_bytes()).is_ok()
    });
    let world = World::with(&[&app]);
    let mut client = world.client();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n");
        client.send("4;a=b\r\ndefg\r\n0\r\nX-Trail: t\r\nX-Forwarded-For: 6.6.6.6\r\nHost: evil\r\n\r\n");
        let answer = client.answer();
        assert_eq!(answer.body, "abcdefg[X-Trail: t][X-Sum: 9]");
        assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
    }
    assert_eq!(app.requests()[0].body, b"abcdefg[X-Trail: t]");
}

#[test]
fn a_big_upload_and_a_big_answer_arrive_whole() {
    let app = Instance::start(|got, to| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", got.body.len());
        to.write_all(head.as_bytes()).and_then(|()| to.write_all(&got.body)).is_ok()
    });
    let world = World::with(&[&app]);
    let body: Vec<u8> = (0..5_000_000u32).map(|n| b'a' + (n % 23) as u8).collect();
    let mut client = world.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {}\r\n\r\n", body.len()));
    let mut write = client.stream.try_clone().expect("clone");
    let sent = body.clone();
    let writer = std::thread::spawn(move || write.write_all(&sent));
    assert!(client.answer().body.into_bytes() == body, "the same bytes come back");
    writer.join().expect("writer").expect("all sent");
}

#[test]
fn answers_without_a_body_end_where_they_should() {
    let app = Instance::start(|got, to| {
        let answer = match got.head.split(' ').nth(1).expect("path") {
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\nETag: \"a\"\r\n\r\n".to_owned(),
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_owned(),
            "/head-chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            _ => ok("next"),
        };
        to.write_all(answer.as_bytes()).is_ok()
    });
    let world = World::with(&[&app]);
    let mut client = world.client();
    for (method, path, length) in
        [("GET", "/204", None), ("GET", "/304", Some("100")), ("HEAD", "/head", Some("1234")), ("HEAD", "/head-chunked", None)]
    {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n"));
        assert_eq!(client.answer_to(method == "HEAD").field("content-length"), length, "{path}");
        client.send("GET /next HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert_eq!(client.answer().body, "next", "the connection goes on after {path}");
    }
}

#[test]
fn an_answer_until_close_is_chunked_and_http_1_0_gets_it_plain() {
    let app = Instance::start(|_, to| {
        to.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it").expect("write");
        false
    });
    let world = World::with(&[&app]);
    let mut client = world.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.body.as_str(), answer.field("transfer-encoding")), ("all of it", Some("chunked")));
    }
    let answer = world.ask("GET / HTTP/1.0\r\nHost: shop.test\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(
        (answer.body.as_str(), answer.field("transfer-encoding"), answer.field("connection")),
        ("all of it", None, Some("close"))
    );
}

#[test]
fn http_1_0_clients_are_served_and_keep_their_connection_if_they_ask() {
    let app = Instance::fixed(&ok("x"));
    let world = World::with(&[&app]);
    let mut client = world.client();
    client.send("GET / HTTP/1.0\r\nHost: shop.test\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.answer().field("connection"), Some("keep-alive"));
    client.send("GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n");
    assert_eq!(client.answer().field("connection"), Some("close"));
    assert!(client.rest().is_empty(), "and it is closed");
    assert_eq!(world.ask("GET / HTTP/1.0\r\n\r\n").status, 404, "without a host there is no app");
}

#[test]
fn interim_answers_pass_and_100_only_to_who_waits_for_it() {
    let address = Instance::raw(|stream, _| {
        let mut write = stream.try_clone().expect("clone");
        let mut read = BufReader::new(stream);
        while let Some(head) = read_head(&mut read) {
            write.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n").expect("interim");
            if head.contains("Expect: 100-continue") {
                read.read_exact(&mut [0; 5]).expect("body");
            }
            write.write_all(ok("done").as_bytes()).expect("answer");
        }
    });
    let world = World::start();
    world.place(1, address);
    world.activate(&snapshot(1, &[1], &[]));
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n");
    assert_eq!(client.answer().head, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
    assert_eq!(client.answer().status, 100, "the body is sent only after this");
    client.send("hello");
    assert_eq!(client.answer().body, "done");
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert_eq!([client.answer().status, client.answer().status], [103, 200]);
    assert!(world.ask("GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n").head.starts_with("HTTP/1.1 200"));
}

#[test]
fn an_early_answer_to_an_upload_reaches_the_client_and_ends_the_connection() {
    let address = Instance::raw(|stream, _| {
        let mut write = stream.try_clone().expect("clone");
        let mut read = BufReader::new(stream);
        read_head(&mut read).expect("head");
        write.write_all(b"HTTP/1.1 413 Too Big\r\nContent-Length: 7\r\n\r\ntoo big").expect("answer");
        // Reads no body: a real server closes now.
        std::thread::sleep(Duration::from_millis(200));
    });
    let world = World::start();
    world.place(1, address);
    world.activate(&snapshot(1, &[1], &[]));
    let mut client = world.client();
    client.send("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 50000000\r\n\r\n");
    let mut write = client.stream.try_clone().expect("clone");
    let upload = std::thread::spawn(move || while write.write_all(&[0; 65536]).is_ok() {});
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.as_str(), answer.field("connection")), (413, "too big", Some("close")));
    drop(client);
    upload.join().expect("the upload ends");
}

#[test]
fn an_answer_before_the_end_of_the_upload_is_not_followed_by_a_reset() {
    let world = World::with(&[&Instance::fixed(&ok("x"))]);
    let mut client = world.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: nowhere.test\r\nContent-Length: 4000\r\n\r\n{}", "x".repeat(2000)));
    assert_eq!(client.answer().status, 404);
    client.send("x".repeat(2000));
    std::thread::sleep(Duration::from_millis(200));
    // Had that met a closed socket, its reset would be here by now.
    client.stream.write_all(b"x").expect("the proxy still reads");
    assert!(client.rest().is_empty());
}

#[test]
fn a_streamed_answer_flows_without_waiting_for_more() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let app = Instance::start(move |_, to| {
        to.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ndata: 1\n\r\n",
        )
        .expect("first");
        wait.lock().expect("wait").recv().expect("go");
        to.write_all(b"8\r\ndata: 2\n\r\n0\r\n\r\n").is_ok()
    });
    let world = World::with(&[&app]);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    read_head(&mut client.read).expect("head");
    assert_eq!(client.expect_bytes(13), b"8\r\ndata: 1\n\r\n", "the first event is there before the second exists");
    assert_eq!(world.daemon.wait_counts(1, |c| c.streams == 1).in_flight, 1);
    go.send(()).expect("go");
    assert_eq!(client.expect_bytes(18), b"8\r\ndata: 2\n\r\n0\r\n\r\n");
    world.daemon.wait_counts(1, |c| c.streams == 0 && c.in_flight == 0 && c.served == 1);
}

#[test]
fn a_client_that_goes_away_cancels_the_request() {
    let (gone, wait) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let address = Instance::raw(move |stream, _| {
        let mut read = BufReader::new(stream);
        read_head(&mut read).expect("head");
        let rest = read.read(&mut [0; 1]);
        gone.lock().expect("gone").send(matches!(rest, Ok(0) | Err(_))).expect("send");
    });
    let world = World::start();
    world.place(1, address);
    world.activate(&snapshot(1, &[1], &[]));
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    world.daemon.wait_counts(1, |c| c.in_flight == 1);
    drop(client);
    assert!(wait.recv_timeout(PATIENCE).expect("the instance's connection is closed"));
    world.daemon.wait_counts(1, |c| c.in_flight == 0);
}
