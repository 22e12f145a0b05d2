//! The daemon's end of `paas init`: one socket per instance, in the directory that is mounted into it.
//!
//! Every process of the instance can connect to that socket, so only PID 1 of a namespace below ours is listened to, and even that one is
//! believed about its own instance only. A wish (open, stop) is remembered and told again to an init that connects anew.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::AbortHandle;

use crate::config::LogsConfig;
use crate::logs::{LogStore, Source};
use crate::names::InstanceId;
use crate::wire::init::{EndReport, Hello, KNOWS_RESTART, Phase, ToInit};

mod listener; // the socket, and who may speak
mod session; // one connection

use session::Outgoing;

/// What is known of an instance's init.
#[derive(Debug, Clone, PartialEq)]
pub struct InitState {
    pub connected: bool,
    /// Where it stood when it was last heard of. An instance that was killed from outside says nothing: ask the engine too.
    pub phase: Phase,
    pub restarts: u32,
    pub last_end: Option<EndReport>,
    /// What its init speaks; 0 while none was heard.
    pub version: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Connected,
    Disconnected,
    Started { pid: u32, restarts: u32 },
    Ended(EndReport),
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{act} `{}`", path.display())]
    Socket { act: &'static str, path: PathBuf, source: io::Error },
    #[error("instance {0} has no link; it was never made or is gone")]
    Unknown(InstanceId),
    #[error("instance {0} is gone")]
    Gone(InstanceId),
    #[error("instance {instance} did not get there within {} s", limit.as_secs_f32())]
    TimedOut { instance: InstanceId, limit: Duration, last: Box<InitState> },
}

pub struct Links {
    dir: PathBuf,
    logs: Arc<LogStore>,
    lines_per_second: u32,
    burst: u32,
    is_init: fn(i32) -> bool,
    instances: Mutex<HashMap<InstanceId, Arc<Entry>>>,
    /// Those that were forgotten: who read their row before must not make their folder again. Changed under the lock of `instances` only.
    gone: Mutex<HashSet<InstanceId>>,
    changes: broadcast::Sender<(InstanceId, Change)>,
    sessions: AtomicU64,
}

/// How many changes a slow subscriber may be behind before it is told that it missed some.
const CHANGES: usize = 1024;

struct Entry {
    instance: InstanceId,
    source: Source,
    state: watch::Sender<InitState>,
    inner: Mutex<Inner>,
}

struct Inner {
    wish: Wish,
    session: Option<Session>,
    accepting: Option<AbortHandle>,
}

/// The connection that counts. Letting it go ends it.
struct Session {
    id: u64,
    to: mpsc::Sender<Outgoing>,
}

/// What the daemon last asked of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    StayGated,
    Open,
    Stop { signal: i32, timeout_ms: u64 },
}

impl Links {
    /// `dir` holds one folder per instance (`i45/`).
    pub fn new(dir: PathBuf, logs: Arc<LogStore>, config: &LogsConfig) -> Arc<Self> {
        Arc::new(Self::with_check(dir, logs, config, listener::is_init))
    }

    fn with_check(dir: PathBuf, logs: Arc<LogStore>, config: &LogsConfig, is_init: fn(i32) -> bool) -> Self {
        Self {
            dir,
            logs,
            lines_per_second: config.lines_per_second,
            burst: config.burst,
            is_init,
            instances: Mutex::default(),
            gone: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES),
            sessions: AtomicU64::new(1),
        }
    }

    /// Makes the instance's folder and its socket, replacing one that an earlier daemon left. Listening already is fine.
    /// `source` is what its log lines are tagged with. To be called inside the runtime. Errors: [`LinkError::Gone`] after [`Links::forget`], as
    /// numbers of instances are never used again.
    pub fn listen(self: &Arc<Self>, instance: InstanceId, source: Source) -> Result<(), LinkError> {
        let source = Source { instance: Some(instance), ..source };
        let path = self.socket(instance);
        let mut instances = self.instances();
        if self.gone.lock().expect("no code panics while it holds this lock").contains(&instance) {
            return Err(LinkError::Gone(instance));
        }
        if instances.get(&instance).is_some_and(|entry| entry.source == source) && path.exists() {
            return Ok(());
        }
        let entry = match instances.get(&instance) {
            Some(entry) if entry.source == source => entry.clone(),
            Some(_) | None => Arc::new(Entry::new(instance, source)),
        };
        let listener = listener::bind(&path).map_err(|source| LinkError::Socket { act: "making init's socket", path, source })?;
        let accepting = tokio::spawn(listener::accept(listener, self.clone(), entry.clone())).abort_handle();
        if let Some(before) = entry.inner().accepting.replace(accepting) {
            before.abort();
        }
        if let Some(other) = instances.insert(instance, entry.clone())
            && !Arc::ptr_eq(&other, &entry)
        {
            other.close();
        }
        Ok(())
    }

    /// Lets the app start: now, or when its init connects.
    pub fn open(&self, instance: InstanceId) -> Result<(), LinkError> {
        self.entry(instance)?.wish(Wish::Open);
        Ok(())
    }

    /// Takes the wish to open back. An app that was started runs on.
    pub fn close_gate(&self, instance: InstanceId) -> Result<(), LinkError> {
        self.entry(instance)?.wish(Wish::StayGated);
        Ok(())
    }

    /// Asks the app to end: `signal` to its process group, SIGKILL after `timeout`; init then exits with the app's code. Gives false if no
    /// init is connected (it will be told when it connects): the caller then asks the engine.
    pub fn stop(&self, instance: InstanceId, signal: i32, timeout: Duration) -> Result<bool, LinkError> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        Ok(self.entry(instance)?.wish(Wish::Stop { signal, timeout_ms }))
    }

    /// Asks the init to start the app anew: `signal` to its process group, SIGKILL after `timeout`. `why` is what people read. Gives false if
    /// no init is connected that could: then the caller asks the engine.
    pub fn restart(&self, instance: InstanceId, signal: i32, timeout: Duration, why: &str) -> Result<bool, LinkError> {
        let entry = self.entry(instance)?;
        if entry.state.borrow().version < KNOWS_RESTART {
            return Ok(false);
        }
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let message = ToInit::Restart { signal, timeout_ms, why: why.to_owned() };
        let inner = entry.inner();
        Ok(inner.session.as_ref().is_some_and(|s| s.to.try_send(Outgoing::plain(message)).is_ok()))
    }

    /// The instance is gone: closes its socket, finishes its log segments. Its folder is the caller's.
    pub fn forget(&self, instance: InstanceId) {
        let entry = {
            let mut instances = self.instances();
            self.gone.lock().expect("no code panics while it holds this lock").insert(instance);
            instances.remove(&instance)
        };
        let Some(entry) = entry else { return };
        entry.close();
        let _ = std::fs::remove_file(self.socket(instance));
        if let Err(e) = self.logs.finish_others(&entry.source.app, instance, None) {
            tracing::warn!(%instance, error = %e, "the log segments of {instance} stay open until the next start");
        }
    }

    pub fn state(&self, instance: InstanceId) -> Option<InitState> {
        self.instances().get(&instance).map(|entry| entry.state.borrow().clone())
    }

    /// Waits until `wanted` says yes to the state, the present one first. Cancel-safe: yes, reads only.
    pub async fn wait(
        &self,
        instance: InstanceId,
        wanted: impl Fn(&InitState) -> bool,
        limit: Duration,
    ) -> Result<InitState, LinkError> {
        let mut state = self.entry(instance)?.state.subscribe();
        // In an own statement: its guard must be gone before the state is read again.
        let outcome = tokio::time::timeout(limit, state.wait_for(|s| wanted(s))).await.map(|found| found.map(|s| s.clone()));
        match outcome {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_)) => Err(LinkError::Unknown(instance)),
            Err(_) => {
                let last = Box::new(state.borrow().clone());
                Err(LinkError::TimedOut { instance, limit, last })
            }
        }
    }

    /// All changes of all instances from now on. Subscribe first, then look at [`state`](Self::state).
    pub fn subscribe(&self) -> broadcast::Receiver<(InstanceId, Change)> {
        self.changes.subscribe()
    }

    fn changed(&self, instance: InstanceId, change: Change) {
        // Without a subscriber nobody wants to know.
        let _ = self.changes.send((instance, change));
    }

    fn socket(&self, instance: InstanceId) -> PathBuf {
        self.dir.join(instance.to_string()).join("init.sock")
    }

    fn entry(&self, instance: InstanceId) -> Result<Arc<Entry>, LinkError> {
        self.instances().get(&instance).cloned().ok_or(LinkError::Unknown(instance))
    }

    fn next_session(&self) -> u64 {
        // Only has to be different each time.
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    fn instances(&self) -> MutexGuard<'_, HashMap<InstanceId, Arc<Entry>>> {
        // Every change under this lock is one insert or remove, so a panic elsewhere leaves no half of it.
        self.instances.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Entry {
    fn new(instance: InstanceId, source: Source) -> Self {
        let state = InitState { connected: false, phase: Phase::Gated, restarts: 0, last_end: None, version: 0 };
        let inner = Mutex::new(Inner { wish: Wish::StayGated, session: None, accepting: None });
        Self { instance, source, state: watch::Sender::new(state), inner }
    }

    /// Remembers the wish and tells it if somebody is there; gives whether that was so.
    fn wish(&self, wish: Wish) -> bool {
        let mut inner = self.inner();
        let is_new = std::mem::replace(&mut inner.wish, wish) != wish;
        let Some(message) = wish.message() else { return inner.session.is_some() };
        // Asked for again and again, an end is told once: to many programs a second signal means that they must leave their work and go.
        let knows = !is_new || self.state.borrow().phase == Phase::Stopping;
        if knows && inner.session.is_some() && matches!(wish, Wish::Stop { .. }) {
            return true;
        }
        let told = inner.session.as_ref().is_some_and(|s| s.to.try_send(Outgoing::plain(message)).is_ok());
        if !told {
            // A queue that is full belongs to an init that reads nothing; it is told again when it comes back.
            inner.session = None;
        }
        told
    }

    /// The newest greeting wins: the connection before it ends. What is to be said first goes into the queue before anybody else's wish.
    fn begin(&self, session: u64, to: mpsc::Sender<Outgoing>, hello: &Hello, first: Vec<Outgoing>) {
        let mut inner = self.inner();
        let wish = match inner.wish {
            Wish::Open if hello.phase != Phase::Gated => None,
            Wish::Stop { .. } if hello.phase == Phase::Stopping => None,
            wish => wish.message(),
        };
        for message in first.into_iter().chain(wish.map(Outgoing::plain)) {
            // The queue is new and longer than this.
            let _ = to.try_send(message);
        }
        inner.session = Some(Session { id: session, to });
        self.state.send_modify(|state| {
            state.connected = true;
            state.phase = hello.phase;
            state.restarts = hello.restarts;
            state.last_end = hello.last_end.clone();
            state.version = hello.version;
        });
    }

    /// The connection is over; gives whether it was the one that counts.
    fn end(&self, session: u64) -> bool {
        let mut inner = self.inner();
        // Also when the entry let go of it (a full queue): then nobody took its place.
        let counts = inner.session.as_ref().is_none_or(|s| s.id == session);
        if counts {
            inner.session = None;
            self.state.send_modify(|state| state.connected = false);
        }
        counts
    }

    fn is_current(&self, session: u64) -> bool {
        self.inner().session.as_ref().is_some_and(|s| s.id == session)
    }

    fn close(&self) {
        let mut inner = self.inner();
        inner.session = None;
        if let Some(accepting) = inner.accepting.take() {
            accepting.abort();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every change under this lock is an assignment, so a panic elsewhere leaves no half of it.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Wish {
    fn message(self) -> Option<ToInit> {
        match self {
            Wish::StayGated => None,
            Wish::Open => Some(ToInit::Open),
            Wish::Stop { signal, timeout_ms } => Some(ToInit::Stop { signal, timeout_ms }),
        }
    }
}

#[cfg(test)]
mod tests;
