//! The end of a connection whose request was answered before all of it had come: an upload that is refused. Who still writes would meet a
//! closed connection and never read why, so what comes is thrown away for a while (RFC 9112 §9.6).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Sleep, sleep};

/// How long a client has to see the answer and to close its side.
const TIME: Duration = Duration::from_secs(5);

/// A connection of which `shutdown` ends our side at once, and then reads until the client has ended its own, or for five seconds.
pub struct Lingering {
    stream: UnixStream,
    time: Duration,
    /// Our side is ended; how long the other's is waited for.
    until: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, time: TIME, until: None }
    }

    /// The connection itself, for another protocol: there every byte belongs to who reads it.
    pub fn into_inner(self) -> UnixStream {
        self.stream
    }
}

impl AsyncRead for Lingering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.until.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        let this = &mut *self;
        let until = this.until.get_or_insert_with(|| Box::pin(sleep(this.time)));
        let mut thrown = [0; 16 * 1024];
        while until.as_mut().poll(cx).is_pending() {
            let mut room = ReadBuf::new(&mut thrown);
            // A client that is gone is what was waited for.
            let read = ready!(Pin::new(&mut this.stream).poll_read(cx, &mut room));
            if read.is_err() || room.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (Lingering, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        (Lingering::new(ours), theirs)
    }

    #[tokio::test]
    async fn who_is_still_sending_when_the_answer_comes_can_read_it() {
        let (mut ours, mut theirs) = pair();
        let server = tokio::spawn(async move {
            ours.write_all(b"no").await.expect("written");
            ours.shutdown().await.expect("ended");
        });
        // More than the sockets hold.
        theirs.write_all(&vec![b'b'; 4 << 20]).await.expect("it is taken");
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).await.expect("read");
        assert_eq!(answer, "no");
        assert!(!server.is_finished(), "it waits for the client's end");
        drop(theirs);
        server.await.expect("it ends with the client");
    }

    #[tokio::test]
    async fn who_goes_on_for_ever_is_not_heard_for_ever() {
        let (mut ours, mut theirs) = pair();
        ours.time = Duration::from_millis(300);
        let client = tokio::spawn(async move { while theirs.write_all(&[b'b'; 1024]).await.is_ok() {} });
        let begun = std::time::Instant::now();
        ours.shutdown().await.expect("ended");
        assert!(begun.elapsed() >= ours.time);
        drop(ours);
        client.await.expect("the connection is closed");
    }
}
