//! Messages that parsers read differently. Each table has one row per message: what it is called, its bytes, and what must come of it: the
//! answer, and what the other side got. A row that fails is shown with all of that, and all rows are tried before the test ends.

use std::time::Duration;

use super::world::*;

mod answers;
mod bodies;
mod heads;
mod unusual;

/// Stands in the bytes for a good Host line.
const HOST: &str = "Host: shop.test\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: shop.test\r\n\r\n";

/// The bytes of all tables.
pub fn all_bytes() -> Vec<Vec<u8>> {
    [heads::rows(), bodies::rows(), unusual::rows()]
        .into_iter()
        .flatten()
        .map(|row| row.bytes)
        .filter(|b| b.len() < 5000)
        .collect()
}

/// What must come of a request.
#[derive(Debug, Clone)]
enum Want {
    /// This status, the end of the connection, and not one byte at the instance.
    Refused(u16),
    /// The same for a body that breaks: its beginning may have reached the instance, but no whole request.
    Broken(u16),
    /// This status from the proxy itself; the connection goes on.
    Page(u16),
    /// One request at the instance, with this first line and body (trailers in brackets), and the next one on the same connection.
    Reaches { line: &'static str, body: &'static str },
    /// The same, but the connection ends after it.
    ReachesLast { line: &'static str, body: &'static str },
}

struct Row {
    name: &'static str,
    bytes: Vec<u8>,
    want: Want,
    /// What must stand in the head that the instance got, and what must not, in any case of letters.
    with: &'static [&'static str],
    without: &'static [&'static str],
}

impl Row {
    fn new(name: &'static str, bytes: impl AsRef<[u8]>, want: Want) -> Self {
        Self { name, bytes: with_host(bytes.as_ref()), want, with: &[], without: &[] }
    }
}

/// `{H}` becomes a good Host line.
fn with_host(bytes: &[u8]) -> Vec<u8> {
    let mut made = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(3).position(|w| w == b"{H}") {
        made.extend_from_slice(&rest[..at]);
        made.extend_from_slice(HOST.as_bytes());
        rest = &rest[at + 3..];
    }
    made.extend_from_slice(rest);
    made
}

/// What came of a request, however it was sent: the tables are the same for every protocol that clients speak.
#[derive(Debug, Default)]
struct Outcome {
    status: Option<u16>,
    /// The connection ended, with no byte after the answer.
    over: bool,
    /// The status of the request that was sent behind this one.
    next: Option<u16>,
}

/// What the instance got meanwhile.
struct Saw {
    requests: Vec<Got>,
    raw: Vec<u8>,
}

/// None: as wanted.
fn judge(row: &Row, got: &Outcome, saw: &Saw) -> Option<&'static str> {
    let lines: Vec<&str> = saw.requests.iter().filter_map(|r| r.head.lines().next()).collect();
    match row.want {
        Want::Refused(status) if got.status != Some(status) => Some("another answer"),
        Want::Broken(status) if got.status != Some(status) => Some("another answer"),
        Want::Refused(_) | Want::Broken(_) if !got.over => Some("the connection goes on"),
        Want::Refused(_) => (!saw.raw.is_empty()).then_some("something of it reached the instance"),
        Want::Broken(_) => (!lines.is_empty()).then_some("a whole request reached the instance"),
        Want::Page(status) if got.status != Some(status) => Some("another answer"),
        Want::Page(_) if got.next != Some(200) => Some("the connection did not go on"),
        Want::Page(_) => (lines != ["GET /next HTTP/1.1"]).then_some("it reached the instance"),
        Want::Reaches { .. } | Want::ReachesLast { .. } if got.status != Some(200) => Some("another answer"),
        Want::Reaches { line, body } if lines != [line, "GET /next HTTP/1.1"] || got.next != Some(200) => {
            if saw.requests.first().is_some_and(|r| r.body != body.as_bytes()) {
                Some("another body")
            } else {
                Some("other requests")
            }
        }
        Want::ReachesLast { line, .. } if lines != [line] || !got.over => Some("other requests"),
        Want::Reaches { body, .. } | Want::ReachesLast { body, .. } => {
            let head = saw.requests[0].head.to_lowercase();
            let lacks = row.with.iter().any(|part| !head.contains(&part.to_lowercase()));
            let has = row.without.iter().any(|part| head.contains(&part.to_lowercase()));
            let checks = [
                (saw.requests[0].body != body.as_bytes(), "another body"),
                (lacks, "a part is missing"),
                (has, "a part is too much"),
            ];
            checks.into_iter().find_map(|(wrong, why)| wrong.then_some(why))
        }
    }
}

/// Sends each row over HTTP/1.1 with another request behind it.
fn try_all(rows: Vec<Row>) {
    let app = Instance::fixed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let world = World::with(&[&app]);
    let mut wrong = Vec::new();
    let count = rows.len();
    for row in rows {
        let mut client = world.client();
        client.send([&row.bytes[..], NEXT.as_bytes()].concat());
        let head_only = row.bytes.starts_with(b"HEAD");
        let answer = client.try_answer(head_only);
        let closes = answer.as_ref().is_some_and(|a| a.field("connection") == Some("close"));
        let mut got = Outcome { status: answer.map(|a| a.status), ..Outcome::default() };
        if closes {
            got.over = client.rest().is_empty();
        } else {
            got.next = client.try_answer(false).map(|a| a.status);
        }
        // One good request over another connection: what was still on its way to the instance is there when it is answered.
        if matches!(row.want, Want::Refused(_) | Want::Broken(_)) {
            let (requests, raw) = app.take();
            let saw = Saw { requests, raw };
            world.get("/after");
            let (after, _) = app.take();
            let late = after.len() != 1;
            note(&mut wrong, &row, &got, &saw, if late { Some("a request came late") } else { judge(&row, &got, &saw) });
        } else {
            let (requests, raw) = app.take();
            let saw = Saw { requests, raw };
            note(&mut wrong, &row, &got, &saw, judge(&row, &got, &saw));
        }
    }
    assert!(wrong.is_empty(), "{} of {count} rows:\n{}", wrong.len(), wrong.join("\n"));
}

fn note(wrong: &mut Vec<String>, row: &Row, got: &Outcome, saw: &Saw, why: Option<&str>) {
    if let Some(why) = why {
        let raw = saw.raw[..saw.raw.len().min(600)].escape_ascii();
        let sent = row.bytes[..row.bytes.len().min(300)].escape_ascii();
        let Row { name, want, .. } = row;
        wrong.push(format!("* {name}: {why}\n  sent     {sent}\n  wanted   {want:?}\n  got      {got:?}\n  instance {raw}"));
    }
}

#[test]
fn the_tables_are_as_large_as_they_should_be() {
    let (malformed, unusual) = (heads::rows().len() + bodies::rows().len(), unusual::rows().len());
    assert!(malformed >= 150, "{malformed} malformed requests");
    assert!(unusual >= 60, "{unusual} unusual ones");
    each_once([heads::rows(), bodies::rows(), unusual::rows()].into_iter().flatten().map(|row| row.name));
}

#[test]
fn malformed_heads_are_refused_and_nothing_of_them_reaches_the_instance() {
    try_all(heads::rows());
}

#[test]
fn malformed_bodies_end_the_request_and_nothing_behind_them_is_served() {
    try_all(bodies::rows());
}

#[test]
fn good_but_unusual_requests_reach_the_instance_as_they_were_meant() {
    try_all(unusual::rows());
}

#[test]
fn heads_that_drip_pass_and_ones_that_stop_are_ended() {
    let app = Instance::fixed(&ok("x"));
    let world = World::with(&[&app]);
    let mut client = world.client();
    for byte in format!("GET /drip HTTP/1.1\r\n{HOST}\r\n").bytes() {
        client.send([byte]);
    }
    assert_eq!(client.answer().status, 200);
    let mut client = world.client();
    client.send("GET / HTTP/1.1\r\nHost: shop");
    client.stream.set_read_timeout(Some(Duration::from_secs(14))).expect("timeout");
    assert_eq!(client.answer().status, 408, "after ten seconds, by default");
}
