//! The handles that deploying needs, made once by the daemon.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, watch};

use crate::alerts::{About, Alerts};
use crate::base::clock::UnixMillis;
use crate::base::program;
use crate::builds::Builder;
use crate::config::HostConfig;
use crate::deploys::error::StepError;
use crate::deploys::feed::Feeds;
use crate::deploys::looks::Looks;
use crate::deploys::slots::BuildSlots;
use crate::deploys::uploads::Uploads;
use crate::disk::Disk;
use crate::docker::Docker;
use crate::git::keys::{ExportError, PublicKey};
use crate::git::{self, Repos};
use crate::instances::lifecycle::Instances;
use crate::instances::link::Links;
use crate::instances::probe::Checks;
use crate::instances::vitals::Vitals;
use crate::logs::LogStore;
use crate::model::app::App;
use crate::names::{DeployId, Hostname, InstanceId, KeyId};
use crate::routes::access_log::AccessLog;
use crate::routes::proxies::Proxies;
use crate::routes::publisher::Publisher;
use crate::routes::table;
use crate::store::{Store, StoreError};
use crate::wire::dialer::DialClient;
use crate::wire::proxy::{Certificate, TargetCounts};
use crate::workers::Crew;

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error("finding this binary")]
    Exe(#[source] std::io::Error),
}

pub struct World {
    pub config: Arc<HostConfig>,
    pub install: String,
    pub store: Store,
    pub docker: Docker,
    pub builder: Builder,
    pub disk: Disk,
    pub instances: Arc<Instances>,
    pub publisher: Arc<Publisher>,
    pub repos: Repos,
    pub logs: Arc<LogStore>,
    pub alerts: Arc<Alerts>,
    pub feeds: Feeds,
    pub crew: Crew,
    pub build_slots: Arc<BuildSlots>,
    pub uploads: Uploads,
    pub wakeups: Wakeups,
    pub cancels: Cancels,
    pub looks: Looks,
    /// Counts of targets when a deploy began to close them or to share with them, until they are gone.
    pub counts_before: Mutex<BTreeMap<InstanceId, TargetCounts>>,
    /// One addition to a deploy's counts at a time.
    pub counts_turn: tokio::sync::Mutex<()>,
    /// An admission, and the removal of a source that no deploy needs, one at a time: else what is admitted in between finds its source gone.
    pub sources_turn: tokio::sync::Mutex<()>,
    /// One export of the keys at a time, so that the last one written is the newest.
    pub keys_turn: tokio::sync::Mutex<()>,
    /// The last number given by `serial`.
    pub last_serial: AtomicU64,
    /// Every number that `serial` gives is at least this.
    pub first_serial: u64,
    /// Set when a start has put right what runs: no driver acts before.
    pub recovered: Latch,
}

/// What the daemon finds on its host, and a test makes up. All else in a world follows from it or starts empty.
pub struct Ground {
    pub config: Arc<HostConfig>,
    pub store: Store,
    /// The uuid of this installation.
    pub install: String,
    /// The name of this machine, for those who get alerts.
    pub host: String,
    /// The folder `bin/<sha256>/` whose binary new instances use.
    pub bin: PathBuf,
    /// Shown where no certificate fits.
    pub fallback: Option<Certificate>,
    pub first_serial: u64,
}

impl World {
    /// To be called inside the runtime.
    pub fn new(ground: Ground) -> io::Result<Arc<Self>> {
        let Ground { config, store, install, host, bin, fallback, first_serial } = ground;
        let docker = Docker::new(&config.docker.socket, &install);
        let logs = LogStore::open(config.logs_dir(), &config.logs);
        let proxies = Proxies::new(AccessLog::new(Arc::clone(&logs)));
        let instances = Arc::new(Instances {
            config: Arc::clone(&config),
            store: store.clone(),
            docker: docker.clone(),
            links: Links::new(config.instances_dir(), Arc::clone(&logs), &config.logs),
            dial: DialClient::new(config.dialer_socket()),
            install: install.clone(),
            bin,
            registered: Mutex::default(),
            leftovers: Mutex::default(),
            vitals: Vitals::default(),
            checks: Checks::default(),
        });
        Ok(Arc::new(Self {
            install: install.clone(),
            store: store.clone(),
            docker: docker.clone(),
            builder: Builder::new(docker.clone(), Arc::clone(&config), install.clone()),
            disk: Disk::new(Arc::clone(&config), docker, store.clone()),
            instances,
            alerts: Alerts::new(store.clone(), &config.alerts, About { host, install }),
            publisher: Publisher::new(store, Arc::clone(&config), proxies, fallback),
            repos: Repos::new(Arc::clone(&config)),
            logs,
            feeds: Feeds::open(config.state_dir.join("deploys"))?,
            crew: Crew::default(),
            build_slots: BuildSlots::new(config.build.concurrency),
            uploads: Uploads::default(),
            wakeups: Wakeups::default(),
            cancels: Cancels::default(),
            looks: Looks::default(),
            counts_before: Mutex::default(),
            counts_turn: tokio::sync::Mutex::default(),
            sources_turn: tokio::sync::Mutex::default(),
            keys_turn: tokio::sync::Mutex::default(),
            last_serial: AtomicU64::new(first_serial),
            first_serial,
            recovered: Latch::default(),
            config,
        }))
    }

    /// A number that no earlier call of this installation gave, as it starts from the clock: for names that must not meet.
    pub fn serial(&self) -> u64 {
        let now = u64::try_from(UnixMillis::now().0).unwrap_or(0);
        let next = |last: u64| Some(now.max(last + 1));
        // Relaxed: only the number itself must be unique.
        self.last_serial.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).map_or(now, |last| now.max(last + 1))
    }

    /// Whether `number` may be one that `serial` gave since this daemon started. One of an earlier daemon is lower, or higher if the clock was
    /// set back in between.
    pub fn gave(&self, number: u64) -> bool {
        // Relaxed: who sees something that bears a number asks after it was given.
        (self.first_serial..=self.last_serial.load(Ordering::Relaxed)).contains(&number)
    }

    /// Writes the file that sshd reads, from the keys in the store.
    pub async fn export_keys(&self) -> Result<(), KeysError> {
        let _turn = self.keys_turn.lock().await;
        let keys = self.store.keys().await?;
        let keys: Vec<(KeyId, PublicKey)> = keys.iter().map(|k| (k.id, PublicKey::known(&k.algorithm, &k.blob))).collect();
        let exe = program::own_path().map_err(KeysError::Exe)?;
        let lines = keys.iter().map(|(id, key)| (*id, key));
        Ok(git::keys::export(&self.config.authorized_keys(), &exe, &self.config.file, lines)?)
    }

    /// The host under which an app is asked for its health and shown to people: its first own domain, else `<app>.<host domain>`.
    pub fn own_host(&self, app: &App) -> Hostname {
        table::own_host(&app.name, self.config.domain.as_ref()).expect("an app name is a DNS label")
    }

    /// The URLs of an app. Ports other than 80 are those of the connected proxy.
    pub async fn urls(&self, app: &App) -> Vec<String> {
        let port = self.publisher.proxies.listening().first().map_or(80, std::net::SocketAddr::port);
        let suffix = if port == 80 { String::new() } else { format!(":{port}") };
        let domains = self.store.domains().await.unwrap_or_default();
        let added = domains.into_iter().filter(|d| d.app == app.name && d.redirect_to.is_none()).map(|d| d.host);
        added.chain([self.own_host(app)]).map(|host| format!("http://{host}{suffix}")).collect()
    }
}

/// Something that comes true once.
#[derive(Default)]
pub struct Latch(watch::Sender<bool>);

impl Latch {
    pub fn set(&self) {
        self.0.send_replace(true);
    }

    /// Cancel-safe: yes.
    pub async fn wait(&self) {
        // The sender lives in `self`, so this ends only when it is set.
        let _ = self.0.subscribe().wait_for(|set| *set).await;
    }
}

/// Wakes the driver of an app. A wake-up that comes before the wait is not lost (`Notify` keeps one permit).
#[derive(Default)]
pub struct Wakeups {
    by_app: Mutex<BTreeMap<i64, Arc<Notify>>>,
}

impl Wakeups {
    pub fn of(&self, app_id: i64) -> Arc<Notify> {
        self.by_app.lock().expect("no code panics while it holds this lock").entry(app_id).or_default().clone()
    }

    pub fn wake(&self, app_id: i64) {
        self.of(app_id).notify_one();
    }
}

/// Tells a running step that its deploy is to end. The row's `cancel_asked` is what counts after a restart.
#[derive(Default)]
pub struct Cancels {
    by_deploy: Mutex<BTreeMap<DeployId, watch::Sender<bool>>>,
}

impl Cancels {
    pub fn watch(&self, deploy: DeployId) -> watch::Receiver<bool> {
        self.by_deploy.lock().expect("no code panics while it holds this lock").entry(deploy).or_default().subscribe()
    }

    pub fn cancel(&self, deploy: DeployId) {
        self.by_deploy.lock().expect("no code panics while it holds this lock").entry(deploy).or_default().send_replace(true);
    }

    /// The outcome of `waiting`, which may be dropped, or Cancelled as soon as that is asked for.
    pub async fn unless<T>(&self, deploy: DeployId, waiting: impl Future<Output = T>) -> Result<T, StepError> {
        let mut cancel = self.watch(deploy);
        tokio::select! {
            biased;
            Ok(_) = cancel.wait_for(|asked| *asked) => Err(StepError::Cancelled),
            done = waiting => Ok(done),
        }
    }

    pub fn forget(&self, deploy: DeployId) {
        self.by_deploy.lock().expect("no code panics while it holds this lock").remove(&deploy);
    }
}
