//! The daemon's end of the control connection.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::PATIENCE;
use crate::names::InstanceId;
use crate::wire::frame;
use crate::wire::proxy::{FromProxy, MAX_FRAME, TargetCounts};

/// The daemon's end of the control connection.
pub struct Daemon {
    state: Arc<(Mutex<DaemonState>, Condvar)>,
}

#[derive(Default)]
struct DaemonState {
    messages: Vec<FromProxy>,
    to: Option<UnixStream>,
}

impl Daemon {
    pub fn listen(listener: UnixListener) -> Self {
        let state: Arc<(Mutex<DaemonState>, Condvar)> = Arc::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                shared.0.lock().expect("state").to = Some(stream.try_clone().expect("clone"));
                shared.1.notify_all();
                while let Ok(Some(message)) = frame::read_blocking(&mut stream, MAX_FRAME) {
                    shared.0.lock().expect("state").messages.push(message);
                    shared.1.notify_all();
                }
                shared.0.lock().expect("state").to = None;
            }
        });
        Self { state }
    }

    #[track_caller]
    pub fn send(&self, message: &impl serde::Serialize) {
        let until = Instant::now() + PATIENCE;
        let mut state = self.state.0.lock().expect("state");
        while state.to.is_none() && Instant::now() < until {
            state = self.state.1.wait_timeout(state, Duration::from_millis(100)).expect("wait").0;
        }
        frame::write_blocking(state.to.as_mut().expect("the proxy connects"), message).expect("send");
    }

    /// Cuts the connection, as a restart of the daemon would.
    pub fn hang_up(&self) {
        let state = self.state.0.lock().expect("state");
        let _ = state.to.as_ref().expect("connected").shutdown(std::net::Shutdown::Both);
    }

    #[track_caller]
    pub fn wait(&self, what: &str, wanted: impl Fn(&FromProxy) -> bool) -> FromProxy {
        let until = Instant::now() + PATIENCE;
        let mut state = self.state.0.lock().expect("state");
        loop {
            if let Some(found) = state.messages.iter().rev().find(|m| wanted(m)) {
                return found.clone();
            }
            assert!(Instant::now() < until, "no message came: {what}; had {:?}", state.messages);
            state = self.state.1.wait_timeout(state, Duration::from_millis(100)).expect("wait").0;
        }
    }

    pub fn messages(&self) -> Vec<FromProxy> {
        self.state.0.lock().expect("state").messages.clone()
    }

    /// Waits until the latest counts of the target are as wanted.
    #[track_caller]
    pub fn wait_counts(&self, id: i64, wanted: impl Fn(&TargetCounts) -> bool) -> TargetCounts {
        let until = Instant::now() + PATIENCE;
        loop {
            let latest = self.messages().into_iter().rev().find_map(|m| match m {
                FromProxy::Counts(counts) => counts.into_iter().find(|c| c.target == InstanceId(id)),
                _ => None,
            });
            match latest {
                Some(counts) if wanted(&counts) => return counts,
                latest => assert!(Instant::now() < until, "the counts did not become as wanted: {latest:?}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
