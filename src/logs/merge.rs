//! Many segments read as one log, in the order of time, from a cursor on.
//!
//! Segments are begun in the order of their numbers, each when the time of its first record is reached. So only as many are open as
//! were written to at the same time, however long the history is.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::query::Query;
use super::read::{Item, SegmentReader};
use super::segments::{Entry, Segments};
use super::source::Header;
use super::{Cursor, LogError, Page};

pub struct Merge {
    segments: Arc<Segments>,
    query: Query,
    upto: u64,
    open: Vec<Open>,
    waiting: VecDeque<Entry>,
}

struct Open {
    header: Header,
    reader: SegmentReader,
    head: Option<Item>,
    /// Time by which it is sorted: within a segment the order of writing wins over a clock that was set back.
    time: i64,
    /// Position after the last record that was given or passed over.
    done: u64,
    /// Nothing more was there when we last looked.
    dry: bool,
    /// Nobody was writing to it any more before we last looked.
    finished: bool,
}

/// A page ends at this many lines, or after this many bytes were looked at: a search that finds nothing must not be endless either.
const PAGE_LINES: usize = 1000;
const PAGE_BYTES: u64 = 16 * 1024 * 1024;

impl Merge {
    pub fn new(segments: Arc<Segments>, query: Query, cursor: &Cursor) -> Result<Self, LogError> {
        let mut merge = Self { segments, query, upto: cursor.upto, open: Vec::new(), waiting: VecDeque::new() };
        let known = merge.segments.entries();
        // A client may have got lines of segments beyond the cursor it gives back.
        let started = known.iter().filter(|e| cursor.open.contains_key(&e.number));
        for entry in started.cloned().collect::<Vec<_>>() {
            merge.upto = merge.upto.max(entry.number);
            merge.begin(&entry, cursor.open[&entry.number])?;
        }
        let skipped =
            known.iter().filter(|e| e.number > cursor.upto && e.number < merge.upto && !cursor.open.contains_key(&e.number));
        for entry in skipped.cloned().collect::<Vec<_>>() {
            merge.begin(&entry, 0)?;
        }
        Ok(merge)
    }

    /// The next wanted lines, in order; an empty page if there are none now. Call again later for what came meanwhile.
    pub fn page(&mut self) -> Result<Page, LogError> {
        self.refresh();
        let (mut lines, mut looked_at, mut more) = (Vec::new(), 0, false);
        while let Some((item, header)) = self.next()? {
            self.query.asker.check()?;
            looked_at += item.text.len() as u64;
            lines.extend(self.query.line(item, &header));
            if lines.len() >= PAGE_LINES || looked_at >= PAGE_BYTES {
                more = true;
                break;
            }
        }
        Ok(Page { lines, cursor: self.cursor(), more })
    }

    fn cursor(&self) -> Cursor {
        Cursor { upto: self.upto, open: self.open.iter().map(|o| (o.header.segment, o.done)).collect() }
    }

    /// Looks for new segments, and for more in those that were dry.
    fn refresh(&mut self) {
        for open in &mut self.open {
            // Before reading: what is finished now gets nothing after what we are about to read.
            open.finished = self.segments.is_finished(open.header.segment);
            open.dry = false;
        }
        self.waiting = self.segments.entries_after(self.upto).into();
    }

    fn next(&mut self) -> Result<Option<(Item, Header)>, LogError> {
        loop {
            self.fill()?;
            let first = self
                .open
                .iter()
                .enumerate()
                .filter(|(_, o)| o.head.is_some())
                .min_by_key(|(_, o)| o.time)
                .map(|(n, o)| (n, o.time));
            let folder = self.segments.folder();
            let due = self.waiting.front().is_some_and(|entry| {
                let begins = entry.header(folder).map_or(i64::MIN, |h| h.created_micros);
                first.is_none_or(|(_, time)| begins <= time)
            });
            if due && let Some(entry) = self.waiting.pop_front() {
                self.upto = entry.number;
                self.begin(&entry, 0)?;
                continue;
            }
            let Some((n, _)) = first else { return Ok(None) };
            let open = &mut self.open[n];
            let Some(item) = open.head.take() else { return Ok(None) };
            open.done = item.end;
            return Ok(Some((item, open.header.clone())));
        }
    }

    /// Every open segment shows its next record; those that have no more, and will not get any, are closed.
    fn fill(&mut self) -> Result<(), LogError> {
        for open in &mut self.open {
            if open.head.is_none() && !open.dry {
                open.head = open.reader.next().map_err(|e| reading(&self.segments, open.header.segment, e))?;
                open.dry = open.head.is_none();
                open.time = open.head.as_ref().map_or(open.time, |item| item.at_micros.max(open.time));
            }
        }
        self.open.retain(|o| !(o.dry && o.finished && o.head.is_none()));
        Ok(())
    }

    /// Opens a segment unless it is not wanted or gone: then it counts as read.
    fn begin(&mut self, entry: &Entry, position: u64) -> Result<(), LogError> {
        // As in `refresh`: first whether it is finished, then what is in it.
        let finished = self.segments.is_finished(entry.number);
        let Some(header) = entry.header(self.segments.folder()) else { return Ok(()) };
        if !self.query.wants_segment(entry, header) {
            return Ok(());
        }
        let reader = match SegmentReader::open(self.segments.folder(), entry.number, position) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|e| reading(&self.segments, entry.number, e))?,
        };
        let header = header.clone();
        self.open.push(Open { header, reader, head: None, time: i64::MIN, done: position, dry: false, finished });
        Ok(())
    }
}

fn reading(segments: &Segments, number: u64, source: io::Error) -> LogError {
    LogError::File { act: "reading log segment", path: segments.folder().join(number.to_string()), source }
}
