//! One stream of HTTP/2 as the two halves of a client that speaks HTTP/1.1.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;

use super::fields::{self, Framing};

/// What is left of the answer's way, shared by both halves: only the sending side is told of a reset.
enum Way {
    /// No final head was sent yet.
    Waiting(SendResponse<Bytes>),
    Streaming(SendStream<Bytes>),
    /// The answer is whole, or the stream was reset by us.
    Ended,
}

type Shared = Rc<RefCell<Way>>;

/// Both halves of a stream. `to_head`: the request is a HEAD, so its answer has no body whatever it says.
pub fn halves(body: RecvStream, framing: Framing, respond: SendResponse<Bytes>, to_head: bool) -> (Incoming, Outgoing) {
    let way = Rc::new(RefCell::new(Way::Waiting(respond)));
    let incoming = Incoming { way: Rc::clone(&way), body, framing, ended: framing == Framing::Nothing };
    (incoming, Outgoing { way, to_head, left: Left::Head })
}

/// The body of the request, framed as its head says.
pub struct Incoming {
    way: Shared,
    body: RecvStream,
    framing: Framing,
    ended: bool,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("framing", &self.framing).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Incoming {
    /// Appends the next piece. After the end of the body it waits for the client's reset, which is an error, as is any other end of the
    /// stream. Never 0: a client of HTTP/2 that has said all has not left. The window that the piece took is given back at once, as the
    /// caller asks for the next one only when it has used this one.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        while !self.ended {
            let Some(piece) = ready!(self.body.poll_data(cx)).transpose().map_err(broken)? else {
                let trailers = ready!(self.body.poll_trailers(cx)).map_err(broken)?;
                self.ended = true;
                if self.framing == Framing::Chunked {
                    return Poll::Ready(self.last_chunk(trailers, into));
                }
                break;
            };
            // A stream that is over needs no window.
            let _ = self.body.flow_control().release_capacity(piece.len());
            // An empty chunk would be the last one.
            if piece.is_empty() {
                continue;
            }
            let before = into.len();
            if self.framing == Framing::Chunked {
                into.put_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            }
            into.put_slice(&piece);
            if self.framing == Framing::Chunked {
                into.put_slice(b"\r\n");
            }
            return Poll::Ready(Ok(into.len() - before));
        }
        ready!(self.way.borrow_mut().poll_reset(cx));
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    fn last_chunk(&mut self, trailers: Option<HeaderMap>, into: &mut BytesMut) -> io::Result<usize> {
        let before = into.len();
        into.put_slice(b"0\r\n");
        if let Some(trailers) = trailers
            && fields::trailers(into, &trailers).is_err()
        {
            into.truncate(before);
            self.way.borrow_mut().reset_with(Reason::PROTOCOL_ERROR);
            return Err(io::ErrorKind::InvalidData.into());
        }
        into.put_slice(b"\r\n");
        Ok(into.len() - before)
    }

    /// Waits until the client gives the stream up, or its connection ends. Cancel-safe: yes.
    pub async fn reset(&self) {
        poll_fn(|cx| self.way.borrow_mut().poll_reset(cx)).await;
    }
}

impl Way {
    fn reset_with(&mut self, reason: Reason) {
        match self {
            Self::Waiting(respond) => respond.send_reset(reason),
            Self::Streaming(stream) => stream.send_reset(reason),
            Self::Ended => {}
        }
    }

    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Waiting(respond) => respond.poll_reset(cx).map(drop),
            Self::Streaming(stream) => stream.poll_reset(cx).map(drop),
            Self::Ended => Poll::Pending,
        }
    }
}

/// Where the bytes that the proxy writes stand in its answer.
#[derive(Debug, Clone, Copy)]
enum Left {
    Head,
    Exact(u64),
    /// At a chunk's size.
    Size,
    Chunk(u64),
    ChunkEnd,
    Nothing,
}

/// Takes an answer of HTTP/1.1 as the proxy writes it, and sends it as a stream.
pub struct Outgoing {
    way: Shared,
    to_head: bool,
    left: Left,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Outgoing {
    /// Sends some of `from` and gives how many bytes of it that was; what was not sent stays in `from`. Waits for room, in the client's window
    /// or in what may wait for the connection.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<usize>> {
        let before = from.len();
        match self.left {
            Left::Head => self.head(from)?,
            Left::Size => self.chunk_size(from)?,
            Left::ChunkEnd => {
                skip(from, b"\r\n")?;
                self.left = Left::Size;
            }
            Left::Exact(left) | Left::Chunk(left) => ready!(self.poll_data(cx, from, left))?,
            Left::Nothing => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "bytes behind an answer"))),
        }
        Poll::Ready(Ok(before - from.len()))
    }

    /// The answer is not whole and never will be.
    pub fn reset(&mut self) {
        self.reset_with(Reason::INTERNAL_ERROR);
    }

    /// The request is not well-formed by the rules of the version.
    pub fn refuse(&mut self) {
        self.reset_with(Reason::PROTOCOL_ERROR);
    }

    fn reset_with(&mut self, reason: Reason) {
        self.way.borrow_mut().reset_with(reason);
    }

    fn head(&mut self, from: &mut BytesMut) -> io::Result<()> {
        let end = memchr::memmem::find(from, b"\r\n\r\n").ok_or_else(|| odd("a head without its end"))?;
        let bytes = from.split_to(end + 4).freeze();
        let answer = fields::answer(&bytes).ok_or_else(|| odd("a head"))?;
        let mut way = self.way.borrow_mut();
        let Way::Waiting(respond) = &mut *way else { return Err(odd("a second head")) };
        let status = answer.head.status();
        if status.is_informational() {
            return respond.send_informational(answer.head).map_err(broken);
        }
        self.left = match (answer.length, answer.chunked) {
            _ if self.to_head || matches!(status.as_u16(), 204 | 304) => Left::Nothing,
            (_, true) => Left::Size,
            (None | Some(0), false) => Left::Nothing,
            (Some(length), false) => Left::Exact(length),
        };
        let ends = matches!(self.left, Left::Nothing);
        let stream = respond.send_response(answer.head, ends).map_err(broken)?;
        *way = if ends { Way::Ended } else { Way::Streaming(stream) };
        Ok(())
    }

    fn chunk_size(&mut self, from: &mut BytesMut) -> io::Result<()> {
        let end = from.windows(2).position(|w| w == b"\r\n").ok_or_else(|| odd("half a chunk"))?;
        let size = std::str::from_utf8(&from[..end]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
        let size = size.ok_or_else(|| odd("a chunk's size"))?;
        from.advance(end + 2);
        if size > 0 {
            self.left = Left::Chunk(size);
            return Ok(());
        }
        self.left = Left::Nothing;
        if from.starts_with(b"\r\n") {
            from.advance(2);
            return self.send(Bytes::new(), true);
        }
        let end = from.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(|| odd("half of the trailers"))?;
        let block = from.split_to(end + 4).freeze();
        let trailers = fields::read_trailers(&block).ok_or_else(|| odd("trailers"))?;
        let mut way = self.way.borrow_mut();
        let Way::Streaming(stream) = &mut *way else { return Err(odd("trailers without a head")) };
        stream.send_trailers(trailers).map_err(broken)?;
        *way = Way::Ended;
        Ok(())
    }

    /// As much of the next `left` bytes as there is room for.
    fn poll_data(&mut self, cx: &mut Context<'_>, from: &mut BytesMut, left: u64) -> Poll<io::Result<()>> {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(from.len());
        let room = ready!(self.poll_room(cx, most))?;
        let n = room.min(most);
        let piece = from.split_to(n).freeze();
        let left = left - n as u64;
        let chunked = matches!(self.left, Left::Chunk(_));
        // The last chunk is mostly there already: then the end goes with the data.
        let last = left == 0 && (!chunked || from.starts_with(b"\r\n0\r\n\r\n"));
        if last && chunked {
            from.advance(7);
        }
        self.left = match (last, chunked) {
            (true, _) => Left::Nothing,
            (false, true) if left == 0 => Left::ChunkEnd,
            (false, true) => Left::Chunk(left),
            (false, false) => Left::Exact(left),
        };
        Poll::Ready(self.send(piece, last))
    }

    fn poll_room(&self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let mut way = self.way.borrow_mut();
        let Way::Streaming(stream) = &mut *way else { return Poll::Ready(Err(odd("a body without a head"))) };
        stream.reserve_capacity(most);
        loop {
            let room = stream.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            match stream.poll_capacity(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(error))),
                Poll::Ready(Some(Ok(_))) => {}
            }
        }
    }

    fn send(&mut self, piece: Bytes, last: bool) -> io::Result<()> {
        let mut way = self.way.borrow_mut();
        let Way::Streaming(stream) = &mut *way else { return Err(odd("a body without a head")) };
        stream.send_data(piece, last).map_err(broken)?;
        if last {
            *way = Way::Ended;
        }
        Ok(())
    }
}

fn skip(from: &mut BytesMut, expected: &[u8]) -> io::Result<()> {
    if !from.starts_with(expected) {
        return Err(odd("a chunk's end"));
    }
    from.advance(expected.len());
    Ok(())
}

/// Our own words that we can't read: a mistake of ours, and the stream is given up.
fn odd(what: &'static str) -> io::Error {
    tracing::error!(what, "an answer can't be sent as HTTP/2");
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
