//! What an app says about itself: `paas.toml`, `Procfile` and `app.json` in its repository.
//!
//! Owns: the three formats, their precedence (paas.toml over app.json over Procfile) and the [`Manifest`] they become.
//! Uses: names, base. Never: looks at the rest of the repository, runs anything, knows the host.
//! Invariant: a [`Manifest`] is valid and complete; `paas check` on a laptop and a deploy on the server run this same code.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{BranchName, ConfigKey, Hostname, ProcessName};

mod app_json;
mod check;
mod error;
mod paas_toml;
mod procfile;
mod read;
mod rules;

pub use check::{Checked, check};
pub use error::ManifestError;
pub use paas_toml::KEYS;
pub use read::{deploy_branch, read, source_path};

/// The process type that takes requests.
pub const WEB: &str = "web";

/// The texts of the files, as found in the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceFiles {
    pub paas_toml: Option<String>,
    pub procfile: Option<String>,
    pub app_json: Option<String>,
}

/// What the usual runtimes leave: the Erlang VM, the kernel, the JVM (heap and error report), node (report and heap).
const CRASH_FILES: [&str; 7] =
    ["erl_crash.dump", "core", "core.*", "*.hprof", "hs_err_pid*.log", "report.*.json", "*.heapsnapshot"];

/// Everything an app asks for. A release stores it, so fields are only ever added, with a default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    pub build: BuildSpec,
    /// Always holds `web`; an app of workers only has it with `instances = 0`.
    pub processes: BTreeMap<ProcessName, ProcessSpec>,
    pub release: ReleaseSpec,
    pub deploy: DeploySpec,
    pub domains: Vec<Hostname>,
    pub http: HttpSpec,
    pub crash: CrashSpec,
    /// Plain defaults of the environment; what `config set` says wins.
    pub env: BTreeMap<ConfigKey, String>,
    /// What was understood but is not acted on: shown to whoever deploys.
    pub warnings: Vec<String>,
}

/// How the image is made. At most one of `buildpack`, `dockerfile` and `image` is given.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildSpec {
    pub buildpack: Option<String>,
    /// Relative to `path`.
    pub dockerfile: Option<String>,
    /// An image that is already built.
    pub image: Option<String>,
    /// The folder of the repository that is built: relative, without `..`, no `/` at the end.
    pub path: Option<String>,
    /// The stage of the Dockerfile to stop at.
    pub target: Option<String>,
    pub args: BTreeMap<String, String>,
    /// Config values that the build may read as BuildKit secrets (`/run/secrets/<KEY>`).
    pub secrets: Vec<ConfigKey>,
}

/// One process type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessSpec {
    /// None: what the build gives for this type, for `web` the image's own command.
    pub command: Option<CommandLine>,
    /// Where it listens. None: the image's only EXPOSE, else 8080.
    pub port: Option<u16>,
    /// None: 1 for `web`, else 0 until `ps scale` says more. What `ps scale` said wins over the manifest.
    pub instances: Option<u32>,
    /// Bytes; None: the host's default.
    pub memory: Option<u64>,
    /// Cores; None: the host's default.
    pub cpus: Option<f64>,
    pub pids: Option<u32>,
    /// Bytes that it may write into its own file system; None: the host's default.
    pub disk: Option<u64>,
    pub switch: Switch,
    /// `SIGTERM`, `SIGINT`, …: always with `SIG`.
    pub stop_signal: String,
    pub stop_timeout: Duration,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    pub health: HealthSpec,
    /// None: it is not asked again once it serves.
    pub liveness: Option<LivenessSpec>,
}

/// When the new instances of a process that takes no requests begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// In the moment the old ones get their stop signal.
    #[default]
    AfterTerm,
    /// Before it.
    Overlap,
    /// After their exit.
    Exclusive,
}

/// How a new instance proves that it can take requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSpec {
    pub check: HealthCheck,
    /// Checks begin faster than this and slow down to it.
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// How long a boot may take before the deploy fails.
    pub grace: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthCheck {
    /// A GET that must answer with a status from 200 to 399.
    Http { path: String },
    /// A command inside the instance that must exit with 0.
    Command(CommandLine),
    /// The port is listened on.
    #[default]
    Port,
}

/// How an instance that serves shows that it has not hung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivenessSpec {
    /// Never [`HealthCheck::Port`]: a process that hangs listens on.
    pub check: HealthCheck,
    pub interval: Duration,
    pub timeout: Duration,
    /// So many failures in a row and it is restarted.
    pub failures: u32,
}

/// How requests for the app's host names are treated.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpSpec {
    pub https: Https,
    pub tls: Tls,
    /// Seconds of Strict-Transport-Security; None: not sent.
    pub hsts: Option<u64>,
    /// Bytes of a request's body; None: any.
    pub max_body: Option<u64>,
    pub access: AccessSpec,
}

/// Which requests get a line in the app's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccessSpec {
    pub log: AccessLog,
    /// With [`AccessLog::All`]: how many of a million ordinary requests.
    pub sample_ppm: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessLog {
    #[default]
    All,
    /// Those that went wrong (5xx, no whole answer) or were slow.
    Errors,
    None,
}

impl Default for AccessSpec {
    fn default() -> Self {
        AccessSpec { log: AccessLog::All, sample_ppm: 1_000_000 }
    }
}

/// Who ends the TLS of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// The proxy, with the certificate that paas has.
    #[default]
    Proxy,
    /// The app: the proxy passes connections on undecrypted, by the name in their ClientHello.
    Passthrough,
}

/// What becomes of requests without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Https {
    /// Sent on to https for the hosts that have a certificate which browsers know.
    #[default]
    Auto,
    Redirect,
    /// Served like those with TLS.
    Both,
}

/// Which files of an instance that died are kept for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CrashSpec {
    /// Globs: without a `/` of a file's name anywhere, with one of its whole path.
    pub files: Vec<String>,
}

/// What runs once per new image, before anything of it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReleaseSpec {
    pub command: Option<CommandLine>,
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeploySpec {
    /// Pushes to this branch are deployed, others only stored.
    pub branch: BranchName,
    pub strategy: Strategy,
    /// How long old instances may finish their requests.
    pub drain: Duration,
    /// The same for WebSockets and streams.
    pub drain_streams: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The new instances are proven before the old ones stop.
    #[default]
    BlueGreen,
    /// The old ones stop first; requests wait meanwhile.
    StopStart,
}

/// What to run: one line for `/bin/sh -c` inside the instance, or the arguments themselves for images without a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CommandLine {
    Shell(String),
    Argv(Vec<String>),
}

impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CommandLine::Shell(line) => f.write_str(line),
            CommandLine::Argv(argv) => f.write_str(&argv.join(" ")),
        }
    }
}

impl Default for ProcessSpec {
    fn default() -> Self {
        ProcessSpec {
            command: None,
            port: None,
            instances: None,
            memory: None,
            cpus: None,
            pids: None,
            disk: None,
            switch: Switch::default(),
            stop_signal: "SIGTERM".to_owned(),
            // What apps that come from other platforms count on.
            stop_timeout: Duration::from_secs(30),
            read_only: false,
            health: HealthSpec::default(),
            liveness: None,
        }
    }
}

impl Default for CrashSpec {
    fn default() -> Self {
        CrashSpec { files: CRASH_FILES.map(str::to_owned).to_vec() }
    }
}

impl Default for HealthSpec {
    fn default() -> Self {
        HealthSpec {
            check: HealthCheck::Port,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            // Longer than the 40 s that a large framework needs on a small server.
            grace: Duration::from_secs(60),
        }
    }
}

impl Default for ReleaseSpec {
    fn default() -> Self {
        ReleaseSpec { command: None, timeout: Duration::from_secs(15 * 60) }
    }
}

impl Default for DeploySpec {
    fn default() -> Self {
        DeploySpec {
            branch: BranchName::parse("main").expect("`main` is a branch name"),
            strategy: Strategy::default(),
            drain: Duration::from_secs(30),
            drain_streams: Duration::from_secs(600),
        }
    }
}

impl Manifest {
    /// How many instances of `process` the manifest asks for; `ps scale` may have said otherwise. One of each that is named: a worker that
    /// was written down is meant to run.
    pub fn instances_of(&self, process: &ProcessName) -> u32 {
        self.processes.get(process).and_then(|spec| spec.instances).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests;
