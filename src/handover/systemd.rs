//! Talks to whatever started us by the protocol of sd_notify(3): systemd, or the supervisor of `paas up`.
//!
//! Every call is silent where no NOTIFY_SOCKET is set, and an error is logged, not returned: no role may fail because nobody listens.
//! A call may block for up to a second when the receiver does not read.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::time::Duration;

use super::fds::send_with_fds;

const SOCKET: &str = "NOTIFY_SOCKET";
const SEND_LIMIT: Duration = Duration::from_secs(1);

/// Whom this process tells. The functions of this module tell the one that the environment names.
#[derive(Debug, Clone, Default)]
pub struct Parent {
    socket: Option<OsString>,
}

impl Parent {
    /// The one that started this process, if it listens.
    pub fn from_env() -> Self {
        Self { socket: std::env::var_os(SOCKET) }
    }

    /// One that listens at `socket`.
    pub fn at(socket: PathBuf) -> Self {
        Self { socket: Some(socket.into()) }
    }

    /// See [`ready`].
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}\n", one_line(status)), &[]);
    }

    /// See [`main_pid`].
    pub fn main_pid(&self, pid: i32, status: &str) {
        self.tell(&format!("MAINPID={pid}\nREADY=1\nSTATUS={}\n", one_line(status)), &[]);
    }

    /// See [`store_fd`].
    pub fn store_fd(&self, name: &str, fd: BorrowedFd<'_>) {
        self.tell(&format!("FDSTORE=1\nFDNAME={}\n", one_line(name)), &[fd]);
    }

    /// See [`remove_fd`].
    pub fn remove_fd(&self, name: &str) {
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={}\n", one_line(name)), &[]);
    }

    /// See [`watchdog`].
    pub fn watchdog(&self) {
        self.tell("WATCHDOG=1\n", &[]);
    }

    fn tell(&self, message: &str, fds: &[BorrowedFd<'_>]) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send_to(socket, message, fds) {
            let what = message.lines().next().unwrap_or_default();
            tracing::warn!(socket = %socket.to_string_lossy(), "telling the supervisor `{what}`: {error}");
        }
    }
}

/// This process is ready; `status` is a line for people.
pub fn ready(status: &str) {
    Parent::from_env().ready(status);
}

/// From now on process `pid`, a child of our supervisor's, is what this one was; it is ready.
pub fn main_pid(pid: i32, status: &str) {
    Parent::from_env().main_pid(pid, status);
}

/// This process has begun to stop.
pub fn stopping() {
    Parent::from_env().tell("STOPPING=1\n", &[]);
}

/// What this process does now, a line for people.
pub fn status(status: &str) {
    Parent::from_env().tell(&format!("STATUS={}\n", one_line(status)), &[]);
}

/// This process is alive. To be called at least every [`watchdog_interval`].
pub fn watchdog() {
    Parent::from_env().watchdog();
}

/// How often [`watchdog`] has to be called: half of what sd_watchdog_enabled(3) gives. None if nobody watches this process.
pub fn watchdog_interval() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id())) {
        return None;
    }
    number("WATCHDOG_USEC").filter(|micros| *micros > 0).map(|micros| Duration::from_micros(micros / 2))
}

/// Gives a duplicate of `fd` to the fd store. After a restart it comes back by `take_inherited` under `name` (printable ASCII, no colon).
pub fn store_fd(name: &str, fd: BorrowedFd<'_>) {
    Parent::from_env().store_fd(name, fd);
}

/// Removes what was stored under `name`.
pub fn remove_fd(name: &str) {
    Parent::from_env().remove_fd(name);
}

/// A newline would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// `socket` is a path, or a name in the abstract namespace after an `@`.
fn send_to(socket: &OsStr, message: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let datagrams = UnixDatagram::unbound()?;
    datagrams.set_write_timeout(Some(SEND_LIMIT))?;
    datagrams.connect_addr(&address)?;
    send_with_fds(&datagrams.as_fd(), message.as_bytes(), fds)?;
    Ok(())
}

#[cfg(test)]
mod tests;
