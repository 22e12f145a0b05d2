//! Clients that a limit turned away, counted by reason and told to the daemon now and then.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::doors::Full;
use super::error::ProxyError;
use super::h1::head::HeadError;
use super::limits::DROPS_EVERY;
use crate::wire::limits::DropCounts;

#[derive(Debug, Default)]
pub struct Drops {
    all_full: AtomicU64,
    address_full: AtomicU64,
    slow_heads: AtomicU64,
    slow_bodies: AtomicU64,
    slow_readers: AtomicU64,
    large_heads: AtomicU64,
    malformed: AtomicU64,
    /// What was told last, and when. Only the control thread takes it.
    told: Mutex<(DropCounts, Option<Instant>)>,
}

impl Drops {
    pub fn refused(&self, why: Full) {
        match why {
            Full::All => &self.all_full,
            Full::Address => &self.address_full,
        }
        .fetch_add(1, Relaxed);
    }

    /// Counts an error if it is one of a limit or of strictness.
    pub fn count(&self, error: &ProxyError) {
        let of = match error {
            ProxyError::HeadSlow => &self.slow_heads,
            ProxyError::ClientSlow => &self.slow_bodies,
            ProxyError::ReaderSlow => &self.slow_readers,
            ProxyError::BadRequest(HeadError::TooLarge) => &self.large_heads,
            ProxyError::BadRequest(_) | ProxyError::BadBody(_) => &self.malformed,
            _ => return,
        };
        of.fetch_add(1, Relaxed);
    }

    pub fn counts(&self) -> DropCounts {
        let of = |count: &AtomicU64| count.load(Relaxed);
        DropCounts {
            all_full: of(&self.all_full),
            address_full: of(&self.address_full),
            slow_heads: of(&self.slow_heads),
            slow_bodies: of(&self.slow_bodies),
            slow_readers: of(&self.slow_readers),
            large_heads: of(&self.large_heads),
            malformed: of(&self.malformed),
        }
    }

    /// The counts, if there are more than were told last and some time went by since.
    pub fn report(&self) -> Option<DropCounts> {
        let counts = self.counts();
        let mut told = self.told.lock().ok()?;
        if counts == told.0 || told.1.is_some_and(|at| at.elapsed() < DROPS_EVERY) {
            return None;
        }
        *told = (counts, Some(Instant::now()));
        Some(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_once_and_not_too_often() {
        let drops = Drops::default();
        assert_eq!(drops.report(), None, "nothing to tell");
        drops.refused(Full::Address);
        drops.count(&ProxyError::HeadSlow);
        drops.count(&ProxyError::ClientGone);
        assert_eq!(drops.report(), Some(DropCounts { address_full: 1, slow_heads: 1, ..DropCounts::default() }));
        drops.refused(Full::All);
        assert_eq!(drops.report(), None, "too soon");
        std::thread::sleep(DROPS_EVERY);
        assert_eq!(drops.report().map(|c| c.all_full), Some(1));
        assert_eq!(drops.report(), None);
    }

    #[test]
    fn each_reason_has_its_own_count() {
        use super::super::h1::body::BodyError;
        let drops = Drops::default();
        for (times, error) in (1..).zip([
            ProxyError::HeadSlow,
            ProxyError::ClientSlow,
            ProxyError::ReaderSlow,
            ProxyError::BadRequest(HeadError::TooLarge),
            ProxyError::BadRequest(HeadError::Method),
            ProxyError::BadBody(BodyError::Truncated),
            ProxyError::ClientGone,
        ]) {
            (0..times).for_each(|_| drops.count(&error));
        }
        drops.refused(Full::All);
        let counts = drops.counts();
        let slow = (counts.slow_heads, counts.slow_bodies, counts.slow_readers);
        assert_eq!((slow, counts.large_heads, counts.malformed), ((1, 2, 3), 4, 5 + 6));
        assert_eq!((counts.all_full, counts.address_full), (1, 0));
    }
}
