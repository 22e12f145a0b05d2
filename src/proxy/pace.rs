//! Whether a client brings its upload fast enough. Pure: is told how long was waited and what came.

use std::time::Duration;

use crate::wire::limits::Limits;

/// Counts bytes against the time in which we waited for the client: time in which the instance took nothing is not the client's.
/// Each window is judged by itself, so bytes of the past buy no slowness later, and the first one is the client's grace.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    rate: u64,
    window: Duration,
    waited: Duration,
    got: u64,
}

/// The client was below the rate for a whole window.
#[derive(Debug, PartialEq, Eq)]
pub struct TooSlow;

impl Pace {
    pub fn new(limits: &Limits) -> Self {
        Self { rate: limits.body_rate, window: limits.body_window(), waited: Duration::ZERO, got: 0 }
    }

    /// How long the next wait may last before it must be judged. None: as long as it likes.
    pub fn left(&self) -> Option<Duration> {
        (self.rate > 0).then(|| self.window.saturating_sub(self.waited))
    }

    /// One wait and what it brought.
    pub fn add(&mut self, waited: Duration, bytes: usize) -> Result<(), TooSlow> {
        self.waited += waited;
        self.got = self.got.saturating_add(bytes as u64);
        if self.rate == 0 || self.waited < self.window {
            return Ok(());
        }
        let wanted = u128::from(self.rate) * self.waited.as_millis() / 1000;
        let enough = u128::from(self.got) >= wanted;
        (self.waited, self.got) = (Duration::ZERO, 0);
        if enough { Ok(()) } else { Err(TooSlow) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(body_rate: u64, body_window_ms: u64) -> Pace {
        Pace::new(&Limits { body_rate, body_window_ms, ..Limits::default() })
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn slowness_is_seen_at_the_end_of_a_window_and_the_past_buys_none() {
        let mut pace = pace(1000, 1000);
        assert_eq!(pace.left(), Some(MS * 1000));
        assert_eq!(pace.add(MS * 100, 1_000_000), Ok(()));
        assert_eq!((pace.left(), pace.add(MS * 900, 0)), (Some(MS * 900), Ok(())), "the first window brought enough");
        assert_eq!(pace.add(MS * 999, 998), Ok(()), "not yet over");
        assert_eq!(pace.add(MS, 1), Err(TooSlow));
        assert_eq!(pace.add(MS * 2000, 2000), Ok(()), "a long wait is measured by its length");
        assert_eq!(pace.add(MS * 2000, 1999), Err(TooSlow));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut pace = pace(0, 1000);
        assert_eq!((pace.left(), pace.add(MS * 100_000, 0)), (None, Ok(())));
    }
}
