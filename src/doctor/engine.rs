//! The Docker engine. Pure.

use super::{Finding, ok, problem, warning};
use crate::docker::EngineInfo;

/// The oldest engine that paas was made for.
const FLOOR: (u32, u32) = (20, 10);

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
