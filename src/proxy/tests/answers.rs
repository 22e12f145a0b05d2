//! The answers that are ours. Those of instances that are bad: `strict/answers.rs`.

use std::io::Write;
use std::time::{Duration, Instant};

use super::world::*;
use crate::base::cidr::Cidr;
use crate::proxy::limits::ANSWER_TIME;
use crate::wire::limits::Limits;
use crate::wire::proxy::{Action, FromProxy, Front, Snapshot};

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
    assert_eq!((line.status, line.app.as_deref(), &*line.path, &*line.method), (503, Some(&app()), "/", "GET"));
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

#[test]
fn what_an_app_says_of_https_itself_is_not_said_twice() {
    let own = "HTTP/1.1 200 OK\r\nstrict-transport-security: max-age=5\r\nContent-Length: 0\r\n\r\n";
    let world = World::with(&[&Instance::fixed(own)]);
    let trusted = vec![Cidr::parse("127.0.0.1").expect("an address")];
    let mut made = Snapshot { front: Front { trusted, ..Front::default() }, ..snapshot(2, &[1], &[]) };
    made.routes[0].rules.hsts = Some(60);
    world.activate(&made);
    let answer = world.ask("GET / HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-Proto: https\r\n\r\n");
    assert_eq!(answer.field("strict-transport-security"), Some("max-age=5"));
    assert_eq!(answer.head.to_lowercase().matches("strict-transport-security").count(), 1, "{}", answer.head);
}

#[test]
fn an_instance_has_its_time_for_an_answer_from_the_end_of_the_request_on_and_no_longer() {
    let app = Instance::start(|got, to| {
        if got.head.starts_with("GET /never") {
            std::thread::sleep(ANSWER_TIME + Duration::from_secs(5));
            return false;
        }
        std::thread::sleep(Duration::from_secs(1));
        to.write_all(ok("late").as_bytes()).is_ok()
    });
    let world = World::with(&[&app]);
    let limits = Limits { body_rate: 0, ..Limits::default() };
    world.activate(&Snapshot { front: Front { limits, ..Front::default() }, ..snapshot(2, &[1], &[]) });
    let mut never = world.client();
    never.send("GET /never HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let begun = Instant::now();
    let bytes = ANSWER_TIME.as_secs() + 1;
    let mut upload = world.client();
    let uploading = std::thread::spawn(move || {
        upload.send(format!("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {bytes}\r\n\r\n"));
        for _ in 0..bytes {
            std::thread::sleep(Duration::from_secs(1));
            upload.send("x");
        }
        upload.answer()
    });

    assert_eq!(never.answer().status, 504);
    let after = begun.elapsed();
    assert!((ANSWER_TIME..ANSWER_TIME + Duration::from_secs(3)).contains(&after), "after {after:?}");
    assert_eq!(uploading.join().expect("no panic").body, "late", "an upload that lasts longer");
}
