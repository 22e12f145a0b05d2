//! Instances that hang: asked by their liveness check, drained and restarted where they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::clock::UnixMillis;
use crate::deploys::error::StepError;
use crate::deploys::world::World;
use crate::instances::ends::end_of;
use crate::instances::probe::Verdict;
use crate::manifest::{HealthSpec, LivenessSpec};
use crate::model::end::{Cause, End, Told};
use crate::model::instance::{Instance, Wanted};
use crate::model::release::Release;
use crate::names::InstanceId;
use crate::routes::table::SUSPEND_DRAIN;
use crate::wire::init::Phase;

/// Between looks for instances that are to be watched.
const LOOK: Duration = Duration::from_secs(2);
/// Over the proxy's own budget, for a proxy that does not answer.
const DRAIN_SLACK: Duration = Duration::from_secs(2);
/// From the end of the app to its init's next start, beside the pause of a crash loop.
const START_SLACK: Duration = Duration::from_secs(40);

impl World {
    /// Watches every live instance whose manifest has a liveness check, each in a task of its own. Ends when the daemon stops.
    pub async fn watch_liveness(self: Arc<Self>) {
        let mut stopping = self.crew.stopping();
        let mut releases: BTreeMap<(i64, i64), Option<Release>> = BTreeMap::new();
        while !*stopping.borrow() {
            let rows = self.store.instances().await.unwrap_or_default();
            let mut used = Vec::new();
            for row in rows.into_iter().filter(|i| i.wanted == Wanted::Live) {
                let key = (row.app_id, row.release.0);
                used.push(key);
                if let std::collections::btree_map::Entry::Vacant(place) = releases.entry(key) {
                    place.insert(self.store.release(row.app_id, row.release).await.ok());
                }
                let release = releases.get(&key).and_then(Option::as_ref);
                let process = release.and_then(|r| r.processes().into_iter().find(|p| p.name == row.process));
                let Some((liveness, health)) = process.and_then(|p| Some((p.spec.liveness?, p.spec.health))) else { continue };
                let world = Arc::clone(&self);
                self.crew.start_once(&format!("liveness of {}", row.id), async move {
                    world.watch_one(row.id, &liveness, &health).await;
                });
            }
            releases.retain(|key, release| used.contains(key) && release.is_some());
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stopping.changed() => {}
            }
        }
    }

    /// Until the instance is no longer live.
    async fn watch_one(self: &Arc<Self>, id: InstanceId, liveness: &LivenessSpec, health: &HealthSpec) {
        let mut stopping = self.crew.stopping();
        let mut seen = Seen::default();
        loop {
            tokio::select! {
                () = tokio::time::sleep(liveness.interval) => {}
                _ = stopping.wait_for(|stop| *stop) => return,
            }
            let Ok(Some(row)) = self.store.instance(id).await else { return };
            let Ok(app) = self.store.app_by_id(row.app_id).await else { return };
            if row.wanted != Wanted::Live || app.destroying {
                return;
            }
            let state = self.instances.links.state(id).filter(|s| s.connected);
            let Some(Phase::Running { pid }) = state.map(|s| s.phase) else {
                seen = Seen::default();
                continue;
            };
            seen.run(pid);
            let verdict = self.instances.ask(&row, &liveness.check, liveness.timeout, &self.own_host(&app)).await;
            let why = match verdict {
                Verdict::Healthy => None,
                Verdict::NotYet { why } | Verdict::Ended { why, .. } => Some(why),
            };
            let failures = seen.take(why.is_some(), health.grace);
            self.instances.vitals.change(id, |v| v.unanswered = why.clone().filter(|_| failures > 0).map(|why| (failures, why)));
            if let Some(why) = why.filter(|_| failures >= liveness.failures) {
                let why = format!("{failures} liveness checks in a row failed: {why}");
                let told = Told { reason: Some(why), ..Told::of(Cause::Hung) };
                if let Err(e) = self.restart_in_place(&row, told, health).await {
                    tracing::error!(app = %row.app, instance = %row.id, "restarting {}: {e:?}", row.label());
                }
                seen = Seen::default();
                self.instances.vitals.change(id, |v| v.unanswered = None);
            }
        }
    }

    /// No new requests, the old ones finish, the app ends and starts again, and requests come when it is healthy. A disk that is full needs
    /// a new container; one that hangs keeps its own.
    pub(super) async fn restart_in_place(
        self: &Arc<Self>,
        row: &Instance,
        told: Told,
        health: &HealthSpec,
    ) -> Result<(), StepError> {
        tracing::warn!(app = %row.app, instance = %row.id, "{} is restarted: {}", row.label(), told.reason.as_deref().unwrap_or("unwell"));
        self.publisher.suspend(row.id);
        let done = self.drain_and_restart(row, told).await;
        if done.is_ok() && row.takes_requests() {
            self.wait_for_answer(row, health).await;
        }
        // Whatever came of it: from here on it is looked after like any other.
        self.publisher.resume(row.id);
        if row.takes_requests() {
            self.publisher.publish().await?;
        }
        done
    }

    async fn drain_and_restart(self: &Arc<Self>, row: &Instance, told: Told) -> Result<(), StepError> {
        if row.takes_requests() {
            self.publisher.publish().await?;
            self.publisher.proxies.drained(row.id, SUSPEND_DRAIN + DRAIN_SLACK).await;
        }
        let release = self.store.release(row.app_id, row.release).await?;
        let (signal, limit) = release.stop_rule(&row.process);
        let before = self.instances.links.state(row.id).map_or(0, |s| s.restarts);
        let why = told.reason.clone().unwrap_or_default();
        if told.cause == Cause::Hung && self.instances.restart(row, &signal, limit, &why) {
            // Init tells the end, and `record_ends` keeps it.
            let restarted = self.instances.links.wait(row.id, |s| s.restarts > before, limit + START_SLACK).await;
            return restarted.map(drop).map_err(|e| StepError::new(&e.to_string(), "paas ps"));
        }
        let cause = told.cause;
        let told = Told { last_lines: self.last_lines(row).await, ..told };
        self.keep_end(row, end_of(row, UnixMillis::now(), told)).await;
        self.instances.stop(row, &signal, limit).await?;
        if cause == Cause::Disk {
            self.instances.drop_container(row).await?;
        }
        let app = self.store.app_by_id(row.app_id).await?;
        self.make_right(&app, row.id, false).await
    }

    pub(super) async fn keep_end(&self, row: &Instance, end: End) {
        if let Err(e) = self.instances.keep(row, &end).await {
            tracing::warn!(app = %row.app, instance = %row.id, "the end of {} could not be kept: {e}", row.label());
        }
    }

    async fn wait_for_answer(&self, row: &Instance, health: &HealthSpec) {
        let Ok(app) = self.store.app_by_id(row.app_id).await else { return };
        let host = self.own_host(&app);
        let asking = async {
            while self.instances.ask(row, &health.check, health.timeout, &host).await != Verdict::Healthy {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(health.grace, asking).await.is_err() {
            tracing::error!(app = %row.app, instance = %row.id, "{} was restarted, but is not healthy", row.label());
        }
    }
}

/// What the checks of one run have shown.
#[derive(Default)]
struct Seen {
    run: Option<(u32, Instant)>,
    proven: bool,
    failures: u32,
}

impl Seen {
    /// Another process is another run.
    fn run(&mut self, pid: u32) {
        if self.run.is_none_or(|(before, _)| before != pid) {
            *self = Seen { run: Some((pid, Instant::now())), ..Seen::default() };
        }
    }

    /// Gives the failures in a row. One that boots has not failed: only after its first good answer, or the boot's limit, do they count.
    fn take(&mut self, failed: bool, grace: Duration) -> u32 {
        let booted = self.proven || self.run.is_some_and(|(_, since)| since.elapsed() >= grace);
        match failed {
            false => (self.proven, self.failures) = (true, 0),
            true if booted => self.failures += 1,
            true => {}
        }
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_count_in_a_row_and_only_once_it_has_booted() {
        let mut seen = Seen::default();
        seen.run(7);
        let minute = Duration::from_secs(60);
        assert_eq!([seen.take(true, minute), seen.take(true, minute), seen.take(false, minute)], [0, 0, 0]);
        assert_eq!([seen.take(true, minute), seen.take(true, minute), seen.take(false, minute)], [1, 2, 0]);
        assert_eq!(seen.take(true, minute), 1);
        seen.run(8);
        assert_eq!(seen.take(true, minute), 0, "a new run boots first");
        assert_eq!(seen.take(true, Duration::ZERO), 1, "one that never answers is found when its boot must be over");
    }
}
