//! What install.sh leaves on a machine with systemd.

use std::time::Duration;

use super::{ROLES, host, tell};

#[test]
fn the_demo_of_a_fresh_machine_ends_with_its_page() {
    let host = host();
    let done = host.demo.clone().says(&["Reading the package lists", "docker.io", "Making the base image from Debian packages"]);
    let done = done.says(&[
        "Live: v1",
        "The page came through the proxy: Hello from paas",
        "URL      http://hello.localhost/",
        "commit   ",
    ]);
    tell(&format!(
        "install.sh --demo on a fresh machine took {:.0} s, packages and base image included",
        done.took.as_secs_f64()
    ));
    host.sh("systemctl is-system-running").ok().says(&["running"]);
    host.sh("systemctl status paas").ok().says(&["active (exited)"]);
    host.sh("paas status").ok().says(&["docker:  ok", "proxy:   ok", "dialer:  ok"]);
}

#[test]
fn units_are_enabled_and_docker_is_pulled_in() {
    let host = host();
    for unit in [
        "paas.service",
        "paas-proxy.socket",
        "paas-proxy-tls.socket",
        "paas-dialer.socket",
        "paas-daemon.socket",
        "paas-control.socket",
        "docker",
        "ssh",
    ] {
        let done = host.sh(&format!("systemctl is-enabled {unit}"));
        assert_eq!(done.out.trim(), "enabled", "{unit}\n{done}");
    }
    for role in ROLES {
        assert_eq!((host.show(role, "ActiveState"), host.show(role, "SubState")), ("active".into(), "running".into()), "{role}");
        assert!(host.show(role, "PartOf").contains("paas.service"), "{role} belongs to `systemctl restart paas`");
    }
    assert!(host.show("docker.service", "WantedBy").contains("paas-daemon.service"), "paas pulls Docker in by itself");
    host.sh("paas doctor")
        .says(&["paas.service is active", "docker.service is active"])
        .never_says(&["is not installed", "is not enabled"]);
    assert!(host.show("docker.service", "StartLimitIntervalUSec") == "0", "Docker is started again after any number of failures");
}

#[test]
fn a_second_install_restarts_nothing() {
    let host = host();
    let pids = || ["docker", "ssh"].iter().chain(ROLES).map(|unit| host.show(unit, "MainPID")).collect::<Vec<_>>();
    let before = pids();

    let done = host.server.install("").ok().says(&["Packages are all here", "is installed already"]);

    assert!(done.took < Duration::from_secs(10), "{done}");
    assert_eq!(pids(), before);
    tell(&format!("a second install.sh took {:.1} s", done.took.as_secs_f64()));
}

#[test]
fn another_port_in_the_settings_is_opened_by_install_sh() {
    let host = host();
    let set = |listen: &str| {
        host.sh(&format!("sed -i '/^listen = /d; s/^\\[proxy\\]/&\\nlisten = [\"{listen}\"]/' /etc/paas/paas.toml"))
    };
    let page = |port: u16| host.sh(&format!("curl -sS --max-time 10 --fail -H 'Host: hello.localhost' http://127.0.0.1:{port}/"));
    set("[::]:8081").ok();
    let done = host.server.install("").ok();
    let (there, here) = (page(8081), page(80));
    set("[::]:80").ok();
    host.server.install("").ok();

    there.ok().says(&["Hello from paas"]);
    done.says(&["The ports of the proxy change", "paas is ready"]);
    here.fails(7);
    page(80).ok();
}
