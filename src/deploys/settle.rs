//! Right of the commit point: from the rows to what runs. Every function may be called at any time and again.

use std::sync::Arc;
use std::time::Duration;

use crate::base::crash::{self, Point};
use crate::deploys::error::StepError;
use crate::deploys::plan::Plan;
use crate::deploys::retire;
use crate::deploys::retire::DRAIN_SLACK;
use crate::deploys::world::World;
use crate::git::GitError;
use crate::instances::probe::Verdict;
use crate::logs::{Kind, Query, Source, Stream};
use crate::manifest::Switch;
use crate::model::app::App;
use crate::model::deploy::{Deploy, Origin, State};
use crate::model::instance::{Instance, Wanted};
use crate::model::release::Process;
use crate::names::{BranchName, CommitSha, InstanceId};
use crate::store::StoreError;

impl World {
    /// Brings the app to what its rows say: workers switch, old instances go. Called at the commit point and after a restart.
    pub(super) async fn settle(self: &Arc<Self>, app: &App) {
        if let Err(e) = self.switch_workers(app).await {
            tracing::warn!(app = %app.name, "switching the workers: {e:?}; it is tried again");
        }
        crash::point(Point::WorkersSwitched);
        retire::retire(self, app).await;
    }

    pub(super) async fn switch_workers(self: &Arc<Self>, app: &App) -> Result<(), StepError> {
        let Some(live) = app.live else { return Ok(()) };
        let release = self.store.release(app.id, live).await?;
        let rows = self.store.instances_of(app.id).await?;
        for process in release.processes() {
            let of = |wanted: Wanted| -> Vec<Instance> {
                rows.iter().filter(|i| i.process == process.name && i.wanted == wanted && !i.takes_requests()).cloned().collect()
            };
            self.switch(app, &process, of(Wanted::Live), of(Wanted::Retiring)).await?;
        }
        Ok(())
    }

    /// The old ones get their stop signal and the new ones open, in the order that the manifest asks for.
    async fn switch(
        self: &Arc<Self>,
        app: &App,
        process: &Process,
        new: Vec<Instance>,
        old: Vec<Instance>,
    ) -> Result<(), StepError> {
        let mut leaving = Vec::new();
        for row in old {
            // That of its own release: the new one's signal may mean something else to it, and its limit cut its work short.
            let rule = self.store.release(app.id, row.release).await?.stop_rule(&row.process);
            leaving.push((row, rule));
        }
        let open = |rows: &[Instance]| rows.iter().for_each(|row| self.instances.open(row));
        let term = || {
            for (row, (signal, limit)) in &leaving {
                self.instances.term(row, signal, *limit);
            }
        };
        match process.spec.switch {
            Switch::AfterTerm => {
                term();
                crash::point(Point::WorkersTold);
                open(&new);
            }
            Switch::Overlap => {
                open(&new);
                term();
            }
            Switch::Exclusive if leaving.is_empty() => open(&new),
            Switch::Exclusive if new.is_empty() => term(),
            Switch::Exclusive => {
                term();
                let (world, app) = (Arc::clone(self), app.clone());
                let name = format!("exclusive switch of {}", new.first().map_or(InstanceId(0), |i| i.id));
                self.crew.start_once(&name, async move {
                    for (row, (_, limit)) in &leaving {
                        // Docker tells of the end at once. One that is away tells nothing: that is no end.
                        world.instances.wait_ended(row, *limit + Duration::from_secs(5)).await;
                    }
                    let ids: Vec<InstanceId> = leaving.iter().map(|(row, _)| row.id).collect();
                    if world.wait_stopped(&app, &ids).await {
                        world.open_live(&new).await;
                    }
                });
            }
        }
        Ok(())
    }

    /// Opens those that are still to run. One that can't be read is opened by `put_right`.
    async fn open_live(&self, rows: &[Instance]) {
        for row in rows {
            if matches!(self.store.instance(row.id).await, Ok(Some(now)) if now.wanted == Wanted::Live) {
                self.instances.open(row);
            }
        }
    }

    /// `strategy = "stop-start"`: requests are held, the old instances finish and stop. They are kept and come back if the deploy fails.
    pub(super) async fn make_room(&self, deploy: &Deploy, app: &App, plan: &Plan) -> Result<(), StepError> {
        if plan.retire.is_empty() {
            return Ok(());
        }
        let rows = self.store.instances_of(app.id).await?;
        let old: Vec<&Instance> = rows.iter().filter(|i| plan.retire.contains(&i.id)).collect();
        // Before the hold closes them.
        self.note_counts(&plan.retire);
        if old.iter().any(|i| i.takes_requests() && i.wanted == Wanted::Live) {
            self.store.app_hold(app.id, Some(deploy.id)).await?;
            self.publisher.publish().await?;
            crash::point(Point::HoldPublished);
        }
        for row in &old {
            let release = self.store.release(app.id, row.release).await?;
            let drain = release.manifest.deploy.drain + DRAIN_SLACK;
            let serves = row.wanted == Wanted::Live && row.takes_requests();
            if serves && !self.cancels.unless(deploy.id, self.publisher.proxies.drained(row.id, drain)).await? {
                tracing::warn!(app = %app.name, instance = %row.id, "requests were still in flight at the end of the drain budget");
            }
            // Before it stops, so that nobody who sees it stopped starts it again.
            self.store.instances_want(&[row.id], Wanted::Paused).await?;
            crash::point(Point::OldPaused);
            let (signal, limit) = release.stop_rule(&row.process);
            self.instances.stop(row, &signal, limit).await?;
        }
        crash::point(Point::OldStopped);
        Ok(())
    }

    /// Removes what a deploy made that ended left of the commit point, and lets what it paused serve again.
    /// False if something could not be done, which was logged.
    pub(super) async fn undo(self: &Arc<Self>, deploy: &Deploy, app: &App) -> bool {
        // A release command that a crash or a cancel left behind must not run on.
        if let Err(e) = self.instances.remove_one_off(&app.name, deploy.id).await {
            tracing::warn!(app = %app.name, deploy = %deploy.id, "removing the release command's container: {e}");
        }
        let Some(rows) = self.instances_read(app).await else { return false };
        self.forget_marks(&rows);
        // Those that an earlier try, before a restart, wanted gone among them: they may run still.
        let made: Vec<InstanceId> = rows
            .iter()
            .filter(|i| i.deploy == deploy.id && matches!(i.wanted, Wanted::Candidate | Wanted::Gone))
            .map(|i| i.id)
            .collect();
        let paused: Vec<InstanceId> = rows.iter().filter(|i| i.wanted == Wanted::Paused).map(|i| i.id).collect();
        if let Err(e) = self.with_room(|| self.store.instances_want(&made, Wanted::Gone)).await {
            tracing::error!(app = %app.name, deploy = %deploy.id, "undoing the deploy: {e}");
            return false;
        }
        crash::point(Point::CandidatesGiven);
        retire::retire(self, app).await;
        if !paused.is_empty() && !self.bring_back(app, &paused, &made).await {
            return false;
        }
        if app.held_by == Some(deploy.id) {
            if let Err(e) = self.with_room(|| self.store.app_hold(app.id, None)).await {
                tracing::error!(app = %app.name, "ending the hold: {e}");
                return false;
            }
            // One that fails is done again by `watch`.
            if let Err(e) = self.publisher.publish().await {
                tracing::error!(app = %app.name, "publishing after a failed deploy: {e}");
            }
            crash::point(Point::HoldEnded);
        }
        crash::point(Point::FailedRemoved);
        true
    }

    /// The old instances serve again, now that nothing of the deploy that paused them runs. False: not yet.
    async fn bring_back(self: &Arc<Self>, app: &App, paused: &[InstanceId], made: &[InstanceId]) -> bool {
        let Some(active) = self.read("the deploys under way", || self.store.deploys_active_of(app.id)).await else {
            return false;
        };
        // An earlier end may be done again by a start that finds a later deploy under way: what is paused then, that one has paused.
        if active.iter().any(|d| matches!(d.state, State::Starting | State::Probing | State::Shifting)) {
            return true;
        }
        // With stop-start no two run side by side, however long Docker is away: the old ones come back when it is known that no new one runs.
        if !self.wait_stopped(app, made).await {
            return false;
        }
        if let Err(e) = self.with_room(|| self.store.instances_want(paused, Wanted::Live)).await {
            tracing::error!(app = %app.name, "bringing the old instances back: {e}");
            return false;
        }
        crash::point(Point::PausedWanted);
        self.reconcile_app(app).await;
        self.wait_until_healthy(app).await;
        true
    }

    /// Until the live instances that take requests answer, or their boot has taken longer than it may: requests are held meanwhile.
    async fn wait_until_healthy(&self, app: &App) {
        let host = self.own_host(app);
        let rows = self.instances_read(app).await.unwrap_or_default();
        for row in rows.iter().filter(|i| i.wanted == Wanted::Live && i.takes_requests()) {
            let release = self.read("a release", || self.store.release(app.id, row.release)).await;
            let Some(release) = release else { continue };
            let Some(process) = release.processes().into_iter().find(|p| p.name == row.process) else { continue };
            let health = &process.spec.health;
            let asking = async {
                while self.instances.probe(row, health, &host).await != Verdict::Healthy {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            if tokio::time::timeout(health.grace, asking).await.is_err() {
                tracing::error!(app = %app.name, instance = %row.id, "{} came back, but is not healthy", row.label());
            }
        }
    }

    /// Tries again what could not be done at the end of deploys. For the app's driver: no deploy is under way beside it.
    pub(super) async fn finish_rest(self: &Arc<Self>, app_id: i64) {
        for deploy in self.store.deploys_to_end(app_id).await.unwrap_or_default() {
            let whole = match deploy.state {
                State::Live => self.move_branch(&deploy).await,
                State::Failed | State::Cancelled => match self.store.app_by_id(app_id).await {
                    Ok(app) => self.undo(&deploy, &app).await,
                    Err(_) => false,
                },
                // Who admitted the newer one is at the end of this one.
                State::Superseded
                | State::Queued
                | State::Building
                | State::Preparing
                | State::Starting
                | State::Probing
                | State::Shifting => false,
            };
            if whole && let Err(e) = self.store.deploy_ended(deploy.id).await {
                tracing::warn!(app = %deploy.app, deploy = %deploy.id, "noting the end: {e}");
            }
        }
    }

    /// Whether a newer push to this branch is live: the branch is that one's to move, and not back.
    async fn branch_has_passed(&self, deploy: &Deploy, branch: &BranchName) -> Result<bool, StoreError> {
        let same = |origin: &Origin| matches!(origin, Origin::Push { branch: of, .. } if of == branch);
        let all = self.store.deploys(deploy.app_id, u32::MAX).await?;
        Ok(all.iter().any(|newer| newer.id > deploy.id && newer.state == State::Live && same(&newer.origin)))
    }

    /// The branch of a push moves when its deploy is live, and only by us. False if it could not, which was logged.
    pub(super) async fn move_branch(&self, deploy: &Deploy) -> bool {
        // Once: it may have moved on since.
        if deploy.branch_moved {
            return true;
        }
        if let (Origin::Push { branch, old }, Some(commit)) = (&deploy.origin, &deploy.commit) {
            let moved = match self.branch_has_passed(deploy, branch).await {
                Ok(true) => Ok(()),
                Ok(false) => self.set_branch(deploy, branch, old.as_ref(), commit).await.map_err(|e| e.to_string()),
                Err(e) => Err(e.to_string()),
            };
            if let Err(e) = moved {
                // Not noted as moved: it is tried again, and the pin keeps the commit.
                tracing::error!(app = %deploy.app, deploy = %deploy.id, "moving branch {branch}: {e}; it is tried again");
                return false;
            }
            crash::point(Point::BranchSet);
            self.unpin(deploy).await;
        }
        if let Err(e) = self.store.deploy_branch_moved(deploy.id).await {
            tracing::error!(deploy = %deploy.id, "noting that the branch was moved: {e}");
        }
        crash::point(Point::BranchMoved);
        true
    }

    async fn set_branch(
        &self,
        deploy: &Deploy,
        branch: &BranchName,
        old: Option<&CommitSha>,
        commit: &CommitSha,
    ) -> Result<(), GitError> {
        match self.repos.move_branch(&deploy.app, branch, old, commit).await {
            // Two pushes started from the same commit; deploys are serial, so the one that is live now is the newer.
            Err(GitError::Moved { found, .. }) => self.repos.move_branch(&deploy.app, branch, found.as_ref(), commit).await,
            done => done,
        }
    }

    /// The commit of a deploy that is over is kept by its branch, or no longer.
    pub async fn unpin(&self, deploy: &Deploy) {
        if matches!(deploy.origin, Origin::Push { .. })
            && let Err(e) = self.repos.unpin(&deploy.app, deploy.id).await
        {
            tracing::warn!(app = %deploy.app, deploy = %deploy.id, "removing the pin: {e}");
        }
    }

    /// One line into the app's log, as process `deploy`.
    pub(super) fn deploy_log(&self, deploy: &Deploy, text: &str) {
        let kind = if deploy.state == State::Building { Kind::Build } else { Kind::Deploy };
        let source = Source::of_kind(deploy.app.clone(), kind);
        match self.logs.writer(&source) {
            Ok(writer) => writer.line(Stream::Stdout, text),
            Err(e) => tracing::warn!(app = %deploy.app, "the app's log cannot be written: {e}"),
        }
    }

    /// The newest lines of an instance, for a failure's message.
    pub(super) async fn last_lines(&self, row: &Instance) -> Vec<String> {
        let query = Query { num: Some(20), processes: vec![row.id.to_string()], ..Query::of(row.app.clone()) };
        let logs = Arc::clone(&self.logs);
        let read = tokio::task::spawn_blocking(move || logs.query(&query, None)).await;
        let lines = read.ok().and_then(Result::ok).map(|page| page.lines).unwrap_or_default();
        lines.into_iter().map(|line| line.text).collect()
    }
}
