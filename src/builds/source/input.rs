//! The bytes of an archive on their way in: from async to blocking, unpacked, counted.

use std::io::{self, BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc::{Receiver, Sender};

use crate::base::size::bytes;

/// How slowly a source may come. Only time in which we wait for its sender counts: our own disk may be slow.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Of so much waiting …
    pub window: Duration,
    /// … so many bytes must come.
    pub least: u64,
}

/// A kilobyte per second: any line that people use is faster, and who sends nothing is found out within the window.
pub const PACE: Pace = Pace { window: Duration::from_secs(120), least: 128 * 1024 };

/// Carries bytes to the blocking side. An empty chunk is the end; a channel that closes without one is an abort.
pub async fn pump(mut from: impl AsyncRead + Unpin, to: Sender<io::Result<Bytes>>, pace: Pace) {
    // Of the window that runs: the waiting that is left of it, and the bytes that came.
    let (mut left, mut came) = (pace.window, 0);
    loop {
        let mut chunk = bytes::BytesMut::with_capacity(64 * 1024);
        let asked = Instant::now();
        // A read that is given up has taken nothing.
        let read = match tokio::time::timeout(left, from.read_buf(&mut chunk)).await {
            Ok(read) => read.map(|_| chunk.freeze()),
            Err(_) if came >= pace.least => {
                (left, came) = (pace.window, 0);
                continue;
            }
            Err(_) => Err(too_slow(came, pace)),
        };
        left = left.saturating_sub(asked.elapsed());
        came += read.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let last = read.as_ref().map_or(true, Bytes::is_empty);
        if to.send(read).await.is_err() || last {
            return;
        }
    }
}

fn too_slow(came: u64, pace: Pace) -> io::Error {
    let (came, least) = (bytes(came), bytes(pace.least));
    let text = format!("{came} came in {} s of waiting, and {least} are the least", pace.window.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// The blocking side of [`pump`].
pub struct ChannelReader {
    from: Receiver<io::Result<Bytes>>,
    rest: Bytes,
    ended: bool,
    /// The first error of the sending side, kept apart from errors of the archive's own format.
    pub broke: Option<io::Error>,
}

impl ChannelReader {
    pub fn new(from: Receiver<io::Result<Bytes>>) -> Self {
        Self { from, rest: Bytes::new(), ended: false, broke: None }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && !self.ended {
            match self.from.blocking_recv() {
                Some(Ok(chunk)) => {
                    self.ended = chunk.is_empty();
                    self.rest = chunk;
                }
                Some(Err(error)) => {
                    self.broke = Some(io::Error::new(error.kind(), error.to_string()));
                    return Err(error);
                }
                None => {
                    self.broke = Some(io::ErrorKind::UnexpectedEof.into());
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        let n = self.rest.len().min(buf.len());
        buf[..n].copy_from_slice(&self.rest.split_to(n));
        Ok(n)
    }
}

/// 128 MiB, zstd's own default limit for `--long`: an archive must not choose how much memory we need.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The tar inside, found out by its first bytes and not by a name.
pub fn unpacked<'a>(from: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut from = BufReader::with_capacity(256 * 1024, from);
    let head = from.fill_buf()?;
    Ok(if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(from))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = zstd::Decoder::with_buffer(from)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        Box::new(decoder)
    } else {
        Box::new(from)
    })
}

/// Counts unpacked bytes, ends at a limit, and knows how many zero bytes came last: an archive ends with blocks of zeros, so one that
/// does not was cut off.
pub struct Counted<R> {
    inner: R,
    pub left: u64,
    pub zeros: u64,
}

impl<R: Read> Counted<R> {
    pub fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit, zeros: 0 }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| io::Error::other(OVER_LIMIT))?;
        match buf[..n].iter().rposition(|byte| *byte != 0) {
            Some(last) => self.zeros = (n - 1 - last) as u64,
            None => self.zeros += n as u64,
        }
        Ok(n)
    }
}

pub const OVER_LIMIT: &str = "more bytes than a source may have";
