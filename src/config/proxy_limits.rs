//! `[proxy.limits]`: what one client may take of the proxy.

use std::time::Duration;

use crate::base::toml_file::{KeyError, Section};

/// The keys of the table, as docs/config.md shows them; a test compares.
pub const PROXY_LIMITS_KEYS: [&str; 9] = [
    "proxy.limits.head_bytes",
    "proxy.limits.head_time",
    "proxy.limits.idle_time",
    "proxy.limits.body_rate",
    "proxy.limits.body_window",
    "proxy.limits.stall_time",
    "proxy.limits.connections",
    "proxy.limits.connections_per_address",
    "proxy.limits.held_per_app",
];

/// What one client, and all of them together, may take of the proxy. The default is what an empty table means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyLimits {
    /// Bytes of a request's head with its first line.
    pub head_bytes: u64,
    /// From the first byte of a request to the end of its head.
    pub head_time: Duration,
    /// A connection without a request.
    pub idle_time: Duration,
    /// Bytes per second that an upload must bring on average over `body_window`; 0 is no minimum.
    pub body_rate: u64,
    pub body_window: Duration,
    /// An upload or a download without one byte of progress.
    pub stall_time: Duration,
    /// Connections of all clients at one time.
    pub connections: u64,
    /// Of one IPv4 address or one IPv6 /64.
    pub connections_per_address: u64,
    /// Requests of one app that wait at one time: for a deploy that stops before it starts, or for the end of its maintenance.
    pub held_per_app: u64,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            // Cookies of big sites reach 16 KiB; 64 KiB is what app servers still take.
            head_bytes: 64 << 10,
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            // A bad mobile line brings ten times as much.
            body_rate: 1 << 10,
            // What is piped into an upload may pause.
            body_window: Duration::from_secs(30),
            stall_time: Duration::from_secs(60),
            connections: 20_000,
            // Some hundred people behind one address of their office or carrier, each with a few connections.
            connections_per_address: 1000,
            // What an app takes at once when the wait is over; each also costs its connection.
            held_per_app: 1000,
        }
    }
}

pub fn read(mut s: Section<'_>) -> Result<ProxyLimits, KeyError> {
    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);
    let d = ProxyLimits::default();
    let limits = ProxyLimits {
        head_bytes: s.size("head_bytes", 4 << 10..=1 << 20)?.unwrap_or(d.head_bytes),
        head_time: s.duration("head_time", SECOND..=HOUR)?.unwrap_or(d.head_time),
        idle_time: s.duration("idle_time", SECOND..=HOUR)?.unwrap_or(d.idle_time),
        body_rate: s.size("body_rate", 0..=1 << 30)?.unwrap_or(d.body_rate),
        body_window: s.duration("body_window", SECOND..=HOUR)?.unwrap_or(d.body_window),
        stall_time: s.duration("stall_time", SECOND..=HOUR)?.unwrap_or(d.stall_time),
        connections: s.integer("connections", 16..=10_000_000)?.unwrap_or(d.connections),
        connections_per_address: s.integer("connections_per_address", 1..=10_000_000)?.unwrap_or(d.connections_per_address),
        held_per_app: s.integer("held_per_app", 1..=10_000_000)?.unwrap_or(d.held_per_app),
    };
    s.done()?;
    Ok(limits)
}
