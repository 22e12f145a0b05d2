//! Heads between HTTP/2 and HTTP/1.1. Pure. What a request says goes through the one judge afterwards (`h1/request.rs`), so only what
//! would be lost on the way is judged here.

use std::mem::MaybeUninit;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, request};

use crate::proxy::h1::host::Host;
use crate::proxy::limits::HEAD_FIELDS;

/// The stream breaks a rule of HTTP/2: it is reset with PROTOCOL_ERROR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// How the body of the request stands in the bytes that the proxy reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Nothing,
    /// As the client's Content-Length says; the h2 crate holds the client to it.
    Plain,
    Chunked,
}

impl Framing {
    pub fn of(parts: &request::Parts, ended: bool) -> Self {
        match (ended, parts.headers.contains_key(header::CONTENT_LENGTH)) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Plain,
            (false, false) => Self::Chunked,
        }
    }
}

/// Writes the head of a request as HTTP/1.1 (RFC 9113 §8.3.1).
pub fn head(parts: &request::Parts, framing: Framing) -> Result<BytesMut, Malformed> {
    let mut out = BytesMut::with_capacity(512);
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    // Over TLS there is one scheme. Without an authority the h2 crate does not tell the scheme; then there must be a Host.
    if parts.uri.scheme_str().is_some_and(|scheme| scheme != "https") {
        return Err(Malformed);
    }
    out.put_slice(parts.method.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(path.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = parts.uri.authority() {
        field(&mut out, b"host", authority.as_str().as_bytes());
        same_host(authority.as_str(), &parts.headers)?;
    }
    let mut cookies = 0;
    for (name, value) in &parts.headers {
        let value = value.as_bytes();
        if changes(value) {
            return Err(Malformed);
        }
        match *name {
            header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE => return Err(Malformed),
            header::TE if !value.eq_ignore_ascii_case(b"trailers") => return Err(Malformed),
            // Hop-by-hop in HTTP/1.1: it needs its Connection.
            header::TE => {
                field(&mut out, b"connection", b"te");
                field(&mut out, b"te", value);
            }
            header::HOST if parts.uri.authority().is_some() => {}
            header::COOKIE => cookies += 1,
            _ if matches!(name.as_str(), "keep-alive" | "proxy-connection") => return Err(Malformed),
            _ => field(&mut out, name.as_str().as_bytes(), value),
        }
    }
    if cookies > 0 {
        // Split for the sake of compression only (RFC 9113 §8.2.3).
        let all: Vec<&[u8]> = parts.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        field(&mut out, b"cookie", &all.join(b"; ".as_slice()));
    }
    match framing {
        Framing::Chunked => field(&mut out, b"transfer-encoding", b"chunked"),
        // Without it some servers wait for a body, or ask for a length.
        Framing::Nothing if wants_length(parts) => field(&mut out, b"content-length", b"0"),
        Framing::Nothing | Framing::Plain => {}
    }
    out.put_slice(b"\r\n");
    Ok(out)
}

/// Such a value would look different in HTTP/1.1 (RFC 9113 §8.2.1).
fn changes(value: &[u8]) -> bool {
    [value.first(), value.last()].into_iter().flatten().any(|b| b" \t".contains(b))
}

fn wants_length(parts: &request::Parts) -> bool {
    matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) && !parts.headers.contains_key(header::CONTENT_LENGTH)
}

/// A Host beside `:authority` must say the same.
fn same_host(authority: &str, fields: &HeaderMap) -> Result<(), Malformed> {
    let Some(value) = fields.get(header::HOST) else { return Ok(()) };
    let same = match (Host::parse(authority.as_bytes()), Host::parse(value.as_bytes())) {
        (Ok(a), Ok(b)) => a.same_as(&b),
        _ => false,
    };
    if same && fields.get_all(header::HOST).iter().count() == 1 { Ok(()) } else { Err(Malformed) }
}

/// Writes a trailer section as the end of a chunked body has it; `may_trail` of the judge decides what of it goes on.
pub fn trailers(out: &mut BytesMut, fields: &HeaderMap) -> Result<(), Malformed> {
    for (name, value) in fields {
        if changes(value.as_bytes()) {
            return Err(Malformed);
        }
        field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    Ok(())
}

fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// The head of an answer as the proxy wrote it, for HTTP/2, and what body it announces.
pub struct Answer {
    pub head: Response<()>,
    pub chunked: bool,
    pub length: Option<u64>,
}

/// Reads a head that the proxy itself wrote. None: it is no such head, which no instance can bring about, as all was judged before.
pub fn answer(bytes: &Bytes) -> Option<Answer> {
    // What an instance may send, and what we add.
    let mut room = [const { MaybeUninit::uninit() }; HEAD_FIELDS + 32];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    parser.parse_response_with_uninit_headers(&mut parsed, bytes, &mut room).ok().filter(httparse::Status::is_complete)?;
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(parsed.code?).ok()?;
    let (mut chunked, mut length) = (false, None);
    let fields = head.headers_mut();
    fields.reserve(parsed.headers.len());
    for read in parsed.headers.iter() {
        let name = HeaderName::from_bytes(read.name.as_bytes()).ok()?;
        match name {
            header::TRANSFER_ENCODING => chunked = true,
            header::CONNECTION | header::UPGRADE => {}
            _ if matches!(name.as_str(), "keep-alive" | "proxy-connection") => {}
            _ => {
                if name == header::CONTENT_LENGTH {
                    length = Some(std::str::from_utf8(read.value).ok()?.parse().ok()?);
                }
                fields.append(name, HeaderValue::from_maybe_shared(bytes.slice_ref(read.value)).ok()?);
            }
        }
    }
    Some(Answer { head, chunked, length })
}

/// Reads the trailer section of a chunked body that the proxy wrote.
pub fn read_trailers(block: &Bytes) -> Option<HeaderMap> {
    let mut room = [httparse::EMPTY_HEADER; HEAD_FIELDS];
    let httparse::Status::Complete((_, read)) = httparse::parse_headers(block, &mut room).ok()? else { return None };
    let mut fields = HeaderMap::with_capacity(read.len());
    for field in read {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        fields.append(name, HeaderValue::from_maybe_shared(block.slice_ref(field.value)).ok()?);
    }
    Some(fields)
}
