//! Records into a segment file: numbered, in batches of one write each, and what could not be written is counted and said.

use std::fs::File;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::wire::init::record::{self, Record, Stream};

/// Appends records to the segment it was given. Never blocks for space and never fails: it counts what it lost.
pub struct Appender {
    segment: Option<Segment>,
    next: u64,
    batch: Vec<u8>,
    entries: Vec<Entry>,
    lost: Lost,
}

struct Segment {
    number: u64,
    file: File,
    bytes: u64,
    rotate_at: u64,
    cap: u64,
}

/// One record of the batch: where it ends in it, and what is lost with it.
struct Entry {
    end: usize,
    carries: Carries,
}

#[derive(Clone, Copy)]
enum Carries {
    Line,
    /// A marker stands for that many lines; if it is lost itself they must be counted again.
    Marker(Loss, u64),
}

/// Why lines were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Rate,
    Full,
    Unwritable,
}

/// Lines lost and not yet told.
#[derive(Default)]
struct Lost {
    rate: u64,
    full: u64,
    unwritable: u64,
    per_second: u32,
    why: String,
}

impl Lost {
    fn of(&mut self, loss: Loss) -> &mut u64 {
        match loss {
            Loss::Rate => &mut self.rate,
            Loss::Full => &mut self.full,
            Loss::Unwritable => &mut self.unwritable,
        }
    }

    fn text(&self, loss: Loss, lines: u64) -> String {
        let (lines, were) = if lines == 1 { ("1 line".to_owned(), "was") } else { (format!("{lines} lines"), "were") };
        match loss {
            Loss::Rate => format!("{lines} {were} dropped: more than {} lines per second", self.per_second),
            Loss::Full => format!("{lines} {were} dropped: the log segment was full and nobody gave a new one"),
            Loss::Unwritable => format!("{lines} {were} dropped: the log could not be written: {}", self.why),
        }
    }
}

/// A batch of this many bytes is written before more is added: many short lines grow by their heads.
const BATCH: usize = 48 * 1024;

/// A buffer that one very long line made larger than this is not kept.
const KEPT_CAPACITY: usize = 96 * 1024;

/// Now, in microseconds since 1970.
pub fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

impl Appender {
    /// Starts without a segment; the first record gets the number `next`.
    pub fn new(next: u64) -> Self {
        Self { segment: None, next, batch: Vec::new(), entries: Vec::new(), lost: Lost::default() }
    }

    /// The number of the next record.
    pub fn next_record(&self) -> u64 {
        self.next
    }

    /// The segment in use and its size in bytes.
    pub fn segment(&self) -> Option<(u64, u64)> {
        self.segment.as_ref().map(|s| (s.number, s.bytes))
    }

    /// There is no segment, or the one in use has reached the size at which it should be replaced.
    pub fn wants_segment(&self) -> bool {
        self.segment.as_ref().is_none_or(|s| s.bytes >= s.rotate_at)
    }

    /// Goes over to another segment. Everything before was written (or counted as lost): batches never span two segments.
    pub fn use_segment(&mut self, number: u64, file: File, rotate_at: u64, cap: u64) -> io::Result<()> {
        self.flush();
        let bytes = file.metadata()?.len();
        self.segment = Some(Segment { number, file, bytes, rotate_at, cap });
        Ok(())
    }

    /// Adds a record to the batch. What could not be written before it is said before it; what was over the rate is said by
    /// [`mark`](Self::mark), else a flood of lines would bring a flood of markers.
    pub fn push(&mut self, at_micros: i64, stream: Stream, flags: u8, text: &[u8]) {
        if self.batch.len() >= BATCH {
            self.flush();
        }
        self.mark_each(at_micros, &[Loss::Full, Loss::Unwritable]);
        self.encode(at_micros, stream, flags, text, Carries::Line);
    }

    /// Counts a line that was over the rate of `per_second`.
    pub fn over_rate(&mut self, per_second: u32) {
        self.lost.per_second = per_second;
        self.lost.rate += 1;
    }

    /// Something was lost and not yet said.
    pub fn owes_marker(&self) -> bool {
        self.lost.rate + self.lost.full + self.lost.unwritable > 0
    }

    /// Adds a marker for everything that was lost and not yet said.
    pub fn mark(&mut self, at_micros: i64) {
        self.mark_each(at_micros, &[Loss::Rate, Loss::Full, Loss::Unwritable]);
    }

    fn mark_each(&mut self, at_micros: i64, losses: &[Loss]) {
        for loss in losses {
            let lines = std::mem::take(self.lost.of(*loss));
            if lines > 0 {
                let text = self.lost.text(*loss, lines);
                self.encode(at_micros, Stream::Platform, record::MARKER, text.as_bytes(), Carries::Marker(*loss, lines));
            }
        }
    }

    /// Writes the batch with one write. What does not go in is counted.
    pub fn flush(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        let room = self.segment.as_ref().map_or(u64::MAX, |s| s.cap.saturating_sub(s.bytes));
        let fits = self.ends_within(usize::try_from(room).unwrap_or(usize::MAX));
        let written = self.write(fits);
        let whole = self.entries.iter().take_while(|e| e.end <= written).count();
        // Numbers have no gaps: what was not written gives its number to the next one.
        self.next -= (self.entries.len() - whole) as u64;
        let loss = if written == fits { Loss::Full } else { Loss::Unwritable };
        for entry in self.entries.drain(..).skip(whole) {
            match entry.carries {
                Carries::Line => *self.lost.of(loss) += 1,
                Carries::Marker(loss, lines) => *self.lost.of(loss) += lines,
            }
        }
        self.batch.clear();
        if self.batch.capacity() > KEPT_CAPACITY {
            self.batch = Vec::new();
        }
    }

    /// Where the last record ends that is whole within the first `bytes` of the batch.
    fn ends_within(&self, bytes: usize) -> usize {
        self.entries.iter().map(|e| e.end).take_while(|end| *end <= bytes).last().unwrap_or(0)
    }

    /// Writes the batch up to `fits`. Gives how many bytes are in the file now, always the end of a record.
    fn write(&mut self, fits: usize) -> usize {
        let written = match &mut self.segment {
            Some(segment) if fits > 0 => write_once(&mut segment.file, &self.batch[..fits]),
            Some(_) => Ok(0),
            None => Err(io::Error::other("there was no segment")),
        };
        let written = written.unwrap_or_else(|e| {
            self.lost.why = e.to_string();
            0
        });
        if written < fits && written > 0 {
            self.lost.why = "no space was left".to_owned();
        }
        let whole = self.ends_within(written);
        if let Some(segment) = &mut self.segment {
            segment.bytes += whole as u64;
            if whole < written {
                // Best effort: a reader also finds its way past a torn record.
                let _ = segment.file.set_len(segment.bytes);
            }
        }
        whole
    }

    fn encode(&mut self, at_micros: i64, stream: Stream, flags: u8, text: &[u8], carries: Carries) {
        record::encode(&mut self.batch, &Record { number: self.next, at_micros, stream, flags, text });
        self.next += 1;
        self.entries.push(Entry { end: self.batch.len(), carries });
    }
}

fn write_once(file: &mut File, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match file.write(bytes) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
