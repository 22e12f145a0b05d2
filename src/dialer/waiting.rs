//! The one thread that waits for connects that were not done at once, and tells our parent that we live.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::connect::Attempt;
use super::lock;
use super::namespace::Home;
use crate::handover::systemd::{Parent, watchdog_interval};

/// Hands attempts to the thread.
pub struct Waiting {
    new: Arc<Mutex<Vec<Attempt>>>,
    wake: PipeWriter,
}

impl Waiting {
    /// Starts the thread; it lives as long as the process.
    pub fn start(home: Arc<Home>, parent: Parent) -> io::Result<Self> {
        let new = Arc::new(Mutex::new(Vec::new()));
        let (woken, wake) = io::pipe()?;
        fcntl(&wake, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let shared = new.clone();
        std::thread::Builder::new()
            .name("wait".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || wait(&shared, &woken, &home, &parent))?;
        Ok(Self { new, wake })
    }

    /// Takes an attempt with a connect under way.
    pub fn add(&self, attempt: Attempt) {
        lock(&self.new).push(attempt);
        // Non-blocking: a full pipe wakes the thread as well as one more byte would.
        if let Err(e) =
            (&self.wake).write_all(b"w").or_else(|e| if e.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(e) })
        {
            tracing::error!(error = %e, "the thread that waits for connects cannot be woken");
        }
    }
}

fn wait(new: &Mutex<Vec<Attempt>>, mut woken: &PipeReader, home: &Home, parent: &Parent) {
    let mut attempts: Vec<Attempt> = Vec::new();
    let watchdog = watchdog_interval();
    let mut tell_at = Instant::now();
    loop {
        if let Some(interval) = watchdog.filter(|_| tell_at <= Instant::now()) {
            parent.watchdog();
            tell_at = Instant::now() + interval;
        }
        let first = attempts.iter().map(Attempt::wake_at).chain(watchdog.map(|_| tell_at)).min();
        let left = first.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let timeout = left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO));
        let mut fds = vec![PollFd::new(woken.as_fd(), PollFlags::POLLIN)];
        fds.extend(attempts.iter().filter_map(|a| Some(PollFd::new(a.socket.as_ref()?.as_fd(), PollFlags::POLLOUT))));
        if let Err(e) = poll(&mut fds, timeout) {
            tracing::debug!(error = %e, "waiting for connects was interrupted");
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        let now = Instant::now();
        let mut still = Vec::new();
        for (attempt, ready) in attempts.into_iter().zip(&ready[1..]) {
            if *ready || attempt.wake_at() <= now {
                still.extend(attempt.look(home));
            } else {
                still.push(attempt);
            }
        }
        if ready[0] && woken.read(&mut [0; 256]).is_ok() {
            still.append(&mut lock(new));
        }
        attempts = still;
    }
}
