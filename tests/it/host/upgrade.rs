//! An upgrade of the proxy on systemd: the unit goes on, its main process is another, and traffic does not notice.

use super::restart::under_traffic;
use super::{APPS, Host, host, tell};
use crate::support::{Message, Socket, eventually};

#[track_caller]
fn reload(host: &Host) -> String {
    let old = host.show("paas-proxy", "MainPID");
    let done = host.sh("systemctl reload paas-proxy").ok();
    let new = host.show("paas-proxy", "MainPID");
    assert_ne!(new, old, "the main process is another\n{}", host.journal());
    tell(&format!("systemctl reload paas-proxy took {} ms", done.took.as_millis()));
    new
}

#[track_caller]
fn is_well(host: &Host) {
    assert_eq!(host.show("paas-proxy", "ActiveState"), "active", "{}", host.journal());
    assert_eq!(host.show("paas-proxy", "SubState"), "running");
    host.sh("systemctl status paas-proxy").ok().says(&["active (running)"]);
    eventually("a snapshot is in the store", std::time::Duration::from_secs(5), || {
        (host.number("paas-proxy", "NFileDescriptorStore") >= 1).then_some(())
    });
}

#[test]
fn reloads_under_traffic_fail_nothing_and_a_kill_afterwards_is_noticed() {
    let host = host();
    let restarts = host.number("paas-proxy", "NRestarts");
    let mut socket = Socket::connect(host.web(), &format!("{}.localhost", APPS[0]), "/ws").expect("a WebSocket opens");
    assert!(matches!(socket.receive(), Ok(Message::Text(_))));
    under_traffic(&host, "systemctl reload paas-proxy, twice", 0, || {
        reload(&host);
        is_well(&host);
        reload(&host);
        is_well(&host);
    });
    socket.send("still here").expect("sent");
    assert_eq!(socket.receive().expect("an echo"), Message::Text("still here".into()), "the socket is the first process's");
    assert_eq!(host.number("paas-proxy", "NRestarts"), restarts, "nothing was restarted");

    // The main process is no child that systemd started, and one of before still runs: its end is noticed all the same.
    let took = host.kill("paas-proxy");
    host.all_serve(std::time::Duration::from_secs(5));
    tell(&format!("SIGKILL of a proxy that took over: another was ready after {} ms", took.as_millis()));
    is_well(&host);
}

#[test]
fn a_binary_that_does_not_get_ready_fails_the_reload_and_changes_nothing() {
    let host = host();
    let old = host.show("paas-proxy", "MainPID");
    under_traffic(&host, "a reload with settings that can't be read", 0, || {
        host.sh("cp /etc/paas/paas.toml /root/kept.toml && echo '[nonsense]' >>/etc/paas/paas.toml").ok();
        let done = host.sh("systemctl reload paas-proxy");
        host.sh("cp /root/kept.toml /etc/paas/paas.toml").ok();
        assert_ne!(done.code, 0, "{done}");
    });
    assert_eq!(host.show("paas-proxy", "MainPID"), old);
    is_well(&host);
    assert!(host.journal().contains("nonsense"), "{}", host.journal());
    reload(&host);
}

#[test]
fn install_sh_with_another_binary_upgrades_and_restarts_no_proxy() {
    let host = host();
    let pids = || super::ROLES.iter().map(|unit| host.show(unit, "MainPID")).collect::<Vec<_>>();
    let before = pids();
    let restarts = host.number("paas-proxy", "NRestarts");
    under_traffic(&host, "install.sh with another binary", 0, || {
        // Another file by its last bytes; what it does is the same.
        let script =
            "cp /root/paas-built /root/paas-other && echo >>/root/paas-other && PAAS_BINARY=/root/paas-other /src/install.sh";
        host.sh(script).ok().says(&["Giving the proxy's place to the new one"]);
    });
    let after = pids();
    assert!(before.iter().zip(&after).all(|(old, new)| old != new), "{before:?} {after:?}");
    assert_eq!(host.number("paas-proxy", "NRestarts"), restarts);
    is_well(&host);
}
