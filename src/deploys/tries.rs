//! Reads and writes without which something would stay half done: they are done as often as it takes.

use std::time::Duration;

use crate::base::backoff::Backoff;
use crate::deploys::world::World;
use crate::model::app::App;
use crate::model::instance::Instance;
use crate::store::StoreError;

/// Between looks at a disk that is full.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// Between tries: nobody else tries.
pub(super) fn again() -> Backoff {
    Backoff::new(Duration::from_millis(500), Duration::from_secs(30))
}

impl World {
    /// What `read` gives. None: it is not there, or the daemon stops. `what` is for the log. Cancel-safe: as `read` is.
    pub(super) async fn read<T, F>(&self, what: &str, read: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let stopping = self.crew.stopping();
        let mut pause = again();
        loop {
            match read().await {
                Ok(found) => return Some(found),
                Err(StoreError::NotFound(_)) => return None,
                Err(e) => tracing::error!("reading {what}: {e}; it is tried again"),
            }
            if *stopping.borrow() {
                return None;
            }
            tokio::time::sleep(pause.pause()).await;
        }
    }

    /// The rows of an app's instances. None: the daemon stops.
    pub(super) async fn instances_read(&self, app: &App) -> Option<Vec<Instance>> {
        self.read(&format!("the instances of {}", app.name), || self.store.instances_of(app.id)).await
    }

    /// Until the store can commit, or the daemon stops: a move that cannot be noted must not be made. Cancel-safe: yes.
    pub(super) async fn wait_for_room(&self) {
        let stopping = self.crew.stopping();
        while !self.disk.store_has_room() && !*stopping.borrow() {
            tokio::time::sleep(ROOM_PAUSE).await;
        }
    }

    /// Does a write without which something would stay half done: it waits for room as often as it finds none. Cancel-safe: as `write` is.
    pub(super) async fn with_room<F>(&self, write: impl Fn() -> F) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>>,
    {
        let stopping = self.crew.stopping();
        loop {
            self.wait_for_room().await;
            match write().await {
                Err(StoreError::NoRoom) if !*stopping.borrow() => {}
                done => return done,
            }
        }
    }
}
