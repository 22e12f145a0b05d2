//! `paas drill` takes the server's processes away under counted traffic and says what it did; an administrator on the server alone may.

use std::time::Duration;

use serde_json::Value;

use crate::support::World;

fn drill(w: &World, app: &str, more: &[&str]) -> crate::support::Done {
    let config = w.config.display().to_string();
    let args: Vec<&str> = ["drill", "-a", app, "--config", &config, "--seconds", "2"].iter().chain(more).copied().collect();
    w.paas(&args)
}

#[test]
fn a_drill_kills_every_part_and_no_request_is_lost_but_those_in_flight() {
    let w = World::start();
    let (app, _repo) = w.live("drilled", "one");
    w.paas(&["ps", "scale", "-a", &app, "web=2"]).ok();
    let before = ["daemon", "dialer", "proxy"].map(|role| w.pid_of(role));

    let done = drill(&w, &app, &["--yes", "--json", "--rate", "200"]);

    assert_eq!(done.code, 0, "{done}");
    let receipt = done.json();
    let faults: Vec<&Value> = receipt["faults"].as_array().expect("a list").iter().collect();
    let names: Vec<&str> = faults.iter().filter_map(|f| f["fault"].as_str()).collect();
    assert_eq!(names, ["restart", "daemon", "dialer", "proxy", "instance"]);
    assert_eq!(receipt["lost"], 0);
    for fault in &faults {
        let served = fault["requests"]["served"].as_u64().expect("a number");
        assert!(served > 50 && fault["lost"] == 0 && fault["back_ms"].is_u64() && fault["recovered_ms"].is_u64(), "{fault:#}");
        let quiet = ["restart", "daemon", "dialer"].contains(&fault["fault"].as_str().unwrap_or_default());
        assert!(!quiet || fault["requests"]["dropped"] == 0, "nothing in flight ends with it: {fault:#}");
    }
    assert_eq!(faults[0]["requests"]["complete"], true, "the deploy's own counts: {:#}", faults[0]);
    for (role, old) in ["daemon", "dialer", "proxy"].iter().zip(before) {
        assert_ne!(w.pid_of(role), old, "the {role} was not killed");
    }
    w.serves(&app, "one");
}

#[test]
fn a_drill_that_loses_requests_says_so_and_fails() {
    let w = World::start();
    let (app, _repo) = w.live("lost", "one");
    let done = std::thread::scope(|scope| {
        let drilling = scope.spawn(|| drill(&w, &app, &["--yes"]));
        // Nothing of the drill's own: the app goes away under it.
        crate::support::eventually("the drill has begun", Duration::from_secs(30), || {
            w.deploys(&app).iter().any(|d| d["cause"] == "restart").then_some(())
        });
        w.paas(&["ps", "scale", "-a", &app, "web=0"]).ok();
        std::thread::sleep(Duration::from_millis(1500));
        w.paas(&["ps", "scale", "-a", &app, "web=1"]).ok();
        drilling.join().expect("no panic")
    });
    assert_eq!(done.code, 1, "{done}");
    done.says(&["answered 503 instead of 200", "were lost", "served", "dropped"]);
}

#[test]
fn an_app_made_for_a_drill_is_gone_afterwards() {
    let w = World::start();
    let config = w.config.display().to_string();
    let done = w.paas(&["drill", "--make", "--yes", "--config", &config, "--seconds", "1", "--rate", "50"]).ok();
    done.says(&["Killing the proxy", "served", "answered again after", "No request was lost"]);
    assert_eq!(w.paas(&["apps", "list", "--json"]).ok().out.trim(), "[]");
}

#[test]
fn only_a_yes_on_the_server_itself_begins_a_drill() {
    let w = World::shared("drill");
    let (app, _repo) = w.live("asked", "one");
    drill(&w, &app, &[]).fails(2).says(&["needs a yes", "--yes"]);
    w.ssh("laptop", &["drill", "-a", &app, "--yes"], b"").fails(2).says(&["can't be run here"]);
    drill(&w, &app, &["--yes", "--path", "no-slash"]).fails(2);
    drill(&w, "nobody", &["--yes"]).fails(1).says(&["nobody"]);
    w.serves(&app, "one");
}
