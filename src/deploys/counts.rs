//! What happened to requests while a deploy changed over: from the proxies' counts by target to the deploy's own.
//!
//! A deploy's window opens when its old targets are closed and ends when the last instance that it retired is gone. To it belong the
//! requests that old targets had in flight when they were closed, and all that the new ones did until then. Both ends of an old target
//! and the beginning of a new one are exact, whatever the delay of reports, because the proxy tells the two sides of a close apart.
//! What an instance did in its whole life goes to `answered` of the deploy that made it: these add up to what clients counted.

use std::time::Duration;

use crate::deploys::world::World;
use crate::model::deploy::RequestCounts;
use crate::model::instance::{Instance, Wanted};
use crate::names::{DeployId, InstanceId};
use crate::store::InstanceCounts;
use crate::wire::proxy::TargetCounts;

/// What is known of the new instances is as old as the proxies' last report (every 100 ms), and requests that were held go on in the first
/// moment after the change: a window that closes at once would miss both.
const LONGEST_READ: Duration = Duration::from_secs(5);
const LAST_REPORTS: Duration = Duration::from_millis(500);

impl World {
    /// To be called before targets are closed or go on serving under a new deploy: what they did until now is not the deploy's. Those that
    /// have a mark keep it, as a step may run twice.
    pub(super) fn note_counts(&self, targets: &[InstanceId]) {
        let mut before = self.counts_before.lock().expect("no code panics while it holds this lock");
        for target in targets {
            before.entry(*target).or_insert_with(|| self.publisher.proxies.counts(*target));
        }
    }

    /// What an instance did so far.
    pub fn counts_of(&self, target: InstanceId) -> RequestCounts {
        let now = self.publisher.proxies.counts(target);
        RequestCounts { answered: now.served, ..before_close(&now).plus(&after_close(&now)) }
    }

    /// Ends what `note_counts` began for a deploy that did not go live.
    pub(super) fn forget_marks(&self, rows: &[Instance]) {
        let mut before = self.counts_before.lock().expect("no code panics while it holds this lock");
        for row in rows.iter().filter(|i| !matches!(i.wanted, Wanted::Retiring)) {
            before.remove(&row.id);
        }
    }

    /// Adds what a retired instance did to the deploys that it belongs to, once, when nothing is in flight at it any more.
    pub(super) async fn count_in(&self, row: &Instance) {
        let Some(by) = row.retired_by else { return };
        if row.takes_requests() {
            tokio::time::sleep(LAST_REPORTS).await;
        }
        // Instances that retire at once take turns: the last one closes the window.
        let _turn = self.counts_turn.lock().await;
        let now = self.publisher.proxies.counts(row.id);
        // No mark: the daemon was restarted since. A target is closed once in its life, but for a stop-start deploy that failed.
        let before = self.mark(row.id).unwrap_or_else(|| TargetCounts::zero(row.id));
        let counts = InstanceCounts {
            closing: after_close(&now).minus(&after_close(&before)),
            own: before_close(&now),
            answered: now.served,
        };
        let serving = self.serving(row.app_id, by).await;
        match self.store.instance_counted(row, &counts, &serving).await {
            Ok(()) => drop(self.counts_before.lock().expect("no code panics while it holds this lock").remove(&row.id)),
            Err(e) => tracing::warn!(app = %row.app, instance = %row.id, "keeping the counts: {e}"),
        }
    }

    fn mark(&self, target: InstanceId) -> Option<TargetCounts> {
        self.counts_before.lock().expect("no code panics while it holds this lock").get(&target).cloned()
    }

    /// What the instances that serve since the commit point of `deploy` have done since then.
    async fn serving(&self, app_id: i64, deploy: DeployId) -> RequestCounts {
        // In a turn that others wait for: rows that can't be read hold up nobody for long.
        let reading = self.read("who serves", || self.store.instances_of(app_id));
        let rows = tokio::time::timeout(LONGEST_READ, reading).await.ok().flatten().unwrap_or_default();
        let serving =
            rows.iter().filter(|i| i.takes_requests() && !i.counted && matches!(i.wanted, Wanted::Live | Wanted::Retiring));
        serving.fold(RequestCounts::default(), |sum, row| {
            let now = before_close(&self.publisher.proxies.counts(row.id));
            match self.mark(row.id) {
                _ if row.deploy == deploy => sum.plus(&now),
                Some(mark) if row.wanted == Wanted::Live => sum.plus(&now.minus(&before_close(&mark))),
                _ => sum,
            }
        })
    }
}

/// What ended after the target was closed.
fn after_close(counts: &TargetCounts) -> RequestCounts {
    RequestCounts {
        served: counts.drained,
        retried: counts.retried_draining,
        drained: counts.drained,
        cut: counts.cut,
        dropped: counts.failed_draining,
        ..RequestCounts::default()
    }
}

/// What ended before.
fn before_close(counts: &TargetCounts) -> RequestCounts {
    RequestCounts {
        served: counts.served - counts.drained,
        held: counts.held,
        retried: counts.retried - counts.retried_draining,
        dropped: counts.failed - counts.failed_draining,
        ..RequestCounts::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_sides_of_a_close_add_up_to_all_that_a_target_did() {
        let all = TargetCounts {
            served: 10,
            drained: 3,
            retried: 4,
            retried_draining: 1,
            failed: 2,
            failed_draining: 1,
            cut: 5,
            held: 6,
            ..TargetCounts::zero(InstanceId(1))
        };
        let sum = before_close(&all).plus(&after_close(&all));
        assert_eq!((sum.served, sum.held, sum.retried, sum.drained, sum.cut, sum.dropped), (10, 6, 4, 3, 5, 2));
    }
}
