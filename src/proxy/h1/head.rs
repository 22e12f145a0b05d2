//! The head of a message: where it ends, and its fields.

use bytes::{Buf, Bytes, BytesMut};

use crate::proxy::limits::{HEAD_COPIED_BYTES, HEAD_FIELDS};

/// Why a head was refused. The text names the rule, never the peer's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("malformed head: {0}")]
    Malformed(&'static str),
    #[error("the head is too long or has over {HEAD_FIELDS} fields")]
    TooLarge,
    #[error("the protocol version is not HTTP/1.0 or HTTP/1.1")]
    Version,
    #[error("the method is not allowed")]
    Method,
    #[error("the expectation is not `100-continue`")]
    Expectation,
}

/// Looks for the end of a head, never at the same byte twice, and refuses bytes that parsers disagree about (bare CR, bare LF, NUL).
#[derive(Debug, Default)]
pub struct HeadScan {
    seen: usize,
}

impl HeadScan {
    /// Takes all that was read so far; gives the length of the head with its empty line, or None if more is needed.
    pub fn scan(&mut self, buf: &[u8], limit: usize) -> Result<Option<usize>, HeadError> {
        // The last byte again: a CR is judged by what follows it.
        let from = self.seen.saturating_sub(1);
        for at in memchr::memchr3_iter(b'\r', b'\n', 0, &buf[from..]) {
            let i = from + at;
            let before = i.checked_sub(1).map(|b| buf[b]);
            match (before, buf[i], buf.get(i + 1)) {
                (None, b'\r', _) => return Err(HeadError::Malformed("an empty first line")),
                (_, b'\r', Some(b'\n') | None) => {}
                (_, b'\r', Some(_)) => return Err(HeadError::Malformed("bare CR")),
                (Some(b'\r'), b'\n', _) if i >= 3 && buf[i - 2] == b'\n' => {
                    return if i < limit { Ok(Some(i + 1)) } else { Err(HeadError::TooLarge) };
                }
                (Some(b'\r'), b'\n', _) => {}
                (_, b'\n', _) => return Err(HeadError::Malformed("bare LF")),
                _ => return Err(HeadError::Malformed("NUL")),
            }
        }
        self.seen = buf.len();
        if buf.len() >= limit { Err(HeadError::TooLarge) } else { Ok(None) }
    }
}

/// A piece of the head, by position.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    start: usize,
    end: usize,
}

impl Span {
    /// Where `part` lies in `whole`; `part` must be a slice of it.
    pub fn of(whole: &[u8], part: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        debug_assert!(part.is_empty() || start + part.len() <= whole.len());
        if part.is_empty() { Self::default() } else { Self { start, end: start + part.len() } }
    }

    pub fn get(self, whole: &[u8]) -> &[u8] {
        &whole[self.start..self.end]
    }
}

/// The bytes of a head and where its fields are.
#[derive(Debug)]
pub struct Fields {
    bytes: Bytes,
    spans: Vec<(Span, Span)>,
}

impl Fields {
    /// Takes the bytes of the head, and where in them the fields are.
    pub fn new(bytes: Bytes, spans: Vec<(Span, Span)>) -> Self {
        Self { bytes, spans }
    }

    /// Where the fields lie that httparse found in `bytes`.
    pub fn spans(bytes: &[u8], headers: &[httparse::Header<'_>]) -> Vec<(Span, Span)> {
        headers.iter().map(|h| (Span::of(bytes, h.name.as_bytes()), Span::of(bytes, h.value))).collect()
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Names and values, in the order of the message.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.spans.iter().map(|(name, value)| (name.get(&self.bytes), value.get(&self.bytes)))
    }

    /// The values of one name (any case).
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The list members of one name over all its lines, trimmed, without empty ones (RFC 9110 §5.6.1).
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name).flat_map(|v| v.split(|b| *b == b',')).map(<[u8]>::trim_ascii).filter(|v| !v.is_empty())
    }

    pub fn list_has(&self, name: &str, member: &str) -> bool {
        self.list(name).any(|v| v.eq_ignore_ascii_case(member.as_bytes()))
    }
}

/// How a message says how long its body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declared {
    Nothing,
    Length(u64),
    Chunked,
}

/// Reads Content-Length and Transfer-Encoding. Anything that two parsers could read differently is an error (RFC 9112 §6.1, §6.3).
pub fn declared(fields: &Fields, http11: bool) -> Result<Declared, HeadError> {
    let mut codings = fields.all("transfer-encoding");
    let mut lengths = fields.all("content-length");
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(Declared::Nothing),
        (Some(_), Some(_)) => Err(HeadError::Malformed("Content-Length with Transfer-Encoding")),
        (Some(_), None) if !http11 => Err(HeadError::Malformed("Transfer-Encoding in HTTP/1.0")),
        (Some(coding), None) => {
            let once = codings.next().is_none();
            if once && coding.eq_ignore_ascii_case(b"chunked") {
                Ok(Declared::Chunked)
            } else {
                Err(HeadError::Malformed("Transfer-Encoding other than `chunked`"))
            }
        }
        (None, Some(length)) => {
            let once = lengths.next().is_none();
            let length = once.then(|| decimal(length)).flatten();
            length.map(Declared::Length).ok_or(HeadError::Malformed("Content-Length is not one number"))
        }
    }
}

/// Digits only: no sign, no space, no list, at most 18 of them (no overflow, and no one sends an exabyte).
fn decimal(text: &[u8]) -> Option<u64> {
    let plain = (1..=18).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// Takes a whole head of `length` bytes off the front.
pub fn take(buf: &mut BytesMut, length: usize) -> Bytes {
    if length > HEAD_COPIED_BYTES {
        return buf.split_to(length).freeze();
    }
    let head = Bytes::copy_from_slice(&buf[..length]);
    buf.advance(length);
    head
}

/// What httparse's refusal means for us.
pub fn refused(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        httparse::Error::Version => HeadError::Version,
        httparse::Error::HeaderName => HeadError::Malformed("a field name"),
        httparse::Error::HeaderValue => HeadError::Malformed("a field value"),
        httparse::Error::NewLine => HeadError::Malformed("a line end"),
        httparse::Error::Status => HeadError::Malformed("the status line"),
        httparse::Error::Token => HeadError::Malformed("the first line"),
    }
}
