//! Whether the kernel refused this instance another process.

use std::fs;

/// How often a fork or a new thread was refused because of the instance's limit so far; 0 where the kernel does not say.
///
/// Inside a container its own control group is the root of what it sees: `pids.events` of version 2, then of version 1.
pub fn refusals() -> u64 {
    ["/sys/fs/cgroup/pids.events", "/sys/fs/cgroup/pids/pids.events"]
        .into_iter()
        .find_map(|path| parse(&fs::read_to_string(path).ok()?))
        .unwrap_or(0)
}

/// Both files hold a line `max N`.
fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("max ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_refusals_is_read() {
        assert_eq!(parse("max 12\n"), Some(12));
        assert_eq!(parse("max.imposed 3\nmax 4\n"), Some(4));
        assert_eq!(parse(""), None);
    }
}
