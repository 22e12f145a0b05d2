//! The drains under way, and what of targets was told to the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::routes::Table;
use super::target::{Begun, Target};
use crate::names::InstanceId;
use crate::wire::proxy::{DrainBudget, Snapshot, TargetCounts};

pub struct Drains {
    running: BTreeMap<InstanceId, Running>,
    /// Ended ones with how many were cut; kept while the snapshot names the target.
    ended: BTreeMap<InstanceId, u64>,
    to_report: BTreeSet<InstanceId>,
    ends: mpsc::UnboundedReceiver<(InstanceId, u64)>,
    end: mpsc::UnboundedSender<(InstanceId, u64)>,
    /// All targets of the table, and those that left it with something in flight; with the counts that were sent last.
    counted: BTreeMap<InstanceId, (Arc<Target>, Option<TargetCounts>)>,
}

/// A drain that goes on.
struct Running {
    task: AbortHandle,
    budget: DrainBudget,
    begun: Begun,
}

impl Default for Drains {
    fn default() -> Self {
        let (end, ends) = mpsc::unbounded_channel();
        Self { running: BTreeMap::new(), ended: BTreeMap::new(), to_report: BTreeSet::new(), ends, end, counted: BTreeMap::new() }
    }
}

impl Drains {
    /// Before a table is published: targets that it uses again take requests again.
    pub fn reopen(&mut self, snapshot: &Snapshot, table: &Table) {
        for about in snapshot.targets.iter().filter(|t| t.drain.is_none()) {
            if let Some(running) = self.running.remove(&about.id) {
                running.task.abort();
            }
            self.ended.remove(&about.id);
            self.to_report.remove(&about.id);
            if let Some(target) = table.targets.get(&about.id).filter(|t| t.is_draining()) {
                target.reopen();
            }
        }
    }

    /// After a table was published: begins its drains; a target that left the snapshot altogether takes nothing more.
    pub fn begin(&mut self, snapshot: &Snapshot, table: &Table, before: &Table) {
        for (id, target) in &table.targets {
            let known = self.counted.get(id).is_some_and(|(counted, _)| Arc::ptr_eq(counted, target));
            if !known {
                self.counted.insert(*id, (Arc::clone(target), None));
            }
        }
        for target in before.targets.values().filter(|t| !table.targets.contains_key(&t.id())) {
            target.close();
        }
        for about in &snapshot.targets {
            let (Some(budget), Some(target)) = (about.drain, table.targets.get(&about.id)) else { continue };
            if self.ended.contains_key(&about.id) {
                self.to_report.insert(about.id);
            } else if self.running.get(&about.id).is_none_or(|running| running.budget != budget) {
                // A budget that was changed (a third release needs the place) still counts from the beginning of the drain: the daemon
                // waits no longer than that.
                let running = self.running.remove(&about.id);
                let begun = running.as_ref().map_or_else(|| Begun::now(target), |running| running.begun);
                if let Some(running) = running {
                    running.task.abort();
                }
                // Closed here and now, so that the answer to Activate is true when it is sent.
                target.close();
                let (target, end) = (Arc::clone(target), self.end.clone());
                let drain = tokio::spawn(async move {
                    let forced = target.drain(budget, begun).await;
                    // Nobody listens only when the process ends.
                    let _ = end.send((target.id(), forced));
                });
                self.running.insert(about.id, Running { task: drain.abort_handle(), budget, begun });
            }
        }
        let to_report = &self.to_report;
        self.ended.retain(|id, _| table.targets.contains_key(id) || to_report.contains(id));
    }

    /// Waits for the end of a drain. Cancel-safe: yes.
    pub async fn any_ended(&mut self) {
        if let Some((id, forced)) = self.ends.recv().await {
            self.note(id, forced);
        }
    }

    fn note(&mut self, id: InstanceId, forced: u64) {
        // A drain that was taken back may still have had its end on the way.
        if self.running.remove(&id).is_some() {
            self.ended.insert(id, forced);
            self.to_report.insert(id);
        }
    }

    /// A new daemon may not know what the last one was told.
    pub fn repeat_all(&mut self) {
        self.to_report.extend(self.ended.keys());
        for (_, sent) in self.counted.values_mut() {
            *sent = None;
        }
    }

    pub fn next_to_report(&mut self) -> Option<(InstanceId, u64)> {
        while let Ok((id, forced)) = self.ends.try_recv() {
            self.note(id, forced);
        }
        let id = *self.to_report.first()?;
        Some((id, self.ended.get(&id).copied().unwrap_or_default()))
    }

    pub fn reported(&mut self, id: InstanceId) {
        self.to_report.remove(&id);
    }

    /// The counts that differ from what was sent last; they count as sent. A target that left the table is forgotten after its last ones.
    pub fn changed_counts(&mut self, table: &Table) -> Vec<TargetCounts> {
        let mut changed = Vec::new();
        self.counted.retain(|id, (target, sent)| {
            let now = target.counts();
            let same = sent.as_ref() == Some(&now);
            if !same {
                changed.push(now.clone());
                *sent = Some(now.clone());
            }
            table.targets.contains_key(id) || now.in_flight > 0 || !same
        });
        changed
    }
}
