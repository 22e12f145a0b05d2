//! The head of a request, parsed and judged.

use std::mem::MaybeUninit;

use bytes::BytesMut;

use super::head::{Declared, Fields, HeadError, Span, declared, refused, take};
use super::host::Host;
use crate::proxy::limits::HEAD_FIELDS;

/// A request that passed every check.
#[derive(Debug)]
pub struct Request {
    method: Span,
    target: Span,
    pub fields: Fields,
    pub host: Host,
    pub http11: bool,
    pub body: Declared,
    /// The client will send another request on this connection if we let it.
    pub keep_alive: bool,
    /// The client waits for 100 before it sends its body.
    pub expects_continue: bool,
    /// The protocol that the client asks to switch to.
    pub upgrade: Option<String>,
}

impl Request {
    /// Takes `length` bytes of head (as told by the scan) off the buffer and judges them.
    pub fn take(buf: &mut BytesMut, length: usize) -> Result<Self, HeadError> {
        let bytes = take(buf, length);
        let mut room = [const { MaybeUninit::uninit() }; HEAD_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        if parsed.parse_with_uninit_headers(&bytes, &mut room).map_err(|e| why_refused(e, &bytes))?.is_partial() {
            return Err(HeadError::Malformed("no end"));
        }
        let (Some(method), Some(path), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(HeadError::Malformed("the first line"));
        };
        let http11 = version == 1;
        let method_span = Span::of(&bytes, method.as_bytes());
        let (authority, target) = target_of(method, path)?;
        let target = Span::of(&bytes, target.as_bytes());
        let authority = authority.map(|a| Host::parse(a.as_bytes())).transpose()?;
        let spans = Fields::spans(&bytes, parsed.headers);
        let fields = Fields::new(bytes, spans);
        let mut request = Self {
            method: method_span,
            target,
            host: host_of(&fields, authority, http11)?,
            http11,
            body: declared(&fields, http11)?,
            keep_alive: keeps_alive(&fields, http11),
            expects_continue: false,
            upgrade: None,
            fields,
        };
        request.read_wishes()?;
        Ok(request)
    }

    /// Expect and Upgrade: what the client wants beyond an answer.
    fn read_wishes(&mut self) -> Result<(), HeadError> {
        let expected = self.fields.list("expect").try_fold(false, |_, e| {
            if e.eq_ignore_ascii_case(b"100-continue") { Ok(true) } else { Err(HeadError::Expectation) }
        })?;
        // HTTP/1.0 has no interim answers (RFC 9110 §10.1.1); without a body there is nothing to wait for.
        self.expects_continue = expected && self.http11 && self.has_body();
        // A body in front of the tunnel would be a second way to count bytes; h2c would hide requests from us.
        if self.http11 && !self.has_body() && self.fields.list_has("connection", "upgrade") {
            let mut wanted = self.fields.list("upgrade");
            if let (Some(protocol), None) = (wanted.next(), wanted.next()) {
                let protocol = String::from_utf8_lossy(protocol).to_ascii_lowercase();
                let plain = protocol.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._/".contains(&c));
                self.upgrade = (plain && !protocol.starts_with("h2c")).then_some(protocol);
            }
        }
        Ok(())
    }

    pub fn method(&self) -> &str {
        std::str::from_utf8(self.method.get(self.fields.bytes())).expect("httparse takes token characters only")
    }

    /// Path and query in origin form, or `*`. May hold bytes over 0x7f.
    pub fn target(&self) -> &[u8] {
        match self.target.get(self.fields.bytes()) {
            // An absolute target may have no path (RFC 9112 §3.2.1, §3.2.4).
            b"" if self.method() == "OPTIONS" => b"*",
            b"" => b"/",
            target => target,
        }
    }

    pub fn has_body(&self) -> bool {
        !matches!(self.body, Declared::Nothing | Declared::Length(0))
    }

    pub fn is_head(&self) -> bool {
        self.method() == "HEAD"
    }

    /// Sending it twice does what sending it once does (RFC 9110 §9.2.2), and we can: there is no body to repeat.
    pub fn is_repeatable(&self) -> bool {
        !self.has_body() && self.upgrade.is_none() && matches!(self.method(), "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
    }
}

/// 505 only for what is a version; anything else in its place is a malformed line.
fn why_refused(error: httparse::Error, head: &[u8]) -> HeadError {
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ').skip(2);
    match (error, words.next(), words.next()) {
        (httparse::Error::Version, Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            HeadError::Version
        }
        (httparse::Error::Version, ..) => HeadError::Malformed("the first line"),
        (error, ..) => refused(error),
    }
}

/// Splits the target into authority (absolute form) and origin form. CONNECT has no meaning here, TRACE would echo secrets.
fn target_of<'a>(method: &str, target: &'a str) -> Result<(Option<&'a str>, &'a str), HeadError> {
    const WRONG: HeadError = HeadError::Malformed("the request target");
    // Methods are case-sensitive, but not to everyone behind us. TRACK is TRACE under another name.
    if ["CONNECT", "TRACE", "TRACK"].iter().any(|refused| method.eq_ignore_ascii_case(refused)) {
        return Err(HeadError::Method);
    }
    if target.contains('#') {
        return Err(WRONG);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((None, target));
    }
    let scheme_end = target.find("://").ok_or(WRONG)?;
    if !matches!(target[..scheme_end].to_ascii_lowercase().as_str(), "http" | "https") {
        return Err(WRONG);
    }
    let rest = &target[scheme_end + 3..];
    let path = rest.find(['/', '?']).unwrap_or(rest.len());
    match &rest[path..] {
        // `http://host?query` has no path to send on; nobody writes it.
        query if query.starts_with('?') => Err(WRONG),
        origin => Ok((Some(&rest[..path]), origin)),
    }
}

/// One Host in HTTP/1.1, at most one in 1.0, and the same as in an absolute target (RFC 9112 §3.2).
fn host_of(fields: &Fields, authority: Option<Host>, http11: bool) -> Result<Host, HeadError> {
    let mut hosts = fields.all("host");
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(HeadError::Malformed("Host twice")),
        (Some(value), None) => Some(Host::parse(value)?),
        (None, _) if http11 => return Err(HeadError::Malformed("no Host")),
        (None, _) => None,
    };
    match (host, authority) {
        (Some(host), Some(authority)) if !host.same_as(&authority) => Err(HeadError::Malformed("Host differs from the target")),
        (Some(host), _) => Ok(host),
        (None, authority) => Ok(authority.unwrap_or_default()),
    }
}

/// RFC 9112 §9.3.
pub fn keeps_alive(fields: &Fields, http11: bool) -> bool {
    let close = fields.list_has("connection", "close");
    !close && (http11 || fields.list_has("connection", "keep-alive"))
}
