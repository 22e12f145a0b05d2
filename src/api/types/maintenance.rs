//! `GET, PUT /apps/{app}/maintenance`.

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;
use crate::names::AppName;

/// Bytes that the words of a page may have.
pub const LONGEST_MESSAGE: usize = 1000;
/// Milliseconds that requests may wait at most.
pub const LONGEST_HOLD: u64 = 600_000;

/// Whether an app is being worked on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    pub app: AppName,
    /// None: it is not, and the rest says nothing.
    pub since: Option<UnixMillis>,
    pub by: String,
    /// Plain text; none: a sentence of ours.
    pub message: Option<String>,
    /// Requests wait so long before they get the page.
    pub hold_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetMaintenance {
    pub on: bool,
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub hold_ms: u64,
}
