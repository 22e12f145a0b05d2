//! The acts on one instance. Each looks before it makes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::base::crash::{self, Point};
use crate::config::HostConfig;
use crate::docker::{ContainerState, Docker, DockerError, ImageInfo, NetworkSpec};
use crate::instances::link::{LinkError, Links};
use crate::instances::net;
use crate::instances::probe::Checks;
use crate::instances::spec::{self, Place, SpecError};
use crate::instances::vitals::Vitals;
use crate::logs::{Kind, Source};
use crate::model::app::App;
use crate::model::instance::Instance;
use crate::model::release::{Config, Process, Release};
use crate::names::{AppName, InstanceId, ReleaseNumber};
use crate::store::{NewInstance, Store, StoreError};
use crate::wire::dialer::{DialClient, DialFailure};

/// How long init may take from `docker start` to its first word. Far above what was seen (under 0.3 s); a loaded host is slow.
const INIT_LIMIT: Duration = Duration::from_secs(20);

/// How many subnets that something else uses are skipped before the pool itself is called wrong.
const SUBNET_TRIES: u32 = 64;

#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    #[error(transparent)]
    Docker(#[from] DockerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("the image `{image}` of {release} is gone from Docker")]
    ImageGone {
        image: String,
        release: ReleaseNumber,
        /// What makes it again.
        again: String,
    },
    #[error("{act}: {source}")]
    Io { act: String, source: std::io::Error },
    #[error("registering {label} with the dialer: {source}")]
    Dial { label: String, source: DialFailure },
    #[error("{label} was started, but its init did not report within {} s: {state}", INIT_LIMIT.as_secs())]
    InitSilent { label: String, state: String },
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the container of {0} does not run")]
    NotRunning(String),
    #[error(
        "{SUBNET_TRIES} subnets of {0} in a row are in use by other networks of this host; give paas a free range by `subnets` under [docker] in the host config"
    )]
    NoSubnet(String),
}

/// The handles that instances need. Cheap to share.
pub struct Instances {
    pub config: Arc<HostConfig>,
    pub store: Store,
    pub docker: Docker,
    pub links: Arc<Links>,
    pub dial: DialClient,
    /// The uuid of this installation.
    pub install: String,
    /// The folder `bin/<sha256>/` whose binary new instances use.
    pub bin: PathBuf,
    /// The namespace that each target was last registered with: another one means that the container was started anew.
    pub registered: Mutex<BTreeMap<InstanceId, PathBuf>>,
    /// One-off containers that could not be removed, by name: the engine was away.
    pub leftovers: Mutex<BTreeSet<String>>,
    pub vitals: Vitals,
    pub checks: Checks,
}

impl Instances {
    /// The image of a release with what it says about running.
    pub async fn image(&self, app: &AppName, release: &Release) -> Result<ImageInfo, InstanceError> {
        let found = self.docker.image(&release.image.id).await?;
        found.ok_or_else(|| InstanceError::ImageGone {
            image: release.image.tag.clone(),
            release: release.number,
            again: match &release.commit {
                Some(commit) => format!("paas deploy -a {app} --commit {commit}     builds it again"),
                None => format!("paas deploy -a {app} --tarball FILE     as it was deployed before, or `--image IMAGE`"),
            },
        })
    }

    /// The app's network, made if it is not there. Something else on this host may have its subnet (another program's network): then the
    /// app moves to the next free one, which is recorded before it is used.
    pub async fn network(&self, app: &App) -> Result<(), InstanceError> {
        let (pool, prefix) = self.config.docker.subnets;
        // Read anew: the caller's copy may be from before an earlier move.
        let mut subnet = self.store.app_by_id(app.id).await?.subnet;
        for _ in 0..SUBNET_TRIES {
            match self.docker.ensure_network(&self.network_spec(app, pool, subnet)).await {
                Ok(_) => {
                    crash::point(Point::NetworkMade);
                    return Ok(());
                }
                Err(DockerError::SubnetTaken(why)) => {
                    tracing::warn!(app = %app.name, "subnet {} is in use by something else ({why})", net::subnet4(pool, subnet).0);
                    subnet = self.store.app_next_subnet(app.id, subnet, net::capacity(prefix)).await?;
                }
                Err(other) => return Err(other.into()),
            }
        }
        Err(InstanceError::NoSubnet(format!("{pool}/{prefix}")))
    }

    fn network_spec(&self, app: &App, pool: Ipv4Addr, subnet: u32) -> NetworkSpec {
        let (subnet4, gateway4) = net::subnet4(pool, subnet);
        // Where the kernel has no IPv6 Docker cannot give an interface an address of it.
        let has_ipv6 = std::path::Path::new("/proc/net/if_inet6").exists();
        NetworkSpec {
            name: spec::network_name(&self.install, &app.name),
            subnet4,
            gateway4,
            subnet6: has_ipv6.then(|| net::subnet6(&self.install, subnet)),
            app: app.name.to_string(),
        }
    }

    /// Records, creates and starts one instance behind its gate. Every part is found and adopted if an earlier try made it.
    pub async fn create_gated(
        &self,
        app: &App,
        release: &Release,
        config: &Config,
        process: &Process,
        new: &NewInstance,
        image: &ImageInfo,
    ) -> Result<Instance, InstanceError> {
        let row = self.store.instance_ensure(new).await?;
        crash::point(Point::InstanceRecorded);
        self.start_gated(app, release, config, process, &row, image).await?;
        Ok(self.store.instance(row.id).await?.unwrap_or(row))
    }

    /// The container of a row that exists, created if it is not there and started if it does not run; its gate is as the link remembers it.
    pub async fn start_gated(
        &self,
        app: &App,
        release: &Release,
        config: &Config,
        process: &Process,
        row: &Instance,
        image: &ImageInfo,
    ) -> Result<(), InstanceError> {
        let own = self.config.instance_dir(row.id);
        self.listen(row)?;
        let place = Place {
            install: &self.install,
            app,
            release,
            config,
            deploy: row.deploy,
            process,
            instance: Some(row.id),
            index: row.index,
            port: row.port,
            image,
            bin: self.bin.clone(),
            own,
            limits: &self.config.limits,
        };
        let container = self.docker.create(&spec::instance(&place)?).await?;
        if row.container.as_deref() != Some(&container) {
            self.store.instance_container(row.id, &container).await?;
        }
        crash::point(Point::InstanceCreated);
        self.docker.start(&container).await?;
        crash::point(Point::InstanceStarted);
        Ok(())
    }

    /// Waits until the instance's init has reported: image, mounts, user and argv are then known to be good.
    pub async fn wait_for_init(&self, row: &Instance) -> Result<(), InstanceError> {
        if self.links.wait(row.id, |state| state.connected, INIT_LIMIT).await.is_ok() {
            return Ok(());
        }
        let state = match self.state(row).await? {
            None => "its container is gone".to_owned(),
            Some(c) if c.running => "its container runs".to_owned(),
            Some(c) => format!("its container is {:?} with exit code {}", c.status, c.exit_code),
        };
        Err(InstanceError::InitSilent { label: row.label(), state })
    }

    pub async fn state(&self, row: &Instance) -> Result<Option<ContainerState>, InstanceError> {
        Ok(self.docker.inspect(&self.container_name(row)).await?)
    }

    /// Makes the socket that the instance's init talks to; it may be there already.
    pub fn listen(&self, row: &Instance) -> Result<(), InstanceError> {
        let source = Source {
            app: row.app.clone(),
            kind: Kind::App,
            process: Some(row.process.clone()),
            instance: Some(row.id),
            index: Some(row.index),
            release: Some(row.release),
        };
        Ok(self.links.listen(row.id, source)?)
    }

    pub fn container_name(&self, row: &Instance) -> String {
        spec::container_name(&self.install, &row.app, row.deploy, row.process.as_str(), row.index)
    }

    /// Opens the gate; an open one stays open.
    pub fn open(&self, row: &Instance) {
        self.open_quietly(row);
        crash::point(Point::GateOpened);
    }

    /// Tells the dialer the way into the instance's network namespace as it is now.
    pub async fn register(&self, row: &Instance) -> Result<(), InstanceError> {
        let state = self.state(row).await?.filter(|c| c.running).ok_or_else(|| InstanceError::NotRunning(row.label()))?;
        let key = state.sandbox_key.ok_or_else(|| InstanceError::NotRunning(row.label()))?;
        let registered = self.dial.register(row.id, key.clone(), row.port).await;
        registered.map_err(|source| InstanceError::Dial { label: row.label(), source })?;
        self.keys().insert(row.id, key);
        crash::point(Point::TargetRegistered);
        Ok(())
    }

    /// Opens the gate without passing the deploy's crash point: the instance serves already.
    pub fn open_quietly(&self, row: &Instance) {
        if let Err(e) = self.links.open(row.id) {
            tracing::warn!(app = %row.app, instance = %row.id, "opening the gate of {}: {e}", row.label());
        }
    }

    /// The container as the engine has it, by its name; one that somebody renamed gets its name back.
    pub async fn found(&self, row: &Instance) -> Result<Option<ContainerState>, InstanceError> {
        let by_name = self.state(row).await?;
        let Some(id) = row.container.as_deref().filter(|_| by_name.is_none()) else { return Ok(by_name) };
        let Some(renamed) = self.docker.inspect(id).await?.filter(|c| c.id == id) else { return Ok(None) };
        tracing::warn!(app = %row.app, instance = %row.id, "the container of {} was renamed to {}; it is renamed back", row.label(), renamed.name);
        self.docker.rename(id, &self.container_name(row)).await?;
        self.state(row).await
    }

    /// Does the dialer reach the container that runs now? Others than `web` need no way in.
    pub async fn reachable(&self, row: &Instance, state: &ContainerState) -> bool {
        if !row.takes_requests() {
            return true;
        }
        let same = state.sandbox_key.is_some() && self.keys().get(&row.id) == state.sandbox_key.as_ref();
        same && self.dial.list().await.is_ok_and(|targets| targets.contains(&row.id))
    }

    /// Was the way into this instance registered by this daemon?
    pub fn is_registered(&self, row: &Instance) -> bool {
        self.keys().contains_key(&row.id)
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, BTreeMap<InstanceId, PathBuf>> {
        self.registered.lock().expect("no code panics while it holds the registered keys")
    }

    /// Sends the stop signal and does not wait; init kills the app at the limit.
    pub fn term(&self, row: &Instance, signal: &str, limit: Duration) {
        // An init that is not connected is told when it connects; one that never does is stopped by the engine.
        let _ = self.links.stop(row.id, signal_number(signal), limit);
    }

    /// Has the app started anew in its place, or gives false: its init is away or of an older version. `why` is what people read.
    pub fn restart(&self, row: &Instance, signal: &str, limit: Duration, why: &str) -> bool {
        self.links.restart(row.id, signal_number(signal), limit, why).unwrap_or(false)
    }

    /// Removes the container alone: the instance stays wanted, and starts again with an empty file system.
    pub async fn drop_container(&self, row: &Instance) -> Result<(), InstanceError> {
        Ok(self.docker.remove(&self.container_name(row)).await?)
    }

    /// Waits until the container has ended, at most `limit`.
    pub async fn wait_ended(&self, row: &Instance, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.docker.wait(&self.container_name(row))).await;
    }

    /// Sends the stop signal and waits until the container has ended, by force after `limit`. The container stays.
    pub async fn stop(&self, row: &Instance, signal: &str, limit: Duration) -> Result<(), InstanceError> {
        self.term(row, signal, limit);
        let name = self.container_name(row);
        // Init kills the app at the limit; Docker's own kill is for an init that does not answer.
        let ended = tokio::time::timeout(limit + Duration::from_secs(2), self.docker.wait(&name)).await;
        match ended {
            Ok(Ok(_)) | Ok(Err(DockerError::NotFound(_))) => Ok(()),
            Ok(Err(e)) => Err(e.into()),
            Err(_) => Ok(self.docker.stop(&name, Duration::from_secs(1)).await?),
        }
    }

    /// Removes the container, its folder, its way in and its row.
    pub async fn remove(&self, row: &Instance) -> Result<(), InstanceError> {
        self.docker.remove(&self.container_name(row)).await?;
        crash::point(Point::ContainerRemoved);
        if row.takes_requests()
            && let Err(e) = self.dial.unregister(row.id).await
        {
            // The dialer also forgets what the daemon no longer lists; a dead dialer must not keep a container alive.
            tracing::warn!(app = %row.app, instance = %row.id, "unregistering: {e}");
        }
        self.keys().remove(&row.id);
        self.vitals.forget(row.id);
        self.checks.forget(row.id);
        self.links.forget(row.id);
        let own = self.config.instance_dir(row.id);
        match tokio::fs::remove_dir_all(&own).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(InstanceError::Io { act: format!("removing `{}`", own.display()), source: e });
            }
            _ => {}
        }
        crash::point(Point::FolderRemoved);
        self.store.instance_forget(row.id).await?;
        Ok(())
    }

    /// Removes the app's network; missing is fine.
    pub async fn remove_network(&self, app: &AppName) -> Result<(), InstanceError> {
        Ok(self.docker.remove_network(&spec::network_name(&self.install, app)).await?)
    }

    /// The dialer's targets that no row wants any more are dropped.
    pub async fn prune_targets(&self, wanted: &[InstanceId]) -> Result<(), DialFailure> {
        for target in self.dial.list().await? {
            if !wanted.contains(&target) {
                self.dial.unregister(target).await?;
            }
        }
        Ok(())
    }
}

/// The number of a signal that the manifest names; the manifest's own check has refused unknown ones.
fn signal_number(name: &str) -> i32 {
    use std::str::FromStr;
    nix::sys::signal::Signal::from_str(name).map_or(nix::sys::signal::Signal::SIGTERM as i32, |s| s as i32)
}
