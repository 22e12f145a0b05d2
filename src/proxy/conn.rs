//! A connection as two halves with their buffers, so that both directions can move at the same time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::limits::{LINGER_QUIET_TIME, LINGER_TIME, READ_BYTES, STALL_TIME};

/// The reading half. `buf` holds what was read and not yet used.
#[derive(Debug)]
pub struct Reader {
    half: OwnedReadHalf,
    pub buf: BytesMut,
    /// The peer ended its side.
    pub ended: bool,
}

impl Reader {
    /// Reads once; 0 means that the peer ended its side. Cancel-safe: yes, nothing read is lost.
    pub async fn fill(&mut self) -> io::Result<usize> {
        self.buf.reserve(READ_BYTES);
        let n = self.half.read_buf(&mut self.buf).await?;
        self.ended |= n == 0;
        Ok(n)
    }

    /// The peer ended its side, and nothing that it sent before waits.
    pub fn is_over(&self) -> bool {
        self.ended && self.buf.is_empty()
    }

    /// Whether an idle connection is still open and silent. No system call unless something happened to it.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        self.buf.is_empty()
            && !self.ended
            && matches!(self.half.try_read(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    /// Gives an empty buffer's memory back before a long wait.
    pub fn slim(&mut self) {
        if self.buf.is_empty() {
            self.buf = BytesMut::new();
        }
    }
}

/// The writing half. `out` holds whole pieces of a message that wait to be written.
#[derive(Debug)]
pub struct Writer {
    half: OwnedWriteHalf,
    pub out: BytesMut,
    /// Bytes that went to the kernel: 0 proves that nothing was sent.
    pub written: u64,
    /// How long the peer may take nothing.
    pub stall: Duration,
}

impl Writer {
    /// Writes all of `out`; an error if the peer takes nothing for `stall`. Cancel-safe: yes, what was not written stays in `out`.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            let n = timeout(self.stall, self.half.write(&self.out)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.out.advance(n);
            self.written += n as u64;
        }
        Ok(())
    }

    pub fn socket(&self) -> &TcpStream {
        self.half.as_ref()
    }

    /// Ends our side after what was written.
    pub async fn end(&mut self) {
        // The peer may be gone already; there is nothing left to tell it.
        let _ = self.half.shutdown().await;
    }
}

/// Splits a stream; requests and answers are small, so they are not held back (TCP_NODELAY), and a peer that vanished is noticed (keep-alive).
pub fn split(stream: TcpStream) -> (Reader, Writer) {
    // Both only make things better; a socket that refuses them still works.
    let _ = stream.set_nodelay(true);
    let _ = setsockopt(&stream, sockopt::KeepAlive, &true);
    let _ = setsockopt(&stream, sockopt::TcpKeepIdle, &60);
    let (read, write) = stream.into_split();
    (
        Reader { half: read, buf: BytesMut::new(), ended: false },
        Writer { half: write, out: BytesMut::new(), written: 0, stall: STALL_TIME },
    )
}

/// The client's connection.
#[derive(Debug)]
pub struct Client {
    pub reader: Reader,
    pub writer: Writer,
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

impl Client {
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
        let (reader, writer) = split(stream);
        Ok(Self { reader, writer, peer, local })
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
        let (reader, writer) = split(TcpStream::from_std(stream)?);
        Ok(Self { reader, writer })
    }
}
