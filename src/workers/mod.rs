//! Background work: named tasks that run at most once at a time under their name, are counted, and are waited for at shutdown.
//!
//! Owns: the only detached spawns of the daemon. Uses: tokio. Never: knows what the work is.
//! Invariant: a task that panics is logged with its name and its name is free again.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

/// The running tasks by name. Cheap to clone.
#[derive(Clone)]
pub struct Crew {
    running: Arc<Mutex<BTreeMap<String, JoinHandle<()>>>>,
    stop: watch::Sender<bool>,
}

impl Default for Crew {
    fn default() -> Self {
        Self { running: Arc::default(), stop: watch::channel(false).0 }
    }
}

impl Crew {
    /// Starts `work` under `name` unless a task of that name runs. True if it was started.
    pub fn start_once(&self, name: &str, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut running = self.running.lock().expect("no code panics while it holds the lock of the crew");
        running.retain(|_, task| !task.is_finished());
        if running.contains_key(name) || *self.stop.borrow() {
            return false;
        }
        let label = name.to_owned();
        let task = tokio::spawn(async move {
            // The inner task keeps a panic from being lost; it is awaited at once.
            match tokio::spawn(work).await {
                Err(e) if is_trouble(&e) => tracing::error!(task = label, "background work ended badly: {e}"),
                Err(_) => tracing::debug!(task = label, "the daemon stops and leaves this work where it is"),
                Ok(()) => {}
            }
        });
        running.insert(name.to_owned(), task);
        true
    }

    /// Does a task of this name run?
    pub fn runs(&self, name: &str) -> bool {
        let running = self.running.lock().expect("no code panics while it holds the lock of the crew");
        running.get(name).is_some_and(|task| !task.is_finished())
    }

    /// Becomes true when the daemon stops: work looks at it in its waits, never in the middle of an effect.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Asks every task to end and waits for those that do within `limit`; gives the names of the others.
    pub async fn shut_down(&self, limit: Duration) -> Vec<String> {
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut *self.running.lock().expect("no code panics while it holds the lock of the crew"));
        let deadline = tokio::time::Instant::now() + limit;
        let mut late = Vec::new();
        for (name, task) in tasks {
            if tokio::time::timeout_at(deadline, task).await.is_err() {
                late.push(name);
            }
        }
        late
    }
}

/// Nobody cancels work while the daemon runs: only the end of the runtime does, and what was not waited for goes on at the next start.
fn is_trouble(error: &JoinError) -> bool {
    !error.is_cancelled()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_a_stop_cuts_off_is_no_error_and_a_panic_is_one() {
        let cut_off = tokio::spawn(std::future::pending::<()>());
        cut_off.abort();
        assert!(!is_trouble(&cut_off.await.expect_err("it was cut off")));
        let panicked = tokio::spawn(async { panic!("a defect") });
        assert!(is_trouble(&panicked.await.expect_err("it panicked")));
    }
}
