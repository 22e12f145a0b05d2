//! Reboots, and a machine that is reset without warning.

use std::time::Instant;

use super::{APP, APPS, Machine, SLOW, machine, tell};
use crate::support::eventually;

/// What may not differ before and after something that is no deploy.
#[track_caller]
fn made(machine: &Machine) -> String {
    let apps = APPS.join(" ");
    let script = format!(
        "for a in {apps}; do paas releases -a $a --json; paas deploys list -a $a --json; done; docker images -q --no-trunc | sort"
    );
    machine.sh(&script).ok().out
}

#[track_caller]
fn back(machine: &Machine, what: &str, boot: &str, begun: Instant) {
    machine.forget_connection();
    eventually("the port is closed", SLOW, || machine.asks(APPS[0]).is_none().then_some(()));
    let down = begun.elapsed();
    let times = machine.all_serve(2 * SLOW);
    let last = times.values().max().expect("there are apps");
    machine.wait_for_boot(boot);
    let kernel = machine.sh("systemd-analyze time").out;
    tell(&format!(
        "{what}: down after {:.1} s, all apps answered {:.1} s later; {}",
        down.as_secs_f64(),
        last.as_secs_f64(),
        kernel.lines().next().unwrap_or_default()
    ));
    machine.sh("paas doctor").says(&["the database is whole", "acts by the newest routes"]).ok();
    machine.sh("test \"$(docker ps -q --filter label=paas.process=web | wc -l)\" -ge 2").ok();
}

#[test]
fn a_reboot_brings_every_app_back_as_it_was() {
    let machine = machine();
    let (before, boot) = (made(&machine), machine.boot_id().expect("it runs"));

    let begun = Instant::now();
    drop(machine.sh("systemctl reboot"));
    back(&machine, "systemctl reboot", &boot, begun);

    assert_eq!(made(&machine), before, "no release, deploy or image is another");
}

#[test]
fn a_reset_right_after_a_push_was_told_live_loses_nothing_of_it() {
    let machine = machine();
    let (app, boot) = (APPS[0], machine.boot_id().expect("it runs"));

    machine.push(app, "acknowledged", APP, "").ok().says(&["Live: v"]);
    machine.monitor("system_reset");
    back(&machine, "reset after a push", &boot, Instant::now());

    assert_eq!(machine.asks(app), Some(format!("{app} acknowledged\n")), "{}", machine.journal());
    machine.push(app, "after", APP, "").ok().says(&["Live: v"]);
    assert_eq!(machine.asks(app), Some(format!("{app} after\n")));
}

#[test]
fn a_reset_in_the_middle_of_a_deploy_leaves_one_release_and_a_push_that_can_be_repeated() {
    let machine = machine();
    let (app, boot) = (APPS[0], machine.boot_id().expect("it runs"));
    let serves = machine.asks(app).expect("it serves");

    std::thread::scope(|threads| {
        let push = threads.spawn(|| machine.push(app, "half", APP, "boot_ms=20000\n"));
        let probing = || machine.sh(&format!("paas deploys list -a {app} --json")).out.contains("\"probing\"").then_some(());
        eventually("the deploy waits for the app", SLOW, probing);
        machine.monitor("system_reset");
        drop(push.join());
    });
    machine.forget_connection();
    machine.wait_for_boot(&boot);
    machine.all_serve(2 * SLOW);

    // It was not told live: it may be finished or undone, but is one of the two.
    let now = eventually("the deploy ended", SLOW, || {
        let list = machine.sh(&format!("paas deploys list -a {app} --json")).out;
        (!["\"queued\"", "\"building\"", "\"preparing\"", "\"starting\"", "\"probing\"", "\"shifting\""]
            .iter()
            .any(|s| list.contains(s)))
        .then(|| machine.asks(app))
    });
    let now = now.expect("it serves");
    tell(&format!("reset during a deploy: {} served before, {} after", serves.trim(), now.trim()));
    assert!(now == serves || now == format!("{app} half\n"), "{now}");
    machine.push(app, "whole", APP, "").ok().says(&["Live: v"]);
    assert_eq!(machine.asks(app), Some(format!("{app} whole\n")));
    machine.sh("paas doctor").says(&["the database is whole"]).ok();
}
