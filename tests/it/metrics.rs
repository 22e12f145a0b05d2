//! Every request is counted where people look, whoever dies meanwhile; what is measured and logged never keeps a request waiting.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Repo, World, eventually, json_lines, run};
use crate::upgrade::upgrade;

const PATIENCE: Duration = Duration::from_secs(20);

fn metrics(w: &World, app: &str) -> Value {
    w.paas(&["metrics", app, "--json"]).ok().json()
}

fn total(metrics: &Value, what: &str) -> u64 {
    metrics["all"]["totals"].pointer(&format!("/{what}")).and_then(Value::as_u64).unwrap_or_default()
}

/// Waits until `count` requests are known, and gives all that is known then.
#[track_caller]
fn counted(w: &World, app: &str, count: u64) -> Value {
    eventually(&format!("{count} requests of {app}"), PATIENCE, || {
        let found = metrics(w, app);
        let n = total(&found, "requests");
        assert!(n <= count, "{n} requests were counted, {count} were sent\n{found}");
        (n == count).then_some(found)
    })
}

fn signal(pid: u32, name: &str) {
    run(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]), b"", Duration::from_secs(5)).ok();
}

fn router_lines(w: &World, app: &str) -> Vec<Value> {
    let lines = json_lines(&w.paas(&["logs", "-a", app, "-p", "router", "-n", "2000", "--json"]).ok().out);
    lines.into_iter().map(|line| line["access"].clone()).collect()
}

#[test]
fn every_request_is_counted_once_and_shown_to_whom_it_concerns() {
    let w = World::start();
    let (app, other) = (w.app("counted"), w.app("other"));
    let repo = Repo::testapp("one");
    repo.write("mode", "health=500\n").write("paas.toml", "[http]\nmax_body = \"5 KB\"\n").commit("limits");
    w.push(&repo, &app).ok();
    let (neighbour, _) = w.live("neighbour", "one");
    w.paas(&["apps", "create", &other]).ok();

    let mut client = w.client(&app);
    for (path, times, status) in [("/", 5, 200), ("/nope", 3, 404), ("/health", 2, 500), ("/slow?ms=1200", 1, 200)] {
        (0..times).for_each(|_| assert_eq!(client.get(path).expect("an answer").status, status, "{path}"));
    }
    let mut upload = |length: usize| {
        client.send("POST", "/upload", &[("Content-Length", &length.to_string())], &vec![b'x'; length]).expect("sent");
        client.reply().expect("an answer").status
    };
    assert_eq!((upload(1000), upload(6000)), (200, 413));

    let found = counted(&w, &app, 13);
    let count = |what: &str| total(&found, what);
    let classes = ["2xx", "3xx", "4xx", "5xx", "none"].map(|class| count(&format!("by_class/{class}")));
    assert_eq!(classes, [7, 0, 4, 2, 0], "{found}");
    assert_eq!((count("dropped/too_large"), count("bytes_in"), count("retried")), (1, 1000, 0), "{found}");
    let all = &found["all"];
    assert_eq!((all["total"]["count"].as_u64(), all["first_byte"]["count"].as_u64()), (Some(12), Some(12)), "{found}");
    let slowest = all["total"]["p99_micros"].as_u64().expect("a duration");
    assert!((1_000_000..2_000_000).contains(&slowest), "1.2 s and some: {slowest}");
    assert!(all["first_byte"]["p50_micros"].as_u64().is_some_and(|p50| p50 < 1_000_000), "{found}");
    assert!(all["dial"]["count"].as_u64().is_some_and(|dials| (1..=12).contains(&dials)), "{found}");
    let sparks: u64 = found["requests"].as_array().expect("steps").iter().filter_map(Value::as_u64).sum();
    assert_eq!(sparks, 13);

    w.paas(&["metrics", &app]).ok().says(&["13 requests", "web.1", "v1", "1 too large"]);
    let page = w.paas(&["metrics", "--prometheus"]).ok();
    let samples = |name: &str| page.out.lines().filter(|l| l.starts_with(name)).map(str::to_owned).collect::<Vec<_>>();
    let ok = samples(&format!("paas_http_requests_total{{app=\"{app}\",process=\"web\",release=\"v1\""));
    assert!(ok.iter().any(|l| l.ends_with("class=\"2xx\"} 7")), "{page}");
    let inf = samples(&format!("paas_http_request_duration_seconds_bucket{{app=\"{app}\""));
    assert!(inf.iter().any(|l| l.ends_with("le=\"+Inf\"} 12")), "{page}");
    assert!(page.out.contains(&neighbour));

    w.add_key("limited", &["--app", &app]).ok();
    w.ssh("limited", &["metrics", &app], b"").ok().says(&["13 requests"]);
    w.ssh("limited", &["metrics", &neighbour], b"").fails(1);
    w.ssh("limited", &["metrics", "--prometheus", "-a", &neighbour], b"").fails(1);
    w.ssh("limited", &["metrics", "--prometheus"], b"").ok().says(&[&app]).never_says(&[&neighbour, "turned_away"]);
    w.paas(&["metrics", &other]).ok().says(&["0 requests"]);
}

#[test]
fn totals_go_on_after_a_killed_daemon_and_an_upgraded_proxy() {
    let w = World::start();
    let (app, repo) = w.live("goes-on", "one");
    let ask = |times: usize| (0..times).for_each(|_| assert_eq!(w.get(&app, "/").status, 200));
    ask(9);
    counted(&w, &app, 10);

    w.kill("daemon");
    let found = counted(&w, &app, 10);
    assert_eq!(found["all"]["counts"]["requests"], 0, "what was before the daemon is no burst: {found}");
    ask(5);
    let found = counted(&w, &app, 15);
    assert_eq!(found["all"]["counts"]["requests"], 5, "{found}");
    assert!(found["all"]["per_second"].as_f64().is_some_and(|rate| rate > 0.0 && rate <= 5.0), "{found}");

    upgrade(&w);
    ask(4);
    let found = counted(&w, &app, 19);
    assert_eq!(found["all"]["counts"]["requests"], 9, "{found}");

    w.kill("proxy");
    eventually("the proxy is back", PATIENCE, || w.client(&app).get("/").ok().filter(|reply| reply.status == 200));
    counted(&w, &app, 20);

    repo.release("two");
    w.push(&repo, &app).ok();
    ask(3);
    let found = counted(&w, &app, 23);
    let of = |release: &str| {
        let rows = found["rows"].as_array().expect("rows").iter().filter(|row| row["release"] == release);
        rows.filter_map(|row| row["totals"]["requests"].as_u64()).sum::<u64>()
    };
    assert_eq!((of("v1"), of("v2")), (20, 3), "both releases are there to compare: {found}");
}

#[test]
fn a_daemon_that_hangs_keeps_no_request_waiting_and_nothing_is_lost() {
    let w = World::start();
    let (app, _repo) = w.live("stalled", "one");
    let daemon = w.pid_of("daemon").expect("a daemon");
    let mut client = w.client(&app);
    signal(daemon, "STOP");
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    for _ in 0..2000 {
        let asked = Instant::now();
        assert_eq!(client.get("/").expect("an answer").status, 200);
        longest = longest.max(asked.elapsed());
    }
    let took = begun.elapsed();
    signal(daemon, "CONT");
    assert!(longest < Duration::from_secs(1), "one request took {longest:?} of {took:?}");
    counted(&w, &app, 2001);
}

#[test]
fn an_app_says_which_of_its_requests_have_a_line() {
    let w = World::start();
    let app = w.app("sampled");
    let repo = Repo::testapp("one");
    let release = |toml: &str| {
        repo.write("mode", "health=500\n").write("paas.toml", toml).commit("settings");
        w.push(&repo, &app).ok();
    };
    let ask = |path: &str, times: usize| {
        let mut client = w.client(&app);
        (0..times).for_each(|_| drop(client.get(path).expect("an answer")));
    };
    // A line of which we know that it comes last.
    let until_last = |path: &str| {
        ask(path, 1);
        eventually("the last line", PATIENCE, || {
            let lines = router_lines(&w, &app);
            lines.iter().any(|l| l["path"] == path).then_some(lines)
        })
    };
    release("[http]\naccess_log = \"errors\"\n");
    ask("/?ordinary", 50);
    ask("/health", 2);
    let lines = until_last("/slow?ms=1100");
    let of = |path: &str| lines.iter().filter(|l| l["path"] == path).count();
    assert_eq!((of("/?ordinary"), of("/health"), of("/slow?ms=1100")), (0, 2, 1), "{lines:?}");
    assert!(lines.iter().all(|l| l["sample"] == 1.0 && l["method"] == "GET" && l["client"] == "127.0.0.1"), "{lines:?}");

    release("[http]\naccess_sample = 0.25\n");
    ask("/?sampled", 800);
    let lines = until_last("/health?sampled");
    let sampled: Vec<&Value> = lines.iter().filter(|l| l["path"] == "/?sampled").collect();
    assert!((120..=280).contains(&sampled.len()), "{} of 800", sampled.len());
    assert!(sampled.iter().all(|l| l["sample"] == 0.25 && l["status"] == 200), "{sampled:?}");
    assert_eq!(lines.iter().find(|l| l["path"] == "/health?sampled").map(|l| &l["sample"]), Some(&Value::from(1.0)));

    release("[http]\naccess_log = \"none\"\n");
    ask("/?silent", 20);
    ask("/health?silent", 5);
    release("# all\n");
    let lines = until_last("/?loud");
    assert!(!lines.iter().any(|l| l["path"].as_str().is_some_and(|p| p.ends_with("silent"))), "{lines:?}");
    counted(&w, &app, 53 + 801 + 25 + 1);
}
