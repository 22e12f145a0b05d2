//! `POST /git/session` and `POST /git/push` (a stream of [`PushEvent`]): for the ssh session and git's hook, not for people.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{AppName, CommitSha, DeployId};

/// The daemon says something at least so often while a push is open.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The key bound to this connection wants to run a git service on an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    pub app: AppName,
    pub service: GitService,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GitService {
    /// A push. May create the app.
    ReceivePack,
    /// A fetch or clone. Never creates the app.
    UploadPack,
}

/// What the session needs to run git. A refusal is the API's error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub repo: PathBuf,
    pub hooks: PathBuf,
    /// `receive.maxInputSize`, bytes.
    pub push_bytes: u64,
    /// The app was made by this push.
    pub created: bool,
}

/// The objects are in the repository; the daemon decides, deploys, moves refs and streams [`PushEvent`] lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushRequest {
    pub app: AppName,
    pub commands: Vec<RefCommand>,
    /// `git push -o …`.
    #[serde(default)]
    pub options: Vec<String>,
    /// `git push --atomic`: all refs or none.
    #[serde(default)]
    pub atomic: bool,
    /// Set when the hook lost the daemon in the middle and comes back: nothing new is asked, only the rest of the events.
    #[serde(default)]
    pub resume: Option<PushResume>,
    /// The refs of which the hook has the outcome already: what was done for them is not done again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reported: Vec<String>,
    /// A random name of this push: who asks again with it, not knowing what became of the first time, gets the same deploy.
    #[serde(default)]
    pub push: Option<String>,
}

/// One ref that the push wants to move. All zeros is git's "no commit": an `old` that does not exist yet, a `new` that deletes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefCommand {
    /// As git sent it: any text, judged by the daemon's ref policy.
    #[serde(rename = "ref")]
    pub reference: String,
    pub old: CommitSha,
    pub new: CommitSha,
}

/// Where a hook goes on after a restart of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushResume {
    pub deploy: DeployId,
    /// How many `Line` events that came after `Deploy` were shown already.
    pub lines_seen: u64,
}

/// One line of the stream. It is complete when each command has had its `Report`; one that ends earlier was cut, and the hook resumes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PushEvent {
    /// Shown to the pusher as it is. Without a line end.
    Line { text: String },
    /// The push became this deploy. It is stored, and goes on whatever happens to the pusher.
    Deploy { deploy: DeployId },
    /// The outcome for one ref. `why` is for `! [remote rejected]`.
    Report {
        #[serde(rename = "ref")]
        reference: String,
        ok: bool,
        #[serde(default)]
        why: Option<String>,
    },
    /// Nothing happened for [`KEEP_ALIVE`]; the daemon is alive.
    KeepAlive,
}
