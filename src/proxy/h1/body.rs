//! Bodies: read in one framing, written anew in another (RFC 9112 §6 and §7).

use bytes::{Buf, BufMut, BytesMut};

use super::head::HeadScan;
use crate::proxy::limits::{CHUNK_EXTENSION_BYTES, CHUNK_LINE_BYTES, HEAD_FIELDS, TRAILER_BYTES};

/// How a body that is read ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    None,
    Exact(u64),
    Chunked,
    UntilClose,
}

/// How a body that is written ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By the Content-Length that the head already says, or by the end of the connection.
    Plain,
    Chunked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("malformed body: {0}")]
    Malformed(&'static str),
    #[error("the body ended early")]
    Truncated,
}

/// Where the reader stands in a body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    extensions: usize,
}

#[derive(Debug)]
enum State {
    Exact(u64),
    UntilClose,
    Size,
    Data(u64),
    DataEnd,
    Trailers(HeadScan),
    Done,
}

impl Decoder {
    pub fn new(length: Length) -> Self {
        let state = match length {
            Length::None | Length::Exact(0) => State::Done,
            Length::Exact(n) => State::Exact(n),
            Length::Chunked => State::Size,
            Length::UntilClose => State::UntilClose,
        };
        Self { state, extensions: 0 }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Moves all it can from `from` to `to`, in the new framing and with its end if the body ended. Gives the payload bytes moved.
    pub fn transfer(&mut self, from: &mut BytesMut, to: &mut BytesMut, framing: Framing) -> Result<u64, BodyError> {
        let mut moved = 0;
        loop {
            let before = from.len();
            let step = match &mut self.state {
                State::Exact(left) => move_data(from, to, left, framing, State::Done),
                State::Data(left) => move_data(from, to, left, framing, State::DataEnd),
                State::UntilClose => move_data(from, to, &mut u64::MAX.clone(), framing, State::Done),
                State::Size => self.read_size(from)?,
                State::DataEnd => read_data_end(from)?,
                State::Trailers(scan) => read_trailers(scan, from, to, framing)?,
                State::Done => return Ok(moved),
            };
            moved += step.payload;
            match step.next {
                Some(next) => self.state = next,
                None if from.len() == before || from.is_empty() => return Ok(moved),
                None => {}
            }
        }
    }

    /// The peer ended its side: right for a body until close, an error for any other that is not done.
    pub fn end(&mut self, to: &mut BytesMut, framing: Framing) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                if framing == Framing::Chunked {
                    to.put_slice(b"0\r\n\r\n");
                }
                Ok(())
            }
            _ => Err(BodyError::Truncated),
        }
    }

    fn read_size(&mut self, from: &mut BytesMut) -> Result<Step, BodyError> {
        let window = &from[..from.len().min(CHUNK_LINE_BYTES)];
        let Some(end) = window.iter().position(|b| matches!(b, b'\r' | b'\n')) else {
            return if from.len() >= CHUNK_LINE_BYTES {
                Err(BodyError::Malformed("a chunk line is too long"))
            } else {
                Ok(Step::WAIT)
            };
        };
        match (from[end], from.get(end + 1)) {
            (b'\r', Some(b'\n')) => {}
            (b'\r', None) => return Ok(Step::WAIT),
            _ => return Err(BodyError::Malformed("a chunk line's end")),
        }
        let size = chunk_size(&from[..end])?;
        self.extensions += end - size.digits;
        if self.extensions > CHUNK_EXTENSION_BYTES {
            return Err(BodyError::Malformed("too many chunk extensions"));
        }
        from.advance(end + 2);
        Ok(Step::to(if size.bytes == 0 { State::Trailers(HeadScan::default()) } else { State::Data(size.bytes) }))
    }
}

struct Step {
    next: Option<State>,
    payload: u64,
}

impl Step {
    const WAIT: Step = Step { next: None, payload: 0 };

    fn to(state: State) -> Self {
        Self { next: Some(state), payload: 0 }
    }
}

/// Moves payload, as one chunk if so framed; `after` is the state when nothing is left.
fn move_data(from: &mut BytesMut, to: &mut BytesMut, left: &mut u64, framing: Framing, after: State) -> Step {
    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(from.len());
    if n == 0 {
        return Step::WAIT;
    }
    if framing == Framing::Chunked {
        to.put_slice(format!("{n:x}\r\n").as_bytes());
    }
    to.put_slice(&from[..n]);
    if framing == Framing::Chunked {
        to.put_slice(b"\r\n");
    }
    from.advance(n);
    *left -= n as u64;
    Step { next: (*left == 0).then_some(after), payload: n as u64 }
}

fn read_data_end(from: &mut BytesMut) -> Result<Step, BodyError> {
    match (from.first(), from.get(1)) {
        (None, _) | (Some(b'\r'), None) => Ok(Step::WAIT),
        (Some(b'\r'), Some(b'\n')) => {
            from.advance(2);
            Ok(Step::to(State::Size))
        }
        _ => Err(BodyError::Malformed("a chunk is longer than its size")),
    }
}

/// The last chunk's trailer section: checked like a head, passed on without fields that would change the message (RFC 9110 §6.5.1).
fn read_trailers(scan: &mut HeadScan, from: &mut BytesMut, to: &mut BytesMut, framing: Framing) -> Result<Step, BodyError> {
    const WRONG: BodyError = BodyError::Malformed("the trailers");
    let end = match (from.first(), from.get(1)) {
        (Some(b'\r'), Some(b'\n')) => 2,
        (None, _) | (Some(b'\r'), None) => return Ok(Step::WAIT),
        _ => match scan.scan(from, TRAILER_BYTES).map_err(|_| WRONG)? {
            Some(end) => end,
            None => return Ok(Step::WAIT),
        },
    };
    let block = from.split_to(end);
    let mut room = [httparse::EMPTY_HEADER; HEAD_FIELDS];
    let fields = match httparse::parse_headers(&block, &mut room).map_err(|_| WRONG)? {
        httparse::Status::Complete((_, fields)) => fields,
        httparse::Status::Partial => return Err(WRONG),
    };
    if framing == Framing::Chunked {
        to.put_slice(b"0\r\n");
        for field in fields.iter().filter(|f| may_trail(f.name)) {
            to.put_slice(field.name.as_bytes());
            to.put_slice(b": ");
            to.put_slice(field.value);
            to.put_slice(b"\r\n");
        }
        to.put_slice(b"\r\n");
    }
    Ok(Step::to(State::Done))
}

/// Trailers that an app may merge into its header fields must not be able to forge what the head decided.
fn may_trail(name: &str) -> bool {
    const NEVER: [&str; 21] = [
        "transfer-encoding",
        "content-length",
        "content-encoding",
        "content-type",
        "content-range",
        "host",
        "connection",
        "trailer",
        "te",
        "upgrade",
        "keep-alive",
        "authorization",
        "cookie",
        "set-cookie",
        "expect",
        "forwarded",
        "x-real-ip",
        "proxy",
        "x-request-id",
        "x-request-start",
        "location",
    ];
    let name = name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    !NEVER.contains(&name.as_str())
        && !name.starts_with("x-forwarded-")
        && !name.starts_with("proxy-")
        && !name.starts_with("x-paas-")
}

struct ChunkSize {
    bytes: u64,
    digits: usize,
}

/// `HEX[;extension]`: no sign, no `0x`, no space, at most 15 digits (no overflow), no control character in the extension, which is dropped.
fn chunk_size(line: &[u8]) -> Result<ChunkSize, BodyError> {
    const WRONG: BodyError = BodyError::Malformed("a chunk size");
    let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
    let extension = &line[digits..];
    let extension_ok =
        extension.is_empty() || (extension[0] == b';' && extension.iter().all(|b| *b == b'\t' || *b >= b' ' && *b != 0x7f));
    if !(1..=15).contains(&digits) || !extension_ok {
        return Err(WRONG);
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| WRONG)?;
    Ok(ChunkSize { bytes: u64::from_str_radix(text, 16).map_err(|_| WRONG)?, digits })
}
