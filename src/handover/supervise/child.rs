//! One role: its process, its sockets, its stored descriptors, and when it is started again.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::super::fds::{keep_over_exec, recv_with_fds};
use super::sockets::{self, Bound};
use super::status::{RoleStatus, State};
use super::store::{Message, Store};
use super::{Role, UpError, exec, files};
use crate::base::backoff::Backoff;

/// The pauses from the second restart in a row on; the first is at once.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Who was ready and ran as long as this starts again with no history: what ended it is no fault of its start.
const GOOD_RUN: Duration = Duration::from_secs(1);
const MOST_FDS: usize = 253;
/// A look at a child that leaves it as it is.
const FLAGS: WaitPidFlag = WaitPidFlag::WEXITED.union(WaitPidFlag::WNOHANG).union(WaitPidFlag::WNOWAIT);

/// A role with all that outlives its process.
pub(super) struct Running {
    pub role: Role,
    pub sockets: Vec<Bound>,
    pub notify: UnixDatagram,
    notify_path: PathBuf,
    store: Store,
    /// The process that the role is now: one that we started, or one that such a process gave its place to.
    pub(super) child: Option<Pid>,
    /// Those that gave their place away and have not ended.
    older: Vec<Pid>,
    state: State,
    /// This process, or the last one.
    was_ready: bool,
    status: String,
    started: Instant,
    /// When the process that is not there has to be started.
    start_at: Option<Instant>,
    ended_in_a_row: u32,
    pauses: Backoff,
    restarts: u32,
}

/// Where and how roles are started.
pub(super) struct Place<'a> {
    pub exe: &'a Path,
    /// None leaves the roles our own output.
    pub log_dir: Option<&'a Path>,
}

impl Running {
    /// Binds everything of the role; the process comes with [`Running::start_if_due`].
    pub(super) fn new(role: Role, run_dir: &Path, patience: Duration) -> Result<Self, UpError> {
        let sockets = sockets::bind_all(&role, patience)?;
        let (notify, notify_path) = notify_socket(&role, run_dir)?;
        let now = Instant::now();
        Ok(Self {
            role,
            sockets,
            notify,
            notify_path,
            store: Store::default(),
            child: None,
            older: Vec::new(),
            state: State::Ended,
            was_ready: false,
            status: String::new(),
            started: now,
            start_at: Some(now),
            ended_in_a_row: 0,
            pauses: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            restarts: 0,
        })
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some() || !self.older.is_empty()
    }

    /// All processes of the role.
    pub(super) fn pids(&self) -> impl Iterator<Item = Pid> {
        self.child.iter().chain(&self.older).copied()
    }

    pub(super) fn for_status(&self) -> RoleStatus {
        let number = |pid: &Pid| pid.as_raw().cast_unsigned();
        RoleStatus {
            state: self.state,
            pid: self.child.as_ref().map(number),
            restarts: self.restarts,
            older: self.older.iter().map(number).collect(),
            status: self.status.clone(),
        }
    }

    /// The next moment at which [`Running::start_if_due`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match (&self.child, self.state) {
            (Some(_), State::Starting) => Some(self.started + self.role.ready_limit),
            (Some(_), _) => None,
            (None, _) => self.start_at,
        }
    }

    /// Starts the process if its time has come, and kills one that took too long to get ready. A failed start counts as an end.
    pub(super) fn start_if_due(&mut self, place: &Place<'_>) {
        let now = Instant::now();
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        if self.child.is_some() {
            tracing::warn!(role = self.role.name, "not ready after {} s; killing it", self.role.ready_limit.as_secs());
            // Not those of before, which finish what they have.
            self.child.iter().for_each(|pid| self.tell(*pid, Signal::SIGKILL));
            // Its end is noticed by `reap`; until then nothing is due.
            self.state = State::Stopping;
            return;
        }
        self.started = now;
        self.was_ready = false;
        self.start_at = None;
        match self.spawn(place) {
            Ok(child) => {
                tracing::info!(role = self.role.name, pid = %child, "started");
                (self.child, self.state) = (Some(child), State::Starting);
            }
            Err(error) => {
                tracing::error!(role = self.role.name, "starting `{}`: {error}", place.exe.display());
                self.plan_restart();
            }
        }
    }

    fn spawn(&self, place: &Place<'_>) -> io::Result<Pid> {
        let given = self.sockets.iter().map(|b| (b.name.as_str(), &b.fd)).chain(self.store.all());
        let mut names = Vec::new();
        let mut copies: Vec<OwnedFd> = Vec::new();
        for (name, fd) in given {
            names.push(name);
            copies.push(fd.try_clone()?);
        }
        let numbers: Vec<String> = copies.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let mut command = Command::new(place.exe);
        command.arg("up-exec");
        if let Some(user) = &self.role.user {
            command.args(["--user", user]);
        }
        if self.role.keep_sys_admin {
            command.arg("--keep-sys-admin");
        }
        command.arg("--").args(&self.role.argv);
        command.env(exec::FDS, numbers.join(",")).env(exec::PARENT, std::process::id().to_string());
        command.env("LISTEN_FDNAMES", names.join(":")).env("NOTIFY_SOCKET", &self.notify_path);
        if self.role.one_heap {
            command.env("MALLOC_ARENA_MAX", "1");
        }
        // A group of its own: Ctrl-C at a terminal must reach us alone, as we stop roles in their order.
        command.stdin(Stdio::null()).process_group(0);
        if let Some(folder) = place.log_dir {
            let log = files::open_log(folder, &self.role.name)?;
            command.stdout(log.try_clone()?).stderr(log);
        }
        copies.iter().try_for_each(keep_over_exec)?;
        i32::try_from(command.spawn()?.id()).map(Pid::from_raw).map_err(io::Error::other)
    }

    /// Reads all that the role has told. `taken`: the processes of all roles, which none may claim to be.
    pub(super) fn read_notify(&mut self, taken: &[Pid]) {
        let mut buffer = [0; 8192];
        loop {
            match recv_with_fds(&self.notify, &mut buffer, MOST_FDS) {
                Ok((length, fds)) => self.told(&buffer[..length], fds, taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(role = self.role.name, "reading its notify socket: {error}");
                    // A message that is too large was taken from the queue; anything else would come again at once.
                    if error.kind() != io::ErrorKind::InvalidData {
                        return;
                    }
                }
            }
        }
    }

    fn told(&mut self, bytes: &[u8], fds: Vec<OwnedFd>, taken: &[Pid]) {
        let message = Message::parse(bytes);
        if let Err(why) = self.store.take(&message, fds) {
            tracing::warn!(role = self.role.name, "its fd store: {why}");
        }
        if let Some(pid) = message.main_pid.map(Pid::from_raw) {
            self.adopt(pid, taken);
        }
        if message.ready && self.state == State::Starting {
            let after = self.started.elapsed().as_millis();
            tracing::info!(role = self.role.name, "ready after {after} ms");
            self.state = State::Ready;
            self.was_ready = true;
        }
        if message.stopping && self.child.is_some() {
            self.state = State::Stopping;
        }
        if let Some(status) = message.status {
            self.status = status;
        }
    }

    /// The role is `pid` from now on; the process that it was finishes what it has. Only for a child of ours that is no role's already, so
    /// that no role can make us signal another's process. (It became ours by the end of its parent: see `takeover`.)
    fn adopt(&mut self, pid: Pid, taken: &[Pid]) {
        // One that has ended just now is taken too: then it is started again.
        let ours = waitid(Id::Pid(pid), FLAGS).is_ok();
        let Some(old) = self.child.filter(|_| ours && !taken.contains(&pid)) else {
            return tracing::warn!(role = self.role.name, %pid, "it names a process that it can not be");
        };
        tracing::info!(role = self.role.name, %pid, %old, "another process took over");
        self.older.push(old);
        (self.child, self.started, self.was_ready) = (Some(pid), Instant::now(), true);
        self.state = State::Ready;
    }

    /// Takes note of ended processes: ends what each left in its group, and plans a restart unless all is being stopped.
    pub(super) fn reap(&mut self, stopping: bool, taken: &[Pid]) {
        let name = self.role.name.clone();
        self.older.retain(|pid| {
            ended(&name, *pid).is_none_or(|how| {
                tracing::info!(role = name, %pid, "it gave its place away and has finished: {how}");
                false
            })
        });
        let Some((pid, how)) = self.child.and_then(|pid| Some((pid, ended(&name, pid)?))) else { return };
        // What it told and stored last must be known before it is started again; it may be that another is the role by now.
        self.read_notify(taken);
        if self.child != Some(pid) {
            self.older.retain(|old| *old != pid);
            return tracing::info!(role = name, %pid, "it gave its place away and has ended: {how}");
        }
        self.child = None;
        self.state = State::Ended;
        self.status.clear();
        if stopping {
            tracing::info!(role = self.role.name, "stopped: {how}");
        } else {
            tracing::warn!(role = self.role.name, "ended: {how}");
            self.plan_restart();
        }
    }

    fn plan_restart(&mut self) {
        if self.was_ready && self.started.elapsed() >= GOOD_RUN {
            self.ended_in_a_row = 0;
            self.pauses.reset();
        }
        let pause = if self.ended_in_a_row == 0 { Duration::ZERO } else { self.pauses.pause() };
        self.ended_in_a_row += 1;
        self.restarts += 1;
        self.start_at = Some(Instant::now() + pause);
    }

    /// Sends a signal to all processes of the role.
    pub(super) fn signal(&self, signal: Signal) {
        self.pids().for_each(|pid| self.tell(pid, signal));
    }

    fn tell(&self, pid: Pid, signal: Signal) {
        // SIGKILL is for all that the role has started; other signals are for the role to pass on.
        let all = signal == Signal::SIGKILL;
        let sent = if all { killpg(pid, signal).or_else(|_| kill(pid, signal)) } else { kill(pid, signal) };
        if let Err(error) = sent {
            tracing::warn!(role = self.role.name, "sending {signal} to process {pid}: {error}");
        }
    }

    /// Removes the files of the role.
    pub(super) fn remove_notify(&self) -> io::Result<()> {
        files::remove(&self.notify_path)
    }
}

/// How a process of ours ended, if it has; what it left in its group is ended too, and it is gone then.
fn ended(role: &str, pid: Pid) -> Option<String> {
    match waitid(Id::Pid(pid), FLAGS) {
        Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => return None,
        Ok(_) => {}
        Err(error) => tracing::warn!(role, "waiting for process {pid}: {error}"),
    }
    // Before the process is reaped: its number, and so the group's, can't be anybody else's yet.
    let _ = killpg(pid, Signal::SIGKILL);
    Some(match waitpid(pid, None) {
        Ok(WaitStatus::Exited(_, code)) => format!("exit code {code}"),
        Ok(WaitStatus::Signaled(_, signal, _)) => format!("signal {signal}"),
        _ => "unknown".to_owned(),
    })
}

/// Only the role's own user may write to it: who can, can give the role descriptors at its next start.
fn notify_socket(role: &Role, run_dir: &Path) -> Result<(UnixDatagram, PathBuf), UpError> {
    let folder = run_dir.join("notify");
    let path = folder.join(format!("{}.sock", role.name));
    let make = || -> io::Result<UnixDatagram> {
        DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
        let socket = UnixDatagram::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        if let Some(name) = &role.user {
            chown(&path, Some(exec::find_user(name)?.uid), None)?;
        }
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    sockets::remove_stale(&path)?;
    Ok((make().map_err(UpError::path("listening at", &path))?, path))
}

#[cfg(test)]
mod tests;
