//! A release: image, config snapshot and manifest under one number; never changed once made.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;
use crate::base::secret::Secret;
use crate::manifest::{CommandLine, Manifest, ProcessSpec};
use crate::names::{CommitSha, ConfigKey, DeployId, ProcessName, ReleaseNumber};

/// The environment that the app's owner set.
pub type Config = BTreeMap<ConfigKey, Secret<String>>;

#[derive(Debug, Clone)]
pub struct Release {
    pub app_id: i64,
    pub number: ReleaseNumber,
    pub deploy: DeployId,
    pub commit: Option<CommitSha>,
    /// For lists: `push main`, `config change`.
    pub description: String,
    pub image: Image,
    pub manifest: Manifest,
    pub created_at: UnixMillis,
    pub status: Status,
}

/// The image of a release and what its build found out about running it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The engine's content address, `sha256:…`.
    pub id: String,
    /// The name that keeps the image from being pruned.
    pub tag: String,
    /// What the buildpack or the Procfile in the image says, for process types without a command in the manifest.
    pub default_processes: BTreeMap<ProcessName, CommandLine>,
    pub release_command: Option<CommandLine>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its deploy has not ended.
    Pending,
    Live,
    /// Was live once.
    Retired,
    /// Its deploy failed or was cancelled.
    Failed,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Live => "live",
            Status::Retired => "retired",
            Status::Failed => "failed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Status::Pending, Status::Live, Status::Retired, Status::Failed].into_iter().find(|s| s.as_str() == text)
    }
}

/// What one process type of a release runs; `None` means the image's own ENTRYPOINT and CMD.
#[derive(Debug, Clone)]
pub struct Process {
    pub name: ProcessName,
    pub command: Option<CommandLine>,
    pub spec: ProcessSpec,
}

impl Release {
    /// The process types of this release: those of the manifest, then those that only the image names. An image that names none has
    /// `web` with its own ENTRYPOINT and CMD.
    pub fn processes(&self) -> Vec<Process> {
        let mut all: BTreeMap<ProcessName, Process> = BTreeMap::new();
        for (name, command) in &self.image.default_processes {
            let process = Process { name: name.clone(), command: Some(command.clone()), spec: ProcessSpec::default() };
            all.insert(name.clone(), process);
        }
        for (name, spec) in &self.manifest.processes {
            let command = spec.command.clone().or_else(|| self.image.default_processes.get(name).cloned());
            all.insert(name.clone(), Process { name: name.clone(), command, spec: spec.clone() });
        }
        if all.is_empty() {
            let web = web();
            all.insert(web.clone(), Process { name: web, command: None, spec: ProcessSpec::default() });
        }
        all.into_values().collect()
    }

    /// How a process type wants to be stopped: the signal, and how long it may take.
    pub fn stop_rule(&self, process: &ProcessName) -> (String, Duration) {
        let found = self.processes().into_iter().find(|p| p.name == *process);
        let spec = found.map(|p| p.spec).unwrap_or_default();
        (spec.stop_signal, spec.stop_timeout)
    }

    /// The command that runs once for a new image, before anything of it starts.
    pub fn release_command(&self) -> Option<&CommandLine> {
        self.manifest.release.command.as_ref().or(self.image.release_command.as_ref())
    }
}

/// The process type that takes requests.
pub fn web() -> ProcessName {
    ProcessName::parse("web").expect("`web` is a valid process type")
}

/// How many instances a process type has when nobody said: one of `web`, and one of every other type that the manifest or Procfile names.
pub fn default_count(process: &Process) -> u32 {
    process.spec.instances.unwrap_or(1)
}
