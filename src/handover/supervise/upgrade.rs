//! `paas up --detach` with another binary than the one that runs: role by role, in the order of their start, without closing a socket.
//!
//! The supervisor itself goes on with its old program: it holds the sockets, and ending it would close them. It is a new one after the next
//! `paas down` and `paas up`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::takeover;
use super::status::{State, Status};
use super::{Role, UpError, UpOptions, background};

/// A role stops within the supervisor's own limit, and starts.
const LIMIT: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(20);

/// Lets every role run the program that its arguments name now. False if all do already.
pub(super) fn to(options: &UpOptions) -> Result<bool, UpError> {
    let mut changed = false;
    for role in &options.roles {
        let status = Status::read(&options.run_dir).unwrap_or_default();
        let Some(pid) = status.roles.get(&role.name).and_then(|role| role.pid).filter(|pid| runs_another(*pid, role)) else {
            continue;
        };
        changed = true;
        match role.hands_over {
            true => drop(takeover::ask(pid).map_err(|why| UpError::Upgrade { role: role.name.clone(), why })?),
            false => kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).map_err(UpError::system("stopping a role"))?,
        }
        wait_for_another(options, role, pid)?;
    }
    background::wait(options, None)?;
    Ok(changed)
}

/// Not sure is no: a role whose program can not be looked at is left alone.
fn runs_another(pid: u32, role: &Role) -> bool {
    let number = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let program = role.argv.first().map(Path::new);
    match (number(Path::new(&format!("/proc/{pid}/exe"))), program.map(number)) {
        (Ok(runs), Some(Ok(there))) => runs != there,
        _ => false,
    }
}

fn wait_for_another(options: &UpOptions, role: &Role, old: u32) -> Result<(), UpError> {
    let end = Instant::now() + LIMIT;
    loop {
        let status = Status::read(&options.run_dir).unwrap_or_default();
        let there = |role: &super::RoleStatus| role.state == State::Ready && role.pid.is_some_and(|pid| pid != old);
        if status.roles.get(&role.name).is_some_and(there) {
            return Ok(());
        }
        if Instant::now() > end {
            let log = super::files::last_lines(&options.log_dir, &role.name, 20);
            return Err(UpError::NotReady { role: role.name.clone(), limit: LIMIT, log });
        }
        sleep(PAUSE);
    }
}
