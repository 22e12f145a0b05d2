//! Restarts and kills under traffic: the public port refuses nobody, and every role comes back.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{APPS, Host, ROLES, host, tell};
use crate::support::eventually;

/// Connections that were refused, and requests that had begun and were cut.
fn split(failed: &[String]) -> (usize, usize) {
    let refused = failed.iter().filter(|f| f.to_lowercase().contains("refused")).count();
    (refused, failed.len() - refused)
}

/// Does `act` under traffic from outside; no connection may be refused, and at most `cut` requests may have been in flight.
#[track_caller]
pub(super) fn under_traffic(host: &Host, what: &str, cut: usize, act: impl FnOnce()) {
    let traffic = host.traffic();
    traffic.wait_for(500);
    act();
    traffic.wait_for(500);
    let counted = traffic.stop();
    let (refused, lost) = split(&counted.failed);
    let slowest = counted.slowest.as_millis();
    tell(&format!("{what}: {} answered, {refused} refused, {lost} cut, slowest {slowest} ms", counted.answered));
    assert_eq!(refused, 0, "{what}: a connection was refused: {:?}", counted.failed);
    assert!(lost <= cut, "{what}: more than {cut} requests were lost: {:?}\n{}", counted.failed, host.journal());
}

#[test]
fn a_restart_of_the_proxy_or_of_all_of_paas_fails_no_request() {
    let host = host();
    for unit in ["paas-proxy", "paas-dialer", "paas-daemon", "paas"] {
        under_traffic(&host, &format!("systemctl restart {unit}"), 0, || {
            drop(host.sh(&format!("systemctl restart {unit}")).ok())
        });
        for role in ROLES {
            assert_eq!(host.show(role, "ActiveState"), "active", "{role} after a restart of {unit}");
        }
    }
}

#[test]
fn a_killed_role_comes_back_and_the_port_refuses_nobody() {
    let host = host();
    for role in ROLES {
        // Of eight clients each may have had one request in the proxy that was killed; the others answer for nothing that is in flight.
        let cut = if *role == "paas-proxy" { 8 } else { 0 };
        let mut took = Duration::ZERO;
        under_traffic(&host, &format!("SIGKILL of {role}"), cut, || took = host.kill(role));
        tell(&format!("SIGKILL of {role}: another was ready after {} ms", took.as_millis()));
        assert!(took < Duration::from_secs(5), "{role} took {took:?}");
    }
}

#[test]
fn a_role_that_fails_again_and_again_is_started_again_and_again() {
    let host = host();
    for role in ROLES {
        for _ in 0..8 {
            host.kill(role);
        }
    }
    eventually("all of paas answers again", Duration::from_secs(10), || host.status().filter(|s| s["dialer"]["ok"] == true));
    host.all_serve(Duration::from_secs(10));
}

#[test]
fn sockets_namespaces_and_routes_outlive_proxy_and_dialer_while_the_daemon_can_not_help() {
    let host = host();
    let web_processes = APPS.len() as u64;
    let stored = || (host.number("paas-dialer", "NFileDescriptorStore"), host.number("paas-proxy", "NFileDescriptorStore"));
    assert!(stored().0 >= web_processes && stored().1 >= 1, "{:?}", stored());

    let daemon = host.show("paas-daemon", "MainPID");
    host.sh(&format!("kill -STOP {daemon}")).ok();
    let started = Instant::now();
    host.sh("systemctl restart paas-dialer paas-proxy").ok();
    host.all_serve(Duration::from_secs(5));
    for role in ["paas-dialer", "paas-proxy"] {
        host.kill(role);
        host.all_serve(Duration::from_secs(5));
    }
    assert!(stored().0 >= web_processes && stored().1 >= 1, "{:?}", stored());
    host.sh(&format!("kill -CONT {daemon}")).ok();
    tell(&format!(
        "the daemon stood still for {:.1} s while dialer and proxy were restarted and killed",
        started.elapsed().as_secs_f64()
    ));
    eventually("the daemon goes on", Duration::from_secs(20), || host.status());
    assert_eq!(host.show("paas-daemon", "MainPID"), daemon, "it is the same daemon");
}

#[test]
fn stop_closes_the_port_for_good_and_start_opens_it() {
    let host = host();
    let containers = || host.server.engine("containers/json").as_array().map_or(0, Vec::len);
    let running = containers();

    host.sh("systemctl stop paas").ok();
    eventually("the port is closed", Duration::from_secs(10), || TcpStream::connect(host.web()).is_err().then_some(()));
    // Whoever asks now may not wake anything up.
    host.sh("paas status").fails(3).says(&["systemctl status paas"]);
    for role in ROLES {
        assert_eq!(host.show(role, "ActiveState"), "inactive", "{role} after `systemctl stop paas`");
    }
    assert_eq!(containers(), running, "apps go on when paas stops");

    host.sh("systemctl start paas").ok();
    host.all_serve(Duration::from_secs(10));
    assert_eq!(containers(), running);
}

/// docs/operations.md, "Back up and restore".
#[test]
fn a_backup_is_made_while_apps_serve_and_nothing_starts_the_daemon_in_the_middle() {
    let host = host();
    let stop = "systemctl stop paas-daemon.socket paas-control.socket paas-daemon";
    under_traffic(&host, "a backup", 0, || {
        host.sh(stop).ok();
        // The proxy would like to talk to the daemon all the time.
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(host.show("paas-daemon", "ActiveState"), "inactive");
        host.sh("(umask 077; tar -C / --exclude=var/lib/paas/logs -czf /root/paas-backup.tgz etc/paas/paas.toml var/lib/paas)")
            .ok();
        assert_eq!(host.show("paas-daemon", "ActiveState"), "inactive");
        host.sh("systemctl start paas-daemon").ok();
    });
    let kept = host.sh("tar -tzf /root/paas-backup.tgz && rm /root/paas-backup.tgz").ok();
    kept.says(&["var/lib/paas/paas.db\n", "var/lib/paas/secret.key\n", "etc/paas/paas.toml\n"]);
    eventually("all of paas answers again", Duration::from_secs(10), || host.status().filter(|s| s["dialer"]["ok"] == true));
    for unit in ["paas-daemon.socket", "paas-control.socket"] {
        assert_eq!(host.show(unit, "ActiveState"), "active");
    }
    host.push(APPS[0], "after-backup").ok();
}
