//! Requests that parsers read differently: all are refused, and the instance sees exactly what was meant.

use std::time::Duration;

use super::world::*;

const H: &str = "Host: shop.test\r\n";

/// Bytes and the status they get. `{H}` is a good Host line.
const MALFORMED: &[(&str, u16)] = &[
    // Two lengths.
    ("POST / HTTP/1.1\r\n{H}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length:\r\nContent-Length: 2\r\n\r\nxy", 400),
    // Odd lengths.
    ("POST / HTTP/1.1\r\n{H}Content-Length: 1, 1\r\n\r\nx", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: +1\r\n\r\nx", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: -1\r\n\r\nx", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 0x1\r\n\r\nx", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 1 0\r\n\r\nx", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length:\r\n\r\nx", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: abc\r\n\r\nx", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 99999999999999999999\r\n\r\nx", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 18446744073709551617\r\n\r\nx", 400),
    // Odd codings.
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: identity\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.0\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    // Lines.
    ("GET / HTTP/1.1\n{H}\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: shop.test\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X: a\n\n", 400),
    ("GET / HTTP/1.1\r\n{H}X: a\rb\r\n\r\n", 400),
    ("GET / HTTP/1.1\r{H}\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X: a\r\n b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X: a\r\n\tb\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n X: a\r\n{H}\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X: a\0b\r\n\r\n", 400),
    ("GET /\0 HTTP/1.1\r\n{H}\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X: a\x01b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X: a\x7fb\r\n\r\n", 400),
    ("\r\n\r\nGET / HTTP/1.1\r\n{H}\r\n", 400),
    // Field names.
    ("GET / HTTP/1.1\r\n{H}X : a\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\n{H}Content-Length : 5\r\n\r\nhello", 400),
    ("POST / HTTP/1.1\r\n{H}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X Y: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X(Y): a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}X\u{e9}: a\r\n\r\n", 400),
    // Host.
    ("GET / HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}{H}\r\n", 400),
    ("GET / HTTP/1.1\r\n{H}Host: evil.test\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: shop.test, evil.test\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: user@shop.test\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: shop.test/path\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: shop.test:80x\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: shop.test:99999\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: shop.test:80:80\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: shop test\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    ("GET http://evil.test/ HTTP/1.1\r\n{H}\r\n", 400),
    ("GET http://shop.test:81/ HTTP/1.1\r\n{H}\r\n", 400),
    ("GET http://u@shop.test/ HTTP/1.1\r\n{H}\r\n", 400),
    // The first line.
    ("GET  / HTTP/1.1\r\n{H}\r\n", 400),
    ("GET / HTTP/1.1 \r\n{H}\r\n", 400),
    ("GET\t/ HTTP/1.1\r\n{H}\r\n", 400),
    ("GET / x HTTP/1.1\r\n{H}\r\n", 400),
    ("GET /#x HTTP/1.1\r\n{H}\r\n", 400),
    ("GET path HTTP/1.1\r\n{H}\r\n", 400),
    ("GET * HTTP/1.1\r\n{H}\r\n", 400),
    ("GET ftp://shop.test/ HTTP/1.1\r\n{H}\r\n", 400),
    ("GET http://shop.test?x HTTP/1.1\r\n{H}\r\n", 400),
    ("G(T / HTTP/1.1\r\n{H}\r\n", 400),
    ("GET / http/1.1\r\n{H}\r\n", 400),
    ("GET /\r\n\r\n", 400),
    ("GET / HTTP/1.2\r\n{H}\r\n", 505),
    ("GET / HTTP/2.0\r\n{H}\r\n", 505),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("GET / HTTP/1.11\r\n{H}\r\n", 400),
    ("CONNECT shop.test:443 HTTP/1.1\r\n{H}\r\n", 405),
    ("TRACE / HTTP/1.1\r\n{H}\r\n", 405),
    ("POST / HTTP/1.1\r\n{H}Content-Length: 1\r\nExpect: tea\r\n\r\nx", 417),
    ("\x16\x03\x01\x02\0\x01\0\x01", 400),
];

#[test]
fn malformed_heads_are_refused_and_the_instance_sees_nothing() {
    let app = Instance::fixed(&ok(""));
    let world = World::with(&[&app]);
    assert!(MALFORMED.len() >= 60);
    for (bytes, status) in MALFORMED {
        let mut client = world.client();
        // A second request behind it: it must not be served, as no one knows where it begins.
        client.send(bytes.replace("{H}", H) + "GET /smuggled HTTP/1.1\r\n" + H + "\r\n");
        let answer = client.try_answer(false).unwrap_or_else(|| panic!("no answer to {bytes:?}"));
        assert_eq!(answer.status, *status, "{bytes:?}");
        assert_eq!(answer.field("connection"), Some("close"), "{bytes:?}");
        assert!(client.rest().is_empty(), "nothing after the refusal of {bytes:?}");
        assert!(app.requests().is_empty(), "{bytes:?} reached the instance: {:?}", app.requests());
    }
}

#[test]
fn malformed_bodies_end_the_request_and_nothing_behind_them_is_served() {
    let chunks: &[&str] = &[
        "x\r\n",
        "-1\r\na",
        "+1\r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "1\na\n0\n\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na\r0\r\n\r\n",
        "10000000000000000\r\na",
        "ffffffffffffffffffff\r\na",
        "\r\n",
        "1;\0\r\na\r\n0\r\n\r\n",
        "1;a\nb\r\na\r\n0\r\n\r\n",
        "1_0\r\na",
        "0\r\nX : a\r\n\r\n",
        "0\r\n X: a\r\n\r\n",
        "0\r\nX: a\n\r\n",
        "0\r\nX\r\n\r\n",
        "0\n\n",
        "0\r\nX: \0\r\n\r\n",
    ];
    for chunk in chunks {
        let app = Instance::fixed(&ok(""));
        let world = World::with(&[&app]);
        let mut client = world.client();
        client.send(format!("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n{chunk}GET /smuggled HTTP/1.1\r\n{H}\r\n"));
        let answer = client.try_answer(false).unwrap_or_else(|| panic!("no answer to {chunk:?}"));
        assert_eq!(answer.status, 400, "{chunk:?}");
        assert!(client.rest().is_empty(), "{chunk:?}");
        assert!(app.requests().is_empty(), "no whole request came of {chunk:?}: {:?}", app.requests());
    }
    let long = format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(5000));
    let many = "1;eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\r\na\r\n".repeat(1000);
    let trailers = format!("0\r\nX: {}\r\n\r\n", "t".repeat(20_000));
    for chunk in [long, many, trailers] {
        let world = World::with(&[&Instance::fixed(&ok(""))]);
        let answer = world.ask(&format!("POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n{chunk}"));
        assert_eq!(answer.status, 400, "{}…", &chunk[..40]);
    }
}

#[test]
fn a_body_cannot_hide_a_request() {
    let app = Instance::fixed(&ok("x"));
    let world = World::with(&[&app]);
    let inner = format!("GET /inner HTTP/1.1\r\n{H}\r\n");
    let mut client = world.client();
    client.send(format!("POST /a HTTP/1.1\r\n{H}Content-Length: {}\r\n\r\n{inner}", inner.len()));
    client.answer();
    client.send(format!("POST /b HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()));
    client.answer();
    client.send(format!("GET /c HTTP/1.1\r\n{H}Content-Length: 0\r\n\r\n"));
    client.answer();
    let lines: Vec<String> = app.requests().iter().map(|r| r.head.lines().next().expect("line").to_owned()).collect();
    assert_eq!(lines, ["POST /a HTTP/1.1", "POST /b HTTP/1.1", "GET /c HTTP/1.1"]);
    assert!(app.requests()[..2].iter().all(|r| r.body == inner.as_bytes()));
}

#[test]
fn good_but_unusual_requests_pass() {
    let app = Instance::fixed(&ok("x"));
    let world = World::with(&[&app]);
    let good = [
        ("\r\nGET /crlf HTTP/1.1\r\n{H}\r\n", "GET /crlf HTTP/1.1"),
        ("GET http://shop.test/abs HTTP/1.1\r\n{H}\r\n", "GET /abs HTTP/1.1"),
        ("GET HTTP://SHOP.test:80 HTTP/1.1\r\n{H}\r\n", "GET / HTTP/1.1"),
        ("OPTIONS * HTTP/1.1\r\n{H}\r\n", "OPTIONS * HTTP/1.1"),
        ("PROPFIND /a HTTP/1.1\r\n{H}\r\n", "PROPFIND /a HTTP/1.1"),
        ("GET /a?b=%20&c[]=\"|{}^ HTTP/1.1\r\n{H}\r\n", "GET /a?b=%20&c[]=\"|{}^ HTTP/1.1"),
        ("GET //a/../b HTTP/1.1\r\n{H}\r\n", "GET //a/../b HTTP/1.1"),
        ("GET / HTTP/1.1\r\nHOST:shop.test   \r\n\r\n", "GET / HTTP/1.1"),
        ("GET / HTTP/1.1\r\n{H}X-Empty:\r\nX-Utf8: \u{e9}\r\n\r\n", "GET / HTTP/1.1"),
        ("DELETE /d HTTP/1.1\r\n{H}Content-Length: 1\r\n\r\nx", "DELETE /d HTTP/1.1"),
    ];
    for (bytes, line) in good {
        assert_eq!(world.ask(&bytes.replace("{H}", H)).status, 200, "{bytes:?}");
        assert_eq!(app.requests().last().expect("one").head.lines().next(), Some(line), "{bytes:?}");
    }
}

#[test]
fn limits_hold_for_heads_that_come_at_once_or_drip() {
    let app = Instance::fixed(&ok("x"));
    let world = World::with(&[&app]);
    assert_eq!(world.ask(&format!("GET / HTTP/1.1\r\n{H}X: {}\r\n\r\n", "y".repeat(70_000))).status, 431);
    assert_eq!(world.ask(&format!("GET / HTTP/1.1\r\n{H}{}\r\n", "X: y\r\n".repeat(101))).status, 431);
    assert_eq!(world.ask(&format!("GET /{} HTTP/1.1\r\n{H}\r\n", "y".repeat(60_000))).status, 200, "a long head that is allowed");
    let mut client = world.client();
    for byte in format!("GET /drip HTTP/1.1\r\n{H}\r\n").bytes() {
        client.send([byte]);
    }
    assert_eq!(client.answer().status, 200);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: shop");
    client.stream.set_read_timeout(Some(Duration::from_secs(14))).expect("timeout");
    assert_eq!(client.answer().status, 408, "after ten seconds");
}
