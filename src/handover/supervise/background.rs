//! `paas up` that returns: starts the supervisor as a process of its own, and waits until every role is ready.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::lock::{self, Holder};
use super::status::Status;
use super::{BACKGROUND, Outcome, UpError, UpOptions, files, upgrade};

const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// The name of the supervisor's own log.
pub(super) const OWN_LOG: &str = "up";
/// As many lines of a log are shown in an error.
const LINES: usize = 20;

/// Starts the supervisor unless it runs, and waits for all roles (up to 30 s). On an error it is left running: its next try may succeed.
pub(super) fn start(options: &UpOptions) -> Result<Outcome, UpError> {
    if let Holder::Process(pid) = lock::holder(&options.run_dir)? {
        wait(options, None)?;
        return Ok(if upgrade::to(options)? { Outcome::Upgraded { pid } } else { Outcome::AlreadyRunning { pid } });
    }
    let mut child = spawn(options).map_err(UpError::path("starting", &options.exe))?;
    wait(options, Some(&mut child))?;
    let pid = i32::try_from(child.id()).unwrap_or_default();
    Ok(Outcome::Started { pid })
}

fn spawn(options: &UpOptions) -> std::io::Result<Child> {
    let log = files::open_log(&options.log_dir, OWN_LOG)?;
    let mut command = Command::new(&options.exe);
    command.args(&options.up_args).env(BACKGROUND, "1").current_dir("/");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
}

/// With a child: waits for its own status, not for one that a killed supervisor left.
pub(super) fn wait(options: &UpOptions, mut child: Option<&mut Child>) -> Result<(), UpError> {
    let end = Instant::now() + LIMIT;
    let pid = child.as_ref().map(|child| child.id());
    loop {
        let status = Status::read(&options.run_dir).filter(|status| pid.is_none_or(|pid| pid == status.pid));
        let missing = match &status {
            Some(status) => status.not_ready(),
            None => Some(OWN_LOG),
        };
        let Some(missing) = missing else { return Ok(()) };
        let ended =
            child.as_mut().map(|child| child.try_wait()).transpose().map_err(UpError::system("waiting for the supervisor"))?;
        if let Some(status) = ended.flatten() {
            // Another `paas up` was faster: its supervisor is the one to wait for.
            if status.success() && matches!(lock::holder(&options.run_dir)?, Holder::Process(_)) {
                return wait(options, None);
            }
            return Err(UpError::Ended { how: status.to_string(), log: tail(&options.log_dir, OWN_LOG) });
        }
        if Instant::now() > end {
            return Err(UpError::NotReady { role: missing.to_owned(), limit: LIMIT, log: tail(&options.log_dir, missing) });
        }
        sleep(PAUSE);
    }
}

fn tail(folder: &Path, name: &str) -> String {
    files::last_lines(folder, name, LINES)
}
