//! `paas why` explains: what ended, how, what changed, what paas did, what to do; and says so when all is well.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Repo, World, eventually, run};

const SOON: Duration = Duration::from_secs(20);

/// Asks until the verdict is the wanted one; gives the whole answer.
#[track_caller]
fn verdict(w: &World, app: &str, wanted: &str) -> serde_json::Value {
    let mut last = serde_json::Value::Null;
    let found = crate::support::until(SOON, || {
        last = w.why(app);
        (last["verdict"] == wanted).then(|| last.clone())
    });
    found.unwrap_or_else(|| panic!("the verdict should be {wanted}: {last:#}"))
}

#[test]
fn all_is_well_is_said_plainly_and_ps_shows_the_memory_in_use() {
    let w = World::shared("why");
    let (app, _repo) = w.live("well", "one");

    verdict(&w, &app, "well");

    w.paas(&["why", &app]).ok().says(&["all is well", "v1", &app]).never_says(&["What to do next"]);
    let used = w.instances(&app)[0]["memory"].as_u64();
    assert!(used.is_some_and(|bytes| (1 << 16..64 << 20).contains(&bytes)), "memory: {used:?}");
    w.paas(&["ps", "-a", &app]).ok().says(&["of 512 MiB"]);
}

#[test]
fn an_end_is_explained_with_its_last_lines_and_what_changed_also_by_the_next_daemon() {
    let w = World::start();
    let (app, repo) = w.live("ends", "one");
    repo.write("paas.toml", "[processes.web]\nmemory = \"100MiB\"\n").release("two");
    w.push(&repo, &app).ok();
    w.paas_in(&["config", "set", "-a", &app, "--stdin"], b"SECRET_TOKEN=canary-4711\n").ok();
    w.serves(&app, "two");

    assert_eq!(w.get(&app, "/crash?code=7").status, 502);

    let check = |why: &serde_json::Value| {
        assert_eq!((why["end"]["code"].as_i64(), why["end"]["cause"].as_str()), (Some(7), Some("exit")), "{why:#}");
        assert!(why["last_lines"].to_string().contains("listening"), "{why:#}");
        assert!(why["changed"].to_string().contains("SECRET_TOKEN added"), "{why:#}");
        assert_eq!(why["since"], "v2");
    };
    check(&verdict(&w, &app, "recovered"));
    let shown = w.paas(&["why", "-a", &app]).ok();
    shown
        .says(&["exited with code 7", "SECRET_TOKEN", "started web.1 again once", "What to do next"])
        .never_says(&["canary-4711"]);

    w.kill("daemon");
    check(&verdict(&w, &app, "recovered"));

    // What the rollback changed is told too, by name.
    w.paas(&["rollback", "-a", &app, "v1"]).ok();
    assert!(w.get(&app, "/crash").status == 502);
    let why = verdict(&w, &app, "recovered");
    assert!(why["changed"].to_string().contains("memory 100 MiB → 512 MiB"), "{why:#}");
    assert!(why["done"].to_string().contains("rollback to v1"), "{why:#}");
}

#[test]
fn a_crash_loop_is_named_as_one_in_ps_in_the_log_and_in_why() {
    let w = World::shared("why");
    let (app, _repo) = w.live("loops", "one");

    eventually("three ends in a row", SOON, || {
        // One that meets the app in the moment of its death ends nothing; the others wait until it is back.
        assert_eq!(w.get(&app, "/crash?code=9").status, 502);
        (w.why(&app)["end"]["in_a_row"].as_u64() >= Some(3)).then_some(())
    });

    let why = verdict(&w, &app, "troubled");
    assert!(why["summary"].as_str().is_some_and(|s| s.contains("crash loop")), "{why:#}");
    assert!(why["end"]["in_a_row"].as_u64() >= Some(3), "{why:#}");
    w.paas(&["ps", "-a", &app]).ok().says(&["crash loop"]);
    assert!(
        w.log_texts(&app, 200, &[]).iter().any(|l| l.contains("in a crash loop (3 ends in a row)")),
        "the log does not say it"
    );
    let events = w.events(&app);
    let told: Vec<_> = events.iter().filter(|what| what.contains("crash loop")).collect();
    assert!(told.len() == 1 && told[0].contains("exited with code 9"), "one per loop: {events:?}");
    w.serves(&app, "one");
}

#[test]
fn a_failed_deploy_is_explained_when_its_instances_are_gone() {
    let w = World::shared("why");
    let (app, repo) = w.live("failed", "one");
    repo.write("mode", "exit=3\n").release("two");
    assert_ne!(w.push(&repo, &app).code, 0);
    eventually("its instance is gone", SOON, || (w.instances(&app).len() == 1).then_some(()));

    let why = verdict(&w, &app, "deploy_failed");

    assert_eq!((why["end"]["code"].as_i64(), why["end"]["release"].as_str()), (Some(3), Some("v2")), "{why:#}");
    let shown = w.paas(&["why", &app]).ok();
    shown.says(&["v1 still serves", "exited with code 3", "fatal: told to exit", "What changed since v1", "commit", "paas logs"]);
}

#[test]
fn an_instance_comes_back_while_the_daemon_is_dead_and_its_end_is_known_to_the_next() {
    let w = World::start();
    let (app, _repo) = w.live("alone", "one");
    let signal = |name: &str, role: &str| {
        let pid = w.pid_of(role).unwrap_or_else(|| panic!("there is no {role}")).to_string();
        run(Command::new("kill").args([name, &pid]), b"", SOON).ok()
    };

    // A supervisor that stands still starts no other daemon.
    signal("-STOP", "up");
    signal("-KILL", "daemon");
    eventually("the daemon is dead", SOON, || w.pid_of("daemon").is_none().then_some(()));
    assert_eq!(w.get(&app, "/crash?code=5").status, 502);
    w.serves(&app, "one");
    assert!(w.pid_of("daemon").is_none(), "another daemon was there: this proves nothing");
    signal("-CONT", "up");

    // The socket was open all the time: whoever asks waits for the next daemon.
    let why = verdict(&w, &app, "recovered");
    assert_eq!(why["end"]["code"], 5, "{why:#}");
}

#[test]
fn requests_wait_for_an_instance_that_restarts_and_the_others_take_its_share() {
    let w = World::shared("why");
    let (app, repo) = (w.app("share"), Repo::testapp("one"));
    repo.write("mode", "boot_ms=2500\n").commit("slow to boot");
    w.push(&repo, &app).ok();
    let restarts = || w.instances(&app).iter().filter_map(|i| i["restarts"].as_u64()).sum::<u64>();
    // Answered first, so that the crash takes no request with it; the app then needs its boot time again.
    let crash = || {
        let before = restarts();
        assert_eq!(w.get(&app, "/crash?ms=20").status, 200);
        eventually("init starts it again", SOON, || (restarts() > before).then_some(()));
        Instant::now()
    };

    let begun = crash();
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| w.get(&app, "/").status)).collect();
        let statuses: Vec<u16> = asked.into_iter().map(|a| a.join().expect("no panic")).collect();
        assert_eq!(statuses, [200; 8], "requests that were sent to nobody did not wait");
    });
    assert!(begun.elapsed() >= Duration::from_millis(500), "it was up already: this proves nothing");

    w.paas(&["ps", "scale", "-a", &app, "web=2"]).ok();
    let begun = crash();
    for _ in 0..20 {
        assert_eq!(w.get(&app, "/").status, 200);
    }
    assert!(begun.elapsed() < Duration::from_millis(2000), "the other instance was not used: {:?}", begun.elapsed());
}

const LIVENESS: &str = "[processes.web.liveness]\npath = \"/health\"\ninterval = \"200ms\"\ntimeout = \"500ms\"\nfailures = 2\n";

#[test]
fn an_instance_that_hangs_is_found_drained_and_restarted() {
    let w = World::shared("why");
    let (app, repo) = (w.app("hangs"), Repo::testapp("one"));
    // Failures count after its first good answer or, here, after two seconds.
    let grace = "[processes.web.health]\ngrace = \"2s\"\n";
    repo.write("paas.toml", format!("[deploy]\ndrain = \"1s\"\n{grace}{LIVENESS}")).commit("liveness");
    w.push(&repo, &app).ok();
    w.serves(&app, "one");

    w.get(&app, "/hang");
    std::thread::scope(|scope| {
        // Caught by the one that hangs, or held until it is back; none may wait for ever.
        let waiting = scope.spawn(|| w.get(&app, "/").status);
        eventually("it is restarted", SOON, || (w.instances(&app)[0]["restarts"] == 1).then_some(()));
        let status = waiting.join().expect("no panic");
        assert!([200, 502, 504].contains(&status), "{status}");
    });

    eventually("it serves", SOON, || (w.get(&app, "/").status == 200).then_some(()));
    let why = verdict(&w, &app, "recovered");
    assert_eq!(why["end"]["cause"], "hung", "{why:#}");
    w.paas(&["why", &app]).ok().says(&["hung", "/health", "liveness"]);
}

#[test]
fn one_that_hangs_finishes_what_it_has_gets_nothing_new_and_comes_back_only_when_it_is_well() {
    let w = World::shared("why");
    let (app, repo) = (w.app("finishes"), Repo::testapp("one"));
    let web = "[processes.web]\ninstances = 2\n[processes.web.health]\npath = \"/health\"\n";
    repo.write("mode", "warm_ms=1500\n").write("paas.toml", format!("{web}{LIVENESS}")).commit("two");
    w.push(&repo, &app).ok();
    let restarts = || w.instances(&app).iter().filter_map(|i| i["restarts"].as_u64()).sum::<u64>();
    let answers = |when: &str| assert_eq!(w.get(&app, "/").status, 200, "{when}");

    // Failures count after the first good answer to the check, which begins within two seconds.
    std::thread::sleep(Duration::from_secs(4));
    std::thread::scope(|scope| {
        // Each instance has one before one of the two hangs.
        let slow: Vec<_> = (0..2).map(|_| scope.spawn(|| w.get(&app, "/slow?ms=6000").status)).collect();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(w.get(&app, "/hang").status, 200);
        eventually("it gets nothing new", SOON, || w.instances(&app).iter().any(|i| i["state"] == "restarting").then_some(()));
        while restarts() == 0 {
            answers("the one that hangs was given a request");
        }
        let statuses: Vec<u16> = slow.into_iter().map(|s| s.join().expect("no panic")).collect();
        assert_eq!(statuses, [200, 200], "what the one that hung worked on was cut");
    });
    // It listens at once, and is well only later.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        answers("one that is not well yet was given a request");
    }
}

#[test]
fn an_end_by_a_signal_and_a_liveness_check_that_fails_are_told() {
    let w = World::shared("why");
    let (app, repo) = (w.app("aborts"), Repo::testapp("one"));
    let liveness = "[processes.web.liveness]\npath = \"/health\"\ninterval = \"200ms\"\ntimeout = \"200ms\"\nfailures = 100\n";
    repo.write("paas.toml", liveness).commit("liveness");
    w.push(&repo, &app).ok();

    assert_eq!(w.get(&app, "/abort").status, 502);
    let why = verdict(&w, &app, "recovered");
    assert_eq!((why["end"]["cause"].as_str(), why["end"]["signal"].as_i64()), (Some("signal"), Some(6)), "{why:#}");
    w.paas(&["why", &app]).ok().says(&["ended by signal 6 (SIGABRT)"]);

    w.serves(&app, "one");
    // A check that was answered since is what the failures count from.
    std::thread::sleep(Duration::from_secs(3));
    w.get(&app, "/hang");
    eventually("why tells of it", SOON, || w.why(&app)["summary"].as_str()?.contains("fails its liveness check").then_some(()));
}

#[test]
fn crash_files_are_kept_listed_and_fetched_and_links_are_not_followed() {
    let w = World::shared("why");
    let (app, _repo) = w.live("dumps", "one");

    w.get(&app, "/dump");

    let list = || w.paas(&["crashes", "list", "-a", &app, "--json"]).ok().json().as_array().cloned().unwrap_or_default();
    let kept = eventually("a crash file", SOON, || Some(list()).filter(|all| !all.is_empty()));
    assert_eq!(kept[0]["path"], "/erl_crash.dump", "{kept:?}");
    let id = kept[0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(w.paas(&["crashes", "get", &id, "-a", &app]).ok().out, "slogan: out of luck\n");
    assert_eq!(w.ssh("laptop", &["crashes", "get", &id, "-a", &app], b"").ok().out, "slogan: out of luck\n");

    // The same file is not kept again, and no link ever is.
    w.get(&app, "/crash");
    verdict(&w, &app, "recovered");
    assert_eq!(list().len(), 1, "{:?}", list());
    w.add_key("pusher", &["--app", &app, "--deploy-only"]).ok();
    assert_ne!(w.ssh("pusher", &["crashes", "get", &id, "-a", &app], b"").code, 0, "a dump may hold secrets");
    assert_ne!(w.paas(&["crashes", "get", "c999", "-a", &app]).code, 0);
}

#[test]
fn a_crash_file_that_is_too_large_is_not_kept_and_the_newest_take_the_place_of_the_oldest() {
    let w = World::start_with("[limits]\ncrash_bytes = \"100KiB\"\n", &[]);
    let (app, _repo) = w.live("dumper", "one");
    let list = || w.paas(&["crashes", "list", "-a", &app, "--json"]).ok().json().as_array().cloned().unwrap_or_default();
    let dump = |kib: u32| {
        // Files are told apart by their time, in seconds.
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(w.get(&app, &format!("/dump?kib={kib}")).status, 502);
    };

    dump(200);
    eventually("it is refused", SOON, || w.logs_of_roles().contains("limits.crash_bytes").then_some(()));
    assert_eq!(list(), Vec::<serde_json::Value>::new());

    dump(60);
    let first = eventually("a crash file", SOON, || list().first().map(|file| file["id"].clone()));
    dump(60);
    eventually("the newest alone", SOON, || (list().len() == 1 && list()[0]["id"] != first).then_some(()));
    let folder = w.state_dir().join(format!("crashes/{app}"));
    // Rows go first: a file without a row is removed, a row without a file would be told of.
    let kept = || std::fs::read_dir(&folder).expect("the folder").count();
    eventually("the file of what is forgotten is gone", SOON, || (kept() == 1).then_some(()));
}

#[test]
fn a_later_end_leaves_its_crash_files_too_however_many_there_are_of_earlier_ones() {
    let w = World::shared("why");
    let (app, _repo) = w.live("cores", "one");
    let paths = || -> Vec<String> {
        let all = w.paas(&["crashes", "list", "-a", &app, "--json"]).ok().json();
        all.as_array().into_iter().flatten().filter_map(|file| file["path"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(w.get(&app, "/dump?from=1&to=5").status, 502);
    eventually("as many as one end may leave", SOON, || (paths().len() == 5).then_some(()));

    // Files are told apart by their time, in seconds.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(w.get(&app, "/dump?from=6&to=6").status, 502);

    eventually("the one of the second end", SOON, || paths().contains(&"/core.a6".to_owned()).then_some(()));
}

#[test]
fn a_check_that_hangs_is_not_started_once_more_beside_itself() {
    let w = World::shared("why");
    let (app, repo) = (w.app("stuck-check"), Repo::testapp("one"));
    let check = "command = [\"/testapp\", \"idle\"]\ninterval = \"200ms\"\ntimeout = \"100ms\"\nfailures = 100\n";
    repo.write("paas.toml", format!("[processes.web.health]\ngrace = \"1s\"\n[processes.web.liveness]\n{check}")).commit("check");
    w.push(&repo, &app).ok();
    let container = w.docker(&[
        "ps",
        "-q",
        "--filter",
        &format!("label=paas.app={app}"),
        "--filter",
        &format!("label=paas.install={}", w.install()),
    ]);
    let container = container.ok().out.trim().to_owned();
    let checks =
        || w.docker(&["top", &container, "-o", "pid,args"]).ok().out.lines().filter(|line| line.contains("testapp idle")).count();

    eventually("the check begins", SOON, || (checks() > 0).then_some(()));
    std::thread::sleep(Duration::from_secs(3));

    assert_eq!(checks(), 1);
    let why = w.why(&app)["summary"].to_string();
    assert!(why.contains("fails its liveness check") && why.contains("not ended yet"), "{why}");
}
