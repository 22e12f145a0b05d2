//! Gathers what HTTP/2 has to send, so that the answers which are ready at about the same time go out as one record and one write: the h2
//! crate writes and flushes frame by frame. A record and a write cost more than all that HTTP/2 does for an answer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

use crate::proxy::limits::READ_BYTES;
use crate::proxy::spare;

/// As much as a record of TLS holds (RFC 8446 §5.1).
const MOST: usize = 16 * 1024;
/// Not copied, if nothing waits before it.
const LARGE: usize = MOST / 2;
/// Turns of the worker for which what is ready may wait for more.
const PATIENCE: u32 = 2;

/// A connection whose writes wait for [`sending`]. A flush is not one: it only says that a frame is whole.
#[derive(Debug)]
pub struct Gather<T> {
    io: T,
    waiting: BytesMut,
    /// Something was written that is not flushed.
    unflushed: bool,
    /// How often what waits was put off.
    put_off: u32,
}

/// Polls `action`, and sends what it wrote whenever it has to wait. While there may be `more` it puts that off for a few turns of the worker:
/// what its other connections brought meanwhile goes along. A worker with nothing else to do has no turn to wait for, so that this costs no
/// time. Errors: nothing can be sent any more. Cancel-safe: as `action` is.
pub async fn sending<T, F>(io: &RefCell<Gather<T>>, more: impl Fn() -> bool, action: F) -> io::Result<F::Output>
where
    T: AsyncWrite + Unpin,
    F: Future,
{
    let mut action = pin!(action);
    poll_fn(|cx| {
        if let Poll::Ready(done) = action.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        let mut io = io.borrow_mut();
        if io.puts_off(&more) {
            // Woken when the other tasks have run and the sockets were looked at.
            let _ = pin!(yield_now()).poll(cx);
            return Poll::Pending;
        }
        match io.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    })
    .await
}

impl<T> Gather<T> {
    pub fn new(io: T) -> Self {
        Self { io, waiting: BytesMut::new(), unflushed: false, put_off: 0 }
    }

    fn puts_off(&mut self, more: impl Fn() -> bool) -> bool {
        let worth = !self.waiting.is_empty() && self.waiting.len() < LARGE && self.put_off < PATIENCE && more();
        self.put_off = if worth { self.put_off + 1 } else { 0 };
        worth
    }
}

impl<T: AsyncWrite + Unpin> Gather<T> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(cx))?;
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.waiting))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.waiting.advance(n);
        }
        spare::give(&mut self.waiting);
        Poll::Ready(Ok(()))
    }

    /// Makes room for `more` bytes; true if they are to be written past what waits, which is nothing then.
    fn poll_room(&mut self, cx: &mut Context<'_>, more: usize) -> Poll<io::Result<bool>> {
        if self.waiting.len() + more > MOST {
            ready!(self.poll_write_out(cx))?;
        }
        let past = self.waiting.is_empty() && more >= LARGE;
        self.unflushed |= past;
        if !past && self.waiting.capacity() - self.waiting.len() < more {
            spare::make_room(&mut self.waiting, READ_BYTES);
        }
        Poll::Ready(Ok(past))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gather<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gather<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if ready!(self.poll_room(cx, buf.len()))? {
            return Pin::new(&mut self.io).poll_write(cx, buf);
        }
        self.waiting.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let all = bufs.iter().map(|buf| buf.len()).sum();
        if ready!(self.poll_room(cx, all))? {
            return Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        }
        bufs.iter().for_each(|buf| self.waiting.extend_from_slice(buf));
        Poll::Ready(Ok(all))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    #[allow(clippy::await_holding_refcell_ref, reason = "nobody else borrows meanwhile")]
    async fn what_is_written_together_goes_out_together_and_all_of_it() {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let io = RefCell::new(Gather::new(near));
        let pause = Duration::from_millis(20);
        let mut seen = vec![0; 100 * 1024];
        {
            let mut near = io.borrow_mut();
            for _ in 0..3 {
                near.write_all(&[1; 100]).await.expect("write");
                near.flush().await.expect("flush");
            }
        }
        assert!(tokio::time::timeout(pause, far.read(&mut seen)).await.is_err(), "it waits");
        let waited = tokio::time::timeout(pause, sending(&io, || false, std::future::pending::<()>())).await;
        assert!(waited.is_err());
        assert_eq!(far.read(&mut seen).await.expect("read"), 300, "all at once");
        // In the order of writing, whatever is copied and whatever is not, to a reader that is slower.
        let sizes = [10, 20_000, 10, 8_000, 8_300, 1, 40_000, 16_384, 5];
        let sent: Vec<u8> = sizes.iter().enumerate().flat_map(|(n, size)| vec![n as u8; *size]).collect();
        let writing = async {
            let mut near = io.borrow_mut();
            for (n, size) in sizes.into_iter().enumerate() {
                near.write_all(&vec![n as u8; size]).await.expect("write");
            }
            near.shutdown().await.expect("shutdown");
        };
        let mut got = Vec::new();
        let (_, read) = tokio::join!(writing, far.read_to_end(&mut got));
        read.expect("read");
        assert!(got == sent, "{} of {}", got.len(), sent.len());
    }
}
