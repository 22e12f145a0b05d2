//! Builds wait for each other: a fixed number runs, the others have a place in the order in which they came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::names::DeployId;

/// The queue of builds. An app has one deploy at a time in it, so none waits for more than one build of each other app.
pub struct BuildSlots {
    count: usize,
    state: Mutex<Slots>,
    /// Bumped at every change, so that those who wait look again.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Slots {
    running: usize,
    waiting: VecDeque<DeployId>,
}

/// The right to build, given back when dropped.
pub struct Slot(Arc<BuildSlots>);

/// A place in the queue, given up when dropped.
struct Ticket<'a>(&'a BuildSlots, DeployId);

impl BuildSlots {
    pub fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { count, state: Mutex::default(), changed: watch::channel(0).0 })
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    fn bump(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// Waits for a slot, first come, first served. `tell` gets the number of builds that wait before this one,
    /// whenever it changes; never, if a slot is free at once.
    /// Cancel-safe: yes, the place is given up.
    pub async fn take(self: &Arc<Self>, deploy: DeployId, mut tell: impl FnMut(usize)) -> Slot {
        let mut changes = self.changed.subscribe();
        self.lock().waiting.push_back(deploy);
        let _ticket = Ticket(self, deploy);
        let mut told = None;
        loop {
            changes.borrow_and_update();
            match self.try_take(deploy) {
                Ok(slot) => return slot,
                Err(ahead) if told != Some(ahead) => {
                    tell(ahead);
                    told = Some(ahead);
                }
                Err(_) => {}
            }
            // The sender lives in `self`, so this cannot fail.
            let _ = changes.changed().await;
        }
    }

    fn try_take(self: &Arc<Self>, deploy: DeployId) -> Result<Slot, usize> {
        let mut slots = self.lock();
        let ahead = slots.waiting.iter().position(|d| *d == deploy).unwrap_or(0);
        if ahead > 0 || slots.running >= self.count {
            return Err(ahead);
        }
        slots.waiting.pop_front();
        slots.running += 1;
        drop(slots);
        self.bump();
        Ok(Slot(Arc::clone(self)))
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting.retain(|d| *d != self.1);
        self.0.bump();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.bump();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn builds_go_in_the_order_in_which_they_came_and_one_that_gives_up_leaves_its_place() {
        let slots = BuildSlots::new(1);
        let first = slots.take(DeployId(1), |_| panic!("the first one waits")).await;
        let places = Arc::new(Mutex::new(Vec::new()));
        let wait = |n: i64| {
            let (slots, places) = (Arc::clone(&slots), Arc::clone(&places));
            async move { slots.take(DeployId(n), move |ahead| places.lock().expect("lock").push((n, ahead))).await }
        };
        let (mut second, mut third) = (Box::pin(wait(2)), Box::pin(wait(3)));
        for waiting in [&mut second, &mut third] {
            assert!(tokio::time::timeout(Duration::from_millis(20), waiting).await.is_err(), "only one builds");
        }
        drop(second);
        drop(first);
        let third = tokio::time::timeout(Duration::from_secs(5), third).await.expect("its turn comes");
        assert_eq!(*places.lock().expect("lock"), [(2, 0), (3, 1)]);
        drop(third);
        assert_eq!(slots.lock().running, 0);
    }
}
