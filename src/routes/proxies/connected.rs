//! One connected proxy process: what it was asked, what it said.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outbox::Outbox;
use crate::names::InstanceId;
use crate::wire::proxy::Snapshot;

pub struct Connected {
    pub pid: u32,
    pub generation: String,
    pub listening: Vec<SocketAddr>,
    pub listening_tls: Vec<SocketAddr>,
    pub outbox: Arc<Outbox>,
    /// The newest snapshot that it was to judge.
    asked: u64,
    pub prepared: u64,
    pub rejected: Option<(u64, String)>,
    pub activated: u64,
    /// The targets at which nothing is in flight any more, with the snapshot that it acted by when it said so.
    pub drained: BTreeMap<InstanceId, u64>,
    /// Since when it has owed an answer or has acted by other routes than the current ones, without a moment between.
    behind_since: Option<Instant>,
}

impl Connected {
    pub fn new(pid: u32, generation: String, listening: Vec<SocketAddr>, listening_tls: Vec<SocketAddr>) -> Self {
        Self {
            pid,
            generation,
            listening,
            listening_tls,
            outbox: Arc::default(),
            asked: 0,
            prepared: 0,
            rejected: None,
            activated: 0,
            drained: BTreeMap::new(),
            behind_since: None,
        }
    }

    pub fn ask_to_prepare(&mut self, snapshot: &Arc<Snapshot>) {
        self.rejected = None;
        self.asked = snapshot.version;
        self.outbox.prepare(snapshot);
    }

    /// Whatever was said or asked: `current` are the routes that it should act by.
    pub fn note(&mut self, current: Option<u64>) {
        let refused = self.rejected.as_ref().is_some_and(|(version, _)| *version == self.asked);
        let owes = self.prepared.max(self.activated) < self.asked && !refused;
        let is_behind = owes || current.is_some_and(|current| self.activated < current);
        self.behind_since = is_behind.then(|| self.behind_since.unwrap_or_else(Instant::now));
    }

    /// What is wrong with it, if it has been for `limit`.
    pub fn complaint(&self, limit: Duration) -> Option<String> {
        let since = self.behind_since.map(|since| since.elapsed()).filter(|since| *since >= limit)?;
        let (pid, seconds) = (self.pid, since.as_secs());
        Some(match &self.rejected {
            Some((_, why)) => format!("the proxy with process id {pid} has refused the newest routes for {seconds} s: {why}"),
            None => format!("the proxy with process id {pid} has not confirmed the newest routes for {seconds} s"),
        })
    }
}
