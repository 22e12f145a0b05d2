//! An app that misbehaves is contained by its limits, is named, and its neighbours go on.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Repo, World, eventually, run};

const SOON: Duration = Duration::from_secs(30);

/// An app with this under `[processes.web]`.
#[track_caller]
fn limited(w: &World, stem: &str, limits: &str) -> String {
    let (app, repo) = (w.app(stem), Repo::testapp("one"));
    repo.write("paas.toml", format!("[processes.web]\n{limits}\n")).commit("limits");
    w.push(&repo, &app).ok();
    w.serves(&app, "one");
    app
}

/// Fifty requests in a row, each answered, none of them late.
#[track_caller]
fn undisturbed(w: &World, neighbour: &str) {
    for _ in 0..50 {
        let begun = Instant::now();
        w.serves(neighbour, "one");
        assert!(begun.elapsed() < Duration::from_secs(2), "the neighbour waited {:?}", begun.elapsed());
    }
}

#[test]
fn out_of_memory_is_named_with_its_limit() {
    let w = World::shared("neighbours");
    let app = limited(&w, "eater", "memory = \"64MiB\"");

    assert_eq!(w.get(&app, "/eat?mb=200").status, 502);

    let end = || Some(w.why(&app)["end"].clone()).filter(|end| end["cause"] == "out_of_memory");
    let end = eventually("why names it", SOON, end);
    assert_eq!(end["limit"], 64 << 20, "{end:#}");
    w.paas(&["why", &app]).ok().says(&["limit of 64 MiB", "raise `memory`"]);
    w.serves(&app, "one");
}

#[test]
fn a_fork_bomb_ends_at_its_limit_and_is_named_while_another_app_answers() {
    let w = World::shared("neighbours");
    let (neighbour, _repo) = w.live("quiet", "one");
    let app = limited(&w, "bomb", "pids = 60");

    w.get(&app, "/fork");

    eventually("why names it", SOON, || w.why(&app)["summary"].as_str()?.contains("of 60 processes").then_some(()));
    undisturbed(&w, &neighbour);
    let id = w.docker(&["ps", "-q", "--filter", &format!("label=paas.app={app}")]).ok().out.trim().to_owned();
    let processes = w.docker(&["top", &id]).ok().out.lines().count();
    assert!((10..=61).contains(&processes), "{processes} processes: either no bomb, or no limit");

    // Its end, whatever it is, is told with what it was refused.
    let shown = w.docker(&["top", &id]).ok().out;
    let main = shown.lines().find(|line| line.trim_end().ends_with(" /testapp") && !line.contains(" init "));
    let main = main.and_then(|line| line.split_whitespace().nth(1)).expect("the app runs");
    run(Command::new("kill").args(["-KILL", main]), b"", SOON).ok();
    eventually("why tells of it", SOON, || {
        w.why(&app)["summary"].as_str()?.contains("had refused it another process").then_some(())
    });
    w.paas(&["why", &app]).ok().says(&["raise `pids`"]);
}

#[test]
fn an_app_that_logs_without_end_is_cut_and_named() {
    let w = World::shared("neighbours");
    let (neighbour, _repo) = w.live("calm", "one");
    let app = limited(&w, "noisy", "instances = 1");

    w.get(&app, "/flood?ms=4000");

    undisturbed(&w, &neighbour);
    eventually("why names it", SOON, || w.why(&app)["summary"].as_str()?.contains("dropped").then_some(()));
    w.serves(&app, "one");
}

#[test]
fn an_app_that_fills_its_disk_is_stopped_named_and_starts_with_an_empty_one() {
    let w = World::start_with("[limits]\ndisk = \"20MiB\"\ndisk_interval = \"1s\"\n", &[]);
    let (neighbour, _repo) = w.live("clean", "one");
    let large = limited(&w, "roomy", "disk = \"64MiB\"");
    let app = limited(&w, "filler", "disk = \"20MiB\"\n[crash]\nfiles = [\"filled\"]");
    let before = w.docker(&["ps", "-q", "--filter", &format!("label=paas.app={app}")]).ok().out;

    w.get(&large, "/fill?mb=60");
    w.get(&app, "/fill?mb=60");

    let end = eventually("why names it", SOON, || Some(w.why(&app)["end"].clone()).filter(|end| end["cause"] == "disk"));
    assert_eq!(end["limit"], 20 << 20, "{end:#}");
    eventually("it serves again", SOON, || (w.get(&app, "/").status == 200).then_some(()));
    let after = w.docker(&["ps", "-q", "--filter", &format!("label=paas.app={app}")]).ok().out;
    assert_ne!(before, after, "the full container is still there");
    w.paas(&["why", &app]).ok().says(&["20 MiB", "raise `disk`", "empty disk"]);
    let kept = w.paas(&["crashes", "list", "-a", &app, "--json"]).ok().json();
    assert_eq!(kept[0]["path"], "/filled", "what it left went with its disk: {kept}");
    undisturbed(&w, &neighbour);
    eventually("why warns of the other", SOON, || w.why(&large)["summary"].as_str()?.contains("has written 60").then_some(()));
    assert!(w.why(&large)["end"].is_null(), "one below its own limit was stopped: {:#}", w.why(&large));
}
