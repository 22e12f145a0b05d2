//! The Docker engine. Pure.

use std::path::Path;

use super::{Finding, ok, problem, warning};
use crate::docker::EngineInfo;

/// The oldest engine that paas was made for.
const FLOOR: (u32, u32) = (20, 10);

/// How a line of the engine's log begins to tell why it ends.
const ENDS: [&str; 4] = ["panic:", "failed to start daemon", "failed to load", "unable to configure the Docker daemon"];

/// So many lines from a panic on belong to it.
const TRACE: usize = 40;

/// Characters of the log that are shown.
const SHOWN: usize = 300;

/// What the engine says about itself, or why it says nothing.
pub fn judge(engine: Result<&EngineInfo, &str>) -> Vec<Finding> {
    let engine = match engine {
        Ok(engine) => engine,
        Err(why) => return vec![problem("docker", format!("the engine does not answer: {why}"), "systemctl start docker")],
    };
    let mut found = vec![version(&engine.version, &engine.api), live_restore(engine.live_restore)];
    found.push(match engine.storage_driver.as_str() {
        "overlay2" | "overlayfs" => ok("docker", format!("storage driver {}", engine.storage_driver)),
        other => warning(
            "docker",
            format!("storage driver {other}: paas was tried with overlay2 only, others are slow or copy whole images"),
            "set \"storage-driver\": \"overlay2\" in /etc/docker/daemon.json (images are made anew), then `systemctl restart docker`",
        ),
    });
    found.push(match engine.cgroup_version {
        1 => ok("kernel", "cgroup v1: limits of instances hold"),
        _ => ok("kernel", "cgroup v2: limits of instances hold"),
    });
    found
}

/// What the log of an engine that does not run says about its end: the last complaint of its last start. None if it complains of nothing.
/// `root`: where the engine keeps its things.
pub fn ended(log: &str, root: &Path) -> Option<Finding> {
    // An engine that ran since then and was stopped has not ended by it.
    let log = log.rsplit_once("msg=\"Starting up\"").map_or(log, |(_, last_start)| last_start);
    let complaint = |line: &&str| ENDS.iter().any(|end| line.contains(end));
    let (at, line) = log.lines().enumerate().filter(|(_, line)| complaint(line)).last()?;
    // The lines under a panic name where it was.
    let where_at: String = log.lines().skip(at).take(TRACE).collect();
    let networks = root.join("network/files/local-kv.db");
    let todo = if line.contains("panic:") && where_at.contains("libnetwork") {
        // Seen of 20.10: killed between the two writes of a network, it never starts again by itself.
        format!(
            "systemctl stop docker; mv {} /root/; systemctl start docker (Docker forgets its networks by that; paas makes those of its apps anew)",
            networks.display()
        )
    } else if line.contains("daemon.json") {
        "mend /etc/docker/daemon.json, then `systemctl restart docker`".to_owned()
    } else if line.contains("no space left") {
        "paas disk; make room, then `systemctl restart docker`".to_owned()
    } else {
        "journalctl -u docker -n 100".to_owned()
    };
    let shown: String = line.trim().chars().take(SHOWN).collect();
    Some(problem("docker", format!("the engine's last words: {shown}"), todo))
}

fn version(version: &str, api: &str) -> Finding {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= FLOOR => ok("docker", format!("Docker Engine {version}, API {api}")),
        (Some(_), Some(_)) => problem(
            "docker",
            format!("Docker Engine {version} is older than {}.{}", FLOOR.0, FLOOR.1),
            "apt-get install --only-upgrade docker.io",
        ),
        _ => warning("docker", format!("Docker Engine `{version}`: that is no version number that is known"), "docker version"),
    }
}

fn live_restore(on: bool) -> Finding {
    if on {
        return ok("docker", "live-restore is on: apps outlive a restart of Docker");
    }
    warning(
        "docker",
        "live-restore is off: every restart of Docker stops every app",
        "set \"live-restore\": true in /etc/docker/daemon.json, then `systemctl reload docker`",
    )
}
