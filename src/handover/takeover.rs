//! A process gives its place to a newer one of the same role: the successor gets the listening sockets, gets ready beside it, and only then
//! is it told to take over. Whatever goes wrong before that ends the successor and changes nothing for the process that serves.
//!
//! ```text
//! old: serves ── start ───────────── ready? ─ tell the supervisor MAINPID ─ go ───────── stops accepting, finishes what it has, ends
//! new:             └ pid, exec, loads, ready ───────────────────────────────┴─ going, accepts
//! ```
//! The successor is a grandchild whose parent ends at once, so that whoever supervises the old process becomes its parent (systemd, or the
//! supervisor of `paas up`, which is a subreaper): its end is noticed even while the old one lasts. Old and new talk by lines over a pair of
//! sockets; the end of the stream tells each that the other is gone.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getppid};

use super::fds;

mod ask;
mod step;

pub use ask::{Asks, ask};
pub use step::become_successor;

/// The name of the successor's end of the line to the old process, in LISTEN_FDNAMES. Always the first.
pub const LINE: &str = "predecessor";
/// The word in the place of a role by which a binary becomes the step between old and new: see `step.rs`.
pub const STEP: &str = "successor-step";

/// How long a successor may take from its start until it is ready.
pub const READY_LIMIT: Duration = Duration::from_secs(10);
/// A successor that is ready waits so long for its go: longer than anything that the old one does in between.
const GO_LIMIT: Duration = Duration::from_secs(15);
/// It only has to answer.
const GOING_LIMIT: Duration = Duration::from_secs(2);

/// Why a successor did not come up. What served before serves on.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    #[error("the new process could not be started: {0}")]
    Start(io::Error),
    #[error("the new process said: {0}")]
    Failed(String),
    #[error("the new process ended before it was ready")]
    Ended,
    #[error("the new process was not ready within {} s", .0.as_secs())]
    NotReady(Duration),
}

/// A process that is ready and waits for its [`Successor::go`]. Dropped before that it is killed.
#[derive(Debug)]
pub struct Successor {
    pid: Pid,
    line: BufReader<UnixStream>,
    going: bool,
}

impl Successor {
    /// Starts `argv` with `given` by LISTEN_FDS and waits until it is ready (at most `limit`). Blocks. Descriptors are let through an exec
    /// for a moment: the calling process must start nothing else meanwhile. A process that does not get ready is killed, with its group.
    pub fn start(argv: &[OsString], given: &[(String, BorrowedFd<'_>)], limit: Duration) -> Result<Self, TakeoverError> {
        let end = Instant::now() + limit;
        let ours = launch(argv, given).map_err(TakeoverError::Start)?;
        let mut line = BufReader::new(ours);
        let pid = match hear(&mut line, end, limit)?.strip_prefix("pid ").and_then(|pid| pid.parse().ok()) {
            Some(pid) => Pid::from_raw(pid),
            None => return Err(TakeoverError::Failed("something that is no process id".to_owned())),
        };
        // From here on a return without `go` kills it.
        let mut successor = Self { pid, line, going: false };
        match hear(&mut successor.line, end, limit)?.as_str() {
            "ready" => Ok(successor),
            other => Err(TakeoverError::Failed(other.strip_prefix("failed ").unwrap_or(other).to_owned())),
        }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Tells it to take over; its end is from now on the business of who supervises it. An error: it went away just now.
    pub fn go(mut self) -> Result<(), TakeoverError> {
        self.going = true;
        self.line.get_mut().write_all(b"go\n").map_err(|_| TakeoverError::Ended)?;
        let end = Instant::now() + GOING_LIMIT;
        hear(&mut self.line, end, GOING_LIMIT).map(drop)
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.going {
            // It leads a group of its own. Neither may be there any more.
            let _ = killpg(self.pid, Signal::SIGKILL);
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

/// One line of the successor.
fn hear(line: &mut BufReader<UnixStream>, end: Instant, limit: Duration) -> Result<String, TakeoverError> {
    let mut text = String::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(TakeoverError::NotReady(limit));
        }
        line.get_ref().set_read_timeout(Some(left)).map_err(TakeoverError::Start)?;
        match line.read_line(&mut text) {
            Ok(_) if text.ends_with('\n') => return Ok(text.trim_end().to_owned()),
            Ok(_) => return Err(TakeoverError::Ended),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => {}
            // Closed with unread words of ours in it.
            Err(_) => return Err(TakeoverError::Ended),
        }
    }
}

/// Starts the step between: of this very program, also where its file was replaced or removed. Gives our end of the line.
fn launch(argv: &[OsString], given: &[(String, BorrowedFd<'_>)]) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut names = vec![LINE];
    let mut copies = vec![OwnedFd::from(theirs)];
    for (name, fd) in given {
        names.push(name);
        copies.push(fd.try_clone_to_owned()?);
    }
    let numbers: Vec<String> = copies.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    copies.iter().try_for_each(fds::keep_over_exec)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(STEP).arg(step::FIRST).args(argv).stdin(Stdio::null());
    command.env(step::FDS, numbers.join(",")).env(step::PARENT, getppid().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    let ended = command.spawn()?.wait()?;
    match ended.success() {
        true => Ok(ours),
        false => Err(io::Error::other(format!("the step before it ended with {ended}"))),
    }
}

/// The line to the process whose place this one takes.
#[derive(Debug, Clone)]
pub struct Predecessor(Arc<UnixStream>);

impl Predecessor {
    pub fn new(line: OwnedFd) -> Self {
        Self(Arc::new(line.into()))
    }

    /// Says that this process is ready, and waits until it is told to take over. An error says that it must not: the old process changed its
    /// mind or is gone, and who supervises it starts another.
    pub fn ready(&self) -> io::Result<()> {
        self.say("ready\n")?;
        self.0.set_read_timeout(Some(GO_LIMIT))?;
        let mut said = String::new();
        BufReader::new(&*self.0).read_line(&mut said)?;
        match said.as_str() {
            "go\n" => self.say("going\n"),
            _ => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the process before this one gave no go")),
        }
    }

    /// Says why this process can not take over; it ends then.
    pub fn failed(&self, why: &str) {
        // Who does not hear it sees our end.
        let _ = self.say(&format!("failed {}\n", why.replace('\n', " ")));
    }

    fn say(&self, line: &str) -> io::Result<()> {
        (&*self.0).write_all(line.as_bytes())
    }
}

#[cfg(test)]
mod tests;
