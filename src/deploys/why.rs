//! Gathers what is known of an app for `model/why.rs`, which makes a story of it.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::UnixMillis;
use crate::deploys::world::World;
use crate::logs::Query;
use crate::model::app::App;
use crate::model::deploy::{Deploy, State};
use crate::model::end::KEPT;
use crate::model::instance::{Instance, Wanted};
use crate::model::release::{Release, Status};
use crate::model::why::{self, Facts, Phase, Standing, Story};
use crate::names::ReleaseNumber;
use crate::store::StoreError;
use crate::wire::init;

/// Lines that the log dropped are spoken of for so long.
const DROPPED_LATELY: Duration = Duration::from_secs(120);
/// Of the newest deploys one is told of.
const DEPLOYS_LOOKED_AT: u32 = 20;
/// An app that logs too much writes a marker every second; its newest lines hold one.
const LINES_LOOKED_AT: usize = 2000;

impl World {
    /// Why the app is as it is. Cancel-safe: yes, reads only.
    pub async fn why(&self, app: &App) -> Result<Story, StoreError> {
        let releases = self.store.releases(app.id, 200).await?;
        let live = app.live.and_then(|n| releases.iter().find(|r| r.number == n));
        let before = live.and_then(|l| releases.iter().find(|r| r.number < l.number && r.status == Status::Retired));
        // Before anything is live, a change of settings may end as cancelled after a deploy that failed: the failure is the story.
        let tells = |d: &Deploy| app.live.is_some() || d.state != State::Cancelled;
        let deploy = self.store.deploys(app.id, DEPLOYS_LOOKED_AT).await?.into_iter().find(tells);
        let ends = self.store.ends(app.id, KEPT).await?;
        let mut instances = Vec::new();
        for row in self.store.instances_of(app.id).await?.iter().filter(|i| i.wanted == Wanted::Live) {
            instances.push(self.standing(row, live).await);
        }
        let now = UnixMillis::now();
        let facts = Facts {
            app: &app.name,
            now,
            live,
            before,
            instances: &instances,
            ends: &ends,
            deploy: deploy.as_ref(),
            changed: self.changed(app, &releases, live, before, deploy.as_ref(), now).await?,
            dropped: self.dropped(app, now).await,
            crash_files: self.store.crash_files(app.id).await?.len(),
        };
        let story = why::explain(facts);
        let paused = self.store.maintenance(app.id).await?;
        Ok(paused.iter().fold(story, |story, paused| why::in_maintenance(story, &app.name, paused)))
    }

    async fn standing(&self, row: &Instance, release: Option<&Release>) -> Standing {
        let state = self.instances.links.state(row.id);
        let vitals = self.instances.vitals.of(row.id);
        let usage = self.instances.usage(row).await;
        let process = release.and_then(|r| r.processes().into_iter().find(|p| p.name == row.process));
        let phase = match state.as_ref().filter(|s| s.connected).map(|s| s.phase) {
            _ if self.publisher.is_suspended(row.id) => Phase::Restarting,
            Some(init::Phase::Running { .. }) => Phase::Running,
            Some(init::Phase::BackingOff) => Phase::BackingOff,
            Some(init::Phase::Gated | init::Phase::Stopping | init::Phase::Ended) | None => Phase::Away,
        };
        let end = state.as_ref().and_then(|s| s.last_end.as_ref());
        let ended_at = end.and_then(|e| e.at_ms).map(UnixMillis);
        let pause = end.and_then(|e| e.will_restart_in_ms).and_then(|ms| i64::try_from(ms).ok());
        let disk_limit = process.and_then(|p| p.spec.disk).unwrap_or(self.config.limits.disk);
        Standing {
            label: row.label(),
            takes_requests: row.takes_requests(),
            standing: phase,
            restarts: state.as_ref().map_or(0, |s| s.restarts),
            in_a_row: end.map_or(0, |e| e.in_a_row),
            ended_at,
            next_try: ended_at.zip(pause).map(|(at, ms)| UnixMillis(at.0 + ms)),
            pids: usage.and_then(|u| Some((u.pids, u.pids_limit?))),
            disk: vitals.layer.map(|bytes| (bytes, disk_limit)),
            unanswered: vitals.unanswered,
            stuck: vitals.stuck.map(|stuck| (stuck.why, stuck.next)),
        }
    }

    /// What differs from when it last worked: a failed deploy's release from the live one, else the live one from the one before.
    async fn changed(
        &self,
        app: &App,
        releases: &[Release],
        live: Option<&Release>,
        before: Option<&Release>,
        deploy: Option<&Deploy>,
        now: UnixMillis,
    ) -> Result<Vec<String>, StoreError> {
        let failed = deploy.filter(|d| d.state == State::Failed);
        let made = failed.and_then(|d| d.release).and_then(|n| releases.iter().find(|r| r.number == n));
        let (old, new) = match (failed, made, live) {
            (Some(_), Some(made), Some(live)) if made.number != live.number => (live, made),
            // It failed before there was a release: its commit is all that is known.
            (Some(failed), _, Some(live)) => {
                let commit = failed.commit.as_ref().filter(|c| live.commit.as_ref() != Some(c));
                return Ok(commit.map(|c| format!("commit {} ({})", c.short(), failed.origin.describe())).into_iter().collect());
            }
            _ => match (before, live) {
                (Some(before), Some(live)) => (before, live),
                _ => return Ok(Vec::new()),
            },
        };
        let mut lines = Vec::new();
        if failed.is_none() {
            let age = Duration::from_secs(now.since(new.created_at).as_secs());
            lines.push(format!("{} was made {} ago ({})", new.number, humantime::format_duration(age), new.description));
        }
        let config_of = |number: ReleaseNumber| self.store.release_config(app.id, number);
        let (old_config, new_config) = (config_of(old.number).await?, config_of(new.number).await?);
        lines.extend(why::changes((old, &old_config), (new, &new_config), self.config.limits.memory));
        Ok(lines)
    }

    async fn dropped(&self, app: &App, now: UnixMillis) -> Option<String> {
        let millis = i64::try_from(DROPPED_LATELY.as_millis()).unwrap_or(0);
        let since = Some(UnixMillis(now.0 - millis));
        let query = Query { num: Some(LINES_LOOKED_AT), since, ..Query::of(app.name.clone()) };
        let logs = Arc::clone(&self.logs);
        let page = tokio::task::spawn_blocking(move || logs.query(&query, None)).await.ok()?.ok()?;
        let marker = page.lines.into_iter().rev().find(|l| l.notice && l.text.contains("dropped:"))?;
        Some(marker.text)
    }
}
