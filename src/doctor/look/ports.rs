//! Who listens on a TCP port, from /proc as `ss -ltnp` does it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::super::host::{Holder, Port};

/// The state word of a listening socket in proc_net_tcp(5).
const LISTEN: &str = "0A";

/// Looks at each address. Without root's rights other users' processes can't be seen.
pub fn look(addresses: &[SocketAddr]) -> Vec<Port> {
    addresses.iter().map(|address| Port { address: *address, holder: holder(address) }).collect()
}

fn holder(address: &SocketAddr) -> Holder {
    let inodes: BTreeSet<u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .flat_map(|table| listening(&fs::read_to_string(table).unwrap_or_default(), address))
        .collect();
    if inodes.is_empty() {
        return Holder::Nobody;
    }
    let mut unseen = false;
    let mut others = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(open) = fs::read_dir(entry.path().join("fd")) else {
            unseen = true;
            continue;
        };
        let holds = open.flatten().any(|fd| socket(&fd.path()).is_some_and(|inode| inodes.contains(&inode)));
        if holds {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim().to_owned();
            // systemd keeps the sockets of units for them.
            if name == "paas" || pid == 1 {
                return Holder::Ours;
            }
            others.push(format!("{name} (process {pid})"));
        }
    }
    match others.first() {
        Some(other) => Holder::Other(other.clone()),
        None if unseen => Holder::Unknown,
        None => Holder::Other("a process that is not in this namespace".to_owned()),
    }
}

/// The inodes of the sockets that listen on this port at an address which covers the wanted one.
pub(in crate::doctor) fn listening(table: &str, wanted: &SocketAddr) -> Vec<u64> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (ip, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let fits = *state == LISTEN && port == wanted.port() && covers(ip, wanted.ip());
        fits.then(|| inode.parse().ok()).flatten()
    };
    table.lines().filter_map(row).collect()
}

/// Whether a socket at this address (in the kernel's hexadecimal) takes connections to `wanted`: its own, or any address.
fn covers(ip: &str, wanted: IpAddr) -> bool {
    if ip.bytes().all(|c| c == b'0') {
        return true;
    }
    let IpAddr::V4(wanted) = wanted else {
        // Only wildcard and IPv4 listeners are told apart further.
        return ip.len() == 32;
    };
    // Each group of four bytes is in the host's byte order.
    u32::from_str_radix(ip, 16).is_ok_and(|bits| bits.to_ne_bytes() == wanted.octets())
}

fn socket(link: &Path) -> Option<u64> {
    let to = fs::read_link(link).ok()?;
    to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
