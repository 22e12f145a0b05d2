//! The host's own settings: `/etc/paas/paas.toml` and every path that follows from it.
//!
//! Owns: the host config as typed (`load`) and as validated ([`HostConfig`]), and the names of all files and sockets on the host.
//! Uses: names, base. Never: creates a file or a folder, knows an app's manifest.
//! Invariant: a [`HostConfig`] is complete and valid; nobody after it sees an `Option` that means "not given".

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::base::cidr::Cidr;
use crate::base::secret::Secret;
use crate::base::toml_file::KeyError;
use crate::names::Hostname;

mod load;
mod paths;
mod proxy_limits;

pub use load::KEYS;
pub use proxy_limits::{PROXY_LIMITS_KEYS, ProxyLimits};

/// Where the host config lies unless `--config` says otherwise.
pub const DEFAULT_FILE: &str = "/etc/paas/paas.toml";

/// The validated settings of one host. Defaults are those of an empty file; docs/config.md lists every key.
#[derive(Debug, Clone, PartialEq)]
pub struct HostConfig {
    /// The file that this was read from.
    pub file: PathBuf,
    pub state_dir: PathBuf,
    pub run_dir: PathBuf,
    /// Apps answer at `<app>.<domain>`; without it at `<app>.localhost`.
    pub domain: Option<Hostname>,
    pub users: Users,
    pub proxy: ProxyConfig,
    pub ssh: SshConfig,
    pub docker: DockerConfig,
    pub build: BuildConfig,
    pub stack: StackConfig,
    pub limits: Limits,
    pub logs: LogsConfig,
    pub alerts: AlertsConfig,
}

/// The operating system users that the processes run as.
#[derive(Debug, Clone, PartialEq)]
pub struct Users {
    pub daemon: String,
    pub proxy: String,
    /// The login user of ssh and git: `ssh paas@server`.
    pub login: String,
    /// Members of this group may do everything through the API socket.
    pub admin_group: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ProxyConfig {
    pub listen: Vec<SocketAddr>,
    /// For TLS; none switches it off.
    pub listen_tls: Vec<SocketAddr>,
    /// Adds the commit that answered to every response.
    pub commit_header: bool,
    /// How long requests and streams of the old proxy may take to end after an upgrade.
    pub upgrade_grace: Duration,
    /// Proxies in front of ours: what they say about a client is believed.
    pub trusted_proxies: Vec<Cidr>,
    pub limits: ProxyLimits,
}

/// What `git remote add` lines tell users; sshd itself is configured elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct SshConfig {
    pub host: Option<String>,
    pub port: u16,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DockerConfig {
    pub socket: PathBuf,
    /// The engine's `--exec-root`: the network namespaces of its containers are under it.
    pub exec_root: PathBuf,
    /// The pool that app networks are cut from: network address and prefix length.
    pub subnets: (Ipv4Addr, u8),
}

#[derive(Debug, Clone, PartialEq)]
pub struct BuildConfig {
    /// Given to every build, so that a host behind an intercepting proxy can build.
    pub ca_certificates: Option<PathBuf>,
    pub concurrency: usize,
    pub timeout: Duration,
    /// Bytes of the engine's build cache that may stay.
    pub cache_limit: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct StackConfig {
    pub source: StackSource,
    pub debian: DebianRelease,
    /// The Debian mirror that base images are made from.
    pub mirror: String,
}

/// Where base images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackSource {
    /// An image registry.
    Registry,
    /// Made on this host from Debian packages.
    Debian,
    /// The registry if it answers, else Debian packages.
    Auto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DebianRelease {
    Trixie,
    Bookworm,
}

impl DebianRelease {
    /// The name on mirrors.
    pub fn codename(self) -> &'static str {
        match self {
            DebianRelease::Trixie => "trixie",
            DebianRelease::Bookworm => "bookworm",
        }
    }

    pub fn number(self) -> u32 {
        match self {
            DebianRelease::Trixie => 13,
            DebianRelease::Bookworm => 12,
        }
    }
}

/// What one app may take unless its manifest asks for less or more, and what strangers may send.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Bytes of memory of one instance.
    pub memory: u64,
    /// Cores of one instance; 0 is no limit.
    pub cpus: f64,
    pub pids: u32,
    /// Bytes that one instance may write into its own file system; beyond it, it is stopped and gets a fresh one.
    pub disk: u64,
    /// How often that is measured.
    pub disk_interval: Duration,
    /// Bytes of crash files that are kept per app.
    pub crash_bytes: u64,
    /// Bytes of one push as git sends it.
    pub push_bytes: u64,
    /// Bytes of one source tree, unpacked.
    pub source_bytes: u64,
    pub source_files: u64,
    /// Releases per app whose images are kept for rollbacks.
    pub keep_releases: u32,
    /// Ended deploys per app that are remembered.
    pub keep_deploys: u32,
    /// Bytes of each filesystem that pushes and builds leave free; None: see `model::disk::reserve`.
    pub disk_reserve: Option<u64>,
    /// Whether the first push to a name creates the app.
    pub create_by_push: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogsConfig {
    pub max_bytes_per_app: u64,
    /// Sustained lines per second of one instance; beyond `burst` the rest is cut and counted.
    pub lines_per_second: u32,
    pub burst: u32,
}

/// Who is told of what somebody should know. Both may be given; none is fine.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertsConfig {
    /// An http or https address; a token may be part of it.
    pub webhook: Option<Secret<String>>,
    /// A program by its absolute path, and its arguments.
    pub exec: Option<Vec<String>>,
}

/// Why the host config can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("reading host config `{}`: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Key(Box<KeyError>),
}

impl From<KeyError> for ConfigError {
    fn from(error: KeyError) -> Self {
        ConfigError::Key(Box::new(error))
    }
}

impl ConfigError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            ConfigError::Read { .. } => Some("give the file with `--config`, or run the installer, which writes one"),
            ConfigError::Key(error) => error.hint.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests;
