//! What is measured of requests: written by workers at a request's end, read by the control thread now and then.
//!
//! Each worker adds to a shard of its own, so that no cache line goes from core to core for a measurement; it is made at the worker's
//! first request for the target. Nothing here waits or fails.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use super::access::{Record, micros};
use super::dial::{DialFailed, DialKind};
use super::error::ProxyError;
use crate::base::histogram::{BUCKETS, Histogram, bucket};
use crate::wire::metrics::Sums;

/// More workers than that share.
const SHARDS: usize = 16;

static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: usize = NEXT_SHARD.fetch_add(1, Relaxed) % SHARDS;
}

/// Why a request got no whole answer of the app.
const REASONS: [&str; 16] = [
    "client_gone",
    "client_slow",
    "reader_slow",
    "malformed",
    "too_large",
    "misdirected",
    "no_instance",
    "held_too_long",
    "held_full",
    "maintenance",
    "dial_failed",
    "dial_timeout",
    "died",
    "bad_answer",
    "answer_timeout",
    "cut",
];

/// The place in [`REASONS`]. None: such an error is no app's.
fn reason(error: &ProxyError) -> Option<usize> {
    let name = match error {
        ProxyError::ClientGone => "client_gone",
        ProxyError::HeadSlow | ProxyError::ClientSlow => "client_slow",
        ProxyError::ReaderSlow => "reader_slow",
        ProxyError::BadRequest(_) | ProxyError::BadBody(_) => "malformed",
        ProxyError::TooLarge(_) => "too_large",
        ProxyError::Misdirected => "misdirected",
        ProxyError::NoInstance => "no_instance",
        ProxyError::HeldTooLong(_) => "held_too_long",
        ProxyError::HeldFull => "held_full",
        ProxyError::Maintenance => "maintenance",
        ProxyError::Dial(DialFailed { kind: DialKind::TimedOut, .. }) => "dial_timeout",
        ProxyError::Dial(_) => "dial_failed",
        ProxyError::Died { .. } => "died",
        ProxyError::BadAnswer(_) | ProxyError::BadAnswerHead(_) | ProxyError::AnswerBroke(_) => "bad_answer",
        ProxyError::AnswerTime => "answer_timeout",
        ProxyError::Drained => "cut",
        ProxyError::UnknownHost | ProxyError::NotReady => return None,
    };
    REASONS.iter().position(|known| *known == name)
}

#[derive(Debug, Default)]
struct Dropped([AtomicU64; REASONS.len()]);

impl Dropped {
    fn count(&self, error: &ProxyError) {
        if let Some(at) = reason(error) {
            self.0[at].fetch_add(1, Relaxed);
        }
    }

    fn read(&self) -> BTreeMap<String, u64> {
        let counts = REASONS.iter().zip(&self.0).map(|(why, count)| ((*why).to_owned(), count.load(Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// How long something took, each time.
#[derive(Debug)]
struct Timing {
    counts: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

impl Timing {
    fn add(&self, took: Duration) {
        let micros = micros(took);
        self.counts[bucket(micros)].fetch_add(1, Relaxed);
        self.sum.fetch_add(micros, Relaxed);
    }

    fn read(&self) -> Histogram {
        Histogram::new(self.counts.iter().map(|c| c.load(Relaxed)).enumerate(), self.sum.load(Relaxed))
    }
}

/// Two lines of the cache, as processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    streams: AtomicU64,
    dropped: Dropped,
    dial: Timing,
    first_byte: Timing,
    total: Timing,
}

/// What is measured at one target, beside its tally.
#[derive(Debug, Default)]
pub struct Meter {
    shards: [OnceLock<Box<Shard>>; SHARDS],
}

impl Meter {
    fn mine(&self) -> &Shard {
        self.shards[SHARD.with(|mine| *mine)].get_or_init(Box::default)
    }

    pub fn dialed(&self, took: Duration) {
        self.mine().dial.add(took);
    }

    /// The end of a request that was let in; `status` is what the client saw, 0 for nothing. A stream lasts as long as its two ends like, which
    /// says nothing about the app: it is counted, and only the time to its first byte.
    pub fn ended(&self, record: &Record, status: u16, stream: bool, error: Option<&ProxyError>) {
        let shard = self.mine();
        shard.bytes_in.fetch_add(record.bytes_in.get(), Relaxed);
        shard.bytes_out.fetch_add(record.bytes_out.get(), Relaxed);
        if let Some(took) = record.first_byte.get() {
            shard.first_byte.add(took);
        }
        if stream {
            shard.streams.fetch_add(1, Relaxed);
        } else if status != 0 {
            shard.total.add(record.started.elapsed());
        }
        if let Some(error) = error {
            shard.dropped.count(error);
        }
    }

    pub fn read(&self) -> Sums {
        let mut sums = Sums::default();
        for shard in self.shards.iter().filter_map(OnceLock::get) {
            sums.add(&Sums {
                bytes_in: shard.bytes_in.load(Relaxed),
                bytes_out: shard.bytes_out.load(Relaxed),
                streams: shard.streams.load(Relaxed),
                dropped: shard.dropped.read(),
                dial: shard.dial.read(),
                first_byte: shard.first_byte.read(),
                total: shard.total.read(),
                ..Sums::default()
            });
        }
        sums
    }
}

/// What is measured of an app's requests that reached no target.
#[derive(Debug, Default)]
pub struct Own {
    by_class: [AtomicU64; 6],
    dropped: Dropped,
}

impl Own {
    pub fn ended(&self, status: u16, error: Option<&ProxyError>) {
        if let Some(class) = self.by_class.get(usize::from(status / 100)) {
            class.fetch_add(1, Relaxed);
        }
        if let Some(error) = error {
            self.dropped.count(error);
        }
    }

    pub fn read(&self) -> Sums {
        let by_class = std::array::from_fn(|i| self.by_class[i].load(Relaxed));
        Sums { by_class, dropped: self.dropped.read(), ..Sums::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_threads_measured_is_added_up() {
        let meter = Meter::default();
        std::thread::scope(|scope| {
            for n in 1..=20u64 {
                let meter = &meter;
                scope.spawn(move || (0..100).for_each(|_| meter.dialed(Duration::from_micros(n * 50))));
            }
        });
        let dial = meter.read().dial;
        assert_eq!((dial.count(), dial.sum), (2000, 100 * 50 * 210));
        assert!(meter.shards.iter().filter(|s| s.get().is_some()).count() > 1, "not all in one place");
    }

    #[test]
    fn every_reason_has_its_place() {
        let errors = [ProxyError::ClientGone, ProxyError::Maintenance, ProxyError::Drained, ProxyError::Died { unsent: true }];
        let own = Own::default();
        errors.iter().for_each(|e| own.ended(503, Some(e)));
        own.ended(308, None);
        own.ended(404, Some(&ProxyError::UnknownHost));
        let read = own.read();
        assert_eq!(read.dropped.keys().collect::<Vec<_>>(), ["client_gone", "cut", "died", "maintenance"]);
        assert_eq!(read.by_class, [0, 0, 0, 1, 1, 4]);
    }
}
