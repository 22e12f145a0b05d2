//! What the proxy measures, per target and per app, as it tells it to the daemon.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::histogram::Histogram;
use crate::names::{AppName, InstanceId, ProcessName, ReleaseNumber};

/// Cumulative since the proxy process started, for those of which something changed. After a Hello: all that there are, also when that is
/// nothing, so that the daemon knows what was counted before it listened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    pub targets: Vec<TargetMetrics>,
    /// Requests that the proxy answered without an instance: redirects, pages of maintenance, no instance, too large a body.
    pub apps: Vec<AppMetrics>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetMetrics {
    pub target: InstanceId,
    pub app: AppName,
    pub process: ProcessName,
    pub release: ReleaseNumber,
    pub sums: Sums,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppMetrics {
    pub app: AppName,
    pub sums: Sums,
}

/// What was counted of some requests, each at its end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sums {
    /// By first digit of the status; index 0 counts those without a whole head of an answer.
    pub by_class: [u64; 6],
    /// Of bodies, in both directions.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Waited for an instance first.
    pub held: u64,
    /// Sent again.
    pub retried: u64,
    /// Of all requests, the tunnels, event streams and answers whose body flowed for more than 5 s: they are not in `total`.
    pub streams: u64,
    /// Requests that got no whole answer of the app, by why. Names may be added.
    pub dropped: BTreeMap<String, u64>,
    /// New connections to the instance.
    pub dial: Histogram,
    /// From the request's head to the head of the instance's answer.
    pub first_byte: Histogram,
    /// From the request's head to the last byte of the answer, also of our own pages.
    pub total: Histogram,
}

impl Sums {
    pub fn requests(&self) -> u64 {
        self.by_class.iter().sum()
    }

    pub fn add(&mut self, other: &Self) {
        self.by_class.iter_mut().zip(other.by_class).for_each(|(sum, more)| *sum += more);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.held += other.held;
        self.retried += other.retried;
        self.streams += other.streams;
        for (why, count) in &other.dropped {
            *self.dropped.entry(why.clone()).or_default() += count;
        }
        self.dial.add(&other.dial);
        self.first_byte.add(&other.first_byte);
        self.total.add(&other.total);
    }

    /// What came since `before`; nothing in it is less than zero, whatever `before` was.
    pub fn since(&self, before: &Self) -> Self {
        let dropped = self
            .dropped
            .iter()
            .map(|(why, count)| (why.clone(), count.saturating_sub(before.dropped.get(why).copied().unwrap_or_default())));
        Self {
            by_class: std::array::from_fn(|i| self.by_class[i].saturating_sub(before.by_class[i])),
            bytes_in: self.bytes_in.saturating_sub(before.bytes_in),
            bytes_out: self.bytes_out.saturating_sub(before.bytes_out),
            held: self.held.saturating_sub(before.held),
            retried: self.retried.saturating_sub(before.retried),
            streams: self.streams.saturating_sub(before.streams),
            dropped: dropped.filter(|(_, count)| *count > 0).collect(),
            dial: self.dial.since(&before.dial),
            first_byte: self.first_byte.since(&before.first_byte),
            total: self.total.since(&before.total),
        }
    }

    /// Whether all of it can be reckoned with.
    pub fn is_sound(&self) -> bool {
        [&self.dial, &self.first_byte, &self.total].iter().all(|h| h.is_sound())
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(n: u64) -> Sums {
        Sums {
            by_class: [0, 0, n, 0, 1, 0],
            bytes_in: n,
            bytes_out: 10 * n,
            held: 1,
            retried: 2,
            streams: n,
            dropped: [("dial".to_owned(), n)].into(),
            dial: Histogram::new([(5, n)].into_iter(), n),
            first_byte: Histogram::new([(6, n), (7, 1)].into_iter(), 2 * n),
            total: Histogram::default(),
        }
    }

    #[test]
    fn what_came_since_is_the_difference_and_never_below_zero() {
        let mut sum = some(3);
        sum.add(&some(4));
        assert_eq!(sum.since(&some(3)), some(4));
        assert!(some(3).since(&sum).is_empty(), "{:?}", some(3).since(&sum));
        assert_eq!(sum.requests(), 9);
    }
}
