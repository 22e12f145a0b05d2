//! From the file as typed to [`HostConfig`].

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{
    AlertsConfig, BuildConfig, ConfigError, DebianRelease, DockerConfig, HostConfig, Limits, LogsConfig, ProxyConfig, SshConfig,
    StackConfig, StackSource, Users,
};
use crate::base::cidr::Cidr;
use crate::base::secret::Secret;
use crate::base::toml_file::{KeyError, Section};
use crate::names::Hostname;

/// The bundle that Debian and its relatives keep; used for builds if it is there.
const HOST_CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Docker refuses a memory limit below 6 MiB.
const LEAST_MEMORY: u64 = 6 * MIB;
const MINUTE: Duration = Duration::from_secs(60);

/// Every key with its default as docs/config.md shows it; a test compares.
pub const KEYS: [&str; 42] = [
    "state_dir",
    "run_dir",
    "domain",
    "users.daemon",
    "users.proxy",
    "users.login",
    "users.admin_group",
    "proxy.listen",
    "proxy.listen_tls",
    "proxy.commit_header",
    "proxy.upgrade_grace",
    "proxy.trusted_proxies",
    "ssh.host",
    "ssh.port",
    "docker.socket",
    "docker.exec_root",
    "docker.subnets",
    "build.ca_certificates",
    "build.concurrency",
    "build.timeout",
    "build.cache_limit",
    "stack.source",
    "stack.debian",
    "stack.mirror",
    "limits.memory",
    "limits.cpus",
    "limits.pids",
    "limits.disk",
    "limits.disk_interval",
    "limits.crash_bytes",
    "limits.push_bytes",
    "limits.source_bytes",
    "limits.source_files",
    "limits.keep_releases",
    "limits.keep_deploys",
    "limits.disk_reserve",
    "limits.create_by_push",
    "logs.max_bytes_per_app",
    "logs.lines_per_second",
    "logs.burst",
    "alerts.webhook",
    "alerts.exec",
];

impl HostConfig {
    /// Reads and validates the file. Errors name file, line, key, what was found and what is allowed. Blocking: reads one small file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        // Processes that are given the path on are started elsewhere. It cannot fail for a path that was just read.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self::parse(&path, &text)
    }

    /// What an empty file at `path` means.
    pub fn default_at(path: &Path) -> Self {
        Self::parse(path, "").expect("an empty host config is valid")
    }

    /// Validates the text of the file; `path` is for messages and [`HostConfig::file`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let name = path.to_string_lossy();
        let mut file = Section::parse(&name, text)?;
        file.not_yet(&["certs", "services", "backups"])?;
        let config = HostConfig {
            file: path.to_owned(),
            state_dir: file.parsed("state_dir", absolute)?.unwrap_or_else(|| PathBuf::from("/var/lib/paas")),
            run_dir: file.parsed("run_dir", absolute)?.unwrap_or_else(|| PathBuf::from("/run/paas")),
            domain: file.parsed("domain", Hostname::parse)?,
            users: users(file.section("users")?)?,
            proxy: proxy(file.section("proxy")?)?,
            ssh: ssh(file.section("ssh")?)?,
            docker: docker(file.section("docker")?)?,
            build: build(file.section("build")?)?,
            stack: stack(file.section("stack")?)?,
            limits: limits(file.section("limits")?)?,
            logs: logs(file.section("logs")?)?,
            alerts: alerts(file.section("alerts")?)?,
        };
        file.done()?;
        Ok(config)
    }
}

fn absolute(given: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(given);
    let plain = path.components().all(|c| !matches!(c, std::path::Component::ParentDir));
    // Docker mounts and unix sockets take these paths: no colon, no control character.
    let clean = !given.chars().any(|c| c.is_control() || c == ':');
    if path.is_absolute() && plain && clean { Ok(path) } else { Err("must be an absolute path without `..` and `:`".to_owned()) }
}

/// The portable part of what useradd(8) accepts.
fn user(given: &str) -> Result<String, String> {
    let b = given.as_bytes();
    let ok = (1..=32).contains(&b.len())
        && (b[0].is_ascii_lowercase() || b[0] == b'_')
        && b.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'_' | b'-'));
    if ok {
        Ok(given.to_owned())
    } else {
        Err("must be a user or group name: lower-case letters, digits, `-` and `_`".to_owned())
    }
}

fn users(mut s: Section<'_>) -> Result<Users, KeyError> {
    let mut name = |key, default: &str| Ok::<_, KeyError>(s.parsed(key, user)?.unwrap_or_else(|| default.to_owned()));
    let users = Users {
        daemon: name("daemon", "paasd")?,
        proxy: name("proxy", "paas-proxy")?,
        login: name("login", "paas")?,
        admin_group: name("admin_group", "paas-admin")?,
    };
    if users.daemon == users.login || users.proxy == users.login || users.daemon == users.proxy {
        return Err(s.error("`users.daemon`, `users.proxy` and `users.login` must be three different users"));
    }
    s.done()?;
    Ok(users)
}

fn proxy(mut s: Section<'_>) -> Result<ProxyConfig, KeyError> {
    let address = |given: &str| {
        given.parse::<SocketAddr>().map_err(|_| "must be an address with a port, such as [::]:80 or 127.0.0.1:8080")
    };
    let listen = match s.value("listen") {
        None => vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 80))],
        Some(v) if v.is_text() => vec![v.parsed(address)?],
        Some(v) => {
            let empty = v.error("must name at least one address");
            let all = v.list()?.into_iter().map(|v| v.parsed(address)).collect::<Result<Vec<_>, _>>()?;
            if all.is_empty() { return Err(empty) } else { all }
        }
    };
    let upgrade_grace = s.duration("upgrade_grace", MINUTE / 60..=MINUTE * 60 * 24)?.unwrap_or(MINUTE * 10);
    let trusted = s.value("trusted_proxies").map(|v| v.list()?.into_iter().map(|v| v.parsed(Cidr::parse)).collect());
    let listen_tls = match s.value("listen_tls") {
        None => vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 443))],
        Some(v) if v.is_text() => vec![v.parsed(address)?],
        Some(v) => v.list()?.into_iter().map(|v| v.parsed(address)).collect::<Result<Vec<_>, _>>()?,
    };
    let limits = super::proxy_limits::read(s.section("limits")?)?;
    let proxy = ProxyConfig {
        listen,
        listen_tls,
        commit_header: s.boolean("commit_header")?.unwrap_or(false),
        upgrade_grace,
        trusted_proxies: trusted.transpose()?.unwrap_or_default(),
        limits,
    };
    s.done()?;
    Ok(proxy)
}

fn ssh(mut s: Section<'_>) -> Result<SshConfig, KeyError> {
    let host = |given: &str| {
        let fine = given.parse::<std::net::IpAddr>().is_ok() || Hostname::parse(given).is_ok();
        if fine { Ok(given.to_owned()) } else { Err("must be the host name or address that users type after `paas@`") }
    };
    let ssh = SshConfig { host: s.parsed("host", host)?, port: s.integer("port", 1..=65_535)?.unwrap_or(22) as u16 };
    s.done()?;
    Ok(ssh)
}

fn docker(mut s: Section<'_>) -> Result<DockerConfig, KeyError> {
    let docker = DockerConfig {
        socket: s.parsed("socket", absolute)?.unwrap_or_else(|| PathBuf::from("/var/run/docker.sock")),
        exec_root: s.parsed("exec_root", absolute)?.unwrap_or_else(|| PathBuf::from("/var/run/docker")),
        subnets: s.parsed("subnets", subnet)?.unwrap_or((Ipv4Addr::new(10, 213, 0, 0), 16)),
    };
    s.done()?;
    Ok(docker)
}

/// An IPv4 network in the private ranges (RFC 1918, RFC 6598), large enough for at least 16 networks of 16 addresses.
fn subnet(given: &str) -> Result<(Ipv4Addr, u8), String> {
    let refused = || "must be a private IPv4 network with a prefix from 8 to 24, such as 10.213.0.0/16".to_owned();
    let (address, prefix) = given.split_once('/').ok_or_else(refused)?;
    let address: Ipv4Addr = address.parse().map_err(|_| refused())?;
    let prefix: u8 = prefix.parse().map_err(|_| refused())?;
    let shared = address.octets()[0] == 100 && (64..128).contains(&address.octets()[1]);
    if !(8..=24).contains(&prefix) || !(address.is_private() || shared) {
        return Err(refused());
    }
    let host_bits = u32::from(address) & (u32::MAX >> prefix);
    if host_bits != 0 {
        return Err(format!(
            "has bits set beyond the prefix; did you mean {}/{prefix}?",
            Ipv4Addr::from(u32::from(address) & !(u32::MAX >> prefix))
        ));
    }
    Ok((address, prefix))
}

fn build(mut s: Section<'_>) -> Result<BuildConfig, KeyError> {
    let host_bundle = || Some(PathBuf::from(HOST_CA_BUNDLE)).filter(|p| p.is_file());
    let build = BuildConfig {
        ca_certificates: s.parsed("ca_certificates", absolute)?.or_else(host_bundle),
        concurrency: s.integer("concurrency", 1..=64)?.unwrap_or(1) as usize,
        timeout: s.duration("timeout", MINUTE..=MINUTE * 60 * 24)?.unwrap_or(MINUTE * 30),
        cache_limit: s.size("cache_limit", MIB..=1024 * GIB)?.unwrap_or(20 * GIB),
    };
    s.done()?;
    Ok(build)
}

fn stack(mut s: Section<'_>) -> Result<StackConfig, KeyError> {
    let source = |given: &str| match given {
        "registry" => Ok(StackSource::Registry),
        "debian" => Ok(StackSource::Debian),
        "auto" => Ok(StackSource::Auto),
        other => Err(format!("found `{other}`, but it must be registry, debian or auto")),
    };
    let debian = match s.value("debian") {
        None => DebianRelease::Trixie,
        Some(v) if v.is_text() => v.parsed(|given| match given {
            "trixie" | "13" => Ok(DebianRelease::Trixie),
            "bookworm" | "12" => Ok(DebianRelease::Bookworm),
            other => Err(format!("found `{other}`, but it must be trixie (13) or bookworm (12)")),
        })?,
        Some(v) => match v.integer(12..=13)? {
            12 => DebianRelease::Bookworm,
            _ => DebianRelease::Trixie,
        },
    };
    let mirror = |given: &str| {
        let plain = given.bytes().all(|c| c.is_ascii_graphic() && !matches!(c, b'"' | b'\'' | b'\\' | b'`' | b'$' | b'<' | b'>'));
        let web = given.starts_with("http://") || given.starts_with("https://");
        if web && plain { Ok(given.trim_end_matches('/').to_owned()) } else { Err("must be an http:// or https:// address") }
    };
    let stack = StackConfig {
        source: s.parsed("source", source)?.unwrap_or(StackSource::Auto),
        debian,
        mirror: s.parsed("mirror", mirror)?.unwrap_or_else(|| "http://deb.debian.org/debian".to_owned()),
    };
    s.done()?;
    Ok(stack)
}

fn limits(mut s: Section<'_>) -> Result<Limits, KeyError> {
    let limits = Limits {
        memory: s.size("memory", LEAST_MEMORY..=1024 * GIB)?.unwrap_or(512 * MIB),
        cpus: s.number("cpus", 0.0..=1024.0)?.unwrap_or(0.0),
        pids: s.integer("pids", 16..=1_000_000)?.unwrap_or(512) as u32,
        disk: s.size("disk", MIB..=1024 * GIB)?.unwrap_or(2 * GIB),
        disk_interval: s.duration("disk_interval", MINUTE / 60..=MINUTE * 60)?.unwrap_or(MINUTE),
        crash_bytes: s.size("crash_bytes", 0..=1024 * GIB)?.unwrap_or(256 * MIB),
        push_bytes: s.size("push_bytes", MIB..=1024 * GIB)?.unwrap_or(GIB),
        source_bytes: s.size("source_bytes", MIB..=1024 * GIB)?.unwrap_or(2 * GIB),
        source_files: s.integer("source_files", 100..=10_000_000)?.unwrap_or(100_000),
        keep_releases: s.integer("keep_releases", 2..=1000)?.unwrap_or(10) as u32,
        keep_deploys: s.integer("keep_deploys", 2..=100_000)?.unwrap_or(50) as u32,
        disk_reserve: s.size("disk_reserve", MIB..=1024 * 1024 * GIB)?,
        create_by_push: s.boolean("create_by_push")?.unwrap_or(true),
    };
    s.done()?;
    Ok(limits)
}

fn alerts(mut s: Section<'_>) -> Result<AlertsConfig, KeyError> {
    // What was given is not repeated: it may hold a token.
    let address = |given: &str| match given.parse::<http::Uri>() {
        Ok(uri)
            if matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && !uri.authority().is_some_and(|a| a.as_str().contains('@')) =>
        {
            Ok(Secret::new(given.to_owned()))
        }
        _ => Err("must be an http:// or https:// address without a user name in it"),
    };
    let exec = match s.value("exec") {
        None => None,
        Some(v) => {
            let relative = v.error("must be a list that begins with the absolute path of a program: [\"/usr/local/bin/alert\"]");
            let argv = v.strings()?;
            if !argv.first().is_some_and(|program| program.starts_with('/')) {
                return Err(relative);
            }
            Some(argv)
        }
    };
    let alerts = AlertsConfig { webhook: s.parsed("webhook", address)?, exec };
    s.done()?;
    Ok(alerts)
}

fn logs(mut s: Section<'_>) -> Result<LogsConfig, KeyError> {
    let logs = LogsConfig {
        max_bytes_per_app: s.size("max_bytes_per_app", MIB..=1024 * GIB)?.unwrap_or(256 * MIB),
        lines_per_second: s.integer("lines_per_second", 1..=1_000_000)?.unwrap_or(1000) as u32,
        burst: s.integer("burst", 1..=10_000_000)?.unwrap_or(10_000) as u32,
    };
    s.done()?;
    Ok(logs)
}
