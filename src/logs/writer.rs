//! The daemon's own lines: of builds, deploys, the router, the platform.

use std::fs::OpenOptions;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::LogError;
use super::read::SegmentReader;
use super::segments::{Segments, raw_path};
use super::source::Source;
use crate::base::clock::UnixMillis;
use crate::init::segment::{Appender, now_micros};
use crate::wire::init::record::{CONTINUED, PARTIAL, Stream, TEXT_LIMIT};

/// Appends lines to the log of one source. Never fails: what cannot be written is counted, and said when it works again.
pub struct LineWriter {
    source: Source,
    segments: Arc<Segments>,
    rotate_at: u64,
    cap: u64,
    inner: Mutex<Inner>,
}

struct Inner {
    appender: Appender,
    retry_at: Instant,
}

/// How long to wait before a new segment is tried again that could not be made.
const RETRY: Duration = Duration::from_secs(1);

impl LineWriter {
    /// Goes on in the active segment of this source if there is one (a daemon before this one made it), with the next number.
    pub(super) fn open(source: Source, segments: Arc<Segments>, rotate_at: u64, cap: u64) -> Result<Self, LogError> {
        let mine = segments.active(|s| *s == source);
        let appender = match mine.last() {
            Some(number) => resume(&segments, *number, rotate_at, cap)?,
            None => Appender::new(1),
        };
        let inner = Mutex::new(Inner { appender, retry_at: Instant::now() });
        Ok(Self { source, segments, rotate_at, cap, inner })
    }

    /// Adds a text; one that holds several lines becomes several records.
    pub fn line(&self, stream: Stream, text: &str) {
        self.lines([(now_micros(), stream, text)]);
    }

    /// Adds a line that has a time of its own.
    pub fn line_at(&self, at: UnixMillis, stream: Stream, text: &str) {
        self.lines([(at.0.saturating_mul(1000), stream, text)]);
    }

    /// Adds many lines with one write: (µs since 1970, stream, text).
    pub fn lines<'a>(&self, lines: impl IntoIterator<Item = (i64, Stream, &'a str)>) {
        // A panic while it was held can only have lost lines of the batch.
        let mut inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.rotate_if_due(&mut inner);
        for (at, stream, text) in lines {
            for line in text.trim_end_matches('\n').split('\n') {
                push_parts(&mut inner.appender, at, stream, line.trim_end_matches('\r'));
            }
        }
        inner.appender.flush();
    }

    fn rotate_if_due(&self, inner: &mut Inner) {
        let now = Instant::now();
        if !inner.appender.wants_segment() || now < inner.retry_at {
            return;
        }
        let before = inner.appender.segment();
        match self.segments.create(&self.source) {
            Ok((number, file)) => {
                if inner.appender.use_segment(number, file, self.rotate_at, self.cap).is_ok()
                    && let Some((before, _)) = before
                {
                    self.segments.finish(before);
                }
            }
            Err(e) => {
                inner.retry_at = now + RETRY;
                tracing::warn!(app = %self.source.app, error = %e, "log lines are kept in the old segment, as no new one could be made");
            }
        }
    }
}

fn push_parts(appender: &mut Appender, at: i64, stream: Stream, line: &str) {
    let bytes = line.as_bytes();
    let parts = bytes.len().div_ceil(TEXT_LIMIT).max(1);
    for n in 0..parts {
        let part = &bytes[n * TEXT_LIMIT..bytes.len().min((n + 1) * TEXT_LIMIT)];
        let flags = if n + 1 < parts { PARTIAL } else { 0 } | if n > 0 { CONTINUED } else { 0 };
        appender.push(at, stream, flags, part);
    }
}

/// Cuts off what a crash left behind the last whole record, and goes on after it.
fn resume(segments: &Segments, number: u64, rotate_at: u64, cap: u64) -> Result<Appender, LogError> {
    let path = raw_path(segments.folder(), number);
    let open = || -> std::io::Result<Appender> {
        let mut reader = SegmentReader::open(segments.folder(), number, 0)?;
        let mut last = 0;
        while let Some(item) = reader.next()? {
            last = last.max(item.number);
        }
        let file = OpenOptions::new().append(true).open(&path)?;
        file.set_len(reader.position())?;
        let mut appender = Appender::new(last + 1);
        appender.use_segment(number, file, rotate_at, cap)?;
        Ok(appender)
    };
    open().map_err(|source| LogError::File { act: "going on with log segment", path: path.clone(), source })
}
