//! What one proxy has to be told and has not taken yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::wire::proxy::{Snapshot, ToProxy};

enum Ask {
    Prepare(Arc<Snapshot>),
    Activate(u64),
}

/// Only what still matters: a proxy that takes nothing (it is frozen, say) makes it no longer than the current snapshot and the next one.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<VecDeque<Ask>>,
    news: Notify,
}

impl Outbox {
    pub fn prepare(&self, snapshot: &Arc<Snapshot>) {
        let mut waiting = self.waiting();
        // One that was to be judged and not to be acted by: whoever asked has given it up.
        if matches!(waiting.back(), Some(Ask::Prepare(_))) {
            waiting.pop_back();
        }
        waiting.push_back(Ask::Prepare(Arc::clone(snapshot)));
        self.news.notify_one();
    }

    /// Of a snapshot that was given to `prepare`, or that the proxy has prepared.
    pub fn activate(&self, version: u64) {
        let mut waiting = self.waiting();
        // What it should have acted by before this one it may leave out.
        waiting.retain(|ask| matches!(ask, Ask::Prepare(snapshot) if snapshot.version == version));
        waiting.push_back(Ask::Activate(version));
        self.news.notify_one();
    }

    /// The next message, which is then no longer here. Cancel-safe: yes. For one reader.
    pub async fn next(&self) -> ToProxy {
        loop {
            let next = self.waiting().pop_front();
            match next {
                Some(Ask::Prepare(snapshot)) => return ToProxy::Prepare(Snapshot::clone(&snapshot)),
                Some(Ask::Activate(version)) => return ToProxy::Activate { version },
                // One permit is kept, so that what comes in this moment is not slept over.
                None => self.news.notified().await,
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Ask>> {
        self.waiting.lock().expect("no code panics while it holds an outbox")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::proxy::Front;

    fn snapshot(version: u64) -> Arc<Snapshot> {
        let (routes, targets) = (Vec::new(), Vec::new());
        Arc::new(Snapshot { version, routes, targets, commit_header: false, front: Front::default() })
    }

    /// What waits: snapshots as they are, activations as negative numbers.
    fn waits(outbox: &Outbox) -> Vec<i64> {
        let number = |version: u64| i64::try_from(version).expect("a small number");
        let each = |ask: &Ask| match ask {
            Ask::Prepare(snapshot) => number(snapshot.version),
            Ask::Activate(version) => -number(*version),
        };
        outbox.waiting().iter().map(each).collect()
    }

    #[tokio::test]
    async fn a_proxy_that_takes_nothing_makes_it_no_longer_and_one_that_does_is_told_all() {
        let outbox = Outbox::default();
        for version in 1..100 {
            outbox.prepare(&snapshot(version));
            outbox.activate(version);
        }
        assert_eq!(waits(&outbox), [99, -99]);
        // What was given up between the two does not take the place of what is to be acted by.
        (100..200).for_each(|version| outbox.prepare(&snapshot(version)));
        assert_eq!(waits(&outbox), [99, -99, 199]);
        assert!(matches!(outbox.next().await, ToProxy::Prepare(taken) if taken.version == 99));
        // The one that it has by now is activated still.
        outbox.prepare(&snapshot(200));
        assert_eq!(waits(&outbox), [-99, 200]);
        outbox.activate(200);
        assert_eq!(waits(&outbox), [200, -200]);
        assert!(matches!(outbox.next().await, ToProxy::Prepare(taken) if taken.version == 200));
        assert_eq!(outbox.next().await, ToProxy::Activate { version: 200 });
    }
}
