//! The store, the routes and Docker: three views of one thing. Pure.

use super::{Finding, ok, problem, warning};

/// What each of the three says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Views {
    /// Instances that the store wants to run.
    pub live: Vec<Live>,
    /// Apps whose instances run in a network that the engine knows no more.
    pub without_network: Vec<String>,
    /// Containers with our label that the store knows nothing of.
    pub unknown: Vec<String>,
    /// The number of the newest routes in the store.
    pub snapshot: u64,
    /// The number that each connected proxy acts by.
    pub proxies: Vec<u64>,
    /// Targets that the dialer keeps and the store does not know.
    pub stale_targets: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// `shop web.1`
    pub name: String,
    /// `None`: Docker did not say.
    pub runs: Option<bool>,
    /// It takes requests, and the dialer has no way to it.
    pub unreachable: bool,
}

pub fn judge(views: &Views) -> Vec<Finding> {
    let area = "routes";
    let mut found = Vec::new();
    for live in &views.live {
        let by_itself = "paas puts it right within 15 s; if it stays: paas logs, journalctl -u paas-daemon";
        match live.runs {
            Some(false) => found.push(problem(area, format!("{} should run and does not", live.name), by_itself)),
            _ if live.unreachable => {
                found.push(problem(area, format!("{} runs, but the dialer has no way to it", live.name), by_itself));
            }
            Some(true) | None => {}
        }
    }
    let all_run = views.live.iter().all(|live| live.runs == Some(true) && !live.unreachable);
    if all_run {
        found.push(ok(area, format!("Docker runs the {} instances that the store wants", views.live.len())));
    }
    for app in &views.without_network {
        let text = format!("Docker has lost the network of {app}; its instances run on, and can't be connected to a new one");
        found.push(warning(area, text, format!("paas ps restart -a {app} (others take their place, no request is lost)")));
    }
    for name in &views.unknown {
        let text = format!("container {name} carries our label and is not in the store");
        found.push(warning(area, text, format!("docker rm -f {name} (if nobody runs `paas run` now)")));
    }
    let behind = views.proxies.iter().filter(|version| **version != views.snapshot).count();
    found.push(match (views.proxies.len(), behind) {
        (0, _) => problem(area, "no proxy is connected to the daemon", "systemctl restart paas-proxy (or `paas up`)"),
        (_, 0) => ok(area, format!("the proxy acts by the newest routes (number {})", views.snapshot)),
        (_, _) => problem(
            area,
            format!("the proxy acts by routes {:?}, the store has number {}", views.proxies, views.snapshot),
            "systemctl restart paas-proxy",
        ),
    });
    if views.stale_targets > 0 {
        let text = format!("the dialer keeps {} targets that are gone", views.stale_targets);
        found.push(warning(area, text, "systemctl restart paas-daemon (it closes them when it starts)"));
    }
    found
}

/// What SQLite says of the whole file: `ok`, or what is broken.
pub fn store(check: Result<&[String], &str>) -> Finding {
    const BROKEN: &str = "stop paas, copy /var/lib/paas aside, and restore paas.db from a backup";
    match check {
        Ok([only]) if only == "ok" => ok("store", "the database is whole"),
        Ok(faults) => problem("store", format!("the database is damaged: {}", faults.join("; ")), BROKEN),
        Err(why) => problem("store", format!("the database can't be read: {why}"), BROKEN),
    }
}
