//! What has to happen for a point to be passed, and who dies there. Every point is on one road: a new one does not compile until it is.

use std::time::Duration;

use paas::base::crash::Point;

use super::Scene;
use crate::support::{Done, Repo, eventually};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    /// A push that goes live, up to its start.
    Making,
    /// The same, from there on to the end of its clean-up.
    Shifting,
    /// A push whose ssh session or hook dies.
    Session,
    /// The first push of an app that does not exist.
    NewApp,
    /// A push whose app ends at once.
    Failing,
    /// A push that is cancelled while it probes.
    Cancelled,
    /// A third push, while the first one probes and the second one waits.
    Superseded,
    /// With `strategy = "stop-start"`.
    StopStart,
    StopStartFailing,
    /// An app made by hand, and one that is destroyed: walked by `ends`, as no push passes there.
    Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dies {
    Daemon,
    Session,
}

impl Road {
    pub fn of(point: Point) -> Road {
        use Point as P;
        match point {
            P::SessionStarted | P::SessionAuthorised | P::HookStarted | P::HookDeployAsked | P::HookReported => Road::Session,
            P::AppRecorded => Road::NewApp,
            #[rustfmt::skip]
            P::AppPublished | P::DestroyAsked | P::DestroyMarked | P::DestroyUnrouted | P::DestroyDeploysEnded | P::DestroyInstancesGone
            | P::DestroyNetworkGone | P::DestroyImagesGone | P::DestroyRepoGone | P::DestroyLogsGone | P::DestroyFilesGone
            | P::DestroyForgotten => Road::Ending,
            P::OlderSuperseded => Road::Superseded,
            P::BeforeMoveFailed | P::AfterMoveFailed | P::CandidatesGiven | P::FailedRemoved | P::FailureTold => Road::Failing,
            P::BeforeMoveCancelled | P::AfterMoveCancelled => Road::Cancelled,
            P::HoldPublished | P::OldPaused | P::OldStopped => Road::StopStart,
            P::PausedWanted | P::HoldEnded => Road::StopStartFailing,
            P::KeyChecked
            | P::RepoMade
            | P::PushTaken
            | P::DeployAdmitted
            | P::CommitPinned
            | P::BeforeMoveBuilding
            | P::AfterMoveBuilding
            | P::BeforeMovePreparing
            | P::AfterMovePreparing
            | P::BeforeMoveStarting
            | P::ContextOpened
            | P::BuildStarted
            | P::BuildEnded
            | P::NetworkMade
            | P::InstanceRecorded
            | P::InstanceCreated
            | P::InstanceStarted
            | P::InitsReported
            | P::ReleaseCommandCreated
            | P::ReleaseCommandNoted
            | P::ReleaseCommandStarted
            | P::ReleaseCommandEnded => Road::Making,
            P::AfterMoveStarting
            | P::BeforeMoveProbing
            | P::AfterMoveProbing
            | P::BeforeMoveShifting
            | P::AfterMoveShifting
            | P::BeforeMoveLive
            | P::AfterMoveLive
            | P::TargetRegistered
            | P::GateOpened
            | P::ProbePassed
            | P::SnapshotPrepared
            | P::SnapshotActivated
            | P::WorkersTold
            | P::WorkersSwitched
            | P::BranchSet
            | P::BranchMoved
            | P::LiveTold
            | P::Drained
            | P::OldTermed
            | P::OldEnded
            | P::ContainerRemoved
            | P::FolderRemoved
            | P::OldRemoved
            | P::SourceDropped
            | P::ImagesPruned
            | P::DeployEnded => Road::Shifting,
        }
    }

    pub fn dies(self) -> Dies {
        if self == Road::Session { Dies::Session } else { Dies::Daemon }
    }

    /// The `mode` of the pushed version.
    pub fn mode(self) -> &'static str {
        match self {
            Road::Making | Road::Shifting | Road::Session | Road::NewApp | Road::StopStart | Road::Ending => "",
            Road::Failing | Road::StopStartFailing => "exit=7\n",
            Road::Cancelled => "never=1\n",
            Road::Superseded => "boot_ms=2500\n",
        }
    }

    /// Whether the pushed version goes live.
    pub fn succeeds(self) -> bool {
        !matches!(self, Road::Failing | Road::StopStartFailing | Road::Cancelled)
    }

    /// Whether the pusher asks once, and so one deploy comes of it.
    pub fn is_one_push(self) -> bool {
        matches!(self, Road::Making | Road::Shifting | Road::Failing | Road::Cancelled | Road::StopStart | Road::StopStartFailing)
    }

    /// Whether each point needs a push of its own: the pusher's end of the first one is dead.
    pub fn takes_one(self) -> bool {
        self.dies() == Dies::Session
    }

    /// Does what passes the armed points; gives the end of the push that is about the scene's version.
    pub fn go(self, scene: &Scene, points: &[&str]) -> Done {
        let Scene { w, app, repo, .. } = scene;
        match self {
            Road::Making | Road::Shifting | Road::Session | Road::Failing | Road::StopStart | Road::StopStartFailing => {
                w.push(repo, app)
            }
            Road::NewApp => {
                let (fresh, first) = (w.app("fresh"), Repo::testapp("first"));
                let pushed = w.push(&first, &fresh);
                w.push(&first, &fresh).ok();
                w.serves(&fresh, "first");
                crate::support::invariants(w, &fresh);
                w.paas(&["apps", "destroy", &fresh, "--confirm", &fresh]).ok();
                pushed
            }
            Road::Cancelled => std::thread::scope(|scope| {
                let push = scope.spawn(|| w.push(repo, app));
                let deploy = wait_for_state(scene, "probing");
                // The daemon may die before it has answered.
                let asked = w.paas(&["deploys", "cancel", &deploy]);
                let done = push.join().expect("the push ends");
                assert!(done.text().contains("cancelled"), "{points:?}: {asked}\n{done}");
                assert_eq!(w.paas(&["deploys", "info", &deploy, "--json"]).ok().json()["state"], "cancelled");
                done
            }),
            Road::Superseded => superseded(scene, points),
            Road::Ending => unreachable!("no push passes {points:?}"),
        }
    }

    /// The same push again, of a version that does not go live; then the working copy is mended.
    pub fn repeat(self, scene: &Scene) {
        let Scene { w, app, repo, .. } = scene;
        if self != Road::Cancelled {
            w.push(repo, app).fails(1).says(&["code 7", "still serves"]);
        }
        repo.write("mode", "").commit("mended");
    }
}

fn superseded(scene: &Scene, points: &[&str]) -> Done {
    let Scene { w, app, repo, .. } = scene;
    let (second, third) = (another(repo, "second"), another(repo, "third"));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| w.push(repo, app));
        wait_for_state(scene, "probing");
        let waits = scope.spawn(|| w.push(&second, app));
        wait_for_state(scene, "queued");
        let last = w.push(&third, app);
        assert_eq!(last.code, 0, "{points:?}: {last}");
        first.join().expect("the push ends").ok();
        waits.join().expect("the push ends").fails(1).says(&["superseded"]);
        // The working copy goes on from what is live now.
        repo.git(&["pull", "-q", &third.path().display().to_string(), "main"]).ok();
        repo.write("mode", "").release(&format!("v{}", scene.version));
        last
    })
}

/// A clone of the working copy with a version of its own.
fn another(repo: &Repo, version: &str) -> Repo {
    let clone = Repo::empty();
    clone.git(&["pull", "-q", &repo.path().display().to_string(), "main"]).ok();
    clone.write("mode", "").release(version);
    clone
}

fn wait_for_state(scene: &Scene, state: &str) -> String {
    let found = || {
        // The daemon may just be dying.
        let listed = scene.w.paas(&["deploys", "list", "-a", &scene.app, "--json"]);
        let deploys: serde_json::Value = serde_json::from_str(&listed.out).ok()?;
        let deploy = deploys.as_array()?.iter().find(|d| d["state"] == state)?;
        deploy["id"].as_str().map(str::to_owned)
    };
    eventually(&format!("a deploy is {state}"), Duration::from_secs(30), found)
}
