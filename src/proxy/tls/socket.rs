//! A TLS connection shared by the two halves of a client: both live in one task, so a RefCell is enough and no lock is needed.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::proxy::limits::READ_BYTES;
use crate::proxy::spare;

#[derive(Clone)]
pub struct TlsIo(Rc<RefCell<TlsStream<TcpStream>>>);

impl fmt::Debug for TlsIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsIo")
    }
}

impl TlsIo {
    pub fn new(stream: TlsStream<TcpStream>) -> Self {
        Self(Rc::new(RefCell::new(stream)))
    }

    /// Appends what came; 0 at the peer's proper end, an error if it ended without one. No room is held while it waits: an idle connection
    /// costs what rustls needs.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut stream = self.0.borrow_mut();
        let came = ready!(Pin::new(&mut *stream).poll_fill_buf(cx))?;
        let n = came.len();
        spare::make_room(into, n.max(READ_BYTES));
        into.extend_from_slice(came);
        Pin::new(&mut *stream).consume(n);
        Poll::Ready(Ok(n))
    }

    /// Takes some of `from`'s bytes, which are then encrypted but perhaps not sent: `poll_flush` sends them.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, from: &mut BytesMut) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, from))?;
        from.advance(n);
        Poll::Ready(Ok(n))
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    /// Sends close_notify and ends our side.
    pub async fn end(&mut self) -> io::Result<()> {
        poll_fn(|cx| Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)).await
    }

    pub fn with_socket<T>(&self, act: impl FnOnce(&TcpStream) -> T) -> T {
        act(self.0.borrow().get_ref().0)
    }
}
