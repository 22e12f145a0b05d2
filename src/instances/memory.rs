//! Do blue and green fit side by side? Asked before the new one starts. Pure, but for reading /proc/meminfo.

/// What an instance is expected to touch at once, if its limit is not lower; limits themselves are not reserved.
const EXPECTED: u64 = 64 << 20;
/// Left for the host itself.
const RESERVE: u64 = 256 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostMemory {
    pub total: u64,
    pub available: u64,
}

/// Reads the host's memory in bytes (proc(5), `MemTotal` and `MemAvailable`); `None` where the kernel does not say.
pub fn host() -> Option<HostMemory> {
    parse(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse(meminfo: &str) -> Option<HostMemory> {
    let field = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(HostMemory { total: field("MemTotal:")?, available: field("MemAvailable:")? })
}

/// Takes the limits (bytes) of the instances to be started. Says why they do not fit, or nothing.
pub fn refuse(host: HostMemory, new: &[u64]) -> Option<String> {
    let mib = |bytes: u64| bytes >> 20;
    if let Some(limit) = new.iter().find(|limit| **limit > host.total) {
        return Some(format!("one instance may take {} MiB, but the host has only {} MiB in all", mib(*limit), mib(host.total)));
    }
    let expected: u64 = new.iter().map(|limit| EXPECTED.min(*limit)).sum();
    let free = host.available.saturating_sub(RESERVE);
    (expected > free).then(|| {
        format!(
            "{} new instances beside the old ones need about {} MiB, but the host has {} MiB available ({} MiB are kept for the host)",
            new.len(),
            mib(expected),
            mib(host.available),
            mib(RESERVE)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused_with_the_figures() {
        let host = parse("MemTotal:        1024000 kB\nMemFree: 1 kB\nMemAvailable:     512000 kB\n").expect("both fields");
        assert_eq!(host.total, 1_048_576_000);
        assert_eq!(refuse(host, &[512 << 20, 512 << 20]), None);
        assert!(refuse(host, &[2 << 30]).expect("too large").contains("2048 MiB"));
        assert!(refuse(host, &[512 << 20; 8]).expect("too many").contains("8 new instances"));
    }
}
