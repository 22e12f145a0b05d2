//! `GET /apps/{app}/ps`, `POST /apps/{app}/scale`, `/restart` (both answer with a stream of [`super::deploys::DeployEvent`]), `/run` and
//! `/exec` (both upgrade to `paas-stream`, see [`crate::api::stream`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::deploys::RequestCounts;
use crate::base::clock::UnixMillis;
use crate::base::secret::Secret;
use crate::names::{AppName, CommitSha, ConfigKey, InstanceId, ProcessName, ReleaseNumber};

/// `POST /apps/{app}/scale`: process type → number of instances.
pub type Scale = BTreeMap<ProcessName, u32>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ps {
    pub app: AppName,
    pub release: Option<ReleaseNumber>,
    pub commit: Option<CommitSha>,
    pub processes: Vec<Process>,
    /// Clients get a page instead of it.
    #[serde(default)]
    pub maintenance: Option<super::maintenance::Maintenance>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    pub process: ProcessName,
    /// What it runs; none: the image's own command.
    pub command: Option<String>,
    pub wanted: u32,
    pub instances: Vec<Instance>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    /// The number after the dot in `web.1`.
    pub index: u32,
    pub release: ReleaseNumber,
    pub commit: Option<CommitSha>,
    pub state: InstanceState,
    /// Since when it is in this state.
    pub since: UnixMillis,
    pub restarts: u32,
    pub memory: Option<u64>,
    pub memory_limit: Option<u64>,
    pub in_flight: Option<u64>,
    /// What became of its requests so far; only for what takes requests.
    #[serde(default)]
    pub requests: Option<RequestCounts>,
    /// How it ended the last time: "exit code 1", "out of memory".
    pub last_end: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Made, its app not yet begun.
    Gated,
    /// Begun, not yet proven.
    Starting,
    Running,
    /// It ended several times in a row without a healthy run between; it is tried again, with growing pauses.
    CrashLoop,
    /// It hung; its requests finish, then it starts anew.
    Restarting,
    /// Ended by itself; waits before the next try.
    BackingOff,
    /// Finishes its requests.
    Draining,
    Stopping,
    Ended,
    /// The daemon has not heard of it since its own start.
    Unknown,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// None: all process types.
    #[serde(default)]
    pub process: Option<ProcessName>,
}

/// Characters of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    pub columns: u16,
    pub rows: u16,
}

/// A one-off instance of the live release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// One element is a line for `/bin/sh -c`; more are the arguments themselves.
    pub command: Vec<String>,
    #[serde(default)]
    pub tty: bool,
    #[serde(default)]
    pub size: Option<TerminalSize>,
    #[serde(default)]
    pub env: BTreeMap<ConfigKey, Secret<String>>,
}

/// A command inside an instance that runs already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// `web.1`, `web` or `i45`; none: the first `web`.
    #[serde(default)]
    pub instance: Option<String>,
    /// As in [`RunRequest::command`]; empty: an interactive shell.
    pub command: Vec<String>,
    #[serde(default)]
    pub tty: bool,
    #[serde(default)]
    pub size: Option<TerminalSize>,
}
