//! `GET /apps/{app}/metrics`: [`Metrics`]. `GET /metrics`: all that the caller may see, in Prometheus's text format.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;
use crate::names::{AppName, InstanceId, ProcessName, ReleaseNumber};

/// The query of both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsQuery {
    /// Seconds that the figures are of, up to an hour; none: 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// Of `/metrics`: only this app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
}

/// An app's requests as the proxy measured them, each at its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    pub app: AppName,
    pub at: UnixMillis,
    /// Seconds that the figures are of: what was asked for, or less if the daemon has not run so long.
    pub window: u64,
    pub all: Figures,
    /// By instance; then releases of which no instance is left; then what the proxy answered without an instance.
    pub rows: Vec<Row>,
    /// Requests in each `step` seconds of the window, the oldest first; the last step is not over.
    pub requests: Vec<u64>,
    pub step: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// None: the proxy's own answers.
    pub release: Option<ReleaseNumber>,
    /// None: instances that are gone.
    pub instance: Option<InstanceId>,
    pub process: Option<ProcessName>,
    /// The number after the dot in `web.1`.
    pub index: Option<u32>,
    #[serde(flatten)]
    pub figures: Figures,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Requests per second, over the window or as long as this has been there.
    pub per_second: f64,
    /// Now; of these, `streams` are streams.
    pub in_flight: u64,
    pub streams: u64,
    /// In the window.
    pub counts: Counts,
    /// Since the daemon or all that was measured began.
    pub totals: Counts,
    /// In the window. To the head of the instance's answer.
    pub first_byte: Times,
    /// To the last byte of an answer; not of streams.
    pub total: Times,
    /// New connections to the instance.
    pub dial: Times,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub requests: u64,
    /// `2xx` and so on; `none`: without a whole head of an answer.
    pub by_class: BTreeMap<String, u64>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub held: u64,
    pub retried: u64,
    /// Of the requests, those that became streams.
    pub streams: u64,
    /// Requests that got no whole answer of the app, by why.
    pub dropped: BTreeMap<String, u64>,
}

/// Wrong by less than a quarter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    pub count: u64,
    pub mean_micros: Option<u64>,
    pub p50_micros: Option<u64>,
    pub p95_micros: Option<u64>,
    pub p99_micros: Option<u64>,
}
