//! The composition root: `run` reads from top to bottom what a daemon is.
//!
//! Owns: the order of start and stop. Uses: everything. Never: decides what a domain decides.
//! Invariant: the database is open and locked before the first socket is answered; sockets answer before Docker is asked.

mod doctor;
mod install;
mod kept;
mod successor;
mod listen;
pub mod roles;
mod stack;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::api::server::{Server, accept};
use crate::base::clock::UnixMillis;
use crate::certs;
use crate::config::HostConfig;
use crate::deploys::world::{Ground, World};
use crate::handover::systemd;
use crate::store::{self, Sealer, Store};
use crate::wire;

/// How long background work may take to reach a place where it can be left; everything is re-entered at the next start.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// And how long threads that a system call holds may take after that.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// Runs the daemon until SIGTERM or SIGINT. Takes the host config's file.
pub fn run(config: &Path) -> anyhow::Result<()> {
    let config = Arc::new(HostConfig::load(config)?);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("starting the runtime")?;
    let ended = runtime.block_on(serve(config));
    // Whatever still waits for a disk or an engine is not waited for.
    runtime.shutdown_timeout(LEAVE_LIMIT);
    ended
}

async fn serve(config: Arc<HostConfig>) -> anyhow::Result<()> {
    install::folders(&config)?;
    let _lock = install::lock(&config)?;
    let mut sockets = listen::sockets(&config)?;
    let world = build_world(&config).await?;
    install::hooks(&config)?;
    world.export_keys().await.map_err(|e| anyhow::anyhow!("exporting the ssh keys: {e}"))?;

    world.before_serving().await.context("reading the deploys under way")?;

    let doors = Arc::new(accept::Doors::open(&config.users).map_err(anyhow::Error::msg)?);
    let router = crate::api::server::router(Server { world: Arc::clone(&world), started_at: UnixMillis::now() });
    let proxy_uid = listen::proxy_uid(&config)?;
    tokio::spawn(listen::serve_proxies(sockets.take_proxy(), proxy_uid, Arc::clone(&world.publisher.proxies)));
    tokio::spawn(accept::serve(sockets.take_api(), router, doors, world.store.clone(), world.crew.stopping()));
    tokio::spawn(Arc::clone(&world.logs).maintain_forever());
    watch_instances(&world);
    let recovering = Arc::clone(&world);
    world.crew.start_once("recovery", async move {
        recovering.recover().await;
        recovering.watch_docker().await;
    });
    world.crew.start_once("watch", watch::watch(Arc::clone(&world)));
    for sink in world.alerts.sinks() {
        let name = format!("alerts by {}", sink.as_str());
        world.crew.start_once(&name, Arc::clone(&world.alerts).deliver(sink, world.crew.stopping()));
    }
    if let Some(pause) = systemd::watchdog_interval() {
        tokio::spawn(async move {
            loop {
                systemd::watchdog();
                tokio::time::sleep(pause).await;
            }
        });
    }
    systemd::ready("serving");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the daemon is ready");

    tokio::select! {
        ended = wait_for_signal() => ended?,
        why = store::broken() => {
            // At once, and without closing the store: what is on the disk is what the next process begins with.
            let hint = "apps and the proxy go on; the daemon is started again and reads what is there (`paas disk`, `dmesg`)";
            return Err(anyhow::anyhow!("stopping, as the database can't be written: {why}; {hint}"));
        }
    }
    systemd::stopping();
    tracing::info!("stopping: apps and the proxy go on without the daemon");
    let late = world.crew.shut_down(STOP_LIMIT).await;
    if !late.is_empty() {
        tracing::info!("left where it was, to go on at the next start: {}", late.join(", "));
    }
    world.store.close().await;
    Ok(())
}

/// Starts what looks after running instances. Before recovery makes the first socket that an init could speak through.
fn watch_instances(world: &Arc<World>) {
    let heard = world.instances.links.subscribe();
    let (recording, ended) = (Arc::clone(world), Arc::clone(world));
    world.crew.start_once("ends of instances", async move {
        let (instances, stop) = (Arc::clone(&recording.instances), recording.crew.stopping());
        instances.record_ends(heard, stop, move |row, end| ended.look_for_crash_files(row, end)).await;
    });
    world.crew.start_once("liveness", Arc::clone(world).watch_liveness());
    world.crew.start_once("disks of instances", Arc::clone(world).watch_disks());
}

async fn build_world(config: &Arc<HostConfig>) -> anyhow::Result<Arc<World>> {
    let sealer = Sealer::load_or_create(&config.secret_key())?;
    let store = Store::open(&config.db(), sealer).await?;
    let install = store.setting_or("install", install::new_uuid).await?;
    let ground = Ground {
        config: Arc::clone(config),
        store,
        install,
        host: nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        bin: install::init_binary(config).context("keeping a copy of the binary for instances")?,
        fallback: fallback(config),
        first_serial: u64::try_from(UnixMillis::now().0).unwrap_or(0),
    };
    World::new(ground).context("opening the deploys folder")
}

async fn wait_for_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    Ok(())
}

/// The self-signed certificate. Without one TLS works for the names that have their own; nothing else depends on it.
fn fallback(config: &HostConfig) -> Option<wire::proxy::Certificate> {
    match certs::self_signed::load_or_make(&config.self_signed()) {
        Ok(own) => Some(wire::proxy::Certificate { names: Vec::new(), chain: own.chain, key: own.key }),
        Err(error) => {
            tracing::error!(%error, "no self-signed certificate could be made");
            None
        }
    }
}
