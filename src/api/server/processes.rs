//! `/apps/{app}/ps`, `/scale`, `/restart`

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;

use super::Server;
use super::access::Who;
use super::events::nothing;
use super::fail::Fail;
use crate::api::error::ErrorCode;
use crate::api::types::processes::{Instance, InstanceState, Process, Ps, Restart, Scale};
use crate::base::clock::UnixMillis;
use crate::instances::link::InitState;
use crate::instances::usage::Usage;
use crate::manifest::CommandLine;
use crate::model;
use crate::model::access::Right;
use crate::model::deploy::Origin;
use crate::model::end;
use crate::model::instance::Wanted;
use crate::model::release::{Release, default_count};
use crate::names::{InstanceId, ProcessName};
use crate::wire::init::Phase;

/// Of one process type; above it somebody has mistyped.
const MOST_INSTANCES: u32 = 100;

/// What runs is shown without its figures where the engine takes longer to say which processes they are.
const USAGE_LIMIT: Duration = Duration::from_secs(2);

pub async fn ps(State(server): State<Server>, who: Who, path: Path<String>) -> Result<Json<Ps>, Fail> {
    let app = server.app(&who, Right::Deploy, path).await?;
    let store = &server.world.store;
    let rows = store.instances_of(app.id).await?;
    let scale = store.scale(app.id).await?;
    let live = match app.live {
        Some(number) => Some(store.release(app.id, number).await?),
        None => None,
    };
    let usage = server.usage(&rows).await;
    let mut releases = BTreeMap::new();
    for row in &rows {
        if let std::collections::btree_map::Entry::Vacant(place) = releases.entry(row.release) {
            place.insert(store.release(app.id, row.release).await?);
        }
    }
    let mut names: Vec<ProcessName> = live.iter().flat_map(|r| r.processes()).map(|p| p.name).collect();
    names.extend(rows.iter().map(|r| r.process.clone()));
    names.sort();
    names.dedup();
    let mut processes = Vec::new();
    for name in names {
        let process = live.as_ref().and_then(|r| r.processes().into_iter().find(|p| p.name == name));
        let of_process = rows.iter().filter(|r| r.process == name && r.wanted != Wanted::Gone);
        processes.push(Process {
            wanted: process.as_ref().map_or(0, |p| scale.get(&name).copied().unwrap_or_else(|| default_count(p))),
            command: process.and_then(|p| p.command).map(|c| show(&c)),
            instances: of_process.map(|row| server.show_instance(row, releases.get(&row.release), usage.get(&row.id))).collect(),
            process: name,
        });
    }
    let found = store.maintenance(app.id).await?;
    let maintenance = found.map(|m| super::maintenance::shown(&app.name, Some(&m)));
    Ok(Json(Ps { app: app.name, release: app.live, commit: live.and_then(|r| r.commit), processes, maintenance }))
}

fn show(command: &CommandLine) -> String {
    match command {
        CommandLine::Shell(line) => line.clone(),
        CommandLine::Argv(argv) => argv.join(" "),
    }
}

pub async fn scale(
    State(server): State<Server>,
    who: Who,
    path: Path<String>,
    Json(wanted): Json<Scale>,
) -> Result<Response, Fail> {
    let app = server.app(&who, Right::Operate, path).await?;
    if let Some((process, count)) = wanted.iter().find(|(_, count)| **count > MOST_INSTANCES) {
        return Err(Fail::invalid(format!("{process}={count} is more than {MOST_INSTANCES} instances")));
    }
    if let Some(number) = app.live {
        let release = server.world.store.release(app.id, number).await?;
        server.refuse_unknown(&release, wanted.keys())?;
    }
    server.world.store.scale_set(&app, &wanted, &who.name()).await?;
    if !server.goes_live_without(&app).await? {
        return Ok(nothing("stored; the first deploy will use it"));
    }
    let deploy = server.admit(&app, Origin::Scale, None, &who).await?;
    Ok(server.events(&deploy, true))
}

pub async fn restart(
    State(server): State<Server>,
    who: Who,
    path: Path<String>,
    Json(ask): Json<Restart>,
) -> Result<Response, Fail> {
    let app = server.app(&who, Right::Operate, path).await?;
    let Some(number) = app.live else {
        return Err(Fail::new(ErrorCode::Conflict, format!("app `{}` has no release yet", app.name)).hint("git push deploy main"));
    };
    let release = server.world.store.release(app.id, number).await?;
    server.refuse_unknown(&release, ask.process.iter())?;
    let deploy = server.admit(&app, Origin::Restart { process: ask.process }, None, &who).await?;
    Ok(server.events(&deploy, true))
}

impl Server {
    fn refuse_unknown<'a>(&self, release: &Release, mut asked: impl Iterator<Item = &'a ProcessName>) -> Result<(), Fail> {
        let known: Vec<ProcessName> = release.processes().into_iter().map(|p| p.name).collect();
        let Some(unknown) = asked.find(|name| !known.contains(name)) else { return Ok(()) };
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        let fail = Fail::invalid(format!("{} has no process type `{unknown}`", release.number));
        Err(fail.hint(format!("it has {}", known.join(", "))))
    }

    /// Of those that run, all asked at once; one that does not answer has no figures.
    async fn usage(&self, rows: &[model::instance::Instance]) -> BTreeMap<InstanceId, Usage> {
        let asking = rows.iter().map(|row| async move { Some((row.id, self.world.instances.usage(row).await?)) });
        let all = futures_util::future::join_all(asking);
        tokio::time::timeout(USAGE_LIMIT, all).await.unwrap_or_default().into_iter().flatten().collect()
    }

    fn show_instance(&self, row: &model::instance::Instance, release: Option<&Release>, usage: Option<&Usage>) -> Instance {
        let init = self.world.instances.links.state(row.id);
        let process = release.and_then(|r| r.processes().into_iter().find(|p| p.name == row.process));
        Instance {
            id: row.id,
            index: row.index,
            release: row.release,
            commit: release.and_then(|r| r.commit.clone()),
            state: if self.world.publisher.is_suspended(row.id) {
                InstanceState::Restarting
            } else {
                state(row.wanted, init.as_ref())
            },
            since: row.created_at,
            restarts: init.as_ref().map_or(0, |s| s.restarts),
            memory: usage.map(|u| u.memory),
            memory_limit: Some(process.and_then(|p| p.spec.memory).unwrap_or(self.world.config.limits.memory)),
            in_flight: row.takes_requests().then(|| self.world.publisher.proxies.counts(row.id).in_flight),
            requests: row.takes_requests().then(|| super::events::counts(self.world.counts_of(row.id))),
            last_end: init.and_then(|s| s.last_end).map(|end| end.summary()),
        }
    }
}

fn state(wanted: Wanted, init: Option<&InitState>) -> InstanceState {
    let phase = init.filter(|s| s.connected).map(|s| s.phase);
    match (wanted, phase) {
        (Wanted::Paused | Wanted::Gone, _) => InstanceState::Stopping,
        (_, None) => InstanceState::Unknown,
        (_, Some(Phase::Gated)) => InstanceState::Gated,
        (_, Some(Phase::BackingOff)) if loops(init) => InstanceState::CrashLoop,
        (Wanted::Live, Some(Phase::Running { .. })) if loops(init) => InstanceState::CrashLoop,
        (_, Some(Phase::BackingOff)) => InstanceState::BackingOff,
        (_, Some(Phase::Stopping)) => InstanceState::Stopping,
        (_, Some(Phase::Ended)) => InstanceState::Ended,
        (Wanted::Candidate, Some(Phase::Running { .. })) => InstanceState::Starting,
        (Wanted::Retiring, Some(Phase::Running { .. })) => InstanceState::Draining,
        (Wanted::Live, Some(Phase::Running { .. })) => InstanceState::Running,
    }
}

/// It has ended again and again, and the present run is not long enough to call it healthy.
fn loops(init: Option<&InitState>) -> bool {
    let Some((state, end)) = init.and_then(|s| Some((s, s.last_end.as_ref()?))) else { return false };
    end::loops(end.in_a_row, state.phase == Phase::BackingOff, end.at_ms.map(UnixMillis), UnixMillis::now())
}
