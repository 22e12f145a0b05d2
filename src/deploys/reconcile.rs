//! What a start of the daemon puts right. (What Docker, the host or somebody's hand changes later: `watch.rs`, `put_right.rs`.)

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::deploys::driver;
use crate::deploys::world::World;
use crate::model::deploy::Deploy;
use crate::model::instance::Wanted;
use crate::store::StoreError;

/// The engine goes on with a creation whose caller was killed, and may list the container only when it is made: seconds on a busy disk.
const LATE_CREATION: Duration = Duration::from_secs(60);

impl World {
    /// Everything that a start has to put right: routes, instances, half-done ends of deploys, drivers. Nothing of it waits for Docker to be
    /// there: what needs it is done as soon as it answers.
    pub async fn recover(self: &Arc<Self>) {
        let Some(apps) = self.read("the apps", || self.store.apps()).await else { return };
        let docker_answers = !self.docker.ping().await.1.is_bad();
        for app in &apps {
            let rows = match self.store.instances_of(app.id).await {
                Ok(rows) => rows,
                // Not as if it had none: what runs would be taken for gone.
                Err(e) => {
                    tracing::error!(app = %app.name, "reading the instances: {e}");
                    continue;
                }
            };
            for row in rows.iter().filter(|i| i.wanted != Wanted::Gone) {
                // The link must listen for whatever runs: an init that reconnects brings its state with it, and hears what was asked of it
                // meanwhile (one that is paused may still have to be told to stop).
                if let Err(e) = self.instances.listen(row) {
                    tracing::warn!(app = %app.name, instance = %row.id, "listening for the init of {}: {e}", row.label());
                }
            }
            let known = rows.iter().map(|i| i.id).collect();
            if let Err(e) = self.logs.finish_gone(&app.name, &known) {
                tracing::warn!(app = %app.name, "finishing the logs of instances that are gone: {e}");
            }
        }
        self.drop_unknown_targets().await;
        if docker_answers {
            self.drop_orphans().await;
            // All of them before one app is waited for, those that serve first.
            self.put_right(None, true).await;
            // A proxy that came up with the host has no routes yet, and need not wait for the workers.
            if let Err(e) = self.publisher.publish().await {
                tracing::error!("publishing the routes: {e}");
            }
            for app in apps.iter().filter(|a| !a.destroying) {
                self.reconcile_app(app).await;
            }
        }
        if let Err(e) = self.publisher.publish().await {
            tracing::error!("publishing the routes: {e}");
        }
        self.recovered.set();
        for app in &apps {
            if app.destroying {
                self.destroy_in_background(app);
            } else {
                // It ends what a crash left open before it takes the next deploy; one app's slow end holds up no other app.
                driver::drive(self, app.id);
            }
        }
    }

    /// Ends lines that a crash may have cut in the feeds that go on, so that the next event is not lost with them.
    fn resume_feeds(&self, deploys: &[Deploy]) {
        for deploy in deploys {
            if let Err(e) = self.feeds.resume(&deploy.app, deploy.id) {
                tracing::warn!(app = %deploy.app, deploy = %deploy.id, "going on with the deploy's events: {e}");
            }
        }
    }

    /// The dialer outlives the daemon: ways into instances that were removed meanwhile are closed.
    async fn drop_unknown_targets(&self) {
        let known: Vec<_> = match self.store.instances().await {
            Ok(rows) => rows.iter().map(|i| i.id).collect(),
            // Nothing is closed by somebody who does not know what is there.
            Err(e) => return tracing::error!("reading the instances: {e}"),
        };
        if let Err(e) = self.instances.prune_targets(&known).await {
            tracing::warn!("asking the dialer for its targets: {e}");
        }
    }

    /// One-off containers that nobody waits for any more: those of earlier daemons, until none of them can still be in the making, and
    /// whatever could not be removed since.
    pub(super) async fn drop_orphans(&self) {
        // Relaxed: nothing else hangs on it.
        if !self.looks.swept.load(Ordering::Relaxed) {
            let last = Instant::now().duration_since(self.looks.began) > LATE_CREATION;
            match self.instances.remove_orphans(|number| self.gave(number)).await {
                Ok(()) => self.looks.swept.store(last, Ordering::Relaxed),
                Err(e) => tracing::warn!("removing one-off containers: {e:?}"),
            }
        }
        self.instances.remove_leftovers().await;
    }

    /// What a crash left of uploads and sources that no deploy waits for, locks in repositories, and events that it cut. To be called before
    /// anybody can upload or push: all that is there then is an earlier daemon's.
    pub async fn before_serving(&self) -> Result<(), StoreError> {
        self.repos.remove_leftovers();
        self.publisher.know().await?;
        for app in self.store.apps().await? {
            if let Err(e) = self.repos.drop_stale_locks(&app.name) {
                tracing::warn!(app = %app.name, "{e}");
            }
            // Their last event may be what was cut.
            match self.store.deploys_to_end(app.id).await {
                Ok(over) => self.resume_feeds(&over),
                Err(e) => tracing::warn!(app = %app.name, "reading which deploys have not ended: {e}"),
            }
        }
        let active = self.store.deploys_active().await?;
        self.resume_feeds(&active);
        let needed: Vec<_> = active.iter().map(|d| self.source_path(d)).collect();
        let Ok(entries) = std::fs::read_dir(self.config.builds_dir()) else { return Ok(()) };
        for path in entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| !needed.contains(p) && p.is_file()) {
            if let Err(e) = std::fs::remove_file(&path) {
                tracing::warn!("removing `{}`: {e}", path.display());
            }
        }
        Ok(())
    }
}
