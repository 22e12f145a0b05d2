//! `GET /version`, `GET /status`.

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;
use crate::names::DeployId;

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
