//! Requests that are good, and such that proxies and apps get wrong: what reaches the instance, and how it is framed.

use super::{Row, Want};

const NONE: &[&str] = &[];
const PLAIN: &[&str] = &["content-length:", "transfer-encoding:"];

/// Name, bytes, first line at the instance, body there, what stands in the head there, what does not.
type Line = (&'static str, &'static [u8], &'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const LINES: &[Line] = &[
    ("an empty line before the request", b"\r\nGET /crlf HTTP/1.1\r\n{H}\r\n", "GET /crlf HTTP/1.1", "", NONE, PLAIN),
    (
        "an absolute target",
        b"GET http://shop.test/abs HTTP/1.1\r\n{H}\r\n",
        "GET /abs HTTP/1.1",
        "",
        &["host: shop.test\r\n"],
        NONE,
    ),
    ("an absolute target in capitals", b"GET HTTP://SHOP.test:80 HTTP/1.1\r\n{H}\r\n", "GET / HTTP/1.1", "", NONE, NONE),
    ("an asterisk to OPTIONS", b"OPTIONS * HTTP/1.1\r\n{H}\r\n", "OPTIONS * HTTP/1.1", "", NONE, NONE),
    (
        "an absolute target without a path to OPTIONS",
        b"OPTIONS http://shop.test HTTP/1.1\r\n{H}\r\n",
        "OPTIONS * HTTP/1.1",
        "",
        NONE,
        NONE,
    ),
    ("a method of WebDAV", b"PROPFIND /a HTTP/1.1\r\n{H}\r\n", "PROPFIND /a HTTP/1.1", "", NONE, NONE),
    ("a method in lower case", b"get /a HTTP/1.1\r\n{H}\r\n", "get /a HTTP/1.1", "", NONE, NONE),
    ("a method of odd characters", b"M-SEARCH!$ /a HTTP/1.1\r\n{H}\r\n", "M-SEARCH!$ /a HTTP/1.1", "", NONE, NONE),
    (
        "odd characters in the target",
        b"GET /a?b=%20&c[]=\"|{}^\\` HTTP/1.1\r\n{H}\r\n",
        "GET /a?b=%20&c[]=\"|{}^\\` HTTP/1.1",
        "",
        NONE,
        NONE,
    ),
    ("a path of two slashes and dots", b"GET //a/../b HTTP/1.1\r\n{H}\r\n", "GET //a/../b HTTP/1.1", "", NONE, NONE),
    (
        "a path that looks like a host",
        b"GET //evil.test/ HTTP/1.1\r\n{H}\r\n",
        "GET //evil.test/ HTTP/1.1",
        "",
        &["host: shop.test\r\n"],
        NONE,
    ),
    ("encoded control characters", b"GET /%0d%0aX:%20a%00 HTTP/1.1\r\n{H}\r\n", "GET /%0d%0aX:%20a%00 HTTP/1.1", "", NONE, NONE),
    ("UTF-8 in the target", "GET /\u{e9}\u{20ac} HTTP/1.1\r\n{H}\r\n".as_bytes(), "GET /\u{e9}\u{20ac} HTTP/1.1", "", NONE, NONE),
    ("an address in the query", b"GET /?u=http://x/ HTTP/1.1\r\n{H}\r\n", "GET /?u=http://x/ HTTP/1.1", "", NONE, NONE),
    (
        "the host in capitals with spaces",
        b"GET / HTTP/1.1\r\nHOST:\t Shop.TEST \t\r\n\r\n",
        "GET / HTTP/1.1",
        "",
        &["host: Shop.TEST\r\n"],
        NONE,
    ),
    (
        "the host with a dot at its end",
        b"GET / HTTP/1.1\r\nHost: shop.test.\r\n\r\n",
        "GET / HTTP/1.1",
        "",
        &["host: shop.test.\r\n"],
        NONE,
    ),
    (
        "the host with a port",
        b"GET / HTTP/1.1\r\nHost: shop.test:8080\r\n\r\n",
        "GET / HTTP/1.1",
        "",
        &["host: shop.test:8080\r\n"],
        NONE,
    ),
    ("the host with an empty port", b"GET / HTTP/1.1\r\nHost: shop.test:\r\n\r\n", "GET / HTTP/1.1", "", NONE, NONE),
    ("an empty value", b"GET / HTTP/1.1\r\n{H}X-Empty:\r\n\r\n", "GET / HTTP/1.1", "", &["x-empty: \r\n"], NONE),
    ("a value of spaces", b"GET / HTTP/1.1\r\n{H}X-Empty:  \t \r\n\r\n", "GET / HTTP/1.1", "", &["x-empty: \r\n"], NONE),
    ("a value in UTF-8", "GET / HTTP/1.1\r\n{H}X-U: \u{e9}\r\n\r\n".as_bytes(), "GET / HTTP/1.1", "", &["x-u: \u{e9}\r\n"], NONE),
    ("a tab in a value", b"GET / HTTP/1.1\r\n{H}X-T: a\tb\r\n\r\n", "GET / HTTP/1.1", "", &["x-t: a\tb\r\n"], NONE),
    ("a colon in a value", b"GET / HTTP/1.1\r\n{H}X-C: a: b:c\r\n\r\n", "GET / HTTP/1.1", "", &["x-c: a: b:c\r\n"], NONE),
    (
        "a name of odd characters",
        b"GET / HTTP/1.1\r\n{H}X!#$%&'*+-.^_`|~9: a\r\n\r\n",
        "GET / HTTP/1.1",
        "",
        &["x!#$%&'*+-.^_`|~9: a\r\n"],
        NONE,
    ),
    ("a field twice", b"GET / HTTP/1.1\r\n{H}X: a\r\nX: b\r\n\r\n", "GET / HTTP/1.1", "", &["x: a\r\nx: b\r\n"], NONE),
    ("a field with an underscore", b"GET / HTTP/1.1\r\n{H}api_key: k\r\n\r\n", "GET / HTTP/1.1", "", &["api_key: k\r\n"], NONE),
];

const BODIES: &[Line] = &[
    ("a body to GET", b"GET /b HTTP/1.1\r\n{H}Content-Length: 5\r\n\r\nhello", "GET /b HTTP/1.1", "hello", &["content-length: 5\r\n"], &["transfer-encoding"]),
    ("a body to DELETE", b"DELETE /b HTTP/1.1\r\n{H}Content-Length: 1\r\n\r\nx", "DELETE /b HTTP/1.1", "x", NONE, NONE),
    ("a body to HEAD", b"HEAD /b HTTP/1.1\r\n{H}Content-Length: 1\r\n\r\nx", "HEAD /b HTTP/1.1", "x", NONE, NONE),
    ("a body of no bytes", b"POST /b HTTP/1.1\r\n{H}Content-Length: 0\r\n\r\n", "POST /b HTTP/1.1", "", &["content-length: 0\r\n"], NONE),
    ("a length with zeros before", b"POST /b HTTP/1.1\r\n{H}Content-Length: 00005\r\n\r\nhello", "POST /b HTTP/1.1", "hello", &["content-length: 5\r\n"], NONE),
    ("a length with spaces around", b"POST /b HTTP/1.1\r\n{H}Content-Length:\t 5 \t\r\n\r\nhello", "POST /b HTTP/1.1", "hello", &["content-length: 5\r\n"], NONE),
    ("a request in a body by length", b"POST /b HTTP/1.1\r\n{H}Content-Length: 23\r\n\r\nGET /inner HTTP/1.1\r\n\r\n", "POST /b HTTP/1.1", "GET /inner HTTP/1.1\r\n\r\n", NONE, NONE),
    ("a request in a chunk", b"POST /b HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n17\r\nGET /inner HTTP/1.1\r\n\r\n\r\n0\r\n\r\n", "POST /b HTTP/1.1", "GET /inner HTTP/1.1\r\n\r\n", &["transfer-encoding: chunked\r\n"], &["content-length"]),
    ("an end of chunks in a body by length", b"POST /b HTTP/1.1\r\n{H}Content-Length: 5\r\n\r\n0\r\n\r\n", "POST /b HTTP/1.1", "0\r\n\r\n", NONE, NONE),
    ("chunked in capitals with spaces", b"POST /b HTTP/1.1\r\n{H}Transfer-Encoding: \t CHUNKED \r\n\r\n5\r\nhello\r\n0\r\n\r\n", "POST /b HTTP/1.1", "hello", &["transfer-encoding: chunked\r\n"], NONE),
    ("no chunk but the last", b"POST /b HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST /b HTTP/1.1", "", NONE, NONE),
    ("a last chunk of many zeros", b"POST /b HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n000\r\n\r\n", "POST /b HTTP/1.1", "hello", NONE, NONE),
    ("sizes in both cases and with zeros", b"POST /b HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n00a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "POST /b HTTP/1.1", "01234567890123456789", NONE, NONE),
    ("chunk extensions are left out", b"POST /b HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d e\";f\r\nhello\r\n0;x\r\n\r\n", "POST /b HTTP/1.1", "hello", NONE, NONE),
    ("a trailer", b"POST /b HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", "POST /b HTTP/1.1", "hello[X-Sum: 1]", NONE, NONE),
    ("trailers that must not be", b"POST /b HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\nHost: evil\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nX-Forwarded-For: 1.1.1.1\r\nX_Forwarded_For: 1.1.1.1\r\nX.Real.IP: 1.1.1.1\r\nAuthorization: x\r\nCookie: x\r\nX-Ok: 1\r\n\r\n", "POST /b HTTP/1.1", "[X-Ok: 1]", NONE, NONE),
    ("an expectation without a body", b"GET / HTTP/1.1\r\n{H}Expect: 100-continue\r\n\r\n", "GET / HTTP/1.1", "", NONE, &["expect"]),
    ("an expectation of nothing", b"GET / HTTP/1.1\r\n{H}Expect:\r\n\r\n", "GET / HTTP/1.1", "", NONE, &["expect"]),
    ("an expectation in capitals", b"POST / HTTP/1.1\r\n{H}Content-Length: 1\r\nExpect: 100-CONTINUE\r\n\r\nx", "POST / HTTP/1.1", "x", &["expect: 100-continue\r\n"], NONE),
];

const CONNECTIONS: &[Line] = &[
    ("Connection that names Host", b"GET / HTTP/1.1\r\n{H}Connection: host\r\n\r\n", "GET / HTTP/1.1", "", &["host: shop.test\r\n", "x-forwarded-host: shop.test\r\n"], &["connection"]),
    ("Connection that names Content-Length", b"POST / HTTP/1.1\r\n{H}Connection: content-length\r\nContent-Length: 5\r\n\r\nhello", "POST / HTTP/1.1", "hello", &["content-length: 5\r\n"], NONE),
    ("Connection that names Transfer-Encoding", b"POST / HTTP/1.1\r\n{H}Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "POST / HTTP/1.1", "x", &["transfer-encoding: chunked\r\n"], NONE),
    ("Connection that names what we add", b"GET / HTTP/1.1\r\n{H}Connection: x-forwarded-for, X-Forwarded-Proto, x-request-id\r\n\r\n", "GET / HTTP/1.1", "", &["x-forwarded-for: 127.0.0.1\r\n", "x-forwarded-proto: http\r\n", "x-request-id: "], NONE),
    ("Connection that names another field", b"GET / HTTP/1.1\r\n{H}Connection: x-hop, ,x-two\r\nX-Hop: a\r\nX-Two: b\r\nX-Stays: c\r\n\r\n", "GET / HTTP/1.1", "", &["x-stays: c\r\n"], &["x-hop", "x-two", "connection"]),
    ("fields of one connection", b"GET / HTTP/1.1\r\n{H}Keep-Alive: a\r\nProxy-Connection: a\r\nProxy-Authorization: a\r\nTE: gzip\r\nHTTP2-Settings: a\r\n\r\n", "GET / HTTP/1.1", "", NONE, &["keep-alive", "proxy", "te:", "http2-settings"]),
    ("TE with trailers", b"GET / HTTP/1.1\r\n{H}TE: gzip, trailers\r\n\r\n", "GET / HTTP/1.1", "", &["te: trailers\r\n", "connection: te\r\n"], &["gzip"]),
    ("Upgrade without Connection", b"GET / HTTP/1.1\r\n{H}Upgrade: websocket\r\n\r\n", "GET / HTTP/1.1", "", NONE, &["upgrade", "connection"]),
    ("Connection without Upgrade", b"GET / HTTP/1.1\r\n{H}Connection: upgrade\r\n\r\n", "GET / HTTP/1.1", "", NONE, &["upgrade", "connection"]),
    ("Upgrade with a body", b"POST / HTTP/1.1\r\n{H}Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello", "POST / HTTP/1.1", "hello", &["content-length: 5\r\n"], &["upgrade", "connection"]),
    ("Upgrade with chunks", b"POST / HTTP/1.1\r\n{H}Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST / HTTP/1.1", "", NONE, &["upgrade", "connection"]),
    ("Upgrade to two protocols", b"GET / HTTP/1.1\r\n{H}Connection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", "GET / HTTP/1.1", "", NONE, &["upgrade", "h2c"]),
    ("Upgrade to h2c", b"GET / HTTP/1.1\r\n{H}Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", "GET / HTTP/1.1", "", NONE, &["upgrade", "h2c", "http2"]),
    ("Upgrade to something odd", b"GET / HTTP/1.1\r\n{H}Connection: upgrade\r\nUpgrade: a b\r\n\r\n", "GET / HTTP/1.1", "", NONE, &["upgrade"]),
];

const FORGED: &[Line] = &[
    ("names that CGI takes for the length", b"GET / HTTP/1.1\r\n{H}Content_Length: 5\r\nContent.Length: 5\r\n\r\n", "GET / HTTP/1.1", "", NONE, &["content"]),
    ("names that CGI takes for the coding", b"GET / HTTP/1.1\r\n{H}Transfer_Encoding: chunked\r\nTransfer-Encoding_: x\r\n\r\n", "GET / HTTP/1.1", "", NONE, &["transfer_encoding: chunked"]),
    ("names that CGI takes for ours", b"GET / HTTP/1.1\r\n{H}X_Forwarded_For: 6.6.6.6\r\nX-Forwarded_For: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nX.Forwarded.For: 6.6.6.6\r\nX|Forwarded|Proto: 6.6.6.6\r\n\r\n", "GET / HTTP/1.1", "", NONE, &["6.6.6.6"]),
    ("what a client must not say", b"GET / HTTP/1.1\r\n{H}X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Host: 6.6.6.6\r\nX-Forwarded-Prefix: 6.6.6.6\r\nX-Request-Start: 6.6.6.6\r\nProxy: 6.6.6.6\r\n\r\n", "GET / HTTP/1.1", "", NONE, &["6.6.6.6"]),
];

const LAST: &[Line] = &[
    ("HTTP/1.0", b"GET / HTTP/1.0\r\n{H}\r\n", "GET / HTTP/1.1", "", NONE, NONE),
    ("HTTP/1.0 with a body", b"POST / HTTP/1.0\r\n{H}Content-Length: 5\r\n\r\nhello", "POST / HTTP/1.1", "hello", NONE, NONE),
    (
        "HTTP/1.0 by an absolute target alone",
        b"GET http://shop.test/a HTTP/1.0\r\n\r\n",
        "GET /a HTTP/1.1",
        "",
        &["host: shop.test\r\n"],
        NONE,
    ),
    (
        "HTTP/1.0 with Upgrade and Expect",
        b"POST / HTTP/1.0\r\n{H}Connection: upgrade\r\nUpgrade: websocket\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        "POST / HTTP/1.1",
        "x",
        NONE,
        &["upgrade", "expect"],
    ),
    ("Connection: close", b"GET / HTTP/1.1\r\n{H}Connection: close\r\n\r\n", "GET / HTTP/1.1", "", NONE, &["connection"]),
    (
        "Connection: close among others",
        b"GET / HTTP/1.1\r\n{H}Connection: keep-alive\r\nConnection: x, CLOSE\r\n\r\n",
        "GET / HTTP/1.1",
        "",
        NONE,
        &["connection"],
    ),
];

const PAGES: &[(&str, &[u8], u16)] = &[
    ("another host", b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n", 404),
    ("an IPv4 address for a host", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404),
    ("an IPv6 address for a host", b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 404),
    ("a host that no route can have", b"GET / HTTP/1.1\r\nHost: under_score.test\r\n\r\n", 404),
    ("dots for a host", b"GET / HTTP/1.1\r\nHost: ..\r\n\r\n", 404),
    ("a very long host", b"GET / HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.shop.test\r\n\r\n", 404),
];

pub fn rows() -> Vec<Row> {
    let go_on = [LINES, BODIES, CONNECTIONS, FORGED].into_iter().flatten();
    let mut rows: Vec<Row> = go_on
        .map(|(name, bytes, line, body, with, without)| Row {
            with,
            without,
            ..Row::new(name, bytes, Want::Reaches { line, body })
        })
        .collect();
    rows.extend(LAST.iter().map(|(name, bytes, line, body, with, without)| Row {
        with,
        without,
        ..Row::new(name, bytes, Want::ReachesLast { line, body })
    }));
    rows.extend(PAGES.iter().map(|(name, bytes, status)| Row::new(name, bytes, Want::Page(*status))));
    let line = "GET / HTTP/1.1";
    let many = format!("GET / HTTP/1.1\r\n{{H}}{}\r\n", "X: y\r\n".repeat(99));
    rows.push(Row::new("as many fields as may be", many, Want::Reaches { line, body: "" }));
    let long = format!("GET / HTTP/1.1\r\n{{H}}X: {}\r\n\r\n", "y".repeat(60_000));
    rows.push(Row::new("a head just under the limit", long, Want::Reaches { line, body: "" }));
    rows
}
