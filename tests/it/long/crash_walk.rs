//! The walk over all crash points, each with a push of its own: nothing that one death left can be mended by the next.

use crate::crash_walk::{RELEASE, Road, STOP_START, WORKER, ends, walk_all};

#[test]
fn a_push_killed_at_one_point_up_to_the_start() {
    walk_all(RELEASE, &[Road::Making], 1);
}

#[test]
fn a_push_killed_at_one_point_from_the_start_on() {
    walk_all(WORKER, &[Road::Shifting], 1);
}

#[test]
fn a_deploy_that_fails_or_is_cancelled_killed_at_one_point() {
    walk_all(WORKER, &[Road::Failing, Road::Cancelled], 1);
}

#[test]
fn a_stop_start_deploy_killed_at_one_point() {
    walk_all(STOP_START, &[Road::StopStart, Road::StopStartFailing], 1);
}

#[test]
fn the_ends_of_an_app_killed_at_one_point() {
    ends::one_at_a_time();
}
