//! The proxy gives its place to a newer binary, or takes the place of an older one: what is handed over, in which order (see `takeover`).

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::unistd::Pid;
use tokio::sync::watch;

use super::kept::Keeper;
use crate::base::program;
use crate::handover::systemd;
use crate::handover::takeover::{Asks, Predecessor, READY_LIMIT, Successor};
use crate::proxy::Stop;

/// What a proxy keeps at hand to give its place away.
pub struct Place {
    /// What it listens on, by name. These are duplicates: they go with the thread below when the place was given away.
    pub listening: Vec<(String, OwnedFd)>,
    pub keeper: Arc<Keeper>,
    pub stop: Arc<watch::Sender<Stop>>,
    /// How long what is left may take.
    pub grace: Duration,
}

impl Place {
    /// Waits on a thread of its own for who asks for a successor. Errors: the thread or the socket.
    pub fn offer(self) -> anyhow::Result<()> {
        let argv = own_command().context("finding this binary")?;
        let asks = Asks::listen().context("listening for who asks for a successor")?;
        let serve = move || {
            asks.serve(|| self.give(&argv).inspect_err(|why| tracing::error!("no successor: {why}; serving on")));
            // Not before who asked was told: a process that has nothing to finish ends at once.
            let leave = Stop::Leave { grace: self.grace };
            // One that was told to stop meanwhile has less time than that.
            self.stop.send_if_modified(|stop| matches!(stop, Stop::Serve).then(|| *stop = leave).is_some());
        };
        std::thread::Builder::new().name("successor".to_owned()).spawn(serve).context("starting the successor thread")?;
        Ok(())
    }

    /// The successor is ready before anything changes here; after MAINPID there is no way back, as our supervisor watches the other one.
    fn give(&self, argv: &[OsString]) -> Result<Pid, String> {
        tracing::info!("starting a successor: `{}`", argv[0].to_string_lossy());
        let ready = self.start(argv).inspect_err(|_| self.keeper.release());
        let successor = ready?;
        if matches!(*self.stop.borrow(), Stop::Now) {
            // Whoever stops the service stops all of it: a process that takes over now would not know.
            self.keeper.release();
            return Err("this process was told to stop meanwhile".to_owned());
        }
        let pid = successor.pid();
        systemd::main_pid(pid.as_raw(), "serving");
        if let Err(error) = successor.go() {
            // One that died in this very moment leaves nobody who accepts: our supervisor must have its turn soon.
            self.stop.send_replace(Stop::Now);
            return Err(error.to_string());
        }
        tracing::info!(%pid, "the successor accepts; this process finishes what it has");
        Ok(pid)
    }

    fn start(&self, argv: &[OsString]) -> Result<Successor, String> {
        let snapshot = self.keeper.hold().map_err(|e| format!("its copy of the snapshot: {e}"))?;
        let given: Vec<_> = self.listening.iter().chain(&snapshot).map(|(name, fd)| (name.clone(), fd.as_fd())).collect();
        Successor::start(argv, &given, READY_LIMIT).map_err(|e| e.to_string())
    }
}

/// The path by which this process was started (an upgrade has put another file there) and its arguments.
fn own_command() -> std::io::Result<Vec<OsString>> {
    let mut argv: Vec<OsString> = std::env::args_os().collect();
    argv.splice(..1, [program::own_path()?.into_os_string()]);
    Ok(argv)
}

/// Says that this process is ready: to the one before it, which tells when to begin, or to who supervises us.
pub fn ready(before: Option<&Predecessor>, keeper: &Keeper) -> std::io::Result<()> {
    match before {
        Some(before) => before.ready()?,
        None => systemd::ready("serving"),
    }
    keeper.release();
    Ok(())
}
