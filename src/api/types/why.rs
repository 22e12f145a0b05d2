//! `GET /apps/{app}/why`: how the app is, and why.

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;
use crate::names::{AppName, InstanceId, ReleaseNumber};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    pub app: AppName,
    /// What is live.
    pub release: Option<ReleaseNumber>,
    pub verdict: Verdict,
    /// One sentence.
    pub summary: String,
    /// The end that it is about; none: nothing ended.
    pub end: Option<End>,
    /// The end of what it wrote.
    pub last_lines: Vec<String>,
    /// The release that `changed` is compared with.
    pub since: Option<ReleaseNumber>,
    /// One difference per line. Names of config keys, never values.
    pub changed: Vec<String>,
    /// What paas did about it.
    pub done: Vec<String>,
    /// What a person may do, the most helpful first.
    pub next: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing was ever live.
    Nothing,
    Well,
    /// All runs, but something ended within the last day.
    Recovered,
    /// Something is wrong, and the app still answers.
    Troubled,
    /// No instance that takes requests runs.
    Down,
    /// The newest deploy failed; what served before serves.
    DeployFailed,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    pub at: UnixMillis,
    /// `web.1`
    pub name: String,
    pub instance: InstanceId,
    pub release: ReleaseNumber,
    pub cause: EndCause,
    /// In words.
    pub how: String,
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// The limit that it met: bytes of memory or disk.
    pub limit: Option<u64>,
    pub ran_ms: u64,
    /// Ends like this one without a longer run between them, this one included.
    pub in_a_row: u32,
    pub restarts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    Exit,
    Signal,
    OutOfMemory,
    /// It did not answer its liveness check.
    Hung,
    /// It filled its disk limit, or the host's reserve.
    Disk,
    NotStarted,
    /// Its container was stopped or removed by something else than paas.
    Lost,
}
