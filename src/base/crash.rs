//! Crash points: named places between two effects where a test kills the process, to prove that a restart heals.
//!
//! Every point stands in [`Point`]; a test walks [`Point::ALL`] and fails for one that was not hit. `PAAS_CRASH_AT=<name>` in the
//! environment of a process arms one point; without it a point costs one load of a flag.

use std::sync::OnceLock;

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// A place where a process may be killed. The text is the name in `PAAS_CRASH_AT`.
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
    SessionAuthorised = "session-authorised",
    HookStarted = "hook-started",
    HookDeployAsked = "hook-deploy-asked",
    HookReported = "hook-reported",
    // Admission, in the daemon.
    CommitPinned = "commit-pinned",
    DeployAdmitted = "deploy-admitted",
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
    ReleaseRecorded = "release-recorded",
    // Preparing.
    NetworkMade = "network-made",
    InstanceRecorded = "instance-recorded",
    InstanceCreated = "instance-created",
    InstanceStarted = "instance-started",
    ReleaseCommandCreated = "release-command-created",
    ReleaseCommandStarted = "release-command-started",
    ReleaseCommandEnded = "release-command-ended",
    // Starting and probing.
    OldStopped = "old-stopped",
    GateOpened = "gate-opened",
    TargetRegistered = "target-registered",
    ProbePassed = "probe-passed",
    // The commit point.
    SnapshotPrepared = "snapshot-prepared",
    SnapshotActivated = "snapshot-activated",
    WorkersSwitched = "workers-switched",
    BranchMoved = "branch-moved",
    // After it.
    Drained = "drained",
    OldTermed = "old-termed",
    OldRemoved = "old-removed",
    ImagesPruned = "images-pruned",
    // Clean-up of a deploy that failed.
    FailedRemoved = "failed-removed",
}

static ARMED: OnceLock<Option<Point>> = OnceLock::new();

/// Kills this process with SIGKILL if `point` is the armed one; otherwise does nothing.
pub fn point(point: Point) {
    if armed() == Some(point) {
        die();
    }
}

fn armed() -> Option<Point> {
    *ARMED.get_or_init(|| {
        let name = std::env::var("PAAS_CRASH_AT").ok()?;
        Point::ALL.iter().copied().find(|p| p.name() == name)
    })
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
        assert!(names.len() >= 46, "the registry must hold at least 46 points, has {}", names.len());
    }
}
