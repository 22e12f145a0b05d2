//! Docker that is disabled, late, broken or away at boot: said aloud, asked again, and nobody has to restart paas.

use std::time::{Duration, Instant};

use super::{APPS, Host, ROLES, host, tell};
use crate::support::eventually;

/// While Docker is away: the daemon runs, says so in `paas status` and in the journal, and the proxy answers.
#[track_caller]
fn is_said_aloud(host: &Host) {
    let status = eventually("the daemon says that Docker is away", Duration::from_secs(40), || {
        host.status().filter(|status| status["docker"]["ok"] == false)
    });
    assert!(status["problems"].to_string().contains("Docker"), "{status}");
    eventually("the journal says it too", Duration::from_secs(40), || host.journal().contains("Docker").then_some(()));
    for role in ROLES {
        assert_eq!(host.show(role, "ActiveState"), "active", "{role} without Docker");
    }
    let refused = host.asks(APPS[0]).expect_err("no app runs");
    assert!(refused.starts_with("status 50"), "the proxy answers for an app that can't run: {refused}");
}

fn pids(host: &Host) -> Vec<String> {
    ROLES.iter().map(|role| host.show(role, "MainPID")).collect()
}

#[test]
fn a_docker_that_was_disabled_is_pulled_in_at_boot() {
    let host = host();
    host.sh("systemctl disable -q docker.service docker.socket").ok();

    host.server.reboot();
    host.all_serve(Duration::from_secs(60));

    assert_ne!(host.show("docker.service", "UnitFileState"), "enabled", "it was started by paas alone");
}

#[test]
fn a_docker_that_never_comes_up_is_said_aloud_and_nobody_has_to_restart_paas() {
    let host = host();
    host.sh("systemctl mask -q docker.service docker.socket").ok();
    host.server.reboot();
    is_said_aloud(&host);
    let before = pids(&host);

    host.sh("systemctl unmask docker.service docker.socket && systemctl start docker").ok();
    let times = host.all_serve(Duration::from_secs(60));

    assert_eq!(pids(&host), before, "no role was restarted");
    let last = times.iter().max().copied().unwrap_or_default();
    tell(&format!("Docker masked at boot: all apps were back {:.1} s after `systemctl start docker`", last.as_secs_f64()));
    eventually("`paas status` is content", Duration::from_secs(20), || host.status().filter(|s| s["docker"]["ok"] == true));
}

#[test]
fn a_docker_that_fails_again_and_again_is_started_until_it_comes() {
    let host = host();
    host.sh("echo '{ broken' >/etc/docker/daemon.json").ok();
    host.server.reboot();
    // Debian's own unit gives up after the third.
    eventually("Docker fails more than three times", Duration::from_secs(60), || {
        (host.number("docker", "NRestarts") > 3).then_some(())
    });
    is_said_aloud(&host);
    let before = pids(&host);

    host.sh("echo '{ \"live-restore\": true }' >/etc/docker/daemon.json").ok();
    let times = host.all_serve(Duration::from_secs(60));

    assert_eq!(pids(&host), before, "no role was restarted");
    let last = times.iter().max().copied().unwrap_or_default();
    tell(&format!(
        "Docker failed {} times at boot: all apps were back {:.1} s after its settings were mended",
        host.number("docker", "NRestarts"),
        last.as_secs_f64()
    ));
}

#[test]
fn a_docker_that_is_late_holds_nothing_up_but_the_apps() {
    let host = host();
    let late = "mkdir -p /etc/systemd/system/docker.service.d && printf '[Service]\\nExecStartPre=/bin/sleep 25\\n' >/etc/systemd/system/docker.service.d/late.conf";
    host.sh(late).ok();
    host.server.reboot();
    let started = Instant::now();
    eventually("the daemon answers", Duration::from_secs(20), || {
        (host.show("paas-daemon", "ActiveState") == "active").then_some(())
    });
    assert_eq!(host.show("docker", "ActiveState"), "activating", "Docker is still on its way");
    is_said_aloud(&host);
    let before = pids(&host);

    host.all_serve(Duration::from_secs(90));

    let last = started.elapsed();
    host.sh("rm /etc/systemd/system/docker.service.d/late.conf && systemctl daemon-reload").ok();
    assert_eq!(pids(&host), before, "no role was restarted");
    tell(&format!("Docker 25 s late at boot: all apps were back {:.1} s after the start of systemd", last.as_secs_f64()));
}
