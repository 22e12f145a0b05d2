//! Any kept release serves again within seconds, without a build.

use std::time::Duration;

use crate::support::{Traffic, World, eventually};

#[test]
fn a_rollback_serves_the_release_before_without_a_build_and_fails_no_request() {
    let w = World::shared("rollback");
    let (app, repo) = w.live("back", "one");
    repo.release("two");
    w.push(&repo, &app).ok();
    let traffic = Traffic::start(w.proxy(), &w.host(&app), &app, 4);
    traffic.wait_for(50);

    let done = w.paas(&["rollback", "-a", &app]).ok();

    w.serves(&app, "one");
    // Two seconds of ours and the boot of the test app, which is a few milliseconds.
    assert!(done.took < Duration::from_secs(3), "the rollback took {:?}\n{done}", done.took);
    assert!(!done.text().contains("Building"), "{done}");
    traffic.wait_for(50);
    let counted = traffic.stop();
    assert!(counted.failed.is_empty(), "{:?}", counted.failed);
}

#[test]
fn a_release_whose_containers_are_long_gone_comes_back_by_its_number() {
    let w = World::shared("rollback");
    let (app, repo) = w.live("old", "one");
    for version in ["two", "three", "four"] {
        repo.release(version);
        w.push(&repo, &app).ok();
    }
    let first =
        w.releases(&app).iter().filter_map(|r| r["number"].as_str().map(str::to_owned)).find(|r| r == "v1").expect("v1 is kept");
    eventually("the old containers are gone", Duration::from_secs(60), || {
        let containers = w.docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &format!("label=paas.app={app}")]).out;
        (containers.lines().count() == 1).then_some(())
    });

    w.paas(&["rollback", &first, "-a", &app]).ok();
    w.serves(&app, "one");
    w.paas(&["rollback", "v4", "-a", &app]).ok();
    w.serves(&app, "four");
}

#[test]
fn a_rollback_brings_back_the_configuration_of_its_release() {
    let w = World::shared("rollback");
    let (app, _repo) = w.live("settings", "one");
    w.paas(&["config", "set", "-a", &app, "COLOUR=red"]).ok();
    w.paas(&["config", "set", "-a", &app, "COLOUR=blue"]).ok();
    assert!(w.get(&app, "/env").text().contains("COLOUR=blue\n"));

    w.paas(&["rollback", "-a", &app]).ok();

    assert!(w.get(&app, "/env").text().contains("COLOUR=red\n"));
}

#[test]
fn a_release_that_never_was_is_refused_with_those_that_there_are() {
    let w = World::shared("rollback");
    let (app, _repo) = w.live("never", "one");

    w.paas(&["rollback", "v9", "-a", &app]).fails(1).says(&["v9", "v1"]);
    w.paas(&["rollback", "-a", &app]).fails(1);

    w.serves(&app, "one");
}
