//! `paas drill` and `paas doctor` where systemd runs everything.

use super::{APPS, Host, ROLES, host, tell};
use crate::support::{Done, eventually};
use serde_json::Value;
use std::time::Duration;

/// With live-restore on, as the machine has it: not one request may be lost, whatever is taken away.
#[test]
fn a_drill_kills_every_role_and_restarts_docker_and_loses_nothing() {
    let host = host();
    let pids = || ROLES.iter().map(|role| host.show(role, "MainPID")).collect::<Vec<_>>();
    let (before, docker) = (pids(), host.show("docker", "MainPID"));

    let done = host.sh(&format!("paas drill -a {} --yes --docker --json --rate 100 --seconds 3", APPS[0])).ok();

    let receipt = done.json();
    assert_eq!(receipt["lost"], 0, "{receipt:#}");
    let faults = receipt["faults"].as_array().expect("a list");
    let names: Vec<&str> = faults.iter().filter_map(|f| f["fault"].as_str()).collect();
    assert_eq!(names, ["restart", "daemon", "dialer", "proxy", "instance", "docker"]);
    for fault in faults {
        assert!(fault["recovered_ms"].is_u64() && fault["back_ms"].is_u64(), "{fault:#}");
        let requests = &fault["requests"];
        tell(&format!(
            "drill, {}: {} served, {} dropped, answered again after {} ms, back after {} ms, slowest {} ms",
            fault["fault"], requests["served"], requests["dropped"], fault["recovered_ms"], fault["back_ms"], fault["slowest_ms"]
        ));
    }
    assert_eq!(faults[5]["requests"]["dropped"], 0, "Docker with live-restore: {:#}", faults[5]);
    assert!(faults[5]["requests"]["served"].as_u64() > Some(50), "{:#}", faults[5]);
    assert!(before.iter().zip(pids()).all(|(old, new)| *old != new), "a role was not killed");
    assert_ne!(host.show("docker", "MainPID"), docker, "Docker was not restarted");
}

/// What `paas doctor` says that is not fine, as `level area found; todo`, without what is so in any container.
#[track_caller]
fn complaints(host: &Host) -> (Done, Vec<String>) {
    let done = host.sh("paas doctor --json");
    let all = done.json();
    let findings = all["findings"].as_array().unwrap_or_else(|| panic!("no findings:\n{done}"));
    let word = |f: &Value, key: &str| f[key].as_str().unwrap_or_default().to_owned();
    let bad = findings.iter().filter(|f| f["level"] != "ok");
    assert!(bad.clone().all(|f| !word(f, "todo").is_empty()), "a finding without an advice:\n{done}");
    assert_eq!(done.code, i32::from(all["problems"] != 0), "{done}");
    let usual = ["clock", "security", "kernel", "alerts", "disk"];
    let found = bad.filter(|f| !usual.contains(&word(f, "area").as_str()));
    let found = found.map(|f| format!("{} {} {}; {}", word(f, "level"), word(f, "area"), word(f, "found"), word(f, "todo")));
    let found = found.collect();
    (done, found)
}

/// Waits until exactly one thing is complained of, with all of `words`; undoes it by `undo`, and waits until all is well.
#[track_caller]
fn names(host: &Host, break_it: &str, words: &[&str], undo: &str) {
    host.sh(break_it).ok();
    let mut last = Vec::new();
    let found = crate::support::until(Duration::from_secs(30), || {
        last = complaints(host).1;
        last.iter().any(|line| words.iter().all(|word| line.contains(word))).then(|| last.clone())
    });
    host.sh(undo).ok();
    let found = found.unwrap_or_else(|| panic!("after `{break_it}` nothing has {words:?}: {last:#?}"));
    tell(&format!("doctor after `{break_it}`: {found:?}"));
    is_well(host);
}

#[track_caller]
fn is_well(host: &Host) {
    let mut last = Vec::new();
    let well = crate::support::until(Duration::from_secs(30), || {
        last = complaints(host).1;
        last.is_empty().then_some(())
    });
    assert!(well.is_some(), "a healthy host is complained of: {last:#?}");
}

#[test]
fn doctor_is_content_with_a_healthy_host_and_names_each_unit_that_is_not() {
    let host = host();
    eventually("the daemon answers", Duration::from_secs(20), || host.status());
    is_well(&host);
    let (done, _) = complaints(&host);
    tell(&format!("doctor on a healthy host: exit code {}, {} problems", done.code, done.json()["problems"]));
    assert_eq!(done.code, 0, "only warnings of a container: {done}");

    names(&host, "systemctl disable -q docker.service", &["docker", "systemctl enable"], "systemctl enable -q docker.service");
    names(&host, "systemctl stop paas-dialer", &["processes", "paas-dialer", "systemctl"], "systemctl start paas-dialer");
    // With its sockets: doctor's own call, or the proxy's, would start it again.
    let daemon = "systemctl stop paas-daemon.socket paas-control.socket paas-daemon.service";
    let start = "systemctl start paas-daemon.socket paas-control.socket paas-daemon.service";
    names(&host, daemon, &["processes", "paas-daemon", "systemctl"], start);
    let drop_in = "/etc/ssh/sshd_config.d/*paas*.conf";
    names(
        &host,
        &format!("mkdir -p /root/kept && mv {drop_in} /root/kept/"),
        &["ssh", "paas"],
        "mv /root/kept/*.conf /etc/ssh/sshd_config.d/",
    );
}
