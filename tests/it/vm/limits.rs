//! Limits of instances by control groups version 2: each holds, and is named.

use std::time::Duration;

use super::{APPS, Machine, SLOW, machine, tell};
use crate::support::eventually;

const APP: &str = "tight";
const MANIFEST: &str = "[processes.web]\nmemory = \"64MiB\"\ncpus = 0.5\npids = 60\ndisk = \"20MiB\"\n";

/// The one app with limits, in an instance that no other test has used.
#[track_caller]
fn limited(machine: &Machine) {
    if machine.sh(&format!("paas apps info {APP}")).code == 0 {
        machine.sh(&format!("paas ps restart -a {APP}")).ok();
    } else {
        machine.push(APP, "one", MANIFEST, "").ok().says(&["Live: v"]);
    }
    assert_eq!(machine.asks(APP), Some(format!("{APP} one\n")));
}

#[track_caller]
fn container(machine: &Machine) -> String {
    let filters = format!("--filter label=paas.app={APP} --filter label=paas.process=web");
    let newest = machine.sh(&format!("docker ps -q --no-trunc {filters} | head -n 1")).ok();
    newest.out.trim().to_owned()
}

/// A file of the instance's control group, as the kernel has it.
#[track_caller]
fn group_file(machine: &Machine, file: &str) -> String {
    let id = container(machine);
    machine.sh(&format!("cat /sys/fs/cgroup/system.slice/docker-{id}.scope/{file}")).ok().out.trim().to_owned()
}

#[test]
fn out_of_memory_is_named_with_its_limit_and_init_starts_the_app_again() {
    let machine = machine();
    limited(&machine);
    assert_eq!(group_file(&machine, "memory.max"), (64 << 20).to_string());
    let before = container(&machine);

    let (status, text) = machine.get(APP, "/eat?mb=200").expect("the proxy answers");
    assert_eq!(status, 502, "{text}");

    let end = || Some(machine.why(APP)["end"].clone()).filter(|end| end["cause"] == "out_of_memory");
    let end = eventually("why names it", SLOW, end);
    assert_eq!(end["limit"], 64 << 20, "{end:#}");
    machine.sh(&format!("paas why {APP}")).ok().says(&["limit of 64 MiB", "raise `memory`"]);
    eventually("it serves again", SLOW, || machine.asks(APP));
    assert_eq!(container(&machine), before, "init started it again, in the same container");
}

#[test]
fn a_fork_bomb_ends_at_its_limit_and_is_named() {
    let machine = machine();
    limited(&machine);
    assert_eq!(group_file(&machine, "pids.max"), "60");

    drop(machine.get(APP, "/fork"));

    eventually("why names it", SLOW, || machine.why(APP)["summary"].as_str()?.contains("of 60 processes").then_some(()));
    let there: u32 = group_file(&machine, "pids.current").parse().expect("a number");
    assert!((10..=60).contains(&there), "{there} processes: either no bomb, or no limit");
    for app in APPS {
        assert!(machine.asks(app).is_some(), "{app} does not answer beside a fork bomb");
    }
}

#[test]
fn an_app_that_fills_its_disk_is_stopped_named_and_starts_with_an_empty_one() {
    let machine = machine();
    limited(&machine);
    let before = container(&machine);

    drop(machine.get(APP, "/fill?mb=60"));

    let end = eventually("why names it", SLOW, || Some(machine.why(APP)["end"].clone()).filter(|end| end["cause"] == "disk"));
    assert_eq!(end["limit"], 20 << 20, "{end:#}");
    eventually("it serves again", SLOW, || machine.asks(APP));
    assert_ne!(container(&machine), before, "the full container is still there");
}

#[test]
fn memory_processors_and_oom_scores_are_what_was_asked_for() {
    let machine = machine();
    limited(&machine);

    assert_eq!(group_file(&machine, "cpu.max"), "50000 100000");
    assert_eq!(group_file(&machine, "memory.swap.max"), "0", "a limit of memory that swap does not stretch");
    machine.sh(&format!("paas ps -a {APP}")).ok().says(&["MiB of 64 MiB"]);
    let shown = machine.sh(&format!("paas ps -a {APP} --json")).ok().out;
    tell(&format!("ps: {}", machine.sh(&format!("paas ps -a {APP} | tail -n 1")).out.trim()));
    let used: u64 = group_file(&machine, "memory.current").parse().expect("a number");
    assert!(used > 0 && used < 64 << 20, "{used} bytes used: {shown}");

    let id = container(&machine);
    let score =
        |pid: &str| machine.sh(&format!("cat /proc/{pid}/oom_score_adj")).ok().out.trim().parse::<i32>().expect("a number");
    let first = machine.sh(&format!("docker inspect -f '{{{{.State.Pid}}}}' {id}")).ok().out.trim().to_owned();
    assert_eq!(score(&first), 500, "instances go before paas when memory ends");
    for role in super::ROLES {
        let score = score(&machine.show(role, "MainPID"));
        assert!(score <= -800, "{role} has {score}");
    }
}

#[test]
fn an_app_that_crashes_is_started_again_by_init_while_daemon_and_docker_are_away() {
    let machine = machine();
    limited(&machine);
    let before = container(&machine);
    machine.sh("systemctl stop docker.socket docker && systemctl kill -s STOP paas-daemon").ok();

    drop(machine.get(APP, "/crash"));
    let back = eventually("it serves again", Duration::from_secs(60), || machine.asks(APP));

    machine.sh("systemctl kill -s CONT paas-daemon; systemctl start docker.socket docker").ok();
    assert_eq!(back, format!("{APP} one\n"));
    eventually("docker answers", SLOW, || (machine.sh("docker ps -q").code == 0).then_some(()));
    assert_eq!(container(&machine), before, "live-restore kept the instance");
    eventually("why tells the crash", SLOW, || (machine.why(APP)["end"]["code"] == 70).then_some(()));
}
