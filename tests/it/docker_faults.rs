//! Docker stops, restarts, dies, hangs, comes late, changes; somebody's hand takes our objects away. Each on an engine of the test's own.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Busy, Client, OwnEngine, Repo, Traffic, World, eventually, run};

/// Every app must be back so soon after Docker is, on a machine that has its cores for itself.
pub const BACK: Duration = Duration::from_secs(5);

/// Apps that each answer their own name, pushed a few at a time.
pub fn apps(w: &World, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|_| w.app("named")).collect();
    let one = |name: &String| {
        let repo = Repo::testapp("one");
        w.push(&repo, name).ok();
        w.serves(name, "one");
    };
    for few in names.chunks(4) {
        std::thread::scope(|scope| few.iter().for_each(|name| drop(scope.spawn(move || one(name)))));
    }
    names
}

/// What the app at the host of `app` says to `GET /`; None if there is no good answer.
fn says(w: &World, app: &str) -> Option<String> {
    let mut client = Client::connect(w.proxy(), &w.host(app)).ok()?;
    let reply = client.get("/").ok()?;
    (reply.status == 200).then(|| reply.text().to_owned())
}

/// How often the app's log says that a deploy waits for Docker.
pub fn waits(w: &World, app: &str) -> usize {
    // Asked of an app that may not be there yet.
    w.paas(&["logs", "-a", app, "-n", "1000"]).out.matches("Waiting for Docker").count()
}

/// Waits until every app answers; gives the longest time since `up`.
#[track_caller]
pub fn all_back(w: &World, apps: &[String], up: Instant) -> Duration {
    for app in apps {
        eventually(&format!("{app} answers again"), Duration::from_secs(30), || says(w, app));
    }
    up.elapsed()
}

/// Through `restarts` restarts of Docker, by turns in order and by SIGKILL, all apps come back in time and no answer comes from another app.
/// Gives the longest time that one took.
pub fn restarts_without_live_restore(count: usize, restarts: usize) -> Duration {
    let w = World::start_on(OwnEngine::start(&[]));
    let apps = apps(&w, count);
    let pause = Duration::from_millis(25);
    let traffic: Vec<Traffic> = apps.iter().map(|app| Traffic::start_every(pause, w.proxy(), &w.host(app), app, 1)).collect();
    let mut longest = Duration::ZERO;
    for n in 0..restarts {
        if n % 2 == 0 {
            w.engine().stop()
        } else {
            w.engine().kill()
        }
        let up = w.engine().start_dockerd();
        let busy = Busy::measure();
        let took = all_back(&w, &apps, up);
        let limit = BACK.mul_f64(busy.stretch());
        eprintln!("restart {n}: all {count} apps are back {took:?} after Docker, of at most {limit:?}");
        assert!(
            took < limit,
            "restart {n}: the last app was back only {took:?} after Docker, not within {limit:?}\n{}",
            w.logs_of_roles()
        );
        longest = longest.max(took);
    }
    let mut answered = 0;
    for (app, traffic) in apps.iter().zip(traffic) {
        let seen = traffic.stop();
        answered += seen.answered;
        // A refusal by the proxy is no answer of an app; those name themselves.
        let foreign: Vec<&String> = seen.failed.iter().filter(|f| f.contains("named-") && !f.contains(app.as_str())).collect();
        assert!(foreign.is_empty(), "{app} was answered for by another app: {foreign:?}");
        let served: Vec<&String> = seen.failed.iter().filter(|f| f.starts_with("status 200")).collect();
        assert!(served.is_empty(), "{app}: {served:?}");
    }
    eprintln!("{answered} answers, none by another app; the longest way back took {longest:?}");
    assert!(answered > restarts as u64 * count as u64, "{answered} answers");
    longest
}

#[test]
fn without_live_restore_every_app_is_back_at_once_and_none_answers_for_another() {
    restarts_without_live_restore(10, 3);
}

#[test]
fn with_live_restore_traffic_does_not_notice_and_every_verb_answers() {
    let w = World::start_on(OwnEngine::start(&["--live-restore"]));
    let (app, repo) = w.live("steady", "one");
    let traffic = Traffic::start(w.proxy(), &w.host(&app), &app, 4);

    // Hanging: it takes calls and answers none.
    w.engine().freeze();
    for verb in
        [&["ps", "-a", &app, "--json"][..], &["apps", "list"], &["deploys", "list", "-a", &app], &["releases", "-a", &app]]
    {
        let done = w.paas(verb).ok();
        assert!(done.took < Duration::from_secs(8), "`{verb:?}` waited for Docker:\n{done}");
    }
    let status = eventually("status says that Docker hangs", Duration::from_secs(15), || {
        let status = w.paas(&["status", "--json"]).ok();
        assert!(status.took < Duration::from_secs(8), "status waited for Docker:\n{status}");
        status.json()["docker"]["detail"].as_str().filter(|d| d.contains("hangs")).map(str::to_owned)
    });
    assert!(status.contains("hangs"), "{status}");
    let ran = w.paas(&["run", "-a", &app, "--", "/testapp", "release"]);
    assert!(ran.code != 0 && ran.took < Duration::from_secs(10), "`run` must say that Docker hangs:\n{ran}");
    ran.says(&["Docker", "hangs"]);
    traffic.wait_for(100);
    w.engine().thaw();
    eventually("status is good again", Duration::from_secs(10), || {
        w.paas(&["status", "--json"]).json()["docker"]["ok"].as_bool().filter(|ok| *ok)
    });

    // Killed, and a deploy meets its absence: it waits and goes on.
    w.engine().kill();
    repo.release("two");
    std::thread::scope(|scope| {
        let push = scope.spawn(|| w.push(&repo, &app));
        eventually("the push says what it waits for", Duration::from_secs(20), || (waits(&w, &app) == 1).then_some(()));
        w.paas(&["status"]).says(&["Docker is not running"]);
        w.engine().start_dockerd();
        push.join().expect("no panic").ok().says(&["Docker answers again"]);
    });
    w.serves(&app, "two");

    // Restarted in order.
    w.engine().restart();
    traffic.wait_for(100);
    let seen = traffic.stop();
    assert!(seen.failed.is_empty(), "of {} requests failed: {:?}\n{}", seen.answered, seen.failed, w.logs_of_roles());
    // Nothing was started anew: what ran under live-restore ran on.
    let told = w.log_texts(&app, 1000, &["-p", "platform"]);
    assert!(!told.iter().any(|l| l.contains("started again") || l.contains("takes its place")), "{told:?}");
}

#[test]
fn what_a_hand_does_to_our_objects_is_put_right_and_told() {
    let w = World::start_on(OwnEngine::start(&[]));
    let (app, repo) = w.live("meddled", "one");
    repo.write("paas.toml", "[processes.ticker]\ncommand = [\"/testapp\", \"worker\"]\n").release("two");
    w.push(&repo, &app).ok();
    let network = w.docker(&["network", "ls", "--format", "{{.Name}}", "--filter", "label=paas.app"]).ok().out.trim().to_owned();
    let container = |process: &str| {
        let of = format!("label=paas.process={process}");
        let names =
            ["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}}", "--filter", &of, "--filter", "label=paas.release=v2"];
        let found = w.docker(&names);
        let (id, name) = found.out.trim().split_once(' ').expect("one container").to_owned();
        (id.to_owned(), name.to_owned())
    };
    let in_network = || w.docker(&["network", "inspect", &network]).out.contains(&container("web").1);
    let mut told_before = 0;
    let mut right_again = |what: &str, word: &str| {
        eventually(&format!("{what}: it is told"), BACK, || {
            let told = w.log_texts(&app, 1000, &["-p", "platform"]);
            let news = &told[told_before.min(told.len())..];
            let runs = news.iter().filter(|l| l.contains("runs again")).count();
            (news.iter().any(|l| l.contains(word)) && runs > 0).then(|| told_before = told.len())
        });
        eventually(&format!("{what}: it answers"), BACK, || says(&w, &app).filter(|t| *t == format!("{app} two\n")));
        assert!(w.logs_of_roles().contains(word), "the daemon's log must tell of {what}\n{}", w.logs_of_roles());
    };

    let before = container("web");
    w.docker(&["stop", &before.0]).ok();
    right_again("docker stop", "stopped from outside");
    assert_eq!(container("web"), before, "a stopped container is started, not made anew");
    let end = w.why(&app)["end"].clone();
    assert!(end["cause"] == "lost" && end["how"].to_string().contains("not by paas"), "{end:#}");

    w.docker(&["pause", &before.0]).ok();
    right_again("docker pause", "paused from outside");

    w.docker(&["network", "disconnect", "-f", &network, &before.0]).ok();
    right_again("docker network disconnect", "taken off the app's network");
    assert!(in_network(), "the container is not in its network again");

    w.docker(&["rename", &before.0, "somebody-elses"]).ok();
    eventually("docker rename: it has its name again", BACK, || (container("web") == before).then_some(()));

    w.docker(&["rm", "-f", &container("ticker").0]).ok();
    right_again("docker rm of a worker", "somebody removed it");

    // The network goes for good: both containers are off it, and it is made anew.
    w.docker(&["network", "disconnect", "-f", &network, &container("ticker").0]).ok();
    w.docker(&["network", "disconnect", "-f", &network, &before.0]).ok();
    let _ = w.docker(&["network", "rm", &network]);
    right_again("docker network rm", "taken off the app's network");
    eventually("the network is there with both", BACK, || in_network().then_some(()));
    // What happens to one that is still in trouble is not told again.
    let web_again = || w.log_texts(&app, 1000, &["-p", "platform"]).iter().filter(|l| l.contains("web.1 runs again")).count();
    eventually("web is out of its trouble for the fourth time", BACK, || (web_again() >= 4).then_some(()));

    // It was connected to the new one, and starts there.
    w.docker(&["stop", &before.0]).ok();
    right_again("docker stop after the network was made anew", "stopped from outside");
    repo.release("three");
    w.push(&repo, &app).ok();
    w.serves(&app, "three");
}

/// An engine that was killed while it made a network may never start again before somebody takes the file of its networks away: that must be
/// all that a person has to do.
#[test]
fn an_engine_that_has_lost_its_networks_has_those_of_the_apps_again() {
    let w = World::start_on(OwnEngine::start(&[]));
    let apps = apps(&w, 2);
    w.engine().kill();
    w.engine().forget_networks();
    let up = w.engine().start_dockerd();
    let busy = Busy::measure();

    let took = all_back(&w, &apps, up);

    eprintln!("the apps are back {took:?} after Docker, which had lost its networks");
    assert!(took < BACK.mul_f64(busy.stretch()), "back only after {took:?}\n{}", w.logs_of_roles());
    apps.iter().for_each(|app| assert!(has_network(&w, app), "{app} has no network"));
}

#[test]
fn instances_that_ran_on_while_the_engine_lost_their_network_serve_until_others_take_their_place() {
    let w = World::start_on(OwnEngine::start(&["--live-restore"]));
    let (app, repo) = w.live("steady", "one");
    let traffic = Traffic::start(w.proxy(), &w.host(&app), &app, 2);
    w.engine().kill();
    w.engine().forget_networks();
    w.engine().start_dockerd();
    let told = eventually("doctor tells of the network", Duration::from_secs(20), || {
        let told = w.doctor(&[]);
        told.out.contains("has lost the network").then_some(told)
    });
    told.says(&[&format!("lost the network of {app}"), &format!("paas ps restart -a {app}")]);

    w.paas(&["ps", "restart", "-a", &app]).ok();

    assert!(has_network(&w, &app), "{app} has no network");
    assert!(!w.doctor(&[]).out.contains("has lost the network"));
    repo.release("two");
    w.push(&repo, &app).ok();
    w.serves(&app, "two");
    let seen = traffic.stop();
    assert!(seen.failed.is_empty(), "of {} requests failed: {:?}\n{}", seen.answered, seen.failed, w.logs_of_roles());
}

fn has_network(w: &World, app: &str) -> bool {
    w.docker(&["network", "ls", "--format", "{{.Name}}"]).ok().out.lines().any(|name| name.ends_with(&format!("-{app}")))
}

#[test]
fn a_container_that_the_engine_cannot_start_is_made_anew_and_that_is_told() {
    let w = World::start_on(OwnEngine::start(&[]));
    let (app, _repo) = w.live("unfit", "one");
    let container =
        || w.docker(&["ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Names}}", "--filter", "label=paas.app"]).ok().out;
    let network = w.docker(&["network", "ls", "--format", "{{.Name}}", "--filter", "label=paas.app"]).ok().out.trim().to_owned();
    let before = container();
    let (id, name) = before.trim().split_once(' ').expect("one container");
    let daemon = eventually("the daemon", BACK, || w.pid_of("daemon")).to_string();
    let signal = |signal: &str| run(Command::new("kill").args([signal, &daemon]), b"", BACK).ok();

    // Stopped, it remembers the id of a network that is no more; another one of the same name does not help it.
    signal("-STOP");
    w.docker(&["stop", id]).ok();
    w.docker(&["network", "rm", &network]).ok();
    signal("-CONT");

    eventually("it is told", BACK, || {
        let told = w.log_texts(&app, 1000, &["-p", "platform"]);
        told.iter().any(|l| l.contains("cannot be started again; another one takes its place")).then_some(())
    });
    eventually("it answers", BACK, || says(&w, &app).filter(|t| *t == format!("{app} one\n")));
    let after = container();
    assert!(after.trim().ends_with(name) && !after.contains(id), "{before}{after}");
    assert!(w.docker(&["network", "inspect", &network]).out.contains(name), "it is not in the new network");
}

#[test]
fn paas_starts_without_docker_says_so_and_heals_when_docker_comes() {
    let w = World::start_on(OwnEngine::prepare(&[]));
    let status = w.paas(&["status", "--json"]).ok().json();
    assert_eq!(status["docker"]["ok"], false, "{status}");
    assert!(status["problems"].to_string().contains("Docker is not running"), "{status}");
    assert!(w.logs_of_roles().contains("Docker is not running"), "{}", w.logs_of_roles());

    // A push meanwhile waits, and a cancel is possible.
    let (app, repo) = (w.app("early"), Repo::testapp("one"));
    std::thread::scope(|scope| {
        let push = scope.spawn(|| w.push(&repo, &app));
        eventually("the push says what it waits for", Duration::from_secs(20), || (waits(&w, &app) == 1).then_some(()));
        w.paas(&["deploys", "cancel", "d1"]).ok();
        push.join().expect("no panic").fails(1);
    });
    std::thread::scope(|scope| {
        let push = scope.spawn(|| w.push(&repo, &app));
        eventually("the second push waits too", Duration::from_secs(20), || (waits(&w, &app) == 2).then_some(()));
        w.engine().start_dockerd();
        push.join().expect("no panic").ok();
    });
    w.serves(&app, "one");

    // The host boots anew: Docker is there last, and nobody has to help.
    w.engine().kill();
    w.kill("daemon");
    let up = w.engine().start_dockerd();
    let busy = Busy::measure();
    let took = all_back(&w, std::slice::from_ref(&app), up);
    assert!(took < BACK.mul_f64(busy.stretch()), "back only after {took:?}");
}
