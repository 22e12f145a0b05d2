//! The machine under a world: what must be there, the folders and the binary of an installation, its supervisor, and /proc.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::cli::run;
use super::engine;
use super::repo::place_program;

/// Fails with the one command that brings what is missing; a test is never skipped.
pub fn require_machine() {
    let user = |name: &str| {
        std::fs::read_to_string("/etc/passwd").unwrap_or_default().lines().any(|l| l.starts_with(&format!("{name}:")))
    };
    let root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    assert!(root, "the end-to-end tests need root: use tests/run");
    for name in ["paasd", "paas-proxy", "paas"] {
        assert!(user(name), "there is no user {name}: use tests/run, which makes it");
    }
    let docker = engine::docker(&["version", "--format", "{{.Server.Version}}"]);
    assert!(docker.code == 0, "no Docker engine answers: use tests/run, which starts one\n{docker}");
}

/// The folders as install.sh makes them.
pub fn make_folders(base: &Path) {
    for (path, mode, owner) in
        [("", "0755", "root:root"), ("ssh", "0755", "root:root"), ("run", "0755", "paasd:root"), ("state", "0711", "paasd:paas")]
    {
        let mut command = Command::new("install");
        let (user, group) = owner.split_once(':').expect("owner and group");
        command.args(["-d", "-m", mode, "-o", user, "-g", group]).arg(base.join(path));
        run(&mut command, b"", Duration::from_secs(5)).ok();
    }
}

/// The binary lies in the world's folder: its users may not enter the home of whoever built it. A second name costs nothing; a copy some.
pub fn place_binary(folder: &Path) {
    let (built, placed) = (Path::new(env!("CARGO_BIN_EXE_paas")), folder.join("paas"));
    if std::fs::hard_link(built, &placed).is_err() {
        place_program(built, &placed);
    }
}

pub fn start_supervisor(folder: &Path, config: &Path, env: &[(&str, &str)]) -> Child {
    let log = || std::fs::OpenOptions::new().create(true).append(true).open(folder.join("up.log")).expect("a log can be made");
    let mut command = Command::new(folder.join("paas"));
    command.args(["up", "--config"]).arg(config).envs(env.iter().copied()).current_dir("/");
    command.stdin(Stdio::null()).stdout(log()).stderr(log()).spawn().expect("paas up starts")
}

/// Every process of the machine with its arguments.
pub fn processes() -> Vec<(u32, Vec<String>)> {
    let pids =
        std::fs::read_dir("/proc").expect("/proc is there").flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let text = std::fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|t| !t.is_empty())?;
        Some((pid, text.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect()))
    })
    .collect()
}
