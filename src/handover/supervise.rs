//! The supervisor behind `paas up`: what systemd does for one installation, where there is no systemd.
//!
//! One process with one thread binds every socket, starts the roles with sockets and stored descriptors by LISTEN_FDS, restarts what ends, and
//! keeps what is given to the fd store. Roles can't tell it from systemd. Each role has a notify socket of its own, so a message needs no credentials.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;

use crate::config::HostConfig;

mod background;
mod child;
mod exec;
mod files;
mod lock;
mod run;
mod sockets;
mod status;
mod store;
mod upgrade;

pub use exec::{ExecAs, exec_as};
pub use lock::down;
pub use status::{RoleStatus, State, Status};

/// Set for the supervisor that a background start leaves behind: it leaves the terminal and writes the roles' output to files.
const BACKGROUND: &str = "PAAS_UP_BACKGROUND";
/// How long a role may take to say READY=1 before it is killed and started again.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// All that `paas up` needs to know.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// The binary of paas: it is run as `<exe> up-exec …` before every role, and as `<exe> <up_args>` for a start in the background.
    pub exe: PathBuf,
    pub up_args: Vec<OsString>,
    /// In the order of their start. They are stopped in the reverse order, one after the other.
    pub roles: Vec<Role>,
    /// Sockets, lock, status and `listening.json`. Belongs to root, and so do the logs: a role must not be able to put a link in their place.
    pub run_dir: PathBuf,
    pub log_dir: PathBuf,
    /// Folders that are made if they are missing.
    pub folders: Vec<Folder>,
    /// Stays until it is stopped, with the roles' output on its own; else returns when every role is ready.
    pub foreground: bool,
}

/// A folder that is made if it is missing, and left alone if it is there.
#[derive(Debug, Clone)]
pub struct Folder {
    pub path: PathBuf,
    /// None leaves it to whoever makes it.
    pub owner: Option<String>,
    pub mode: u32,
}

/// One process to keep running.
#[derive(Debug, Clone)]
pub struct Role {
    pub name: String,
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// None stays the user of the supervisor.
    pub user: Option<String>,
    /// A new binary takes its place beside it (see `takeover`); else it is stopped and started again.
    pub hands_over: bool,
    /// Keeps CAP_SYS_ADMIN; every other capability is always dropped.
    pub keep_sys_admin: bool,
    /// All its threads allocate from one heap: less memory at rest, for a process in which none of them waits for another's memory.
    pub one_heap: bool,
    pub sockets: Vec<SocketSpec>,
    /// After this time without READY=1 it is killed and started again.
    pub ready_limit: Duration,
}

/// A socket that the supervisor binds, listens on and passes; `name` is its name in LISTEN_FDNAMES.
#[derive(Debug, Clone)]
pub enum SocketSpec {
    /// Port 0 takes a free one, told in `listening.json`. `[::]` takes IPv4 too.
    Tcp {
        name: String,
        addr: SocketAddr,
    },
    UnixStream {
        name: String,
        path: PathBuf,
        mode: u32,
    },
    UnixSeqpacket {
        name: String,
        path: PathBuf,
        mode: u32,
    },
}

/// How [`up`] ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// In the background, with all roles ready.
    Started { pid: i32 },
    /// It was running before, and all roles are ready.
    AlreadyRunning { pid: i32 },
    /// It was running before with another binary, and the roles run this one now.
    Upgraded { pid: i32 },
    /// It ran in the foreground, was told to stop, and nothing of it is left.
    Stopped,
}

/// Why it could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error("{act} `{}`: {source}", path.display())]
    Path { act: &'static str, path: PathBuf, source: io::Error },
    #[error("{act}: {source}")]
    System { act: &'static str, source: io::Error },
    #[error("listening on {addr}: {source}")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error("{role}: {source}")]
    User { role: String, source: io::Error },
    #[error("only root can start `{role}` as another user")]
    NotRoot { role: String },
    #[error("`{role}` is not ready after {} s; its last lines:\n{log}", limit.as_secs())]
    NotReady { role: String, limit: Duration, log: String },
    #[error("the supervisor ended before everything was ready ({how}); its last lines:\n{log}")]
    Ended { how: String, log: String },
    #[error("`{role}` stays as it is: {why}")]
    Upgrade { role: String, why: String },
    #[error("process {pid} did not stop within {} s", limit.as_secs())]
    DoesNotStop { pid: i32, limit: Duration },
}

impl UpError {
    /// For `map_err` on something done to a path.
    fn path(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> UpError {
        let path = path.to_owned();
        move |source| UpError::Path { act, path, source }
    }

    /// For `map_err` on a system call.
    fn system<E: Into<io::Error>>(act: &'static str) -> impl FnOnce(E) -> UpError {
        move |source| UpError::System { act, source: source.into() }
    }
}

impl UpOptions {
    /// The three roles of one host, with its folders and sockets.
    pub fn of(config: &HostConfig, exe: &Path, foreground: bool) -> Self {
        let up_args = vec!["up".into(), "--config".into(), config.file.clone().into()];
        let state = Folder { path: config.state_dir.clone(), owner: Some(config.users.daemon.clone()), mode: 0o711 };
        let run = Folder { path: config.run_dir.clone(), owner: None, mode: 0o755 };
        Self {
            exe: exe.to_owned(),
            up_args,
            roles: roles_of(config, exe),
            run_dir: config.run_dir.clone(),
            log_dir: config.run_dir.join("log"),
            folders: vec![state, run],
            foreground,
        }
    }
}

/// The roles of one host in the order of their start: dialer, proxy, daemon.
pub fn roles_of(config: &HostConfig, exe: &Path) -> Vec<Role> {
    let role = |name: &str, user: Option<&String>, sockets| Role {
        name: name.to_owned(),
        argv: vec![exe.into(), name.into(), "--config".into(), config.file.clone().into()],
        user: user.cloned(),
        hands_over: false,
        keep_sys_admin: false,
        one_heap: false,
        sockets,
        ready_limit: READY_LIMIT,
    };
    let (mode, users) = (0o666, &config.users);
    let dialer = SocketSpec::UnixSeqpacket { name: "dialer".to_owned(), path: config.dialer_socket(), mode };
    let tcp = |name: &str, addr: &SocketAddr| SocketSpec::Tcp { name: name.to_owned(), addr: *addr };
    let http = config.proxy.listen.iter().map(|addr| tcp("http", addr));
    let public = http.chain(config.proxy.listen_tls.iter().map(|addr| tcp("https", addr))).collect();
    let api = SocketSpec::UnixStream { name: "api".to_owned(), path: config.api_socket(), mode };
    let control = SocketSpec::UnixStream { name: "proxy-control".to_owned(), path: config.proxy_socket(), mode };
    vec![
        Role { keep_sys_admin: true, ..role("dialer", None, vec![dialer]) },
        Role { hands_over: true, ..role("proxy", Some(&users.proxy), public) },
        Role { one_heap: true, ..role("daemon", Some(&users.daemon), vec![api, control]) },
    ]
}

/// Starts everything. In the foreground it returns when SIGTERM or SIGINT came and all has stopped; in the background when all roles are ready.
/// Blocking; to be called from the main thread of a process that has no other one (it blocks signals, and roles get SIGTERM when their parent
/// thread ends).
pub fn up(options: UpOptions) -> Result<Outcome, UpError> {
    check_users(&options.roles)?;
    for folder in &options.folders {
        files::make_folder(folder)?;
    }
    if super::fds::remove_env(BACKGROUND).is_some() {
        nix::unistd::setsid().map_err(UpError::system("leaving the terminal"))?;
        return run::supervise(options, true);
    }
    match options.foreground {
        true => run::supervise(options, false),
        false => background::start(&options),
    }
}

/// A user that is missing would otherwise be found by every restart anew.
fn check_users(roles: &[Role]) -> Result<(), UpError> {
    for role in roles {
        let Some(user) = &role.user else { continue };
        let found = exec::find_user(user).map_err(|source| UpError::User { role: role.name.clone(), source })?;
        if !Uid::effective().is_root() && found.uid != Uid::effective().as_raw() {
            return Err(UpError::NotRoot { role: role.name.clone() });
        }
    }
    Ok(())
}
