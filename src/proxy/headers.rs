//! What is taken out of a head and what is put in, in both directions. Pure.

use std::net::IpAddr;

use bytes::{BufMut, BytesMut};

use super::decimal::put_decimal;
use super::forwarded::{self, Here};
use super::h1::body::{Framing, Length};
use super::h1::head::{Declared, Fields};
use super::h1::request::Request;
use super::h1::response::Response;
use crate::base::clock::UnixMillis;
use crate::wire::proxy::Target;

/// What we say about a request to the instance.
#[derive(Debug)]
pub struct Provenance<'a> {
    /// The other end of the connection.
    pub client: IpAddr,
    pub port: u16,
    /// The other end is a trusted proxy: what it says about where the request came from is passed on.
    pub trusted: bool,
    /// The client's connection is TLS that we ended.
    pub https: bool,
    pub id: &'a str,
    pub at: UnixMillis,
}

/// Belongs to one connection only (RFC 9110 §7.6.1), or is written anew by us.
const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "content-length",
    "expect",
];

/// Written anew by us, or said by nobody: also a trusted proxy may pass on what a client made up. `Proxy` becomes HTTP_PROXY in CGI programs.
const FORGEABLE: [&str; 7] = ["forwarded", "x-forwarded", "x-real-ip", "x-request-id", "x-request-start", "proxy", "host"];

/// Addresses of clients as proxies of some makers tell them, who overwrite what a client sent: passed on from a trusted proxy only.
const CLAIMS: [&str; 6] =
    ["client-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip", "fastly-client-ip"];

/// RFC 6797 §6.1.
pub const HSTS: &str = "Strict-Transport-Security";

/// Writes the head that goes to the instance: Host as sent, framing as read, our own word on where it came from.
pub fn write_request(out: &mut BytesMut, request: &Request, about: &Provenance<'_>) {
    out.put_slice(request.method().as_bytes());
    out.put_slice(b" ");
    out.put_slice(request.target());
    out.put_slice(b" HTTP/1.1\r\n");
    field(out, "Host", request.host.raw.as_bytes());
    for (name, value) in request.fields.iter().filter(|(name, _)| why_not(&request.fields, name, about.trusted).is_none()) {
        raw_field(out, name, value);
    }
    match request.body {
        Declared::Nothing => {}
        Declared::Length(n) => number(out, "Content-Length", n),
        Declared::Chunked => field(out, "Transfer-Encoding", b"chunked"),
    }
    if request.expects_continue {
        field(out, "Expect", b"100-continue");
    }
    if let Some(protocol) = &request.upgrade {
        field(out, "Connection", b"Upgrade");
        field(out, "Upgrade", protocol.as_bytes());
    } else if request.fields.list_has("te", "trailers") {
        field(out, "Connection", b"TE");
        field(out, "TE", b"trailers");
    }
    let Provenance { client: peer, port, trusted, https: tls, .. } = *about;
    forwarded::write(out, &request.fields, &Here { peer, port, tls, host: &request.host.raw, trusted });
    field(out, "X-Request-ID", about.id.as_bytes());
    number(out, "X-Request-Start", about.at.0.unsigned_abs());
    out.put_slice(b"\r\n");
}

/// How an answer ends for the client, which decides framing and the connection's future.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    pub framing: Framing,
    pub close: bool,
}

impl Ending {
    /// `close`: the connection can't go on whatever the answer is.
    pub fn of(request: &Request, body: Length, close: bool) -> Self {
        match body {
            Length::None | Length::Exact(_) => Self { framing: Framing::Plain, close },
            Length::Chunked | Length::UntilClose if request.http11 => Self { framing: Framing::Chunked, close },
            // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
            Length::Chunked | Length::UntilClose => Self { framing: Framing::Plain, close: true },
        }
    }
}

/// What we say in an answer beside the instance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Added<'a> {
    /// Who answered, where the host config wants that told.
    pub release: Option<&'a Target>,
    /// Seconds of Strict-Transport-Security, unless the instance says its own.
    pub hsts: Option<u64>,
}

/// Writes the head of the final answer for the client.
pub fn write_answer(out: &mut BytesMut, request: &Request, response: &Response, ending: Ending, added: Added<'_>) {
    status_line(out, response);
    let Added { release, hsts } = added;
    let own: &[&str] = if release.is_some() { &["x-paas-commit", "x-paas-release"] } else { &[] };
    let passing = response.fields.iter().filter(|(name, _)| passes(&response.fields, name) && !is_one_of(name, own));
    for (name, value) in passing {
        raw_field(out, name, value);
    }
    match response.declared {
        // 204 must not have one (RFC 9110 §8.6); to HEAD and in 304 it tells the length that a GET would have.
        Declared::Length(n) if response.status != 204 => number(out, "Content-Length", n),
        _ if ending.framing == Framing::Chunked => field(out, "Transfer-Encoding", b"chunked"),
        _ => {}
    }
    if let Some(target) = release {
        if let Some(commit) = &target.commit {
            field(out, "X-Paas-Commit", commit.as_str().as_bytes());
        }
        field(out, "X-Paas-Release", target.release.to_string().as_bytes());
    }
    if let Some(seconds) = hsts.filter(|_| response.fields.first(HSTS).is_none()) {
        field(out, HSTS, format!("max-age={seconds}").as_bytes());
    }
    connection(out, request, ending.close);
    out.put_slice(b"\r\n");
}

/// Writes an interim answer (100, 102, 103).
pub fn write_interim(out: &mut BytesMut, response: &Response) {
    status_line(out, response);
    for (name, value) in response.fields.iter().filter(|(name, _)| passes(&response.fields, name)) {
        raw_field(out, name, value);
    }
    out.put_slice(b"\r\n");
}

/// Writes the 101 that opens the tunnel; `protocol` is what both sides agreed on.
pub fn write_switch(out: &mut BytesMut, response: &Response, protocol: &[u8]) {
    status_line(out, response);
    for (name, value) in response.fields.iter().filter(|(name, _)| passes(&response.fields, name)) {
        raw_field(out, name, value);
    }
    field(out, "Connection", b"Upgrade");
    field(out, "Upgrade", protocol);
    out.put_slice(b"\r\n");
}

/// Says whether the connection goes on, where the version's default says otherwise (RFC 9112 §9.3).
pub fn connection(out: &mut BytesMut, request: &Request, close: bool) {
    if close {
        field(out, "Connection", b"close");
    } else if !request.http11 {
        field(out, "Connection", b"keep-alive");
    }
}

/// The request's id if it looks like one (Heroku's rule: 20 to 128 of a plain alphabet). Only that of a trusted proxy is to be used.
pub fn given_id(request: &Request) -> Option<&str> {
    let id = std::str::from_utf8(request.fields.first("x-request-id")?).ok()?;
    let plain = id.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
    ((20..=128).contains(&id.len()) && plain).then_some(id)
}

fn status_line(out: &mut BytesMut, response: &Response) {
    out.put_slice(b"HTTP/1.1 ");
    put_decimal(out, u64::from(response.status));
    out.put_slice(b" ");
    out.put_slice(response.reason());
    out.put_slice(b"\r\n");
}

fn field(out: &mut BytesMut, name: &str, value: &[u8]) {
    raw_field(out, name.as_bytes(), value);
}

fn number(out: &mut BytesMut, name: &str, value: u64) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    put_decimal(out, value);
    out.put_slice(b"\r\n");
}

fn raw_field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Whether a field goes on to the other side: not hop-by-hop by the standard or by the message's own Connection.
fn passes(fields: &Fields, name: &[u8]) -> bool {
    !is_one_of(name, &HOP_BY_HOP) && !fields.list("connection").any(|named| named.eq_ignore_ascii_case(name))
}

/// Why a field of the client does not go on to the instance as it is. None: it does.
pub fn why_not(fields: &Fields, name: &[u8], trusted: bool) -> Option<&'static str> {
    if !passes(fields, name) {
        return Some("belongs to one connection only");
    }
    if is_forgeable(name) {
        return Some("a client could forge it");
    }
    // No proxy writes a claim with other punctuation, so none overwrites it.
    let believed = trusted && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    let claims = !believed && CLAIMS.iter().any(|claim| is_dashed(name, claim));
    claims.then_some("a client could forge it; a trusted proxy may say it")
}

/// Also framing and hop-by-hop names in that spelling. Whatever is no letter or digit counts as a dash: CGI-like servers make one variable of
/// `X-Y`, `X_Y` and, some of them, `X.Y`. Other names with underscores pass: apps use them, and a client gains nothing by the spelling.
fn is_forgeable(name: &[u8]) -> bool {
    FORGEABLE.iter().chain(&HOP_BY_HOP).any(|known| is_dashed(name, known))
        || name.get(..12).is_some_and(|begin| is_dashed(begin, "x-forwarded-"))
}

fn is_dashed(name: &[u8], known: &str) -> bool {
    let dashed = |b: &u8| if b.is_ascii_alphanumeric() { b.to_ascii_lowercase() } else { b'-' };
    known.len() == name.len() && known.bytes().zip(name.iter().map(dashed)).all(|(a, b)| a == b)
}

fn is_one_of(name: &[u8], known: &[&str]) -> bool {
    known.iter().any(|k| name.eq_ignore_ascii_case(k.as_bytes()))
}
