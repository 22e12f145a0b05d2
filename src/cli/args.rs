//! What can be typed. Texts here become `--help` and docs/cli.md.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod front;

pub use front::{CertsAct, ExplainArgs, MaintenanceAct, MetricsArgs, RoutesAct};

use super::roles::Role;
use crate::base::version;
use crate::names::{AppName, CommitDigits, ConfigKey, CrashId, DeployId, Hostname, KeyName, ProcessName, ReleaseNumber};

/// A platform on your own server: git push, and it is live.
#[derive(Debug, Parser)]
#[command(name = "paas", version = version::LONG, disable_help_subcommand = true, max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// The app [default: $PAAS_APP, else the app of the git remote]
    #[arg(short, long, global = true, value_name = "APP")]
    pub app: Option<String>,
    /// The server, as ssh takes it; `local` is this machine [default: $PAAS_HOST, else the server of the git remote, else local]
    #[arg(short = 'H', long, global = true, value_name = "paas@SERVER")]
    pub host: Option<String>,
    /// The git remote that names server and app [default: deploy]
    #[arg(short, long, global = true, value_name = "REMOTE")]
    pub remote: Option<String>,
    /// Print data as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// The daemon's socket on this machine [default: $PAAS_SOCKET, else /run/paas/api.sock]
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    pub socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Apps: create, list, info, destroy
    Apps {
        #[command(subcommand)]
        act: Option<AppsAct>,
    },
    /// Config: environment variables of an app, encrypted on the server
    Config {
        #[command(subcommand)]
        act: Option<ConfigAct>,
    },
    /// Deploy a tarball, an image or a commit that was pushed before
    Deploy(DeployArgs),
    /// Deploys: list, follow, cancel, info
    Deploys {
        #[command(subcommand)]
        act: Option<DeploysAct>,
    },
    /// List the releases of an app
    Releases,
    /// Make an earlier release live again, without building it
    Rollback {
        /// Such as v3 [default: the release before the live one]
        release: Option<ReleaseNumber>,
    },
    /// Processes: what runs, scale, restart
    Ps {
        #[command(subcommand)]
        act: Option<PsAct>,
    },
    /// Explain how an app is: how it ended, what changed, what paas did, what to do next
    Why {
        /// The app [default: as with -a]
        name: Option<AppName>,
    },
    /// Crash files: what instances that died left behind
    Crashes {
        #[command(subcommand)]
        act: Option<CrashesAct>,
    },
    /// Show what an app printed, its requests and its deploys
    Logs(LogsArgs),
    /// Show an app's requests: rates, latencies, what went wrong
    Metrics(MetricsArgs),
    /// Run a one-off command in a new instance of the live release
    Run(RunArgs),
    /// Run a command inside an instance that runs already
    Exec(ExecArgs),
    /// Domains: where an app answers
    Domains {
        #[command(subcommand)]
        act: Option<DomainsAct>,
    },
    /// Certs: certificates that clients are shown
    Certs {
        #[command(subcommand)]
        act: Option<CertsAct>,
    },
    /// Routes: what happens to a request
    #[command(subcommand)]
    Routes(RoutesAct),
    /// Maintenance: a page in the place of an app
    Maintenance {
        #[command(subcommand)]
        act: Option<MaintenanceAct>,
    },
    /// Keys: whose ssh key may do what
    Keys {
        #[command(subcommand)]
        act: Option<KeysAct>,
    },
    /// Show how the server is
    Status,
    /// Alerts: what somebody should know of the server
    Alerts {
        #[command(subcommand)]
        act: Option<AlertsAct>,
    },
    /// Show what takes disk space on the server, and how much is left
    Disk,
    /// Take daemon, dialer, proxy and an instance away under counted traffic, and say what that did to requests
    #[cfg(feature = "server")]
    Drill(DrillArgs),
    /// Check paas.toml, Procfile and app.json of a folder as a deploy would
    Check {
        /// The folder
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Print the completion script of a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Tunnel the API over stdin and stdout (what `-H` runs on the server)
    #[command(hide = true)]
    Api,
    /// Print generated documentation
    #[command(hide = true)]
    Docs {
        #[arg(value_parser = ["cli"])]
        what: String,
    },
    #[command(flatten)]
    Role(Role),
}

#[cfg(feature = "server")]
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// The host config
    #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
    /// Drill on an app that is made for it and removed afterwards
    #[arg(long)]
    pub make: bool,
    /// Also restart Docker (by systemd)
    #[arg(long)]
    pub docker: bool,
    /// Requests per second
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: u32,
    /// Seconds of traffic after each fault, at least
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub seconds: u32,
    /// What is asked for; it must answer the same status each time, and change nothing
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = request_path)]
    pub path: String,
    /// Begin without asking
    #[arg(long)]
    pub yes: bool,
}

/// A path that fits into a request line as it is.
#[cfg(feature = "server")]
fn request_path(given: &str) -> Result<String, String> {
    let fits = given.starts_with('/') && given.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(given.to_owned()) } else { Err("a path begins with `/` and holds no spaces".to_owned()) }
}

#[derive(Debug, Subcommand)]
pub enum AppsAct {
    /// Make an app
    Create {
        /// Lower-case letters, digits and `-`; also its host name
        name: AppName,
    },
    /// List all apps
    List,
    /// Show one app
    Info {
        /// The app [default: as with -a]
        name: Option<AppName>,
    },
    /// Remove an app: its instances, images, logs and config
    Destroy {
        /// The app; it must be named here or by -a
        name: Option<AppName>,
        /// The app's name once more, instead of the question
        #[arg(long, value_name = "APP")]
        confirm: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub enum ConfigAct {
    /// Set values; makes a new release
    Set {
        /// What to set; an empty value is a value
        #[arg(value_name = "KEY=VALUE")]
        pairs: Vec<String>,
        /// Read lines of KEY=VALUE from stdin, so that no secret stands in the shell's history
        #[arg(long)]
        stdin: bool,
    },
    /// Print one value
    Get {
        /// Its name
        key: ConfigKey,
    },
    /// Remove values; makes a new release
    Unset {
        /// Their names
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<ConfigKey>,
    },
    /// List all values
    List {
        /// As KEY='VALUE' lines that a shell can read
        #[arg(short, long)]
        shell: bool,
    },
}

#[derive(Debug, Args)]
pub struct DeployArgs {
    /// A .tar, .tar.gz or .tar.zst of source, or of something already built; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["image", "commit"])]
    pub tarball: Option<PathBuf>,
    /// An image that is already built
    #[arg(long, value_name = "IMAGE", conflicts_with = "commit")]
    pub image: Option<String>,
    /// A commit that was pushed before; the first digits of one that was deployed are enough
    #[arg(long, value_name = "COMMIT")]
    pub commit: Option<CommitDigits>,
    /// Return as soon as the deploy is queued
    #[arg(long)]
    pub detach: bool,
}

#[derive(Debug, Subcommand)]
pub enum DeploysAct {
    /// List the deploys of an app
    List,
    /// Show the output of a deploy and wait for its end
    Follow {
        /// Such as d12 [default: the app's latest]
        deploy: Option<DeployId>,
    },
    /// Stop a deploy; what serves goes on
    Cancel {
        /// Such as d12 [default: the app's latest]
        deploy: Option<DeployId>,
    },
    /// Show stages, times, outcome and request counts of a deploy
    Info {
        /// Such as d12 [default: the app's latest]
        deploy: Option<DeployId>,
    },
}

#[derive(Debug, Subcommand)]
pub enum PsAct {
    /// Set how many instances run
    Scale {
        /// Such as web=3 worker=1; without any, show the numbers
        #[arg(value_name = "PROCESS=NUMBER")]
        counts: Vec<String>,
    },
    /// Replace the instances by fresh ones, without a gap
    Restart {
        /// Only this process type
        process: Option<ProcessName>,
    },
}

#[derive(Debug, Subcommand)]
pub enum CrashesAct {
    /// List the crash files of an app
    List,
    /// Write one to stdout: `paas crashes get c3 > core`
    Get {
        /// Such as c3
        file: CrashId,
    },
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Go on with new lines, across deploys and restarts
    #[arg(short, long)]
    pub tail: bool,
    /// The last so many lines
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    pub num: usize,
    /// Only these: web, web.1, router, build, deploy, platform; several with commas
    #[arg(short, long, value_name = "PROCESS", aliases = ["ps", "process-type", "dyno-name", "source"])]
    pub process: Option<String>,
    /// Only lines since then: a duration (10m) or a time (2026-01-31T08:15:00Z)
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Only lines that hold this text
    #[arg(long, value_name = "TEXT")]
    pub grep: Option<String>,
    /// Show control characters as they are
    #[arg(long)]
    pub raw: bool,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Set a variable for this run only
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// No terminal, even if there is one
    #[arg(long)]
    pub no_tty: bool,
    /// The command; one word with spaces is a line for the shell
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ExecArgs {
    /// Where: web.1, web or i45 [default: web.1]
    #[arg(long, short, value_name = "INSTANCE")]
    pub process: Option<String>,
    /// No terminal, even if there is one
    #[arg(long)]
    pub no_tty: bool,
    /// The command [default: a shell]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum DomainsAct {
    /// Answer at a host name
    Add {
        /// Such as shop.example.com
        #[arg(id = "domain", value_name = "HOST")]
        host: Hostname,
        /// Send requests on to this host name instead
        #[arg(long, value_name = "HOST")]
        redirect_to: Option<Hostname>,
    },
    /// No longer answer at a host name
    Remove {
        /// Such as shop.example.com
        #[arg(id = "domain", value_name = "HOST")]
        host: Hostname,
    },
    /// List the host names
    List,
}

#[derive(Debug, Subcommand)]
pub enum AlertsAct {
    /// List what is wrong now, and what was lately
    List,
    /// Send a test message to those whom the host config names
    Test,
}

#[derive(Debug, Subcommand)]
pub enum KeysAct {
    /// Add an ssh key; with --app it may use only that app (several with commas)
    Add {
        /// A name for it: laptop
        name: KeyName,
        /// The public key's file; `-` is stdin
        #[arg(default_value = "-")]
        file: PathBuf,
        /// It may push and deploy, nothing else
        #[arg(long)]
        deploy_only: bool,
    },
    /// List the keys
    List,
    /// Remove a key
    Remove {
        /// As `keys list` shows it
        name: KeyName,
    },
}
