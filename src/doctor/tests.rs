use std::path::Path;

use super::host::{Clock, Disk, Holder, Kernel, Port, Selinux};
use super::login::{File, User};
use super::running::Unit;
use super::*;
use crate::base::clock::UnixMillis;
use crate::config::HostConfig;
use crate::docker::EngineInfo;

const GIB: u64 = 1 << 30;

fn config() -> HostConfig {
    HostConfig::default_at(Path::new("/etc/paas/paas.toml"))
}

fn engine() -> EngineInfo {
    EngineInfo {
        version: "20.10.24+dfsg1".to_owned(),
        api: "1.41".to_owned(),
        live_restore: true,
        memory_total: 4 * GIB,
        cpus: 2,
        cgroup_version: 1,
        storage_driver: "overlay2".to_owned(),
        root_dir: "/var/lib/docker".into(),
    }
}

/// The levels; and every finding that is not fine must say what to do.
#[track_caller]
fn levels(found: &[Finding]) -> Vec<Level> {
    for finding in found {
        assert!(!finding.found.is_empty() && (finding.level == Level::Ok) == finding.todo.is_empty(), "{finding:?}");
    }
    found.iter().map(|f| f.level).collect()
}

#[track_caller]
fn only(found: &[Finding], level: Level, words: &[&str]) {
    let bad: Vec<_> = found.iter().filter(|f| f.level != Level::Ok).collect();
    assert!(bad.len() == 1 && bad[0].level == level, "{found:#?}");
    let text = format!("{} {}", bad[0].found, bad[0].todo);
    assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
    levels(found);
}

#[test]
fn an_engine_is_fine_or_has_what_is_wrong_named() {
    assert_eq!(levels(&engine::judge(Ok(&engine()))), [Level::Ok; 4]);
    only(&engine::judge(Err("no socket at /x")), Level::Problem, &["no socket at /x", "systemctl start docker"]);
    let old = EngineInfo { version: "19.03.15".to_owned(), ..engine() };
    only(&engine::judge(Ok(&old)), Level::Problem, &["19.03.15", "20.10"]);
    let forgets = EngineInfo { live_restore: false, ..engine() };
    only(&engine::judge(Ok(&forgets)), Level::Warning, &["live-restore", "/etc/docker/daemon.json", "reload docker"]);
    let odd = EngineInfo { version: "dev".to_owned(), storage_driver: "vfs".to_owned(), ..engine() };
    assert_eq!(levels(&engine::judge(Ok(&odd))), [Level::Warning, Level::Ok, Level::Warning, Level::Ok]);
    assert_eq!(
        levels(&engine::judge(Ok(&EngineInfo { version: "28.1.0".to_owned(), cgroup_version: 2, ..engine() }))),
        [Level::Ok; 4]
    );
}

#[test]
fn a_disk_is_judged_by_its_reserve_its_inodes_and_whether_it_can_be_written() {
    let disk = Disk {
        path: "/var".to_owned(),
        free: 50 * GIB,
        total: 100 * GIB,
        reserve: 5 * GIB,
        inodes_free: 900,
        inodes: 1000,
        read_only: false,
    };
    let judge = |change: fn(&mut Disk)| {
        let mut disk = disk.clone();
        change(&mut disk);
        host::disk(&disk)
    };
    assert_eq!(levels(&judge(|_| {})), [Level::Ok]);
    only(&judge(|d| d.free = GIB), Level::Problem, &["/var", "1024 MiB free", "paas disk"]);
    only(&judge(|d| d.free = 5 * GIB + 1), Level::Warning, &["nearly"]);
    only(&judge(|d| d.inodes_free = 10), Level::Problem, &["inodes"]);
    only(&judge(|d| d.read_only = true), Level::Problem, &["read-only"]);
    assert_eq!(levels(&judge(|d| (d.inodes, d.inodes_free) = (0, 0))), [Level::Ok], "some file systems count none");
}

#[test]
fn a_clock_is_held_against_what_the_state_remembers() {
    let now = UnixMillis(1_800_000_000_000);
    let clock = Clock { now, last_written: Some(now), synchronised: Some(true) };
    assert_eq!(levels(&host::clock(&clock)), [Level::Ok]);
    only(&host::clock(&Clock { synchronised: Some(false), ..clock.clone() }), Level::Warning, &["not synchronised", "set-ntp"]);
    only(&host::clock(&Clock { synchronised: None, ..clock.clone() }), Level::Warning, &["nothing here tells"]);
    only(&host::clock(&Clock { now: UnixMillis(1_000), ..clock.clone() }), Level::Problem, &["1970"]);
    let later = Some(UnixMillis(now.0 + 3_600_000));
    only(&host::clock(&Clock { last_written: later, ..clock.clone() }), Level::Problem, &["set back"]);
    let soon = Some(UnixMillis(now.0 + 60_000));
    assert_eq!(levels(&host::clock(&Clock { last_written: soon, ..clock })), [Level::Ok], "a minute is no jump");
}

#[test]
fn ports_and_who_holds_them() {
    let port = |holder| vec![host::port(&Port { address: "[::]:80".parse().expect("address"), holder })];
    assert_eq!(levels(&port(Holder::Ours)), [Level::Ok]);
    only(&port(Holder::Other("nginx (process 7)".to_owned())), Level::Problem, &["nginx (process 7)", "sport = :80"]);
    only(&port(Holder::Nobody), Level::Problem, &["nobody listens"]);
    only(&port(Holder::Unknown), Level::Warning, &["sudo"]);
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                 0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1\n\
                 1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1\n\
                 2: 0100007F:0050 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 13 1\n";
    let at = |address: &str| look::ports::listening(table, &address.parse().expect("address"));
    assert_eq!(
        [at("127.0.0.1:8080"), at("127.0.0.1:80"), at("127.0.0.2:8080"), at("127.0.0.1:81")],
        [vec![11], vec![12], vec![], vec![]]
    );
}

#[test]
fn a_kernel_and_what_confines_beside_docker() {
    let kernel = Kernel { release: "6.1.0-18-amd64".to_owned(), missing: vec![], apparmor: false, selinux: None };
    assert_eq!(levels(&host::kernel(&kernel)), [Level::Ok; 3]);
    only(&host::kernel(&Kernel { release: "4.19.0".to_owned(), ..kernel.clone() }), Level::Warning, &["4.19.0", "5.10"]);
    only(&host::kernel(&Kernel { missing: vec!["cgroup pids"], ..kernel.clone() }), Level::Problem, &["cgroup pids"]);
    assert_eq!(levels(&host::kernel(&Kernel { apparmor: true, ..kernel.clone() })), [Level::Ok; 3], "tried in tests/vm");
    only(&host::kernel(&Kernel { selinux: Some(Selinux::Enforcing), ..kernel }), Level::Warning, &["SELinux", "never tried"]);
}

#[test]
fn users_are_in_the_groups_they_need_and_in_no_group_that_makes_them_root() {
    let user = |name: &str, groups: &[&str]| User {
        name: name.to_owned(),
        exists: true,
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
    };
    let fine = [user("paasd", &["paasd", "docker", "paas"]), user("paas-proxy", &["paas-proxy"]), user("paas", &["paas"])];
    assert_eq!(levels(&login::users(&config(), &fine)), [Level::Ok; 3]);
    only(&login::users(&config(), &[user("paasd", &["paas"])]), Level::Problem, &["usermod -aG docker paasd"]);
    only(&login::users(&config(), &[user("paas", &["paas", "docker"])]), Level::Problem, &["gpasswd -d paas docker"]);
    only(&login::users(&config(), &[User { exists: false, ..user("paas-proxy", &[]) }]), Level::Problem, &["no user paas-proxy"]);
}

#[test]
fn a_file_has_its_owner_and_its_mode_or_the_command_that_gives_it() {
    let rules = login::rules(&config());
    let judge = |name: &str, owner: &str, mode: u32| {
        let rule = rules.iter().find(|r| r.path.ends_with(name)).expect("there is a rule");
        vec![login::file(rule, Some(&File { owner: owner.to_owned(), mode }))]
    };
    assert_eq!(levels(&judge("paas.toml", "root", 0o644)), [Level::Ok]);
    assert_eq!(levels(&judge("secret.key", "paasd", 0o600)), [Level::Ok]);
    only(&judge("secret.key", "paasd", 0o640), Level::Problem, &["chmod 600 /var/lib/paas/secret.key"]);
    only(&judge("paas.db", "root", 0o600), Level::Problem, &["chown paasd /var/lib/paas/paas.db"]);
    only(&judge("paas.db", "paasd", 0o644), Level::Problem, &["chmod 600"]);
    only(&judge("paas.toml", "root", 0o666), Level::Problem, &["chmod 644"]);
    only(&judge("authorized_keys", "paasd", 0o600), Level::Problem, &["too little", "chmod 644"]);
    assert!(rules.iter().all(|rule| rule.optional == (login::file(rule, None).level == Level::Ok)), "what may be missing, may");
}

#[test]
fn sshd_must_do_for_the_login_what_the_drop_in_says() {
    let fine = "port 22\nauthorizedkeyscommand /usr/bin/cat /var/lib/paas/authorized_keys\nauthorizedkeyscommanduser nobody\n\
                authorizedkeysfile none\npubkeyauthentication yes\npasswordauthentication no\ndisableforwarding yes\npermituserrc no\n";
    assert_eq!(levels(&login::sshd(&config(), Ok(fine))), [Level::Ok]);
    let open = fine.replace("disableforwarding yes", "disableforwarding no");
    only(&login::sshd(&config(), Ok(&open)), Level::Problem, &["disableforwarding no, not yes", "tunnel"]);
    only(&login::sshd(&config(), Ok("port 22\n")), Level::Problem, &["nobody can push", "install.sh"]);
    only(&login::sshd(&config(), Err("Bad configuration option")), Level::Problem, &["Bad configuration option"]);
    assert_eq!(levels(&[login::ssh_port(22, true), login::ssh_port(22, false)]), [Level::Ok, Level::Warning]);
}

#[test]
fn units_are_there_run_and_come_back_after_a_reboot() {
    let unit = |name: &str, file: &str, active: &str| Unit {
        name: name.to_owned(),
        load: "loaded".to_owned(),
        file: file.to_owned(),
        active: active.to_owned(),
        restarts: 0,
    };
    assert_eq!(
        levels(&running::units(&[unit("docker.service", "enabled", "active"), unit("paas-proxy.service", "static", "active")])),
        [Level::Ok, Level::Ok]
    );
    only(&running::units(&[unit("docker.service", "disabled", "active")]), Level::Problem, &["systemctl enable docker.service"]);
    only(&running::units(&[unit("paas-proxy.service", "static", "inactive")]), Level::Problem, &["systemctl start paas-proxy"]);
    only(&running::units(&[unit("paas-daemon.service", "static", "failed")]), Level::Problem, &["journalctl -u paas-daemon"]);
    let missing = Unit { load: "not-found".to_owned(), ..unit("paas.service", "", "inactive") };
    only(&running::units(&[missing]), Level::Problem, &["not installed", "install.sh"]);
    let restless = Unit { restarts: 99, ..unit("paas-daemon.service", "static", "active") };
    only(&running::units(&[restless]), Level::Warning, &["99 times"]);
    only(&running::supervisor(None, false), Level::Problem, &["paas up"]);
}

#[test]
fn drift_between_store_routes_and_docker_is_named() {
    use super::drift::{Live, Views};
    let live = |runs, unreachable| Live { name: "shop web.1".to_owned(), runs: Some(runs), unreachable };
    let fine = Views { live: vec![live(true, false)], snapshot: 7, proxies: vec![7], ..Views::default() };
    assert_eq!(levels(&drift::judge(&fine)), [Level::Ok; 2]);
    only(&drift::judge(&Views { live: vec![live(false, false)], ..fine.clone() }), Level::Problem, &["shop web.1 should run"]);
    only(&drift::judge(&Views { live: vec![live(true, true)], ..fine.clone() }), Level::Problem, &["no way to it"]);
    only(&drift::judge(&Views { proxies: vec![7, 6], ..fine.clone() }), Level::Problem, &["[7, 6]", "number 7"]);
    only(&drift::judge(&Views { proxies: vec![], ..fine.clone() }), Level::Problem, &["no proxy"]);
    only(
        &drift::judge(&Views { unknown: vec!["paas-1-x".to_owned()], ..fine.clone() }),
        Level::Warning,
        &["docker rm -f paas-1-x"],
    );
    only(
        &drift::judge(&Views { without_network: vec!["shop".to_owned()], ..fine.clone() }),
        Level::Warning,
        &["lost the network of shop", "paas ps restart -a shop"],
    );
    only(&drift::judge(&Views { stale_targets: 2, ..fine }), Level::Warning, &["2 targets"]);
    assert_eq!(drift::store(Ok(&["ok".to_owned()])).level, Level::Ok);
    only(&[drift::store(Ok(&["row 7 missing from index".to_owned()]))], Level::Problem, &["row 7", "backup"]);
    only(&[drift::store(Err("no such file"))], Level::Problem, &["no such file"]);
}

#[test]
fn the_last_words_of_an_engine_that_does_not_start_are_told_with_what_helps() {
    let root = Path::new("/srv/docker");
    let ended = |log: &str| engine::ended(log, root);
    let panic = "level=info msg=\"Loading containers: start.\"\npanic: runtime error: index out of range [0] with length 0\n\n\
                 goroutine 1 [running]:\ngithub.com/docker/libnetwork.(*controller).reservePools(0x55)\n\t/build/controller.go:962\n\
                 docker.service: Failed with result 'exit-code'.\n";
    let fatal = "failed to start daemon: Devices cgroup isn't mounted\n";
    let settings = "unable to configure the Docker daemon with file /etc/docker/daemon.json: invalid character '}'\n";
    let full = "failed to start daemon: mkdir /srv/docker/tmp: no space left on device\n";
    for (log, words) in [
        (panic.to_owned(), &["index out of range", "mv /srv/docker/network/files/local-kv.db"][..]),
        (fatal.to_owned(), &["Devices cgroup", "journalctl -u docker"]),
        (settings.to_owned(), &["invalid character", "mend /etc/docker/daemon.json"]),
        (full.to_owned(), &["no space left", "paas disk"]),
        // Of several starts the last one counts.
        (format!("{panic}{fatal}"), &["Devices cgroup"]),
        (format!("{fatal}{panic}"), &["index out of range"]),
        (format!("panic: {}\n", "x".repeat(1000)), &["panic: xxx"]),
    ] {
        let found = ended(&log).expect("a finding");
        only(std::slice::from_ref(&found), Level::Problem, words);
        assert!(found.found.len() < 400, "{found:?}");
    }
    assert_eq!(
        ended(&format!("{panic}level=info msg=\"Starting up\"\nlevel=info msg=\"Processing signal 'terminated'\"\n")),
        None
    );
    assert_eq!(ended("level=info msg=\"Daemon has completed initialization\"\n"), None);
    assert_eq!(ended(""), None);
}
