//! A log-linear histogram of durations: four buckets for each doubling, from 1 µs to some 9 minutes. What is read from it is wrong by less
//! than the width of a bucket, a quarter of the value at most.

use serde::{Deserialize, Serialize};

/// Buckets in all. The last one takes everything from its beginning on.
pub const BUCKETS: usize = 112;

/// The bucket of a duration in whole microseconds: exact below 8 µs, then four for each power of two.
pub fn bucket(micros: u64) -> usize {
    if micros < 4 {
        return usize::try_from(micros).unwrap_or(0);
    }
    let exponent = micros.ilog2() as usize;
    let quarter = usize::try_from((micros >> (exponent - 2)) & 3).unwrap_or(0);
    ((exponent - 1) * 4 + quarter).min(BUCKETS - 1)
}

/// The least duration in a bucket, in microseconds; of the one after the last: where that would end.
pub fn lower(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64;
    }
    (4 + (bucket as u64 & 3)) << (bucket / 4 - 1)
}

/// How many durations fell into each bucket; what is empty takes no place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Histogram {
    /// Bucket and count, by bucket, each once, no count of zero.
    counts: Vec<(u8, u64)>,
    /// Of all durations, in microseconds.
    pub sum: u64,
}

impl Histogram {
    /// Takes buckets in their order with their counts.
    pub fn new(counts: impl Iterator<Item = (usize, u64)>, sum: u64) -> Self {
        let counts = counts.filter(|(bucket, count)| *bucket < BUCKETS && *count > 0);
        Self { counts: counts.map(|(bucket, count)| (u8::try_from(bucket).unwrap_or(u8::MAX), count)).collect(), sum }
    }

    /// What another process sent may be in any order.
    pub fn is_sound(&self) -> bool {
        self.counts.is_sorted_by(|a, b| a.0 < b.0) && self.counts.last().is_none_or(|(bucket, _)| usize::from(*bucket) < BUCKETS)
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// Durations shorter than `micros`, which must be where a bucket begins: any power of two is.
    pub fn below(&self, micros: u64) -> u64 {
        self.counts.iter().take_while(|(bucket, _)| lower(usize::from(*bucket)) < micros).map(|(_, count)| count).sum()
    }

    pub fn add(&mut self, other: &Self) {
        self.sum = self.sum.saturating_add(other.sum);
        self.counts = merge(&self.counts, &other.counts, u64::saturating_add);
    }

    /// What came since `before`. A bucket that holds less than then counts as empty.
    pub fn since(&self, before: &Self) -> Self {
        let mut counts = merge(&self.counts, &before.counts, |now, before| now.saturating_sub(before));
        counts.retain(|(_, count)| *count > 0);
        counts.shrink_to_fit();
        Self { counts, sum: self.sum.saturating_sub(before.sum) }
    }

    /// The duration in microseconds that a share `q` (0 to 1) does not exceed, as if a bucket's durations lay evenly in it. None: there are none.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((q * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        for (bucket, here) in self.counts.iter().map(|(b, c)| (usize::from(*b), *c)) {
            if seen + here >= rank {
                let (from, width) = (lower(bucket), lower(bucket + 1) - lower(bucket));
                let into = (rank - seen) as f64 / here as f64 * width as f64;
                return Some(from + (into as u64).min(width - 1));
            }
            seen += here;
        }
        None
    }
}

/// Both lists by bucket; one that has only one of them is joined with zero.
fn merge(a: &[(u8, u64)], b: &[(u8, u64)], join: impl Fn(u64, u64) -> u64) -> Vec<(u8, u64)> {
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    let mut merged = Vec::with_capacity(a.len().max(b.len()));
    loop {
        let next = match (a.peek(), b.peek()) {
            (None, None) => return merged,
            (Some((bucket, _)), None) | (None, Some((bucket, _))) => *bucket,
            (Some((of_a, _)), Some((of_b, _))) => *of_a.min(of_b),
        };
        let left = a.next_if(|(bucket, _)| *bucket == next).map_or(0, |(_, count)| count);
        let right = b.next_if(|(bucket, _)| *bucket == next).map_or(0, |(_, count)| count);
        merged.push((next, join(left, right)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: &[u64]) -> Histogram {
        let mut counts = [0; BUCKETS];
        micros.iter().for_each(|m| counts[bucket(*m)] += 1);
        Histogram::new(counts.into_iter().enumerate(), micros.iter().sum())
    }

    #[test]
    fn every_duration_lies_within_its_bucket_and_a_bucket_is_no_wider_than_a_quarter() {
        let mut tried = 0;
        for exponent in 0..29 {
            for near in [0, 1, 2, 3, 5, 7] {
                for micros in [(1u64 << exponent) + near, (1u64 << exponent).saturating_sub(near), (3u64 << exponent) / 2 + near]
                {
                    let at = bucket(micros);
                    if at < BUCKETS - 1 {
                        assert!(lower(at) <= micros && micros < lower(at + 1), "{micros} in {at}");
                        assert!((lower(at + 1) - lower(at)) * 4 <= lower(at).max(4), "{at} is too wide");
                        tried += 1;
                    }
                }
            }
        }
        assert!(tried > 400);
        assert_eq!((bucket(0), bucket(3), bucket(4), bucket(7), bucket(8)), (0, 3, 4, 7, 8));
        assert_eq!((bucket(u64::MAX), bucket(536_870_912)), (BUCKETS - 1, BUCKETS - 1));
        assert!((0..BUCKETS).all(|b| lower(b) < lower(b + 1) && bucket(lower(b)) == b));
    }

    #[test]
    fn a_quantile_is_wrong_by_less_than_its_buckets_width() {
        let durations: Vec<u64> = (1..=10_000u64).map(|n| n * n / 7 + 1).collect();
        let histogram = of(&durations);
        for q in [0.01, 0.5, 0.95, 0.99, 1.0] {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let exact = durations[((q * 10_000.0_f64).ceil() as usize) - 1];
            let found = histogram.quantile(q).expect("there are some");
            let at = bucket(exact);
            assert!(found.abs_diff(exact) <= lower(at + 1) - lower(at), "{q}: {found} for {exact}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(of(&[5]).quantile(0.99), Some(5));
    }

    #[test]
    fn merging_is_counting_together_and_since_takes_it_apart_again() {
        let (a, b) = ([3, 90, 90, 7000], [90, 100_000, 1, 7000]);
        let mut sum = of(&a);
        sum.add(&of(&b));
        assert_eq!(sum, of(&[a, b].concat()));
        assert_eq!(sum.since(&of(&a)), of(&b));
        assert_eq!((sum.count(), sum.sum), (8, of(&a).sum + of(&b).sum));
        assert_eq!(of(&a).since(&sum), Histogram::default(), "never below nothing");
        assert_eq!((sum.below(64), sum.below(128), sum.below(1 << 30)), (2, 5, 8));
    }

    #[test]
    fn what_is_sent_comes_back_and_is_short() {
        let sent = serde_json::to_string(&of(&[3, 90, 90])).expect("encode");
        assert_eq!(sent, r#"{"counts":[[3,1],[21,2]],"sum":183}"#);
        assert_eq!(serde_json::from_str::<Histogram>(&sent).expect("decode"), of(&[3, 90, 90]));
        let unsound: Histogram = serde_json::from_str(r#"{"counts":[[9,1],[3,1]]}"#).expect("decode");
        assert!(!unsound.is_sound() && of(&[1, 2]).is_sound());
    }
}
