//! One connection of TLS on that interface of rustls which keeps no buffers: records are read into, and written from, what the worker has for all
//! its connections, so that one that waits holds nothing but its keys.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_rustls::rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use tokio_rustls::rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use tokio_rustls::rustls::{Error, ServerConfig};
use tokio_util::io::poll_read_buf;

use crate::proxy::limits::{HELLO_BYTES, READ_BYTES};
use crate::proxy::spare;

/// What is encrypted at once, and then written by one call.
const MOST: usize = 64 * 1024;
/// For the records around that, and for what TLS has to say itself before them (an alert, new keys).
const RECORDS: usize = 4 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MOST + RECORDS]);
}

/// The server's side of a connection. Cancel-safe: all `poll_` functions are, nothing read or taken is lost.
pub struct Session {
    tls: UnbufferedServerConnection,
    socket: TcpStream,
    /// Records that are not whole yet.
    incoming: BytesMut,
    /// What they said, for [`Session::poll_fill`].
    plain: BytesMut,
    /// Records that the socket did not take so far.
    outgoing: BytesMut,
    /// The peer has ended its side properly (RFC 8446 §6.1).
    ended: bool,
    /// The peer has broken the protocol; rustls may not be asked any more.
    failed: bool,
}

/// What is to be sent as soon as everything that was read is taken in.
enum Wish<'a> {
    Nothing,
    /// What is said to the peer, at most [`MOST`] of it.
    Data(&'a [IoSlice<'a>]),
    /// That our side ends here (close_notify).
    Goodbye,
}

enum Step {
    /// Something was taken in or is to be sent.
    Again,
    /// All that was read is used up, and the handshake is not over.
    Shaking,
    /// All that was read is used up; the wish has taken so many bytes of the room that was given to it.
    Ready(usize),
}

impl Session {
    /// `seen`: what was read of the connection so far.
    pub fn new(config: Arc<ServerConfig>, socket: TcpStream, seen: BytesMut) -> Result<Self, Error> {
        let tls = UnbufferedServerConnection::new(config)?;
        Ok(Self { tls, socket, incoming: seen, plain: BytesMut::new(), outgoing: BytesMut::new(), ended: false, failed: false })
    }

    /// Waits until both sides are sure of each other, and the client was sent all that belongs to that.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.advance(cx, &Wish::Nothing, &mut [])? {
                Step::Again => {}
                Step::Ready(_) if !self.tls.is_handshaking() => return self.poll_send(cx),
                Step::Shaking | Step::Ready(_) => {
                    ready!(self.poll_send(cx))?;
                    ready!(self.poll_receive(cx))?;
                }
            }
        }
    }

    /// The name of the protocol that was agreed on.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Waits for what the peer says, and gives it to be taken from: nothing at its proper end, an error if it ended without one.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut BytesMut>> {
        while self.plain.is_empty() && !self.ended {
            // Without anything to take in there is nothing new to say either.
            let step = if self.incoming.is_empty() { Step::Ready(0) } else { self.advance(cx, &Wish::Nothing, &mut [])? };
            if !matches!(step, Step::Again) {
                // What TLS says by itself (new keys) goes when there is room for it.
                let _ = self.poll_send(cx)?;
                ready!(self.poll_receive(cx))?;
            }
        }
        Poll::Ready(Ok(&mut self.plain))
    }

    /// Takes some of `pieces` (how much, it gives) and sends what the socket takes of it at once: [`Session::poll_send`] sends the rest.
    pub fn poll_say(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let taken = pieces.iter().map(|piece| piece.len()).sum::<usize>().min(MOST);
        self.poll_wish(cx, &Wish::Data(pieces)).map_ok(|()| taken)
    }

    /// Says the proper end of our side, once, and ends it.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.tls.is_handshaking() {
            ready!(self.poll_wish(cx, &Wish::Goodbye))?;
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// Sends all that waits.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let sent = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.outgoing))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(sent);
        }
        spare::give(&mut self.outgoing);
        Poll::Ready(Ok(()))
    }

    /// Waits for what was to be sent before; then the wish is fulfilled, though perhaps not yet sent.
    fn poll_wish(&mut self, cx: &mut Context<'_>, wish: &Wish<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        SCRATCH.with_borrow_mut(|records| {
            let length = loop {
                match self.advance(cx, wish, records)? {
                    Step::Again => {}
                    Step::Ready(length) => break length,
                    Step::Shaking => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
                }
            };
            let mut records = &records[..length];
            // What TLS had to say itself comes first.
            if self.outgoing.is_empty()
                && let Poll::Ready(sent) = Pin::new(&mut self.socket).poll_write(cx, records)?
            {
                records = &records[sent..];
            }
            if !records.is_empty() {
                lend(&mut self.outgoing);
                self.outgoing.extend_from_slice(records);
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Takes in the next of what was read. An error is told to the peer as far as its socket takes that at once.
    fn advance(&mut self, cx: &mut Context<'_>, wish: &Wish<'_>, room: &mut [u8]) -> io::Result<Step> {
        if self.failed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let Self { tls, incoming, plain, outgoing, ended, .. } = self;
        let UnbufferedStatus { mut discard, state, .. } = tls.process_tls_records(incoming);
        let step = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                match traffic.next_record() {
                    Some(Ok(record)) => {
                        discard += record.discard;
                        lend(plain);
                        plain.extend_from_slice(record.payload);
                    }
                    Some(Err(error)) => break Err(error),
                    None => break Ok(Step::Again),
                }
            },
            Ok(ConnectionState::EncodeTlsData(mut record)) => encode(&mut record, outgoing).map(|()| Step::Again),
            // They are in `outgoing`, and nothing overtakes them.
            Ok(ConnectionState::TransmitTlsData(sent)) => {
                sent.done();
                Ok(Step::Again)
            }
            Ok(ConnectionState::WriteTraffic(traffic)) => fulfil(traffic, wish, room).map(Step::Ready),
            Ok(ConnectionState::PeerClosed) => {
                *ended = true;
                Ok(Step::Again)
            }
            Ok(ConnectionState::Closed) => Ok(Step::Ready(0)),
            Ok(ConnectionState::BlockedHandshake) => Ok(Step::Shaking),
            // No early data was offered, and rustls has no other states.
            Ok(_) => Err(Error::General("a state that nobody asked for".to_owned())),
            Err(error) => Err(error),
        };
        incoming.advance(discard);
        step.map_err(|error| {
            self.say_why(cx);
            io::Error::new(io::ErrorKind::InvalidData, error)
        })
    }

    /// The alert for an error. The connection is over; nobody waits for it to be sent.
    fn say_why(&mut self, cx: &mut Context<'_>) {
        self.failed = true;
        let Self { tls, incoming, outgoing, .. } = self;
        // What is to be sent comes before what is to be taken in, at which rustls would stumble once more.
        while tls.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut record)) = tls.process_tls_records(incoming).state
            && encode(&mut record, outgoing).is_ok()
        {}
        let _ = self.poll_send(cx);
    }

    /// Reads once. No room is held while it waits.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // All that is whole was taken in, so this is one record, or one message of a handshake in many. rustls limits what the message says
        // (to as much), not the records that say it: padded ones of a byte each would be a gigabyte.
        if self.incoming.len() > HELLO_BYTES {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a message of TLS in too many bytes")));
        }
        spare::give(&mut self.incoming);
        ready!(self.socket.poll_read_ready(cx))?;
        spare::make_room(&mut self.incoming, READ_BYTES);
        match ready!(poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.incoming))? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

fn encode(record: &mut EncodeTlsData<'_, ServerConnectionData>, outgoing: &mut BytesMut) -> Result<(), Error> {
    let mut encoded = record.encode(&mut []);
    if let Err(EncodeError::InsufficientSize(needed)) = encoded {
        lend(outgoing);
        let before = outgoing.len();
        outgoing.resize(before + needed.required_size, 0);
        encoded = record.encode(&mut outgoing[before..]);
    }
    encoded.map(drop).map_err(|error| Error::General(error.to_string()))
}

/// Writes what the wish comes to into `room` and gives its length.
fn fulfil(mut traffic: WriteTraffic<'_, ServerConnectionData>, wish: &Wish<'_>, room: &mut [u8]) -> Result<usize, Error> {
    let written = match wish {
        Wish::Nothing => Ok(0),
        Wish::Goodbye => traffic.queue_close_notify(room),
        Wish::Data(pieces) => {
            let mut left = MOST;
            pieces.iter().try_fold(0, |written, piece| {
                let piece = &piece[..piece.len().min(left)];
                left -= piece.len();
                Ok(written + traffic.encrypt(piece, &mut room[written..])?)
            })
        }
    };
    written.map_err(|error: EncryptError| Error::General(error.to_string()))
}

/// Gives a buffer to what has none.
fn lend(buf: &mut BytesMut) {
    if buf.capacity() == 0 {
        spare::make_room(buf, READ_BYTES);
    }
}
