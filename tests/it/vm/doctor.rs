//! What `paas doctor` says of a Debian server as most users have it.

use super::{machine, tell};

#[test]
fn doctor_finds_no_problem_on_a_plain_debian_server() {
    let machine = machine();
    machine.sh("stat -f -c %T /sys/fs/cgroup").ok().says(&["cgroup2fs"]);
    machine.sh("ps -p 1 -o comm=").ok().says(&["systemd"]);

    let done = machine.sh("paas doctor --json");
    let all = done.json();
    let findings = all["findings"].as_array().unwrap_or_else(|| panic!("no findings:\n{done}"));
    assert!(findings.len() > 20, "only {} things were looked at:\n{done}", findings.len());
    for bad in findings.iter().filter(|f| f["level"] != "ok") {
        tell(&format!("doctor: {} {}: {}", bad["level"], bad["area"], bad["found"]));
        // Nothing keeps the clock of this machine: it would undo what another test does to it.
        assert_eq!((bad["level"].as_str(), bad["area"].as_str()), (Some("warning"), Some("clock")), "{bad:#}");
    }
    assert_eq!(done.code, 0, "{done}");
    let said = machine.sh("paas doctor").out;
    for words in ["cgroup v2: limits of instances hold", "AppArmor is on", "live-restore is on", "the database is whole"] {
        assert!(said.contains(words), "`{words}` is missing:\n{said}");
    }
    let confined = "docker ps -q | xargs -r docker inspect -f '{{.State.Pid}}' | xargs -I% cat /proc/%/attr/current | sort -u";
    assert_eq!(machine.sh(confined).ok().out.trim(), "docker-default (enforce)", "AppArmor confines the instances");
    machine.sh("journalctl -q -k --no-pager -g 'apparmor=\"DENIED\"'").says_nothing();
}
