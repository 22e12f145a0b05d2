//! The handle on the engine: lazy connection, negotiated API version, a deadline for every call.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bollard::API_DEFAULT_VERSION;

use super::error::DockerError;
use super::health::Health;

/// How long a negotiated version is used before it is asked for again. An engine that was upgraded in between may refuse the old version
/// (Docker 29 refuses below 1.44); one more round trip of about a millisecond per period is the price.
const RENEGOTIATE_AFTER: Duration = Duration::from_secs(15);

/// Limit for calls that only read.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(20);
/// Limit for the question whether it is there: an engine that hangs is as good as away.
const PING_LIMIT: Duration = Duration::from_secs(5);
/// Limit for calls that change something: mounting an image's layers on a busy disk takes seconds.
pub(super) const CHANGE_LIMIT: Duration = Duration::from_secs(90);

/// The engine on one socket, for one installation. Cheap to clone; a handle made while the engine is down works once it is up.
#[derive(Clone)]
pub struct Docker {
    inner: Arc<Inner>,
}

struct Inner {
    socket: PathBuf,
    install: String,
    negotiated: Mutex<Option<(bollard::Docker, Instant)>>,
    /// Serialises look-then-create of networks: the engine allows two networks of one name.
    pub(super) network_lock: tokio::sync::Mutex<()>,
    health: tokio::sync::watch::Sender<Health>,
}

/// What the engine says about itself.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    /// "20.10.24+dfsg1"
    pub version: String,
    /// The negotiated API version: "1.41".
    pub api: String,
    pub live_restore: bool,
    /// Bytes.
    pub memory_total: u64,
    pub cpus: u32,
    /// 1 or 2.
    pub cgroup_version: u8,
    pub storage_driver: String,
    pub root_dir: PathBuf,
}

impl Docker {
    /// Takes the engine's socket and the uuid of this installation. Does not connect.
    pub fn new(socket: &Path, install: &str) -> Self {
        let inner = Inner {
            socket: socket.to_owned(),
            install: install.to_owned(),
            negotiated: Mutex::new(None),
            network_lock: tokio::sync::Mutex::new(()),
            health: tokio::sync::watch::Sender::new(Health::Unknown),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The uuid of the installation this handle acts for.
    pub fn install(&self) -> &str {
        &self.inner.install
    }

    pub fn socket(&self) -> &Path {
        &self.inner.socket
    }

    /// What every container and network name of this installation starts with: `paas-<install8>-`.
    pub fn name_prefix(&self) -> String {
        format!("paas-{}-", super::labels::short_install(&self.inner.install))
    }

    pub(super) fn noted(&self) -> &tokio::sync::watch::Sender<Health> {
        &self.inner.health
    }

    pub(super) fn network_lock(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.network_lock
    }

    /// Whether the engine answers at all, by its cheapest call. Cancel-safe: yes, reads only.
    pub async fn answers(&self) -> Result<(), DockerError> {
        self.call("asking whether it is there", PING_LIMIT, |c| async move { c.ping().await }).await.map(drop)
    }

    /// Asks the engine about itself. Cancel-safe: yes, reads only.
    pub async fn engine(&self) -> Result<EngineInfo, DockerError> {
        let version = self.call("asking the engine's version", READ_LIMIT, |c| async move { c.version().await }).await?;
        let info = self.call("asking the engine's settings", READ_LIMIT, |c| async move { c.info().await }).await?;
        let cgroup_version = match info.cgroup_version {
            Some(bollard::models::SystemInfoCgroupVersionEnum::_2) => 2,
            _ => 1,
        };
        Ok(EngineInfo {
            version: version.version.unwrap_or_default(),
            api: self.api_version().await?,
            live_restore: info.live_restore_enabled.unwrap_or(false),
            memory_total: info.mem_total.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
            cpus: info.ncpu.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
            cgroup_version,
            storage_driver: info.driver.unwrap_or_default(),
            root_dir: PathBuf::from(info.docker_root_dir.unwrap_or_default()),
        })
    }

    /// The API version both sides speak, for requests made without bollard.
    pub(super) async fn api_version(&self) -> Result<String, DockerError> {
        Ok(self.negotiated().await?.client_version().to_string())
    }

    /// Runs one engine call under a deadline, which ends at once when the engine is found to hang. `act` says in words what was being done,
    /// for the error. Where nobody pings, the deadline alone counts.
    pub(super) async fn call<T, F, Fut>(&self, act: &str, limit: Duration, f: F) -> Result<T, DockerError>
    where
        F: FnOnce(bollard::Docker) -> Fut,
        Fut: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let asked = async {
            let client = self.negotiated().await?.with_timeout(limit);
            match tokio::time::timeout(limit, f(client)).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error)) => Err(self.note(DockerError::from_bollard(error, act, limit))),
                Err(_) => Err(DockerError::TimedOut { act: act.to_owned(), after: limit }),
            }
        };
        tokio::select! {
            biased;
            error = self.found_bad() => Err(error),
            answer = asked => answer,
        }
    }

    /// Forgets the negotiated version after an answer that may come from another engine than the one it was negotiated with.
    pub(super) fn note(&self, error: DockerError) -> DockerError {
        if error.is_unavailable() || matches!(error, DockerError::Api { status: 400, .. }) {
            self.forget_version();
        }
        error
    }

    /// The next call asks for the version anew.
    pub(super) fn forget_version(&self) {
        *self.inner.negotiated.lock().expect("no panic while the version is held") = None;
    }

    /// A client with a freshly enough negotiated version. bollard keeps no connection between calls, so this is what "reconnect" means.
    pub(super) async fn negotiated(&self) -> Result<bollard::Docker, DockerError> {
        {
            let cached = self.inner.negotiated.lock().expect("no panic while the version is held");
            if let Some((client, at)) = cached.as_ref()
                && at.elapsed() < RENEGOTIATE_AFTER
            {
                return Ok(client.clone());
            }
        }
        const ACT: &str = "negotiating the API version";
        let path = self.inner.socket.to_string_lossy();
        let asked = async {
            // The lowest version that every supported engine's /version answers in; bollard lowers its own default from there.
            bollard::Docker::connect_with_unix(&path, READ_LIMIT.as_secs(), API_DEFAULT_VERSION)?.negotiate_version().await
        };
        let client = match tokio::time::timeout(READ_LIMIT, asked).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(DockerError::from_bollard(error, ACT, READ_LIMIT)),
            Err(_) => return Err(DockerError::TimedOut { act: ACT.to_owned(), after: READ_LIMIT }),
        };
        *self.inner.negotiated.lock().expect("no panic while the version is held") = Some((client.clone(), Instant::now()));
        Ok(client)
    }
}
