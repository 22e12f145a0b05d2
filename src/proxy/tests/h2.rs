//! HTTP/2 to clients: what requests and answers become on the way.

use std::io::Write;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::world::*;
use crate::wire::proxy::FromProxy;

pub fn world_with(app: &Instance) -> World {
    let world = World::start();
    world.place(1, app.address);
    world.activate(&with_certs(snapshot(1, &[1], &[]), vec![certificate(&["shop.test"])]));
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_arrives_as_http_1_1_with_all_that_it_said() {
    let app = Instance::fixed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\nX-One: 1\r\nX-One: 2\r\n\r\nhi");
    let world = world_with(&app);
    let mut h2 = world.h2().await;
    let asked = request("GET", "/a/b?c=d").header("cookie", "a=1").header("cookie", "b=2").header("x-forwarded-for", "9.9.9.9");
    let answer = h2.ask(asked.header("te", "trailers").header("accept", "x/y"), b"").await.expect("whole");
    assert_eq!((answer.status(), answer.text().as_str(), answer.field("connection")), (200, "hi", None));
    assert_eq!(answer.field("content-length"), Some("2"));
    assert_eq!(answer.head.headers().get_all("x-one").iter().collect::<Vec<_>>(), ["1", "2"]);
    let got = &app.requests()[0];
    assert!(got.head.starts_with("GET /a/b?c=d HTTP/1.1\r\nHost: shop.test\r\n"), "{}", got.head);
    assert_eq!(got.field("cookie").as_deref(), Some("a=1; b=2"));
    assert_eq!(got.field("accept").as_deref(), Some("x/y"));
    assert_eq!((got.field("te").as_deref(), got.field("connection").as_deref()), (Some("trailers"), Some("TE")));
    assert_eq!(got.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(got.field("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(got.field("content-length"), None);
    // The access line and the counts are those of any request.
    let line = world.daemon.wait("access", |m| matches!(m, FromProxy::Access { lines, .. } if !lines.is_empty()));
    assert!(
        matches!(&line, FromProxy::Access { lines, .. } if lines[0].path == "/a/b?c=d" && lines[0].bytes_out == 2),
        "{line:?}"
    );
    assert_eq!(world.daemon.wait_counts(1, |c| c.served == 1).by_class[2], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_go_up_with_a_length_in_chunks_and_with_trailers() {
    let app = Instance::start(|got, to| to.write_all(ok(&String::from_utf8_lossy(&got.body)).as_bytes()).is_ok());
    let world = world_with(&app);
    let mut h2 = world.h2().await;
    let answer = h2.ask(request("POST", "/").header("content-length", "4"), b"body").await.expect("whole");
    assert_eq!(answer.text(), "body");
    let answer = h2.ask(request("POST", "/"), b"chunks").await.expect("whole");
    assert_eq!(answer.text(), "chunks");
    let (answer, mut stream) = h2.open(request("POST", "/"), false).await;
    stream.send_data(Bytes::new(), false).expect("an empty frame");
    stream.send_data(Bytes::from_static(b"with"), false).expect("data");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    trailers.insert("x-forwarded-for", HeaderValue::from_static("9.9.9.9"));
    stream.send_trailers(trailers).expect("trailers");
    assert_eq!(whole(answer.await.expect("head")).await.expect("whole").text(), "with[x-sum: 7]", "and no forged trailer");
    let answer = h2.ask(request("POST", "/"), b"").await.expect("whole");
    assert_eq!(answer.text(), "");
    let got = app.requests();
    let framing: Vec<_> = got.iter().map(|r| (r.field("content-length"), r.field("transfer-encoding"))).collect();
    let (length, chunked) = (|n: &str| (Some(n.to_owned()), None), (None, Some("chunked".to_owned())));
    assert_eq!(framing, [length("4"), chunked.clone(), chunked, length("0")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_come_down_whatever_their_framing() {
    let app = Instance::start(|got, to| {
        let answer: &[u8] = match got.head.split(' ').nth(1).unwrap_or_default() {
            "/chunks" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
            "/trailers" => {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\nX-Paas-Release: v9\r\n\r\n"
            }
            "/close" => b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
            "/204" => b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            "/early" => b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            "/empty" => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        };
        to.write_all(answer).is_ok() && !got.head.contains("/close")
    });
    let world = world_with(&app);
    let mut h2 = world.h2().await;
    assert_eq!(h2.get("/chunks").await.text(), "abc");
    let answer = h2.get("/trailers").await;
    let trailers = answer.trailers.as_ref().expect("trailers");
    assert_eq!((answer.text().as_str(), trailers.get("x-sum"), trailers.len()), ("a", Some(&HeaderValue::from_static("1")), 1));
    assert_eq!(h2.get("/close").await.text(), "until the end");
    let answer = h2.get("/204").await;
    assert_eq!((answer.status(), answer.field("content-length"), answer.body.len()), (204, None, 0));
    assert_eq!(h2.get("/304").await.status(), 304);
    assert_eq!(h2.get("/early").await.text(), "x");
    assert_eq!(h2.get("/empty").await.body.len(), 0);
    let answer = h2.ask(request("HEAD", "/head"), b"").await.expect("whole");
    assert_eq!((answer.status(), answer.field("content-length"), answer.body.len()), (200, Some("5"), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_the_proxy_and_the_judges_refusals_come_as_answers() {
    let app = Instance::fixed(&ok("x"));
    let world = world_with(&app);
    let mut h2 = world.h2().await;
    let elsewhere = http::Request::builder().uri("https://elsewhere.test/");
    assert_eq!(h2.ask(elsewhere, b"").await.expect("whole").status(), 421, "the certificate is not for that name");
    for (asked, status) in [
        (request("TRACE", "/"), 405),
        (request("GET", "/").header("expect", "a miracle"), 417),
        (request("GET", "/").header("big", "x".repeat(65 * 1024)), 431),
    ] {
        assert_eq!(h2.ask(asked, b"").await.expect("whole").status(), status);
    }
    // A stream that breaks the rules of the version is reset, and the connection goes on.
    for asked in [
        request("GET", "/").header("host", "other.test"),
        request("GET", "/").header("content-length", "5"),
        http::Request::builder().uri("http://shop.test/"),
    ] {
        let error = h2.ask(asked, b"").await.expect_err("a reset");
        assert_eq!(error.reason(), Some(h2::Reason::PROTOCOL_ERROR));
    }
    assert_eq!(app.requests().len(), 0);
    assert_eq!(h2.get("/").await.text(), "x");
    world.activate(&with_certs(snapshot(2, &[], &[]), vec![certificate(&["shop.test"])]));
    let answer = h2.ask(request("GET", "/").header("accept", "application/json"), b"").await.expect("whole");
    assert_eq!((answer.status(), answer.field("content-type")), (503, Some("application/json")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_is_refused_and_a_body_of_another_length_is_a_reset() {
    let app = Instance::fixed(&ok("x"));
    let world = world_with(&app);
    let mut h2 = world.h2().await;
    let connect = http::Request::builder().method("CONNECT").uri("shop.test:443");
    let refused = h2.ask(connect, b"").await;
    assert!(refused.as_ref().map_or(true, |answer| answer.status() >= 400), "{refused:?}");
    let error = h2.ask(request("POST", "/").header("content-length", "3"), b"four").await;
    assert!(error.as_ref().map_or(true, |answer| answer.status() >= 400), "{error:?}");
    assert_eq!(h2.get("/").await.status(), 200);
}
