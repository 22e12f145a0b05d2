//! What was measured of the instances lately. Lost with the daemon, and measured again by the next.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::names::InstanceId;

/// Of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    /// Bytes of its writable layer.
    pub layer: Option<u64>,
    /// So many liveness checks in a row had no good answer; the last one's reason.
    pub unanswered: Option<(u32, String)>,
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

    pub fn forget(&self, instance: InstanceId) {
        self.lock().remove(&instance);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Measured>> {
        self.by_instance.lock().expect("no code panics while it holds the measured figures")
    }
}
