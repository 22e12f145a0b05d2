//! What a drill takes away, and how it is found: the roles by whoever supervises them, an instance's app by what is mounted into it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::super::CliError;
use super::LIMIT;
use crate::api::client::Client;
use crate::config::HostConfig;
use crate::names::{AppName, InstanceId};

/// Of the end of a process after SIGKILL.
const END_LIMIT: Duration = Duration::from_secs(1);

/// In the order of the drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// None: an ordinary deploy of the live release.
    Restart,
    Daemon,
    Dialer,
    Proxy,
    Instance,
    Docker,
}

impl Fault {
    pub const ALL: [Fault; 6] = [Fault::Restart, Fault::Daemon, Fault::Dialer, Fault::Proxy, Fault::Instance, Fault::Docker];

    pub fn says(self) -> &'static str {
        match self {
            Fault::Restart => "Restarting the app",
            Fault::Daemon => "Killing the daemon",
            Fault::Dialer => "Killing the dialer",
            Fault::Proxy => "Killing the proxy",
            Fault::Instance => "Killing the app in one instance",
            Fault::Docker => "Restarting Docker",
        }
    }

    /// Does a request in flight end with what is killed?
    pub fn ends_requests(self) -> bool {
        matches!(self, Fault::Proxy | Fault::Instance | Fault::Docker)
    }
}

/// A fault that was made: a request that began before `until` and was open at `at` may have been in flight at what was killed.
#[derive(Debug)]
pub struct Hit {
    pub at: Instant,
    /// Later than `at` by as long as the kill took; `at` itself where nothing that carries a request ends.
    pub until: Instant,
    /// Until it was there again.
    pub back: Option<Duration>,
}

/// Makes the fault and waits until what is gone is there again, at most a minute.
pub async fn strike(fault: Fault, config: &HostConfig, client: &Client, app: &AppName) -> Result<Hit, CliError> {
    match fault {
        Fault::Daemon => role(config, "daemon", fault).await,
        Fault::Dialer => role(config, "dialer", fault).await,
        Fault::Proxy => role(config, "proxy", fault).await,
        Fault::Instance => instance(config, client, app).await,
        Fault::Docker => docker().await,
        Fault::Restart => Err(CliError::failed("a restart is no fault")),
    }
}

async fn role(config: &HostConfig, role: &str, fault: Fault) -> Result<Hit, CliError> {
    let old = ready_pid(config, role)?;
    let Some(old) = old else { return Err(CliError::failed(format!("the {role} does not run")).hint("paas status")) };
    let hit = end(old, fault).await?;
    let back = wait(hit.at, || Ok(ready_pid(config, role)?.is_some_and(|now| now != old))).await?;
    Ok(Hit { back, ..hit })
}

/// SIGKILL. A process goes on taking requests until the kernel has come round to ending it, on a busy host some milliseconds later.
async fn end(pid: i32, fault: Fault) -> Result<Hit, CliError> {
    let at = Instant::now();
    kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|e| CliError::failed(format!("killing process {pid}: {e}")))?;
    while !has_ended(pid) && at.elapsed() < END_LIMIT {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(Hit { at, until: if fault.ends_requests() { Instant::now() } else { at }, back: None })
}

/// Every thread is gone or a zombie that nobody has reaped: the last one closes the sockets. The state is the third field of proc(5)'s
/// `stat`, after the name in parentheses.
fn has_ended(pid: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.map(|thread| std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default()).all(|stat| {
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        matches!(state, None | Some('Z' | 'X'))
    })
}

async fn wait(since: Instant, mut there: impl FnMut() -> Result<bool, CliError>) -> Result<Option<Duration>, CliError> {
    while since.elapsed() < LIMIT {
        if there()? {
            return Ok(Some(since.elapsed()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(None)
}

/// What `paas up` writes of its roles.
#[derive(Deserialize)]
struct Up {
    pid: i32,
    roles: std::collections::BTreeMap<String, UpRole>,
}

#[derive(Deserialize)]
struct UpRole {
    state: String,
    pid: Option<i32>,
}

/// The process of a role that is ready, by `paas up` if one serves this installation, else by systemd.
fn ready_pid(config: &HostConfig, role: &str) -> Result<Option<i32>, CliError> {
    let up: Option<Up> = std::fs::read(config.run_dir.join("up.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
    if let Some(up) = up.filter(|up| Path::new(&format!("/proc/{}", up.pid)).exists()) {
        return Ok(up.roles.get(role).filter(|r| r.state == "ready").and_then(|r| r.pid));
    }
    let unit = format!("paas-{role}.service");
    let shown = Command::new("systemctl").args(["show", "--property=ActiveState,MainPID", &unit]).output();
    let shown = shown.map_err(|e| CliError::failed(format!("neither `paas up` nor systemd runs paas here: {e}")))?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    let pid = text.lines().find_map(|line| line.strip_prefix("MainPID=")).and_then(|pid| pid.parse().ok());
    Ok(pid.filter(|pid| *pid > 0 && text.lines().any(|line| line == "ActiveState=active")))
}

async fn instance(config: &HostConfig, client: &Client, app: &AppName) -> Result<Hit, CliError> {
    let ps = client.ps(app).await?;
    let web = ps.processes.iter().find(|p| p.process.as_str() == "web").and_then(|p| p.instances.first());
    let id = web.ok_or_else(|| CliError::failed(format!("{app} has no instance of `web`")))?.id;
    let old = app_pids(config, id);
    let Some(first) = old.first() else { return Err(CliError::failed(format!("the app of instance {id} is not found"))) };
    let hit = end(*first, Fault::Instance).await?;
    // The others of its tree end with it or are asked to; all that began anew is another process.
    let back = wait(hit.at, || Ok(app_pids(config, id).iter().any(|pid| !old.contains(pid)))).await?;
    Ok(Hit { back, ..hit })
}

/// The processes of an instance but for its init, the oldest first. An instance's folder is mounted into it and into nothing else.
fn app_pids(config: &HostConfig, id: InstanceId) -> Vec<i32> {
    let own = config.instance_dir(id);
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut found: Vec<i32> = pids.filter(|pid| is_in(*pid, &own) && !is_init(*pid)).collect();
    found.sort_unstable();
    found
}

/// The fourth field of a line of mountinfo is the mounted folder within its file system, the fifth where it is mounted (proc(5)).
fn is_in(pid: i32, own: &Path) -> bool {
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, at) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        at.starts_with("/.paas/") && root.len() > 1 && own.ends_with(root.trim_start_matches('/'))
    })
}

fn is_init(pid: i32) -> bool {
    let argv = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    argv.split(|byte| *byte == 0).nth(1) == Some(b"init") && argv.starts_with(b"/.paas/")
}

async fn docker() -> Result<Hit, CliError> {
    let at = Instant::now();
    let done = tokio::task::spawn_blocking(|| Command::new("systemctl").args(["restart", "docker.service"]).status()).await;
    match done {
        Ok(Ok(status)) if status.success() => Ok(Hit { at, until: Instant::now(), back: Some(at.elapsed()) }),
        _ => Err(CliError::failed("`systemctl restart docker.service` failed")
            .hint("leave `--docker` out where systemd does not run Docker")),
    }
}
