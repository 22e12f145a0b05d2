//! Network namespaces: opening one by its sandbox key, being inside one for a moment, and what is to be seen there.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicUsize};
use std::sync::{Arc, Mutex};

use nix::fcntl::{OFlag, open};
use nix::net::if_::InterfaceFlags;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{FsType, fstatfs};

use super::Refusal;
use crate::names::InstanceId;
use crate::wire::dialer::{DialError, ListeningPort};

/// The file system of namespace files, NSFS_MAGIC in linux/magic.h. A sandbox key whose namespace is gone is a plain empty file.
const NSFS: FsType = FsType(0x6e73_6673);

/// Docker's resolver listens here in every namespace of a user-defined network; it is not the app.
const ENGINE_RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));

/// One instance's namespace and the port its app was told to listen on.
pub struct Target {
    pub id: InstanceId,
    pub port: u16,
    pub namespace: OwnedFd,
    /// How many others this one has replaced: the higher is the later.
    pub generation: u64,
    /// Connects that wait for the app to accept.
    pub waiting: AtomicUsize,
    /// Which of the ways to connect worked last.
    pub way: AtomicU8,
    pub own: Mutex<Own>,
}

/// The instance's own network addresses; none for `--network none`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Own {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

impl Target {
    pub fn new(id: InstanceId, port: u16, namespace: OwnedFd) -> Self {
        let (waiting, way, own) = (AtomicUsize::new(0), AtomicU8::new(0), Mutex::new(Own::default()));
        Self { id, port, namespace, generation: 0, waiting, way, own }
    }

    /// This one, in place of `old`.
    pub fn after(self, old: &Self) -> Self {
        Self { generation: old.generation + 1, ..self }
    }

    /// Whether it is this port of this namespace. A namespace's identity is not given anew while a descriptor of it is open.
    pub fn is(&self, port: u16, namespace: &OwnedFd) -> bool {
        let same = || matches!((identity(&self.namespace), identity(namespace)), (Ok(mine), Ok(other)) if mine == other);
        self.port == port && same()
    }

    /// The name under which our parent keeps the namespace: `t-i45-3000`, and `t-i45-3000-1` for what replaced it. No two registrations of a
    /// target share a name, so that the new one is stored before the old one is removed.
    pub fn kept_name(&self) -> String {
        match self.generation {
            0 => format!("t-{}-{}", self.id, self.port),
            later => format!("t-{}-{}-{later}", self.id, self.port),
        }
    }

    /// The reverse of [`Target::kept_name`], for a descriptor that came back.
    pub fn from_kept(name: &str, namespace: OwnedFd, home: &Home) -> Result<Self, String> {
        let parts: Vec<&str> = name.split('-').collect();
        let (id, port, generation) = match parts[..] {
            ["t", id, port] => (id, port, "0"),
            ["t", id, port, generation] => (id, port, generation),
            _ => return Err("its name is not t-<target>-<port> or t-<target>-<port>-<generation>".to_owned()),
        };
        let id = InstanceId::parse(id).map_err(|e| e.to_string())?;
        let port = port.parse().map_err(|_| format!("`{port}` is no port"))?;
        let generation = generation.parse().map_err(|_| format!("`{generation}` is no generation"))?;
        home.check(&namespace).map_err(|(_, why)| why)?;
        Ok(Self { generation, ..Self::new(id, port, namespace) })
    }
}

/// The empty namespace that all threads of the dialer live in.
pub struct Home {
    namespace: OwnedFd,
    /// The namespace in which the process was started: the host's. Nobody may be sent there.
    host: (u64, u64),
}

impl Home {
    /// Makes the empty namespace and moves the calling thread into it; threads that it starts live there too.
    pub fn move_in() -> io::Result<Arc<Self>> {
        let current = || File::open("/proc/thread-self/ns/net");
        let host = identity(&current()?)?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok(Arc::new(Self { namespace: current()?.into(), host }))
    }

    /// Does `act` inside the target's namespace and comes home again, so that no thread keeps a dead instance's namespace alive.
    pub fn inside<T>(&self, target: &Target, act: impl FnOnce() -> T) -> io::Result<T> {
        setns(&target.namespace, CloneFlags::CLONE_NEWNET)?;
        let done = act();
        setns(&self.namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(done)
    }

    /// Refuses what is no network namespace, and the host's.
    fn check(&self, namespace: &OwnedFd) -> Result<(), Refusal> {
        let other = |e: &dyn std::fmt::Display| (DialError::Other, format!("looking at the namespace: {e}"));
        if fstatfs(namespace).map_err(|e| other(&e))?.filesystem_type() != NSFS {
            return Err((
                DialError::NamespaceGone,
                "the sandbox key holds no namespace any more: the container is gone".to_owned(),
            ));
        }
        if identity(namespace).map_err(|e| other(&e))? == self.host {
            return Err((DialError::Denied, "this is the host's own network namespace".to_owned()));
        }
        // Entering is the one test that it is a network namespace and no other kind.
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|e| other(&e))?;
        setns(&self.namespace, CloneFlags::CLONE_NEWNET).map_err(|e| other(&e))
    }
}

fn identity(fd: &impl AsFd) -> io::Result<(u64, u64)> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Opens a sandbox key as Docker reports it: `<one of key_dirs>/<hex digits>`, no other file. Errors: see [`DialError`].
pub fn open_key(key: &Path, key_dirs: &[PathBuf], home: &Home) -> Result<OwnedFd, Refusal> {
    let named = |name: &std::ffi::OsStr| {
        name.to_str().is_some_and(|n| (8..=64).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let in_place = key.parent().is_some_and(|dir| key_dirs.iter().any(|allowed| allowed == dir));
    if !in_place || !key.file_name().is_some_and(named) {
        return Err((
            DialError::Denied,
            format!("`{}` is no sandbox key of the container engine", key.display().to_string().escape_debug()),
        ));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let namespace = open(key, flags, Mode::empty()).map_err(|e| match e {
        nix::Error::ENOENT => (DialError::NamespaceGone, format!("{} is gone: the container is not running", key.display())),
        other => (DialError::Other, format!("opening {}: {other}", key.display())),
    })?;
    home.check(&namespace)?;
    Ok(namespace)
}

/// The first global address of each family on an interface that is up. Called inside the namespace.
pub fn own_addresses() -> nix::Result<Own> {
    let mut own = Own::default();
    for interface in nix::ifaddrs::getifaddrs()? {
        let up = interface.flags.contains(InterfaceFlags::IFF_UP) && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let Some(address) = interface.address.filter(|_| up) else { continue };
        if let Some(v4) = address.as_sockaddr_in() {
            own.v4 = own.v4.or(Some(v4.ip()));
        } else if let Some(v6) = address.as_sockaddr_in6().filter(|a| !a.ip().is_unicast_link_local()) {
            own.v6 = own.v6.or(Some(v6.ip()));
        }
    }
    Ok(own)
}

/// What listens in the namespace that the calling thread is in, sorted, each once.
pub fn listening_ports() -> io::Result<Vec<ListeningPort>> {
    let mut ports = Vec::new();
    for file in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        match std::fs::read_to_string(file) {
            Ok(table) => ports.extend(table.lines().skip(1).filter_map(listening_line)),
            // A kernel without IPv6 has no second table.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    ports.retain(|p| p.address != ENGINE_RESOLVER);
    ports.sort_unstable_by_key(|p| (p.address, p.port));
    ports.dedup();
    Ok(ports)
}

/// One line of proc_net_tcp (proc_pid_net(5)): `sl local_address rem_address st …`; an address is words of memory in hex, state 0A is LISTEN.
fn listening_line(line: &str) -> Option<ListeningPort> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    if state != "0A" {
        return None;
    }
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |n: usize| Some(u32::from_str_radix(address.get(n * 8..n * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let addr = if address.len() == 8 {
        IpAddr::from(word(0)?)
    } else {
        let mut bytes = [0; 16];
        for (n, place) in bytes.chunks_exact_mut(4).enumerate() {
            place.copy_from_slice(&word(n)?);
        }
        IpAddr::from(bytes)
    };
    Some(ListeningPort { address: addr.to_canonical(), port })
}

#[cfg(test)]
mod tests;
