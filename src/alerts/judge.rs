//! When a condition is worth an alert, and when it is over. Pure: facts and times in, a verdict out.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Raise,
    Clear,
    /// As before, or not long enough.
    Keep,
}

/// Something that should answer. It may be away for a moment (a restart takes one) without anybody being told.
#[derive(Debug)]
pub struct Patience {
    limit: Duration,
    away_since: Option<Instant>,
    told: Option<bool>,
}

impl Patience {
    /// `limit`: how long it may be away.
    pub fn new(limit: Duration) -> Self {
        Self { limit, away_since: None, told: None }
    }

    /// Takes whether it answered at `now`. The first good look clears too: what was raised before a restart may be over.
    pub fn look(&mut self, answers: bool, now: Instant) -> Verdict {
        if answers {
            self.away_since = None;
            return if self.told.replace(false) == Some(false) { Verdict::Keep } else { Verdict::Clear };
        }
        let since = *self.away_since.get_or_insert(now);
        if now.saturating_duration_since(since) < self.limit || self.told == Some(true) {
            return Verdict::Keep;
        }
        self.told = Some(true);
        Verdict::Raise
    }
}

/// Free bytes of a file system and its reserve → verdict. It is over only with a fifth more than the reserve, so that an alert does not
/// flutter.
pub fn disk(free: u64, reserve: u64) -> Verdict {
    if free < reserve {
        Verdict::Raise
    } else if free >= reserve + reserve / 5 {
        Verdict::Clear
    } else {
        Verdict::Keep
    }
}

/// So many ends within [`WINDOW`] are a crash loop.
const ENDS: usize = 5;
/// Init's own pauses between restarts stay well below this.
const WINDOW: Duration = Duration::from_secs(600);

/// How often the processes of apps ended. Kept in memory: after a restart of the daemon it counts anew.
#[derive(Debug)]
pub struct Ends {
    began: Instant,
    /// By subject (`shop/web`), the newest last.
    ends: BTreeMap<String, VecDeque<Instant>>,
}

impl Ends {
    pub fn new(now: Instant) -> Self {
        Self { began: now, ends: BTreeMap::new() }
    }

    /// Notes an end; gives how many there were within the window if they are a loop.
    pub fn ended(&mut self, subject: &str, now: Instant) -> Option<usize> {
        let ends = self.ends.entry(subject.to_owned()).or_default();
        ends.push_back(now);
        while ends.front().is_some_and(|at| now.saturating_duration_since(*at) > WINDOW) {
            ends.pop_front();
        }
        (ends.len() >= ENDS).then_some(ends.len())
    }

    /// Has it been quiet around the subject for a whole window?
    pub fn is_calm(&self, subject: &str, now: Instant) -> bool {
        let last = self.ends.get(subject).and_then(|ends| ends.back()).unwrap_or(&self.began);
        now.saturating_duration_since(*last) > WINDOW
    }

    /// Drops what is over, so that apps which are gone take no memory.
    pub fn tidy(&mut self, now: Instant) {
        self.ends.retain(|_, ends| ends.back().is_some_and(|at| now.saturating_duration_since(*at) <= WINDOW));
    }
}
