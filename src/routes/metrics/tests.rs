//! Processes that come and go, a daemon that comes late, instances that end.

use super::*;

fn shop() -> AppName {
    AppName::parse("shop").expect("an app")
}

/// One target (of release 1 for targets below 10, else of 2) that has answered `n` requests in all.
fn told(target: i64, n: u64) -> Metrics {
    let sums = Sums { by_class: [0, 0, n, 0, 0, 0], dropped: [("died".to_owned(), n)].into(), ..Sums::default() };
    let (process, release) = (ProcessName::parse("web").expect("a process"), ReleaseNumber(if target < 10 { 1 } else { 2 }));
    Metrics { targets: vec![TargetMetrics { target: InstanceId(target), app: shop(), process, release, sums }], apps: vec![] }
}

fn nothing() -> Metrics {
    Metrics::default()
}

#[track_caller]
fn is(meters: &Meters, from: u64, total: u64, lately: u64) {
    let app = meters.app(&shop()).expect("known");
    let found: u64 = app.all().map(|series| series.window.since(from).requests()).sum();
    assert_eq!((app.total().requests(), found), (total, lately));
}

#[test]
fn two_processes_add_up_and_the_end_of_one_takes_nothing_away() {
    let mut meters = Meters::default();
    meters.take("old", nothing(), 0);
    meters.take("old", told(1, 5), 1);
    meters.take("new", nothing(), 2);
    meters.take("new", told(1, 3), 3);
    is(&meters, 0, 8, 8);
    meters.take("old", told(1, 7), 30);
    is(&meters, 0, 10, 10);
    is(&meters, 30, 10, 2);
    meters.take("third", nothing(), 40);
    meters.take("third", told(1, 1), 41);
    is(&meters, 0, 11, 11);
    // A message that was lost is made up for by the next, one that comes twice is nothing new.
    meters.take("third", told(1, 9), 50);
    meters.take("third", told(1, 9), 51);
    is(&meters, 50, 19, 8);
}

#[test]
fn what_was_counted_before_the_daemon_listened_is_in_the_totals_but_no_burst() {
    let mut meters = Meters::default();
    meters.take("old", told(1, 1_000_000), 5);
    is(&meters, 0, 1_000_000, 0);
    meters.take("old", told(1, 1_000_002), 6);
    is(&meters, 0, 1_000_002, 2);
    // A new instance is counted from its first request, as the process is known.
    meters.take("old", told(11, 4), 7);
    is(&meters, 0, 1_000_006, 6);
}

#[test]
fn nothing_falls_below_zero_when_a_process_tells_less() {
    let mut meters = Meters::default();
    meters.take("odd", nothing(), 0);
    meters.take("odd", told(1, 9), 1);
    meters.take("odd", told(1, 4), 2);
    is(&meters, 0, 9, 9);
    meters.take("odd", told(1, 6), 3);
    is(&meters, 0, 11, 11);
}

#[test]
fn an_instance_that_is_gone_stays_in_its_release_for_an_hour() {
    let mut meters = Meters::default();
    meters.take("p", nothing(), 0);
    meters.take("p", told(1, 5), 100);
    meters.take("p", told(11, 7), 110);
    meters.forget(InstanceId(1), 120);
    let app = meters.app(&shop()).expect("known");
    assert_eq!(app.gone[&ReleaseNumber(1)].total.requests(), 5);
    assert_eq!(app.targets.keys().collect::<Vec<_>>(), [&InstanceId(11)]);
    is(&meters, 0, 12, 12);
    meters.take("p", told(1, 6), 121);
    assert!(!meters.app(&shop()).expect("known").targets.contains_key(&InstanceId(1)), "a late word brings it not back");
    meters.forget(InstanceId(99), 101 + SPAN);
    assert!(meters.app(&shop()).expect("known").gone.is_empty());
    assert_eq!(meters.app(&shop()).expect("known").total().requests(), 12, "the total stays");
    meters.forget_app(&shop());
    assert!(meters.app(&shop()).is_none());
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut meters = Meters::default();
    for n in 0..100 {
        meters.take(&format!("p{n}"), told(n, 1), 0);
        meters.forget(InstanceId(n), 0);
    }
    assert_eq!((meters.last.len(), meters.order.len()), (MOST_PROCESSES, MOST_PROCESSES));
    meters.take("p99", nothing(), 0);
    meters.take_turned_away("p99", &serde_json::json!({ "malformed": 3, "new_reason": 1 }));
    meters.take_turned_away("p99", &serde_json::json!({ "malformed": 5, "new_reason": 1 }));
    assert_eq!(meters.turned_away()["malformed"] + meters.turned_away()["new_reason"], 6);
}

#[test]
fn what_can_not_be_reckoned_with_is_left_out() {
    let mut meters = Meters::default();
    meters.take("odd", nothing(), 0);
    let mut metrics = told(1, 9);
    metrics.targets[0].sums.dial = serde_json::from_str(r#"{"counts":[[9,1],[3,1]]}"#).expect("JSON");
    meters.take("odd", metrics, 1);
    assert!(meters.app(&shop()).is_none());
    meters.take("odd", told(1, 9), 2);
    is(&meters, 0, 9, 9);
}

#[test]
fn releases_and_instances_that_are_gone_are_bounded_and_their_totals_stay() {
    let mut meters = Meters::default();
    meters.take("p", nothing(), 0);
    for n in 0..MOST_RELEASES + 30 {
        let mut metrics = told(i64::try_from(n).expect("small"), 1);
        metrics.targets[0].release = ReleaseNumber(i64::try_from(n).expect("small"));
        meters.take("p", metrics, 1);
        meters.forget(InstanceId(i64::try_from(n).expect("small")), 1);
    }
    let app = meters.app(&shop()).expect("known");
    assert_eq!((app.gone.len(), app.total().requests()), (MOST_RELEASES, u64::try_from(MOST_RELEASES).expect("small") + 30));
    for n in 0..2 * MOST_GONE {
        meters.forget(InstanceId(1000 + i64::try_from(n).expect("small")), 1);
    }
    assert_eq!(meters.gone.len(), MOST_GONE);
}
