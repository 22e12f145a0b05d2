//! People do things at the same time, go away in the middle, and have clocks that jump: nobody is told two things, and nothing that was
//! acknowledged is lost.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Client, Done, Repo, Traffic, World, eventually};

const SOON: Duration = Duration::from_secs(60);

fn state_of_last(w: &World, app: &str) -> String {
    w.deploys(app).first().and_then(|d| d["state"].as_str().map(str::to_owned)).unwrap_or_default()
}

#[track_caller]
fn wait_for_state(w: &World, app: &str, state: &str) {
    eventually(&format!("a deploy that is {state}"), SOON, || (state_of_last(w, app) == state).then_some(()));
}

/// What a pusher was told is one thing: it is live and git is content, or it is not and git is not.
#[track_caller]
fn was_told_one_thing(pushed: &Done) -> bool {
    let text = pushed.text();
    let live = text.contains("Live: v");
    let ended = ["superseded", "was cancelled", " failed at "].iter().filter(|word| text.contains(**word)).count();
    assert_eq!(usize::from(live) + ended, 1, "one end, not none and not two:\n{pushed}");
    assert_eq!((live, live), (pushed.code == 0, !text.contains("rejected")), "git and paas do not say the same:\n{pushed}");
    live
}

#[test]
fn two_pushes_to_one_app_at_once_are_each_told_what_became_of_them() {
    let w = World::shared("people");
    let (app, _repo) = w.live("twice", "one");
    for round in 0..3 {
        let (mine, yours) = (Repo::testapp(&format!("mine-{round}")), Repo::testapp(&format!("yours-{round}")));
        let refs = ["+HEAD:refs/heads/main"];
        let (a, b) = std::thread::scope(|scope| {
            let first = scope.spawn(|| w.push_as("laptop", &mine, &app, &refs));
            let second = scope.spawn(|| w.push_as("laptop", &yours, &app, &refs));
            (first.join().expect("no panic"), second.join().expect("no panic"))
        });
        let live =
            [(&a, &mine, "mine"), (&b, &yours, "yours")].map(|(pushed, repo, whose)| (was_told_one_thing(pushed), repo, whose));
        assert!(live.iter().any(|(live, ..)| *live), "nobody's push went live:\n{a}\n{b}");
        // Both, or one alone: what serves is what the branch names, and its pusher was told so.
        let serving = w.get(&app, "/").text();
        let bare = format!("--git-dir={}/apps/{app}/repo.git", w.state_dir().display());
        let tip = mine.git(&["-c", "safe.directory=*", &bare, "rev-parse", "refs/heads/main"]).ok().out;
        let of = live.iter().find(|(_, _, whose)| serving.contains(&format!("{whose}-{round}"))).expect("one of them serves");
        assert!(of.0 && tip.starts_with(&of.1.head()), "{serving} serves, the branch is {tip}\n{a}\n{b}");
    }
}

#[test]
fn ten_apps_pushed_at_once_build_two_at_a_time_and_each_pusher_sees_the_queue() {
    let w = World::start_with("[build]\nconcurrency = 2\n", &[]);
    let (quick, _repo) = w.live("quick", "one");
    // The step has nothing to find in the engine's cache: its input is another one for each.
    let slow = |n: usize| {
        let repo = Repo::testapp(&format!("v-{n}"));
        let dockerfile = "FROM scratch\nCOPY testapp /testapp\nCOPY version mode /\nRUN [\"/testapp\", \"release\"]\nENTRYPOINT [\"/testapp\"]\n";
        repo.write("Dockerfile", dockerfile)
            .write("mode", format!("release_ms=700\nsalt={n}{}\n", w.domain))
            .commit("slow to build");
        (w.app("many"), repo)
    };
    let apps: Vec<(String, Repo)> = (0..10).map(slow).collect();
    let traffic = Traffic::start(w.proxy(), &w.host(&quick), &quick, 2);
    let begun = Instant::now();
    let pushed: Vec<Done> = std::thread::scope(|scope| {
        let pushing: Vec<_> = apps.iter().map(|(app, repo)| scope.spawn(|| w.push(repo, app))).collect();
        eventually("a queue", SOON, || {
            let active = w.paas(&["status", "--json"]).json()["deploys_active"].as_array().map_or(0, Vec::len);
            (active >= 5).then_some(())
        });
        // What builds nothing waits for no build.
        let restarted = w.paas(&["ps", "restart", "-a", &quick]).ok();
        assert!(restarted.took < Duration::from_secs(5), "a restart waited for the builds of others: {restarted}");
        pushing.into_iter().map(|push| push.join().expect("no panic").ok()).collect()
    });
    assert!(begun.elapsed() > Duration::from_millis(10 / 2 * 700), "more than two were built at once");
    let places = |done: &Done| -> Vec<usize> {
        let waiting = done.err.lines().filter_map(|l| l.split_once("Waiting for a place to build: "));
        waiting.filter_map(|(_, rest)| rest.split(' ').next()?.parse().ok()).collect()
    };
    let waited: Vec<Vec<usize>> = pushed.iter().map(places).filter(|p| !p.is_empty()).collect();
    assert!(waited.len() >= 6, "eight of ten have to wait: {waited:?}");
    assert!(waited.iter().all(|p| p.windows(2).all(|w| w[0] > w[1])), "a place that went back: {waited:?}");
    assert!(waited.iter().flatten().any(|place| *place >= 3), "nobody was far behind: {waited:?}");
    for (n, (app, _)) in apps.iter().enumerate() {
        w.serves(app, &format!("v-{n}"));
    }
    traffic.stop().nothing_failed();
}

#[test]
fn a_push_whose_commit_cannot_be_kept_is_told_one_thing_and_what_is_no_commit_makes_no_deploy() {
    let w = World::shared("people");
    let (app, repo) = w.live("unkept", "one");
    // A file stands where the folder of the pins should be.
    let pins = w.state_dir().join(format!("apps/{app}/repo.git/refs/paas"));
    let _ = std::fs::remove_dir_all(&pins);
    std::fs::write(&pins, "").expect("a file can be written");
    repo.release("two");
    let pushed = w.push(&repo, &app);
    std::fs::remove_file(&pins).expect("it is there");
    assert!(!was_told_one_thing(&pushed), "it went live, and a power cut could take its commit: {pushed}");
    pushed.says(&["the commit can't be kept", "was cancelled"]);
    w.serves(&app, "one");
    w.push(&repo, &app).ok();
    w.serves(&app, "two");

    let tagged = w.app("tagged");
    repo.git(&["tag", "-a", "v1", "-m", "one"]).ok();
    let refused = w.push_as("laptop", &repo, &tagged, &["v1:refs/heads/main"]).fails(1);
    refused.says(&["is not a commit", "<tag>^{}:main"]);
    assert_eq!(w.deploys(&tagged), Vec::<serde_json::Value>::new());
    w.push_as("laptop", &repo, &tagged, &["v1^{}:refs/heads/main"]).ok();
    w.serves(&tagged, "two");
}

/// A push in a process group of its own, so that all of it can be stopped or killed.
fn push_child(w: &World, repo: &Repo, app: &str) -> Child {
    let mut command = Command::new("git");
    command.current_dir(repo.path()).args(["push", &format!("paas@127.0.0.1:{app}"), "main"]).process_group(0);
    command.env("GIT_SSH_COMMAND", w.ssh_command("laptop")).env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("git starts")
}

fn signal_group(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, "--", &format!("-{}", child.id())]).status();
    assert!(status.is_ok_and(|s| s.success()), "kill {signal}");
}

#[test]
fn a_pusher_whose_terminal_or_network_is_gone_finds_the_deploy_finished() {
    let w = World::shared("people");
    let (app, repo) = w.live("gone", "one");
    repo.write("mode", "boot_ms=1500\n").release("two");
    let mut killed = push_child(&w, &repo, &app);
    wait_for_state(&w, &app, "probing");
    signal_group(&killed, "-KILL");
    w.paas(&["deploys", "follow", "-a", &app]).ok().says(&["Building", "Live: v2"]);
    w.serves(&app, "two");
    drop(killed.wait());

    // A network that is gone says nothing: the connection stays, and nobody reads it.
    repo.release("three");
    let mut stopped = push_child(&w, &repo, &app);
    wait_for_state(&w, &app, "probing");
    signal_group(&stopped, "-STOP");
    w.paas(&["deploys", "follow", "-a", &app]).ok().says(&["Live: v3"]);
    w.serves(&app, "three");
    signal_group(&stopped, "-KILL");
    drop(stopped.wait());
}

#[test]
fn config_that_is_set_during_a_deploy_or_a_drain_is_in_the_release_that_ends_live() {
    let w = World::shared("people");
    let (app, repo) = w.live("setting", "one");
    let drained = std::thread::scope(|scope| {
        let stream = scope.spawn(|| w.client(&app).get("/stream?n=150&ms=100").expect("the stream ends properly"));
        repo.write("mode", "boot_ms=1500\n").release("two");
        let push = scope.spawn(|| w.push(&repo, &app));
        wait_for_state(&w, &app, "probing");
        w.paas(&["config", "set", "-a", &app, "DURING=push"]).ok();
        push.join().expect("no panic").ok();
        w.serves(&app, "two");
        // The stream of the first release goes on: a change needs no end of it.
        assert!(!stream.is_finished(), "nothing drains any more");
        w.paas(&["config", "set", "-a", &app, "DURING_DRAIN=1"]).ok();
        stream.join().expect("no panic")
    });
    assert!(drained.text().ends_with("chunk 149\n"), "{}", drained.text());
    let env = w.get(&app, "/env").text();
    assert!(env.contains("DURING=push\n") && env.contains("DURING_DRAIN=1\n"), "{env}");
    w.serves(&app, "two");
}

#[test]
fn config_that_is_changed_during_a_rollback_survives_it() {
    let w = World::shared("people");
    let (app, repo) = w.live("undone", "one");
    repo.write("mode", "boot_ms=1500\n").release("slow");
    w.push(&repo, &app).ok();
    w.paas(&["config", "set", "-a", &app, "COLOUR=red", "SHAPE=round", "OLD=1"]).ok();
    let slow = w.live_release(&app).expect("a live release");
    repo.write("mode", "").release("two");
    w.push(&repo, &app).ok();
    w.paas(&["config", "set", "-a", &app, "COLOUR=blue", "SHAPE=square"]).ok();

    std::thread::scope(|scope| {
        let rollback = scope.spawn(|| w.paas(&["rollback", &slow, "-a", &app]));
        wait_for_state(&w, &app, "probing");
        // A new key, one that is gone, and one that is set to what it is: the rollback would bring another value.
        let set = scope.spawn(|| w.paas(&["config", "set", "-a", &app, "NEW=1", "SHAPE=square"]));
        let unset = scope.spawn(|| w.paas(&["config", "unset", "-a", &app, "OLD"]));
        rollback.join().expect("no panic").ok();
        // Two changes that wait: one may take the place of the other, and contains it.
        let (set, unset) = (set.join().expect("no panic"), unset.join().expect("no panic"));
        assert!([&set, &unset].iter().any(|done| done.code == 0), "{set}\n{unset}");
    });

    let env = w.get(&app, "/env").text();
    let has = |line: &str| env.lines().any(|l| l == line);
    assert!(has("COLOUR=red") && has("NEW=1") && has("SHAPE=square") && !has("OLD=1"), "{env}");
    w.serves(&app, "slow");
}

/// A folder whose file `jump` tells a daemon by how much its clock is wrong; first by nothing.
fn clock() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("a mode can be set");
    set(&folder, 0);
    folder
}

fn set(clock: &tempfile::TempDir, hours: i64) {
    std::fs::write(clock.path().join("jump"), (hours * 3_600_000).to_string()).expect("the file can be written");
}

#[test]
fn what_somebody_ran_by_a_clock_that_was_set_back_since_goes_when_the_daemon_was_killed() {
    let folder = clock();
    set(&folder, 24);
    let w = World::start_with("", &[("PAAS_CLOCK_JUMP", folder.path().join("jump").to_str().expect("a plain path"))]);
    let (app, _repo) = w.live("runner", "one");
    let (of_us, of_app) = (format!("label=paas.install={}", w.install()), format!("label=paas.app={app}"));
    let runs_that = |are: &[&str]| {
        let names =
            ["ps", "--filter", "label=paas.process=run", "--filter", &of_us, "--filter", &of_app, "--format", "{{.Names}}"];
        w.docker(&[&names, are].concat()).ok().out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let runs = || runs_that(&["-a"]);
    let mut run = w.paas_command().args(["run", "-a", &app, "--", "/testapp", "idle"]).spawn().expect("paas can be started");
    // Docker 20.10 lists a container while it makes it, and does not know it yet when asked about it alone.
    let ours = eventually("it runs", SOON, || runs_that(&["--filter", "status=running"]).pop());
    // Our labels alone make nothing ours: it has no name that we gave.
    let foreign = format!("somebodys-{app}");
    let label = |key: &str| {
        let format = format!("{{{{index .Config.Labels \"{key}\"}}}}");
        format!("{key}={}", w.docker(&["inspect", "--format", &format, &ours]).ok().out.trim())
    };
    let labels = ["paas.install", "paas.app", "paas.process"].map(label);
    let image = w.docker(&["inspect", "--format", "{{.Image}}", &ours]).ok().out.trim().to_owned();
    let create_as = |name: &str| {
        let labelled = labels.iter().flat_map(|label| ["--label", label]);
        w.docker(&["create", "--name", name].into_iter().chain(labelled).chain([image.as_str()]).collect::<Vec<_>>()).ok();
    };
    create_as(&foreign);

    set(&folder, 0);
    w.kill("daemon");

    eventually("it is removed and nothing else", SOON, || (runs() == [foreign.as_str()]).then_some(()));
    // One that Docker was making when the daemon was killed is there only now.
    let (begin, _number) = ours.rsplit_once('-').expect("a number is its end");
    let late = format!("{begin}-1");
    create_as(&late);
    eventually("it is removed too", SOON, || (runs() == [foreign.as_str()]).then_some(()));
    w.docker(&["rm", "-f", &foreign]).ok();
    drop(run.kill());
    drop(run.wait());
}

#[test]
fn a_clock_that_jumps_by_a_day_fails_and_stalls_nothing() {
    let folder = clock();
    let jump = |hours: i64| set(&folder, hours);
    let w = World::start_with("", &[("PAAS_CLOCK_JUMP", folder.path().join("jump").to_str().expect("a plain path"))]);
    let (app, repo) = w.live("late", "one");
    let traffic = Traffic::start(w.proxy(), &w.host(&app), &app, 2);
    repo.write("mode", "boot_ms=1500\n").commit("slow");
    let push_over = |version: &str, hours: i64, kill: bool| {
        repo.release(version);
        std::thread::scope(|scope| {
            let push = scope.spawn(|| w.push(&repo, &app));
            wait_for_state(&w, &app, "probing");
            jump(hours);
            if kill {
                w.kill("daemon");
            }
            let pushed = push.join().expect("no panic");
            assert!(kill || pushed.code == 0, "{pushed}");
        });
        eventually("the new release", SOON, || (w.get(&app, "/").text() == format!("{app} {version}\n")).then_some(()));
    };
    push_over("tomorrow", 24, false);
    push_over("today", 0, false);
    push_over("yesterday", -24, false);
    push_over("across a restart", 24, true);
    w.paas(&["config", "set", "-a", &app, "A=1"]).ok();
    w.paas(&["rollback", "-a", &app]).ok();
    traffic.stop().nothing_failed();

    // One that is never healthy fails in its time, also when the clock goes back.
    repo.write("paas.toml", "[processes.web.health]\ngrace = \"3s\"\n").write("mode", "never=1\n").release("never");
    std::thread::scope(|scope| {
        let push = scope.spawn(|| w.push(&repo, &app));
        wait_for_state(&w, &app, "probing");
        jump(-24);
        let failed = push.join().expect("no panic");
        assert!(failed.code != 0 && failed.took < Duration::from_secs(20), "{failed}");
        failed.says(&["not healthy within 3s"]);
    });
    let lines = w.log_texts(&app, 50, &["--grep", "will never listen"]);
    assert!(!lines.is_empty(), "its last words are not found");
    assert_eq!(Client::connect(w.proxy(), &w.host(&app)).and_then(|mut c| c.get("/")).expect("an answer").status, 200);
}
