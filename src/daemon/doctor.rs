//! `paas doctor`: what can be seen on the host, and what the daemon knows. It works as well when the daemon is dead, and says what it could not see.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use nix::unistd::Uid;

use crate::api::client::{Client, ClientError, Transport};
use crate::api::server::doctor::shown;
use crate::api::types::doctor::{Finding, Findings, Level};
use crate::base::filesystem;
use crate::cli;
use crate::config::HostConfig;
use crate::docker::Docker;
use crate::doctor::{drift, engine, host, login, look, problem, running, warning};
use crate::handover::supervise;
use crate::model::disk::STORE_FLOOR;
use crate::store::{Store, StoreError};

/// Its socket takes connections also while no daemon runs, as the supervisor keeps it; and an engine that hangs makes the daemon slow.
const DAEMON_LIMIT: Duration = Duration::from_secs(25);

const START: &str =
    "systemctl start paas; if it ends again: journalctl -u paas-daemon -n 50 (without systemd: `paas up --detach`)";
const RESTART: &str = "systemctl restart paas-daemon; journalctl -u paas-daemon -n 50 (without systemd: `paas up`)";

/// What was typed.
pub struct Ask<'a> {
    pub config: &'a Path,
    pub json: bool,
    /// sshd's settings, if they are not the usual ones.
    pub sshd_config: Option<&'a Path>,
}

/// Looks, tells, and gives the exit code: 1 if there is a problem.
pub fn run(ask: &Ask<'_>) -> anyhow::Result<ExitCode> {
    let config = HostConfig::load(ask.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let mut found: Vec<Finding> = on_the_host(&config, ask.sshd_config).into_iter().map(shown).collect();
    found.extend(runtime.block_on(from_the_daemon(&config)));
    let findings = Findings::of(found);
    if ask.json {
        cli::show(&serde_json::to_string(&findings).context("writing JSON")?)?;
    } else {
        tell(&findings)?;
    }
    Ok(if findings.problems > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn tell(findings: &Findings) -> anyhow::Result<()> {
    let row = |f: &Finding| {
        let level = match f.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        };
        vec![level.to_owned(), f.area.clone(), f.found.clone()]
    };
    let rows: Vec<_> = findings.findings.iter().map(row).collect();
    for (line, finding) in
        cli::table(&["", "AREA", "FOUND"], &rows).iter().zip(std::iter::once(None).chain(findings.findings.iter().map(Some)))
    {
        cli::show(line)?;
        if let Some(finding) = finding.filter(|f| !f.todo.is_empty()) {
            cli::show(&format!("         to do: {}", finding.todo))?;
        }
    }
    cli::say(&format!("{} problems, {} warnings, {} ok", findings.problems, findings.warnings, findings.ok));
    Ok(())
}

fn on_the_host(config: &HostConfig, sshd_config: Option<&Path>) -> Vec<crate::doctor::Finding> {
    let mut found = Vec::new();
    if !Uid::effective().is_root() {
        let text = "not run as root: sshd's settings, some files and the holders of ports can't be seen";
        found.push(warning("users", text, "sudo paas doctor"));
    }
    found.extend(running(config));
    found.extend(host::clock(&look::clock(config)));
    found.extend(look::ports::look(&addresses(config)).iter().map(host::port));
    found.extend(host::kernel(&look::kernel()));
    found.extend(login::users(config, &look::users(config)));
    found.extend(login::rules(config).iter().map(|rule| login::file(rule, look::file(&rule.path).as_ref())));
    if Uid::effective().is_root() {
        let effective = look::sshd(&config.users.login, sshd_config);
        found.extend(login::sshd(config, effective.as_deref().map_err(String::as_str)));
    }
    found.extend(look::dead_engine(&config.docker.socket).and_then(|log| engine::ended(&log, &look::engine_root())));
    found.push(login::ssh_port(config.ssh.port, look::ssh_answers(config.ssh.port)));
    found
}

/// Units, or the supervisor where it runs (a test or a laptop may have systemd too, and not use it).
fn running(config: &HostConfig) -> Vec<crate::doctor::Finding> {
    let status = supervise::Status::read(&config.run_dir);
    let alive = status.as_ref().is_some_and(|s| Path::new(&format!("/proc/{}", s.pid)).exists());
    if look::systemd_runs() && !alive { running::units(&look::units()) } else { running::supervisor(status.as_ref(), alive) }
}

/// Where the proxy should listen; the supervisor tells what became of port 0.
fn addresses(config: &HostConfig) -> Vec<SocketAddr> {
    let told = std::fs::read(config.run_dir.join("listening.json")).ok();
    let told = told.and_then(|text| serde_json::from_slice::<std::collections::BTreeMap<String, Vec<SocketAddr>>>(&text).ok());
    let open = |address: &SocketAddr| address.port() == 0;
    let mut told = told.unwrap_or_default();
    let wanted = [("http", &config.proxy.listen), ("https", &config.proxy.listen_tls)];
    let addresses = wanted.into_iter().map(|(name, wanted)| match told.remove(name) {
        Some(all) if wanted.iter().any(open) => all,
        _ => wanted.iter().filter(|a| !open(a)).copied().collect(),
    });
    addresses.flatten().collect()
}

/// The daemon's own findings, by one call; without a daemon as much of them as can be had.
async fn from_the_daemon(config: &HostConfig) -> Vec<Finding> {
    let client = Client::new(Transport::socket(config.api_socket()));
    let trouble = match tokio::time::timeout(DAEMON_LIMIT, client.doctor()).await {
        Ok(Ok(findings)) => return findings.findings,
        Ok(Err(e)) => match &e {
            ClientError::Unreachable { source, .. } if is_nobody(source) => {
                problem("processes", format!("the daemon does not run: nobody listens at {}", client.place()), START)
            }
            _ => problem("processes", format!("the daemon does not answer: {e}"), RESTART),
        },
        Err(_) => {
            problem("processes", format!("the daemon does not answer: nothing came within {} s", DAEMON_LIMIT.as_secs()), RESTART)
        }
    };
    let mut found = vec![trouble];
    found.extend(without_the_daemon(config).await);
    let text = "store, routes and Docker were not compared: only the daemon can";
    found.push(warning("routes", text, "paas doctor, once it runs"));
    found.into_iter().map(shown).collect()
}

/// No socket, or one that a process left behind. A supervisor's socket takes connections also while no daemon runs.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

async fn without_the_daemon(config: &HostConfig) -> Vec<crate::doctor::Finding> {
    let docker = Docker::new(&config.docker.socket, "");
    let asked = docker.engine().await;
    let words = asked.as_ref().map_err(ToString::to_string);
    let mut found = engine::judge(words.as_ref().map(|info| *info).map_err(String::as_str));
    let folders: Vec<PathBuf> = [config.state_dir.clone()].into_iter().chain(asked.ok().map(|e| e.root_dir)).collect();
    found.extend(look::disks(&folders, config.limits.disk_reserve).iter().flat_map(host::disk));
    found.push(the_database(config).await);
    found
}

async fn the_database(config: &HostConfig) -> crate::doctor::Finding {
    // What SQLite makes to read it needs room too.
    if !filesystem::has(&config.db(), STORE_FLOOR) {
        return warning("store", "the database was not looked at: the disk is full", "make room, then paas doctor");
    }
    match Store::check_file(&config.db()).await {
        Err(e @ StoreError::InUse { .. }) => {
            warning("store", format!("the database was not looked at: {e}"), "paas doctor, once the daemon answers or is stopped")
        }
        check => drift::store(check.map_err(|e| e.to_string()).as_deref().map_err(String::as_str)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Sealer;

    fn of<'f>(found: &'f [Finding], area: &str) -> Vec<&'f Finding> {
        found.iter().filter(|f| f.area == area).collect()
    }

    #[tokio::test]
    async fn without_a_daemon_the_rest_is_looked_at_and_the_missing_daemon_named_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = HostConfig::default_at(Path::new("paas.toml"));
        (config.state_dir, config.run_dir) = (folder.path().to_owned(), folder.path().to_owned());
        config.docker.socket = folder.path().join("no-docker.sock");
        // Without a database, with one, and with a socket that a dead daemon left.
        for step in 0..3 {
            match step {
                1 => Store::open(&config.db(), Sealer::new(&[7; 32])).await.expect("a store").close().await,
                2 => drop(std::os::unix::net::UnixListener::bind(config.api_socket()).expect("a socket")),
                _ => {}
            }
            let begun = std::time::Instant::now();

            let found = from_the_daemon(&config).await;

            assert!(begun.elapsed() < DAEMON_LIMIT, "{:?}", begun.elapsed());
            let daemon = of(&found, "processes")[0];
            assert_eq!(
                (daemon.level, daemon.found.starts_with("the daemon does not run: nobody listens at")),
                (Level::Problem, true)
            );
            assert!(daemon.found.contains("api.sock") && daemon.todo.contains("systemctl start paas"), "{daemon:?}");
            let store = of(&found, "store")[0].level;
            assert_eq!(store == Level::Ok, step > 0, "{found:#?}");
            assert_eq!(of(&found, "docker")[0].level, Level::Problem, "{found:#?}");
            assert!(!of(&found, "disk").is_empty() && !of(&found, "routes").is_empty(), "{found:#?}");
            assert!(found.iter().all(|f| f.level == Level::Ok || !f.todo.is_empty()), "{found:#?}");
            assert!(Findings::of(found).problems > 0, "which is exit code 1");
        }
    }
}
