//! SIGKILL of a process between any two steps: a restart finishes the deploy or fails it cleanly, and the same push can be repeated.

use std::time::Duration;

use crate::support::{Repo, World, eventually};

#[test]
fn a_daemon_that_is_killed_or_stopped_during_the_release_command_finishes_the_deploy_runs_it_once_and_tells_the_pusher() {
    let w = World::start();
    for (app, signal) in [("midway-1", "-KILL"), ("midway-2", "-TERM")] {
        let (app, repo) = w.live(app, "one");
        repo.write("paas.toml", "[release]\ncommand = [\"/testapp\", \"release\"]\n")
            .write("mode", "release_ms=3000\n")
            .release("two");

        let pushed = std::thread::scope(|scope| {
            let push = scope.spawn(|| w.push(&repo, &app));
            eventually("the release command begins", Duration::from_secs(60), || {
                w.log_texts(&app, 200, &[]).iter().any(|l| l.contains("release command of two begins")).then_some(())
            });
            w.end("daemon", signal);
            push.join().expect("no panic")
        });

        // Whoever pushed saw it through: never "rejected" of what went live.
        pushed.ok().says(&["Live: v2", "main -> main"]);
        assert_eq!(w.get(&app, "/").text(), format!("{app} two\n"));
        let begun = w.log_texts(&app, 1000, &[]).iter().filter(|l| l.contains("release command of two begins")).count();
        assert_eq!(begun, 1, "the release command ran again");
        consistent(&w, &app);
    }
}

#[test]
fn every_role_killed_in_turn_leaves_the_app_serving_and_deployable() {
    let w = World::start();
    let (app, repo) = w.live("roles", "v-0");
    for (n, role) in ["daemon", "dialer", "proxy"].iter().enumerate() {
        w.kill(role);
        eventually(&format!("an answer after {role} was killed"), Duration::from_secs(5), || {
            (crate::support::Client::connect(w.proxy(), &w.host(&app)).ok()?.get("/").ok()?.status == 200).then_some(())
        });
        let version = format!("v-{}", n + 1);
        repo.release(&version);
        w.push(&repo, &app).ok();
        w.serves(&app, &version);
    }
    consistent(&w, &app);
}

#[test]
fn an_app_whose_container_was_killed_or_removed_comes_back() {
    let w = World::shared("crash_recovery");
    let (app, _repo) = w.live("behind", "one");
    let containers = || w.docker(&["ps", "-q", "--filter", &format!("label=paas.app={app}")]).out.trim().to_owned();

    drop(crate::support::Client::connect(w.proxy(), &w.host(&app)).and_then(|mut c| c.get("/crash")));
    eventually("init restarts the app", Duration::from_secs(5), || (w.get(&app, "/").status == 200).then_some(()));

    w.docker(&["rm", "-f", &containers()]).ok();
    eventually("the daemon puts another container in its place", Duration::from_secs(30), || {
        (w.get(&app, "/").status == 200).then_some(())
    });
    w.serves(&app, "one");
}

#[test]
fn a_daemon_killed_during_a_build_lets_the_same_push_work() {
    let w = World::start();
    let (app, repo) = (w.app("build"), Repo::testapp("one"));
    std::thread::scope(|scope| {
        let push = scope.spawn(|| w.push(&repo, &app));
        eventually("a deploy is admitted", Duration::from_secs(30), || {
            let deploys = w.paas(&["deploys", "list", "-a", &app, "--json"]);
            (deploys.code == 0 && deploys.out.contains("d1")).then_some(())
        });
        w.kill("daemon");
        drop(push.join().expect("no panic"));
    });

    let done = w.push(&repo, &app);
    assert!(done.code == 0 || done.text().contains("up-to-date"), "{done}");
    eventually("the app serves", Duration::from_secs(60), || (w.get(&app, "/").status == 200).then_some(()));
    consistent(&w, &app);
}

/// One live release; the store and Docker agree on what runs.
#[track_caller]
fn consistent(w: &World, app: &str) {
    assert!(w.live_release(app).is_some(), "no release is live");
    eventually("Docker runs what `ps` shows", Duration::from_secs(45), || {
        let containers = w.docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &format!("label=paas.app={app}")]).out;
        (containers.lines().count() == w.instances(app).len()).then_some(())
    });
}
