//! `GET /apps/{app}/logs`: a stream of [`LogEvent`].

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;
use crate::names::{AppName, InstanceId, ProcessName, ReleaseNumber};

/// The query of `GET /apps/{app}/logs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsQuery {
    /// Goes on with new lines instead of ending.
    #[serde(default)]
    pub tail: bool,
    /// The last so many lines of the past. None: the server's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num: Option<usize>,
    /// `web`, `web.1`, `router`, `build`, `deploy`, `run.4`; several with commas between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixMillis>,
    /// Only lines that hold this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grep: Option<String>,
    /// The cursor of the last line seen: goes on right after it. With it, `num` and `since` mean nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One line of the stream. Empty lines between them keep the connection alive and mean nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "nearly all are lines, and each is moved twice")]
pub enum LogEvent {
    Line(LogLine),
    /// The past has been sent; a later call with this cursor goes on from here.
    CaughtUp {
        cursor: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    pub at: UnixMillis,
    pub app: AppName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessName>,
    /// The number after the dot in `web.1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    pub kind: LogKind,
    pub stream: LogStream,
    pub text: String,
    /// The line was longer than 64 KiB.
    #[serde(default)]
    pub truncated: bool,
    /// Of a line of the proxy about a request: what `text` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Opaque: where a reader that has this line goes on.
    pub cursor: String,
}

/// One request, or one connection that was passed through (method `TLS`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Access {
    pub method: String,
    /// With the query.
    pub path: String,
    pub host: String,
    /// The client's address.
    pub client: String,
    /// 0: the connection ended without an answer.
    pub status: u16,
    /// Of the bodies.
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// From the request's head to its end, and to the head of the answer.
    pub total_ms: f64,
    pub first_byte_ms: Option<f64>,
    pub request_id: String,
    pub instance: Option<InstanceId>,
    /// Waited for an instance.
    pub held_ms: u64,
    pub retries: u64,
    /// Of requests like this one, the share that has a line: one line stands for `1 / sample` requests.
    pub sample: f64,
    /// Why there was no whole answer of the app.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    App,
    Build,
    Deploy,
    Router,
    Platform,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    Stdout,
    Stderr,
}
