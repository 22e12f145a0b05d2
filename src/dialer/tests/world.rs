//! A dialer in this process and network namespaces to dial into.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, UnixAddr, bind, listen, socket};

use super::super::*;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::handover::fds;
use crate::wire::dialer::{DialClient, DialFailure};

static NEXT: AtomicUsize = AtomicUsize::new(1);

/// A network namespace with `lo` up; removed at the end.
pub(super) struct Net {
    pub(super) name: String,
}

impl Net {
    pub(super) fn new() -> Self {
        let name = format!("{:08x}{:04x}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let net = Self { name };
        net.ip(&["netns", "add", &net.name]);
        net.ip(&["-n", &net.name, "link", "set", "lo", "up"]);
        net
    }

    /// One with an address of its own in both families.
    pub(super) fn with_addresses(v4: &str, v6: &str) -> Self {
        let net = Self::new();
        net.ip(&["-n", &net.name, "link", "add", "eth0", "type", "veth", "peer", "name", "peer0"]);
        net.ip(&["-n", &net.name, "addr", "add", v4, "dev", "eth0"]);
        net.ip(&["-n", &net.name, "addr", "add", v6, "dev", "eth0", "nodad"]);
        net.ip(&["-n", &net.name, "link", "set", "eth0", "up"]);
        net
    }

    #[track_caller]
    pub(super) fn ip(&self, arguments: &[&str]) {
        let done = Command::new("ip").args(arguments).output().expect("ip runs");
        assert!(done.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    pub(super) fn key(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    pub(super) fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(self.key()).expect("open the namespace");
        std::thread::scope(|scope| {
            let acting = scope.spawn(|| {
                setns(&namespace, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
                act()
            });
            acting.join().expect("no panic inside")
        })
    }

    /// An app that says its name to everyone who connects.
    pub(super) fn app(&self, address: &str, says: &'static str) -> SocketAddr {
        let listener = self.inside(|| TcpListener::bind(address).expect("bind"));
        let bound = listener.local_addr().expect("address");
        std::thread::spawn(move || {
            while let Ok((mut stream, from)) = listener.accept() {
                let _ = write!(stream, "{says} {}", from.ip());
            }
        });
        bound
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// Capabilities belong to threads: the dialer's have what its process has in an installation.
pub(super) fn keep_sys_admin_only() {
    let kept = CapabilitySet::SYS_ADMIN;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).expect("drop capabilities");
}

pub(super) fn packet_socket(path: &Path) -> OwnedFd {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).expect("socket");
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &UnixAddr::new(path).expect("address")).expect("bind");
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("chmod");
    listen(&fd, Backlog::MAXCONN).expect("listen");
    fd
}

/// A dialer in this process, with its parent's end of the notify socket.
pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) listener: OwnedFd,
    pub(super) parent: UnixDatagram,
    pub(super) client: DialClient,
    pub(super) runtime: tokio::runtime::Runtime,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_restored(Vec::new())
    }

    pub(super) fn with_restored(restored: Vec<(String, OwnedFd)>) -> Self {
        let world = Self::with_restored_untold(restored);
        assert!(world.told().0.starts_with("READY=1\n"));
        world
    }

    /// One whose first messages to the parent are still to be read.
    pub(super) fn with_restored_untold(restored: Vec<(String, OwnedFd)>) -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
        let parent = UnixDatagram::bind(dir.path().join("notify")).expect("bind");
        parent.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        let told = Parent::at(dir.path().join("notify"));
        let listener = packet_socket(&dir.path().join("dialer.sock"));
        let shared = listener.try_clone().expect("clone");
        let key_dirs = vec![PathBuf::from("/run/netns")];
        std::thread::spawn(move || {
            keep_sys_admin_only();
            let (daemon, proxy) = (Uid::from_raw(4710), Uid::from_raw(4711));
            run_with(DialerRun { listener: shared, restored, daemon, proxy, key_dirs }, told).expect("run");
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        Self { client: DialClient::new(dir.path().join("dialer.sock")), dir, listener, parent, runtime }
    }

    /// The next message to the dialer's parent.
    pub(super) fn told(&self) -> (String, Vec<OwnedFd>) {
        let mut buffer = [0; 256];
        let (length, fds) = fds::recv_with_fds(&self.parent, &mut buffer, 1).expect("a message to the parent");
        (String::from_utf8_lossy(&buffer[..length]).into_owned(), fds)
    }

    pub(super) fn register(&self, id: i64, net: &Net, port: u16) -> Result<(), DialFailure> {
        self.runtime.block_on(self.client.register(InstanceId(id), net.key(), port))
    }

    /// What the app says to a new connection.
    pub(super) fn hear(&self, id: i64) -> Result<String, DialFailure> {
        let mut stream = self.runtime.block_on(self.client.dial(InstanceId(id)))?;
        stream.set_nonblocking(false).expect("blocking");
        let mut heard = String::new();
        stream.read_to_string(&mut heard).expect("read");
        Ok(heard)
    }

    #[track_caller]
    pub(super) fn fails(&self, id: i64) -> DialError {
        self.hear(id).expect_err("the dial must fail").kind
    }

    /// One ask by another user, without our client: the answer as text.
    pub(super) fn ask_as(&self, uid: u32, ask: &str) -> String {
        use std::os::unix::process::CommandExt;
        let script = "socket(S,AF_UNIX,SOCK_SEQPACKET,0); connect(S,sockaddr_un($ARGV[0])) or die $!; send(S,$ARGV[1],0); recv(S,$b,4096,0); print $b";
        let mut perl = Command::new("perl");
        perl.args(["-MSocket", "-e", script])
            .arg(self.dir.path().join("dialer.sock"))
            .arg(format!("{{\"id\":7,\"body\":{ask}}}"));
        String::from_utf8(perl.uid(uid).gid(uid).output().expect("perl runs").stdout).expect("text")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        shut(&self.listener);
    }
}
