//! A deploy: the attempt to make a release live.
//!
//! ```text
//! Queued → Building → Preparing → Starting → Probing → Shifting ‖ Live       ‖ = the commit point
//!    └────────┴──────────┴───────────┴──────────┴──────────┴→ Failed · Cancelled · Superseded (from Queued only)
//! ```
//! Left of ‖ a failure undoes only what this deploy made; right of it we only go forward.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::clock::UnixMillis;
use crate::base::crash::Point;
use crate::names::{AppName, BranchName, CommitSha, DeployId, KeyId, ProcessName, ReleaseNumber};

/// Where a deploy stands. The text forms are stored and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Admitted; waits for the app's earlier deploy or for a build slot.
    Queued,
    /// Source → image (nothing to do for a deploy that reuses one).
    Building,
    /// New instances are created behind their gates; then the release command runs.
    Preparing,
    /// The gate of what takes requests opens.
    Starting,
    /// Health is asked for.
    Probing,
    /// The proxy validates the new routes; the store commits; the proxy activates.
    Shifting,
    /// The new release is the app's live one.
    Live,
    /// Ended left of the commit point; the old release serves.
    Failed,
    /// Ended by a person.
    Cancelled,
    /// A newer deploy took its place in the queue.
    Superseded,
}

impl State {
    pub const ALL: [State; 10] = [
        State::Queued,
        State::Building,
        State::Preparing,
        State::Starting,
        State::Probing,
        State::Shifting,
        State::Live,
        State::Failed,
        State::Cancelled,
        State::Superseded,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Building => "building",
            State::Preparing => "preparing",
            State::Starting => "starting",
            State::Probing => "probing",
            State::Shifting => "shifting",
            State::Live => "live",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Superseded => "superseded",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// No further move is possible.
    pub fn is_over(self) -> bool {
        matches!(self, State::Live | State::Failed | State::Cancelled | State::Superseded)
    }

    /// The crash points right before and right after the commit of a move into this state.
    pub fn crash_points(self) -> Option<(Point, Point)> {
        match self {
            State::Building => Some((Point::BeforeMoveBuilding, Point::AfterMoveBuilding)),
            State::Preparing => Some((Point::BeforeMovePreparing, Point::AfterMovePreparing)),
            State::Starting => Some((Point::BeforeMoveStarting, Point::AfterMoveStarting)),
            State::Probing => Some((Point::BeforeMoveProbing, Point::AfterMoveProbing)),
            State::Shifting => Some((Point::BeforeMoveShifting, Point::AfterMoveShifting)),
            State::Live => Some((Point::BeforeMoveLive, Point::AfterMoveLive)),
            State::Failed => Some((Point::BeforeMoveFailed, Point::AfterMoveFailed)),
            State::Cancelled => Some((Point::BeforeMoveCancelled, Point::AfterMoveCancelled)),
            State::Queued | State::Superseded => None,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The legal moves; the store refuses every other one in the transaction that would write it.
pub fn may_move(from: State, to: State) -> bool {
    let forward = matches!(
        (from, to),
        (State::Queued, State::Building)
            | (State::Building, State::Preparing)
            | (State::Preparing, State::Starting)
            | (State::Starting, State::Probing)
            | (State::Probing, State::Shifting)
            | (State::Shifting, State::Live)
    );
    let ended = !from.is_over() && matches!(to, State::Failed | State::Cancelled);
    forward || ended || (from == State::Queued && to == State::Superseded)
}

/// What a deploy starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Origin {
    /// A pushed commit; the branch moves when the deploy is live.
    Push { branch: BranchName, old: Option<CommitSha> },
    /// An uploaded archive, kept until the build has ended.
    Tarball { sha256: String },
    /// An image that the engine already has or can pull.
    Image { reference: String },
    /// The live release with the app's new config.
    Config,
    /// The live release again, in new instances: all of them or those of one process type.
    Restart { process: Option<ProcessName> },
    /// The live release with another number of instances.
    Scale,
    /// An earlier release: its image, manifest and config.
    Rollback { to: ReleaseNumber },
}

impl Deploy {
    /// Which of its app's deploys took this one's place: the first later one that may. One between them that takes nobody's place is not it.
    pub fn superseded_by(&self, others: &[Deploy]) -> Option<DeployId> {
        others.iter().filter(|d| d.id > self.id && d.origin.supersedes(&self.origin)).map(|d| d.id).min()
    }
}

impl Origin {
    /// Builds or fetches something new, as opposed to reusing the live release's image.
    pub fn brings_source(&self) -> bool {
        matches!(self, Origin::Push { .. } | Origin::Tarball { .. } | Origin::Image { .. })
    }

    /// May this new deploy take the place of `queued`, which has not begun? Nothing a person asked for may be lost by it: a change of
    /// config, scale or a restart is contained in whatever release is made later, a source or a rollback is not.
    pub fn supersedes(&self, queued: &Origin) -> bool {
        match self {
            Origin::Push { .. } | Origin::Tarball { .. } | Origin::Image { .. } => true,
            // It brings an older config back: a change that was asked for before must not vanish in it.
            Origin::Rollback { .. } => !matches!(queued, Origin::Config),
            Origin::Config => matches!(queued, Origin::Config | Origin::Restart { .. } | Origin::Scale),
            Origin::Restart { process: None } => matches!(queued, Origin::Restart { .. } | Origin::Scale),
            Origin::Restart { process: Some(_) } => queued == self,
            Origin::Scale => matches!(queued, Origin::Scale),
        }
    }

    pub fn is_rollback(&self) -> bool {
        matches!(self, Origin::Rollback { .. })
    }

    /// For lists: `push main`, `rollback to v3`.
    pub fn describe(&self) -> String {
        match self {
            Origin::Push { branch, .. } => format!("push {branch}"),
            Origin::Tarball { sha256 } => format!("tarball {}", &sha256[..sha256.len().min(12)]),
            Origin::Image { reference } => format!("image {reference}"),
            Origin::Config => "config change".to_owned(),
            Origin::Restart { process: None } => "restart".to_owned(),
            Origin::Restart { process: Some(process) } => format!("restart of {process}"),
            Origin::Scale => "scale".to_owned(),
            Origin::Rollback { to } => format!("rollback to {to}"),
        }
    }
}

/// Why a deploy ended left of the commit point, kept with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The state in which it failed.
    pub stage: State,
    pub why: String,
    pub last_lines: Vec<String>,
    /// One command or act that helps.
    pub next: String,
}

/// One deploy as stored.
#[derive(Debug, Clone)]
pub struct Deploy {
    pub id: DeployId,
    pub app_id: i64,
    pub app: AppName,
    pub origin: Origin,
    pub state: State,
    pub commit: Option<CommitSha>,
    pub release: Option<ReleaseNumber>,
    pub by: Option<KeyId>,
    /// `root`, `key laptop`; none: an old row.
    pub by_name: Option<String>,
    pub cancel_asked: bool,
    /// The branch of a push was moved to its commit.
    pub branch_moved: bool,
    pub created_at: UnixMillis,
    /// When the present state was entered.
    pub entered_at: UnixMillis,
    pub failure: Option<Failure>,
    pub counts: Option<RequestCounts>,
}

/// What happened to requests while a deploy changed over: from the moment its old targets were closed until its old instances were gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Answered to the end, by old or new instances.
    pub served: u64,
    /// Waited for an instance first.
    pub held: u64,
    /// Sent again, where it was certain that nothing had been sent.
    pub retried: u64,
    /// Of those served: begun at an old instance before the change and ended there after it.
    pub drained: u64,
    /// Closed at the end of a drain budget.
    pub cut: u64,
    /// Answered 502 or 504 by the proxy, or with an answer that broke off.
    pub dropped: u64,
    /// All that the instances it made answered in their lives; grows as they go.
    #[serde(default)]
    pub answered: u64,
    /// The old instances are gone: all but `answered` stays as it is.
    #[serde(default)]
    pub complete: bool,
}

impl RequestCounts {
    /// The sum, complete if either is.
    pub fn plus(self, more: &Self) -> Self {
        Self {
            served: self.served + more.served,
            held: self.held + more.held,
            retried: self.retried + more.retried,
            drained: self.drained + more.drained,
            cut: self.cut + more.cut,
            dropped: self.dropped + more.dropped,
            answered: self.answered + more.answered,
            complete: self.complete || more.complete,
        }
    }

    /// What was counted since `before`; nothing where a count went back.
    pub fn minus(self, before: &Self) -> Self {
        Self {
            served: self.served.saturating_sub(before.served),
            held: self.held.saturating_sub(before.held),
            retried: self.retried.saturating_sub(before.retried),
            drained: self.drained.saturating_sub(before.drained),
            cut: self.cut.saturating_sub(before.cut),
            dropped: self.dropped.saturating_sub(before.dropped),
            answered: self.answered.saturating_sub(before.answered),
            complete: self.complete,
        }
    }
}

#[cfg(test)]
mod tests;
