//! The proxies that are connected: what each has prepared, activated and counted. Several live at once during an upgrade.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};

use crate::names::{AppName, InstanceId};
use crate::routes::access_log::AccessLog;
use crate::routes::metrics::Meters;
use crate::wire::frame;
use crate::wire::proxy::{FromProxy, Snapshot, TargetCounts, ToProxy, VERSION};

mod hearing;

/// A proxy that sends more than this in one message is not ours.
const MESSAGE_LIMIT: usize = 16 << 20;

/// Proxies try every 200 ms at least: after this long a daemon that was started knows all of them.
const ALL_CONNECTED: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum ProxyTrouble {
    #[error("the proxy is not connected (is `paas proxy` running?)")]
    NoProxy,
    #[error("the proxy refused the new routes: {0}")]
    Rejected(String),
    #[error("the proxy did not answer in {} s", .0.as_secs())]
    Silent(Duration),
}

/// One connected proxy process.
struct Connected {
    to: mpsc::UnboundedSender<ToProxy>,
    generation: String,
    prepared: u64,
    rejected: Option<(u64, String)>,
    activated: u64,
    /// The targets at which nothing is in flight any more, with the snapshot that it acted by when it said so.
    drained: BTreeMap<InstanceId, u64>,
    listening: Vec<SocketAddr>,
    listening_tls: Vec<SocketAddr>,
}

#[derive(Default)]
struct Inner {
    connected: BTreeMap<u64, Connected>,
    next_id: u64,
    /// What a proxy that connects now is told.
    current: Option<Arc<Snapshot>>,
    /// The targets that drain by `current`, with the snapshot from which on each has done so.
    draining: BTreeMap<InstanceId, u64>,
    /// Cumulative counts by proxy process; those of a dead one stay until the target is forgotten.
    counts: BTreeMap<String, BTreeMap<InstanceId, TargetCounts>>,
    known: Known,
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
        self.lock().known = known;
    }

    /// Talks to one proxy until it goes. Cancel-safe: no; ends by itself when the stream does.
    pub async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite) {
        let (mut from, mut to) = tokio::io::split(Box::pin(stream));
        let mut hearing = hearing::Hearing::default();
        let hello = hearing.next(&mut from).await;
        let Ok(Some(FromProxy::Hello { version: VERSION, generation, listening, listening_tls, pid, .. })) = hello else {
            tracing::warn!("a proxy did not say hello in a version we know; it is closed");
            return;
        };
        tracing::info!(pid, generation, "proxy connected");
        let (sender, mut outbox) = mpsc::unbounded_channel();
        let id = self.enter(sender, generation.clone(), (listening, listening_tls));
        let sending = async {
            while let Some(message) = outbox.recv().await {
                if frame::write(&mut to, &message).await.is_err() {
                    break;
                }
            }
        };
        let receiving = async {
            while let Ok(Some(message)) = hearing.next(&mut from).await {
                self.take(id, &generation, message);
            }
        };
        // Either side ending means that the proxy is gone; it connects again by itself.
        tokio::select! { () = sending => {}, () = receiving => {} }
        self.lock().connected.remove(&id);
        self.bump();
        tracing::warn!(pid, generation, "proxy disconnected");
    }

    fn enter(&self, to: mpsc::UnboundedSender<ToProxy>, generation: String, at: (Vec<SocketAddr>, Vec<SocketAddr>)) -> u64 {
        let mut inner = self.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        if let Some(current) = &inner.current {
            send(&to, ToProxy::Prepare(Snapshot::clone(current)));
            send(&to, ToProxy::Activate { version: current.version });
        }
        let drained = BTreeMap::new();
        let (listening, listening_tls) = at;
        let new = Connected { to, generation, prepared: 0, rejected: None, activated: 0, drained, listening, listening_tls };
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
            FromProxy::Counts(counts) => {
                let of = inner.counts.entry(generation.to_owned()).or_default();
                of.extend(counts.into_iter().map(|c| (c.target, c)));
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
        const LIMIT: Duration = Duration::from_secs(10);
        if required {
            self.wait(LIMIT, |inner| (!inner.connected.is_empty()).then_some(())).await.ok_or(ProxyTrouble::NoProxy)?;
        }
        let mut asked = BTreeSet::new();
        for (id, proxy) in &mut self.lock().connected {
            proxy.rejected = None;
            send(&proxy.to, ToProxy::Prepare(Snapshot::clone(snapshot)));
            asked.insert(*id);
        }
        let version = snapshot.version;
        let answered = self.wait(LIMIT, |inner| {
            let refused = inner.connected.values().find_map(|p| p.rejected.as_ref().filter(|(v, _)| *v == version));
            if let Some((_, why)) = refused {
                return Some(Err(ProxyTrouble::Rejected(why.clone())));
            }
            // One that came after the question gets the snapshot with its activation.
            let mut open = inner.connected.iter().filter(|(id, _)| asked.contains(id));
            open.all(|(_, p)| p.prepared == version).then_some(Ok(()))
        });
        answered.await.unwrap_or(Err(ProxyTrouble::Silent(LIMIT)))
    }

    /// Makes `snapshot` the current one and waits until every connected proxy acts by it. It is current even when one is silent:
    /// that one gets it when it connects again.
    pub async fn activate(&self, snapshot: Arc<Snapshot>) -> Result<(), ProxyTrouble> {
        const LIMIT: Duration = Duration::from_secs(10);
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
                    send(&proxy.to, ToProxy::Prepare(Snapshot::clone(&snapshot)));
                }
                send(&proxy.to, ToProxy::Activate { version });
                proxy.drained.retain(|id, _| inner.draining.contains_key(id));
            }
            inner.current = Some(snapshot);
        }
        let all = self.wait(LIMIT, |inner| inner.connected.values().all(|p| p.activated >= version).then_some(()));
        all.await.ok_or(ProxyTrouble::Silent(LIMIT))
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
        sum(&self.lock(), target)
    }

    pub fn forget(&self, target: InstanceId) {
        self.meters().forget(target, self.seconds());
        let mut inner = self.lock();
        let live: BTreeSet<String> = inner.connected.values().map(|p| p.generation.clone()).collect();
        for counts in inner.counts.values_mut() {
            counts.remove(&target);
        }
        inner.counts.retain(|generation, counts| live.contains(generation) || !counts.is_empty());
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

fn send(to: &mpsc::UnboundedSender<ToProxy>, message: ToProxy) {
    // A closed channel means that the proxy is going; its task removes it.
    let _ = to.send(message);
}

fn sum(inner: &Inner, target: InstanceId) -> TargetCounts {
    let live: BTreeSet<&String> = inner.connected.values().map(|p| &p.generation).collect();
    let mut total = TargetCounts::zero(target);
    for (generation, counts) in &inner.counts {
        if let Some(counts) = counts.get(&target) {
            total.add(counts);
            if !live.contains(generation) {
                // A process that is gone has nothing in flight any more.
                total.in_flight -= counts.in_flight;
                total.streams -= counts.streams;
            }
        }
    }
    total
}

#[cfg(test)]
mod tests;
