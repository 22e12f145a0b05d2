//! Old instances finish their work and go: drain at the proxy, stop signal, container away. One task per instance; any may be repeated.

use std::sync::Arc;
use std::time::Duration;

use crate::base::crash::{self, Point};
use crate::deploys::error::StepError;
use crate::deploys::tries::again;
use crate::deploys::world::World;
use crate::model::app::App;
use crate::model::instance::{Instance, Wanted};
use crate::names::{DeployId, InstanceId};

/// How many older generations may still be finishing while a new one goes live.
const GENERATIONS: usize = 2;
/// Between looks at what is to end.
const LOOK: Duration = Duration::from_millis(100);
/// Over the proxy's own budgets, for a proxy that died while it drained.
pub(super) const DRAIN_SLACK: Duration = Duration::from_secs(15);

/// Starts the retirement of every instance of the app that is to go.
pub(super) async fn retire(world: &Arc<World>, app: &App) {
    let Some(rows) = world.instances_read(app).await else { return };
    for row in rows.into_iter().filter(|i| matches!(i.wanted, Wanted::Retiring | Wanted::Gone)) {
        let (task, id) = (Arc::clone(world), row.id);
        world.crew.start_once(&format!("retiring {id}"), async move {
            let mut pause = again();
            while let Err(e) = task.retire_now(&row).await {
                match e {
                    // Who watches Docker tells of it. When it is back nobody waits out a long pause: a `stop-start` may wait for this.
                    StepError::EngineAway(_) => pause.reset(),
                    e => tracing::warn!(app = %row.app, instance = %row.id, "retiring {}: {e:?}; it is tried again", row.label()),
                }
                if *task.crew.stopping().borrow() {
                    return;
                }
                tokio::time::sleep(pause.pause()).await;
            }
        });
    }
}

/// Waits until the rows of `ids` are gone, at most a minute.
pub(super) async fn wait_gone(world: &World, ids: &[InstanceId]) {
    for _ in 0..600 {
        let mut left = false;
        for id in ids {
            left |= matches!(world.store.instance(*id).await, Ok(Some(_)));
        }
        if !left {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl World {
    /// One try.
    async fn retire_now(self: &Arc<Self>, row: &Instance) -> Result<(), StepError> {
        self.wait_for_room().await;
        // Read anew for each try: an app that is destroyed meanwhile does not wait for a drain.
        let Some(row) = self.store.instance(row.id).await? else { return Ok(()) };
        self.retire_one(&row).await?;
        // An image that a container used could not go before.
        self.prune_after(&row).await;
        Ok(())
    }

    async fn retire_one(self: &Arc<Self>, row: &Instance) -> Result<(), StepError> {
        if row.wanted == Wanted::Retiring {
            let release = self.store.release(row.app_id, row.release).await?;
            if row.takes_requests() {
                self.drain(row, release.manifest.deploy.drain, release.manifest.deploy.drain_streams).await;
                crash::point(Point::Drained);
            }
            let (signal, limit) = release.stop_rule(&row.process);
            self.instances.term(row, &signal, limit);
            crash::point(Point::OldTermed);
            self.instances.stop(row, &signal, limit).await?;
            // Before the row goes: a crash from here on neither loses the counts nor adds them twice.
            self.count_in(row).await;
            crash::point(Point::OldEnded);
        }
        self.instances.remove(row).await?;
        crash::point(Point::OldRemoved);
        self.publisher.proxies.forget(row.id);
        Ok(())
    }

    /// Until each of `ids` is gone or known not to run; nothing starts one again that is to go. False: the daemon stops, or the app goes.
    pub(super) async fn wait_stopped(&self, app: &App, ids: &[InstanceId]) -> bool {
        let stopping = self.crew.stopping();
        for id in ids {
            while !self.is_stopped(*id).await {
                let goes = self.store.app_by_id(app.id).await.is_ok_and(|app| app.destroying);
                if goes || *stopping.borrow() {
                    return false;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        true
    }

    async fn is_stopped(&self, id: InstanceId) -> bool {
        match self.store.instance(id).await {
            Ok(None) => true,
            // It may be stopped and not to be removed.
            Ok(Some(row)) => self.instances.state(&row).await.is_ok_and(|found| found.is_none_or(|c| !c.running)),
            Err(_) => false,
        }
    }

    /// Once the last of what was leaving is gone.
    async fn prune_after(self: &Arc<Self>, row: &Instance) {
        let rows = self.store.instances_of(row.app_id).await.unwrap_or_default();
        let leaving = rows.iter().any(|i| matches!(i.wanted, Wanted::Retiring | Wanted::Gone));
        if !leaving
            && let Ok(app) = self.store.app_by_id(row.app_id).await
            && !app.destroying
        {
            self.prune(&app).await;
        }
    }

    /// Until the proxies say that nothing is in flight, or the budgets (which they keep) must be over.
    async fn drain(&self, row: &Instance, requests: Duration, streams: Duration) {
        let limit = requests.max(streams) + DRAIN_SLACK;
        let gone = async {
            while !matches!(self.store.instance(row.id).await, Ok(Some(now)) if now.wanted == Wanted::Gone) {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::select! {
            ended = self.publisher.proxies.drained(row.id, limit) => {
                if !ended {
                    tracing::warn!(app = %row.app, instance = %row.id, "no proxy reported the end of the drain of {}", row.label());
                }
            }
            () = gone => {}
        }
    }

    /// With two generations still finishing, the streams of the oldest get no more time, and the new one waits. What is counted has finished,
    /// also if its container can't be removed.
    pub(super) async fn too_many_generations(&self, rows: &[Instance]) -> Result<bool, StepError> {
        let mut generations: Vec<DeployId> = rows
            .iter()
            .filter(|i| i.wanted == Wanted::Retiring && i.takes_requests() && !i.counted)
            .filter_map(|i| i.retired_by)
            .collect();
        generations.sort_unstable();
        generations.dedup();
        if generations.len() < GENERATIONS {
            return Ok(false);
        }
        let oldest = generations[0];
        let cut: Vec<InstanceId> = rows.iter().filter(|i| i.retired_by == Some(oldest) && !i.cut_streams).map(|i| i.id).collect();
        if !cut.is_empty() {
            self.store.instances_cut_streams(&cut).await?;
            self.publisher.publish().await?;
        }
        Ok(true)
    }
}
