//! The clock is set by a day, both ways, as an administrator does it or a machine whose battery is empty.

use std::time::Duration;

use super::{APP, APPS, Machine, SLOW, machine, tell};
use crate::support::eventually;

/// The wall clock jumps by `by`, a word of `date`. Nothing may take it back.
#[track_caller]
fn jump(machine: &Machine, by: &str) {
    let timers = machine.sh("systemctl is-active systemd-timesyncd chrony ntpsec").out;
    assert!(!timers.lines().any(|line| line == "active"), "something keeps the clock: {timers}");
    let before: i64 = machine.sh("date +%s").ok().out.trim().parse().expect("seconds");
    machine.sh(&format!("date -s \"$(date -d '{by}' '+%F %T')\"")).ok();
    let after: i64 = machine.sh("date +%s").ok().out.trim().parse().expect("seconds");
    assert!((after - before).abs() > 86_000, "the clock went from {before} to {after}");
}

const DAYS: [&str; 2] = ["+1 day", "-1 day"];

#[track_caller]
fn deploys(machine: &Machine, version: &str) {
    let app = APPS[0];
    machine.push(app, version, APP, "").ok().says(&["Live: v"]);
    eventually("the new release answers", SLOW, || machine.asks(app).filter(|text| *text == format!("{app} {version}\n")));
}

/// The lines of each worker in the order in which they are told: its ticks may only grow.
#[track_caller]
fn log_lines_are_in_order(machine: &Machine) {
    let lines = machine.sh(&format!("paas logs -a {} -p worker -n 2000", APPS[0])).ok().out;
    let field = |line: &str, key: &str| line.split(' ').find_map(|word| word.strip_prefix(key).map(str::to_owned));
    let mut last = std::collections::BTreeMap::new();
    let mut seen = 0;
    for line in lines.lines() {
        let (Some(release), Some(tick)) = (field(line, "release="), field(line, "tick=").and_then(|t| t.parse::<i64>().ok()))
        else {
            continue;
        };
        let before = last.insert(release.clone(), tick).unwrap_or(-1);
        assert!(tick > before, "tick {tick} of {release} comes after {before}:\n{lines}");
        seen += 1;
    }
    assert!(seen > 100, "only {seen} lines:\n{lines}");
}

#[test]
fn a_clock_that_jumps_by_a_day_fails_no_request_and_no_deploy() {
    let machine = machine();
    let alerts = machine.alerts();
    for by in DAYS {
        machine.under_traffic(&format!("the clock jumps by {by}, a deploy, a restart of the daemon, a deploy"), 0, || {
            jump(&machine, by);
            deploys(&machine, &format!("first{by}").replace(' ', ""));
            machine.sh("systemctl restart paas-daemon").ok();
            deploys(&machine, &format!("second{by}").replace(' ', ""));
        });
    }
    log_lines_are_in_order(&machine);
    assert_eq!(machine.alerts(), alerts, "a jump of the clock is no alert");
    for app in APPS {
        let ps = machine.sh(&format!("paas ps -a {app} --json")).ok().out;
        assert!(
            ps.matches("\"restarts\":").count() == 2 && ps.matches("\"restarts\":0,").count() == 2,
            "one was started again: {ps}"
        );
    }
}

#[test]
fn a_clock_that_jumps_in_the_middle_of_a_deploy_does_not_end_it() {
    let machine = machine();
    let app = APPS[0];
    for by in DAYS {
        let version = format!("during{by}").replace(' ', "");
        machine.under_traffic(&format!("the clock jumps by {by} during a deploy"), 0, || {
            std::thread::scope(|threads| {
                let push = threads.spawn(|| machine.push(app, &version, APP, "boot_ms=15000\n"));
                let starts =
                    || machine.sh(&format!("paas deploys list -a {app} --json")).out.contains("\"probing\"").then_some(());
                eventually("the deploy waits for the app", SLOW, starts);
                jump(&machine, by);
                push.join().expect("a push does not panic").ok().says(&["Live: v"]);
            });
        });
        assert_eq!(machine.asks(app), Some(format!("{app} {version}\n")));
    }
}

#[test]
fn an_alert_of_tomorrow_is_told_when_the_clock_was_set_back() {
    let machine = machine();
    let before = machine.alerts().len();
    jump(&machine, DAYS[0]);
    // The receiver refuses: the message waits for its next try, tomorrow.
    machine.sh("mv /usr/local/bin/note-alert /usr/local/bin/no-alert").ok();
    machine.push("grumpy", "1", "[processes.web]\n", "exit=3\n").fails(1);
    eventually("an alert that was not delivered", SLOW, || machine.journal().contains("note-alert").then_some(()));
    jump(&machine, DAYS[1]);
    machine.sh("mv /usr/local/bin/no-alert /usr/local/bin/note-alert").ok();

    let told = eventually("the alert", Duration::from_secs(200), || Some(machine.alerts()).filter(|all| all.len() > before));
    tell(&format!("told after the clock was set back: {}", told.last().expect("one came")));
    machine.destroy("grumpy");
}
