//! The release command: once per new image, before anything of it starts.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;

use crate::base::crash::{self, Point};
use crate::docker::{ContainerStatus, DockerError};
use crate::instances::lifecycle::{InstanceError, Instances};
use crate::instances::spec::{self, Place};
use crate::manifest::{CommandLine, ProcessSpec};
use crate::model::app::App;
use crate::model::release::{Config, Process, Release};
use crate::names::{DeployId, ProcessName};
use crate::store::ReleaseCommand;

/// How many of its last lines a failure shows.
const LAST_LINES: usize = 20;
/// A line longer than this is cut for the pusher's terminal.
const LONGEST_LINE: usize = 4096;

/// How it ended.
#[derive(Debug)]
pub enum CommandEnd {
    Done,
    Failed { why: String, last_lines: Vec<String> },
    Cancelled,
}

/// What is run.
pub struct Ask<'a> {
    pub deploy: DeployId,
    pub app: &'a App,
    pub release: &'a Release,
    pub config: &'a Config,
    pub command: &'a CommandLine,
    /// Becomes true: the command is stopped.
    pub cancel: watch::Receiver<bool>,
}

/// Runs the release command of a deploy and gives each line of its output to `say`. Called again after a crash it adopts the container:
/// its exit code if it has ended, its end if it still runs. A cancel that is asked for
/// while it runs stops it; that it ran is remembered. Cancel-safe: no.
pub async fn run(instances: &Instances, ask: &Ask<'_>, say: impl Fn(String)) -> Result<CommandEnd, InstanceError> {
    let name = spec::container_name(&instances.install, &ask.app.name, ask.deploy, "release", 1);
    let end = match instances.store.release_command(ask.deploy).await? {
        ReleaseCommand::Ended { code } => finished(code, Vec::new()),
        ReleaseCommand::Started => match adopt(instances, ask, &name).await? {
            Some(end) => end,
            None => begin(instances, ask, &name, &say).await?,
        },
        ReleaseCommand::NotStarted => match begin(instances, ask, &name, &say).await {
            Ok(end) => end,
            // What the engine refuses to start (a program that is not there) leaves its container behind.
            Err(InstanceError::Docker(DockerError::Api { status: 400, message, .. })) => {
                let why = format!("the release command cannot be started: {message}");
                Ended { code: Some(127), end: CommandEnd::Failed { why, last_lines: Vec::new() } }
            }
            Err(e) => return Err(e),
        },
    };
    if let Some(code) = end.code {
        instances.store.release_command_ended(ask.deploy, code).await?;
        crash::point(Point::ReleaseCommandEnded);
    }
    instances.docker.remove(&name).await?;
    Ok(end.end)
}

struct Ended {
    /// `None`: not known, and so not stored.
    code: Option<i64>,
    end: CommandEnd,
}

fn finished(code: i64, last_lines: Vec<String>) -> Ended {
    let end = match code {
        0 => CommandEnd::Done,
        code => CommandEnd::Failed { why: format!("the release command ended with exit code {code}"), last_lines },
    };
    Ended { code: Some(code), end }
}

/// The store says that it may have run; only its container knows. `None`: it has certainly not begun.
async fn adopt(instances: &Instances, ask: &Ask<'_>, name: &str) -> Result<Option<Ended>, InstanceError> {
    let unknown = |why: &str| Ended {
        code: None,
        end: CommandEnd::Failed {
            why: format!(
                "the release command was started before a crash, and {why}: it may have run in part and is not run again by itself"
            ),
            last_lines: Vec::new(),
        },
    };
    let Some(state) = instances.docker.inspect(name).await? else { return Ok(Some(unknown("its container is gone"))) };
    Ok(match state.status {
        // The row is written before the start: the crash came between.
        ContainerStatus::Created => None,
        ContainerStatus::Exited => Some(finished(state.exit_code, Vec::new())),
        // Its limit begins anew: when it began is not known to the engine in our clock.
        _ if state.running => Some(match in_time(ask, instances.docker.wait(name)).await {
            Waited::Ended(code) => finished(code?, Vec::new()),
            cut => cut_short(instances, name, ask, &cut, Vec::new()).await?,
        }),
        _ => Some(unknown("its container is broken")),
    })
}

async fn begin(instances: &Instances, ask: &Ask<'_>, name: &str, say: &impl Fn(String)) -> Result<Ended, InstanceError> {
    let image = instances.image(&ask.app.name, ask.release).await?;
    let process = process(ask.release);
    let argv = spec::argv("release", Some(ask.command), &image)?;
    let place = Place {
        install: &instances.install,
        app: ask.app,
        release: ask.release,
        config: ask.config,
        deploy: ask.deploy,
        process: &process,
        instance: None,
        index: 1,
        port: spec::port(&process.spec, &image),
        image: &image,
        bin: instances.bin.clone(),
        own: instances.config.instances_dir(),
        limits: &instances.config.limits,
    };
    let spec = spec::one_off(&place, name.to_owned(), argv, false, false);
    let id = instances.docker.create(&spec).await?;
    crash::point(Point::ReleaseCommandCreated);
    let session = instances.docker.attach(&id, false, false).await?;
    instances.store.release_command_started(ask.deploy).await?;
    crash::point(Point::ReleaseCommandNoted);
    instances.docker.start(&id).await?;
    crash::point(Point::ReleaseCommandStarted);
    let mut lines = Lines::default();
    let reading = async {
        let mut output = session.output;
        while let Some(Ok((_, bytes))) = output.next().await {
            lines.take(&bytes, say);
        }
        lines.end(say);
        instances.docker.wait(&id).await
    };
    match in_time(ask, reading).await {
        Waited::Ended(code) => Ok(finished(code?, lines.last)),
        cut => cut_short(instances, &id, ask, &cut, lines.last).await,
    }
}

/// How waiting for the command ended.
enum Waited<T> {
    Ended(T),
    TooLong,
    Cancelled,
}

async fn in_time<T>(ask: &Ask<'_>, ending: impl Future<Output = T>) -> Waited<T> {
    let mut cancel = ask.cancel.clone();
    tokio::select! {
        ended = ending => Waited::Ended(ended),
        () = tokio::time::sleep(ask.release.manifest.release.timeout) => Waited::TooLong,
        Ok(_) = cancel.wait_for(|asked| *asked) => Waited::Cancelled,
    }
}

async fn cut_short<T>(
    instances: &Instances,
    id: &str,
    ask: &Ask<'_>,
    why: &Waited<T>,
    last_lines: Vec<String>,
) -> Result<Ended, InstanceError> {
    match instances.docker.stop(id, Duration::from_secs(10)).await {
        Ok(()) | Err(DockerError::NotFound(_)) => {}
        Err(e) => return Err(e.into()),
    }
    if matches!(why, Waited::Cancelled) {
        return Ok(Ended { code: None, end: CommandEnd::Cancelled });
    }
    let limit = humantime::format_duration(ask.release.manifest.release.timeout);
    let why = format!("the release command did not end within {limit} and was stopped");
    Ok(Ended { code: Some(124), end: CommandEnd::Failed { why, last_lines } })
}

/// The release command has the limits and the port of `web`, under its own name.
fn process(release: &Release) -> Process {
    let web = release.processes().into_iter().find(|p| p.name.as_str() == "web");
    let spec = web.map_or_else(ProcessSpec::default, |p| p.spec);
    Process { name: ProcessName::parse("release").expect("`release` is a valid process type"), command: None, spec }
}

/// Chunks → whole lines, the last of which are kept.
#[derive(Default)]
struct Lines {
    open: Vec<u8>,
    last: Vec<String>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], say: &impl Fn(String)) {
        for byte in bytes {
            if *byte == b'\n' || self.open.len() >= LONGEST_LINE {
                self.end(say);
            }
            if *byte != b'\n' {
                self.open.push(*byte);
            }
        }
    }

    fn end(&mut self, say: &impl Fn(String)) {
        if self.open.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.open)).trim_end_matches('\r').to_owned();
        self.last.push(line.clone());
        if self.last.len() > LAST_LINES {
            self.last.remove(0);
        }
        say(line);
    }
}
