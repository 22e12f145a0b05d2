//! A reboot: everything that served serves again, out of what the machine has.

use std::time::Duration;

use super::{APPS, ROLES, host, tell};

#[test]
fn a_reboot_brings_five_apps_back_web_first_without_a_build() {
    let host = host();
    let before = host.made();

    host.server.reboot();
    let times = host.all_serve(Duration::from_secs(60));
    host.server.wait_for_boot(Duration::from_secs(60));

    let in_words: Vec<String> = APPS.iter().zip(&times).map(|(app, time)| format!("{app} {:.2} s", time.as_secs_f64())).collect();
    tell(&format!("first answers after the start of systemd: {}", in_words.join(", ")));
    assert_eq!(host.made(), before, "no release, deploy or image is another");
    let journal = host.journal();
    for word in ["building", "pulling", "registry"] {
        assert!(!journal.contains(word), "`{word}` since the boot:\n{journal}");
    }
    web_came_first(&host);
    order_of_start(&host);
    host.push(APPS[0], "2").ok().says(&["Live: v"]);
    assert_eq!(host.asks(APPS[0]).as_deref(), Ok("ant 2\n"), "a push after the reboot works");
}

/// Docker's own times: the last web process started before the first worker.
#[track_caller]
fn web_came_first(host: &super::Host) {
    crate::support::eventually("web and worker of each run", Duration::from_secs(30), || {
        (host.server.engine("containers/json").as_array().map_or(0, Vec::len) >= 2 * APPS.len()).then_some(())
    });
    let mut started: Vec<(String, String)> = Vec::new();
    for container in host.server.engine("containers/json").as_array().expect("a list") {
        let id = container["Id"].as_str().expect("a container has an id");
        let name = container["Names"][0].as_str().unwrap_or_default().to_owned();
        let at =
            host.server.engine(&format!("containers/{id}/json"))["State"]["StartedAt"].as_str().unwrap_or_default().to_owned();
        started.push((at, name));
    }
    started.sort();
    let first_worker = started.iter().position(|(_, name)| name.contains("worker")).expect("workers run");
    let late = started[first_worker..].iter().filter(|(_, name)| name.contains("web")).count();
    assert_eq!(late, 0, "web processes were started after a worker: {started:#?}");
}

/// By the clock that started with the kernel, in microseconds.
#[track_caller]
fn order_of_start(host: &super::Host) {
    let active = |unit: &str| host.number(unit, "ActiveEnterTimestampMonotonic");
    for (first, then) in [
        ("paas-proxy.socket", "paas-proxy.service"),
        ("paas-proxy-tls.socket", "paas-proxy.service"),
        ("paas-dialer.socket", "paas-dialer.service"),
        ("paas-daemon.socket", "paas-daemon.service"),
        ("paas-control.socket", "paas-daemon.service"),
        ("docker.socket", "paas-daemon.service"),
        ("paas-dialer.service", "paas-daemon.service"),
    ] {
        assert!(active(first) > 0 && active(first) <= active(then), "{first} is up before {then}");
    }
    for role in ROLES {
        assert!(active(role) <= active("paas.service"), "`systemctl start paas` waits for {role}");
    }
}
