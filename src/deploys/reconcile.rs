//! What a start of the daemon puts right. (What Docker, the host or somebody's hand changes later: `watch.rs`, `put_right.rs`.)

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::deploys::driver;
use crate::deploys::world::World;
use crate::model::app::App;
use crate::model::instance::Wanted;

/// A file that was not written to for so long has no writer any more.
const QUIET: Duration = Duration::from_secs(10);

impl World {
    /// Everything that a start has to put right: routes, instances, half-done ends of deploys, drivers. Nothing of it waits for Docker to be
    /// there: what needs it is done as soon as it answers.
    pub async fn recover(self: &Arc<Self>) {
        let apps = self.store.apps().await.unwrap_or_default();
        let docker_answers = !self.docker.ping().await.1.is_bad();
        for app in &apps {
            let rows = self.store.instances_of(app.id).await.unwrap_or_default();
            for row in rows.iter().filter(|i| matches!(i.wanted, Wanted::Live | Wanted::Retiring | Wanted::Candidate)) {
                // The link must listen for whatever runs: an init that reconnects brings its state with it.
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
        self.drop_old_sources().await;
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
        for deploy in self.store.deploys_with_branch_to_move().await.unwrap_or_default() {
            self.after(&deploy).await;
        }
        for app in &apps {
            self.finish_ended_deploys(app).await;
            self.settle(app).await;
            if app.destroying {
                self.destroy_in_background(app);
            } else {
                driver::drive(self, app.id);
            }
        }
    }

    /// A deploy that ended left of the commit point may have left candidates, a hold, or a feed without its last event.
    async fn finish_ended_deploys(self: &Arc<Self>, app: &App) {
        let active: Vec<_> = self.store.deploys_active().await.unwrap_or_default().into_iter().map(|d| d.id).collect();
        for id in &active {
            let _ = self.feeds.resume(&app.name, *id);
        }
        let rows = self.store.instances_of(app.id).await.unwrap_or_default();
        let mut ended: Vec<_> =
            rows.iter().filter(|i| i.wanted == Wanted::Candidate && !active.contains(&i.deploy)).map(|i| i.deploy).collect();
        ended.extend(app.held_by.filter(|d| !active.contains(d)));
        ended.sort_unstable();
        ended.dedup();
        for id in ended {
            if let Ok(deploy) = self.store.deploy(id).await {
                self.after(&deploy).await;
            }
        }
    }

    /// The dialer outlives the daemon: ways into instances that were removed meanwhile are closed.
    async fn drop_unknown_targets(&self) {
        let known: Vec<_> = self.store.instances().await.unwrap_or_default().iter().map(|i| i.id).collect();
        if let Err(e) = self.instances.prune_targets(&known).await {
            tracing::warn!("asking the dialer for its targets: {e}");
        }
    }

    /// One-off containers that nobody waits for any more: once per daemon those of earlier ones, and whatever could not be removed since.
    pub(super) async fn drop_orphans(&self) {
        // Relaxed: only this task reads and writes it.
        if !self.looks.swept.load(Ordering::Relaxed) {
            match self.instances.remove_orphans(self.first_serial).await {
                Ok(()) => self.looks.swept.store(true, Ordering::Relaxed),
                Err(e) => tracing::warn!("removing one-off containers: {e:?}"),
            }
        }
        self.instances.remove_leftovers().await;
    }

    /// What a crash left in the middle of an upload or a build.
    async fn drop_old_sources(&self) {
        let needed: Vec<_> = self.store.deploys_active().await.unwrap_or_default().iter().map(|d| self.source_path(d)).collect();
        let Ok(entries) = std::fs::read_dir(self.config.builds_dir()) else { return };
        for path in entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| !needed.contains(p)) {
            // What is being written now belongs to an upload that began after this start.
            let quiet = path.metadata().and_then(|m| m.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|t| t > QUIET));
            if path.is_file()
                && quiet
                && let Err(e) = std::fs::remove_file(&path)
            {
                tracing::warn!("removing `{}`: {e}", path.display());
            }
        }
    }
}
