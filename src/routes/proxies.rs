//! The proxies that are connected: what each has prepared, activated and counted. Several live at once during an upgrade.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::names::{AppName, InstanceId};
use crate::routes::access_log::AccessLog;
use crate::routes::metrics::Meters;
use crate::wire::frame;
use crate::wire::proxy::{FromProxy, Snapshot, TargetCounts, VERSION};

mod connected;
mod counts;
mod hearing;
mod outbox;

use connected::Connected;
use counts::Counts;

/// A proxy that sends more than this in one message is not ours.
const MESSAGE_LIMIT: usize = 16 << 20;
/// And its first one tells no more than who it is, at once.
const HELLO_SIZE: usize = 64 << 10;
const HELLO_LIMIT: Duration = Duration::from_secs(5);

/// How long a proxy may take to prepare or to activate routes.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Proxies try every 200 ms at least: after this long a daemon that was started knows all of them.
const ALL_CONNECTED: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ProxyTrouble {
    #[error("the proxy is not connected (is `paas proxy` running?)")]
    NoProxy,
    #[error("the proxy refused the new routes: {0}")]
    Rejected(String),
    #[error("the proxy did not answer in {} s ({who})", ANSWER_LIMIT.as_secs())]
    Silent { who: String },
}

#[derive(Default)]
struct Inner {
    connected: BTreeMap<u64, Connected>,
    next_id: u64,
    /// What a proxy that connects now is told.
    current: Option<Arc<Snapshot>>,
    /// The targets that drain by `current`, with the snapshot from which on each has done so.
    draining: BTreeMap<InstanceId, u64>,
    known: Known,
    counts: Counts,
}

/// What there is. A proxy is believed nothing of other apps and instances: it may be late, and tell of one that is gone, or be another's.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub apps: BTreeSet<AppName>,
    pub instances: BTreeSet<InstanceId>,
}

/// All proxies. Cheap to clone through Arc; no lock is held across an await.
pub struct Proxies {
    inner: Mutex<Inner>,
    /// Bumped at every change, so that waiters look again.
    changed: watch::Sender<u64>,
    log: AccessLog,
    meters: Mutex<Meters>,
    begun: Instant,
}

impl Proxies {
    pub fn new(log: AccessLog) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            changed: watch::channel(0).0,
            log,
            meters: Mutex::default(),
            begun: Instant::now(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics while it holds the lock of the proxies")
    }

    /// What the proxies measured. No other lock is taken while it is held.
    pub fn meters(&self) -> MutexGuard<'_, Meters> {
        self.meters.lock().expect("no code panics while it holds the lock of the meters")
    }

    /// The clock of the meters: seconds since this daemon began.
    pub fn seconds(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }

    fn bump(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// From now on nothing is taken in of other apps and instances than these.
    pub fn know(&self, known: Known) {
        self.log.keep_to(&known.apps);
        let mut inner = self.lock();
        inner.counts.keep_to(&known.instances);
        inner.known = known;
    }

    /// Talks to one proxy until it goes. Cancel-safe: no; ends by itself when the stream does.
    pub async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite) {
        let (mut from, mut to) = tokio::io::split(Box::pin(stream));
        let mut hearing = hearing::Hearing::default();
        let hello = tokio::time::timeout(HELLO_LIMIT, hearing.next(&mut from, HELLO_SIZE)).await;
        let Ok(Ok(Some(FromProxy::Hello { version: VERSION, generation, listening, listening_tls, pid, .. }))) = hello else {
            tracing::warn!("a proxy did not say hello in a version we know; it is closed");
            return;
        };
        tracing::info!(pid, generation, "proxy connected");
        let new = Connected::new(pid, generation.clone(), listening, listening_tls);
        let outbox = Arc::clone(&new.outbox);
        let id = self.enter(new);
        let sending = async { while frame::write(&mut to, &outbox.next().await).await.is_ok() {} };
        let receiving = async {
            while let Ok(Some(message)) = hearing.next(&mut from, MESSAGE_LIMIT).await {
                self.take(id, &generation, message);
            }
        };
        // Either side ending means that the proxy is gone; it connects again by itself.
        tokio::select! { () = sending => {}, () = receiving => {} }
        self.lock().connected.remove(&id);
        self.bump();
        tracing::warn!(pid, generation, "proxy disconnected");
    }

    fn enter(&self, mut new: Connected) -> u64 {
        let mut inner = self.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        if let Some(current) = &inner.current {
            new.ask_to_prepare(current);
            new.outbox.activate(current.version);
            new.note(Some(current.version));
        }
        inner.connected.insert(id, new);
        drop(inner);
        self.bump();
        id
    }

    fn take(&self, id: u64, generation: &str, message: FromProxy) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let Some(proxy) = inner.connected.get_mut(&id) else { return };
        match message {
            FromProxy::Hello { .. } => {}
            FromProxy::Prepared { version } => proxy.prepared = version,
            FromProxy::Rejected { version, why } => {
                tracing::warn!(generation, version, why, "a proxy refused the routes; it serves by those that it has");
                proxy.rejected = Some((version, why));
            }
            FromProxy::Activated { version } => proxy.activated = version,
            // Of the routes that it has said to act by, as what it says comes in order. It says so again after each that names the target.
            FromProxy::DrainEnded { target, .. } if inner.draining.contains_key(&target) => {
                proxy.drained.insert(target, proxy.activated);
            }
            FromProxy::DrainEnded { .. } => {}
            FromProxy::Counts(mut counts) => {
                counts.retain(|c| inner.known.instances.contains(&c.target));
                let connected = &inner.connected;
                inner.counts.take(generation, counts.into_iter(), |process| is_live(connected, process));
            }
            FromProxy::Drops(counts) => {
                tracing::warn!(generation, ?counts, "the proxy turned clients away");
                self.meters().take_turned_away(generation, &counts);
            }
            FromProxy::Metrics(mut metrics) => {
                let known = &inner.known;
                metrics.targets.retain(|of| known.instances.contains(&of.target) && known.apps.contains(&of.app));
                metrics.apps.retain(|of| known.apps.contains(&of.app));
                self.meters().take(generation, metrics, self.seconds());
            }
            FromProxy::Access { lines, lost } => self.log.write(&lines, lost, generation),
        }
        let current = inner.current.as_ref().map(|current| current.version);
        if let Some(proxy) = inner.connected.get_mut(&id) {
            proxy.note(current);
        }
        self.bump();
    }

    /// Waits until `done` holds for what is connected. Cancel-safe: yes, reads only.
    async fn wait<T>(&self, limit: Duration, mut done: impl FnMut(&Inner) -> Option<T>) -> Option<T> {
        let mut changes = self.changed.subscribe();
        let waiting = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = done(&self.lock()) {
                    return found;
                }
                // The sender lives in `self`, so this cannot fail.
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(limit, waiting).await.ok()
    }

    /// Lets every connected proxy validate `snapshot`. With `required`, at least one has to be there.
    pub async fn prepare(&self, snapshot: &Arc<Snapshot>, required: bool) -> Result<(), ProxyTrouble> {
        if required {
            let connected = self.wait(ANSWER_LIMIT, |inner| (!inner.connected.is_empty()).then_some(()));
            connected.await.ok_or(ProxyTrouble::NoProxy)?;
        }
        let mut asked = BTreeSet::new();
        {
            let mut inner = self.lock();
            let current = inner.current.as_ref().map(|current| current.version);
            for (id, proxy) in &mut inner.connected {
                proxy.ask_to_prepare(snapshot);
                proxy.note(current);
                asked.insert(*id);
            }
        }
        let version = snapshot.version;
        let answered = self.wait(ANSWER_LIMIT, |inner| {
            let refused = inner.connected.values().find_map(|p| p.rejected.as_ref().filter(|(v, _)| *v == version));
            if let Some((_, why)) = refused {
                return Some(Err(ProxyTrouble::Rejected(why.clone())));
            }
            // One that came after the question gets the snapshot with its activation.
            let mut open = inner.connected.iter().filter(|(id, _)| asked.contains(id));
            open.all(|(_, p)| p.prepared == version).then_some(Ok(()))
        });
        answered.await.unwrap_or_else(|| Err(self.silent(|p| p.prepared == version)))
    }

    /// Makes `snapshot` the current one and waits until every connected proxy acts by it. It is current even when one is silent:
    /// that one gets it when it answers again.
    pub async fn activate(&self, snapshot: Arc<Snapshot>) -> Result<(), ProxyTrouble> {
        let version = snapshot.version;
        {
            let mut inner = self.lock();
            let inner = &mut *inner;
            let drains = snapshot.targets.iter().filter(|t| t.drain.is_some());
            let since = |target: &InstanceId| inner.draining.get(target).copied().unwrap_or(version);
            inner.draining = drains.map(|t| (t.id, since(&t.id))).collect();
            for proxy in inner.connected.values_mut() {
                // A proxy that came after prepare was sent has not seen this one.
                if proxy.prepared != version {
                    proxy.ask_to_prepare(&snapshot);
                }
                proxy.outbox.activate(version);
                proxy.drained.retain(|id, _| inner.draining.contains_key(id));
                proxy.note(Some(version));
            }
            inner.current = Some(snapshot);
        }
        let all = self.wait(ANSWER_LIMIT, |inner| inner.connected.values().all(|p| p.activated >= version).then_some(()));
        all.await.ok_or_else(|| self.silent(|p| p.activated >= version))
    }

    /// Names those that have not answered.
    fn silent(&self, has_answered: impl Fn(&Connected) -> bool) -> ProxyTrouble {
        let inner = self.lock();
        let silent = inner.connected.values().filter(|p| !has_answered(p)).map(|p| format!("process id {}", p.pid));
        ProxyTrouble::Silent { who: silent.collect::<Vec<_>>().join(", ") }
    }

    /// What is wrong with a proxy that is connected and has been behind the routes for `limit`.
    pub fn complaint(&self, limit: Duration) -> Option<String> {
        self.lock().connected.values().find_map(|p| p.complaint(limit))
    }

    /// Waits until every connected proxy (and at least one) has said that nothing of `target` is in flight. False: not within `limit`.
    pub async fn drained(&self, target: InstanceId, limit: Duration) -> bool {
        // Of two proxies the one that comes later may be the one that has something in flight.
        tokio::time::sleep_until((self.begun + ALL_CONNECTED).into()).await;
        let all = |inner: &Inner| {
            let (proxies, since) = (&inner.connected, inner.draining.get(&target)?);
            // The end of an earlier drain may have been said late: in between the target served.
            let is_over = |p: &Connected| p.drained.get(&target).is_some_and(|by| by >= since);
            (!proxies.is_empty() && proxies.values().all(is_over)).then_some(())
        };
        self.wait(limit, all).await.is_some()
    }

    /// The counts of one target over all proxy processes.
    pub fn counts(&self, target: InstanceId) -> TargetCounts {
        let inner = self.lock();
        inner.counts.sum(target, |process| is_live(&inner.connected, process))
    }

    pub fn forget(&self, target: InstanceId) {
        self.meters().forget(target, self.seconds());
        let mut inner = self.lock();
        inner.known.instances.remove(&target);
        inner.counts.forget(target);
    }

    /// The app is gone: its access log is closed, and nothing is written to it any more.
    pub fn forget_app(&self, app: &AppName) {
        self.lock().known.apps.remove(app);
        self.meters().forget_app(app);
        self.log.forget(app);
    }

    /// Where the connected proxies listen.
    pub fn listening(&self) -> Vec<SocketAddr> {
        let all: BTreeSet<SocketAddr> = self.lock().connected.values().flat_map(|p| p.listening.iter().copied()).collect();
        all.into_iter().collect()
    }

    /// Where they are reached by TLS.
    pub fn listening_tls(&self) -> Vec<SocketAddr> {
        let all: BTreeSet<SocketAddr> = self.lock().connected.values().flat_map(|p| p.listening_tls.iter().copied()).collect();
        all.into_iter().collect()
    }

    /// What a proxy that connects now is told.
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        self.lock().current.clone()
    }

    /// The number of the snapshot that each connected proxy acts by.
    pub fn versions(&self) -> Vec<u64> {
        self.lock().connected.values().map(|p| p.activated).collect()
    }

    pub fn connected(&self) -> usize {
        self.lock().connected.len()
    }
}

fn is_live(connected: &BTreeMap<u64, Connected>, process: &str) -> bool {
    connected.values().any(|p| p.generation == process)
}

#[cfg(test)]
mod tests;
