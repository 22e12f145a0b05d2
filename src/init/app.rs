//! The app's processes: started, signalled, reaped, and cleared away.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
use nix::sys::signal::{self, SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};

use super::{environment, memory, pids};
use crate::wire::init::EndReport;

/// The app while it runs. Its main process leads a process group of its own.
pub struct App {
    pub pid: Pid,
    started: Instant,
    kills_before: u64,
    refusals_before: u64,
    /// How the main process ended; the rest of its group may still be at work.
    pub ended: Option<Exit>,
    /// It was told to stop.
    pub stopping: bool,
    /// Why it is being restarted, if it was the daemon that wished so.
    pub restarting: Option<String>,
    /// When everything that is left gets SIGKILL.
    pub kill_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

/// The app's output, to be read without blocking.
pub struct Pipes {
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// How long clearing away may take; what is left then hangs in the kernel, and nothing here could end it.
const CLEAR_LIMIT: Duration = Duration::from_secs(2);

/// Starts the app. Gives why it could not be started as a report, code 127 (not found) or 126, as a shell would.
pub fn start(argv: &[OsString]) -> Result<(App, Pipes), EndReport> {
    let Some(program) = argv.first() else {
        return Err(not_started(127, "no command was given, and the image names none".to_owned()));
    };
    let (kills_before, refusals_before) = (memory::kills(), pids::refusals());
    let (pid, pipes) = spawn(program, argv).map_err(|errno| why_not(program, errno))?;
    let app = App {
        pid,
        started: Instant::now(),
        kills_before,
        refusals_before,
        ended: None,
        stopping: false,
        restarting: None,
        kill_at: None,
    };
    Ok((app, pipes))
}

/// Not std's Command: it hands on our signal mask, and an app with SIGTERM blocked would not hear that it should stop.
fn spawn(program: &OsString, argv: &[OsString]) -> Result<(Pid, Pipes), Errno> {
    let (stdout, to_stdout) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr, to_stderr) = pipe2(OFlag::O_CLOEXEC)?;
    let mut files = PosixSpawnFileActions::init()?;
    let nothing = File::open("/dev/null").ok();
    if let Some(nothing) = &nothing {
        files.add_dup2(nothing.as_raw_fd(), 0)?;
    }
    files.add_dup2(to_stdout.as_raw_fd(), 1)?;
    files.add_dup2(to_stderr.as_raw_fd(), 2)?;
    let mut attributes = PosixSpawnAttr::init()?;
    let flags =
        PosixSpawnFlags::POSIX_SPAWN_SETPGROUP | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF;
    attributes.set_flags(flags)?;
    // Zero: the group gets the number of its first process.
    attributes.set_pgroup(Pid::from_raw(0))?;
    attributes.set_sigmask(&SigSet::empty())?;
    // Also SIGPIPE, which the Rust runtime ignores for itself.
    attributes.set_sigdefault(&SigSet::all())?;
    let words = argv.iter().map(|word| text(word.as_bytes().to_vec())).collect::<Result<Vec<CString>, Errno>>()?;
    let environment = environment::of_app()?;
    let program = text(program.as_bytes().to_vec())?;
    let pid = posix_spawnp(&program, &files, &attributes, &words, &environment)?;
    Ok((pid, Pipes { stdout, stderr }))
}

fn text(bytes: Vec<u8>) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno::EINVAL)
}

impl App {
    /// Sends a signal to the main process and all that stayed in its group.
    pub fn signal(&self, signal: Signal) {
        // The group may be gone already; then there is nobody to tell.
        let _ = signal::killpg(self.pid, signal);
    }

    /// Whether a process of the app's group is still there.
    pub fn group_lives(&self) -> bool {
        signal::killpg(self.pid, None).is_ok()
    }

    pub fn ran_for(&self) -> Duration {
        self.started.elapsed()
    }

    /// How it ended, for people and for the decision about a restart.
    pub fn report(&self, exit: Exit) -> EndReport {
        let killed = matches!(exit, Exit::Signal(9) | Exit::Code(137));
        let failed = exit != Exit::Code(0);
        // A worker that was killed can make its parent fail in its own way, so any failure counts beside a kill.
        let out_of_memory = (killed || failed) && !self.stopping && memory::kills() > self.kills_before;
        let (code, signal) = match exit {
            Exit::Code(code) => (Some(code), None),
            Exit::Signal(signal) => (None, Some(signal)),
        };
        let reason = match exit {
            Exit::Code(127) => Some("a command was not found".to_owned()),
            Exit::Code(126) => Some("a command could not be executed".to_owned()),
            Exit::Code(_) | Exit::Signal(_) => None,
        };
        EndReport {
            code,
            signal,
            out_of_memory,
            ran_ms: u64::try_from(self.ran_for().as_millis()).unwrap_or(u64::MAX),
            reason: self.restarting.clone().or(reason),
            hung: self.restarting.is_some(),
            pids_refused: pids::refusals().saturating_sub(self.refusals_before),
            ..EndReport::default()
        }
    }
}

/// Reaps every child that has ended, orphans too. Gives how the process `main` ended if it was among them.
pub fn reap(main: Option<Pid>) -> Option<Exit> {
    let mut found = None;
    loop {
        let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, Exit::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Exit::Signal(signal as i32)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return found,
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(_) => return found,
        };
        if Some(pid) == main {
            found = Some(exit);
        }
    }
}

/// Kills what the app left behind: its group, then whatever was inherited from it, until nothing is our child any more. A shell that
/// somebody opened into the instance from outside is not our child and lives on, unless what is left goes on making more: then all ends.
pub fn clear(app: &App) {
    app.signal(Signal::SIGKILL);
    let mut until = Instant::now() + CLEAR_LIMIT;
    let mut last_resort = Pid::this().as_raw() == 1;
    loop {
        reap(None);
        let left = children();
        if left.is_empty() {
            return;
        }
        if Instant::now() >= until {
            if !std::mem::take(&mut last_resort) {
                return;
            }
            // What forks faster than it is found one by one is killed at once: of everybody in our namespace only its first process, which we
            // are, is spared (kill(2)). Anywhere else this would be the whole machine.
            let _ = signal::kill(Pid::from_raw(-1), Signal::SIGKILL);
            until = Instant::now() + CLEAR_LIMIT;
        }
        for pid in left {
            let _ = signal::kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Our living children, by /proc.
fn children() -> Vec<Pid> {
    let me = Pid::this();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent_of(*pid) == Some(me)).map(Pid::from_raw).collect()
}

fn parent_of(pid: i32) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // `pid (name) state parent …`, where the name may hold anything, brackets too.
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z").then(|| Pid::from_raw(parent))
}

fn not_started(code: i32, reason: String) -> EndReport {
    EndReport { code: Some(code), reason: Some(reason), ..EndReport::default() }
}

/// Says what the kernel's answer to exec means for this image.
fn why_not(program: &OsString, errno: Errno) -> EndReport {
    let name = program.to_string_lossy();
    let there = find(Path::new(program)).is_some();
    let (code, why) = match errno {
        Errno::ENOENT if there => (
            127,
            "it is in the image, but not what it needs to run: the interpreter of its `#!` line or its dynamic loader".to_owned(),
        ),
        Errno::ENOENT if name == "/bin/sh" => {
            (127, "the image has no shell; write the command as a list of words, [\"program\", \"argument\"]".to_owned())
        }
        Errno::ENOENT => (127, "there is no such program in the image".to_owned()),
        Errno::EACCES => (126, "it is not executable for the user that the image runs as".to_owned()),
        Errno::ENOEXEC => {
            (126, "it is no program for this machine: built for another processor, or a script without a `#!` line".to_owned())
        }
        other => (126, other.desc().to_owned()),
    };
    not_started(code, format!("`{name}` could not be started: {why}"))
}

/// Where exec would find the program.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 || program.is_absolute() {
        return program.exists().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| candidate.exists())
}

#[cfg(test)]
mod tests;
