//! Docker restarted many times, away for minutes, and Docker of another version.

use std::time::{Duration, Instant};

use crate::docker_faults::{BACK, all_back, restarts_without_live_restore, waits};
use crate::support::{Busy, OwnEngine, Traffic, World, eventually, invariants, two_dockerds};

const AWAY: Duration = Duration::from_secs(150);

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

/// Docker is away for minutes while a push waits for it, the daemon dies, and, where apps run on, one of them too.
fn away_for_minutes(options: &[&str]) {
    let w = World::start_on(OwnEngine::start(options));
    let runs_on = !options.is_empty();
    let (app, repo) = w.live("patient", "one");
    let (hurt, _repo) = w.live("hurt", "one");
    let traffic = Traffic::start_every(Duration::from_millis(10), w.proxy(), &w.host(&app), &app, 4);
    w.engine().stop();
    let stopped = Instant::now();
    repo.release("two");
    let answers = || w.client(&hurt).get("/").is_ok_and(|reply| reply.status == 200).then_some(());
    std::thread::scope(|scope| {
        let push = scope.spawn(|| w.push(&repo, &app));
        eventually("the push says what it waits for", Duration::from_secs(30), || (waits(&w, &app) >= 1).then_some(()));
        w.paas(&["status"]).says(&["Docker is not running"]);
        w.kill("daemon");
        if runs_on {
            // Its answer ends with the app; init starts another without Docker and, at first, without the daemon.
            drop(w.client(&hurt).get("/crash?code=3"));
            eventually("init has restarted the app", Duration::from_secs(20), answers);
        }
        std::thread::sleep(AWAY.saturating_sub(stopped.elapsed()));
        assert!(!push.is_finished(), "the push did not wait");
        let (up, busy) = (w.engine().start_dockerd(), Busy::measure());
        let away = stopped.elapsed();
        let took = all_back(&w, &[app.clone(), hurt.clone()], up);
        let limit = BACK.mul_f64(busy.stretch());
        assert!(took < limit, "back only after {took:?}, not within {limit:?}\n{}", w.logs_of_roles());
        push.join().expect("no panic").ok();
        eprintln!(
            "live-restore {runs_on}: away for {away:?}, all back {took:?} after Docker, the push live {:?} after it",
            up.elapsed()
        );
    });
    w.serves(&app, "two");
    let counted = traffic.stop();
    eprintln!(
        "live-restore {runs_on}: {} answered, {} failed, the slowest in {:?}",
        counted.answered,
        counted.failed.len(),
        counted.slowest
    );
    assert!(!runs_on || counted.failed.is_empty(), "{:?}\n{}", counted.failed, w.logs_of_roles());
    let foreign: Vec<&String> = counted.failed.iter().filter(|f| f.starts_with("status 200")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    invariants(&w, &app);
    invariants(&w, &hurt);
}

#[test]
fn docker_away_for_minutes_is_not_noticed_with_live_restore_and_a_push_waits_for_it() {
    away_for_minutes(&["--live-restore"]);
}

#[test]
fn docker_away_for_minutes_without_live_restore_brings_all_back_and_the_push_goes_live() {
    away_for_minutes(&[]);
}
