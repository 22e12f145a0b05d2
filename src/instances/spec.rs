//! Release + process type + number → the container that Docker is asked for. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::Limits;
use crate::docker::{ContainerSpec, ImageInfo, Mount};
use crate::manifest::{CommandLine, ProcessSpec};
use crate::model::app::App;
use crate::model::release::{Config, Process, Release};
use crate::names::{AppName, CommitSha, DeployId, InstanceId, ReleaseNumber};

/// Where the binary is inside every instance (a folder, read-only).
pub const BIN_INSIDE: &str = "/.paas/bin";
/// Where the instance's own folder with its socket is inside.
pub const OWN_INSIDE: &str = "/.paas/i";
/// The port an app is told when neither its manifest nor its image names one.
const DEFAULT_PORT: u16 = 8080;
/// Apps go before paas when the host runs out of memory.
const OOM_SCORE: i64 = 500;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error(
        "process type `{0}` has no command: the image has neither ENTRYPOINT nor CMD; name one in the Procfile or under [processes.{0}]"
    )]
    NoCommand(String),
}

/// Everything a container is made from.
pub struct Place<'a> {
    pub install: &'a str,
    pub app: &'a App,
    pub release: &'a Release,
    pub config: &'a Config,
    pub deploy: DeployId,
    pub process: &'a Process,
    /// `None` for a one-off: it has no init and no place among the instances.
    pub instance: Option<InstanceId>,
    pub index: u32,
    pub port: u16,
    pub image: &'a ImageInfo,
    /// The folder of the binary that this daemon's instances use.
    pub bin: PathBuf,
    pub own: PathBuf,
    pub limits: &'a Limits,
}

/// `paas-1a2b3c4d`: the start of every name that this installation gives to Docker.
pub fn prefix(install: &str) -> String {
    format!("paas-{}", &install[..install.len().min(8)])
}

/// The container of an instance, found again after a crash by this name.
pub fn container_name(install: &str, app: &AppName, deploy: DeployId, process: &str, index: u32) -> String {
    format!("{}-{app}-{deploy}-{process}-{index}", prefix(install))
}

pub fn network_name(install: &str, app: &AppName) -> String {
    format!("{}-{app}", prefix(install))
}

/// The port an instance is told: the manifest's, else the image's only EXPOSE, else 8080.
pub fn port(spec: &ProcessSpec, image: &ImageInfo) -> u16 {
    match (spec.port, image.exposed_ports.as_slice()) {
        (Some(port), _) => port,
        (None, [only]) => *only,
        (None, _) => DEFAULT_PORT,
    }
}

/// What runs: the release's command, else the image's own ENTRYPOINT and CMD.
pub fn argv(process: &str, command: Option<&CommandLine>, image: &ImageInfo) -> Result<Vec<String>, SpecError> {
    let argv: Vec<String> = match command {
        None => image.entrypoint.iter().chain(&image.cmd).cloned().collect(),
        Some(CommandLine::Argv(argv)) => argv.clone(),
        Some(CommandLine::Shell(line)) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
    };
    if argv.is_empty() { Err(SpecError::NoCommand(process.to_owned())) } else { Ok(argv) }
}

/// The environment: the app's config, then ours, which a config value of the same name cannot replace, but for PORT's default.
pub fn environment(place: &Place<'_>) -> Vec<(String, String)> {
    let label = format!("{}.{}", place.process.name, place.index);
    let app = place.app.name.to_string();
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in place.config {
        env.insert(key.to_string(), value.reveal().clone());
    }
    let mut ours = |key: &str, value: String| {
        env.insert(key.to_owned(), value);
    };
    ours("PORT", place.port.to_string());
    ours("PAAS_APP", app.clone());
    ours("PAAS_PROCESS", place.process.name.to_string());
    ours("PAAS_INSTANCE_NAME", label.clone());
    if let Some(id) = place.instance {
        ours("PAAS_INSTANCE", id.to_string());
    }
    ours("PAAS_RELEASE", place.release.number.to_string());
    ours("PAAS_DEPLOY", place.deploy.to_string());
    // What ported apps look for (Heroku, Dokku, Fly, Kamal).
    ours("DYNO", label);
    ours("HEROKU_APP_NAME", app.clone());
    ours("FLY_APP_NAME", app);
    ours("FLY_PROCESS_GROUP", place.process.name.to_string());
    ours("HEROKU_RELEASE_VERSION", place.release.number.to_string());
    ours("HEROKU_RELEASE_CREATED_AT", place.release.created_at.rfc3339());
    if let Some(commit) = &place.release.commit {
        for key in ["PAAS_COMMIT", "SOURCE_VERSION", "GIT_REV", "HEROKU_SLUG_COMMIT", "HEROKU_BUILD_COMMIT", "KAMAL_VERSION"] {
            ours(key, commit.to_string());
        }
    }
    env.into_iter().collect()
}

/// Labels say what a container is for; ownership is the store's rows, as images pass their labels on.
pub fn labels(
    install: &str,
    app: &AppName,
    release: ReleaseNumber,
    deploy: DeployId,
    process: &str,
    commit: Option<&CommitSha>,
) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("paas.install".to_owned(), install.to_owned()),
        ("paas.app".to_owned(), app.to_string()),
        ("paas.release".to_owned(), release.to_string()),
        ("paas.deploy".to_owned(), deploy.to_string()),
        ("paas.process".to_owned(), process.to_owned()),
    ]);
    labels.insert("paas.commit".to_owned(), commit.map(ToString::to_string).unwrap_or_default());
    labels
}

/// The container of an instance: init first, the app's argv after it.
pub fn instance(place: &Place<'_>) -> Result<ContainerSpec, SpecError> {
    let process = place.process.name.as_str();
    let argv = argv(process, place.process.command.as_ref(), place.image)?;
    let mut spec = base(place, process, container_name(place.install, &place.app.name, place.deploy, process, place.index));
    spec.entrypoint = vec![format!("{BIN_INSIDE}/paas"), "init".to_owned(), "--".to_owned()];
    spec.cmd = argv;
    spec.mounts = vec![
        Mount { source: place.bin.clone(), target: BIN_INSIDE.to_owned(), read_only: true },
        Mount { source: place.own.clone(), target: OWN_INSIDE.to_owned(), read_only: true },
    ];
    spec.read_only_root = place.process.spec.read_only;
    // What init sends the app when Docker ends the container; init keeps it to itself.
    spec.env.push(("PAAS_STOP_SIGNAL".to_owned(), place.process.spec.stop_signal.clone()));
    Ok(spec)
}

/// A one-off container (release command, `run`): the command itself is PID 1 and its output is attached.
pub fn one_off(place: &Place<'_>, name: String, argv: Vec<String>, tty: bool, stdin: bool) -> ContainerSpec {
    let mut spec = base(place, place.process.name.as_str(), name);
    // The whole argv as entrypoint: the image's own is not in front of it.
    spec.entrypoint = argv;
    spec.tty = tty;
    spec.open_stdin = stdin;
    spec.env.push(("RELEASE_COMMAND".to_owned(), "1".to_owned()));
    spec
}

fn base(place: &Place<'_>, process: &str, name: String) -> ContainerSpec {
    let own = &place.process.spec;
    let app = &place.app.name;
    ContainerSpec {
        name,
        image: place.release.image.id.clone(),
        entrypoint: Vec::new(),
        cmd: Vec::new(),
        env: environment(place),
        labels: labels(place.install, app, place.release.number, place.deploy, process, place.release.commit.as_ref()),
        mounts: Vec::new(),
        network: Some(network_name(place.install, app)),
        memory: own.memory.unwrap_or(place.limits.memory),
        cpus: own.cpus.unwrap_or(place.limits.cpus),
        pids: own.pids.unwrap_or(place.limits.pids),
        read_only_root: false,
        user: None,
        workdir: None,
        tty: false,
        open_stdin: false,
        stop_signal: None,
        oom_score_adj: OOM_SCORE,
        hostname: Some(format!("{app}-{process}-{}", place.index)),
    }
}
