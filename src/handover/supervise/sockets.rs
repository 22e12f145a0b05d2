//! Binds what the roles listen on. The supervisor keeps these sockets for its whole life, so nothing is refused while a role restarts.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind, getsockname, listen, setsockopt,
    socket, sockopt,
};

use super::{Role, SocketSpec, UpError, files};
use crate::base::atomic_file;

const BACKLOG: i32 = 4096;
const PAUSE: Duration = Duration::from_millis(50);

/// A listening socket with its name in LISTEN_FDNAMES.
#[derive(Debug)]
pub(super) struct Bound {
    pub name: String,
    pub fd: OwnedFd,
    /// For a TCP socket: where it really listens.
    pub addr: Option<SocketAddr>,
    /// For a Unix socket: the file to remove at the end.
    pub path: Option<PathBuf>,
}

/// Binds all sockets of a role. A TCP address that is taken is tried again for `patience`: roles of a supervisor that was killed may still hold it.
pub(super) fn bind_all(role: &Role, patience: Duration) -> Result<Vec<Bound>, UpError> {
    role.sockets.iter().map(|spec| bind_one(spec, patience)).collect()
}

fn bind_one(spec: &SocketSpec, patience: Duration) -> Result<Bound, UpError> {
    match spec {
        SocketSpec::Tcp { name, addr } => {
            let fd = tcp_patiently(*addr, patience).map_err(|source| UpError::Listen { addr: *addr, source })?;
            let real = local_addr(&fd).map_err(|source| UpError::Listen { addr: *addr, source })?;
            Ok(Bound { name: name.clone(), fd, addr: Some(real), path: None })
        }
        SocketSpec::UnixStream { name, path, mode } => unix(name, path, *mode, SockType::Stream),
        SocketSpec::UnixSeqpacket { name, path, mode } => unix(name, path, *mode, SockType::SeqPacket),
    }
}

fn tcp_patiently(addr: SocketAddr, patience: Duration) -> io::Result<OwnedFd> {
    let end = Instant::now() + patience;
    loop {
        match tcp(addr) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => sleep(PAUSE),
            // A host without IPv6 can still serve on "all addresses".
            Err(error) if addr.is_ipv6() && addr.ip().is_unspecified() && lacks_ipv6(&error) => {
                return tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port())));
            }
            other => return other,
        }
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    [Errno::EAFNOSUPPORT, Errno::EADDRNOTAVAIL].iter().any(|known| error.raw_os_error() == Some(*known as i32))
}

fn tcp(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = if addr.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if addr.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &!addr.ip().is_unspecified())?;
    }
    bind_and_listen(&fd, &SockaddrStorage::from(addr))?;
    Ok(fd)
}

fn bind_and_listen(fd: &OwnedFd, address: &dyn SockaddrLike) -> io::Result<()> {
    bind(fd.as_raw_fd(), address)?;
    listen(fd, Backlog::new(BACKLOG)?)?;
    Ok(())
}

fn local_addr(fd: &OwnedFd) -> io::Result<SocketAddr> {
    let found: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let v4 = found.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    let any = v4.or_else(|| found.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())));
    any.ok_or_else(|| io::Error::from(Errno::EAFNOSUPPORT))
}

fn unix(name: &str, path: &Path, mode: u32, kind: SockType) -> Result<Bound, UpError> {
    remove_stale(path)?;
    let make = || -> io::Result<OwnedFd> {
        let fd = socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?;
        bind_and_listen(&fd, &UnixAddr::new(path)?)?;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        Ok(fd)
    };
    let fd = make().map_err(UpError::path("listening at", path))?;
    Ok(Bound { name: name.to_owned(), fd, addr: None, path: Some(path.to_owned()) })
}

/// Removes a socket that somebody left behind; anything else in its place is not ours to remove.
pub(super) fn remove_stale(path: &Path) -> Result<(), UpError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => files::remove(path).map_err(UpError::path("removing", path)),
        _ => Ok(()),
    }
}

fn listening_path(run_dir: &Path) -> PathBuf {
    run_dir.join("listening.json")
}

/// Writes `listening.json`: the addresses of all TCP sockets by name, as port 0 leaves open which they are.
pub(super) fn write_listening<'a>(run_dir: &Path, bound: impl Iterator<Item = &'a Bound>) -> Result<(), UpError> {
    let mut by_name: BTreeMap<&str, Vec<SocketAddr>> = BTreeMap::new();
    for (name, addr) in bound.filter_map(|b| b.addr.map(|addr| (b.name.as_str(), addr))) {
        by_name.entry(name).or_default().push(addr);
    }
    let path = listening_path(run_dir);
    let written = serde_json::to_vec(&by_name).map_err(io::Error::from).and_then(|text| atomic_file::write(&path, &text, 0o644));
    written.map_err(UpError::path("writing", &path))
}

/// Removes `listening.json` and every Unix socket.
pub(super) fn remove_all<'a>(run_dir: &Path, bound: impl Iterator<Item = &'a Bound>) {
    let sockets = bound.filter_map(|b| b.path.clone());
    for path in sockets.chain([listening_path(run_dir)]) {
        if let Err(error) = files::remove(&path) {
            tracing::warn!("removing `{}`: {error}", path.display());
        }
    }
}
