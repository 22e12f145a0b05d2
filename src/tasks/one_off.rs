//! `run`: a command in a fresh container of the live release. `exec`: a command in an instance that runs.

use crate::docker::{DockerError, ExecOptions, ExecSession, Session};
use crate::instances::lifecycle::{InstanceError, Instances};
use crate::instances::spec::{self, Place};
use crate::manifest::{CommandLine, ProcessSpec};
use crate::model::app::App;
use crate::model::instance::Instance;
use crate::model::release::{Config, Process, Release};
use crate::names::ProcessName;

/// A one-off container that has been started; its output is attached.
pub struct Running {
    pub name: String,
    pub session: Session,
}

/// What `run` was asked for.
pub struct RunAsk<'a> {
    pub app: &'a App,
    pub release: &'a Release,
    /// The release's config with what the caller added.
    pub config: &'a Config,
    pub command: CommandLine,
    pub tty: bool,
    /// Makes the container's name unique.
    pub serial: u64,
}

/// Creates, attaches, starts. The caller ends it with [`finish`], whatever happened.
pub async fn start(instances: &Instances, ask: RunAsk<'_>) -> Result<Running, InstanceError> {
    instances.network(ask.app).await?;
    let image = instances.image(&ask.app.name, ask.release).await?;
    let web = ask.release.processes().into_iter().find(|p| p.name.as_str() == "web");
    let spec = web.map_or_else(ProcessSpec::default, |p| p.spec);
    let process = Process { name: ProcessName::parse("run").expect("`run` is a valid process type"), command: None, spec };
    let argv = spec::argv("run", Some(&ask.command), &image)?;
    let place = Place {
        install: &instances.install,
        app: ask.app,
        release: ask.release,
        config: ask.config,
        deploy: ask.release.deploy,
        process: &process,
        instance: None,
        index: u32::try_from(ask.serial % 1_000_000).unwrap_or(0),
        port: spec::port(&process.spec, &image),
        image: &image,
        bin: instances.bin.clone(),
        own: instances.config.instances_dir(),
        limits: &instances.config.limits,
    };
    let name = format!("{}-{}-run-{}", spec::prefix(&instances.install), ask.app.name, ask.serial);
    let id = instances.docker.create(&spec::one_off(&place, name.clone(), argv, ask.tty, true)).await?;
    let session = match instances.docker.attach(&id, ask.tty, true).await {
        Ok(session) => session,
        Err(e) => {
            finish(instances, &name).await;
            return Err(e.into());
        }
    };
    if let Err(e) = instances.docker.start(&id).await {
        finish(instances, &name).await;
        return Err(e.into());
    }
    Ok(Running { name, session })
}

/// The exit code once the command has ended.
pub async fn exit_code(instances: &Instances, name: &str) -> Result<i64, DockerError> {
    instances.docker.wait(name).await
}

/// Removes the container, running or not; one that the engine does not let go of now is removed when it answers again.
pub async fn finish(instances: &Instances, name: &str) {
    if let Err(e) = instances.docker.remove(name).await {
        tracing::warn!(container = name, "removing a one-off container: {e}; it is tried again");
        instances.remove_later(name);
    }
}

/// Starts a command in an instance that runs.
pub async fn exec(instances: &Instances, row: &Instance, argv: &[String], tty: bool) -> Result<ExecSession, InstanceError> {
    let options = ExecOptions { tty, stdin: true, ..ExecOptions::default() };
    Ok(instances.docker.exec(&instances.container_name(row), argv, options).await?)
}
