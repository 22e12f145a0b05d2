//! The processes: units where systemd runs, else the roles of `paas up`. Pure.

use super::{Finding, ok, problem, warning};
use crate::handover::supervise::{State, Status};

/// A unit as `systemctl show` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    pub name: String,
    /// `loaded`, `not-found`, …
    pub load: String,
    /// `enabled`, `disabled`, `static`, …; empty: none.
    pub file: String,
    /// `active`, `inactive`, `failed`, `activating`.
    pub active: String,
    pub restarts: u32,
}

/// The units of an installation; the first is Docker's.
pub const UNITS: &[&str] = &[
    "docker.service",
    "paas.service",
    "paas-daemon.socket",
    "paas-control.socket",
    "paas-proxy.socket",
    "paas-dialer.socket",
    "paas-daemon.service",
    "paas-proxy.service",
    "paas-dialer.service",
];

/// Those that a boot must start by themselves; the others are pulled in by them.
const ENABLED: &[&str] = &["docker.service", "paas.service"];

/// More restarts than this since the boot are a sign.
const MANY_RESTARTS: u32 = 20;

pub fn units(units: &[Unit]) -> Vec<Finding> {
    units.iter().map(unit).collect()
}

fn unit(unit: &Unit) -> Finding {
    let name = &unit.name;
    let area = "processes";
    if unit.load != "loaded" {
        let todo = if name == "docker.service" { "apt-get install docker.io" } else { "run install.sh again" };
        return problem(area, format!("{name} is not installed ({})", unit.load), todo);
    }
    if unit.active == "failed" {
        return problem(area, format!("{name} has failed"), format!("journalctl -u {name} -n 50; systemctl restart {name}"));
    }
    if !matches!(unit.active.as_str(), "active" | "activating" | "reloading") {
        return problem(area, format!("{name} is {}", unit.active), format!("systemctl start {name}"));
    }
    if ENABLED.contains(&name.as_str()) && !unit.file.starts_with("enabled") {
        return problem(
            area,
            format!("{name} is not enabled: it does not come back after a reboot"),
            format!("systemctl enable {name}"),
        );
    }
    if unit.restarts > MANY_RESTARTS {
        let text = format!("{name} was started again {} times", unit.restarts);
        return warning(area, text, format!("journalctl -u {name} -p warning -n 50"));
    }
    ok(area, format!("{name} is {}", unit.active))
}

/// Without systemd: what the supervisor's file says; `alive`: its process is there.
pub fn supervisor(status: Option<&Status>, alive: bool) -> Vec<Finding> {
    let area = "processes";
    let Some(status) = status.filter(|_| alive) else {
        return vec![problem(area, "no systemd here, and `paas up` does not run", "paas up --detach")];
    };
    let mut found = vec![warning(
        area,
        format!("no systemd here: `paas up` (process {}) supervises, and nothing starts it after a reboot", status.pid),
        "start `paas up --detach` from whatever boots this machine",
    )];
    for (name, role) in &status.roles {
        found.push(match role.state {
            State::Ready => ok(area, format!("{name} is ready, started again {} times", role.restarts)),
            State::Starting | State::Stopping => {
                warning(area, format!("{name} is not ready yet"), "paas doctor (again in a moment)")
            }
            State::Ended => {
                problem(area, format!("{name} has ended and waits for its restart"), "look at the output of `paas up`")
            }
        });
    }
    found
}
