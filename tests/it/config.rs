//! Configuration reaches the app, makes a release, and is readable only where it should be.

use std::time::Duration;

use crate::support::{Repo, World, eventually, json_lines};

/// Builds as long as `release_ms` says.
const SLOW_BUILD: &str =
    "FROM scratch\nCOPY testapp /testapp\nCOPY version mode /\nRUN [\"/testapp\", \"release\"]\nENTRYPOINT [\"/testapp\"]\n";

/// A push of an app that has no release yet; gives what `meanwhile` did once the deploy was in `state`.
fn first_push<T>(w: &World, app: &str, repo: &Repo, state: &str, works: bool, meanwhile: impl FnOnce() -> T) -> T {
    w.paas(&["apps", "create", app]).ok();
    std::thread::scope(|scope| {
        let push = scope.spawn(|| w.push(repo, app));
        eventually(&format!("the deploy is {state}"), Duration::from_secs(60), || {
            w.deploys(app).first().is_some_and(|deploy| deploy["state"] == state).then_some(())
        });
        let done = meanwhile();
        let pushed = push.join().expect("the push ends");
        assert_eq!(pushed.code == 0, works, "{pushed}");
        done
    })
}

#[test]
fn a_change_makes_a_release_and_reaches_the_app() {
    let w = World::shared("config");
    let (app, _repo) = w.live("set", "one");

    w.paas(&["config", "set", "-a", &app, "GREETING=hello world", "EMPTY="]).ok();

    let env = w.get(&app, "/env").text();
    assert!(env.contains("GREETING=hello world\n") && env.contains("EMPTY=\n"), "{env}");
    assert_eq!(w.paas(&["config", "get", "-a", &app, "GREETING"]).ok().out, "hello world\n");
    assert_eq!(w.live_release(&app).as_deref(), Some("v2"));
    w.paas(&["config", "unset", "-a", &app, "GREETING"]).ok();
    assert!(!w.get(&app, "/env").text().contains("GREETING"));
}

#[test]
fn a_change_that_breaks_the_app_is_not_kept() {
    let w = World::shared("config");
    let (app, _repo) = w.live("breaks", "one");

    let failed = w.paas(&["config", "set", "-a", &app, "TESTAPP_EXIT=3"]);

    assert_eq!(failed.code, 1, "{failed}");
    w.serves(&app, "one");
    assert!(!w.get(&app, "/env").text().contains("TESTAPP_EXIT"));
}

#[test]
fn a_value_stands_in_no_log_no_file_and_no_other_container() {
    let w = World::shared("config");
    let (app, _repo) = w.live("secret", "one");
    let canary = "canary-5f1d0c9e7b";
    w.paas(&["config", "set", "-a", &app, &format!("TOKEN={canary}")]).ok();

    assert!(!w.logs_of_roles().contains(canary));
    assert!(!w.log_texts(&app, 500, &[]).concat().contains(canary));
    let grep = std::process::Command::new("grep").args(["-rl", canary]).arg(w.state_dir()).output().expect("grep runs");
    assert_eq!(String::from_utf8_lossy(&grep.stdout), "", "the value stands on disk in clear");
    w.paas(&["deploys", "list", "-a", &app, "--json"]).ok().never_says(&[canary]);
    assert!(!w.last_deploy(&app).to_string().contains(canary));
}

#[test]
fn names_that_belong_to_paas_and_names_that_are_none_are_refused() {
    let w = World::shared("config");
    let (app, _repo) = w.live("refused", "one");
    for bad in ["PAAS_RELEASE=v9", "9LIVES=1", "WITH SPACE=1", "NOVALUE"] {
        let done = w.paas(&["config", "set", "-a", &app, bad]);
        assert!(done.code == 1 || done.code == 2, "{done}");
    }
    assert_eq!(w.live_release(&app).as_deref(), Some("v1"));
}

#[test]
fn the_list_is_data_and_speaks_json() {
    let w = World::shared("config");
    let (app, _repo) = w.live("list", "one");
    w.paas(&["config", "set", "-a", &app, "B=2", "A=1"]).ok();

    let text = w.paas(&["config", "list", "-a", &app]).ok().out;
    let json = json_lines(&w.paas(&["config", "list", "-a", &app, "--json"]).ok().out.replace('\n', ""));

    assert!(text.contains("A: 1") && text.contains("B: 2"), "{text}");
    assert!(json[0].to_string().contains("\"A\""), "{json:?}");
    assert_eq!(w.paas(&["config:get", "A", "-a", &app]).ok().out, "1\n", "noun:verb is understood too");
}

#[test]
fn a_change_while_the_first_deploy_builds_goes_live_after_it() {
    let w = World::shared("config");
    let (app, repo) = (w.app("early"), Repo::testapp("one"));
    repo.write("Dockerfile", SLOW_BUILD).write("mode", "release_ms=4000\n").commit("slow");

    let set = first_push(&w, &app, &repo, "building", true, || w.paas(&["config", "set", "-a", &app, "GREETING=hello"]));

    set.ok().never_says(&["the first deploy will use it"]);
    let env = w.get(&app, "/env").text();
    assert!(env.contains("GREETING=hello\n"), "{env}");
}

#[test]
fn a_scale_while_the_first_deploy_boots_goes_live_after_it() {
    let w = World::shared("config");
    let (app, repo) = (w.app("wide"), Repo::testapp("one"));
    repo.write("mode", "boot_ms=3000\n").commit("slow");

    first_push(&w, &app, &repo, "probing", true, || w.paas(&["ps", "scale", "-a", &app, "web=2"])).ok();

    assert_eq!(w.instances(&app).len(), 2);
}

#[test]
fn a_change_beside_a_first_deploy_that_fails_waits_for_the_next_and_hides_no_failure() {
    let w = World::shared("config");
    let (app, repo) = (w.app("unlucky"), Repo::testapp("one"));
    repo.write("Dockerfile", SLOW_BUILD).write("mode", "release_ms=4000\nrelease_exit=9\n").commit("slow and bad");

    let set = first_push(&w, &app, &repo, "building", false, || w.paas(&["config", "set", "-a", &app, "GREETING=hello"]));

    set.fails(1).says(&["did not go live", "the change is stored", "the next deploy will use it"]);
    let states: Vec<_> = w.deploys(&app).iter().map(|deploy| deploy["state"].clone()).collect();
    assert_eq!(states, ["cancelled", "failed"]);
    w.paas(&["why", "-a", &app]).says(&["failed at building"]);
    repo.write("mode", "").commit("mended");
    w.push(&repo, &app).ok();
    assert!(w.get(&app, "/env").text().contains("GREETING=hello\n"));
}
