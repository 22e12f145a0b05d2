//! What to look for, and the newest of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::read::{Item, SegmentReader};
use super::segments::{Entry, Segments, State};
use super::source::{Header, Kind, Source};
use super::{Cursor, LogError};
use crate::base::clock::UnixMillis;
use crate::names::{AppName, InstanceId, ProcessName, ReleaseNumber};
use crate::wire::init::record::{EVENT, MARKER, PARTIAL, Stream};

/// Which lines of an app are wanted.
#[derive(Debug, Clone)]
pub struct Query {
    pub app: AppName,
    /// Only the last so many, and of those no more than 100,000 or 32 MiB of text: the oldest beyond that are left out. None: all there
    /// are, page by page.
    pub num: Option<usize>,
    /// `web`, `web.1`, `i45`, `router`, `build`, `deploy`; any of them. Empty: all.
    pub processes: Vec<String>,
    pub since: Option<UnixMillis>,
    /// Lines that contain this text.
    pub grep: Option<String>,
    /// Reading ends early, with an error that nobody sees, when this has left.
    pub asker: Asker,
}

/// Whether somebody still waits for what is read. Reading runs on a thread that nothing can interrupt: it looks here at each record.
#[derive(Debug, Clone, Default)]
pub struct Asker(Arc<AtomicBool>);

impl Asker {
    /// The asker has left when what this gives is dropped.
    pub fn stays(&self) -> Stay {
        Stay(self.clone())
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        if self.0.load(Ordering::Relaxed) { Err(LogError::NobodyWaits) } else { Ok(()) }
    }
}

/// Held by whoever waits.
#[derive(Debug)]
pub struct Stay(Asker);

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// One line, or one part of a very long one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub at: UnixMillis,
    pub at_micros: i64,
    pub app: AppName,
    pub kind: Kind,
    pub process: Option<ProcessName>,
    pub index: Option<u32>,
    pub instance: Option<InstanceId>,
    pub release: Option<ReleaseNumber>,
    pub stream: Stream,
    /// As written, except that bytes that are no UTF-8 became U+FFFD. Control characters are still in it.
    pub text: String,
    /// Counts up by one within one source.
    pub seq: u64,
    /// The line goes on in the source's next record.
    pub truncated: bool,
    /// Written by paas, not by the app: lines were dropped, or something happened to the app.
    pub notice: bool,
    /// The segment it stands in, the byte it begins with and the one after it: what a [`Cursor`] is made of.
    pub segment: u64,
    pub begin: u64,
    pub end: u64,
}

/// Some lines, and where to go on.
#[derive(Debug, Clone)]
pub struct Page {
    pub lines: Vec<LogLine>,
    pub cursor: Cursor,
    /// There was more when this page was full.
    pub more: bool,
}

impl Page {
    /// Where a reader stands that has seen all that this page left out, and none of its lines.
    pub fn begin(&self) -> Cursor {
        let mut at = self.cursor.clone();
        // Backwards, so that the first line of each segment has the last word.
        self.lines.iter().rev().for_each(|line| at.pass(line.segment, line.begin));
        at
    }
}

/// The most that `num` gives, so that a client cannot make the daemon hold a whole log in memory.
const MOST_LAST: usize = 100_000;
/// The most text in it: lines may be 64 KiB long, so their number alone bounds nothing.
const MOST_LAST_BYTES: usize = 32 * 1024 * 1024;

/// A file's time may lag behind its last record by a tick of the kernel.
const TIME_SLACK_MICROS: i64 = 1_000_000;

impl Query {
    /// All lines of an app, for somebody who stays.
    pub fn of(app: AppName) -> Self {
        Self { app, num: None, processes: Vec::new(), since: None, grep: None, asker: Asker::default() }
    }

    pub(super) fn wants_source(&self, source: &Source) -> bool {
        self.processes.is_empty() || self.processes.iter().any(|p| source.is_called(p))
    }

    /// Whether the segment may hold a wanted line, by what is known without reading it.
    pub(super) fn wants_segment(&self, entry: &Entry, header: &Header) -> bool {
        let too_old =
            entry.state != State::Active && self.since_micros().is_some_and(|s| entry.last_micros + TIME_SLACK_MICROS < s);
        !too_old && self.wants_source(&header.source)
    }

    fn since_micros(&self) -> Option<i64> {
        self.since.map(|since| since.0.saturating_mul(1000))
    }

    /// Gives the line if it is wanted.
    pub(super) fn line(&self, item: Item, header: &Header) -> Option<LogLine> {
        if item.stream == Stream::Header || self.since_micros().is_some_and(|since| item.at_micros < since) {
            return None;
        }
        let text = match String::from_utf8(item.text) {
            Ok(text) => text,
            Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
        };
        if self.grep.as_ref().is_some_and(|wanted| !text.contains(wanted.as_str())) {
            return None;
        }
        let source = &header.source;
        Some(LogLine {
            at: UnixMillis(item.at_micros.div_euclid(1000)),
            at_micros: item.at_micros,
            app: source.app.clone(),
            kind: source.kind,
            process: source.process.clone(),
            index: source.index,
            instance: source.instance,
            release: source.release,
            stream: item.stream,
            text,
            seq: item.number,
            truncated: item.flags & PARTIAL != 0,
            notice: item.flags & (MARKER | EVENT) != 0,
            segment: header.segment,
            begin: item.begin,
            end: item.end,
        })
    }
}

impl LogLine {
    /// What stands in front of it for people: `web.1`, `router`.
    pub fn label(&self) -> String {
        match (&self.process, self.index) {
            (Some(process), Some(index)) => format!("{process}.{index}"),
            (Some(process), None) => process.to_string(),
            (None, _) => self.kind.word().to_owned(),
        }
    }
}

/// The last `num` wanted lines, as far as they are within the bounds, newest segments first, so that a long history is not read.
pub fn last(segments: &Segments, query: &Query, num: usize) -> Result<Page, LogError> {
    last_within(segments, query, num.min(MOST_LAST), MOST_LAST_BYTES)
}

fn last_within(segments: &Segments, query: &Query, num: usize, bytes: usize) -> Result<Page, LogError> {
    let entries = segments.entries();
    let mut cursor = Cursor { upto: entries.last().map_or(0, |e| e.number), ..Cursor::default() };
    let mut best = Newest { num, bytes, lines: Vec::new(), floor: i64::MIN };
    for entry in newest_first(&entries) {
        let Some(header) = entry.header(segments.folder()) else { continue };
        if !query.wants_segment(entry, header) {
            continue;
        }
        let finished = entry.state != State::Active;
        if finished && (num == 0 || entry.last_micros + TIME_SLACK_MICROS < best.since()) {
            continue;
        }
        let Some(tail) = last_of(segments, query, (num, bytes), header)? else { continue };
        if !finished {
            cursor.open.insert(entry.number, tail.end);
        }
        best.add(tail);
    }
    Ok(Page { lines: best.lines.into_iter().map(|(_, line)| line).collect(), cursor, more: false })
}

/// The newest lines of all that were added, the oldest first: at most `num`, with at most `bytes` of text, and without a gap.
struct Newest {
    num: usize,
    bytes: usize,
    lines: Vec<Placed>,
    /// The time of the newest line that was left out. None that is older may come in, though there may be room for it.
    floor: i64,
}

impl Newest {
    /// What is older than this is not wanted.
    fn since(&self) -> i64 {
        let oldest = self.lines.first().filter(|_| self.lines.len() == self.num);
        oldest.map_or(self.floor, |(time, _)| *time)
    }

    fn add(&mut self, tail: Tail) {
        self.floor = self.floor.max(tail.floor);
        self.lines.extend(tail.lines);
        // Stable, and each segment's own lines come in their order.
        self.lines.sort_by_key(|(time, _)| *time);
        let mut room = self.bytes;
        let fits = |(_, line): &&Placed| match room.checked_sub(line.text.len()) {
            Some(rest) => {
                room = rest;
                true
            }
            None => false,
        };
        let fitting = self.lines.iter().rev().take(self.num).take_while(fits).count();
        let surplus = self.lines.len() - fitting;
        if let Some((time, _)) = self.lines[..surplus].last() {
            self.floor = self.floor.max(*time);
        }
        let too_old = self.lines.partition_point(|(time, _)| *time < self.floor);
        self.lines.drain(..surplus.max(too_old));
    }
}

/// Active segments, then by the time of the last record.
fn newest_first(entries: &[Entry]) -> Vec<&Entry> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by_key(|e| std::cmp::Reverse((e.state == State::Active, e.last_micros)));
    sorted
}

/// A line and the time by which it is sorted: within a segment the order of writing wins over a clock that was set back. A line is then as
/// old as the oldest one behind it: the newest lines keep their time, so those of other sources are not dropped for them.
type Placed = (i64, LogLine);

/// The last wanted lines of one segment.
struct Tail {
    lines: VecDeque<Placed>,
    /// The time of the line before them, if there was no room for it.
    floor: i64,
    /// The position after the last record.
    end: u64,
}

/// At most `num` lines with at most `bytes` of text; `None` if the segment was removed meanwhile.
fn last_of(segments: &Segments, query: &Query, (num, bytes): (usize, usize), header: &Header) -> Result<Option<Tail>, LogError> {
    let failed = |source: std::io::Error| {
        let path = segments.folder().join(header.segment.to_string());
        LogError::File { act: "reading log segment", path, source }
    };
    let mut reader = match SegmentReader::open(segments.folder(), header.segment, 0) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut lines: VecDeque<Placed> = VecDeque::new();
    let (mut held, mut left_out) = (0, None);
    while let Some(item) = reader.next().map_err(failed)? {
        query.asker.check()?;
        // For the position alone if none is wanted.
        let Some(line) = Some(item).filter(|_| num > 0).and_then(|item| query.line(item, header)) else { continue };
        held += line.text.len();
        lines.push_back((line.at_micros, line));
        while (lines.len() > num || held > bytes)
            && let Some((time, line)) = lines.pop_front()
        {
            held -= line.text.len();
            left_out = Some(time);
        }
    }
    let mut oldest = i64::MAX;
    for (time, _) in lines.iter_mut().rev() {
        oldest = oldest.min(*time);
        *time = oldest;
    }
    let floor = left_out.map_or(i64::MIN, |time| oldest.min(time));
    Ok(Some(Tail { lines, floor, end: reader.position() }))
}

#[cfg(test)]
mod tests;
