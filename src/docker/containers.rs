//! Containers: create once, start, stop, look.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use bollard::errors::Error as Bollard;
use bollard::models::ContainerStateStatusEnum as Status;
use bollard::query_parameters as q;
use futures_util::StreamExt;

use super::client::{CHANGE_LIMIT, Docker, READ_LIMIT};
use super::error::DockerError;
use super::labels;
use super::spec::ContainerSpec;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerStatus {
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    /// Half removed: only removing it again helps.
    Dead,
    Unknown,
}

/// A container as the engine sees it now.
#[derive(Debug, Clone)]
pub struct ContainerState {
    pub id: String,
    /// Without the engine's leading slash.
    pub name: String,
    pub status: ContainerStatus,
    pub running: bool,
    /// The host's pid of PID 1, 0 when not running.
    pub pid: u32,
    /// Meaningful when `status` is Exited.
    pub exit_code: i64,
    pub oom_killed: bool,
    /// The engine's own words when the container could not be started.
    pub error: Option<String>,
    /// The file that stands for its network namespace; None when it is not running.
    pub sandbox_key: Option<PathBuf>,
    /// Image id.
    pub image: String,
    pub labels: BTreeMap<String, String>,
    /// RFC 3339; None when it never started.
    pub started_at: Option<String>,
    /// Network name → address in it.
    pub addresses: BTreeMap<String, String>,
}

impl Docker {
    /// Creates the container, or adopts the one of that name if it carries our install label. Gives its id.
    /// Re-runnable after a crash. Errors: NotFound = the image or network is missing; Conflict = the name belongs to somebody else.
    pub async fn create(&self, spec: &ContainerSpec) -> Result<String, DockerError> {
        let mut refused = String::new();
        for _ in 0..LOOKS {
            match self.create_once(spec).await {
                Err(DockerError::Conflict(why)) => refused = why,
                other => return other,
            }
            match self.inspect(&spec.name).await? {
                Some(there) if there.labels.get(labels::INSTALL).map(String::as_str) == Some(self.install()) => {
                    return Ok(there.id);
                }
                Some(_) => return Err(DockerError::Conflict(format!("container {} exists and is not ours", spec.name))),
                // The engine gives the name away first and knows the container when it is made, and a removal frees the name last.
                None => tokio::time::sleep(LOOK_PAUSE).await,
            }
        }
        Err(DockerError::Conflict(refused))
    }

    async fn create_once(&self, spec: &ContainerSpec) -> Result<String, DockerError> {
        let body = spec.clone().into_body(self.install());
        let options = q::CreateContainerOptionsBuilder::new().name(&spec.name).build();
        let act = format!("creating container {}", spec.name);
        let made = self.call(&act, CHANGE_LIMIT, |c| async move { c.create_container(Some(options), body).await }).await?;
        Ok(made.id)
    }

    /// Starts a container; one that runs already is fine.
    pub async fn start(&self, id: &str) -> Result<(), DockerError> {
        let act = format!("starting container {id}");
        self.call(&act, CHANGE_LIMIT, |c| async move { c.start_container(id, None::<q::StartContainerOptions>).await }).await
    }

    /// Sends the container's stop signal and, after `grace`, SIGKILL. One that does not run is fine.
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<(), DockerError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = q::StopContainerOptionsBuilder::new().t(seconds).build();
        let act = format!("stopping container {id}");
        self.call(&act, grace + CHANGE_LIMIT, |c| async move { c.stop_container(id, Some(options)).await }).await
    }

    /// Sends a signal by name ("SIGTERM") to PID 1. Conflict = it does not run.
    pub async fn kill(&self, id: &str, signal: &str) -> Result<(), DockerError> {
        let options = q::KillContainerOptionsBuilder::new().signal(signal).build();
        let act = format!("sending {signal} to container {id}");
        self.call(&act, CHANGE_LIMIT, |c| async move { c.kill_container(id, Some(options)).await }).await
    }

    /// Removes a container, running or not, with its anonymous volumes. A missing one is fine, and so is one that is being removed.
    pub async fn remove(&self, id_or_name: &str) -> Result<(), DockerError> {
        let act = format!("removing container {id_or_name}");
        for _ in 0..LOOKS {
            let options = q::RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match self.call(&act, CHANGE_LIMIT, |c| async move { c.remove_container(id_or_name, Some(options)).await }).await {
                Ok(()) | Err(DockerError::NotFound(_)) => return Ok(()),
                // 409: "removal of container … is already in progress". Done only once the name is free.
                Err(DockerError::Conflict(_)) if self.inspect(id_or_name).await?.is_none() => return Ok(()),
                Err(DockerError::Conflict(_)) => tokio::time::sleep(LOOK_PAUSE).await,
                Err(other) => return Err(other),
            }
        }
        Err(DockerError::Conflict(format!("container {id_or_name} does not go away")))
    }

    /// Waits until the container does not run, as long as it takes, and gives its exit code. Cancel-safe: yes, reads only.
    pub async fn wait(&self, id: &str) -> Result<i64, DockerError> {
        let act = format!("waiting for container {id}");
        let client = self.negotiated().await?.with_timeout(FOREVER);
        let options = q::WaitContainerOptionsBuilder::new().condition("not-running").build();
        let mut answers = Box::pin(client.wait_container(id, Some(options)));
        match answers.next().await {
            Some(Ok(answer)) => Ok(answer.status_code),
            // bollard makes an error of every exit code but zero.
            Some(Err(Bollard::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(error)) => Err(self.note(DockerError::from_bollard(error, &act, FOREVER))),
            None => Err(self.note(DockerError::Unavailable(format!("{act}: the engine closed the connection")))),
        }
    }

    /// Looks at one container. None = there is none. Cancel-safe: yes, reads only.
    pub async fn inspect(&self, id_or_name: &str) -> Result<Option<ContainerState>, DockerError> {
        let act = format!("inspecting container {id_or_name}");
        let asked = self.call(&act, READ_LIMIT, |c| async move { c.inspect_container(id_or_name, None).await }).await;
        match asked {
            Ok(found) => Ok(Some(state_of(found))),
            Err(DockerError::NotFound(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// All containers, running or not, that carry our install label *and* a name of ours. The caller compares with its store before it
    /// acts on any. Cancel-safe: yes, reads only.
    pub async fn list_ours(&self) -> Result<Vec<ContainerState>, DockerError> {
        let filters = HashMap::from([("label", vec![format!("{}={}", labels::INSTALL, self.install())])]);
        let options = q::ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed =
            self.call("listing containers", READ_LIMIT, |c| async move { c.list_containers(Some(options)).await }).await?;
        let prefix = self.name_prefix();
        let mut ours = Vec::new();
        for id in listed.into_iter().filter_map(|summary| summary.id) {
            if let Some(state) = self.inspect(&id).await?
                && state.name.starts_with(&prefix)
            {
                ours.push(state);
            }
        }
        Ok(ours)
    }

    /// Lets a paused container go on. Conflict or Api 500 = it is not paused.
    pub async fn unpause(&self, id: &str) -> Result<(), DockerError> {
        let act = format!("resuming container {id}");
        self.call(&act, CHANGE_LIMIT, |c| async move { c.unpause_container(id).await }).await
    }

    /// Gives a container its name back.
    pub async fn rename(&self, id: &str, name: &str) -> Result<(), DockerError> {
        let options = q::RenameContainerOptionsBuilder::new().name(name).build();
        let act = format!("renaming container {id}");
        self.call(&act, CHANGE_LIMIT, |c| async move { c.rename_container(id, options).await }).await
    }

    /// The end of what the engine's log driver kept. Our own containers log to `none`, so this serves images of others only.
    pub async fn logs(&self, id: &str, tail: u32) -> Result<String, DockerError> {
        let options = q::LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&tail.to_string()).build();
        let act = format!("reading the log of container {id}");
        self.call(&act, READ_LIMIT, |c| async move {
            let mut text = String::new();
            let mut chunks = Box::pin(c.logs(id, Some(options)));
            while let Some(chunk) = chunks.next().await {
                text.push_str(&String::from_utf8_lossy(chunk?.as_ref()));
            }
            Ok(text)
        })
        .await
    }
}

/// bollard wants a number of seconds until the response head; a wait has none.
pub(super) const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// A creation or removal that is in progress ends within a second or so; 100 looks at 100 ms are far beyond that.
const LOOKS: u32 = 100;
const LOOK_PAUSE: Duration = Duration::from_millis(100);

fn state_of(found: bollard::models::ContainerInspectResponse) -> ContainerState {
    let state = found.state.unwrap_or_default();
    let network = found.network_settings.unwrap_or_default();
    let running = state.running.unwrap_or(false);
    let addresses = network
        .networks
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(name, endpoint)| Some((name, endpoint.ip_address.filter(|a| !a.is_empty())?)))
        .collect();
    ContainerState {
        id: found.id.unwrap_or_default(),
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        status: status_of(state.status),
        running,
        pid: state.pid.and_then(|p| u32::try_from(p).ok()).unwrap_or(0),
        exit_code: state.exit_code.unwrap_or(0),
        oom_killed: state.oom_killed.unwrap_or(false),
        error: state.error.filter(|e| !e.is_empty()),
        sandbox_key: network.sandbox_key.filter(|k| running && !k.is_empty()).map(PathBuf::from),
        image: found.image.unwrap_or_default(),
        labels: found.config.and_then(|c| c.labels).unwrap_or_default().into_iter().collect(),
        // The engine writes year 1 for "never".
        started_at: state.started_at.filter(|t| !t.starts_with("0001-")),
        addresses,
    }
}

fn status_of(status: Option<Status>) -> ContainerStatus {
    match status {
        Some(Status::CREATED) => ContainerStatus::Created,
        Some(Status::RUNNING) => ContainerStatus::Running,
        Some(Status::PAUSED) => ContainerStatus::Paused,
        Some(Status::RESTARTING) => ContainerStatus::Restarting,
        Some(Status::REMOVING) => ContainerStatus::Removing,
        Some(Status::EXITED) => ContainerStatus::Exited,
        Some(Status::DEAD) => ContainerStatus::Dead,
        Some(_) | None => ContainerStatus::Unknown,
    }
}
