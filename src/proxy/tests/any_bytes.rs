//! The invariants of `fuzzing.rs` on a few thousand inputs that are made of likely pieces and then damaged. The same ones every time.

use crate::proxy::fuzzing::{self, Numbers};
use crate::proxy::tests::strict;

const REQUEST_LINES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /a?b=c HTTP/1.1\r\n",
    "HEAD http://a.test HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "OPTIONS http://a.test HTTP/1.1\r\n",
    "GET / HTTP/1.0\r\n",
    "\u{e9} / HTTP/1.1\r\n",
    "PUT /\u{e9} HTTP/1.1\r\n",
];

const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304 \r\n",
    "HTTP/1.1 103\r\n",
    "HTTP/1.1 101 Switching\r\n",
    "HTTP/1.1 500 \u{e9}\r\n",
];

const FIELDS: &[&str] = &[
    "Host: a.test\r\n",
    "Host: a.test\r\n",
    "Host: a.test\r\n",
    "host:b.test:80\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 12\r\n",
    "Content_Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: Chunked \r\n",
    "Transfer-Encoding: gzip\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, x-a\r\n",
    "Connection: upgrade\r\n",
    "Connection: host, content-length\r\n",
    "Upgrade: websocket\r\n",
    "Expect: 100-continue\r\n",
    "TE: trailers\r\n",
    "X-A: \t b \r\n",
    "X-B:\r\n",
    "X_Forwarded_For: 1.1.1.1\r\n",
    "X-Forwarded-For: 1.1.1.1\r\n",
    "X.Request.Id: 1\r\n",
    "Proxy: x\r\n",
    "Cookie: a=b; c=d\r\n",
];

const BODIES: &[&str] = &[
    "",
    "hello",
    "hello, world",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n00C\r\nhello, world\r\n0;x\r\nX-T: a\r\nHost: x\r\n\r\n",
    "0\r\n\r\n",
    "1\r\nx\r\n",
    "GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n",
];

const SPECIAL: &[u8] = b"\r\n\0 \t:;,=\"0f-_/\x7f\x80\xff*[]{}";

fn pick<'a>(numbers: &mut Numbers, from: &[&'a str]) -> &'a str {
    from[numbers.below(from.len())]
}

/// A message of likely pieces.
fn message(numbers: &mut Numbers, first: &[&str]) -> Vec<u8> {
    let mut made = pick(numbers, first).as_bytes().to_vec();
    if numbers.below(4) > 0 {
        made.extend_from_slice(b"Host: a.test\r\n");
    }
    for _ in 0..numbers.below(6) {
        made.extend_from_slice(pick(numbers, FIELDS).as_bytes());
    }
    made.extend_from_slice(b"\r\n");
    for _ in 0..numbers.below(3) {
        made.extend_from_slice(pick(numbers, BODIES).as_bytes());
    }
    made
}

/// Half of the inputs stay as they are.
fn damage(numbers: &mut Numbers, bytes: &mut Vec<u8>) {
    for _ in 0..numbers.below(4) * numbers.below(2) {
        let at = numbers.below(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
        let special = SPECIAL[numbers.below(SPECIAL.len())];
        match numbers.below(4) {
            0 if !bytes.is_empty() => bytes[at] = special,
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            2 => bytes.insert(at, special),
            _ => {
                let end = (at + numbers.below(30)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
}

fn with_seed(numbers: &mut Numbers, bytes: &[u8]) -> Vec<u8> {
    [&numbers.word().to_le_bytes()[..4], bytes].concat()
}

#[test]
fn any_request_reads_the_same_in_pieces_and_as_it_is_written() {
    let mut numbers = Numbers::new(7);
    let mut good = 0;
    for _ in 0..6000 {
        let mut bytes = message(&mut numbers, REQUEST_LINES);
        damage(&mut numbers, &mut bytes);
        good += u32::from(fuzzing::request(&with_seed(&mut numbers, &bytes)));
    }
    assert!((1000..5000).contains(&good), "{good} of 6000 were good: too many or too few to prove much");
    for bytes in strict::all_bytes() {
        for _ in 0..5 {
            let mut bytes = bytes.clone();
            damage(&mut numbers, &mut bytes);
            let _ = fuzzing::request(&with_seed(&mut numbers, &bytes));
        }
    }
}

#[test]
fn any_answer_reads_the_same_in_pieces_and_as_it_is_written() {
    let mut numbers = Numbers::new(11);
    let mut good = 0;
    for _ in 0..6000 {
        let mut bytes = message(&mut numbers, STATUS_LINES);
        damage(&mut numbers, &mut bytes);
        good += u32::from(fuzzing::response(&with_seed(&mut numbers, &bytes)));
    }
    assert!((1000..5000).contains(&good), "{good} of 6000 were good: too many or too few to prove much");
}

#[test]
fn any_snapshot_is_a_table_or_an_error() {
    const TARGET: &str = r#"{"id":1,"app":"shop","process":"web","release":1,"commit":null,"drain":null}"#;
    const DRAINING: &str = r#"{"id":2,"app":"shop","process":"web","release":2,"commit":null,"drain":{"requests_ms":5,"streams_ms":18446744073709551615}}"#;
    const ROUTES: &[&str] = &[
        r#"{"host":"a.test","app":"shop","action":{"Forward":{"targets":[1]}}}"#,
        r#"{"host":"a.test","app":"shop","action":{"Forward":{"targets":[]}}}"#,
        r#"{"host":"b.test","app":"shop","action":{"Forward":{"targets":[1,2]}},"rules":{}}"#,
        r#"{"host":"c.test","app":"shop","action":{"Redirect":{"to":"a.test"}}}"#,
        r#"{"host":"d.test","app":"shop","action":{"Hold":{"limit_ms":18446744073709551615}}}"#,
        r#"{"host":"e.test","app":"other","action":{"Forward":{"targets":[1]}}}"#,
    ];
    const FRONTS: &[&str] =
        &["", r#","front":{}"#, r#","front":{"limits":{"head_bytes":4096}}"#, r#","front":{"limits":{"idle_ms":0}}"#];
    let mut numbers = Numbers::new(13);
    let mut good = 0;
    for _ in 0..4000 {
        let routes: Vec<&str> = (0..numbers.below(4)).map(|_| pick(&mut numbers, ROUTES)).collect();
        let targets = [&[][..], &[TARGET], &[TARGET, DRAINING], &[TARGET, TARGET]][numbers.below(4)].join(",");
        let front = pick(&mut numbers, FRONTS);
        let routes = routes.join(",");
        let json = format!(r#"{{"version":1,"routes":[{routes}],"targets":[{targets}],"commit_header":false{front}}}"#);
        let mut bytes = json.into_bytes();
        damage(&mut numbers, &mut bytes);
        good += u32::from(fuzzing::snapshot(&bytes));
    }
    assert!((100..3000).contains(&good), "{good} of 4000 were good: too many or too few to prove much");
}
