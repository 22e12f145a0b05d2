//! Background work: named tasks that run at most once at a time under their name, are counted, and are waited for at shutdown.
//!
//! Owns: the only detached spawns of the daemon. Uses: tokio. Never: knows what the work is.
//! Invariant: a task that panics is logged with its name and its name is free again.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

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
            if let Err(e) = tokio::spawn(work).await {
                tracing::error!(task = label, "background work ended badly: {e}");
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
