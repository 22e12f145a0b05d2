//! An app that is being worked on.

use std::time::Duration;

use crate::base::clock::UnixMillis;

/// What clients get instead of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    /// Plain text; none: a sentence of ours.
    pub message: Option<String>,
    /// Requests wait so long for its end before they get the page.
    pub hold: Duration,
    pub since: UnixMillis,
    /// Who switched it on.
    pub by: String,
}
