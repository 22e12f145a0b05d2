//! From what the store says to what Docker runs: after a start of the daemon, of Docker, of the host, or when somebody meddled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::deploys::driver;
use crate::deploys::error::StepError;
use crate::deploys::world::World;
use crate::model::app::App;
use crate::model::instance::{Instance, Wanted};
use crate::names::ReleaseNumber;

/// Between looks when nothing was announced.
const POLL: Duration = Duration::from_secs(15);

/// A file that was not written to for so long has no writer any more.
const QUIET: Duration = Duration::from_secs(10);

impl World {
    /// Everything that a start has to put right: instances, routes, drivers, half-done ends of deploys.
    pub async fn recover(self: &Arc<Self>) {
        let apps = self.store.apps().await.unwrap_or_default();
        for app in &apps {
            self.reconcile_app(app).await;
            let rows = self.store.instances_of(app.id).await.unwrap_or_default();
            let known = rows.iter().map(|i| i.id).collect();
            if let Err(e) = self.logs.finish_gone(&app.name, &known) {
                tracing::warn!(app = %app.name, "finishing the logs of instances that are gone: {e}");
            }
        }
        self.drop_unknown_targets().await;
        self.drop_leftovers().await;
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

    /// What a crash left in the middle of an upload, a build or a `run`.
    async fn drop_leftovers(&self) {
        if let Err(e) = self.instances.remove_orphaned_runs().await {
            tracing::warn!("removing one-off containers: {e:?}");
        }
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

    /// Looks again and again, so that a container removed behind our back or a restarted Docker is put right within seconds.
    pub async fn watch(self: Arc<Self>) {
        let mut stopping = self.crew.stopping();
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = self.docker.something_died() => {}
                _ = stopping.changed() => return,
            }
            let mut changed = false;
            for app in self.store.apps().await.unwrap_or_default() {
                changed |= !app.destroying && self.reconcile_app(&app).await;
            }
            changed |= self.publisher.is_dirty();
            if changed && let Err(e) = self.publisher.publish().await {
                tracing::error!("publishing the routes: {e}");
            }
        }
    }

    /// Makes every instance that should run, run. True if something had to be done.
    pub(super) async fn reconcile_app(self: &Arc<Self>, app: &App) -> bool {
        let mut changed = false;
        let rows = match self.store.instances_of(app.id).await {
            Ok(rows) => rows,
            Err(e) => {
                tracing::error!(app = %app.name, "reading the instances: {e}");
                return false;
            }
        };
        for row in rows.iter().filter(|i| matches!(i.wanted, Wanted::Live | Wanted::Retiring | Wanted::Candidate)) {
            // Whoever restarts it puts it right.
            if self.publisher.is_suspended(row.id) {
                continue;
            }
            match self.reconcile_one(app, row).await {
                Ok(did) => changed |= did,
                Err(e) => tracing::warn!(app = %app.name, instance = %row.id, "{} cannot be put right yet: {e:?}", row.label()),
            }
        }
        changed
    }

    pub(super) async fn reconcile_one(self: &Arc<Self>, app: &App, row: &Instance) -> Result<bool, StepError> {
        // The link must listen for whatever runs: an init that reconnects brings its state with it.
        self.instances.listen(row)?;
        let state = self.instances.state(row).await?;
        let runs = state.as_ref().is_some_and(|c| c.running);
        if row.wanted != Wanted::Live {
            return Ok(false);
        }
        let reachable = match &state {
            Some(state) if state.running => self.instances.reachable(row, state).await,
            _ => false,
        };
        // What was read may be old by now: nothing is started or opened that is not wanted any more.
        if !matches!(self.store.instance(row.id).await?, Some(now) if now.wanted == Wanted::Live) {
            return Ok(false);
        }
        // A worker may have to wait for the end of its forerunner: opening it is the switch's business while there is one.
        let rows = self.store.instances_of(app.id).await?;
        let waits = !row.takes_requests()
            && rows.iter().any(|i| i.process == row.process && matches!(i.wanted, Wanted::Retiring | Wanted::Gone));
        if !waits {
            // First, as its init may connect at any moment: an earlier wish to stop must not meet it.
            self.instances.open_quietly(row);
        }
        if reachable {
            return Ok(false);
        }
        if !runs {
            let what = if state.is_some() { "does not run" } else { "is gone" };
            tracing::warn!(app = %app.name, instance = %row.id, "the container of {} {what}; it is started again", row.label());
            if let Err(e) = self.instances.keep_loss(row, state.as_ref()).await {
                tracing::warn!(app = %app.name, instance = %row.id, "the end of {} could not be kept: {e}", row.label());
            }
            self.start_again(app, row, row.release).await?;
        }
        if row.takes_requests() {
            self.instances.register(row).await?;
        }
        Ok(true)
    }

    async fn start_again(&self, app: &App, row: &Instance, number: ReleaseNumber) -> Result<(), StepError> {
        let release = self.store.release(app.id, number).await?;
        let config = self.store.release_config(app.id, number).await?;
        let image = self.instances.image(&release).await?;
        self.instances.network(app).await?;
        let processes: BTreeMap<_, _> = release.processes().into_iter().map(|p| (p.name.clone(), p)).collect();
        let Some(process) = processes.get(&row.process) else { return Ok(()) };
        self.instances.start_gated(app, &release, &config, process, row, &image).await?;
        Ok(())
    }
}
