//! Counts the frames of a client that cost work and bring nothing: floods of them must not hold a worker. The h2 crate bounds what they take
//! of memory; it does not bound how many come. Looks at frame headers only (RFC 9113 §4.1), as the bytes go by.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::limits::{H2_EMPTY_FRAMES, H2_RESETS, H2_WINDOW, H2_WINDOW_UPDATES};

/// The connection preface (RFC 9113 §3.4).
const PREFACE: u32 = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// Told when a client has sent too much of something.
#[derive(Debug, Clone)]
pub struct Alarm(Rc<Bell>);

#[derive(Debug, Default)]
struct Bell {
    raised: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Alarm {
    /// Waits until it is raised. Cancel-safe: yes.
    pub async fn raised(&mut self) {
        std::future::poll_fn(|cx| {
            if self.0.raised.get() {
                return Poll::Ready(());
            }
            self.0.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    fn raise(&self) {
        self.0.raised.set(true);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

/// A client's connection whose incoming frames are counted. After the alarm nothing more is read from it. Shared, because what is left to do
/// with it when HTTP/2 is over is not for the h2 crate; never used by both at once.
pub struct Watched<T> {
    io: Rc<RefCell<T>>,
    alarm: Alarm,
    counter: Counter,
}

impl<T> Watched<T> {
    pub fn new(io: &Rc<RefCell<T>>) -> (Self, Alarm) {
        let alarm = Alarm(Rc::default());
        (Self { io: Rc::clone(io), alarm: alarm.clone(), counter: Counter::new() }, alarm)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.alarm.0.raised.get() {
            // Whoever waits for the alarm ends the connection.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.io.borrow_mut()).poll_read(cx, buf))?;
        if !self.counter.pass(&buf.filled()[before..]) {
            self.alarm.raise();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut *self.io.borrow_mut()).poll_write(cx, buf))?;
        self.counter.sent = self.counter.sent.saturating_add(n as u64);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io.borrow_mut()).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut *self.io.borrow_mut()).poll_write_vectored(cx, bufs))?;
        self.counter.sent = self.counter.sent.saturating_add(n as u64);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.borrow().is_write_vectored()
    }
}

/// Where the stream of bytes stands in its frames, and what came in the present window of time.
#[derive(Debug)]
struct Counter {
    header: [u8; 9],
    header_len: usize,
    /// Bytes before the next header: of the preface or a payload.
    skip: u32,
    window_began: Instant,
    resets: u32,
    updates: u32,
    empty: u32,
    /// Bytes to the client: one that takes much may say so often.
    sent: u64,
}

impl Counter {
    fn new() -> Self {
        Self {
            header: [0; 9],
            header_len: 0,
            skip: PREFACE,
            window_began: Instant::now(),
            resets: 0,
            updates: 0,
            empty: 0,
            sent: 0,
        }
    }

    /// Takes the next bytes; false if there was too much of something.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut fine = true;
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.skip as usize);
            self.skip -= skipped as u32;
            bytes = &bytes[skipped..];
            let n = bytes.len().min(9 - self.header_len);
            self.header[self.header_len..self.header_len + n].copy_from_slice(&bytes[..n]);
            self.header_len += n;
            bytes = &bytes[n..];
            if self.header_len == 9 {
                self.header_len = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                self.skip = u32::from_be_bytes([0, a, b, c]);
                fine &= self.count(kind, flags, self.skip);
            }
        }
        fine
    }

    fn count(&mut self, kind: u8, flags: u8, length: u32) -> bool {
        let (counted, most) = match kind {
            HEADERS | CONTINUATION => return true,
            DATA if length > 0 || flags & END_STREAM != 0 => return true,
            RST_STREAM => (&mut self.resets, H2_RESETS),
            // About one for so many bytes is what a client needs that reads in small pieces.
            WINDOW_UPDATE => {
                (&mut self.updates, H2_WINDOW_UPDATES.saturating_add(u32::try_from(self.sent / 128).unwrap_or(u32::MAX)))
            }
            // Empty DATA, PING, SETTINGS, PRIORITY, and what nobody knows.
            _ => (&mut self.empty, H2_EMPTY_FRAMES),
        };
        *counted += 1;
        if *counted <= most {
            return true;
        }
        if self.window_began.elapsed() < H2_WINDOW {
            return false;
        }
        (self.window_began, self.resets, self.updates, self.empty, self.sent) = (Instant::now(), 0, 0, 0, 0);
        // This frame is the first of the new window.
        self.count(kind, flags, length)
    }
}

#[cfg(test)]
mod tests;
