//! A deploy can be ended at any moment before its commit point, a newer one takes a queued one's place, and an app can be destroyed in the middle.

use std::time::Duration;

use crate::support::{Repo, World, eventually};

/// Boots longer than any of these tests takes.
const NEVER_READY: &str = "boot_ms=120000\n";

fn state_of_last(w: &World, app: &str) -> String {
    w.deploys(app).first().map(|d| d["state"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

#[test]
fn a_cancelled_deploy_leaves_the_old_release_and_nothing_else() {
    let w = World::shared("cancel");
    let (app, repo) = w.live("stopped", "one");
    repo.write("mode", NEVER_READY).release("two");
    std::thread::scope(|scope| {
        let push = scope.spawn(|| w.push(&repo, &app));
        eventually("the deploy probes", Duration::from_secs(30), || (state_of_last(&w, &app) == "probing").then_some(()));
        let id = w.deploys(&app)[0]["id"].as_str().expect("an id").to_owned();

        w.paas(&["deploys", "cancel", &id]).ok();

        let pushed = push.join().expect("the push ends");
        assert_ne!(pushed.code, 0, "{pushed}");
        pushed.says(&["cancelled", "v1 still serves"]);
    });
    w.serves(&app, "one");
    eventually("only the old instance is left", Duration::from_secs(20), || (w.instances(&app).len() == 1).then_some(()));
    // The same push can be repeated once the cause is gone.
    repo.write("mode", "").release("three");
    w.push(&repo, &app).ok();
    w.serves(&app, "three");
}

#[test]
fn of_two_pushes_that_wait_the_newer_one_goes_live() {
    let w = World::shared("cancel");
    let (app, repo) = w.live("queue", "one");
    repo.write("mode", NEVER_READY).release("two");
    let second = Repo::testapp("three");
    let third = Repo::testapp("four");
    let refs = ["+HEAD:refs/heads/main"];
    std::thread::scope(|scope| {
        let first = scope.spawn(|| w.push(&repo, &app));
        eventually("the first one probes", Duration::from_secs(30), || (state_of_last(&w, &app) == "probing").then_some(()));
        let slow = w.deploys(&app)[0]["id"].as_str().expect("an id").to_owned();
        let older = scope.spawn(|| w.push_as("laptop", &second, &app, &refs));
        eventually("the second one waits", Duration::from_secs(30), || (state_of_last(&w, &app) == "queued").then_some(()));
        let newer = scope.spawn(|| w.push_as("laptop", &third, &app, &refs));

        let superseded = older.join().expect("the push ends");
        assert_ne!(superseded.code, 0, "{superseded}");
        superseded.says(&["superseded"]);
        w.paas(&["deploys", "cancel", &slow]).ok();

        assert_ne!(first.join().expect("the push ends").code, 0);
        newer.join().expect("the push ends").ok();
    });
    w.serves(&app, "four");
}

#[test]
fn an_app_that_is_destroyed_in_the_middle_of_a_deploy_leaves_nothing() {
    let w = World::shared("cancel");
    let (app, repo) = w.live("doomed", "one");
    repo.write("mode", NEVER_READY).release("two");
    std::thread::scope(|scope| {
        let push = scope.spawn(|| w.push(&repo, &app));
        eventually("the deploy probes", Duration::from_secs(30), || (state_of_last(&w, &app) == "probing").then_some(()));

        w.paas(&["apps", "destroy", &app, "--confirm", &app]).ok();

        assert_ne!(push.join().expect("the push ends").code, 0);
    });
    assert!(!w.objects().iter().any(|object| object.contains(&app)), "left: {:?}", w.objects());
    assert_eq!(w.get(&app, "/").status, 404, "nothing is routed to it any more");
    // The name is free, and nothing of the old app is in the new one.
    w.paas(&["apps", "create", &app]).ok();
    assert!(w.releases(&app).is_empty());
}

#[test]
fn a_manifest_cannot_take_the_own_name_of_another_app() {
    let w = World::shared("cancel");
    let (victim, _repo) = w.live("victim", "one");
    let (thief, repo) = w.live("athief", "one");
    repo.write("paas.toml", format!("[domains]\nnames = [\"{}\"]\n", w.host(&victim))).release("two");

    w.push(&repo, &thief).fails(1).says(&[&w.host(&victim), "another app"]);

    w.serves(&victim, "one");
    w.serves(&thief, "one");
}
