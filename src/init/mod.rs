//! PID 1 of every instance: waits at the gate, starts the app, carries its output into the log, starts it again, tells how it ended.
//!
//! Owns: the app's process, its signals, the orphans of the instance, and the log segment it was handed. Uses: names, base, wire, handover.
//! Never: uses a runtime, a thread or a file of the image; waits for the daemon once the app was started; is trusted by the daemon.
//! Invariants: the app does not run before `Open`; told to stop, it is never started again; a full disk, a full segment or a daemon
//! that is away cost log lines (counted), never the app; no process of the instance can reach a descriptor that was handed to us.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use nix::sys::signal::Signal;

use crate::names::InstanceId;

mod app; // start, end, what is left over
mod core; // the loop, and what happens when
mod environment; // what the app sees
mod lines; // bytes → lines
mod link; // the daemon's socket
mod memory; // was it the out-of-memory killer
mod output; // pipes → records
mod pids; // was it refused another process
mod rate; // how much may be logged
pub mod segment; // records → segment file; the daemon's own log lines use it too

/// Exit code of init itself when it cannot do its work; the same one that `docker run` uses.
const INIT_FAILED: u8 = 125;

/// What init is told by its environment. All of it is ours and is taken out of the app's environment, except the instance's name.
struct Settings {
    instance: InstanceId,
    socket: PathBuf,
    /// What to send the app when init itself gets SIGTERM (the image's STOPSIGNAL or the manifest's).
    stop_signal: Signal,
}

const SOCKET: &str = "PAAS_INIT_SOCKET";
const STOP_SIGNAL: &str = "PAAS_STOP_SIGNAL";

/// Variables that only init needs.
const OWN_VARIABLES: [&str; 2] = [SOCKET, STOP_SIGNAL];

/// Runs `paas init -- argv…` until the app has ended for good. Gives the app's exit code (128 + signal if a signal ended it).
pub fn run(argv: Vec<OsString>) -> ExitCode {
    // Before any descriptor arrives: otherwise the app's root could open /proc/1/fd/N and write to the host's file behind it.
    if let Err(errno) = nix::sys::prctl::set_dumpable(false) {
        complain(&format!("making this process unreadable: {errno}"));
        return ExitCode::from(INIT_FAILED);
    }
    let outcome = settings().and_then(|settings| core::Init::new(argv, settings).map_err(|e| e.to_string()));
    match outcome {
        Ok(init) => ExitCode::from(init.run()),
        Err(why) => {
            complain(&why);
            ExitCode::from(INIT_FAILED)
        }
    }
}

fn settings() -> Result<Settings, String> {
    let name =
        std::env::var("PAAS_INSTANCE").map_err(|_| "PAAS_INSTANCE is not set; init is started by the paas daemon".to_owned())?;
    let instance = InstanceId::parse(&name).map_err(|e| e.to_string())?;
    let socket = std::env::var_os(SOCKET).map_or_else(|| PathBuf::from("/.paas/i/init.sock"), PathBuf::from);
    let stop_signal = match std::env::var(STOP_SIGNAL) {
        Ok(name) => {
            name.parse().map_err(|_| format!("{STOP_SIGNAL} is `{name}`, which is no signal; use a name such as SIGQUIT"))?
        }
        Err(_) => Signal::SIGTERM,
    };
    Ok(Settings { instance, socket, stop_signal })
}

/// Tells the engine's log, as there is nobody else to tell.
fn complain(what: &str) {
    let _ = writeln!(std::io::stderr(), "paas init: {what}");
}
