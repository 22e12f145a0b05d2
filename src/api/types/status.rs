//! `GET /version`, `GET /status`.

use serde::{Deserialize, Serialize};

use super::alerts::Alert;
use crate::base::clock::UnixMillis;
use crate::names::{AppName, DeployId, ReleaseNumber};

/// The version of the API: a client refuses a daemon whose number is higher than its own.
pub const API_VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub version: String,
    pub commit: String,
    pub api: u32,
}

/// How the server is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: Version,
    /// The UUID of this installation.
    pub install: String,
    pub domain: Option<String>,
    pub started_at: UnixMillis,
    pub docker: Part,
    pub proxy: Part,
    pub dialer: Part,
    pub memory: Option<Memory>,
    /// Free bytes where the state lies.
    pub disk_free: Option<u64>,
    pub apps: u32,
    pub instances: u32,
    pub deploys_active: Vec<DeployId>,
    /// What somebody should look at; empty is good.
    pub problems: Vec<Problem>,
    /// Every app and whether it serves; those that do not first.
    #[serde(default)]
    pub app_states: Vec<AppStatus>,
    /// The newest failed deploys of the last week, newest first: at most five.
    #[serde(default)]
    pub deploys_failed: Vec<FailedDeploy>,
    /// The file systems of the state and of Docker.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// The open ones.
    #[serde(default)]
    pub alerts: Vec<Alert>,
}

/// One app, in the one screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    pub app: AppName,
    pub state: AppState,
    /// The live release.
    pub release: Option<ReleaseNumber>,
    /// Instances that should run, and those that do.
    pub wanted: u32,
    pub running: u32,
    /// Clients get a page instead of it.
    #[serde(default)]
    pub maintenance: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppState {
    /// None of its instances runs.
    Down,
    /// Some run.
    Degraded,
    Destroying,
    /// It has no release yet.
    Empty,
    /// It is scaled to nothing.
    Off,
    Serving,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedDeploy {
    pub deploy: DeployId,
    pub app: AppName,
    pub at: UnixMillis,
    pub why: String,
}

/// Bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    pub path: String,
    pub free: u64,
    pub total: u64,
    /// With less than this free it is low.
    pub reserve: u64,
}

/// One thing that paas stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub ok: bool,
    /// A version, an address, or why it is not ok.
    pub detail: String,
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    pub total: u64,
    pub available: u64,
    /// The sum of the limits of all instances.
    pub promised: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub what: String,
    pub hint: Option<String>,
}
