//! A TLS connection as others read and write it: the two halves of a client, which live in one task, so that a RefCell is enough and no lock is
//! needed; and HTTP/2, which has it for itself.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::session::Session;
use crate::proxy::spare;

#[derive(Clone)]
pub struct TlsIo(Rc<RefCell<Session>>);

impl fmt::Debug for TlsIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIo")
    }
}

impl TlsIo {
    pub fn new(session: Session) -> Self {
        Self(Rc::new(RefCell::new(session)))
    }

    /// Appends what came; 0 at the peer's proper end, an error if it ended without one.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut session = self.0.borrow_mut();
        let came = ready!(session.poll_fill(cx))?;
        let n = came.len();
        if into.is_empty() {
            std::mem::swap(into, came);
        } else {
            into.extend_from_slice(came);
            came.clear();
        }
        spare::give(came);
        Poll::Ready(Ok(n))
    }

    /// Takes some of `from`'s bytes, which are then encrypted but perhaps not sent: `poll_flush` sends them.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<usize>> {
        let n = ready!(self.0.borrow_mut().poll_say(cx, &[IoSlice::new(from)]))?;
        from.advance(n);
        Poll::Ready(Ok(n))
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }

    /// Sends close_notify and ends our side.
    pub async fn end(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.0.borrow_mut().poll_end(cx)).await
    }

    pub fn with_socket<T>(&self, act: impl FnOnce(&TcpStream) -> T) -> T {
        act(self.0.borrow().socket())
    }
}

impl AsyncRead for Session {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let came = ready!(self.get_mut().poll_fill(cx))?;
        let n = came.len().min(buf.remaining());
        buf.put_slice(&came[..n]);
        came.advance(n);
        spare::give(came);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Session {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_say(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_say(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_end(cx)
    }
}
