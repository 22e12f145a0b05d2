//! Header blocks: pseudo-header fields, names, values.

use super::client::{HEADERS, WHOLE, block, frame};
use super::{AUTHORITY, METHOD, PATH, PROTOCOL, Row, SCHEME, Want, get};

const RESET: Want = Want::Reset(PROTOCOL);
/// What the h2 crate can't even read as a field ends the connection, which RFC 9113 §5.4.1 allows instead of a reset.
const ENDED: Want = Want::Ended(PROTOCOL);
const LINE: &str = "GET /row HTTP/1.1";
const PASSES: Want = Want::Reaches(LINE, "");

type Field = (&'static str, &'static [u8]);

/// Fields behind a good request.
const FIELDS: &[(&str, &[Field], Want)] = &[
    ("a name in capitals", &[("X-Upper", b"a")], ENDED),
    ("one capital at the end of a name", &[("x-uppeR", b"a")], ENDED),
    ("connection: close", &[("connection", b"close")], RESET),
    ("connection: keep-alive", &[("connection", b"keep-alive")], RESET),
    ("connection that names a field", &[("connection", b"x-hop"), ("x-hop", b"a")], RESET),
    ("an empty connection", &[("connection", b"")], RESET),
    ("transfer-encoding: chunked", &[("transfer-encoding", b"chunked")], RESET),
    ("transfer-encoding: identity", &[("transfer-encoding", b"identity")], RESET),
    ("upgrade", &[("upgrade", b"websocket")], RESET),
    ("upgrade to h2c", &[("upgrade", b"h2c")], RESET),
    ("keep-alive", &[("keep-alive", b"timeout=5")], RESET),
    ("proxy-connection", &[("proxy-connection", b"keep-alive")], RESET),
    ("te: gzip", &[("te", b"gzip")], RESET),
    ("te: trailers and gzip", &[("te", b"trailers, gzip")], RESET),
    ("te twice, once wrong", &[("te", b"trailers"), ("te", b"gzip")], RESET),
    ("a pseudo-header field behind a field", &[("x", b"a"), (":path", b"/evil")], RESET),
    ("the only method behind a field", &[("x", b"a"), (":method", b"POST")], RESET),
    ("two methods", &[(":method", b"POST")], RESET),
    ("the same method twice", &[(":method", b"GET")], RESET),
    ("two schemes", &[(":scheme", b"http")], RESET),
    ("two authorities", &[(":authority", b"evil.test")], RESET),
    ("two paths", &[(":path", b"/evil")], RESET),
    ("an unknown pseudo-header field", &[(":foo", b"a")], ENDED),
    ("a status in a request", &[(":status", b"200")], RESET),
    ("a colon for a name", &[(":", b"a")], ENDED),
    ("an empty name", &[("", b"a")], ENDED),
    ("a space in a name", &[("x y", b"a")], ENDED),
    ("a space behind a name", &[("content-length ", b"5")], ENDED),
    ("a space before a name", &[(" x", b"a")], ENDED),
    ("a colon in a name", &[("x:y", b"a")], ENDED),
    ("a line end in a name", &[("x\r\ny", b"a")], ENDED),
    ("a LF in a name", &[("x\ny", b"a")], ENDED),
    ("a NUL in a name", &[("x\0", b"a")], ENDED),
    ("a letter of another language in a name", &[("x\u{e9}", b"a")], ENDED),
    ("a bracket in a name", &[("x(y)", b"a")], ENDED),
    ("a line end and a field in a value", &[("x", b"a\r\nevil: b")], ENDED),
    ("a request in a value", &[("x", b"a\r\n\r\nGET /evil HTTP/1.1\r\nHost: shop.test\r\n\r\n")], ENDED),
    ("a CR in a value", &[("x", b"a\rb")], ENDED),
    ("a LF in a value", &[("x", b"a\nb")], ENDED),
    ("a CR at the end of a value", &[("x", b"a\r")], ENDED),
    ("a LF at the end of a value", &[("x", b"a\n")], ENDED),
    ("a NUL in a value", &[("x", b"a\0b")], ENDED),
    ("another control character in a value", &[("x", b"a\x01b")], ENDED),
    ("DEL in a value", &[("x", b"a\x7fb")], ENDED),
    ("a space before a value", &[("x", b" a")], RESET),
    ("a space behind a value", &[("x", b"a ")], RESET),
    ("a tab before a value", &[("x", b"\ta")], RESET),
    ("a tab behind a value", &[("x", b"a\t")], RESET),
    ("nothing but a space for a value", &[("x", b" ")], RESET),
    ("a space before a host that is the same", &[("host", b" shop.test")], RESET),
    ("a line end in a cookie", &[("cookie", b"a\r\nx: b")], ENDED),
    ("another host than the authority", &[("host", b"evil.test")], RESET),
    ("another port than the authority's", &[("host", b"shop.test:8443")], RESET),
    ("a host twice beside the authority", &[("host", b"shop.test"), ("host", b"shop.test")], RESET),
    ("an empty host beside the authority", &[("host", b"")], RESET),
    ("a list of hosts beside the authority", &[("host", b"shop.test, evil.test")], RESET),
    ("another expectation", &[("expect", b"a miracle")], Want::Page(417)),
];

/// Whole blocks.
const BLOCKS: &[(&str, &[Field], Want)] = &[
    ("no method", &[SCHEME, AUTHORITY, PATH], RESET),
    ("no scheme", &[METHOD, AUTHORITY, PATH], RESET),
    ("no path", &[METHOD, SCHEME, AUTHORITY], RESET),
    ("nothing at all", &[], RESET),
    ("only fields", &[("x", b"a"), ("host", b"shop.test")], RESET),
    ("no authority and no host", &[METHOD, SCHEME, PATH], Want::Page(400)),
    ("a pseudo-header field in capitals", &[METHOD, SCHEME, AUTHORITY, (":Path", b"/row")], ENDED),
    ("the method behind a field", &[SCHEME, AUTHORITY, PATH, ("x", b"a"), METHOD], RESET),
    ("an empty method", &[(":method", b""), SCHEME, AUTHORITY, PATH], ENDED),
    ("a space in the method", &[(":method", b"GET /evil HTTP/1.1"), SCHEME, AUTHORITY, PATH], ENDED),
    ("a line end in the method", &[(":method", b"GET / HTTP/1.1\r\nx: y\r\n\r\n"), SCHEME, AUTHORITY, PATH], ENDED),
    ("TRACE", &[(":method", b"TRACE"), SCHEME, AUTHORITY, PATH], Want::Page(405)),
    ("TRACK", &[(":method", b"TRACK"), SCHEME, AUTHORITY, PATH], Want::Page(405)),
    ("CONNECT", &[(":method", b"CONNECT"), (":authority", b"shop.test:443")], Want::Page(400)),
    ("CONNECT with a path and a scheme", &[(":method", b"CONNECT"), SCHEME, AUTHORITY, PATH], RESET),
    ("CONNECT with a protocol", &[(":method", b"CONNECT"), (":protocol", b"websocket"), SCHEME, AUTHORITY, PATH], RESET),
    ("CONNECT without an authority", &[(":method", b"CONNECT")], Want::Page(405)),
    ("a protocol without CONNECT", &[METHOD, (":protocol", b"websocket"), SCHEME, AUTHORITY, PATH], RESET),
    ("the scheme http", &[METHOD, (":scheme", b"http"), AUTHORITY, PATH], RESET),
    ("another scheme", &[METHOD, (":scheme", b"ftp"), AUTHORITY, PATH], RESET),
    ("an empty scheme", &[METHOD, (":scheme", b""), AUTHORITY, PATH], RESET),
    ("a scheme with a colon", &[METHOD, (":scheme", b"https:"), AUTHORITY, PATH], RESET),
    ("a line end in the scheme", &[METHOD, (":scheme", b"https\r\nx: y"), AUTHORITY, PATH], RESET),
    ("a request in the scheme", &[METHOD, (":scheme", b"https://shop.test/ HTTP/1.1\r\n\r\n"), AUTHORITY, PATH], RESET),
];

const PATHS: &[(&str, &[u8], Want)] = &[
    ("an empty path", b"", RESET),
    ("a path without a slash", b"row", RESET),
    ("a path that is only a query", b"?row", Want::Page(400)),
    ("an absolute path of another host", b"https://evil.test/row", RESET),
    ("a path that begins with an at sign", b"@evil.test/row", RESET),
    ("a path that begins with a port", b":80/row", RESET),
    ("a space in the path", b"/row HTTP/1.1", RESET),
    ("a line end in the path", b"/row HTTP/1.1\r\nx: y\r\n\r\n", RESET),
    ("a CR in the path", b"/row\r", RESET),
    ("a LF in the path", b"/row\n", RESET),
    ("a NUL in the path", b"/row\0", RESET),
    ("a tab in the path", b"/row\t", RESET),
    ("DEL in the path", b"/row\x7f", RESET),
    // The h2 crate cuts fragments off.
    ("a fragment", b"/row#top", PASSES),
    ("nothing but a fragment", b"#top", Want::Reaches("GET / HTTP/1.1", "")),
    ("an asterisk to GET", b"*", Want::Page(400)),
    ("two asterisks", b"**", RESET),
];

const AUTHORITIES: &[(&str, &[u8], Want)] = &[
    ("an empty authority", b"", RESET),
    ("a user name", b"user@shop.test", Want::Page(400)),
    ("a user name that is a host", b"shop.test@evil.test", Want::Page(400)),
    ("a user name and a password", b"user:pw@shop.test", Want::Page(400)),
    ("a port that is too large", b"shop.test:99999", Want::Page(400)),
    ("a port of 0", b"shop.test:0", Want::Page(400)),
    ("a port of letters", b"shop.test:abc", Want::Page(400)),
    ("two ports", b"shop.test:443:443", RESET),
    ("two hosts", b"shop.test,evil.test", Want::Page(400)),
    ("two hosts and a space", b"shop.test evil.test", RESET),
    ("a path in the authority", b"shop.test/evil", RESET),
    ("a query in the authority", b"shop.test?evil", RESET),
    ("a fragment in the authority", b"shop.test#evil", RESET),
    ("a backslash in the authority", b"shop.test\\evil", RESET),
    ("a percent sign in the authority", b"shop%2etest", RESET),
    ("a line end in the authority", b"shop.test\r\nx: y", RESET),
    ("a NUL in the authority", b"shop.test\0", RESET),
    ("half of an address", b"[::1", RESET),
    ("a host of another certificate", b"elsewhere.test", Want::Page(421)),
    ("an address for a host", b"127.0.0.1", Want::Page(404)),
];

/// The value of Host where there is no authority.
const HOSTS: &[(&str, &[u8], Want)] = &[
    ("a host with a user name", b"user@shop.test", Want::Page(400)),
    ("an empty host", b"", Want::Page(400)),
    ("a host with a path", b"shop.test/evil", Want::Page(400)),
    ("a host with a bad port", b"shop.test:99999", Want::Page(400)),
    ("a host with spaces", b"shop.test evil.test", Want::Page(400)),
    ("a host of another certificate alone", b"elsewhere.test", Want::Page(421)),
];

const NONE: &[&str] = &[];

/// Such as pass: the request line at the instance, and what stands in the head and what does not.
type Good = (&'static str, &'static [Field], &'static str, &'static [&'static str], &'static [&'static str]);

const GOOD: &[Good] = &[
    ("a good request", &[METHOD, SCHEME, AUTHORITY, PATH], LINE, &["host: shop.test\r\n"], &["content-length", "transfer"]),
    ("pseudo-header fields in another order", &[PATH, AUTHORITY, METHOD, SCHEME], LINE, NONE, NONE),
    ("a host alone", &[METHOD, SCHEME, PATH, ("host", b"shop.test")], LINE, &["host: shop.test\r\n"], NONE),
    (
        "a host that is the authority",
        &[METHOD, SCHEME, AUTHORITY, PATH, ("host", b"SHOP.test")],
        LINE,
        &["host: shop.test\r\n"],
        &["host: shop.test\r\nhost:"],
    ),
    (
        "an asterisk to OPTIONS in a stream",
        &[(":method", b"OPTIONS"), SCHEME, AUTHORITY, (":path", b"*")],
        "OPTIONS * HTTP/1.1",
        NONE,
        NONE,
    ),
    (
        "an authority with a port",
        &[METHOD, SCHEME, (":authority", b"shop.test:443"), PATH],
        LINE,
        &["host: shop.test:443\r\n"],
        NONE,
    ),
    (
        "two slashes and dots",
        &[METHOD, SCHEME, AUTHORITY, (":path", b"//evil.test/../a")],
        "GET //evil.test/../a HTTP/1.1",
        &["host: shop.test\r\n"],
        NONE,
    ),
    (
        "encoded control characters",
        &[METHOD, SCHEME, AUTHORITY, (":path", b"/%0d%0ax:%00")],
        "GET /%0d%0ax:%00 HTTP/1.1",
        NONE,
        NONE,
    ),
    (
        "cookie crumbs",
        &[METHOD, SCHEME, AUTHORITY, PATH, ("cookie", b"a=1"), ("x", b"y"), ("cookie", b"b=2"), ("cookie", b"c=3")],
        LINE,
        &["cookie: a=1; b=2; c=3\r\n"],
        NONE,
    ),
    (
        "te: trailers",
        &[METHOD, SCHEME, AUTHORITY, PATH, ("te", b"trailers")],
        LINE,
        &["te: trailers\r\n", "connection: te\r\n"],
        NONE,
    ),
    ("an empty value", &[METHOD, SCHEME, AUTHORITY, PATH, ("x-empty", b"")], LINE, &["x-empty: \r\n"], NONE),
    ("a space and a tab inside a value", &[METHOD, SCHEME, AUTHORITY, PATH, ("x-t", b"a \tb")], LINE, &["x-t: a \tb\r\n"], NONE),
    ("HTTP2-Settings", &[METHOD, SCHEME, AUTHORITY, PATH, ("http2-settings", b"AAMAAABk")], LINE, NONE, &["http2-settings"]),
    (
        "names that CGI takes for the length or for ours",
        &[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("content_length", b"5"),
            ("x_forwarded_for", b"6.6.6.6"),
            ("transfer_encoding", b"chunked"),
        ],
        LINE,
        NONE,
        &["content_length", "6.6.6.6", "chunked"],
    ),
    (
        "what a client must not say in HTTP/2 either",
        &[
            METHOD,
            SCHEME,
            AUTHORITY,
            PATH,
            ("x-forwarded-for", b"6.6.6.6"),
            ("forwarded", b"for=6.6.6.6"),
            ("x-real-ip", b"6.6.6.6"),
        ],
        LINE,
        &["x-forwarded-proto: https\r\n"],
        &["6.6.6.6"],
    ),
];

pub fn rows() -> Vec<Row> {
    let whole = |block: Vec<u8>| frame(HEADERS, WHOLE, 1, block);
    let mut rows = Vec::new();
    rows.extend(FIELDS.iter().map(|(name, more, want)| Row::new(name, whole(get(more)), want.clone())));
    rows.extend(BLOCKS.iter().map(|(name, fields, want)| Row::new(name, whole(block(fields)), want.clone())));
    rows.extend(
        PATHS
            .iter()
            .map(|(name, path, want)| Row::new(name, whole(block(&[METHOD, SCHEME, AUTHORITY, (":path", path)])), want.clone())),
    );
    rows.extend(AUTHORITIES.iter().map(|(name, authority, want)| {
        Row::new(name, whole(block(&[METHOD, SCHEME, (":authority", authority), PATH])), want.clone())
    }));
    rows.extend(
        HOSTS
            .iter()
            .map(|(name, host, want)| Row::new(name, whole(block(&[METHOD, SCHEME, PATH, ("host", host)])), want.clone())),
    );
    rows.extend(GOOD.iter().map(|(name, fields, line, with, without)| Row {
        with,
        without,
        ..Row::new(name, whole(block(fields)), Want::Reaches(line, ""))
    }));
    let many = |n: usize| vec![("x", b"y".as_slice()); n];
    rows.push(Row::new("as many fields as may be over HTTP/2", whole(get(&many(90))), PASSES));
    rows.push(Row::new("too many fields", whole(get(&many(101))), Want::Page(431)));
    rows
}
