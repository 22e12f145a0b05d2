//! What was measured of the instances lately. Lost with the daemon, and measured again by the next.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use crate::names::InstanceId;

/// Of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    /// Bytes of its writable layer.
    pub layer: Option<u64>,
    /// So many liveness checks in a row had no good answer; the last one's reason.
    pub unanswered: Option<(u32, String)>,
    /// It should run and can't be made to.
    pub stuck: Option<Stuck>,
}

/// Why an instance can't be made to run. It is tried again all the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    pub since: Instant,
    /// The newest try.
    pub last: Instant,
    pub why: String,
    /// What a person can do about it; empty if nothing is known.
    pub next: String,
}

#[derive(Default)]
pub struct Vitals {
    by_instance: Mutex<BTreeMap<InstanceId, Measured>>,
}

impl Vitals {
    pub fn of(&self, instance: InstanceId) -> Measured {
        self.lock().get(&instance).cloned().unwrap_or_default()
    }

    pub fn change(&self, instance: InstanceId, change: impl FnOnce(&mut Measured)) {
        change(self.lock().entry(instance).or_default());
    }

    /// The newest reason why it can't be made to run. None: it could be.
    pub fn stuck(&self, instance: InstanceId, told: Option<(String, String)>) {
        let mut all = self.lock();
        let Some((why, next)) = told else {
            if let Some(measured) = all.get_mut(&instance) {
                measured.stuck = None;
            }
            return;
        };
        let (measured, last) = (all.entry(instance).or_default(), Instant::now());
        let since = measured.stuck.as_ref().map_or(last, |before| before.since);
        measured.stuck = Some(Stuck { since, last, why, next });
    }

    pub fn forget(&self, instance: InstanceId) {
        self.lock().remove(&instance);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Measured>> {
        self.by_instance.lock().expect("no code panics while it holds the measured figures")
    }
}
