//! The roles of the binary on a server: each started here with what it is given, and nothing more.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};

use tracing::Level;

use super::kept::{self, Keeper};
use super::successor::{self, Place};
use crate::cli::{self, Connection, HostFile, Role, StackAct};
use crate::config::HostConfig;
use crate::dialer::{self, DialerRun};
use crate::handover::fds;
use crate::handover::supervise::{self, ExecAs, Outcome, UpOptions};
use crate::handover::takeover::{self, Predecessor};
use crate::names::KeyId;
use crate::proxy::{self, ProxyRun, Stop};
use crate::proxy::{Dial, DialFailed, DialKind};
use crate::wire::dialer::{DialClient, DialError};

/// What our own programs start, in words that no user types or that are always the same: git its hook by the name of a link, the supervisor its
/// helper, an instance its init, units their roles. For these the whole command line would be built in memory that is never used again.
pub fn by_name() -> Option<ExitCode> {
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap_or_default();
    if crate::session::proc_receive::is_called(&name) {
        return Some(crate::session::proc_receive::run());
    }
    let first = std::env::args_os().nth(1)?;
    let rest = || std::env::args_os().skip(2).collect::<Vec<_>>();
    if first == "up-exec" {
        return Some(become_role(rest()));
    }
    if first == "init" && std::env::args_os().nth(2).is_some_and(|word| word == "--") && std::env::args_os().len() > 3 {
        return Some(crate::init::run(rest().split_off(1)));
    }
    if first == takeover::STEP {
        let failed = takeover::become_successor(&rest()).map(|e| cli::fail(&e.to_string()));
        return Some(failed.unwrap_or(ExitCode::SUCCESS));
    }
    role_of_a_unit(&first, &rest()).map(run)
}

/// `daemon|proxy|dialer --config FILE`, as units and the supervisor start them. In other words they are the command line's.
fn role_of_a_unit(name: &OsString, options: &[OsString]) -> Option<Role> {
    let [option, file] = options else { return None };
    let host = HostFile { config: file.into() };
    match name.to_str() {
        _ if option != "--config" => None,
        Some("daemon") => Some(Role::Daemon { host }),
        Some("proxy") => Some(Role::Proxy { host }),
        Some("dialer") => Some(Role::Dialer { host }),
        _ => None,
    }
}

/// `paas up-exec [--user X] [--keep-sys-admin] -- argv`: the supervisor's own words, which no person types.
fn become_role(words: Vec<OsString>) -> ExitCode {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (options, argv) = words.split_at(end);
    let user = options.windows(2).find(|pair| pair[0] == "--user").map(|pair| pair[1].to_string_lossy().into_owned());
    let keep_sys_admin = options.iter().any(|option| option == "--keep-sys-admin");
    let ask = ExecAs { user, keep_sys_admin, argv: argv.iter().skip(1).cloned().collect() };
    cli::fail(&supervise::exec_as(&ask).to_string())
}

/// Runs a role to its end.
pub fn run(role: Role) -> ExitCode {
    if let Role::Init { command } = role {
        // An app may want its own core files: its limit is left as it is.
        return crate::init::run(command);
    }
    no_core_files();
    if let Role::SshSession { host, key } = role {
        return crate::session::run(&host.config, key, run_cli);
    }
    if let Role::Doctor { host, sshd_config, json } = role {
        let ask = super::doctor::Ask { config: &host.config, json, sshd_config: sshd_config.as_deref() };
        return super::doctor::run(&ask).unwrap_or_else(|e| cli::fail(&whole(&e)));
    }
    start_logging();
    let ended = match role {
        Role::Daemon { host } => super::run(&host.config),
        Role::Proxy { host } => run_proxy(&host.config),
        Role::Dialer { host } => run_dialer(&host.config),
        Role::ProxyReload { pid } => takeover::ask(pid).map(drop).map_err(anyhow::Error::msg),
        Role::Up { host, detach } => up(&host.config, detach),
        Role::Down { host } => down(&host.config),
        Role::Stack { act } => stack(act),
        Role::Init { .. } | Role::SshSession { .. } | Role::Receive { .. } | Role::Doctor { .. } => Ok(()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => cli::fail(&whole(&e)),
    }
}

/// A client's command on behalf of a key, inside its ssh session.
fn run_cli(config: &HostConfig, key: KeyId, words: Vec<String>) -> ExitCode {
    let connection = Connection::Session { socket: config.api_socket(), key };
    let arguments = std::iter::once("paas".to_owned()).chain(words).map(OsString::from).collect();
    cli::run(arguments, connection)
}

/// One line per event on stderr; `RUST_LOG` (`debug`, `info,paas::proxy=debug`) changes what is told.
fn start_logging() {
    use tracing_subscriber::filter::{Targets, filter_fn};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let usual = || Targets::new().with_default(Level::INFO).with_targets([("bollard", Level::WARN), ("sqlx", Level::WARN)]);
    let asked = std::env::var("RUST_LOG").ok();
    let filter = asked.as_deref().map(str::parse::<Targets>);
    if let Some(Err(e)) = &filter {
        cli::say(&format!(
            "warning: RUST_LOG is not understood ({e}) and left aside; it may be `debug`, or `info,paas::proxy=debug`"
        ));
    }
    let filter = filter.and_then(Result::ok).unwrap_or_else(usual);
    // bollard tells whole requests at debug, the environment of instances with them: it stays at info whatever RUST_LOG asks for.
    let no_secrets = filter_fn(|event| !event.target().starts_with("bollard") || *event.level() <= Level::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    let all = tracing_subscriber::registry().with(filter).with(no_secrets);
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    if under_systemd { all.with(lines.without_time()).init() } else { all.with(lines).init() }
}

/// An error with its causes, each said once: many of ours say their own cause already.
fn whole(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told {
        told if told.is_empty() => cause,
        told if told.ends_with(&cause) => told,
        told => format!("{told}: {cause}"),
    })
}

/// A core file would hold what passes through this process: settings, requests, keys. Inherited by git and whatever else it starts.
fn no_core_files() {
    use nix::sys::resource::{Resource, setrlimit};
    if let Err(e) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        cli::say(&format!("warning: this process could leave a core file: {e}"));
    }
}

fn run_proxy(config: &Path) -> anyhow::Result<()> {
    let mut inherited = fds::take_inherited().context("taking the inherited sockets")?;
    let before = inherited.iter().position(|(name, _)| name == takeover::LINE);
    let before = before.map(|n| Predecessor::new(inherited.swap_remove(n).1));
    // Who waits for this process is told why it can not begin.
    let run = serve_as_proxy(config, inherited, before.as_ref());
    if let (Some(before), Err(why)) = (&before, &run) {
        before.failed(&whole(why));
    }
    run
}

fn serve_as_proxy(config: &Path, inherited: Vec<(String, OwnedFd)>, before: Option<&Predecessor>) -> anyhow::Result<()> {
    let config = HostConfig::load(config)?;
    let (mut listeners, mut tls_listeners, mut kept, mut listening) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, fd) in inherited {
        match name.as_str() {
            "http" | "https" => {
                let to = if name == "http" { &mut listeners } else { &mut tls_listeners };
                listening.push((name, fd.try_clone().context("a duplicate of a listening socket")?));
                to.push(TcpListener::from(fd));
            }
            snapshot if snapshot.starts_with(kept::NAME) => kept.push((name, fd)),
            other => tracing::warn!("an inherited descriptor `{other}` is not ours; it is closed"),
        }
    }
    if listeners.is_empty() && tls_listeners.is_empty() {
        let bind = |address| TcpListener::bind(address).with_context(|| format!("listening on {address}"));
        listeners = config.proxy.listen.iter().map(bind).collect::<Result<_, _>>()?;
        tls_listeners = config.proxy.listen_tls.iter().map(bind).collect::<Result<_, _>>()?;
    }
    let (keeper, restored) = Keeper::take(kept, before.is_some());
    let keeper = Arc::new(keeper);
    let socket = config.dialer_socket();
    let (stop, told) = tokio::sync::watch::channel(Stop::Serve);
    let stop = Arc::new(stop);
    stop_on_signal(Arc::clone(&stop))?;
    let (keeping, place) =
        (Arc::clone(&keeper), Place { listening, keeper: Arc::clone(&keeper), stop, grace: config.proxy.upgrade_grace });
    let (in_step, before) = (before.is_some(), before.cloned());
    let run = ProxyRun {
        listeners,
        tls_listeners,
        control_socket: config.proxy_socket(),
        dial: Arc::new(move || dial_with(DialClient::new(socket.clone()))),
        restored,
        keep: Box::new(move |snapshot| keeping.keep(snapshot)),
        ready: Box::new(move || {
            successor::ready(before.as_ref(), &keeper)?;
            // It serves without; only an upgrade has to be a restart then.
            place.offer().unwrap_or_else(|why| tracing::error!("nobody can ask for a successor: {}", whole(&why)));
            Ok(())
        }),
        in_step,
        stop: told,
        workers: 0,
    };
    proxy::run(run).context("the proxy")
}

fn dial_with(client: DialClient) -> Dial {
    std::rc::Rc::new(move |target| {
        let client = client.clone();
        Box::pin(async move {
            client.dial(target).await.map_err(|e| {
                let kind = match e.kind {
                    DialError::Refused => DialKind::Refused,
                    DialError::NamespaceGone | DialError::UnknownTarget => DialKind::Gone,
                    DialError::TimedOut => DialKind::TimedOut,
                    DialError::Denied | DialError::Unavailable | DialError::Other => DialKind::Other,
                };
                DialFailed { kind, why: e.why }
            })
        })
    })
}

fn stop_on_signal(stop: Arc<tokio::sync::watch::Sender<Stop>>) -> anyhow::Result<()> {
    use nix::sys::signal::{SigSet, Signal};
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    // Before any other thread is made, so that all of them leave the signals to the waiting one.
    signals.thread_block().context("blocking signals")?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if signals.wait().is_ok() {
                stop.send_replace(Stop::Now);
            }
        })
        .context("starting the signal thread")?;
    Ok(())
}

fn run_dialer(config: &Path) -> anyhow::Result<()> {
    let config = HostConfig::load(config)?;
    let (mut listener, mut restored) = (None, Vec::new());
    for (name, fd) in fds::take_inherited().context("taking the inherited sockets")? {
        if name == "dialer" { listener = Some(fd) } else { restored.push((name, fd)) }
    }
    let listener = match listener {
        Some(listener) => listener,
        None => bind_dialer(&config.dialer_socket())?,
    };
    let doors = crate::api::server::accept::Doors::open(&config.users).map_err(anyhow::Error::msg)?;
    let proxy = super::listen::proxy_uid(&config)?;
    let key_dirs = config.sandbox_key_dirs();
    dialer::run(DialerRun { listener, restored, daemon: doors.daemon, proxy, key_dirs }).context("the dialer")
}

fn bind_dialer(path: &Path) -> anyhow::Result<OwnedFd> {
    let _ = std::fs::remove_file(path);
    let socket =
        socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).context("a socket for the dialer")?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &UnixAddr::new(path)?)
        .with_context(|| format!("binding `{}`", path.display()))?;
    listen(&socket, Backlog::new(128)?).context("listening")?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).context("opening the dialer's socket")?;
    Ok(socket)
}

fn up(config: &Path, detach: bool) -> anyhow::Result<()> {
    let config = HostConfig::load(config)?;
    let exe = std::env::current_exe().context("finding this binary")?;
    match supervise::up(UpOptions::of(&config, &exe, !detach))? {
        Outcome::Started { pid } => cli::say(&format!("paas runs (supervisor {pid}); `paas status` tells how it is")),
        Outcome::Upgraded { pid } => cli::say(&format!("upgraded, with no request lost (supervisor {pid} stays as it is)")),
        Outcome::AlreadyRunning { pid } => cli::say(&format!("paas runs already (supervisor {pid})")),
        Outcome::Stopped => cli::say("stopped; apps go on running in their containers"),
    }
    Ok(())
}

fn down(config: &Path) -> anyhow::Result<()> {
    let config = HostConfig::load(config)?;
    let stopped = supervise::down(&config.run_dir)?;
    cli::say(if stopped { "stopped; apps go on running in their containers" } else { "nothing was running" });
    Ok(())
}

fn stack(act: StackAct) -> anyhow::Result<()> {
    let (StackAct::Make { host, .. } | StackAct::List { host }) = &act;
    let config = Arc::new(HostConfig::load(&host.config)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    match act {
        StackAct::Make { .. } => runtime.block_on(super::stack::make(config)),
        StackAct::List { .. } => runtime.block_on(super::stack::list(config)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_of_an_error_is_said_once() {
        let missing = HostConfig::load(Path::new("/nowhere/paas.toml")).map_err(anyhow::Error::from).expect_err("no file");
        let said = whole(&missing.context("starting"));
        assert_eq!(said, "starting: reading host config `/nowhere/paas.toml`: No such file or directory (os error 2)");
        assert_eq!(whole(&anyhow::anyhow!("inner").context("outer")), "outer: inner");
    }
}
