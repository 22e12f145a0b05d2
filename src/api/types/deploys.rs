//! `POST, GET /apps/{app}/deploys`, `GET /deploys/{d}`, `GET /deploys/{d}/follow`, `POST /deploys/{d}/cancel`, and the event stream that
//! every change of an app answers with.

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;
use crate::names::{AppName, CommitSha, DeployId, ReleaseNumber};

/// `POST /apps/{app}/deploys` with a JSON body: `{"commit":"…"}` or `{"image":"…"}`. A tarball is a body of its own, see [`DeployQuery`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewDeploy {
    /// A commit that was pushed before.
    Commit(CommitSha),
    Image(String),
    /// The live release once more, with fresh instances.
    Restart(bool),
}

/// The query of `POST /apps/{app}/deploys`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployQuery {
    /// The body is the source itself instead of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<BodySource>,
    /// `false`: the stream ends after `Queued`.
    #[serde(default = "yes")]
    pub wait: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodySource {
    /// A .tar, .tar.gz or .tar.zst; the format is read from its first bytes.
    Tarball,
}

/// One line of the stream. The last one of a stream is `Live`, `Failed`, `Cancelled`, `Superseded` or `Nothing`; a stream that ends without
/// one was cut (the daemon restarted), and `GET /deploys/{d}/follow` goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum DeployEvent {
    /// Admitted. `position` 0 begins at once.
    Queued {
        deploy: DeployId,
        app: AppName,
        position: u32,
    },
    Line {
        stream: DeployStream,
        text: String,
        /// Counts the lines of one deploy from 1, so that a client which comes back drops those it has seen. 0: not counted.
        #[serde(default)]
        seq: u64,
    },
    /// A move of the deploy machine.
    State {
        deploy: DeployId,
        state: String,
        at: UnixMillis,
    },
    Live {
        deploy: DeployId,
        release: ReleaseNumber,
        commit: Option<CommitSha>,
        urls: Vec<String>,
        stages: Vec<StageTime>,
        #[serde(default)]
        counts: Option<RequestCounts>,
    },
    Failed {
        deploy: DeployId,
        stage: String,
        why: String,
        last_lines: Vec<String>,
        still_serves: Option<ReleaseNumber>,
        /// The one command to type next.
        next: String,
    },
    Cancelled {
        deploy: DeployId,
        still_serves: Option<ReleaseNumber>,
    },
    /// A newer push took its place in the queue.
    Superseded {
        deploy: DeployId,
        by: DeployId,
    },
    /// Done without a deploy: there is no release yet, or nothing changed.
    Nothing {
        why: String,
    },
}

impl DeployEvent {
    /// Whether the stream ends here.
    pub fn is_last(&self) -> bool {
        match self {
            DeployEvent::Queued { .. } | DeployEvent::Line { .. } | DeployEvent::State { .. } => false,
            DeployEvent::Live { .. }
            | DeployEvent::Failed { .. }
            | DeployEvent::Cancelled { .. }
            | DeployEvent::Superseded { .. }
            | DeployEvent::Nothing { .. } => true,
        }
    }
}

/// Where a line comes from; decides how it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployStream {
    /// A step of ours: printed after `----->`.
    Step,
    /// What the build printed.
    Build,
    /// What the release command printed.
    Release,
    /// What a new instance printed.
    Instance,
    Warning,
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    pub stage: String,
    pub ms: u64,
}

/// What happened to requests while a deploy changed over: from the moment its old instances took no more until they were gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Answered to the end, by old or new instances.
    pub served: u64,
    /// Waited for an instance first.
    pub held: u64,
    /// Sent again, where nothing had been sent for certain.
    pub retried: u64,
    /// Of those served: begun at an old instance before the change and ended there after it.
    pub drained: u64,
    /// Closed at the end of a drain budget.
    pub cut: u64,
    /// Answered 502 or 504 by the proxy, or with an answer that broke off.
    pub dropped: u64,
    /// All that the instances of this deploy answered in their lives; grows as they go.
    #[serde(default)]
    pub answered: u64,
    /// The old instances are gone: all but `answered` stays as it is.
    #[serde(default)]
    pub complete: bool,
}

/// Why there is a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployCause {
    Push,
    Tarball,
    Image,
    Config,
    Scale,
    Restart,
    Rollback,
}

/// One row of `deploys list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deploy {
    pub id: DeployId,
    pub app: AppName,
    pub cause: DeployCause,
    /// A state of the deploy machine, in lower case: `building`, `live`, `failed`, …
    pub state: String,
    pub commit: Option<CommitSha>,
    pub release: Option<ReleaseNumber>,
    /// The key's name, or the user on the server.
    pub by: Option<String>,
    pub created_at: UnixMillis,
    pub ended_at: Option<UnixMillis>,
    /// One line, if it failed.
    pub why: Option<String>,
}

/// `GET /deploys/{d}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployInfo {
    #[serde(flatten)]
    pub deploy: Deploy,
    pub stages: Vec<StageTime>,
    #[serde(default)]
    pub counts: Option<RequestCounts>,
    #[serde(default)]
    pub failed_stage: Option<String>,
    #[serde(default)]
    pub last_lines: Vec<String>,
    pub image: Option<String>,
    /// Why the build went the way it did: "package.json found".
    pub built_by: Option<String>,
}
