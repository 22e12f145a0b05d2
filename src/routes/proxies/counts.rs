//! What the proxies counted: of each process what it told last, which is cumulative since its start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::names::InstanceId;
use crate::wire::proxy::TargetCounts;

/// Processes of which each is remembered by itself: more than can be connected at once.
const MOST_PROCESSES: usize = 100;

type ByTarget = BTreeMap<InstanceId, TargetCounts>;

/// Those of a process that is gone stay until the target is forgotten.
#[derive(Default)]
pub struct Counts {
    by_process: BTreeMap<String, ByTarget>,
    /// Processes in the order in which they were heard of.
    order: VecDeque<String>,
    /// Of processes that are not remembered any more.
    before: ByTarget,
}

impl Counts {
    /// Takes what a process tells; `is_live` says which ones are connected.
    pub fn take(&mut self, process: &str, counts: impl Iterator<Item = TargetCounts>, is_live: impl Fn(&str) -> bool) {
        if !self.by_process.contains_key(process) {
            self.order.push_back(process.to_owned());
        }
        self.by_process.entry(process.to_owned()).or_default().extend(counts.map(|c| (c.target, c)));
        if self.order.len() <= MOST_PROCESSES {
            return;
        }
        if let Some(oldest) = self.order.iter().position(|p| !is_live(p)).and_then(|at| self.order.remove(at)) {
            for (target, counts) in self.by_process.remove(&oldest).unwrap_or_default() {
                add(self.before.entry(target).or_insert_with(|| TargetCounts::zero(target)), &counts, false);
            }
        }
    }

    pub fn sum(&self, target: InstanceId, is_live: impl Fn(&str) -> bool) -> TargetCounts {
        let mut total = self.before.get(&target).cloned().unwrap_or_else(|| TargetCounts::zero(target));
        for (process, counts) in &self.by_process {
            if let Some(counts) = counts.get(&target) {
                add(&mut total, counts, is_live(process));
            }
        }
        total
    }

    pub fn forget(&mut self, target: InstanceId) {
        self.retain(|of| of != target);
    }

    /// What is no instance any more is forgotten.
    pub fn keep_to(&mut self, instances: &BTreeSet<InstanceId>) {
        self.retain(|of| instances.contains(&of));
    }

    fn retain(&mut self, keep: impl Fn(InstanceId) -> bool) {
        for counts in self.by_process.values_mut().chain([&mut self.before]) {
            counts.retain(|target, _| keep(*target));
        }
        self.by_process.retain(|_, counts| !counts.is_empty());
        self.order.retain(|process| self.by_process.contains_key(process));
    }
}

/// A process that is gone has nothing in flight any more.
fn add(total: &mut TargetCounts, counts: &TargetCounts, is_live: bool) {
    total.add(counts);
    if !is_live {
        total.in_flight -= counts.in_flight;
        total.streams -= counts.streams;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_processes_is_bounded_and_no_count_is_lost() {
        let (mut counts, target) = (Counts::default(), InstanceId(7));
        let told = |served, in_flight| std::iter::once(TargetCounts { served, in_flight, ..TargetCounts::zero(target) });
        let is_live = |process: &str| matches!(process, "first" | "last");
        counts.take("first", told(1, 1), is_live);
        for n in 0..1000 {
            counts.take(&format!("process {n}"), told(1, 1), is_live);
        }
        counts.take("first", told(3, 2), is_live);
        counts.take("last", told(5, 4), is_live);
        assert_eq!((counts.by_process.len(), counts.order.len()), (MOST_PROCESSES, MOST_PROCESSES));
        let sum = counts.sum(target, is_live);
        assert_eq!((sum.served, sum.in_flight), (1008, 6), "those that are gone have nothing in flight");
        counts.keep_to(&BTreeSet::from([InstanceId(8)]));
        assert_eq!(counts.sum(target, is_live), TargetCounts::zero(target));
        assert!(counts.by_process.is_empty() && counts.order.is_empty());
    }
}
