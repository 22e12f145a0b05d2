//! The step between a process and its successor: it forks without `fork`, so that only safe calls are made.
//!
//! `paas successor-step first argv…` starts `paas successor-step <its pid> argv…` and ends; that one waits until it has been given to the old
//! process's own supervisor, tells its process id on the line, and becomes `argv`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getppid};

use super::super::fds;

/// In the place of a process id: this is the process that ends at once.
pub(super) const FIRST: &str = "first";
/// The numbers of the descriptors for the successor, in the order of LISTEN_FDNAMES; the line comes first.
pub(super) const FDS: &str = "PAAS_SUCCESSOR_FDS";
/// Who will be the successor's parent.
pub(super) const PARENT: &str = "PAAS_SUCCESSOR_PARENT";

/// The kernel gives an orphan away while its parent ends.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);

/// Does what the words after [`super::STEP`] ask. Gives an error, or nothing: then the process must end well. First thing in `main`.
pub fn become_successor(words: &[OsString]) -> Option<io::Error> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text.to_owned());
    let Some((who, argv)) = words.split_first().filter(|(_, argv)| !argv.is_empty()) else {
        return Some(invalid("these are the words of a process to its successor, not of a person"));
    };
    match who.to_str() {
        Some(FIRST) => second(argv).err(),
        Some(pid) => match pid.parse() {
            Ok(pid) => Some(take_place(Pid::from_raw(pid), argv)),
            Err(_) => Some(invalid("no process id")),
        },
        None => Some(invalid("no process id")),
    }
}

/// The descriptors were let through our own exec, and go through this one the same way.
fn second(argv: &[OsString]) -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command.arg(super::STEP).arg(std::process::id().to_string()).args(argv);
    // A group of its own: `paas up` kills the group of a process that has ended.
    command.process_group(0).spawn()?;
    Ok(())
}

fn take_place(until_gone: Pid, argv: &[OsString]) -> io::Error {
    let passed = match fds::take_passed(FDS) {
        Ok(passed) => passed,
        Err(error) => return error,
    };
    let line = passed.first().and_then(|line| line.try_clone().ok()).map(UnixStream::from);
    let error = prepare(until_gone, passed, line.as_ref(), argv).map_or_else(
        |error| error,
        |mut command| {
            let error = command.exec();
            io::Error::new(error.kind(), format!("starting `{}`: {error}", command.get_program().to_string_lossy()))
        },
    );
    if let Some(mut line) = line {
        // The old process may be gone; then nobody has to be told.
        let _ = writeln!(line, "failed {error}");
    }
    error
}

fn prepare(until_gone: Pid, passed: Vec<OwnedFd>, line: Option<&UnixStream>, argv: &[OsString]) -> io::Result<Command> {
    let end = Instant::now() + ORPHAN_LIMIT;
    while getppid() == until_gone {
        if Instant::now() > end {
            return Err(io::Error::other("the process between did not end"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut line = line.ok_or_else(|| io::Error::other("no line to the process before"))?;
    writeln!(line, "pid {}", std::process::id())?;
    let parent = fds::remove_env(PARENT).and_then(|pid| pid.parse().ok()).map(Pid::from_raw);
    SigSet::empty().thread_set_mask()?;
    // After it has been given away: before, the end of the process between would have been the signal.
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    if parent != Some(getppid()) {
        return Err(io::Error::other(format!("process {} is the parent, not who supervises", getppid())));
    }
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).env("LISTEN_FDS", passed.len().to_string()).env("LISTEN_PID", std::process::id().to_string());
    fds::place_for_exec(passed)?;
    Ok(command)
}
