//! `GET /alerts`, `POST /alerts/test`.

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;

/// One thing that somebody should know, or should have known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub id: i64,
    /// `disk_low`, `crash_loop`, `ends_often`, `out_of_memory`, `cannot_run`, `deploy_failed`, `docker_down`, `role_down`, `certificate_ends`, `certificate_spoilt`; more may come.
    pub kind: String,
    /// `docker`, `proxy`, a path, `shop`, `shop/web`.
    pub subject: String,
    pub text: String,
    pub hint: String,
    pub raised_at: UnixMillis,
    /// None: it is so now.
    pub cleared_at: Option<UnixMillis>,
}

/// What came of a test message to one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The key in the host config: `webhook`, `exec`.
    pub to: String,
    /// None: it took the message.
    pub error: Option<String>,
}
