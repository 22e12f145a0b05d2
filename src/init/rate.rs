//! How much an app may log: a bucket that fills steadily and may be emptied at once.

use std::time::Instant;

pub struct Rate {
    per_second: u32,
    burst: u32,
    tokens: f64,
    filled: Instant,
}

/// A line costs one token per started piece of this many bytes, so that long lines are no way around the limit.
const BYTES_PER_TOKEN: usize = 4096;

impl Rate {
    /// Starts with a full bucket.
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self { per_second, burst, tokens: f64::from(burst), filled: now }
    }

    /// New limits; what was already used stays used.
    pub fn set(&mut self, per_second: u32, burst: u32) {
        self.tokens = (self.tokens + f64::from(burst) - f64::from(self.burst)).clamp(0.0, f64::from(burst));
        self.per_second = per_second;
        self.burst = burst;
    }

    pub fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Takes the tokens for a line of `bytes`, or says no and takes none.
    pub fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + since * f64::from(self.per_second)).min(f64::from(self.burst));
        let cost = (1 + bytes.saturating_sub(1) / BYTES_PER_TOKEN) as f64;
        let enough = self.tokens >= cost;
        if enough {
            self.tokens -= cost;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_passes_and_then_the_sustained_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(100, 500, start);
        assert_eq!((0..1000).filter(|_| rate.take(10, start)).count(), 500);
        let later = start + Duration::from_secs(2);
        assert_eq!((0..1000).filter(|_| rate.take(10, later)).count(), 200);
        let much_later = start + Duration::from_secs(1000);
        assert_eq!((0..1000).filter(|_| rate.take(64 * 1024, much_later)).count(), 500 / 16);
    }
}
