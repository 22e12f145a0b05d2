//! git with the client's bytes going through this process, so that a client that has fallen silent is noticed and let go.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{REFUSED, say};

/// No byte either way for this long ends the session. A client that packs a large project is silent for minutes; during a deploy git itself
/// sends a sign of life every 5 s.
const IDLE: Duration = Duration::from_secs(10 * 60);
/// How long git may take to clean up after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
const PIECE: usize = 64 << 10;

/// Runs git with its stdin and stdout connected to ours; gives its exit code. Its stderr is ours.
pub(super) fn run(mut command: Command) -> ExitCode {
    let started = command.process_group(0).spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return say::refuse(REFUSED, &format!("starting git: {error}"), None),
    };
    let clock = Arc::new(Activity { start: Instant::now(), last: AtomicU64::new(0) });
    let (to_git, from_git) = (child.stdin.take().expect("stdin is piped"), child.stdout.take().expect("stdout is piped"));
    let (Ok(ours_in), Ok(ours_out)) = (own(io::stdin().as_fd()), own(io::stdout().as_fd())) else {
        return say::refuse(REFUSED, "the session has no stdin or stdout", None);
    };
    // Not joined: it may wait for a byte that never comes, and ends with this process.
    thread::spawn({
        let clock = clock.clone();
        move || copy(ours_in, to_git, &clock)
    });
    let outward = thread::spawn({
        let clock = clock.clone();
        // When the client is gone this drops the pipe, and git ends at its next write.
        move || copy(from_git, ours_out, &clock)
    });
    if let Ok(group) = i32::try_from(child.id()) {
        thread::spawn(move || end_when_idle(&clock, Pid::from_raw(group)));
    }
    let status = child.wait();
    let _ = outward.join();
    match status {
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(REFUSED)),
        Err(error) => say::refuse(REFUSED, &format!("waiting for git: {error}"), None),
    }
}

/// When bytes last moved, in milliseconds since the start. Relaxed: a clock that is read late by a moment changes nothing.
struct Activity {
    start: Instant,
    last: AtomicU64,
}

impl Activity {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn note(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    fn idle(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.last.load(Ordering::Relaxed)))
    }
}

/// Unbuffered: std's stdout would hold bytes back until a line end.
fn own(fd: impl AsFd) -> io::Result<File> {
    let fd: OwnedFd = fd.as_fd().try_clone_to_owned()?;
    Ok(File::from(fd))
}

/// Until one side ends; both are closed then.
fn copy(mut from: impl Read, mut to: impl Write, clock: &Activity) {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return,
            Ok(n) => {
                clock.note();
                if to.write_all(&piece[..n]).is_err() {
                    return;
                }
                clock.note();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn end_when_idle(clock: &Activity, group: Pid) {
    while let Some(left) = IDLE.checked_sub(clock.idle()).filter(|left| !left.is_zero()) {
        thread::sleep(left);
    }
    say::line(&format!("error: nothing was sent for {} minutes; push again", IDLE.as_secs() / 60));
    // SIGTERM lets git remove the objects that it received half.
    let _ = killpg(group, Signal::SIGTERM);
    thread::sleep(GRACE);
    let _ = killpg(group, Signal::SIGKILL);
}
