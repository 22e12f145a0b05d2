//! Bytes of a pipe into lines.

use std::time::{Duration, Instant};

use crate::wire::init::record::{CONTINUED, PARTIAL, TEXT_LIMIT};

/// How long the beginning of a line may wait for its end before it is shown: a prompt or a progress dot should not be held back.
const HOLD: Duration = Duration::from_secs(1);

/// Splits one stream. Lines are given without their end (`\n` or `\r\n`), with the record flags they need.
#[derive(Default)]
pub struct Lines {
    partial: Vec<u8>,
    since: Option<Instant>,
    /// A part of the current line was already given.
    continuing: bool,
}

impl Lines {
    /// Takes what was read at `now`; calls `give(text, flags)` for every line or part of one that is complete.
    pub fn feed(&mut self, mut bytes: &[u8], now: Instant, give: &mut dyn FnMut(&[u8], u8)) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            self.piece(&bytes[..end], give);
            self.end_line(give);
            bytes = &bytes[end + 1..];
        }
        if !bytes.is_empty() {
            self.piece(bytes, give);
            self.since.get_or_insert(now);
        }
        if self.partial.is_empty() {
            self.since = None;
        }
    }

    /// Gives the beginning of a line that has waited long enough.
    pub fn tick(&mut self, now: Instant, give: &mut dyn FnMut(&[u8], u8)) {
        if self.since.is_some_and(|since| now >= since + HOLD) {
            self.since = None;
            self.give_part(PARTIAL, give);
        }
    }

    /// Gives what is left; the stream has ended.
    pub fn finish(&mut self, give: &mut dyn FnMut(&[u8], u8)) {
        self.since = None;
        if !self.partial.is_empty() {
            self.end_line(give);
        }
        self.continuing = false;
        self.partial = Vec::new();
    }

    /// When [`tick`](Self::tick) is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + HOLD)
    }

    /// Adds to the current line, giving full parts. A part keeps no more than the limit in memory.
    fn piece(&mut self, mut bytes: &[u8], give: &mut dyn FnMut(&[u8], u8)) {
        while self.partial.len() + bytes.len() > TEXT_LIMIT {
            let (now, later) = bytes.split_at(TEXT_LIMIT - self.partial.len());
            self.partial.extend_from_slice(now);
            self.give_part(PARTIAL, give);
            bytes = later;
        }
        self.partial.extend_from_slice(bytes);
    }

    fn end_line(&mut self, give: &mut dyn FnMut(&[u8], u8)) {
        if self.partial.last() == Some(&b'\r') {
            self.partial.pop();
        }
        // The end of a line that was already given in parts is no line of its own.
        if !(self.continuing && self.partial.is_empty()) {
            self.give_part(0, give);
        }
        self.continuing = false;
        // One long line must not keep its memory for the life of the instance.
        if self.partial.capacity() > 8 * 1024 {
            self.partial = Vec::new();
        }
    }

    fn give_part(&mut self, flags: u8, give: &mut dyn FnMut(&[u8], u8)) {
        give(&self.partial, flags | if self.continuing { CONTINUED } else { 0 });
        self.partial.clear();
        self.continuing = true;
    }
}

#[cfg(test)]
mod tests;
