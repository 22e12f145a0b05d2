//! Docker restarted many times, and Docker of another version.

use crate::docker_faults::restarts_without_live_restore;
use crate::support::{OwnEngine, Traffic, World, eventually, two_dockerds};
use std::time::Duration;

#[test]
fn twenty_restarts_of_docker_bring_ten_apps_back_and_mix_up_none() {
    restarts_without_live_restore(10, 20);
}

#[test]
fn docker_is_upgraded_to_another_api_version_under_a_running_daemon() {
    let dockerds = two_dockerds();
    let engine = OwnEngine::prepare(&["--live-restore"]);
    engine.use_program(&dockerds.older);
    engine.start_dockerd();
    let w = World::start_on(engine);
    let (app, repo) = w.live("upgraded", "one");
    let version = || w.paas(&["status", "--json"]).json()["docker"]["detail"].as_str().map(str::to_owned);
    let before = version().expect("status names the engine");
    let traffic = Traffic::start(w.proxy(), &w.host(&app), &app, 4);

    w.engine().stop();
    w.engine().use_program(&dockerds.newer);
    w.engine().start_dockerd();
    let after = eventually("status names the new engine", Duration::from_secs(10), || {
        version().filter(|now| *now != before && now.contains("API"))
    });
    eprintln!("{before} became {after}");
    traffic.wait_for(100);
    repo.release("two");
    w.push(&repo, &app).ok();
    w.serves(&app, "two");
    let seen = traffic.stop();
    assert!(seen.failed.is_empty(), "of {} requests failed: {:?}\n{}", seen.answered, seen.failed, w.logs_of_roles());
    assert!(seen.by_version.contains_key("one") && seen.by_version.contains_key("two"), "{:?}", seen.by_version);
}
