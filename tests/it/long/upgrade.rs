//! Upgrades and kills, many of them.

use std::time::{Duration, Instant};

use crate::roles_killed::kill_and_ask;
use crate::support::{Traffic, World};
use crate::upgrade::upgrade;
use crate::zero_loss::deploys_under_load_with;

const EVERY: Duration = Duration::from_millis(4);

#[test]
fn twenty_upgrades_under_uploads_streams_sockets_and_deploys_lose_nothing() {
    let w = World::start();
    let mut times = Vec::new();
    let tally = deploys_under_load_with(&w, 20, true, |_| {
        let begun = Instant::now();
        upgrade(&w);
        times.push(begun.elapsed().as_millis());
    });
    println!("20 upgrades, one before each deploy, in {times:?} ms: {}", tally.line());
    tally.agrees();
}

#[test]
fn a_hundred_kills_of_the_daemon_fail_no_request() {
    let w = World::start();
    let (app, _repo) = w.live("daemon", "one");
    let traffic = Traffic::start_every(EVERY, w.proxy(), &w.host(&app), &app, 6);
    traffic.wait_for(200);
    for _ in 0..100 {
        w.kill("daemon");
        // The next kill meets one that was ready for a while: one that dies again and again is started with pauses.
        std::thread::sleep(Duration::from_millis(700));
    }
    let counted = traffic.stop();
    println!(
        "100 kills of the daemon: {} answered, {} failed, slowest {:?}",
        counted.answered,
        counted.failed.len(),
        counted.slowest
    );
    counted.nothing_failed();
}

#[test]
fn twenty_kills_of_the_proxy_refuse_nothing_and_it_serves_again_at_once() {
    let w = World::start();
    let (app, _repo) = w.live("proxy", "one");
    let traffic = Traffic::start_every(EVERY, w.proxy(), &w.host(&app), &app, 6);
    let mut times = Vec::new();
    for _ in 0..20 {
        traffic.wait_for(1500);
        times.push(kill_and_ask(&w, "proxy", &app));
    }
    let counted = traffic.stop();
    times.sort_unstable();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "20 kills of the proxy: {} answered, {} lost in flight, served again after {median:?} (median), {slowest:?} (slowest)",
        counted.answered,
        counted.failed.len()
    );
    assert!(!counted.failed.iter().any(|why| why.contains("refused") || why.contains("status")), "{:?}", counted.failed);
    // One request per client and kill at most. A machine with other work gets more than the 200 ms that are promised for one without.
    assert!(counted.failed.len() <= 20 * 6, "{:?}", counted.failed);
    assert!(median < Duration::from_millis(200) && slowest < Duration::from_secs(1), "{times:?}");
}
