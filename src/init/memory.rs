//! Whether the kernel killed something in this instance for want of memory.

use std::fs;

/// How many processes of the instance the kernel has killed for want of memory so far; 0 where it does not say.
///
/// Inside a container its own control group is the root of what it sees: `memory.events` of version 2, `memory.oom_control` of version 1.
pub fn kills() -> u64 {
    ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"]
        .into_iter()
        .find_map(|path| parse(&fs::read_to_string(path).ok()?))
        .unwrap_or(0)
}

/// Both files hold a line `oom_kill N`.
fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_the_file_are_read() {
        assert_eq!(parse("low 0\nhigh 0\nmax 12\noom 1\noom_kill 3\noom_group_kill 0\n"), Some(3));
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), Some(2));
        assert_eq!(parse("oom_kill_disable 0\nunder_oom 0\n"), None);
    }
}
