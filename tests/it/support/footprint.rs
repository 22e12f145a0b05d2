//! What an installation takes of the machine, counted from outside: descriptors, networks and all that hangs on them, files, rows, memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::cli::run;
use super::engine::docker;
use super::world::World;

const ROLES: [&str; 3] = ["daemon", "proxy", "dialer"];

/// Counts by name.
pub type Footprint = BTreeMap<String, u64>;

impl World {
    /// Everything that must not grow with use.
    pub fn footprint(&self) -> Footprint {
        let mut counts = Footprint::new();
        for role in ROLES {
            let pid = self.pid_of(role).expect("every role runs");
            counts.insert(format!("descriptors of {role}"), descriptors(pid));
        }
        for kind in ["container", "network", "image", "volume"] {
            let of = self.objects().iter().filter(|object| object.starts_with(kind)).count();
            counts.insert(format!("{kind}s"), of as u64);
        }
        let bridges = self.bridges();
        let rules = run(&mut Command::new("iptables-save"), b"", Duration::from_secs(20)).out;
        let of_ours = rules.lines().filter(|line| bridges.iter().any(|bridge| line.contains(bridge.as_str()))).count();
        counts.insert("firewall rules".into(), of_ours as u64);
        let ends = bridges.iter().map(|bridge| entries(&Path::new("/sys/class/net").join(bridge).join("brif")));
        counts.insert("veths".into(), ends.sum());
        for folder in ["instances", "builds", "deploys"] {
            counts.insert(format!("files in {folder}/"), entries(&self.state_dir().join(folder)));
        }
        let disk = self.paas(&["disk", "--json"]).ok().json();
        for (table, rows) in disk["rows"].as_object().expect("rows by table") {
            counts.insert(format!("rows of {table}"), rows.as_u64().expect("a number"));
        }
        counts
    }

    fn bridges(&self) -> Vec<String> {
        let ours = format!("label=paas.install={}", self.install());
        let ids = docker(&["network", "ls", "-q", "--no-trunc", "--filter", &ours]).out;
        ids.lines().map(|id| format!("br-{}", &id[..12.min(id.len())])).collect()
    }

    /// KiB of resident memory of a role: all, and what is its own (not mapped from a file).
    pub fn memory(&self, role: &str) -> (u64, u64) {
        let pid = self.pid_of(role).expect("every role runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let of = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        (of("VmRSS:"), of("RssAnon:"))
    }
}

/// Open descriptors, but for those of the database: its readers come and go between one and four.
fn descriptors(pid: u32) -> u64 {
    let all = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let names = all.map(|entry| std::fs::read_link(entry.path()).unwrap_or_default().display().to_string());
    names.filter(|name| !name.contains("/paas.db")).count() as u64
}

fn entries(folder: &Path) -> u64 {
    std::fs::read_dir(folder).map_or(0, |all| all.count() as u64)
}

/// What differs, for a message.
pub fn difference(before: &Footprint, after: &Footprint) -> Vec<String> {
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let count = |of: &Footprint, name: &str| of.get(name).copied().unwrap_or(0);
    names
        .map(|n| (n, count(before, n), count(after, n)))
        .filter(|(_, a, b)| a != b)
        .map(|(n, a, b)| format!("{n}: {a} -> {b}"))
        .collect()
}
