//! `up.json`: what the supervisor knows of its roles, for `paas up` in the background and for diagnostics.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::atomic_file;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The supervisor's process id.
    pub pid: u32,
    pub roles: BTreeMap<String, RoleStatus>,
}

/// One role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleStatus {
    pub state: State,
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Processes that gave their place to a newer one and finish what they have.
    #[serde(default)]
    pub older: Vec<u32>,
    /// Its own line for people.
    pub status: String,
}

/// Where a role is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Started, and has not said READY=1 yet.
    Starting,
    Ready,
    /// It has said STOPPING=1.
    Stopping,
    /// It has ended and waits for its restart, or for the end.
    Ended,
}

impl Status {
    pub(super) fn path(run_dir: &Path) -> PathBuf {
        run_dir.join("up.json")
    }

    pub(super) fn write(&self, run_dir: &Path) -> io::Result<()> {
        atomic_file::write(&Self::path(run_dir), &serde_json::to_vec(self)?, 0o644)
    }

    /// Reads the file of `run_dir`; none if there is no supervisor, or a broken file.
    pub fn read(run_dir: &Path) -> Option<Status> {
        serde_json::from_slice(&std::fs::read(Self::path(run_dir)).ok()?).ok()
    }

    /// The first role that is not ready.
    pub(super) fn not_ready(&self) -> Option<&str> {
        self.roles.iter().find(|(_, role)| role.state != State::Ready).map(|(name, _)| name.as_str())
    }
}
