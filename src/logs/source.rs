//! Who wrote a segment.

use serde::{Deserialize, Serialize};

use crate::names::{AppName, InstanceId, ProcessName, ReleaseNumber};

/// What kind of lines a source has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Output of an instance.
    App,
    Build,
    Deploy,
    /// Access lines of the proxy.
    Router,
    /// What paas did to the app otherwise.
    Platform,
}

impl Kind {
    /// The name in `-p` and in front of a line, for lines that are not an app's.
    pub fn word(self) -> &'static str {
        match self {
            Kind::App => "app",
            Kind::Build => "build",
            Kind::Deploy => "deploy",
            Kind::Router => "router",
            Kind::Platform => "platform",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    pub app: AppName,
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
}

impl Source {
    /// The daemon's own lines of one kind about one app.
    pub fn of_kind(app: AppName, kind: Kind) -> Self {
        Self { app, kind, process: None, instance: None, index: None, release: None }
    }

    /// What stands in front of its lines: `web.1`, `router`.
    pub fn label(&self) -> String {
        match (&self.process, self.index) {
            (Some(process), Some(index)) => format!("{process}.{index}"),
            (Some(process), None) => process.to_string(),
            (None, _) => self.kind.word().to_owned(),
        }
    }

    /// Whether `-p given` means this source: `web`, `web.1`, `i45`, `router`, `build`, `deploy`.
    pub fn is_called(&self, given: &str) -> bool {
        let process = self.process.as_ref().is_some_and(|p| p.as_str() == given);
        let instance = self.instance.is_some_and(|i| i.to_string() == given);
        process || instance || self.label() == given || (self.kind != Kind::App && self.kind.word() == given)
    }
}

/// The first record of every segment, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub version: u32,
    pub segment: u64,
    pub created_micros: i64,
    pub source: Source,
}

/// What this code writes. A reader takes any version it can parse.
pub const HEADER_VERSION: u32 = 1;
