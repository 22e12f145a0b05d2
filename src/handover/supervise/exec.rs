//! The step between the supervisor and a role, `paas up-exec`: gives up what the role may not have, and becomes it.
//!
//! It is a process of its own because only safe calls can be made there: between fork and exec they could not.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Pid, Uid, getppid, setgid, setgroups, setuid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::super::fds;
use crate::base::accounts::{self, Account};

/// The numbers of the descriptors for the role, in the order of LISTEN_FDNAMES.
pub(super) const FDS: &str = "PAAS_FDS";
/// The supervisor's process id.
pub(super) const PARENT: &str = "PAAS_UP_PID";

/// What the units say too; else what a process has that nobody gave a score.
const OOM_SCORES: [&str; 2] = ["-900", "0"];

/// What to become.
#[derive(Debug, Clone)]
pub struct ExecAs {
    /// None stays who it is.
    pub user: Option<String>,
    pub keep_sys_admin: bool,
    /// The program and its arguments.
    pub argv: Vec<OsString>,
}

/// Becomes the role: never returns if all goes well. To be called first thing in `main`, and the process must exit with the error it gives:
/// it may have dropped rights and moved descriptors.
pub fn exec_as(ask: &ExecAs) -> io::Error {
    match prepare(ask) {
        Ok(mut command) => {
            let error = command.exec();
            io::Error::new(error.kind(), format!("starting `{}`: {error}", command.get_program().to_string_lossy()))
        }
        Err(error) => error,
    }
}

fn prepare(ask: &ExecAs) -> io::Result<Command> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let (program, args) = ask.argv.split_first().ok_or_else(|| invalid("no program is named".to_owned()))?;
    let user = ask.user.as_deref().map(find_user).transpose()?;
    let passed = fds::take_passed(FDS)?;
    let parent = fds::remove_env(PARENT).and_then(|pid| pid.parse().ok()).map(Pid::from_raw);
    let mut command = Command::new(program);
    command.args(args).env("LISTEN_FDS", passed.len().to_string()).env("LISTEN_PID", std::process::id().to_string());

    SigSet::empty().thread_set_mask()?;
    umask(Mode::from_bits_truncate(0o022)); // Modes that matter are set explicitly.
    go_last();
    let kept = if ask.keep_sys_admin { CapabilitySet::SYS_ADMIN } else { CapabilitySet::empty() };
    if Uid::effective().is_root() {
        drop_bounding(kept)?;
    }
    if let Some(user) = &user {
        become_user(user)?;
        command.env("USER", &user.name).env("LOGNAME", &user.name).env("HOME", &user.home);
    }
    keep_only(kept)?;
    prctl::set_no_new_privs()?;
    // A change of credentials clears it, so it comes after all of them.
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    if parent.is_some_and(|parent| parent != getppid()) {
        return Err(io::Error::other("the supervisor is gone"));
    }
    fds::place_for_exec(passed)?;
    Ok(command)
}

/// Where that is permitted: when memory runs out, apps go before paas does. Builds and instances have scores above zero.
fn go_last() {
    // Lowering below what it was at first needs a right that root in a container may not have; paas works without.
    let _ = OOM_SCORES.iter().any(|score| std::fs::write("/proc/self/oom_score_adj", score).is_ok());
}

/// The user of that name, or an error that names it.
pub(super) fn find_user(name: &str) -> io::Result<Account> {
    accounts::user(name)?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("user `{name}` does not exist")))
}

fn become_user(user: &Account) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    if Uid::effective() == uid && !uid.is_root() {
        return Ok(());
    }
    let groups: Vec<Gid> = accounts::groups_of(user)?.into_iter().map(Gid::from_raw).collect();
    setgroups(&groups)?;
    setgid(gid)?;
    setuid(uid)?;
    Ok(())
}

/// What is not in the bounding set comes back at no exec, not even root's.
fn drop_bounding(kept: CapabilitySet) -> io::Result<()> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        // An error says that this kernel has no capability of that number.
        let Ok(there) = rustix::thread::capability_is_in_bounding_set(one) else { break };
        if there && !kept.contains(one) {
            rustix::thread::remove_capability_from_bounding_set(one)?;
        }
    }
    Ok(())
}

fn keep_only(kept: CapabilitySet) -> io::Result<()> {
    // What we do not have can't be asked for (in a container without it).
    let kept = rustix::thread::capabilities(None)?.permitted & kept;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}
