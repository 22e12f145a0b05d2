//! Arguments of what is in front of apps: routes, certificates, maintenance.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::names::{AppName, HostPattern};

#[derive(Debug, Subcommand)]
pub enum RoutesAct {
    /// Show what would happen to a request, and why; nothing is sent
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Such as `https://shop.example.com/cart?id=7`
    pub url: String,
    /// A header field of the request; several are allowed. After `explain`, -H means this
    #[arg(long, value_name = "NAME: VALUE")]
    pub header: Vec<String>,
    /// The method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub method: String,
    /// The address that the connection comes from
    #[arg(long, value_name = "ADDRESS", default_value = "192.0.2.1")]
    pub from: IpAddr,
}

#[derive(Debug, Subcommand)]
pub enum CertsAct {
    /// Show a certificate of your own for host names, in the place of what was shown for them
    Add {
        /// Such as shop.example.com or *.apps.example.com
        #[arg(id = "hosts", required = true, value_name = "HOST")]
        hosts: Vec<HostPattern>,
        /// PEM: the certificate, then those that lead from it to a root; `-` is stdin
        #[arg(long, value_name = "FILE")]
        chain: PathBuf,
        /// PEM: the private key, not encrypted; `-` is stdin, which may hold both
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// List them
    List,
    /// Show one
    Show {
        /// As `certs list` shows it
        #[arg(id = "certificate", value_name = "HOST")]
        host: HostPattern,
        /// Print chain and private key as PEM, to take them elsewhere
        #[arg(long)]
        with_key: bool,
    },
    /// No longer show one for a host name; a key that nothing needs is forgotten
    Remove {
        /// As `certs list` shows it
        #[arg(id = "certificate", value_name = "HOST")]
        host: HostPattern,
    },
}

#[derive(Debug, Args)]
pub struct MetricsArgs {
    /// The app [default: as with -a]
    pub name: Option<AppName>,
    /// How far back, from 10s to 1h [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub window: Option<Duration>,
    /// Again every two seconds
    #[arg(short, long)]
    pub watch: bool,
    /// All counters and histograms in Prometheus's text format; without an app: of every app that you may see
    #[arg(long, conflicts_with_all = ["window", "watch"])]
    pub prometheus: bool,
}

#[derive(Debug, Subcommand)]
pub enum MaintenanceAct {
    /// Give clients a page (503) instead of the app, also through deploys and restarts
    On {
        /// Your own words on the page, as plain text
        #[arg(long, value_name = "TEXT")]
        message: Option<String>,
        /// Requests wait so long for the end of it, such as 30s, before they get the page
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        hold: Option<Duration>,
    },
    /// Let requests reach the app again
    Off,
    /// Show whether it is on
    Show,
}
