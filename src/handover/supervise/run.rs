//! The loop of the supervisor: signals, what roles tell, ends, starts, and the ordered stop.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;

use super::background::OWN_LOG;
use super::child::{Place, Running};
use super::lock::Lock;
use super::status::Status;
use super::{Outcome, UpError, UpOptions, files, sockets};

/// How long each role may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How often the sizes of logs are looked at.
const LOGS_EVERY: Duration = Duration::from_secs(10);
/// How long roles of a supervisor that was killed may hold on to their TCP sockets.
const PATIENCE: Duration = Duration::from_secs(20);

struct Supervisor {
    exe: PathBuf,
    log_dir: Option<PathBuf>,
    run_dir: PathBuf,
    signals: SignalFd,
    roles: Vec<Running>,
    stop: Option<Stop>,
    /// When the sizes of logs were looked at last.
    logs_looked_at: Instant,
}

/// The stop under way: roles are stopped from the last to the first.
struct Stop {
    /// The role that was told to stop, and by when it has to be gone.
    told: Option<(usize, Instant)>,
    /// The process that was told; another may have taken its place since.
    child: Option<Pid>,
    /// A second signal came: nobody is waited for.
    hurry: bool,
}

/// Runs everything until it is told to stop. With `to_files` the roles write to log files.
pub(super) fn supervise(options: UpOptions, to_files: bool) -> Result<Outcome, UpError> {
    let lock = match Lock::take(&options.run_dir)? {
        Ok(lock) => lock,
        Err(pid) => return Ok(Outcome::AlreadyRunning { pid }),
    };
    let run_dir = options.run_dir.clone();
    let result = Supervisor::new(options, to_files).and_then(|mut supervisor| {
        let result = supervisor.run();
        supervisor.clean_up();
        result
    });
    files::remove(&Status::path(&run_dir)).map_err(UpError::path("removing", &Status::path(&run_dir)))?;
    lock.release().map_err(UpError::system("removing the lock file"))?;
    result.map(|()| Outcome::Stopped)
}

impl Supervisor {
    fn new(options: UpOptions, to_files: bool) -> Result<Self, UpError> {
        let signals = catch_signals()?;
        // A role's successor must be ours when its parent has ended.
        prctl::set_child_subreaper(true).map_err(UpError::system("adopting orphans"))?;
        raise_file_limit();
        // A status without a supervisor tells that the last one was killed, and its roles may still be going.
        let patience = if Status::path(&options.run_dir).exists() { PATIENCE } else { Duration::ZERO };
        let mut supervisor = Self {
            exe: options.exe,
            log_dir: to_files.then_some(options.log_dir),
            run_dir: options.run_dir,
            signals,
            roles: Vec::new(),
            stop: None,
            logs_looked_at: Instant::now(),
        };
        for role in options.roles {
            match Running::new(role, &supervisor.run_dir, patience) {
                Ok(role) => supervisor.roles.push(role),
                Err(error) => {
                    supervisor.clean_up();
                    return Err(error);
                }
            }
        }
        Ok(supervisor)
    }

    fn run(&mut self) -> Result<(), UpError> {
        sockets::write_listening(&self.run_dir, self.roles.iter().flat_map(|role| &role.sockets))?;
        let mut told = Status::default();
        while !self.is_over() {
            match &self.stop {
                Some(_) => self.go_on_stopping(),
                None => self.start_due(),
            }
            let status = self.status();
            if status != told {
                // Nobody's work depends on this file, so a full disk must not end us.
                if let Err(error) = status.write(&self.run_dir) {
                    tracing::warn!("writing `{}`: {error}", Status::path(&self.run_dir).display());
                }
                told = status;
            }
            self.wait()?;
            self.read_signals();
            let stopping = self.stop.is_some();
            for n in 0..self.roles.len() {
                let taken = self.pids();
                self.roles[n].read_notify(&taken);
                self.roles[n].reap(stopping, &taken);
            }
            self.reap_strangers();
            self.cut_logs();
        }
        Ok(())
    }

    /// A role that runs for months, or is made to complain without end, must not fill the disk or the memory in which its log lies.
    fn cut_logs(&mut self) {
        let Some(folder) = self.log_dir.as_deref().filter(|_| self.logs_looked_at.elapsed() >= LOGS_EVERY) else { return };
        self.logs_looked_at = Instant::now();
        let names = self.roles.iter().map(|role| role.role.name.as_str()).chain([OWN_LOG]);
        for name in names {
            if let Err(error) = files::cut_log(folder, name) {
                tracing::warn!("shortening the log of {name}: {error}");
            }
        }
    }

    fn pids(&self) -> Vec<Pid> {
        self.roles.iter().flat_map(Running::pids).collect()
    }

    /// Whatever a role leaves behind becomes our child: nobody else would take note of its end.
    fn reap_strangers(&self) {
        let known = self.pids();
        let look = || waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT).ok()?.pid();
        // One of a role's that ended just now is left for the next round, which its signal has begun already.
        while let Some(pid) = look().filter(|pid| !known.contains(pid)) {
            let _ = waitpid(pid, None);
        }
    }

    fn is_over(&self) -> bool {
        self.stop.is_some() && !self.roles.iter().any(Running::is_running)
    }

    fn status(&self) -> Status {
        let roles = self.roles.iter().map(|role| (role.role.name.clone(), role.for_status())).collect();
        Status { pid: std::process::id(), roles }
    }

    fn start_due(&mut self) {
        let place = Place { exe: &self.exe, log_dir: self.log_dir.as_deref() };
        for role in &mut self.roles {
            role.start_if_due(&place);
        }
    }

    /// Sleeps until a signal or a message comes, or something is due.
    fn wait(&self) -> Result<(), UpError> {
        let timeout = self.next_due().map(|due| {
            // Rounded up: a timeout of 0 ms before the time would spin.
            let left = due.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let notify = self.roles.iter().map(|role| role.notify.as_fd());
        let all = [self.signals.as_fd()].into_iter().chain(notify);
        let mut polled: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut polled, timeout.unwrap_or(PollTimeout::NONE)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(UpError::system("waiting for the roles")(error)),
        }
    }

    fn next_due(&self) -> Option<Instant> {
        match &self.stop {
            Some(stop) => stop.told.map(|(_, limit)| limit),
            None => {
                let logs = self.log_dir.as_ref().map(|_| self.logs_looked_at + LOGS_EVERY);
                self.roles.iter().filter_map(Running::due).chain(logs).min()
            }
        }
    }

    fn read_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let stops = [Signal::SIGTERM, Signal::SIGINT].iter().any(|known| signal.ssi_signo == *known as u32);
            match &mut self.stop {
                _ if !stops => {} // SIGCHLD has only to wake us, SIGHUP is ignored.
                None => {
                    tracing::info!("stopping all roles");
                    self.stop = Some(Stop { told: None, child: None, hurry: false });
                }
                Some(stop) => {
                    stop.hurry = true;
                    stop.told = stop.told.map(|(index, _)| (index, Instant::now()));
                }
            }
        }
    }

    /// Tells the next role to stop once the one before is gone, and kills one whose time is over.
    fn go_on_stopping(&mut self) {
        let Some(stop) = &mut self.stop else { return };
        let Some(index) = self.roles.iter().rposition(Running::is_running) else { return };
        match &mut stop.told {
            Some((told, limit)) if *told == index => {
                if *limit <= Instant::now() {
                    tracing::warn!(role = self.roles[index].role.name, "it has not stopped in time; killing it");
                    self.roles[index].signal(Signal::SIGKILL);
                    *limit = Instant::now() + STOP_LIMIT;
                } else if self.roles[index].child.is_some() && self.roles[index].child != stop.child {
                    stop.child = self.roles[index].child;
                    self.roles[index].signal(Signal::SIGTERM);
                }
            }
            _ => {
                self.roles[index].signal(Signal::SIGTERM);
                let limit = if stop.hurry { Duration::ZERO } else { STOP_LIMIT };
                stop.told = Some((index, Instant::now() + limit));
                stop.child = self.roles[index].child;
            }
        }
    }

    /// Ends what an error may have left running, and removes every file but status and lock.
    fn clean_up(&mut self) {
        for role in &mut self.roles {
            while role.is_running() {
                role.signal(Signal::SIGKILL);
                std::thread::sleep(Duration::from_millis(5));
                role.reap(true, &[]);
            }
        }
        sockets::remove_all(&self.run_dir, self.roles.iter().flat_map(|role| &role.sockets));
        let folder = self.run_dir.join("notify");
        let removed = self.roles.iter().try_for_each(Running::remove_notify).and_then(|()| remove_folder(&folder));
        if let Err(error) = removed {
            tracing::warn!("removing the notify sockets in `{}`: {error}", folder.display());
        }
    }
}

fn remove_folder(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn catch_signals() -> Result<SignalFd, UpError> {
    let set: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect();
    set.thread_block().map_err(UpError::system("blocking signals"))?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(UpError::system("catching signals"))
}

/// Stored descriptors are ours too, and roles inherit the limit: the usual 1024 would be few.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!("raising the limit of open files: {error}");
    }
}
