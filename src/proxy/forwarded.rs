//! Where a request came from: our own word, and that of trusted proxies in front of us. Pure.
//!
//! What anybody else says about itself is forgery and is not passed on. A trusted proxy must set or append `X-Forwarded-For` (or, without
//! it, `Forwarded`) on every request; what it does not set, a client can forge through it.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, BytesMut};

use super::decimal::{put_address, put_decimal};
use super::h1::head::Fields;
use super::h1::host::Host;
use crate::base::cidr::Cidr;

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The rightmost address of the way here that is no trusted proxy's.
    pub client: IpAddr,
    /// The other end of the connection is a trusted proxy.
    pub trusted: bool,
    /// The client speaks TLS, with us or with the trusted proxy.
    pub https: bool,
}

impl Origin {
    /// Takes the connection's other end and whether the connection is TLS that we ended.
    pub fn of(fields: &Fields, peer: IpAddr, tls: bool, trusted: &[Cidr]) -> Self {
        let peer = peer.to_canonical();
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        if !is_trusted(peer) {
            return Self { client: peer, trusted: false, https: tls };
        }
        let mut client = peer;
        for hop in hops(fields).into_iter().rev() {
            // Beyond one that can't be read nothing can be believed.
            let Some(address) = hop else { break };
            client = address;
            if !is_trusted(address) {
                break;
            }
        }
        Self { client, trusted: true, https: proto(fields).map_or(tls, is_secure) }
    }
}

/// What is said about the connection to us.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    pub peer: IpAddr,
    /// The one that the connection came in at.
    pub port: u16,
    pub tls: bool,
    /// As the client sent it.
    pub host: &'a str,
    pub trusted: bool,
}

/// Writes `X-Forwarded-*` and `Forwarded`: for an untrusted peer what we know, for a trusted one what it said with our part appended.
pub fn write(out: &mut BytesMut, fields: &Fields, here: &Here<'_>) {
    let peer = here.peer.to_canonical();
    let ours = Element { address: peer, host: here.host, tls: here.tls };
    let own_proto = if here.tls { "https" } else { "http" };
    if !here.trusted {
        out.put_slice(b"X-Forwarded-For: ");
        put_address(out, peer);
        for text in ["\r\nX-Forwarded-Proto: ", own_proto, "\r\nX-Forwarded-Host: ", here.host, "\r\nX-Forwarded-Port: "] {
            out.put_slice(text.as_bytes());
        }
        put_decimal(out, u64::from(here.port));
        out.put_slice(b"\r\nForwarded: ");
        ours.write(out);
        out.put_slice(b"\r\n");
        return;
    }
    let (addresses, elements) = chains(fields);
    field(out, "X-Forwarded-For", format_args!("{addresses}{peer}"));
    let said = proto(fields);
    let host = one(fields, "x-forwarded-host").filter(|h| Host::parse(h.as_bytes()).is_ok());
    field(out, "X-Forwarded-Proto", format_args!("{}", said.unwrap_or(own_proto)));
    field(out, "X-Forwarded-Host", format_args!("{}", host.unwrap_or(here.host)));
    let port = one(fields, "x-forwarded-port").and_then(|p| p.parse::<u16>().ok()).filter(|p| *p > 0);
    // A port of ours beside a scheme of theirs would make an address that nobody answers at.
    let implied = said.map(|said| {
        let in_host = host.and_then(|h| Host::parse(h.as_bytes()).ok()?.port);
        in_host.unwrap_or(if is_secure(said) { 443 } else { 80 })
    });
    field(out, "X-Forwarded-Port", format_args!("{}", port.or(implied).unwrap_or(here.port)));
    out.put_slice(b"Forwarded: ");
    out.put_slice(elements.as_bytes());
    ours.write(out);
    out.put_slice(b"\r\n");
}

/// The way here as a trusted proxy tells it, in both spellings, each ending with `, ` unless it is empty.
fn chains(fields: &Fields) -> (String, String) {
    let text = |name: &str| {
        let lines = fields.all(name).map(|line| String::from_utf8_lossy(line).into_owned()).filter(|line| !line.is_empty());
        lines.map(|line| line + ", ").collect::<String>()
    };
    let (addresses, elements) = (text("x-forwarded-for"), text("forwarded"));
    if addresses.is_empty() {
        let each = |hop: &Option<IpAddr>| hop.map_or("unknown, ".to_owned(), |address| format!("{address}, "));
        return (hops(fields).iter().map(each).collect(), elements);
    }
    // A proxy that knows one of the two passes the other on as a client sent it.
    let last = fields.list("forwarded").last().and_then(node_of_element);
    let both = last.is_some() && last == fields.list("x-forwarded-for").last().and_then(node);
    if both {
        return (addresses, elements);
    }
    let each = |hop: &Option<IpAddr>| hop.map_or("for=unknown, ".to_owned(), |address| format!("for={}, ", Node(address)));
    let made = hops(fields).iter().map(each).collect();
    (addresses, made)
}

/// The addresses of the way here, the client's first; None where there is something else.
fn hops(fields: &Fields) -> Vec<Option<IpAddr>> {
    if fields.first("x-forwarded-for").is_some() {
        return fields.list("x-forwarded-for").map(node).collect();
    }
    fields.list("forwarded").map(node_of_element).collect()
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|s| s.ip()))?;
    Some(address.to_canonical())
}

/// The `for` of one element (RFC 7239 §4).
fn node_of_element(element: &[u8]) -> Option<IpAddr> {
    let value = element.split(|b| *b == b';').find_map(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        pair[..at].trim_ascii().eq_ignore_ascii_case(b"for").then(|| pair[at + 1..].trim_ascii())
    })?;
    node(value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value))
}

/// The scheme that a trusted proxy was asked by; nothing else than the four there are.
fn proto(fields: &Fields) -> Option<&str> {
    one(fields, "x-forwarded-proto").filter(|said| ["http", "https", "ws", "wss"].iter().any(|s| said.eq_ignore_ascii_case(s)))
}

fn is_secure(proto: &str) -> bool {
    proto.eq_ignore_ascii_case("https") || proto.eq_ignore_ascii_case("wss")
}

/// The value of a field that stands there once.
fn one<'a>(fields: &'a Fields, name: &'a str) -> Option<&'a str> {
    let mut all = fields.all(name);
    match (all.next(), all.next()) {
        (Some(value), None) => std::str::from_utf8(value).ok(),
        _ => None,
    }
}

/// Our own part of `Forwarded`.
struct Element<'a> {
    address: IpAddr,
    host: &'a str,
    tls: bool,
}

impl Element<'_> {
    fn write(&self, out: &mut BytesMut) {
        out.put_slice(b"for=");
        match self.address {
            IpAddr::V4(_) => put_address(out, self.address),
            IpAddr::V6(_) => {
                out.put_slice(b"\"[");
                put_address(out, self.address);
                out.put_slice(b"]\"");
            }
        }
        // What Host::parse lets pass has no quote and no backslash; what is no token stands in quotes (RFC 7239 §4).
        let token = self.host.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._~!$&'*+".contains(&c));
        let around = if token { "" } else { "\"" };
        if !self.host.is_empty() {
            [";host=", around, self.host, around].iter().for_each(|text| out.put_slice(text.as_bytes()));
        }
        out.put_slice(if self.tls { b";proto=https" } else { b";proto=http" });
    }
}

/// An address as RFC 7239 §6 wants it.
struct Node(IpAddr);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => write!(f, "{v4}"),
            IpAddr::V6(v6) => write!(f, "\"[{v6}]\""),
        }
    }
}

/// Writes a field without an allocation of its own.
fn field(out: &mut BytesMut, name: &str, value: fmt::Arguments<'_>) {
    // A BytesMut grows: it cannot fail.
    let _ = write!(out, "{name}: {value}\r\n");
}
