//! Waiting for something that must come true: polled quickly, with a limit that only a defect reaches.

use std::time::{Duration, Instant};

/// Asks `look` every 20 ms until it gives something; `None` after `limit`.
pub fn until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if started.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Like [`until`], but fails the test, naming `what` did not come.
#[track_caller]
pub fn eventually<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    match until(limit, look) {
        Some(found) => found,
        None => panic!("{what}: not within {limit:?}"),
    }
}
