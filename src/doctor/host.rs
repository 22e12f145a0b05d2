//! Disk, clock, ports, kernel. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Finding, ok, problem, warning};
use crate::alerts::judge::{Verdict, disk as verdict};
use crate::base::clock::UnixMillis;

/// A file system that paas writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// What of paas lies there.
    pub path: String,
    pub free: u64,
    pub total: u64,
    /// What is to stay free.
    pub reserve: u64,
    pub inodes_free: u64,
    /// 0: the file system counts none.
    pub inodes: u64,
    pub read_only: bool,
}

pub fn disk(disk: &Disk) -> Vec<Finding> {
    let mib = |bytes: u64| bytes >> 20;
    let Disk { path, free, total, reserve, .. } = disk;
    if disk.read_only {
        let todo = format!("dmesg | tail (a failing disk?), then `mount -o remount,rw {path}`");
        return vec![problem("disk", format!("{path} is mounted read-only"), todo)];
    }
    let figures = format!("{path}: {} MiB free of {} MiB, {} MiB are the reserve", mib(*free), mib(*total), mib(*reserve));
    let mut found = vec![match verdict(*free, *reserve) {
        Verdict::Clear => ok("disk", figures),
        Verdict::Keep => warning("disk", format!("{figures}: nearly used up"), "paas disk (shows what uses it)"),
        Verdict::Raise => problem("disk", figures, "paas disk (shows what uses it)"),
    }];
    if disk.inodes > 0 && disk.inodes_free < disk.inodes / 20 {
        let text = format!("{path}: {} of {} inodes are left: files can't be made when none is", disk.inodes_free, disk.inodes);
        found.push(problem("disk", text, "docker image prune; docker builder prune"));
    }
    found
}

/// What can be known of the clock without asking another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    pub now: UnixMillis,
    /// The newest time that the state folder remembers.
    pub last_written: Option<UnixMillis>,
    /// Whether the kernel's clock is kept in step with others, where something says so.
    pub synchronised: Option<bool>,
}

/// Beyond it a file of ours is from the future.
const SKEW: Duration = Duration::from_secs(300);
/// 2026-01-01: no copy of this program is older.
const OLDEST: UnixMillis = UnixMillis(1_767_225_600_000);

pub fn clock(clock: &Clock) -> Vec<Finding> {
    let shown = clock.now.rfc3339();
    let todo = "timedatectl set-ntp true";
    if clock.now < OLDEST {
        return vec![problem("clock", format!("it is not {shown}: certificates and backups go by the clock"), todo)];
    }
    if let Some(written) = clock.last_written.filter(|written| written.since(clock.now) > SKEW) {
        let text = format!("{shown}, but the state was written at {}: the clock was set back", written.rfc3339());
        return vec![problem("clock", text, todo)];
    }
    vec![match clock.synchronised {
        Some(true) => ok("clock", format!("{shown}, synchronised")),
        Some(false) => warning("clock", format!("{shown}, not synchronised: it will drift"), todo),
        None => warning(
            "clock",
            format!("{shown}; nothing here tells whether it is synchronised"),
            "apt-get install systemd-timesyncd (in a container: look at the host's clock)",
        ),
    }]
}

/// Who listens where the proxy should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub address: SocketAddr,
    pub holder: Holder,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// The proxy, or who keeps its sockets: systemd, `paas up`.
    Ours,
    Other(String),
    Nobody,
    /// We may not look.
    Unknown,
}

pub fn port(port: &Port) -> Finding {
    let Port { address, holder } = port;
    match holder {
        Holder::Ours => ok("ports", format!("{address} is the proxy's")),
        Holder::Other(who) => problem(
            "ports",
            format!("{address} is held by {who}"),
            format!(
                "stop it, or set another port under [proxy] listen or listen_tls; `ss -ltnp 'sport = :{}'` shows it",
                address.port()
            ),
        ),
        Holder::Nobody => problem(
            "ports",
            format!("nobody listens on {address}: no request comes in"),
            "systemctl restart paas-proxy.socket paas-proxy (or `paas up`)",
        ),
        Holder::Unknown => warning("ports", format!("who listens on {address} only root can see"), "sudo paas doctor"),
    }
}

/// What the kernel has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// `6.1.0-18-amd64`
    pub release: String,
    /// Features that are missing, by name: `overlay`, `seccomp`, `network namespaces`, `cgroup memory`, `cgroup pids`.
    pub missing: Vec<&'static str>,
    pub apparmor: bool,
    pub selinux: Option<Selinux>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selinux {
    Enforcing,
    Permissive,
}

/// Older ones lack what instances and the proxy are made of, or got it with faults.
const KERNEL_FLOOR: (u32, u32) = (5, 10);

pub fn kernel(kernel: &Kernel) -> Vec<Finding> {
    let mut numbers = kernel.release.split(['.', '-']).map(|part| part.parse::<u32>().ok());
    let version = (numbers.next().flatten().unwrap_or(0), numbers.next().flatten().unwrap_or(0));
    let mut found = vec![if version >= KERNEL_FLOOR {
        ok("kernel", format!("Linux {}", kernel.release))
    } else {
        let text = format!("Linux {}: paas was made for {}.{} and later", kernel.release, KERNEL_FLOOR.0, KERNEL_FLOOR.1);
        warning("kernel", text, "upgrade the distribution")
    }];
    for missing in &kernel.missing {
        let text = format!("this kernel has no {missing}: instances can't be confined as promised");
        found.push(problem("kernel", text, "boot a kernel of the distribution"));
    }
    found.push(if kernel.apparmor {
        ok("security", "AppArmor is on: Docker confines instances by it; `journalctl -k -g apparmor` tells what it refused")
    } else {
        ok("security", "AppArmor is off")
    });
    found.push(match kernel.selinux {
        None => ok("security", "SELinux is off"),
        Some(Selinux::Permissive) => {
            warning("security", "SELinux is permissive: paas was never tried with it", "ausearch -m avc -ts recent")
        }
        Some(Selinux::Enforcing) => warning(
            "security",
            "SELinux is enforcing: paas was never tried with it, and mounts into instances may be refused",
            "ausearch -m avc -ts recent; `setenforce 0` to see whether it is the cause",
        ),
    });
    found
}
