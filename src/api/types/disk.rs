//! `GET /disk`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What takes space on the server. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Each filesystem that holds something of paas, once.
    pub filesystems: Vec<Filesystem>,
    /// Rows of the database by table.
    #[serde(default)]
    pub rows: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    /// The folder by which it was found.
    pub path: String,
    /// `state`, `logs`, `docker`.
    pub holds: Vec<String>,
    pub total: u64,
    pub free: u64,
    /// What must stay free for a push or a build to begin.
    pub reserve: u64,
    /// At least the reserve is free.
    pub ok: bool,
    pub uses: Vec<Use>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// `state`, `logs`, `docker`, or `other` for what is not of paas.
    pub area: String,
    pub what: String,
    /// Missing where it could not be found out, as when the engine is away.
    pub bytes: Option<u64>,
}
