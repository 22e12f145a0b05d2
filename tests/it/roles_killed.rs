//! Proxy and dialer killed under load: their supervisor has them back in a moment with their sockets, namespaces and routes, whether the daemon
//! lives or not; nothing is refused, and no more is lost than was in flight.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Client, Traffic, World, eventually, run};

const CLIENTS: usize = 6;
/// What is measured is under 200 ms; a machine with other work gets more.
const BACK: Duration = Duration::from_secs(1);

fn signal(pid: u32, name: &str) {
    run(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]), b"", Duration::from_secs(5)).ok();
}

/// A process that does nothing until this is dropped, however the test ends.
struct Halted(u32);

impl Halted {
    fn new(pid: u32) -> Halted {
        signal(pid, "STOP");
        Halted(pid)
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

/// Kills `role` and gives how long it took until a request on a connection made after the kill was answered.
pub fn kill_and_ask(w: &World, role: &str, app: &str) -> Duration {
    let old = eventually(role, Duration::from_secs(10), || w.pid_of(role));
    let killed = Instant::now();
    signal(old, "KILL");
    let reply = Client::connect(w.proxy(), &w.host(app)).and_then(|mut client| client.get("/"));
    let back = killed.elapsed();
    let reply = reply.unwrap_or_else(|e| panic!("a connection made after {role} was killed: {e}\n{}", w.logs_of_roles()));
    assert_eq!(reply.status, 200, "{reply:?}\n{}", w.logs_of_roles());
    eventually(&format!("a new {role}"), Duration::from_secs(5), || w.pid_of(role).filter(|new| *new != old));
    back
}

/// Kills `role` five times under load. Gives the times, and what failed.
fn five_kills(w: &World, role: &str, app: &str) -> (Vec<Duration>, Vec<String>) {
    let traffic = Traffic::start_every(Duration::from_millis(4), w.proxy(), &w.host(app), app, CLIENTS);
    traffic.wait_for(200);
    let mut times = Vec::new();
    for _ in 0..5 {
        times.push(kill_and_ask(w, role, app));
        // The next kill meets a role that has served for a while: one that dies again and again is started with pauses.
        traffic.wait_for(1500);
    }
    let counted = traffic.stop();
    println!("{role}: back after {times:?}; {} answered, {} lost", counted.answered, counted.failed.len());
    (times, counted.failed)
}

fn proxy_survives(w: &World, app: &str) {
    let (times, failed) = five_kills(w, "proxy", app);
    assert!(times.iter().all(|t| *t < BACK), "{times:?}");
    // Each client has one request in flight at most.
    assert!(failed.len() <= 5 * CLIENTS, "{} failed: {failed:?}", failed.len());
    assert!(!failed.iter().any(|why| why.contains("refused") || why.contains("status")), "{failed:?}");
}

fn dialer_survives(w: &World, app: &str) {
    let (times, failed) = five_kills(w, "dialer", app);
    assert!(times.iter().all(|t| *t < BACK), "{times:?}");
    // A dial that was asked for is asked for again: it sent nothing yet.
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn proxy_and_dialer_killed_under_load_are_back_at_once_and_refuse_nothing() {
    let w = World::start();
    let (app, _repo) = w.live("load", "one");
    proxy_survives(&w, &app);
    dialer_survives(&w, &app);
}

#[test]
fn they_come_back_without_the_daemon_with_their_routes_and_namespaces() {
    let w = World::start();
    let (app, repo) = w.live("alone", "one");
    let daemon = w.pid_of("daemon").expect("the daemon runs");
    let halted = Halted::new(daemon);
    proxy_survives(&w, &app);
    dialer_survives(&w, &app);
    drop(halted);
    // A daemon that wakes up finds them, and deploys through them.
    repo.release("two");
    w.push(&repo, &app).ok();
    w.serves(&app, "two");
    crate::support::invariants(&w, &app);
}

#[test]
fn a_push_waits_for_a_daemon_that_hangs_and_goes_on_when_it_wakes_up() {
    let w = World::start();
    let (app, repo) = w.live("hangs", "one");
    repo.write("mode", "boot_ms=1500\n").release("two");
    let daemon = w.pid_of("daemon").expect("the daemon runs");
    std::thread::scope(|scope| {
        let push = scope.spawn(|| w.push(&repo, &app));
        eventually("the deploy probes", Duration::from_secs(30), || (w.last_deploy(&app)["state"] == "probing").then_some(()));
        let halted = Halted::new(daemon);
        std::thread::sleep(Duration::from_secs(3));
        assert!(!push.is_finished(), "the hook waits");
        drop(halted);
        push.join().expect("the push ends").ok();
    });
    w.serves(&app, "two");
}
