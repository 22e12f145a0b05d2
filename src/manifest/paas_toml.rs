//! `paas.toml`: our own format. docs/manifest.md is its reference.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rules;
use super::{
    AccessLog, AccessSpec, BuildSpec, CommandLine, HealthCheck, HealthSpec, HttpSpec, Https, LivenessSpec, Strategy, Switch, Tls,
    WEB,
};
use crate::base::toml_file::{KeyError, Section};
use crate::names::{BranchName, ConfigKey, Hostname, ProcessName};

pub const FILE: &str = "paas.toml";

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MIB: u64 = 1 << 20;

/// Every key that can be written; docs/manifest.md shows each with its default, and a test compares.
pub const KEYS: [&str; 45] = [
    "build.buildpack",
    "build.dockerfile",
    "build.image",
    "build.path",
    "build.target",
    "build.args",
    "build.secrets",
    "processes.web.command",
    "processes.web.port",
    "processes.web.instances",
    "processes.web.memory",
    "processes.web.cpus",
    "processes.web.pids",
    "processes.web.disk",
    "processes.web.listen",
    "processes.web.switch",
    "processes.web.stop_signal",
    "processes.web.stop_timeout",
    "processes.web.read_only",
    "processes.web.health.path",
    "processes.web.health.command",
    "processes.web.health.tcp",
    "processes.web.health.interval",
    "processes.web.health.timeout",
    "processes.web.health.grace",
    "processes.web.liveness.path",
    "processes.web.liveness.command",
    "processes.web.liveness.interval",
    "processes.web.liveness.timeout",
    "processes.web.liveness.failures",
    "release.command",
    "release.timeout",
    "deploy.branch",
    "deploy.strategy",
    "deploy.drain",
    "deploy.drain_streams",
    "domains.names",
    "http.https",
    "http.tls",
    "http.hsts",
    "http.max_body",
    "http.access_log",
    "http.access_sample",
    "crash.files",
    "env",
];

/// The file as typed: what was not given is `None`, so that app.json and the Procfile can still speak.
#[derive(Debug, Default)]
pub struct PaasToml {
    pub build: BuildSpec,
    pub processes: BTreeMap<ProcessName, RawProcess>,
    pub release_command: Option<CommandLine>,
    pub release_timeout: Option<Duration>,
    pub branch: Option<BranchName>,
    pub strategy: Option<Strategy>,
    pub drain: Option<Duration>,
    pub drain_streams: Option<Duration>,
    pub domains: Vec<Hostname>,
    pub http: HttpSpec,
    pub crash_files: Option<Vec<String>>,
    pub env: BTreeMap<ConfigKey, String>,
}

#[derive(Debug, Default)]
pub struct RawProcess {
    pub command: Option<CommandLine>,
    pub port: Option<u16>,
    pub instances: Option<u32>,
    pub memory: Option<u64>,
    pub cpus: Option<f64>,
    pub pids: Option<u32>,
    pub disk: Option<u64>,
    pub switch: Option<Switch>,
    pub stop_signal: Option<String>,
    pub stop_timeout: Option<Duration>,
    pub read_only: Option<bool>,
    pub check: Option<HealthCheck>,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub grace: Option<Duration>,
    pub liveness: Option<LivenessSpec>,
}

/// Takes the text of the file; gives what it says or the first mistake.
pub fn parse(text: &str) -> Result<PaasToml, KeyError> {
    let mut file = Section::parse(FILE, text)?;
    file.not_yet(&["hooks", "cron", "volumes", "services", "certs"])?;
    let mut found = PaasToml { build: build(file.section("build")?)?, ..PaasToml::default() };
    let mut all = file.section("processes")?;
    for (name, value) in all.rest() {
        let place = value.error("");
        let process = rules::process_name(&name).map_err(|why| {
            let hint = (name == "release").then(|| "write the release command as `command` in `[release]`".to_owned());
            KeyError { problem: why, hint, ..place }
        })?;
        found.processes.insert(process, one_process(value.section()?, &name)?);
    }
    release(file.section("release")?, &mut found)?;
    deploy(file.section("deploy")?, &mut found)?;
    domains(file.section("domains")?, &mut found)?;
    http(file.section("http")?, &mut found)?;
    crash(file.section("crash")?, &mut found)?;
    for (name, value) in file.section("env")?.rest() {
        let key = rules::config_key(&name).map_err(|why| value.error(why))?;
        found.env.insert(key, value.string()?);
    }
    file.done()?;
    Ok(found)
}

fn build(mut s: Section<'_>) -> Result<BuildSpec, KeyError> {
    let mut build = BuildSpec {
        buildpack: s.parsed("buildpack", rules::buildpack)?,
        dockerfile: s.parsed("dockerfile", rules::inside)?,
        image: s.parsed("image", rules::image)?,
        path: s
            .parsed("path", |given| if given == "." { Ok(String::new()) } else { rules::inside(given) })?
            .filter(|p| !p.is_empty()),
        target: s.parsed("target", rules::stage)?,
        ..BuildSpec::default()
    };
    for (name, value) in s.section("args")?.rest() {
        // The same grammar as an environment variable: that is what a build argument becomes.
        ConfigKey::parse(&name).map_err(|why| value.error(why))?;
        build.args.insert(name, value.string()?);
    }
    if let Some(list) = s.value("secrets") {
        build.secrets = list.list()?.into_iter().map(|v| v.parsed(rules::config_key)).collect::<Result<_, _>>()?;
    }
    let kinds =
        [("buildpack", build.buildpack.is_some()), ("dockerfile", build.dockerfile.is_some()), ("image", build.image.is_some())];
    let given: Vec<&str> = kinds.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if given.len() > 1 {
        return Err(s
            .error(format!("`build` has {}, but an image is made in one way only", given.join(" and ")))
            .hint("keep one of them"));
    }
    s.done()?;
    Ok(build)
}

fn one_process(mut s: Section<'_>, name: &str) -> Result<RawProcess, KeyError> {
    s.not_yet(&["volumes", "concurrency", "max_connections"])?;
    let health = s.section("health")?;
    if !health.is_empty() && name != WEB {
        return Err(health.error("only `web` takes requests, so only `web` has a health check").hint("remove this table"));
    }
    s.parsed("listen", |given| match given {
        "proxy" => Ok(()),
        "socket" => Err("listen = \"socket\" is not supported by this version of paas yet".to_owned()),
        other => Err(format!("found `{}`, but it must be \"proxy\"", other.escape_debug())),
    })?;
    let mut found = RawProcess {
        command: s.value("command").map(rules::command).transpose()?,
        port: s.integer("port", 1..=65_535)?.map(|n| n as u16),
        instances: s.integer("instances", 0..=100)?.map(|n| n as u32),
        // Docker refuses less than 6 MiB.
        memory: s.size("memory", 6 * MIB..=MIB << 20)?,
        cpus: s.number("cpus", 0.01..=1024.0)?,
        pids: s.integer("pids", 8..=1_000_000)?.map(|n| n as u32),
        disk: s.size("disk", MIB..=MIB << 20)?,
        liveness: liveness(s.section("liveness")?, name)?,
        switch: s.parsed("switch", switch)?,
        stop_signal: s.parsed("stop_signal", rules::signal)?,
        stop_timeout: s.duration("stop_timeout", Duration::ZERO..=DAY)?,
        read_only: s.boolean("read_only")?,
        ..RawProcess::default()
    };
    fill_health(health, &mut found)?;
    s.done()?;
    Ok(found)
}

fn switch(given: &str) -> Result<Switch, String> {
    match given {
        "after-term" => Ok(Switch::AfterTerm),
        "overlap" => Ok(Switch::Overlap),
        "exclusive" => Ok(Switch::Exclusive),
        other => Err(format!("found `{}`, but it must be after-term, overlap or exclusive", other.escape_debug())),
    }
}

fn fill_health(mut s: Section<'_>, found: &mut RawProcess) -> Result<(), KeyError> {
    let path = s.parsed("path", rules::url_path)?;
    let command = s.value("command").map(rules::command).transpose()?;
    let tcp = s.boolean("tcp")?;
    if [path.is_some(), command.is_some(), tcp == Some(true)].iter().filter(|given| **given).count() > 1 {
        return Err(s.error("a health check is one of `path`, `command` and `tcp = true`").hint("keep one of them"));
    }
    found.check = match (path, command, tcp) {
        (Some(path), _, _) => Some(HealthCheck::Http { path }),
        (_, Some(command), _) => Some(HealthCheck::Command(command)),
        (_, _, Some(true)) => Some(HealthCheck::Port),
        (_, _, Some(false) | None) => None,
    };
    found.interval = s.duration("interval", Duration::from_millis(10)..=Duration::from_secs(600))?;
    found.timeout = s.duration("timeout", Duration::from_millis(100)..=Duration::from_secs(600))?;
    found.grace = s.duration("grace", SECOND..=DAY)?;
    s.done()
}

fn liveness(mut s: Section<'_>, process: &str) -> Result<Option<LivenessSpec>, KeyError> {
    if s.is_empty() {
        return Ok(None);
    }
    let missing = s.error("a liveness check needs `path` or `command`, and only one of them");
    let no_path = s.error("only `web` takes requests, so another process is asked by `command`");
    let path = s.parsed("path", rules::url_path)?;
    let command = s.value("command").map(rules::command).transpose()?;
    let check = match (path, command) {
        (Some(_), None) if process != WEB => return Err(no_path.hint("write a `command` that exits with 0 while it is well")),
        (Some(path), None) => Some(HealthCheck::Http { path }),
        (None, Some(command)) => Some(HealthCheck::Command(command)),
        (Some(_), Some(_)) | (None, None) => None,
    };
    let found = LivenessSpec {
        check: check.clone().unwrap_or_default(),
        interval: s.duration("interval", SECOND / 10..=SECOND * 600)?.unwrap_or(SECOND * 10),
        timeout: s.duration("timeout", SECOND / 10..=SECOND * 600)?.unwrap_or(SECOND * 5),
        failures: s.integer("failures", 1..=1000)?.unwrap_or(3) as u32,
    };
    s.done()?;
    if check.is_none() { Err(missing) } else { Ok(Some(found)) }
}

fn crash(mut s: Section<'_>, found: &mut PaasToml) -> Result<(), KeyError> {
    if let Some(files) = s.value("files") {
        found.crash_files = Some(files.list()?.into_iter().map(|v| v.parsed(rules::crash_file)).collect::<Result<_, _>>()?);
    }
    s.done()
}

impl RawProcess {
    /// The health settings of this file over those of `base`.
    pub fn health_over(&self, base: HealthSpec) -> HealthSpec {
        HealthSpec {
            check: self.check.clone().unwrap_or(base.check),
            interval: self.interval.unwrap_or(base.interval),
            timeout: self.timeout.unwrap_or(base.timeout),
            grace: self.grace.unwrap_or(base.grace),
        }
    }
}

fn release(mut s: Section<'_>, found: &mut PaasToml) -> Result<(), KeyError> {
    s.not_yet(&["backup"])?;
    found.release_command = s.value("command").map(rules::command).transpose()?;
    found.release_timeout = s.duration("timeout", SECOND..=DAY)?;
    s.done()
}

fn deploy(mut s: Section<'_>, found: &mut PaasToml) -> Result<(), KeyError> {
    s.not_yet(&["steps", "watch", "max_error_rate"])?;
    found.branch = s.parsed("branch", BranchName::parse)?;
    found.strategy = s.parsed("strategy", |given| match given {
        "blue-green" => Ok(Strategy::BlueGreen),
        "stop-start" => Ok(Strategy::StopStart),
        "canary" => Err("strategy = \"canary\" is not supported by this version of paas yet".to_owned()),
        other => Err(format!("found `{}`, but it must be blue-green or stop-start", other.escape_debug())),
    })?;
    found.drain = s.duration("drain", Duration::ZERO..=DAY)?;
    found.drain_streams = s.duration("drain_streams", Duration::ZERO..=DAY)?;
    s.done()
}

fn http(mut s: Section<'_>, found: &mut PaasToml) -> Result<(), KeyError> {
    let https = s.parsed("https", |given| match given {
        "auto" => Ok(Https::Auto),
        "redirect" => Ok(Https::Redirect),
        "both" => Ok(Https::Both),
        other => Err(format!("found `{}`, but it must be auto, redirect or both", other.escape_debug())),
    })?;
    let tls = s.parsed("tls", |given| match given {
        "proxy" => Ok(Tls::Proxy),
        "passthrough" => Ok(Tls::Passthrough),
        other => Err(format!("found `{}`, but it must be proxy or passthrough", other.escape_debug())),
    })?;
    let unseen = s
        .error("with `tls = \"passthrough\"` the proxy sees no request: `https`, `hsts` and `max_body` are the app's own affair");
    found.http = HttpSpec {
        https: https.unwrap_or_default(),
        tls: tls.unwrap_or_default(),
        hsts: s.parsed("hsts", rules::hsts)?,
        max_body: s.size("max_body", 1..=1 << 50)?,
        access: access(&mut s)?,
    };
    let http = &found.http;
    if http.tls == Tls::Passthrough && (https.is_some() || http.hsts.is_some() || http.max_body.is_some()) {
        return Err(unseen);
    }
    s.done()
}

fn access(s: &mut Section<'_>) -> Result<AccessSpec, KeyError> {
    let log = s.parsed("access_log", |given| match given {
        "all" => Ok(AccessLog::All),
        "errors" => Ok(AccessLog::Errors),
        "none" => Ok(AccessLog::None),
        other => Err(format!("found `{}`, but it must be all, errors or none", other.escape_debug())),
    })?;
    let log = log.unwrap_or_default();
    let alone = s.error("`access_sample` is a share of all lines; with `access_log` = \"errors\" or \"none\" it means nothing");
    match s.number("access_sample", 0.0..=1.0)? {
        Some(_) if log != AccessLog::All => Err(alone),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 0 to a million
        Some(share) => Ok(AccessSpec { log, sample_ppm: (share * 1e6).round() as u32 }),
        None => Ok(AccessSpec { log, ..AccessSpec::default() }),
    }
}

fn domains(mut s: Section<'_>, found: &mut PaasToml) -> Result<(), KeyError> {
    if let Some(names) = s.value("names") {
        found.domains = names.list()?.into_iter().map(|v| v.parsed(Hostname::parse)).collect::<Result<_, _>>()?;
        found.domains.sort();
        found.domains.dedup();
    }
    s.done()
}
