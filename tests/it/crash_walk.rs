//! SIGKILL at every point of the registry (`src/base/crash.rs`), before and after every move and effect of a push and of a deploy, on real parts
//! and under traffic: the next start heals it, the push tells the true outcome, and the same push can be repeated.

pub mod ends;
mod road;
mod starts;

use std::time::{Duration, Instant};

use paas::base::crash::Point;

use crate::support::{Armed, Repo, Traffic, World, eventually, invariants, routes_follow_since};
use road::Dies;
pub use road::Road;
use starts::Starts;

const MORE: &str = "[limits]\nkeep_releases = 3\n";
pub const WORKER: &str = "[processes.web]\n[processes.worker]\ncommand = [\"/testapp\", \"worker\"]\n";
pub const RELEASE: &str = "[release]\ncommand = [\"/testapp\", \"release\"]\n";
pub const STOP_START: &str = "[deploy]\nstrategy = \"stop-start\"\n";
/// So many points are armed for one push; `long::crash_walk` gives each a push of its own.
const AT_ONCE: usize = 5;
const SLOWEST: Duration = Duration::from_secs(20);
const HIT_LIMIT: Duration = Duration::from_secs(60);
/// Between two requests of a client: traffic, but no load.
const PAUSE: Duration = Duration::from_millis(20);

/// A world under crash points, with an app that serves and the traffic to it.
pub struct Scene {
    w: World,
    armed: Armed,
    app: String,
    repo: Repo,
    traffic: Traffic,
    starts: Starts,
    version: u32,
}

impl Scene {
    fn start(manifest: &str) -> Scene {
        let (w, armed) = Armed::world(MORE);
        let (app, repo) = (w.app("walk"), Repo::testapp("v0"));
        repo.write("paas.toml", manifest).commit("first");
        w.push(&repo, &app).ok();
        let traffic = Traffic::start_every(PAUSE, w.proxy(), &w.host(&app), &app, 2);
        let starts = Starts::of(w.install());
        Scene { w, armed, app, repo, traffic, starts, version: 0 }
    }

    fn next_version(&mut self, mode: &str) -> String {
        self.version += 1;
        let version = format!("v{}", self.version);
        self.repo.write("mode", mode).release(&version);
        version
    }

    /// Goes one road with `points` armed, sees a process die at each, and what must then be true.
    fn walk(&mut self, points: &[Point]) {
        let road = Road::of(points[0]);
        let names: Vec<&str> = points.iter().map(|point| point.name()).collect();
        let began = Instant::now();
        let version = self.next_version(road.mode());
        names.iter().for_each(|name| self.armed.arm(name));
        let push = std::thread::scope(|scope| {
            let push = scope.spawn(|| road.go(self, &names));
            if road.dies() == Dies::Daemon {
                self.watch(&names);
            }
            push.join().expect("the push ends")
        });
        names.iter().for_each(|name| self.armed.wait_hit(name));
        match road.dies() {
            Dies::Daemon => assert_eq!(push.code == 0, road.succeeds(), "{names:?}: the push does not tell the outcome: {push}"),
            Dies::Session => assert!(push.code != 0 || names == ["hook-reported"], "{names:?}: {push}"),
        }
        invariants(&self.w, &self.app);
        if road.is_one_push() {
            let (commit, deploys) = (self.repo.head(), self.w.deploys(&self.app));
            let of_it = deploys.iter().filter(|d| d["commit"] == commit.as_str()).count();
            assert_eq!(of_it, 1, "{names:?}: the push was taken more than once: {deploys:?}");
        }
        if road.succeeds() {
            let again = self.w.push(&self.repo, &self.app).ok();
            self.w.serves(&self.app, &version);
            if !again.text().contains("up-to-date") {
                invariants(&self.w, &self.app);
            }
        } else {
            road.repeat(self);
            invariants(&self.w, &self.app);
        }
        self.traffic.so_far().nothing_failed();
        self.starts.none_twice();
        println!("{}: {:.1} s", names.join(" "), began.elapsed().as_secs_f32());
    }

    /// After each death: once a daemon answers again, the proxy serves the one live release within 2 s.
    fn watch(&self, names: &[&str]) {
        let hits = || names.iter().filter(|name| self.armed.was_hit(name)).count();
        let mut seen = 0;
        while seen < names.len() {
            eventually(&format!("the next of {names:?}, after {seen}"), HIT_LIMIT, || (hits() > seen).then_some(()));
            seen = hits();
            let since = self.w.wait_for_daemon();
            if let Err(why) = routes_follow_since(&self.w, &self.app, since) {
                // The daemon that was asked may have died at its own point meanwhile.
                assert!(hits() > seen, "{names:?}, after {seen} hits: {why}\n{}", self.w.logs_of_roles());
            }
        }
    }

    fn end(self) {
        self.traffic.wait_for(20);
        let counted = self.traffic.stop();
        counted.nothing_failed();
        println!("{} requests answered, the slowest in {:?}", counted.answered, counted.slowest);
        // A request that is held in the gap of a stop-start waits for the way back of the daemon too, and no longer.
        assert!(counted.slowest < SLOWEST, "a request took {:?}", counted.slowest);
        self.starts.none_twice();
    }
}

/// Walks the points of `roads` with `manifest`, `at_once` of one road in each push: those that are far apart, so that each death has its own
/// way back.
pub fn walk_all(manifest: &str, roads: &[Road], at_once: usize) {
    let mut scene = Scene::start(manifest);
    let mut walked = 0;
    for road in roads {
        let points: Vec<Point> = Point::ALL.iter().copied().filter(|point| Road::of(*point) == *road).collect();
        let at_once = if road.takes_one() { 1 } else { at_once };
        let pushes = points.len().div_ceil(at_once);
        for n in 0..pushes {
            let group: Vec<Point> = points.iter().copied().skip(n).step_by(pushes).collect();
            scene.walk(&group);
            walked += group.len();
        }
    }
    assert!(walked >= roads.len(), "every road has points");
    scene.end();
}

#[test]
fn a_push_killed_at_any_point_up_to_the_start_goes_live_and_can_be_repeated() {
    walk_all(RELEASE, &[Road::Making], AT_ONCE);
}

#[test]
fn a_push_killed_at_any_point_from_the_start_on_goes_live_and_can_be_repeated() {
    walk_all(WORKER, &[Road::Shifting], AT_ONCE);
}

#[test]
fn a_deploy_that_fails_is_cancelled_or_superseded_may_be_killed_at_any_point_too() {
    walk_all(WORKER, &[Road::Session, Road::NewApp, Road::Failing, Road::Cancelled, Road::Superseded], AT_ONCE);
}

#[test]
fn a_stop_start_deploy_killed_at_any_point_gives_what_it_held_to_somebody() {
    walk_all(STOP_START, &[Road::StopStart, Road::StopStartFailing], AT_ONCE);
}
