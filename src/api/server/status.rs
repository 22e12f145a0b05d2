//! `/version` and `/status`

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;

use super::Server;
use super::access::Who;
use super::fail::Fail;
use crate::api::types::status::{API_VERSION, AppState, AppStatus, Disk, FailedDeploy, Memory, Part, Problem, Status, Version};
use crate::base::clock::UnixMillis;
use crate::base::size::bytes;
use crate::docker::Docker;
use crate::instances::memory;
use crate::model::access::Right;
use crate::model::app::App;
use crate::model::disk::Space;
use crate::model::instance::{Instance, Wanted};
use crate::model::maintenance::Maintenance;
use crate::store::StoreError;
use crate::wire::init::Phase;

/// So many failed deploys are shown, if they are not older than this.
const FAILED: u32 = 5;
const FAILED_SINCE_MS: i64 = 7 * 24 * 3600 * 1000;

pub async fn version(_: Who) -> Json<Version> {
    Json(here())
}

fn here() -> Version {
    Version { version: env!("CARGO_PKG_VERSION").to_owned(), commit: crate::base::version::COMMIT.to_owned(), api: API_VERSION }
}

/// This page is read when something is wrong: it does not wait for an engine that hangs.
const DOCKER_LIMIT: Duration = Duration::from_secs(3);

/// A proxy that follows does so within milliseconds.
const PROXY_LIMIT: Duration = Duration::from_secs(10);

async fn ask_docker(docker: &Docker) -> Part {
    let bad = |detail: String| Part { ok: false, detail };
    match tokio::time::timeout(DOCKER_LIMIT, docker.engine()).await {
        Ok(Ok(engine)) => Part { ok: true, detail: format!("{} (API {})", engine.version, engine.api) },
        Ok(Err(e)) => bad(docker.health().complaint().unwrap_or_else(|| e.to_string())),
        Err(_) => bad(format!("Docker hangs: it did not answer within {} s", DOCKER_LIMIT.as_secs())),
    }
}

fn hint(part: &str) -> Option<String> {
    let text =
        "what runs is served on and deploys wait; `systemctl status docker` and `journalctl -u docker` on the server tell more";
    (part == "Docker").then(|| text.to_owned())
}

fn full(space: &Space) -> Problem {
    let (path, free, reserve) = (space.path.display(), bytes(space.free), bytes(space.reserve));
    let what = format!("the disk: `{path}` ({}) has {free} free, less than the reserve of {reserve}", space.names());
    Problem { what, hint: Some("`paas disk` shows what uses it; pushes and builds are refused until there is room".to_owned()) }
}

pub async fn status(State(server): State<Server>, who: Who) -> Result<Json<Status>, Fail> {
    who.must(Right::Administer, None)?;
    let world = &server.world;
    let docker = ask_docker(&world.docker).await;
    let disks = world.disk.spaces().await;
    let listening: Vec<String> = world.publisher.proxies.listening().iter().map(ToString::to_string).collect();
    let proxy = match (listening.as_slice(), world.publisher.proxies.complaint(PROXY_LIMIT)) {
        ([], None) => Part { ok: false, detail: "no proxy is connected".to_owned() },
        (_, Some(complaint)) => Part { ok: false, detail: complaint },
        (all, None) => Part { ok: true, detail: all.join(", ") },
    };
    let dialer = match world.instances.dial.list().await {
        Ok(targets) => Part { ok: true, detail: format!("{} targets", targets.len()) },
        Err(e) => Part { ok: false, detail: e.to_string() },
    };
    let mut problems: Vec<Problem> = [("Docker", &docker), ("the proxy", &proxy), ("the dialer", &dialer)]
        .into_iter()
        .filter(|(_, part)| !part.ok)
        .map(|(name, part)| Problem { what: format!("{name}: {}", part.detail), hint: hint(name) })
        .collect();
    problems.extend(disks.iter().filter(|space| space.is_below_reserve()).map(full));
    let rows = world.store.instances().await?;
    let live: Vec<_> = rows.iter().filter(|i| i.wanted == Wanted::Live).collect();
    let apps = world.store.apps().await?;
    let promised = world.config.limits.memory * live.len() as u64;
    Ok(Json(Status {
        version: here(),
        install: world.install.clone(),
        domain: world.config.domain.as_ref().map(ToString::to_string),
        started_at: server.started_at,
        docker,
        proxy,
        dialer,
        memory: memory::host().map(|host| Memory { total: host.total, available: host.available, promised }),
        disk_free: nix::sys::statvfs::statvfs(&world.config.state_dir).ok().map(|fs| fs.blocks_available() * fs.fragment_size()),
        apps: u32::try_from(apps.len()).unwrap_or(u32::MAX),
        instances: u32::try_from(live.len()).unwrap_or(u32::MAX),
        deploys_active: world.store.deploys_active().await?.into_iter().map(|d| d.id).collect(),
        problems,
        app_states: server.app_states(&apps, &rows, &world.store.maintenances().await?),
        deploys_failed: server.failed().await?,
        disks: disks
            .into_iter()
            .map(|d| Disk { path: d.path.display().to_string(), free: d.free, total: d.total, reserve: d.reserve })
            .collect(),
        alerts: world.alerts.list(0).await?.into_iter().map(super::alerts::shown).collect(),
    }))
}

impl Server {
    fn app_states(&self, apps: &[App], rows: &[Instance], paused: &BTreeMap<i64, Maintenance>) -> Vec<AppStatus> {
        let runs = |row: &&Instance| {
            let init = self.world.instances.links.state(row.id);
            init.is_some_and(|init| init.connected && matches!(init.phase, Phase::Running { .. }))
        };
        let mut all: Vec<AppStatus> = apps
            .iter()
            .map(|app| {
                let live: Vec<&Instance> = rows.iter().filter(|r| r.app_id == app.id && r.wanted == Wanted::Live).collect();
                let (wanted, running) = (live.len(), live.iter().filter(|row| runs(row)).count());
                let state = state(app.destroying, app.live.is_some(), wanted, running);
                let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                let (wanted, running) = (count(wanted), count(running));
                let maintenance = paused.contains_key(&app.id);
                AppStatus { app: app.name.clone(), state, release: app.live, wanted, running, maintenance }
            })
            .collect();
        all.sort_by(|a, b| (a.state, &a.app).cmp(&(b.state, &b.app)));
        all
    }

    async fn failed(&self) -> Result<Vec<FailedDeploy>, StoreError> {
        let since = UnixMillis(UnixMillis::now().0 - FAILED_SINCE_MS);
        let deploys = self.world.store.deploys_failed(since, FAILED).await?;
        let shown = deploys.into_iter().map(|d| FailedDeploy {
            deploy: d.id,
            app: d.app,
            at: d.entered_at,
            why: d.failure.map(|f| format!("at {}: {}", f.stage, f.why)).unwrap_or_default(),
        });
        Ok(shown.collect())
    }
}

/// What an app is, by what is wanted of it and what runs.
fn state(destroying: bool, released: bool, wanted: usize, running: usize) -> AppState {
    match (destroying, released, wanted, running) {
        (true, ..) => AppState::Destroying,
        (false, false, ..) => AppState::Empty,
        (false, true, 0, _) => AppState::Off,
        (false, true, _, 0) => AppState::Down,
        (false, true, wanted, running) if running < wanted => AppState::Degraded,
        (false, true, ..) => AppState::Serving,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_what_its_instances_are() {
        let cases = [
            ((true, true, 1, 1), AppState::Destroying),
            ((false, false, 0, 0), AppState::Empty),
            ((false, true, 0, 0), AppState::Off),
            ((false, true, 2, 0), AppState::Down),
            ((false, true, 2, 1), AppState::Degraded),
            ((false, true, 2, 2), AppState::Serving),
        ];
        for ((destroying, released, wanted, running), is) in cases {
            assert_eq!(state(destroying, released, wanted, running), is);
        }
    }
}
