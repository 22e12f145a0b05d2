//! The subcommands that are processes of the server. They are declared here and run by main.

use clap::Subcommand;

#[cfg(feature = "server")]
use std::ffi::OsString;
#[cfg(feature = "server")]
use std::path::PathBuf;

#[cfg(feature = "server")]
use crate::names::KeyId;

/// A role of the binary on the server.
#[cfg(feature = "server")]
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Start all processes of the server, where no systemd does
    Up {
        #[command(flatten)]
        host: HostFile,
        /// Return once everything is ready, instead of staying in the foreground
        #[arg(long)]
        detach: bool,
    },
    /// Stop what `paas up` started; apps go on
    Down {
        #[command(flatten)]
        host: HostFile,
    },
    /// Look at this host as an operator would, and say what to do about what is not right
    ///
    /// Run it as root. It works without the daemon too. Exit code 1: there is a problem.
    Doctor {
        #[command(flatten)]
        host: HostFile,
        /// sshd's settings, if they are not /etc/ssh/sshd_config
        #[arg(long, value_name = "FILE")]
        sshd_config: Option<PathBuf>,
        /// From the option that all commands have.
        #[arg(skip)]
        json: bool,
    },
    /// Base images: make, list
    Stack {
        #[command(subcommand)]
        act: StackAct,
    },
    /// Control plane
    #[command(hide = true)]
    Daemon {
        #[command(flatten)]
        host: HostFile,
    },
    /// Data plane
    #[command(hide = true)]
    Proxy {
        #[command(flatten)]
        host: HostFile,
    },
    /// Let the running proxy give its place to the binary that is installed now
    ///
    /// The unit's ExecReload. Exit code 1: the new one did not get ready, and the old one serves on.
    #[command(hide = true)]
    ProxyReload {
        /// The process of the running proxy
        pid: u32,
    },
    /// The way into instances
    #[command(hide = true)]
    Dialer {
        #[command(flatten)]
        host: HostFile,
    },
    /// PID 1 of an instance
    #[command(hide = true)]
    Init {
        /// The app's command
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// The forced command of the login user
    #[command(hide = true)]
    SshSession {
        #[command(flatten)]
        host: HostFile,
        #[arg(long)]
        key: KeyId,
    },
    /// git's proc-receive hook
    #[command(hide = true)]
    Receive {
        #[command(flatten)]
        host: HostFile,
    },
}

#[cfg(feature = "server")]
impl Role {
    /// Takes over what was said for all commands.
    pub(super) fn with(mut self, global: &super::args::Global) -> Self {
        if let Role::Doctor { json, .. } = &mut self {
            *json = global.json;
        }
        self
    }
}

/// In the command line alone there is no server to start.
#[cfg(not(feature = "server"))]
#[derive(Debug, Subcommand)]
pub enum Role {}

#[cfg(not(feature = "server"))]
impl Role {
    pub(super) fn with(self, _: &super::args::Global) -> Self {
        self
    }
}

#[cfg(feature = "server")]
#[derive(Debug, Clone, clap::Args)]
pub struct HostFile {
    /// The host config
    #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_FILE)]
    pub config: PathBuf,
}

#[cfg(feature = "server")]
#[derive(Debug, Subcommand)]
pub enum StackAct {
    /// Make the base images that are missing
    Make {
        #[command(flatten)]
        host: HostFile,
    },
    /// List the base images
    List {
        #[command(flatten)]
        host: HostFile,
    },
}
