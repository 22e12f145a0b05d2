//! Answers of instances that are confused or hostile: the client gets a page of ours or an answer that is seen to be broken off, and never
//! a byte of what the instance meant for somebody else.

use std::io::Write;
use std::time::Duration;

use super::super::world::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: shop.test\r\n\r\n";
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Name, request, answer: all are 502 and nothing else.
const BAD_HEADS: &[(&str, &str, &[u8])] = &[
    ("one length twice", GET, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
    ("two lengths", GET, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
    ("length and chunked", GET, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("length and chunked to HEAD", HEAD, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("two lengths in a 204", GET, b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    ("another coding", GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx"),
    ("gzip, chunked", GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice", GET, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked in HTTP/1.0", GET, b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a length with plus", GET, b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx"),
    ("a length with minus", GET, b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx"),
    ("a list of lengths", GET, b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx"),
    ("an empty length", GET, b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nx"),
    ("a length over 2^64", GET, b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551617\r\n\r\nx"),
    ("bare LF", GET, b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx"),
    ("bare LF after a field", GET, b"HTTP/1.1 200 OK\r\nContent-Length: 1\n\r\nx"),
    ("a folded value", GET, b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    ("a space before a colon", GET, b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n"),
    ("a space before the length's colon", GET, b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello"),
    ("bare CR in a value", GET, b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n"),
    ("bare CR that splits the answer", GET, b"HTTP/1.1 200 OK\r\nLocation: /\rSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"),
    ("bare LF that splits the answer", GET, b"HTTP/1.1 200 OK\r\nLocation: /\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"),
    ("NUL in a value", GET, b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
    ("control in a value", GET, b"HTTP/1.1 200 OK\r\nX: a\x1bb\r\nContent-Length: 0\r\n\r\n"),
    ("control in the reason", GET, b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n"),
    ("no name", GET, b"HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\n\r\n"),
    ("no colon", GET, b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n"),
    ("status 999", GET, b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n"),
    ("status 600", GET, b"HTTP/1.1 600 No\r\nContent-Length: 0\r\n\r\n"),
    ("status 000", GET, b"HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n"),
    ("status 099", GET, b"HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n"),
    ("a status of two digits", GET, b"HTTP/1.1 20 No\r\nContent-Length: 0\r\n\r\n"),
    ("a status of four digits", GET, b"HTTP/1.1 2000 No\r\nContent-Length: 0\r\n\r\n"),
    ("a status with minus", GET, b"HTTP/1.1 -20 No\r\nContent-Length: 0\r\n\r\n"),
    ("two spaces before the status", GET, b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("HTTP/2.0", GET, b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("HTTP/0.9", GET, b"<html>hello</html>\r\n\r\n"),
    ("the version in lower case", GET, b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("an empty line first", GET, b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("101 that nobody asked for", GET, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    ("101 to another protocol", UPGRADE, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
    (
        "101 to two protocols",
        UPGRADE,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket, h2c\r\nConnection: Upgrade\r\n\r\n",
    ),
    ("101 to no protocol", UPGRADE, b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n"),
    ("101 without Connection", UPGRADE, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
    (
        "101 with a length and a coding",
        UPGRADE,
        b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    ("half a head", GET, b"HTTP/1.1 200 OK\r\nContent-"),
    ("half a head after an interim answer's", GET, b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200"),
    ("garbage", GET, b"garbage"),
    ("nothing", GET, b""),
    ("NULs", GET, b"\0\0\0\0"),
    ("a greeting of TLS", GET, b"\x15\x03\x01\x00\x02\x02\x50"),
    ("a request", GET, b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"),
];

/// Always these bytes, then the end of the connection.
fn says(bytes: Vec<u8>) -> Instance {
    Instance::start(move |_, to| {
        let _ = to.write_all(&bytes);
        false
    })
}

#[test]
fn malformed_answers_are_502_and_nothing_of_them_reaches_the_client() {
    assert!(BAD_HEADS.len() >= 50, "{} rows", BAD_HEADS.len());
    let world = World::start();
    let mut wrong = Vec::new();
    for (n, (name, request, bytes)) in (1..).zip(BAD_HEADS) {
        let app = says(bytes.to_vec());
        world.place(n, app.address);
        world.activate(&snapshot(n.unsigned_abs(), &[n], &[]));
        let mut client = world.client();
        client.send(request);
        let mut answer = client.try_answer(*request == HEAD);
        if answer.as_ref().is_some_and(|a| a.status == 102) {
            answer = client.try_answer(false);
        }
        // The next request on the same connection proves that nothing is left over from the first.
        client.send("GET / HTTP/1.1\r\nHost: nowhere.test\r\nConnection: close\r\n\r\n");
        let next = client.try_answer(false).map(|a| a.status);
        let rest = client.rest();
        let ours = answer.as_ref().is_some_and(|a| a.status == 502 && (*request == HEAD || a.body.contains("Bad gateway")));
        let times = app.requests().len();
        if !ours || next != Some(404) || !rest.is_empty() || times != 1 {
            let (said, rest) = (bytes.escape_ascii(), rest.escape_ascii());
            wrong.push(format!(
                "* {name}\n  instance said {said}\n  client got {answer:?}, then {next:?} {rest}\n  sent {times} times"
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), BAD_HEADS.len(), wrong.join("\n"));
}

#[test]
fn an_instance_that_does_not_stop_is_bounded() {
    let endless: [(&str, &[u8], &[u8]); 4] = [
        ("a head", b"HTTP/1.1 200 OK\r\n", b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"),
        ("a status line", b"HTTP/1.1 200 ", b"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"),
        ("garbage", b"", b"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"),
        ("interim answers", b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"),
    ];
    for (name, first, again) in endless {
        let app = Instance::start(move |_, to| {
            let _ = to.write_all(first);
            while to.write_all(again).is_ok() {}
            false
        });
        let world = World::with(&[&app]);
        let mut client = world.client();
        client.send(GET);
        let statuses: Vec<u16> =
            std::iter::repeat_with(|| client.try_answer(false).expect(name).status).take(17).take_while(|s| *s != 502).collect();
        assert!(statuses.len() <= 16 && statuses.iter().all(|s| *s == 103), "{name}: {statuses:?}");
        // The connection is still good for the next request, as nothing of an answer was sent.
        client.send("GET / HTTP/1.1\r\nHost: nowhere.test\r\n\r\n");
        assert_eq!(client.answer().status, 404, "{name}");
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(200));
    assert_eq!(World::with(&[&Instance::fixed(&many)]).get("/").status, 502, "too many fields");
}

#[test]
fn an_answer_whose_body_breaks_does_not_look_whole() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bodies = [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_owned(),
        format!("{chunked}4\r\nhalf\r\n"),
        format!("{chunked}4\r\nha"),
        format!("{chunked}4\r\nhalf\r\nzz\r\n\r\n"),
        format!("{chunked}4\r\nhalf\r\n-1\r\n\r\n"),
        format!("{chunked}4\r\nhalf\r\n0x0\r\n\r\n"),
        format!("{chunked}4\r\nhalf!\r\n0\r\n\r\n"),
        format!("{chunked}4\nhalf\n0\n\n"),
        format!("{chunked}4\r\nhalf\r\n0\r\nX : a\r\n\r\n"),
        format!("{chunked}4\r\nhalf\r\n0\r\nX: a\n\r\n"),
        format!("{chunked}4\r\nhalf\r\n0\r\n{}", "X: y\r\n".repeat(5000)),
        format!("{chunked}4;{}\r\nhalf\r\n0\r\n\r\n", "e".repeat(5000)),
    ];
    for bytes in bodies {
        let shown = bytes[..bytes.len().min(120)].escape_default().to_string();
        let app = says(bytes.into_bytes());
        let world = World::with(&[&app]);
        let mut client = world.client();
        client.send(GET);
        assert!(client.try_answer(false).is_none(), "{shown}");
        assert_eq!(app.requests().len(), 1, "{shown}: sent once");
    }
}

#[test]
fn good_but_unusual_answers_reach_the_client() {
    // Name, request, answer, status, body, whether it stands in the head.
    let rows: &[(&str, &str, &str, u16, &str, &str)] = &[
        ("no reason", GET, "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", 200, "x", "HTTP/1.1 200 \r\n"),
        ("an empty reason", GET, "HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx", 200, "x", "HTTP/1.1 200 \r\n"),
        ("an odd status", GET, "HTTP/1.1 599 So What\r\nContent-Length: 1\r\n\r\nx", 599, "x", "HTTP/1.1 599 So What\r\n"),
        ("until the end", GET, "HTTP/1.1 200 OK\r\n\r\nbody", 200, "body", "transfer-encoding: chunked\r\n"),
        ("HTTP/1.0 until the end", GET, "HTTP/1.0 200 OK\r\n\r\nbody", 200, "body", "HTTP/1.1 200 OK\r\n"),
        (
            "chunked in capitals",
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n1;a=b\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n",
            200,
            "x[X-Sum: 1]",
            "chunked\r\n",
        ),
        ("a length in 204", GET, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, "", "HTTP/1.1 204 No Content\r\n"),
        ("a length in 304", GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", 304, "", "content-length: 100\r\n"),
        ("a length to HEAD", HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", 200, "", "content-length: 100\r\n"),
        ("chunked to HEAD", HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, "", "HTTP/1.1 200 OK\r\n"),
        ("a refused upgrade", UPGRADE, "HTTP/1.1 426 No\r\nContent-Length: 1\r\n\r\nx", 426, "x", "HTTP/1.1 426 No\r\n"),
    ];
    for (name, request, bytes, status, body, in_head) in rows {
        let world = World::with(&[&says(bytes.as_bytes().to_vec())]);
        let answer = world.ask(request);
        assert_eq!((answer.status, answer.body.as_str()), (*status, *body), "{name}");
        assert!(answer.head.to_lowercase().contains(&in_head.to_lowercase()), "{name}: {}", answer.head);
    }
}

/// Each answer names its request; what is too much comes in one piece with it, or when the connection idles already.
#[test]
fn what_an_instance_says_too_much_never_answers_another_request() {
    const POISON: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for (name, extra, later) in [("at once", POISON, false), ("one byte", b"H", false), ("a moment later", POISON, true)] {
        let (said, all_said) = std::sync::mpsc::channel();
        let app = Instance::start(move |got, to| {
            let path = got.head.split(' ').nth(1).unwrap_or_default();
            let (status, length) = match path {
                "/204" => ("204 No Content", 0),
                "/304" => ("304 Not Modified", 8),
                _ => ("200 OK", path.len()),
            };
            let mut answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n").into_bytes();
            if status == "200 OK" && !got.head.starts_with("HEAD") {
                answer.extend_from_slice(path.as_bytes());
            }
            if later {
                let _ = to.write_all(&answer);
                std::thread::sleep(Duration::from_millis(3));
                answer.clear();
            }
            answer.extend_from_slice(extra);
            let _ = to.write_all(&answer);
            said.send(()).is_ok()
        });
        let world = World::with(&[&app]);
        let mut clients = [world.client(), world.client()];
        for n in 0..40 {
            for client in &mut clients {
                let (method, path, wanted) = match n % 4 {
                    0 => ("HEAD", format!("/head{n}"), (200, String::new())),
                    1 => ("GET", "/204".to_owned(), (204, String::new())),
                    2 => ("GET", "/304".to_owned(), (304, String::new())),
                    _ => ("GET", format!("/{n}"), (200, format!("/{n}"))),
                };
                client.send(format!("{method} {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n"));
                let answer = client.answer_to(method == "HEAD");
                assert_eq!((answer.status, answer.body), wanted, "{name}, request {n}");
                all_said.recv_timeout(PATIENCE).expect("the instance says it");
                if later {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }
}

/// A body where none may be: it can't be told from a next answer, so the connection serves nobody else.
#[test]
fn a_body_in_204_304_and_to_head_ends_the_instances_connection() {
    for (request, answer) in [
        (HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden"),
        (HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhidden\r\n0\r\n\r\n"),
        (GET, "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\nhidden"),
        (GET, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhidden\r\n0\r\n\r\n"),
        (GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nhidden"),
        // Declared, and perhaps to come later: in doubt too.
        (GET, "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n"),
        (GET, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ] {
        let app = Instance::fixed(answer);
        let world = World::with(&[&app]);
        let mut client = world.client();
        for _ in 0..2 {
            client.send(request);
            let got = client.answer_to(request == HEAD);
            assert!(got.body.is_empty() && [200, 204, 304].contains(&got.status), "{answer:?}: {got:?}");
        }
        client.send("GET / HTTP/1.1\r\nHost: nowhere.test\r\nConnection: close\r\n\r\n");
        assert_eq!(client.answer().status, 404, "{answer:?}");
        assert!(client.rest().is_empty());
        let connections: Vec<usize> = app.requests().iter().map(|r| r.connection).collect();
        assert_eq!(connections, [0, 1], "{answer:?}");
    }
}
