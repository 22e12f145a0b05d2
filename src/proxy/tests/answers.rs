//! Bad answers of instances, and the answers that are ours.

use std::io::Write;

use super::world::*;
use crate::wire::proxy::{Action, FromProxy, Snapshot};

#[test]
fn malformed_answers_are_502_and_never_reach_the_client() {
    let bad: [&'static str; 19] = [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx",
        "HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 20 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-",
        "garbage",
        "",
        "\0\0\0\0",
    ];
    for (n, bytes) in bad.into_iter().enumerate() {
        let app = Instance::start(move |_, to| {
            to.write_all(bytes.as_bytes()).expect("write");
            false
        });
        let world = World::with(&[&app]);
        let answer = world.get("/");
        assert_eq!(answer.status, 502, "{n}: {bytes:?}");
        assert!(answer.body.contains("Bad gateway"), "our own page");
        assert_eq!(app.requests().len(), 1, "{n}: not sent again");
    }
}

#[test]
fn too_much_from_an_instance_is_502() {
    let many_fields = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(200));
    let big_head = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "y".repeat(70_000));
    let interims = "HTTP/1.1 102 Processing\r\n\r\n".repeat(100) + &ok("");
    for bytes in [many_fields, big_head] {
        let app = Instance::fixed(&bytes);
        assert_eq!(World::with(&[&app]).get("/").status, 502);
    }
    let app = Instance::fixed(&interims);
    let world = World::with(&[&app]);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let statuses: Vec<u16> = std::iter::repeat_with(|| client.answer().status).take(17).collect();
    assert_eq!(statuses[16], 502, "{statuses:?}");
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    for bytes in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    ] {
        let app = Instance::start(move |_, to| {
            to.write_all(bytes.as_bytes()).expect("write");
            false
        });
        let world = World::with(&[&app]);
        let mut client = world.client();
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert!(client.try_answer(false).is_none(), "{bytes:?}");
    }
}

#[test]
fn bytes_after_an_answer_poison_no_other_request() {
    let app = Instance::fixed(&(ok("mine") + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"));
    let world = World::with(&[&app]);
    let mut client = world.client();
    for _ in 0..5 {
        client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert_eq!(client.answer().body, "mine");
    }
}

#[test]
fn redirects_empty_routes_and_pages_say_what_they_should() {
    let world = World::start();
    assert_eq!(world.get("/").status, 503, "before the first snapshot");
    world.activate(&routed(1, Action::Redirect { to: host("www.shop.test") }, vec![]));
    let answer = world.ask("GET /a?b=c HTTP/1.1\r\nHost: shop.test:8080\r\n\r\n");
    assert_eq!((answer.status, answer.field("location")), (308, Some("http://www.shop.test:8080/a?b=c")));
    world.activate(&snapshot(2, &[], &[]));
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\nAccept: application/json\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.field("content-type"), answer.field("retry-after")),
        (503, Some("application/json"), Some("1"))
    );
    let id = answer.field("x-request-id").expect("id").to_owned();
    assert!(answer.body.contains(&id), "{}", answer.body);
    client.send("HEAD / HTTP/1.1\r\nHost: shop.test\r\nAccept: text/html\r\n\r\n");
    let answer = client.answer_to(true);
    assert_eq!((answer.status, answer.field("content-type")), (503, Some("text/html; charset=utf-8")));
    let line =
        world.daemon.wait("access", |m| matches!(m, FromProxy::Access { lines, .. } if lines.iter().any(|l| l.request_id == id)));
    let FromProxy::Access { lines, lost: 0 } = line else { panic!("{line:?}") };
    let line = lines.into_iter().find(|l| l.request_id == id).expect("line");
    assert_eq!((line.status, line.app, line.path.as_str(), line.method.as_str()), (503, Some(app()), "/", "GET"));
    assert_eq!(line.error.as_deref(), Some("no instance serves"));
}

#[test]
fn the_commit_header_is_ours_when_it_is_on() {
    let app = Instance::fixed("HTTP/1.1 200 OK\r\nX-Paas-Commit: forged\r\nContent-Length: 0\r\n\r\n");
    let world = World::with(&[&app]);
    assert_eq!(world.get("/").field("x-paas-commit"), Some("forged"), "off: the app's own business");
    world.activate(&Snapshot { commit_header: true, ..snapshot(2, &[1], &[]) });
    let answer = world.get("/");
    assert_eq!(answer.field("x-paas-commit"), Some(format!("{:040x}", 1).as_str()));
    assert_eq!(answer.field("x-paas-release"), Some("v1"));
    assert!(!answer.head.contains("forged"));
}
