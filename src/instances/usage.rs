//! What a running instance takes now, read from its control groups: the kernel's own figures, without a question to the engine (whose
//! statistics are empty on hosts with both versions of control groups).

use std::path::{Path, PathBuf};

use crate::instances::lifecycle::Instances;
use crate::model::instance::Instance;

const ROOT: &str = "/sys/fs/cgroup";

/// What a running container takes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes, without the page cache that can be given back at once.
    pub memory: u64,
    /// Processes and threads.
    pub pids: u64,
    pub pids_limit: Option<u64>,
}

impl Instances {
    /// None: it does not run, or the kernel does not say. Cancel-safe: yes, reads only.
    pub async fn usage(&self, row: &Instance) -> Option<Usage> {
        let state = self.state(row).await.ok()??;
        let groups = tokio::fs::read_to_string(format!("/proc/{}/cgroup", state.pid)).await.ok().filter(|_| state.running)?;
        read(&|controller, file| std::fs::read_to_string(folder(Path::new(ROOT), &groups, controller)?.join(file)).ok())
    }
}

/// Takes what gives a file of a controller's group; names differ between version 1 and 2 (Documentation/admin-guide/cgroup-v{1,2}).
fn read(file: &dyn Fn(&str, &str) -> Option<String>) -> Option<Usage> {
    let first = |controller: &str, names: [&str; 2]| names.iter().find_map(|name| file(controller, name));
    let number = |text: String| text.trim().parse::<u64>().ok();
    let used = number(first("memory", ["memory.current", "memory.usage_in_bytes"])?)?;
    let stat = file("memory", "memory.stat").unwrap_or_default();
    // Version 1 has both names, and there only the first one counts the groups below.
    let cache = ["total_inactive_file ", "inactive_file "]
        .iter()
        .find_map(|name| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()));
    Some(Usage {
        memory: used.saturating_sub(cache.unwrap_or(0)),
        pids: file("pids", "pids.current").and_then(number).unwrap_or(0),
        // `max` is no limit.
        pids_limit: file("pids", "pids.max").and_then(number),
    })
}

/// The folder of a process's group for a controller. Takes the text of /proc/PID/cgroup: lines `number:controllers:path`.
fn folder(root: &Path, groups: &str, controller: &str) -> Option<PathBuf> {
    let mut lines = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        rest.split_once(':')
    });
    let own = lines.clone().find(|(controllers, _)| controllers.split(',').any(|c| c == controller));
    let (base, path) = match own {
        Some((_, path)) => (root.join(controller), path),
        None => (root.to_owned(), lines.find(|(controllers, _)| controllers.is_empty())?.1),
    };
    // A group outside of what this process may see is shown with `..`.
    let inside = path.strip_prefix('/').filter(|p| !p.split('/').any(|part| part == ".."))?;
    Some(base.join(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_both_versions_are_found() {
        let root = Path::new("/c");
        let old = "8:pids:/docker/1\n4:memory:/docker/1\n3:cpu,cpuacct:/x\n0::/docker/2\n";
        assert_eq!(folder(root, old, "memory"), Some("/c/memory/docker/1".into()));
        assert_eq!(folder(root, "0::/system.slice/docker-1.scope\n", "pids"), Some("/c/system.slice/docker-1.scope".into()));
        assert_eq!(folder(root, "0::/../x\n", "pids"), None);
    }

    #[test]
    fn what_the_kernel_can_take_back_at_once_is_not_counted() {
        let old = |_: &str, name: &str| match name {
            "memory.usage_in_bytes" => Some("1000\n".to_owned()),
            "memory.stat" => Some("cache 900\ninactive_file 100\ntotal_inactive_file 300\n".to_owned()),
            "pids.current" => Some("7\n".to_owned()),
            "pids.max" => Some("max\n".to_owned()),
            _ => None,
        };
        assert_eq!(read(&old), Some(Usage { memory: 700, pids: 7, pids_limit: None }));
        let new = |_: &str, name: &str| match name {
            "memory.current" => Some("50\n".to_owned()),
            "pids.max" => Some("60\n".to_owned()),
            _ => None,
        };
        assert_eq!(read(&new), Some(Usage { memory: 50, pids: 0, pids_limit: Some(60) }));
        assert_eq!(read(&|_, _| None), None);
    }
}
