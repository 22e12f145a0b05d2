//! The one publisher: reads what the store says, and takes the proxies from one snapshot to the next.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

use crate::base::clock::UnixMillis;
use crate::base::crash::{self, Point};
use crate::base::filesystem;
use crate::certs::sieve::Sieve;
use crate::config::HostConfig;
use crate::manifest::HttpSpec;
use crate::model::certificate::Certificates;
use crate::model::deploy::Deploy;
use crate::model::disk::STORE_FLOOR;
use crate::model::release::{Config, Release};
use crate::names::InstanceId;
use crate::routes::proxies::{Known, Proxies, ProxyTrouble};
use crate::routes::table::{self, AppView, InstanceView, Pending, View};
use crate::store::{Commit, Store, StoreError};
use crate::wire::proxy::{self as wire, Front};

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Proxy(#[from] ProxyTrouble),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The number of a snapshot is noted before it is used. The proxies serve on with what they have.
    #[error("the disk is full: the routes stay as they are until there is room")]
    NoRoom,
}

pub struct Publisher {
    store: Store,
    config: Arc<HostConfig>,
    pub proxies: Arc<Proxies>,
    /// Shown where no certificate fits.
    fallback: Option<wire::Certificate>,
    /// Serialises prepare → commit → activate over all apps; holds the last number that was tried, so that none is used twice.
    turn: Mutex<u64>,
    /// Instances that are being restarted: no request goes to them. Forgotten with the daemon: then they serve as they are.
    suspended: std::sync::Mutex<BTreeSet<InstanceId>>,
    /// A publish has failed: the next look tries again.
    dirty: AtomicBool,
    ends: std::sync::Mutex<Ends>,
    sieve: Sieve,
    /// The certificates as they were read last. Each change of them is published, and so read.
    certificates: Mutex<Option<Arc<Certificates>>>,
}

impl Publisher {
    pub fn new(store: Store, config: Arc<HostConfig>, proxies: Arc<Proxies>, fallback: Option<wire::Certificate>) -> Arc<Self> {
        Arc::new(Self {
            store,
            config,
            proxies,
            fallback,
            turn: Mutex::new(0),
            suspended: std::sync::Mutex::default(),
            dirty: AtomicBool::new(false),
            ends: std::sync::Mutex::default(),
            sieve: Sieve::default(),
            certificates: Mutex::default(),
        })
    }

    /// The certificates of the store: what clients are shown, and what can't be shown to anybody. Cancel-safe: yes, reads only.
    pub async fn certificates(&self) -> Result<Arc<Certificates>, StoreError> {
        // Held over the reading: an older one must not take the place of a newer one.
        let mut last = self.certificates.lock().await;
        let read = Arc::new(self.sieve.sift(self.store.certificates().await?));
        *last = Some(Arc::clone(&read));
        Ok(read)
    }

    /// The same as they were read last, without opening a key: for who looks every few seconds.
    pub async fn known_certificates(&self) -> Result<Arc<Certificates>, StoreError> {
        let known = self.certificates.lock().await.clone();
        match known {
            Some(known) => Ok(known),
            None => self.certificates().await,
        }
    }

    /// Takes the proxies to what the store says now. With no proxy connected the snapshot waits for one.
    /// Cancel-safe: no; a half-done publish is repeated by the next one.
    pub async fn publish(&self) -> Result<(), PublishError> {
        let mut turn = self.turn.lock().await;
        self.publish_in(&mut turn).await
    }

    /// The same, unless somebody else has done it meanwhile. To be called now and then.
    pub async fn publish_if_dirty(&self) -> Result<(), PublishError> {
        let mut turn = self.turn.lock().await;
        if self.is_dirty() { self.publish_in(&mut turn).await } else { Ok(()) }
    }

    /// Whether it has failed is noted before the turn is given back: the good end of one must not hide that the next has failed.
    async fn publish_in(&self, turn: &mut u64) -> Result<(), PublishError> {
        // Relaxed: a hint for the next look, nothing is published by it. From the beginning: one that is dropped is not done.
        self.dirty.store(true, Ordering::Relaxed);
        let published = self.publish_now(turn).await;
        self.dirty.store(published.is_err(), Ordering::Relaxed);
        published
    }

    /// No new requests for this instance from the next publish on; its old ones drain.
    pub fn suspend(&self, instance: InstanceId) {
        self.suspended().insert(instance);
    }

    /// Requests again, from the next publish on.
    pub fn resume(&self, instance: InstanceId) {
        self.suspended().remove(&instance);
    }

    pub fn is_suspended(&self, instance: InstanceId) -> bool {
        self.suspended().contains(&instance)
    }

    fn suspended(&self) -> std::sync::MutexGuard<'_, BTreeSet<InstanceId>> {
        self.suspended.lock().expect("no code panics while it holds the suspended instances")
    }

    /// Has a publish failed since the last good one, or has a certificate ended (or come back, as the clock was put right)? Then the routes
    /// are to be made anew.
    pub fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Relaxed) || self.ends().are_others_at(UnixMillis::now())
    }

    fn ends(&self) -> std::sync::MutexGuard<'_, Ends> {
        self.ends.lock().expect("no code panics while it holds the ends of certificates")
    }

    async fn publish_now(&self, turn: &mut u64) -> Result<(), PublishError> {
        if !filesystem::has(&self.config.state_dir, STORE_FLOOR) {
            return Err(PublishError::NoRoom);
        }
        let version = self.next(turn).await?;
        let (view, ends) = self.view().await?;
        let snapshot = Arc::new(table::snapshot(&view, version));
        self.proxies.prepare(&snapshot, false).await?;
        self.store.snapshot_set(version).await?;
        self.proxies.activate(snapshot).await?;
        *self.ends() = ends;
        Ok(())
    }

    /// The commit point of a deploy: the proxies validate the routes as they will be, the store commits, the proxies activate.
    /// An error before the store's commit leaves everything as it was; after it there is none, as a silent proxy gets the snapshot later.
    pub async fn commit(
        &self,
        deploy: &Deploy,
        release: &Release,
        live: &[InstanceId],
        retire: &[InstanceId],
        config: Option<&Config>,
    ) -> Result<(), PublishError> {
        let mut turn = self.turn.lock().await;
        let version = self.next(&mut turn).await?;
        let (mut view, ends) = self.view().await?;
        let pending = Pending {
            app_id: deploy.app_id,
            live: live.to_vec(),
            retire: retire.to_vec(),
            domains: release.manifest.domains.clone(),
            http: release.manifest.http.clone(),
        };
        table::apply(&mut view, &pending);
        let snapshot = Arc::new(table::snapshot(&view, version));
        self.proxies.prepare(&snapshot, true).await?;
        crash::point(Point::SnapshotPrepared);
        crash::point(Point::BeforeMoveLive);
        self.store.commit_live(deploy, &Commit { release, live, retire, config, snapshot: version }).await?;
        crash::point(Point::AfterMoveLive);
        *self.ends() = ends;
        if let Err(silent) = self.proxies.activate(snapshot).await {
            tracing::warn!(app = %deploy.app, deploy = %deploy.id, "{silent}; it gets the routes when it answers again");
        }
        crash::point(Point::SnapshotActivated);
        Ok(())
    }

    /// Lets the proxies tell of what is in the store. They may, as soon as they connect.
    pub async fn know(&self) -> Result<(), StoreError> {
        let apps = self.store.apps().await?.into_iter().filter(|app| !app.destroying).map(|app| app.name).collect();
        let instances = self.store.instances().await?.into_iter().map(|row| row.id).collect();
        self.proxies.know(Known { apps, instances });
        Ok(())
    }

    async fn next(&self, last: &mut u64) -> Result<u64, StoreError> {
        *last = self.store.snapshot_number().await?.max(*last) + 1;
        Ok(*last)
    }

    /// The view now, and the ends of the certificates that it was made by. These are noted only once the proxies have the view: what a
    /// failed attempt saw must not count as told.
    async fn view(&self) -> Result<(View, Ends), StoreError> {
        let mut apps = Vec::new();
        let instances = self.store.instances().await?;
        let mut maintenances = self.store.maintenances().await?;
        for app in self.store.apps().await?.into_iter().filter(|a| !a.destroying) {
            let http = match app.live {
                Some(live) => self.store.release(app.id, live).await?.manifest.http,
                None => HttpSpec::default(),
            };
            let mut views = Vec::new();
            for row in instances.iter().filter(|i| i.app_id == app.id) {
                let release = self.store.release(app.id, row.release).await?;
                let deploy = &release.manifest.deploy;
                views.push(InstanceView {
                    row: row.clone(),
                    commit: release.commit.clone(),
                    drain: deploy.drain,
                    drain_streams: deploy.drain_streams,
                    suspended: self.is_suspended(row.id),
                });
            }
            apps.push(AppView {
                app_id: app.id,
                name: app.name,
                held: app.held_by.is_some(),
                maintenance: maintenances.remove(&app.id),
                http,
                instances: views,
            });
        }
        // Before they have it: they tell of what they are given now, and no more of an app that goes.
        self.proxies.know(Known {
            apps: apps.iter().map(|app| app.name.clone()).collect(),
            instances: instances.iter().map(|row| row.id).collect(),
        });
        let mut domains = self.store.domains().await?;
        domains.retain(|d| apps.iter().any(|a| a.name == d.app));
        // A spoilt one is left out, and everything else published: `watch` and `paas doctor` tell of it.
        let certificates = &self.certificates().await?.good;
        let now = UnixMillis::now();
        let valid = || certificates.iter().filter(|c| !c.has_ended(now));
        let ends = Ends::around(now, certificates.iter().map(|c| c.facts.not_after));
        let view = View {
            apps,
            domains,
            base: self.config.domain.clone(),
            commit_header: self.config.proxy.commit_header,
            certified: valid().flat_map(|c| c.hosts.iter().cloned()).collect(),
            front: self.front(table::shown(certificates.clone(), now)),
        };
        Ok((view, ends))
    }

    /// What holds for every client: certificates, trusted proxies.
    fn front(&self, certs: Vec<wire::Certificate>) -> Front {
        let proxy = &self.config.proxy;
        Front { certs, fallback: self.fallback.clone(), trusted: proxy.trusted_proxies.clone(), limits: (&proxy.limits).into() }
    }
}

/// The ends of certificates around the moment for which routes were made. The clock by which that was may have been wrong, either way.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    /// The first one to come.
    next: Option<UnixMillis>,
    /// The last one that has been.
    last: Option<UnixMillis>,
}

impl Ends {
    fn around(now: UnixMillis, all: impl Iterator<Item = UnixMillis> + Clone) -> Self {
        Self { next: all.clone().filter(|end| *end > now).min(), last: all.filter(|end| *end <= now).max() }
    }

    /// Whether other certificates have ended at `now` than those that had.
    fn are_others_at(self, now: UnixMillis) -> bool {
        self.next.is_some_and(|next| next <= now) || self.last.is_some_and(|last| last > now)
    }
}

#[cfg(test)]
mod tests;
