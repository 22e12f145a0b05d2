//! Collecting facts about the host: files of /proc and /sys, and programs by their argument lists. Reads only. Blocking.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::statvfs::{FsFlags, statvfs};

use super::host::{Clock, Disk, Kernel, Selinux};
use super::login::{File, User};
use super::running::{UNITS, Unit};
use crate::base::accounts;
use crate::base::clock::UnixMillis;
use crate::config::HostConfig;
use crate::model::disk;

pub mod ports;

/// A program that takes longer hangs, and is not waited for.
const PROGRAM_LIMIT: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_secs(10) };

/// Where install.sh lets the engine write without systemd, and how much of its end is read, in bytes.
const ENGINE_LOG: &str = "/var/log/paas-dockerd.log";
const LOG_END: u64 = 64 * 1024;

/// The file systems of these folders, each once. `reserve`: bytes to keep free, where the host config says so.
pub fn disks(folders: &[PathBuf], reserve: Option<u64>) -> Vec<Disk> {
    let mut seen = BTreeMap::new();
    for folder in folders {
        let (Ok(device), Ok(fs)) = (fs::metadata(folder).map(|m| m.dev()), statvfs(folder.as_path())) else { continue };
        let unit = fs.fragment_size();
        seen.entry(device).or_insert_with(|| Disk {
            path: folder.display().to_string(),
            free: fs.blocks_available() * unit,
            total: fs.blocks() * unit,
            reserve: disk::reserve(reserve, fs.blocks() * unit),
            inodes_free: fs.files_available(),
            inodes: fs.files(),
            read_only: fs.flags().contains(FsFlags::ST_RDONLY),
        });
    }
    seen.into_values().collect()
}

pub fn clock(config: &HostConfig) -> Clock {
    let written = |path: PathBuf| fs::metadata(path).and_then(|m| m.modified()).ok();
    let newest = [config.db(), config.db().with_extension("db-wal")].into_iter().filter_map(written).max();
    let millis = |t: std::time::SystemTime| {
        t.duration_since(std::time::UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_millis()).ok()).map(UnixMillis)
    };
    Clock { now: UnixMillis::now(), last_written: newest.and_then(millis), synchronised: synchronised() }
}

fn synchronised() -> Option<bool> {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    let said = output("timedatectl", &["show", "-p", "NTPSynchronized", "--value"]).ok()?;
    match said.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

pub fn kernel() -> Kernel {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let systems = text("/proc/filesystems");
    let v2 = text("/sys/fs/cgroup/cgroup.controllers");
    let v1 = text("/proc/cgroups");
    let controller = |name: &str| {
        let on = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.first() == Some(&name) && words.last() == Some(&"1")
        };
        v2.split_whitespace().any(|word| word == name) || v1.lines().any(on)
    };
    let features = [
        ("overlay", systems.contains("overlay") || Path::new("/sys/module/overlay").exists()),
        ("seccomp", text("/proc/self/status").contains("\nSeccomp:")),
        ("network namespaces", Path::new("/proc/self/ns/net").exists()),
        ("cgroup memory", controller("memory")),
        ("cgroup pids", controller("pids")),
    ];
    Kernel {
        release: text("/proc/sys/kernel/osrelease").trim().to_owned(),
        missing: features.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect(),
        apparmor: text("/sys/module/apparmor/parameters/enabled").starts_with('Y'),
        selinux: match text("/sys/fs/selinux/enforce").trim() {
            "1" => Some(Selinux::Enforcing),
            "0" => Some(Selinux::Permissive),
            _ => None,
        },
    }
}

pub fn users(config: &HostConfig) -> Vec<User> {
    let names = [&config.users.daemon, &config.users.proxy, &config.users.login];
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let group_of = |gid: u32| {
        groups.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
        })
    };
    let look = |name: &String| {
        let account = accounts::user(name).ok().flatten();
        let gids = account.as_ref().and_then(|a| accounts::groups_of(a).ok()).unwrap_or_default();
        User { name: name.clone(), exists: account.is_some(), groups: gids.into_iter().filter_map(group_of).collect() }
    };
    names.into_iter().map(look).collect()
}

pub fn file(path: &Path) -> Option<File> {
    let found = fs::metadata(path).ok()?;
    let owner = accounts::user_of(found.uid()).ok().flatten().map_or_else(|| found.uid().to_string(), |a| a.name);
    Some(File { owner, mode: found.mode() & 0o7777 })
}

/// What sshd would do for the login user. `file`: its settings, if they are not the usual ones.
pub fn sshd(login: &str, file: Option<&Path>) -> Result<String, String> {
    let who = format!("user={login},host=localhost,addr=127.0.0.1");
    let mut args = vec!["-T", "-C", &who];
    let shown = file.map(|f| f.display().to_string());
    if let Some(file) = &shown {
        args.extend(["-f", file]);
    }
    output("/usr/sbin/sshd", &args)
}

pub fn ssh_answers(port: u16) -> bool {
    [SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))]
        .iter()
        .any(|address| std::net::TcpStream::connect_timeout(address, Duration::from_secs(2)).is_ok())
}

pub fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

pub fn units() -> Vec<Unit> {
    UNITS.iter().map(|name| unit(name)).collect()
}

/// The end of the engine's log, if the engine does not run. `socket`: where it would answer.
pub fn dead_engine(socket: &Path) -> Option<String> {
    if systemd_runs() {
        // systemd's own socket takes connections also while the engine is dead.
        if matches!(unit("docker.service").active.as_str(), "active" | "reloading") {
            return None;
        }
        return output("journalctl", &["-u", "docker", "-n", "80", "-o", "cat", "--no-pager"]).ok();
    }
    match UnixStream::connect(socket) {
        Ok(_) => None,
        Err(_) => end_of(Path::new(ENGINE_LOG)).ok(),
    }
}

/// Where the engine keeps its things: as its settings say.
pub fn engine_root() -> PathBuf {
    let settings = fs::read("/etc/docker/daemon.json").ok();
    let settings = settings.and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok()).unwrap_or_default();
    settings["data-root"].as_str().unwrap_or("/var/lib/docker").into()
}

fn end_of(file: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(file)?;
    let begin = file.metadata()?.len().saturating_sub(LOG_END);
    file.seek(SeekFrom::Start(begin))?;
    let mut text = Vec::new();
    file.take(LOG_END).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn unit(name: &str) -> Unit {
    let said = output("systemctl", &["show", "-p", "LoadState,UnitFileState,ActiveState,NRestarts", name]).unwrap_or_default();
    let value =
        |key: &str| said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default().to_owned();
    Unit {
        name: name.to_owned(),
        load: value("LoadState"),
        file: value("UnitFileState"),
        active: value("ActiveState"),
        restarts: value("NRestarts").parse().unwrap_or(0),
    }
}

/// The standard output of a program that ends well, else its complaint. It is killed if it does not end.
fn output(program: &str, args: &[&str]) -> Result<String, String> {
    let command = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = command.map_err(|e| format!("{program}: {e}"))?;
    let started = Instant::now();
    // What these programs print fits into a pipe, so nobody has to read while they run.
    while child.try_wait().map_err(|e| format!("{program}: {e}"))?.is_none() {
        if started.elapsed() > PROGRAM_LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{program} did not end within {} s", PROGRAM_LIMIT.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let done = child.wait_with_output().map_err(|e| format!("{program}: {e}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(said.lines().next().unwrap_or("it said nothing").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_not_waited_for() {
        let begun = Instant::now();
        let said = output("sleep", &["30"]).expect_err("it was waited for");
        assert!(said.contains("did not end within") && begun.elapsed() < Duration::from_secs(20), "{said}");
        assert_eq!(output("echo", &["fine"]).as_deref(), Ok("fine\n"));
        assert!(output("no-such-program", &[]).is_err());
    }
}
