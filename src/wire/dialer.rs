//! Asks to the dialer, and the client that daemon and proxy use. One JSON message per packet of a SOCK_SEQPACKET socket; a connected descriptor
//! comes with its answer by SCM_RIGHTS.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::names::InstanceId;

mod client;

pub use client::{DialClient, DialFailure};

/// No message is longer; a list of 1,000 targets has about 8 KiB.
pub const LARGEST_PACKET: usize = 64 << 10;

/// What the dialer is asked. Register, Unregister, List and Listening are the daemon's; Dial is the proxy's and the daemon's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// From now on `target` is the network namespace behind Docker's sandbox key, and this port in it.
    Register {
        target: InstanceId,
        sandbox_key: PathBuf,
        port: u16,
    },
    Unregister {
        target: InstanceId,
    },
    List,
    /// The TCP ports on which something listens in the target's namespace: its own first, and at most some hundred.
    Listening {
        target: InstanceId,
    },
    Dial {
        target: InstanceId,
    },
}

/// An ask with the number that its answer carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered<T> {
    pub id: u64,
    pub body: T,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    Done,
    Targets(Vec<InstanceId>),
    Listening(Vec<ListeningPort>),
    /// With one descriptor: a connected TCP socket, non-blocking.
    Connected,
    Failed {
        kind: DialError,
        why: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListeningPort {
    pub address: IpAddr,
    pub port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DialError {
    UnknownTarget,
    /// The sandbox key does not name a network namespace (any more).
    NamespaceGone,
    /// Nothing listens on the port.
    Refused,
    /// The backlog is full, or too many dials to this target wait already.
    TimedOut,
    /// The peer may not ask this.
    Denied,
    /// The dialer cannot be reached, or broke its protocol.
    Unavailable,
    Other,
}
