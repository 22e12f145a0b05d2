//! A connection as two halves with their buffers, so that both directions can move at the same time. What a client speaks (plain TCP, TLS,
//! one stream of HTTP/2) is known here and nowhere after: all of them give and take the bytes of HTTP/1.1.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use tokio_util::io::poll_read_buf;

use super::h2::stream::{Incoming, Outgoing};
use super::limits::{
    ANSWER_USUAL_BYTES, LINGER_QUIET_TIME, LINGER_TIME, MOST_READ_BYTES, READ_BYTES, SLIM_AFTER, STALL_TIME,
    UNSENT_TO_INSTANCE_BYTES,
};
use super::spare;
use super::tls::{Secure, TlsIo};

#[derive(Debug)]
enum ReadHalf {
    Plain(OwnedReadHalf),
    Tls(TlsIo),
    Stream(Incoming),
}

#[derive(Debug)]
enum WriteHalf {
    Plain(OwnedWriteHalf),
    Tls(TlsIo),
    Stream(Outgoing),
}

/// The reading half. `buf` holds what was read and not yet used.
#[derive(Debug)]
pub struct Reader {
    half: ReadHalf,
    pub buf: BytesMut,
    /// The peer ended its side.
    pub ended: bool,
    /// For the next read.
    room: usize,
}

impl Reader {
    /// Reads once; 0 means that the peer ended its side. Cancel-safe: yes, nothing read is lost.
    pub async fn fill(&mut self) -> io::Result<usize> {
        if self.room == READ_BYTES {
            spare::give(&mut self.buf);
        }
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let buf = &mut self.buf;
        let n = match &mut self.half {
            ReadHalf::Plain(half) => {
                // Memory for it only when there is something to read.
                ready!(AsRef::<TcpStream>::as_ref(half).poll_read_ready(cx))?;
                spare::make_room(buf, self.room);
                let n = ready!(poll_read_buf(Pin::new(half), cx, buf))?;
                // Who fills the room has more to send: fewer and larger reads, and writes, for a long body.
                if n >= self.room {
                    self.room = (self.room * 2).min(MOST_READ_BYTES);
                }
                n
            }
            ReadHalf::Tls(io) => ready!(io.poll_read(cx, buf))?,
            ReadHalf::Stream(incoming) => ready!(incoming.poll_read(cx, buf))?,
        };
        self.ended |= n == 0;
        Poll::Ready(Ok(n))
    }

    /// The peer ended its side, and nothing that it sent before waits.
    pub fn is_over(&self) -> bool {
        self.ended && self.buf.is_empty()
    }

    /// Whether an idle connection to an instance is still open and silent. No system call unless something happened to it.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let ReadHalf::Plain(half) = &self.half else { return false };
        self.buf.is_empty() && !self.ended && matches!(half.try_read(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    /// Gives an empty buffer's memory back before a long wait.
    pub fn slim(&mut self) {
        spare::give(&mut self.buf);
        self.room = READ_BYTES;
    }

    /// The stream of HTTP/2 that this is. Its end is told by itself, so nothing need be read to notice that the client went.
    pub fn stream(&self) -> Option<&Incoming> {
        match &self.half {
            ReadHalf::Stream(incoming) => Some(incoming),
            ReadHalf::Plain(_) | ReadHalf::Tls(_) => None,
        }
    }
}

/// The writing half. `out` holds whole pieces of a message that wait to be written.
#[derive(Debug)]
pub struct Writer {
    half: WriteHalf,
    pub out: BytesMut,
    /// Bytes that went to the kernel: 0 proves that nothing was sent.
    pub written: u64,
    /// How long the peer may take nothing.
    pub stall: Duration,
}

impl Writer {
    /// Makes room for a head and the begin of a body, which are written piece by piece.
    pub fn prepare(&mut self) {
        match &self.half {
            // What a stream sends lies in memory until its connection has sent it: that would be missing elsewhere.
            WriteHalf::Stream(_) => self.out.reserve(ANSWER_USUAL_BYTES),
            WriteHalf::Plain(_) | WriteHalf::Tls(_) => spare::make_room(&mut self.out, READ_BYTES),
        }
    }

    /// Gives an empty buffer's memory back before a long wait.
    pub fn slim(&mut self) {
        spare::give(&mut self.out);
    }

    /// Writes all of `out`; an error if the peer takes nothing for `stall`. Cancel-safe: yes, what was not written stays in `out`.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.flush_or(|| {}).await
    }

    /// As [`Writer::flush`]; `slow` is called when the peer has taken nothing for a moment.
    pub async fn flush_or(&mut self, mut slow: impl FnMut()) -> io::Result<()> {
        while !self.out.is_empty() {
            let n = in_time(self.stall, |cx| self.poll_write(cx), &mut slow).await?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written += n as u64;
        }
        if let WriteHalf::Tls(io) = &mut self.half {
            in_time(STALL_TIME, |cx| io.poll_flush(cx), &mut slow).await?;
        }
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let out = &mut self.out;
        match &mut self.half {
            WriteHalf::Plain(half) => {
                let n = ready!(Pin::new(half).poll_write(cx, out))?;
                out.advance(n);
                Poll::Ready(Ok(n))
            }
            WriteHalf::Tls(io) => io.poll_write(cx, out),
            WriteHalf::Stream(outgoing) => outgoing.poll_write(cx, out),
        }
    }

    /// Ends our side after what was written.
    pub async fn end(&mut self) {
        // The peer may be gone already; there is nothing left to tell it.
        let _ = match &mut self.half {
            WriteHalf::Plain(half) => half.shutdown().await,
            WriteHalf::Tls(io) => timeout(LINGER_TIME, io.end()).await.unwrap_or(Ok(())),
            // A stream ends with its answer.
            WriteHalf::Stream(_) => Ok(()),
        };
    }

    /// Makes sure that an answer which broke off does not look whole: a reset of the stream or, where the end of the connection may be the
    /// end of the body, of the connection when it is dropped. (TLS has its own sign of a proper end, which is not sent then.)
    pub fn cut_off(&mut self) {
        let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        // Without it the client may take a cut body for a whole one in HTTP/1.0 only; nothing more can be done.
        let _ = match &mut self.half {
            WriteHalf::Plain(half) => setsockopt(AsRef::<TcpStream>::as_ref(half), sockopt::Linger, &at_once),
            WriteHalf::Tls(io) => io.with_socket(|socket| setsockopt(socket, sockopt::Linger, &at_once)),
            WriteHalf::Stream(outgoing) => {
                outgoing.reset();
                Ok(())
            }
        };
    }
}

/// [`timeout`] for what mostly need not wait: then there is no clock and no timer, nor room for one. `slow` is called when it waits for long.
/// Cancel-safe: as `poll` is.
async fn in_time<T>(
    limit: Duration,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    slow: &mut impl FnMut(),
) -> io::Result<T> {
    match poll_fn(|cx| Poll::Ready(poll(cx))).await {
        Poll::Ready(done) => done,
        Poll::Pending => {
            let soon = limit.min(SLIM_AFTER);
            let waited = Box::pin(async {
                if let Ok(done) = timeout(soon, poll_fn(&mut poll)).await {
                    return Ok(done);
                }
                slow();
                timeout(limit - soon, poll_fn(&mut poll)).await
            });
            waited.await.map_err(|_| io::ErrorKind::TimedOut)?
        }
    }
}

/// Requests and answers are small, so they are not held back (TCP_NODELAY), a peer that vanished is noticed (keep-alive), and for one that takes
/// nothing the kernel queues no more than `unsent`: a thousand of them would fill its memory for TCP, and then it drops segments of everybody.
pub fn tune(stream: &impl AsFd, unsent: u32) {
    // All only make things better; a socket that refuses them still works.
    let _ = setsockopt(stream, sockopt::TcpNoDelay, &true);
    let _ = setsockopt(stream, sockopt::KeepAlive, &true);
    let _ = setsockopt(stream, sockopt::TcpKeepIdle, &60);
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(unsent);
}

fn halves(read: ReadHalf, write: WriteHalf) -> (Reader, Writer) {
    (
        Reader { half: read, buf: BytesMut::new(), ended: false, room: READ_BYTES },
        Writer { half: write, out: BytesMut::new(), written: 0, stall: STALL_TIME },
    )
}

fn split(stream: TcpStream) -> (Reader, Writer) {
    let (read, write) = stream.into_split();
    halves(ReadHalf::Plain(read), WriteHalf::Plain(write))
}

/// The client's connection, or one stream of it.
#[derive(Debug)]
pub struct Client {
    pub reader: Reader,
    pub writer: Writer,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// Set if it came by TLS.
    pub secure: Option<Rc<Secure>>,
}

/// Both addresses of a client's connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

impl Client {
    pub fn plain(stream: TcpStream, Ends { peer, local }: Ends) -> Self {
        let (reader, writer) = split(stream);
        Self { reader, writer, peer, local, secure: None }
    }

    pub fn tls(io: TlsIo, Ends { peer, local }: Ends, secure: Rc<Secure>) -> Self {
        let (reader, writer) = halves(ReadHalf::Tls(io.clone()), WriteHalf::Tls(io));
        Self { reader, writer, peer, local, secure: Some(secure) }
    }

    /// `head` is that of the request, as HTTP/1.1.
    pub fn stream(
        head: BytesMut,
        incoming: Incoming,
        outgoing: Outgoing,
        Ends { peer, local }: Ends,
        secure: Rc<Secure>,
    ) -> Self {
        let (mut reader, writer) = halves(ReadHalf::Stream(incoming), WriteHalf::Stream(outgoing));
        reader.buf = head;
        Self { reader, writer, peer, local, secure: Some(secure) }
    }

    /// Ends the connection so that the client sees all we wrote: closing with unread bytes would reset it (RFC 9112 §9.6).
    pub async fn linger(&mut self) {
        self.writer.end().await;
        let drained = async {
            while matches!(timeout(LINGER_QUIET_TIME, self.reader.fill()).await, Ok(Ok(n)) if n > 0) {
                self.reader.buf.clear();
            }
        };
        // The client had its time.
        let _ = timeout(LINGER_TIME, drained).await;
    }
}

/// A connection to an instance.
#[derive(Debug)]
pub struct Upstream {
    pub reader: Reader,
    pub writer: Writer,
}

impl Upstream {
    pub fn new(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        tune(&stream, UNSENT_TO_INSTANCE_BYTES);
        let (reader, writer) = split(TcpStream::from_std(stream)?);
        Ok(Self { reader, writer })
    }
}
