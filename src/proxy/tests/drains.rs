//! What the control thread keeps of drains and counts, without a proxy around it.

use std::sync::Arc;

use super::world::*;
use crate::names::InstanceId;
use crate::proxy::drains::Drains;
use crate::proxy::report::Report;
use crate::proxy::routes::Table;
use crate::proxy::target::{Claim, End};
use crate::wire::proxy::Snapshot;

fn table(snapshot: &Snapshot, before: &Table) -> Table {
    Table::build(snapshot, before).expect("a table")
}

fn claim(table: &Table) -> Claim {
    Arc::clone(&table.targets[&InstanceId(1)]).claim().expect("it is open")
}

#[tokio::test]
async fn a_target_is_closed_by_the_time_its_drain_has_begun() {
    let (first, second) = (snapshot(1, &[1], &[]), snapshot(2, &[], &[(1, budget(60_000, 60_000))]));
    let before = table(&first, &Table::default());
    let mut drains = Drains::default();
    drains.begin(&first, &before, &Table::default());
    let in_flight = claim(&before);
    let now = table(&second, &before);
    drains.begin(&second, &now, &before);
    // Before anything else can run on this thread: the daemon is told that the snapshot is active.
    assert!(now.targets[&InstanceId(1)].is_draining());
    drop(in_flight);
}

#[tokio::test]
async fn a_target_that_left_with_a_request_is_counted_until_that_has_ended() {
    let (first, second) = (snapshot(1, &[1], &[]), snapshot(2, &[], &[]));
    let (mut drains, mut report) = (Drains::default(), Report::default());
    let before = table(&first, &Table::default());
    drains.begin(&first, &before, &Table::default());
    report.begin(&before);
    assert_eq!(drains.changed_counts(&before).len(), 1, "all of them at first");
    assert!(drains.changed_counts(&before).is_empty(), "only what changed");
    drains.repeat_all();
    assert_eq!(drains.changed_counts(&before).len(), 1, "another daemon is told all of them again");

    let in_flight = claim(&before);
    let now = table(&second, &before);
    drains.begin(&second, &now, &before);
    report.begin(&now);
    for _ in 0..3 {
        drains.changed_counts(&now);
        report.changed(&now);
    }
    in_flight.target().end(End::Served, 200);
    drop(in_flight);
    let counts = drains.changed_counts(&now);
    assert_eq!(counts.iter().map(|c| (c.served, c.in_flight)).collect::<Vec<_>>(), [(1, 0)]);
    assert_eq!(report.changed(&now).targets.iter().map(|t| t.sums.requests()).collect::<Vec<_>>(), [1]);
    drains.changed_counts(&now);
    drains.repeat_all();
    assert!(drains.changed_counts(&now).is_empty(), "it is forgotten then");
}

#[test]
fn only_so_many_wait_for_a_target_to_come_back() {
    let made = table(&snapshot(1, &[1], &[]), &Table::default());
    let target = &made.targets[&InstanceId(1)];
    let (one, two) = (target.wait_in_line(2), target.wait_in_line(2));
    assert!(one.is_some() && two.is_some() && target.wait_in_line(2).is_none());
    drop(one);
    assert!(target.wait_in_line(2).is_some(), "a place that was left, and none was taken in vain");
}
