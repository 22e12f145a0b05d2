//! `/version` and `/status`

use std::time::Duration;

use axum::Json;
use axum::extract::State;

use super::Server;
use super::access::Who;
use super::fail::Fail;
use crate::api::types::status::{API_VERSION, Memory, Part, Problem, Status, Version};
use crate::base::size::bytes;
use crate::docker::Docker;
use crate::instances::memory;
use crate::model::access::Right;
use crate::model::disk::Space;
use crate::model::instance::Wanted;

pub async fn version(_: Who) -> Json<Version> {
    Json(here())
}

fn here() -> Version {
    Version { version: env!("CARGO_PKG_VERSION").to_owned(), commit: crate::base::version::COMMIT.to_owned(), api: API_VERSION }
}

/// This page is read when something is wrong: it does not wait for an engine that hangs.
const DOCKER_LIMIT: Duration = Duration::from_secs(3);

async fn docker(docker: &Docker) -> Part {
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
    let docker = docker(&world.docker).await;
    let listening: Vec<String> = world.publisher.proxies.listening().iter().map(ToString::to_string).collect();
    let proxy = match listening.as_slice() {
        [] => Part { ok: false, detail: "no proxy is connected".to_owned() },
        all => Part { ok: true, detail: all.join(", ") },
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
    problems.extend(world.disk.spaces().await.iter().filter(|space| space.is_below_reserve()).map(full));
    let rows = world.store.instances().await?;
    let live: Vec<_> = rows.iter().filter(|i| i.wanted == Wanted::Live).collect();
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
        apps: u32::try_from(world.store.apps().await?.len()).unwrap_or(u32::MAX),
        instances: u32::try_from(live.len()).unwrap_or(u32::MAX),
        deploys_active: world.store.deploys_active().await?.into_iter().map(|d| d.id).collect(),
        problems,
    }))
}
