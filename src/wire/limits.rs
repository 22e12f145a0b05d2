//! What one client may take of the proxy, as the snapshot carries it; and what was turned away or cut short by it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::ProxyLimits;

/// [`ProxyLimits`] on the wire. One that is absent is as by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub head_bytes: u64,
    pub head_ms: u64,
    pub idle_ms: u64,
    /// Per second; 0 is none.
    pub body_rate: u64,
    pub body_window_ms: u64,
    pub stall_ms: u64,
    pub connections: u64,
    pub connections_per_address: u64,
    /// The default is not sent: a proxy older than this limit refuses what it doesn't know, and would follow no change until it is replaced.
    #[serde(skip_serializing_if = "is_default_held")]
    pub held_per_app: u64,
}

fn is_default_held(held: &u64) -> bool {
    *held == ProxyLimits::default().held_per_app
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&ProxyLimits::default())
    }
}

impl From<&ProxyLimits> for Limits {
    fn from(typed: &ProxyLimits) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            head_bytes: typed.head_bytes,
            head_ms: millis(typed.head_time),
            idle_ms: millis(typed.idle_time),
            body_rate: typed.body_rate,
            body_window_ms: millis(typed.body_window),
            stall_ms: millis(typed.stall_time),
            connections: typed.connections,
            connections_per_address: typed.connections_per_address,
            held_per_app: typed.held_per_app,
        }
    }
}

impl Limits {
    pub fn head_bytes(&self) -> usize {
        usize::try_from(self.head_bytes).unwrap_or(usize::MAX)
    }

    pub fn head_time(&self) -> Duration {
        Duration::from_millis(self.head_ms)
    }

    pub fn idle_time(&self) -> Duration {
        Duration::from_millis(self.idle_ms)
    }

    pub fn body_window(&self) -> Duration {
        Duration::from_millis(self.body_window_ms)
    }

    pub fn stall_time(&self) -> Duration {
        Duration::from_millis(self.stall_ms)
    }

    /// Whether a proxy that keeps to them could serve anybody.
    pub fn are_usable(&self) -> bool {
        let times = [self.head_ms, self.idle_ms, self.body_window_ms, self.stall_ms];
        self.head_bytes >= 1024
            && self.connections > 0
            && self.connections_per_address > 0
            && self.held_per_app > 0
            // A day: no deadline of ours then overflows a clock.
            && times.iter().all(|ms| (1..=86_400_000).contains(ms))
    }
}

/// Clients that a limit turned away or cut short, since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DropCounts {
    /// Connections beyond `connections`, closed at once.
    pub all_full: u64,
    /// Connections beyond `connections_per_address`, closed at once.
    pub address_full: u64,
    /// Heads not whole within `head_time`.
    pub slow_heads: u64,
    /// Bodies below `body_rate`, or without a byte for `stall_time`.
    pub slow_bodies: u64,
    /// Answers that the client did not take for `stall_time`.
    pub slow_readers: u64,
    /// Heads beyond `head_bytes` or with too many fields.
    pub large_heads: u64,
    /// Requests that are not well-formed, or that parsers could read differently.
    pub malformed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_proxy_does_not_know_is_sent_only_where_somebody_has_set_it() {
        let sent = |limits: &Limits| serde_json::to_string(limits).expect("JSON");
        let read = |text: &str| serde_json::from_str::<Limits>(text).expect("limits");
        let set = Limits { held_per_app: 7, ..Limits::default() };
        assert!(!sent(&Limits::default()).contains("held_per_app") && sent(&set).contains("\"held_per_app\":7"));
        assert_eq!([read(&sent(&set)), read(&sent(&Limits::default()))], [set, Limits::default()]);
    }
}
