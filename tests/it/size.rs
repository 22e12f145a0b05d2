//! Use leaves nothing behind: after many questions and many deploys an installation takes what it took before.
//!
//! The ends are alike (a push of a changed app), so that what is bounded stands at the same place of its bound.

use std::time::{Duration, Instant};

use crate::support::{Footprint, Repo, World, difference, eventually};

/// Old instances drain and go in the background.
const SETTLED: Duration = Duration::from_secs(60);

/// A world that remembers little, so that its bounds are reached by a few deploys.
pub fn forgetful_world() -> World {
    World::start_with("[limits]\nkeep_releases = 2\nkeep_deploys = 3\n", &[])
}

/// One push of a changed app.
#[track_caller]
pub fn push_changed(w: &World, repo: &Repo, app: &str, version: &str) {
    repo.write("payload", format!("{version} ").repeat(20_000));
    repo.release(version);
    w.push(repo, app).ok();
}

/// `rounds` times the three questions that people and scripts ask most.
#[track_caller]
pub fn ask(w: &World, app: &str, rounds: usize) {
    for _ in 0..rounds {
        w.paas(&["ps", "-a", app]).ok();
        w.paas(&["logs", "-a", app, "-n", "5"]).ok();
        w.paas(&["config", "list", "-a", app]).ok();
    }
}

/// Waits until the installation takes what it took `before`.
#[track_caller]
pub fn back_to(w: &World, before: &Footprint, after_what: &str) {
    let started = Instant::now();
    let mut left = difference(before, &w.footprint());
    while !left.is_empty() && started.elapsed() < SETTLED {
        std::thread::sleep(Duration::from_millis(500));
        left = difference(before, &w.footprint());
    }
    assert!(left.is_empty(), "after {after_what} there is more or less than before:\n{}", left.join("\n"));
}

/// Takes an app over the bounds of a forgetful world and gives what it takes then.
#[track_caller]
pub fn settled(w: &World, app: &str, repo: &Repo) -> Footprint {
    for n in 0..8 {
        push_changed(w, repo, app, &format!("warm-{n}"));
    }
    ask(w, app, 2);
    eventually("the old instances are gone", SETTLED, || (w.footprint()["containers"] == 1).then_some(()));
    // Segments of logs and connections of the last client end a moment later.
    let mut before = w.footprint();
    eventually("the installation is at rest", SETTLED, || {
        std::thread::sleep(Duration::from_secs(1));
        let now = w.footprint();
        let rests = now == before;
        before = now;
        rests.then_some(())
    });
    before
}

#[test]
fn questions_and_deploys_leave_descriptors_networks_images_rows_and_files_as_they_were() {
    let w = forgetful_world();
    let (app, repo) = w.live("size", "one");
    let before = settled(&w, &app, &repo);

    ask(&w, &app, 50);
    back_to(&w, &before, "150 questions");
    w.paas(&["ps", "restart", "-a", &app]).ok();
    w.paas(&["rollback", "-a", &app]).ok();
    for n in 0..4 {
        push_changed(&w, &repo, &app, &format!("v-{n}"));
    }
    back_to(&w, &before, "a restart, a rollback and 4 pushes");
    assert!(before["rows of deploys"] <= 6 && before["rows of events"] <= 70 && before["images"] <= 4, "{before:?}");
}

#[test]
fn many_pushes_are_folded_into_few_packs() {
    let w = World::start();
    let (app, repo) = w.live("packs", "one");
    // Branches that do not deploy: the objects come, and a deploy at the end folds them.
    for n in 0..31 {
        repo.release(&format!("b{n}"));
        w.push_as("laptop", &repo, &app, &[&format!("HEAD:refs/heads/b{n}")]).ok();
    }
    let folder = w.state_dir().join(format!("apps/{app}/repo.git/objects/pack"));
    let packs = || {
        let files = std::fs::read_dir(&folder).expect("packs").flatten();
        files.filter(|f| f.path().extension().is_some_and(|e| e == "pack")).count()
    };
    assert!(packs() > 30, "{} packs", packs());
    repo.release("two");
    w.push(&repo, &app).ok();
    eventually("the packs are folded", Duration::from_secs(60), || (packs() <= 2).then_some(()));
    w.serves(&app, "two");
    repo.release("three");
    w.push(&repo, &app).ok();
    w.serves(&app, "three");
}
