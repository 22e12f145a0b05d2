//! Crash points: named places between two effects where a test kills the process, to prove that a restart heals.
//!
//! Every point stands in [`Point`]; a test walks [`Point::ALL`] and fails for one that was not hit. `PAAS_CRASH_DIR=<folder>` in the
//! environment of a process makes it look there, at each point, for a file of the point's name: who renames that file to `<name>.hit` dies. So a
//! point is armed by making a file, at any time, and kills one process once; the one that is started after it lives. Without the variable a
//! point costs one load of a flag.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// A place where a process may be killed. The text is the name of the file that arms it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point { $($(#[$doc])* $name,)+ }

        impl Point {
            pub const ALL: &'static [Point] = &[$(Point::$name,)+];

            pub fn name(self) -> &'static str {
                match self { $(Point::$name => $text,)+ }
            }
        }
    };
}

points! {
    // The push, in the ssh session and the hook.
    SessionStarted = "session-started",
    SessionAuthorised = "session-authorised",
    HookStarted = "hook-started",
    HookDeployAsked = "hook-deploy-asked",
    HookReported = "hook-reported",
    // The push, in the daemon: who may, the app and its repository, admission.
    KeyChecked = "key-checked",
    AppRecorded = "app-recorded",
    RepoMade = "repo-made",
    PushTaken = "push-taken",
    DeployAdmitted = "deploy-admitted",
    CommitPinned = "commit-pinned",
    OlderSuperseded = "older-superseded",
    // Before and after the commit of every move of the deploy machine.
    BeforeMoveBuilding = "before-move-building",
    AfterMoveBuilding = "after-move-building",
    BeforeMovePreparing = "before-move-preparing",
    AfterMovePreparing = "after-move-preparing",
    BeforeMoveStarting = "before-move-starting",
    AfterMoveStarting = "after-move-starting",
    BeforeMoveProbing = "before-move-probing",
    AfterMoveProbing = "after-move-probing",
    BeforeMoveShifting = "before-move-shifting",
    AfterMoveShifting = "after-move-shifting",
    BeforeMoveLive = "before-move-live",
    AfterMoveLive = "after-move-live",
    BeforeMoveFailed = "before-move-failed",
    AfterMoveFailed = "after-move-failed",
    BeforeMoveCancelled = "before-move-cancelled",
    AfterMoveCancelled = "after-move-cancelled",
    // Building.
    ContextOpened = "context-opened",
    BuildStarted = "build-started",
    BuildEnded = "build-ended",
    // Preparing.
    NetworkMade = "network-made",
    InstanceRecorded = "instance-recorded",
    InstanceCreated = "instance-created",
    InstanceStarted = "instance-started",
    InitsReported = "inits-reported",
    ReleaseCommandCreated = "release-command-created",
    ReleaseCommandNoted = "release-command-noted",
    ReleaseCommandStarted = "release-command-started",
    ReleaseCommandEnded = "release-command-ended",
    // Starting and probing.
    HoldPublished = "hold-published",
    OldPaused = "old-paused",
    OldStopped = "old-stopped",
    TargetRegistered = "target-registered",
    GateOpened = "gate-opened",
    ProbePassed = "probe-passed",
    // The commit point.
    SnapshotPrepared = "snapshot-prepared",
    SnapshotActivated = "snapshot-activated",
    WorkersTold = "workers-told",
    WorkersSwitched = "workers-switched",
    BranchSet = "branch-set",
    BranchMoved = "branch-moved",
    LiveTold = "live-told",
    // After it: the old release goes.
    Drained = "drained",
    OldTermed = "old-termed",
    OldEnded = "old-ended",
    ContainerRemoved = "container-removed",
    FolderRemoved = "folder-removed",
    OldRemoved = "old-removed",
    // Clean-up.
    SourceDropped = "source-dropped",
    ImagesPruned = "images-pruned",
    DeployEnded = "deploy-ended",
    // Clean-up of a deploy that failed.
    CandidatesGiven = "candidates-given",
    PausedWanted = "paused-wanted",
    HoldEnded = "hold-ended",
    FailedRemoved = "failed-removed",
    FailureTold = "failure-told",
    // A new app, and the end of one.
    AppPublished = "app-published",
    DestroyAsked = "destroy-asked",
    DestroyMarked = "destroy-marked",
    DestroyUnrouted = "destroy-unrouted",
    DestroyDeploysEnded = "destroy-deploys-ended",
    DestroyInstancesGone = "destroy-instances-gone",
    DestroyNetworkGone = "destroy-network-gone",
    DestroyImagesGone = "destroy-images-gone",
    DestroyRepoGone = "destroy-repo-gone",
    DestroyLogsGone = "destroy-logs-gone",
    DestroyFilesGone = "destroy-files-gone",
    DestroyForgotten = "destroy-forgotten",
}

static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();

/// Kills this process with SIGKILL if `point` is armed, which disarms it; otherwise does nothing.
pub fn point(point: Point) {
    if let Some(folder) = FOLDER.get_or_init(|| std::env::var_os("PAAS_CRASH_DIR").map(PathBuf::from)) {
        strike(folder, point);
    }
}

fn strike(folder: &Path, point: Point) {
    let armed = folder.join(point.name());
    // A rename succeeds for one process only.
    if std::fs::rename(&armed, armed.with_extension("hit")).is_ok() {
        die();
    }
}

#[cfg(feature = "server")]
fn die() {
    // A test must see what the kernel does to a killed process, so no unwinding, no flush, no exit handler.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
}

#[cfg(not(feature = "server"))]
fn die() {
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let mut names: Vec<&str> = Point::ALL.iter().map(|p| p.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
        assert!(names.len() >= 60, "the registry must hold at least 60 points, has {}", names.len());
    }
}
