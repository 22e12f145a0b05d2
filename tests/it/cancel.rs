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

/// Pushes, cancels once the deploy is in `state`, and looks at what is left: the pusher is told, soon, and the old release serves alone.
#[track_caller]
fn cancelled_in(w: &World, app: &str, repo: &Repo, state: &str) {
    let serving = w.get(app, "/").text();
    std::thread::scope(|scope| {
        let push = scope.spawn(|| w.push(repo, app));
        eventually(&format!("the deploy is {state}"), Duration::from_secs(60), || (state_of_last(w, app) == state).then_some(()));
        let id = w.deploys(app)[0]["id"].as_str().expect("an id").to_owned();
        w.paas(&["deploys", "cancel", &id]).ok();
        let asked = std::time::Instant::now();
        // A release command is asked to end before it is killed: it may be in the middle of a change.
        let limit = Duration::from_secs(if state == "preparing" { 20 } else { 8 });
        let pushed = push.join().expect("no panic");
        assert!(pushed.code != 0 && asked.elapsed() < limit, "told after {:?}: {pushed}", asked.elapsed());
        pushed.says(&["cancelled"]).never_says(&["Live: "]);
        w.paas(&["deploys", "cancel", &id]).fails(1).says(&["is over"]);
    });
    assert_eq!(w.get(app, "/").text(), serving);
    eventually(&format!("nothing is left of what was {state}"), Duration::from_secs(20), || {
        let names = w.docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &format!("label=paas.app={app}")]).out;
        (names.lines().count() == w.instances(app).len() && state_of_last(w, app) == "cancelled").then_some(())
    });
}

#[test]
fn a_build_and_a_release_command_are_cancelled_in_the_middle() {
    let w = World::shared("cancel");
    let (app, repo) = w.live("building", "one");
    let builds =
        "FROM scratch\nCOPY testapp /testapp\nCOPY version mode /\nRUN [\"/testapp\", \"release\"]\nENTRYPOINT [\"/testapp\"]\n";
    let mode = format!("release_ms=90000\nsalt={}\n", w.domain);
    repo.write("Dockerfile", builds).write("mode", mode).release("two");
    cancelled_in(&w, &app, &repo, "building");
    repo.write("Dockerfile", crate::support::SCRATCH)
        .write("paas.toml", "[release]\ncommand = [\"/testapp\", \"release\"]\n")
        .release("three");
    cancelled_in(&w, &app, &repo, "preparing");
}

#[test]
fn a_deploy_that_waits_for_the_old_instance_to_finish_is_cancelled_and_the_request_is_answered() {
    let w = World::shared("cancel");
    let (app, repo) = w.live("starting", "one");
    repo.write("paas.toml", "[deploy]\nstrategy = \"stop-start\"\n").release("two");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| w.client(&app).get("/slow?ms=15000").expect("the slow request is answered"));
        eventually("the slow request is in flight", Duration::from_secs(10), || {
            let instances = w.instances(&app);
            instances.iter().any(|i| i["in_flight"].as_u64() > Some(0)).then_some(())
        });
        cancelled_in(&w, &app, &repo, "starting");
        assert!(!slow.is_finished(), "the cancel waited for the request");
        assert_eq!(slow.join().expect("no panic").text(), "slow done\n");
    });
}

#[test]
fn a_deploy_that_waits_behind_others_or_for_a_place_is_cancelled() {
    let w = World::shared("cancel");
    let (app, repo) = w.live("behind", "one");
    std::thread::scope(|scope| {
        // Two older generations still finish: a third must wait at the very door.
        let streams = ["two", "three"].map(|version| {
            let stream = scope.spawn(|| w.client(&app).get("/stream?n=150&ms=100").expect("the stream ends properly"));
            eventually("the stream is in flight", Duration::from_secs(10), || {
                w.instances(&app).iter().any(|i| i["in_flight"].as_u64() > Some(0)).then_some(())
            });
            repo.release(version);
            w.push(&repo, &app).ok();
            stream
        });
        repo.release("four");
        cancelled_in(&w, &app, &repo, "shifting");
        for stream in streams {
            assert!(stream.join().expect("no panic").text().ends_with("chunk 149\n"));
        }
    });
    repo.write("mode", NEVER_READY).release("five");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| w.push(&repo, &app));
        eventually("the first one probes", Duration::from_secs(30), || (state_of_last(&w, &app) == "probing").then_some(()));
        let slow = w.deploys(&app)[0]["id"].as_str().expect("an id").to_owned();
        let second = scope.spawn(|| w.paas(&["ps", "restart", "-a", &app]));
        eventually("the second one waits", Duration::from_secs(30), || (state_of_last(&w, &app) == "queued").then_some(()));
        let queued = w.deploys(&app)[0]["id"].as_str().expect("an id").to_owned();
        w.paas(&["deploys", "cancel", &queued]).ok();
        w.paas(&["deploys", "cancel", &slow]).ok();
        assert_ne!(first.join().expect("no panic").code, 0);
        second.join().expect("no panic").fails(1).says(&["cancelled"]);
    });
    w.serves(&app, "three");
}
