//! `paas doctor` finds on a real installation what an operator would, with the daemon alive and dead, and says what to do.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Done, World, eventually, run};

impl World {
    /// As root, with this world's own sshd.
    pub fn doctor(&self, more: &[&str]) -> Done {
        let config = self.config.display().to_string();
        let sshd = self.config.with_file_name("ssh").join("sshd_config").display().to_string();
        self.paas(&[&["doctor", "--config", &config, "--sshd-config", &sshd], more].concat())
    }

    /// What is not fine, as `level area found`, but for what is so on any test machine.
    #[track_caller]
    fn complaints(&self) -> Vec<String> {
        let done = self.doctor(&["--json"]);
        let all = done.json();
        let findings = all["findings"].as_array().unwrap_or_else(|| panic!("no findings:\n{done}")).clone();
        assert!(findings.len() > 20, "only {} things were looked at:\n{done}", findings.len());
        let word = |f: &Value, key: &str| f[key].as_str().unwrap_or_default().to_owned();
        let usual = ["clock", "security", "kernel", "alerts", "disk"];
        let bad = findings.iter().filter(|f| f["level"] != "ok");
        assert!(bad.clone().all(|f| !word(f, "todo").is_empty()), "a finding without an advice:\n{done}");
        assert_eq!(done.code, i32::from(all["problems"] != 0), "{done}");
        bad.filter(|f| !usual.contains(&word(f, "area").as_str()))
            .map(|f| format!("{} {} {}; {}", word(f, "level"), word(f, "area"), word(f, "found"), word(f, "todo")))
            .filter(|line| !line.contains("no systemd here: `paas up`") && !line.contains("live-restore"))
            .collect()
    }
}

#[test]
fn a_healthy_installation_has_no_complaint_and_each_thing_that_is_broken_is_named_with_its_remedy() {
    let w = World::start();
    let (app, _repo) = w.live("patient", "one");
    assert_eq!(w.complaints(), Vec::<String>::new(), "a healthy installation is complained of");
    w.doctor(&[]).says(&["AREA", "sshd's drop-in", "the database is whole", "is the proxy's", "acts by the newest routes"]);
    let one = |words: &[&str]| {
        let found = eventually(&format!("{words:?}"), Duration::from_secs(20), || {
            let found = w.complaints();
            found.iter().any(|line| words.iter().all(|word| line.contains(word))).then_some(found)
        });
        assert_eq!(found.len(), 1, "{found:#?}");
    };

    let key = w.state_dir().join("secret.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("a mode can be set");
    one(&["problem files", "secret.key", "chmod 600"]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("a mode can be set");

    let sshd = w.config.with_file_name("ssh").join("sshd_config");
    let text = std::fs::read_to_string(&sshd).expect("readable");
    std::fs::write(&sshd, text.replace("DisableForwarding yes", "DisableForwarding no")).expect("writable");
    one(&["problem ssh", "disableforwarding no, not yes"]);
    std::fs::write(&sshd, text).expect("writable");

    // A container that says it is ours, and that the store knows nothing of.
    let status = w.paas(&["status", "--json"]).ok().json();
    let install = status["install"].as_str().expect("an installation has a name");
    let image = w.objects().iter().find_map(|o| o.strip_prefix("image ").map(str::to_owned)).expect("the app has an image");
    let stray = format!("paas-{}-stray", &install[..8]);
    w.docker(&["create", "--name", &stray, "--label", &format!("paas.install={install}"), &image]).ok();
    one(&["warning routes", &stray, "docker rm -f"]);
    w.docker(&["rm", "-f", &stray]).ok();

    assert_eq!(w.complaints(), Vec::<String>::new(), "all is mended");
    w.serves(&app, "one");
}

#[track_caller]
fn signal(name: &str, pid: u32) {
    run(Command::new("kill").args([name, &pid.to_string()]), b"", Duration::from_secs(5)).ok();
}

#[test]
fn with_a_dead_daemon_the_host_is_looked_at_all_the_same() {
    let w = World::shared("doctor");
    let supervisor = eventually("the supervisor", Duration::from_secs(10), || w.pid_of("up"));
    let daemon = eventually("the daemon", Duration::from_secs(10), || w.pid_of("daemon"));
    // The supervisor is stopped first, so that it cannot start another; then the daemon dies.
    signal("-STOP", supervisor);
    signal("-KILL", daemon);

    let done = w.doctor(&[]);
    signal("-CONT", supervisor);

    done.fails(1).says(&[
        "the daemon does not answer",
        "paas-daemon",
        "were not compared",
        "the database is whole",
        "Docker Engine",
        "MiB free",
    ]);
    eventually("the daemon is back", Duration::from_secs(15), || (w.paas(&["status", "--json"]).code == 0).then_some(()));
    // Looking at the database as root left nothing behind that the daemon can't open.
    assert!(w.complaints().iter().all(|line| !line.contains("files")), "{:?}", w.complaints());
}

#[test]
fn with_a_daemon_that_hangs_nobody_is_told_to_restore_a_database_that_could_not_be_looked_at() {
    let w = World::start();
    let daemon = eventually("the daemon", Duration::from_secs(10), || w.pid_of("daemon"));
    // The supervisor too, which would end one that is silent for long.
    let frozen = [eventually("the supervisor", Duration::from_secs(10), || w.pid_of("up")), daemon];
    frozen.iter().for_each(|pid| signal("-STOP", *pid));

    let done = w.doctor(&[]);
    frozen.iter().for_each(|pid| signal("-CONT", *pid));

    done.fails(1)
        .says(&["the daemon does not answer", "nothing came within", "the database was not looked at", "fuser -v"])
        .never_says(&["can't be read", "from a backup"]);
    eventually("the daemon answers again", Duration::from_secs(15), || (w.paas(&["status", "--json"]).code == 0).then_some(()));
}
