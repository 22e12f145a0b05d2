//! Watches Docker for as long as the daemon runs: does it answer, and what does it tell of our objects?

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::deploys::world::World;
use crate::docker::{Events, Health};
use crate::names::AppName;

/// Between signs of life that are asked of an engine that answers.
const PULSE: Duration = Duration::from_secs(2);
/// Between tries while it does not: apps are to be back soon after it is.
const AWAY_PAUSE: Duration = Duration::from_millis(100);
/// Between looks at everything when nothing was announced.
const LOOK: Duration = Duration::from_secs(15);
/// Between looks at the room of the store.
const ROOM: Duration = Duration::from_secs(1);
/// How often an engine that stays away is complained about.
const REMIND: Duration = Duration::from_secs(60);

impl World {
    /// Until the daemon stops. Whatever fails while Docker is away is done when it is back, without anybody's hand.
    pub async fn watch_docker(self: Arc<Self>) {
        let mut stopping = self.crew.stopping();
        tokio::select! {
            () = self.watch_for_ever() => {}
            _ = stopping.changed() => {}
        }
    }

    async fn watch_for_ever(self: &Arc<Self>) {
        loop {
            self.wait_for_docker().await;
            // Subscribed before the look at everything: what happens in between is told.
            let events = self.docker.events().await;
            self.put_right(None, true).await;
            let world = Arc::clone(self);
            self.crew.start_once("removing what was left in Docker", async move { world.drop_orphans().await });
            if let Ok(events) = events {
                self.follow(events).await;
            }
        }
    }

    /// Until it answers. Tells when it does not, now and then again, and when it does.
    async fn wait_for_docker(&self) {
        let (before, mut now) = self.docker.ping().await;
        let mut told: Option<Instant> = None;
        let mut was_bad = before.is_bad();
        while let Some(complaint) = now.complaint() {
            was_bad = true;
            if told.is_none_or(|at| at.elapsed() > REMIND) {
                tracing::error!("{complaint}. What runs is served on; deploys wait. Start it with `systemctl start docker`");
                told = Some(Instant::now());
            }
            tokio::time::sleep(AWAY_PAUSE).await;
            now = self.docker.ping().await.1;
        }
        if was_bad {
            tracing::warn!("Docker answers again: everything that should run is looked at");
        }
    }

    /// Until the engine closes its events, or gives no sign of life.
    async fn follow(self: &Arc<Self>, mut events: Events) {
        // One for the whole time: a ping that hangs is not begun anew with every other event.
        let beat = self.beat();
        tokio::pin!(beat);
        let mut look = tokio::time::interval(LOOK);
        look.reset();
        let mut room = tokio::time::interval(ROOM);
        let mut was_full = !self.disk.store_has_room();
        loop {
            tokio::select! {
                touched = events.next() => {
                    let Some(touched) = touched else { return };
                    tracing::debug!(app = touched.app, "Docker tells: {}", touched.what);
                    if let Ok(app) = AppName::parse(&touched.app) {
                        self.put_right(Some(&app), false).await;
                    }
                }
                _ = look.tick() => {
                    self.put_right(None, false).await;
                    let world = Arc::clone(self);
                    self.crew.start_once("removing what was left in Docker", async move { world.drop_orphans().await });
                }
                _ = room.tick() => {
                    let full = !self.disk.store_has_room();
                    if was_full && !full {
                        tracing::warn!("the disk has room again: what waited for it is done");
                        self.put_right(None, false).await;
                        self.publish_if_dirty().await;
                    }
                    was_full = full;
                }
                () = &mut beat => return,
            }
        }
    }

    /// Ends when a sign of life was asked for and did not come.
    async fn beat(&self) {
        let mut pulse = tokio::time::interval(PULSE);
        loop {
            pulse.tick().await;
            if !matches!(self.docker.ping().await.1, Health::Answers) {
                return;
            }
        }
    }

    /// Routes that could not be published are tried again, and they are made anew when a certificate has ended. No Docker is needed for it.
    pub async fn publish_if_dirty(&self) {
        if let Err(e) = self.publisher.publish_if_dirty().await {
            tracing::error!("publishing the routes: {e}");
        }
    }
}
