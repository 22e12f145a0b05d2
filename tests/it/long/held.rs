//! A hold that lasts longer than a request may wait.

use std::time::Duration;

use crate::support::{Repo, World, eventually};

#[test]
fn a_request_held_in_vain_is_counted_as_dropped_by_the_deploy_that_held_it() {
    let w = World::start();
    let (app, repo) = (w.app("held"), Repo::testapp("one"));
    repo.write("paas.toml", "[deploy]\nstrategy = \"stop-start\"\n[processes.web]\nhealth = { grace = \"120s\" }\n")
        .commit("stop-start");
    w.push(&repo, &app).ok();
    repo.write("mode", "boot_ms=75000\n").release("two");
    let held = std::thread::scope(|scope| {
        let push = scope.spawn(|| w.push(&repo, &app));
        eventually("the deploy holds requests", Duration::from_secs(60), || {
            w.deploys(&app).iter().any(|d| d["state"] == "probing").then_some(())
        });
        let reply = w.get(&app, "/");
        push.join().expect("no panic").ok();
        reply
    });
    assert_eq!(held.status, 503, "{held:?}");
    w.serves(&app, "two");
    let counts = eventually("the counts are complete", Duration::from_secs(30), || {
        let info = w.paas(&["deploys", "info", "d2", "--json"]).ok().json();
        (info["counts"]["complete"] == true).then(|| info["counts"].clone())
    });
    assert_eq!(counts["dropped"], 1, "{counts}");
}
