//! `paas up` plays systemd: what a role needs to live on after its death is given back to it, stops are in order, nothing is left.
//!
//! The supervisor and its roles are this test's own program, started again with one test named and PAAS_IT_HOST set.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use paas::base::accounts;
use paas::handover::supervise::{self, Folder, Outcome, Role, SocketSpec, State, Status, UpOptions};
use paas::handover::{fds, systemd};

const HOST: &str = "PAAS_IT_HOST";
/// Options of env(1).
const BLOCKED: [&str; 4] = ["--block-signal=TERM", "--block-signal=INT", "--block-signal=CHLD", "--block-signal=HUP"];
const LIMIT: Duration = Duration::from_secs(20);

/// A supervisor with the roles `one` (TCP on a free port, and a Unix socket) and `two` (seqpacket).
struct Host {
    folder: tempfile::TempDir,
    supervisor: Child,
}

impl Host {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temp dir");
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("others may pass");
        let supervisor = spawn(folder.path());
        let host = Self { folder, supervisor };
        host.wait_ready();
        host
    }

    fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn status(&self) -> Option<Status> {
        Status::read(&self.run_dir())
    }

    fn wait_ready(&self) -> Status {
        let pid = self.supervisor.id();
        let ready = |s: &Status| s.pid == pid && s.roles.len() == 2 && s.roles.values().all(|role| role.state == State::Ready);
        until("all roles are ready", || self.status().filter(ready))
    }

    fn pid_of(&self, role: &str) -> u32 {
        self.wait_ready().roles[role].pid.expect("a ready role runs")
    }

    fn address(&self) -> SocketAddr {
        let text = fs::read_to_string(self.run_dir().join("listening.json")).expect("it is written before any role starts");
        let told: std::collections::BTreeMap<String, Vec<SocketAddr>> = serde_json::from_str(&text).expect("it is JSON");
        told["http"][0]
    }

    fn events(&self) -> Vec<String> {
        fs::read_to_string(self.folder.path().join("events")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn is_empty(&self) -> bool {
        let left = fs::read_dir(self.run_dir()).expect("the folder stays").flatten().map(|e| e.file_name());
        left.filter(|name| name != "log").count() == 0
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().expect("a pid")), signal).expect("the process is there");
}

fn lives(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The first thread may end before the others, of which one may still take a connection and die with it.
    let others = fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() > 1);
    others || state.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// Signals are blocked before the program starts, as its main thread, which the test harness keeps for itself, must not take them.
fn spawn(folder: &Path) -> Child {
    let mut command = Command::new("env");
    command.args(BLOCKED);
    command.arg(std::env::current_exe().expect("this program")).args(["--exact", "supervise::as_supervisor", "--nocapture"]);
    command
        .env(HOST, folder)
        .env_remove("NOTIFY_SOCKET")
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("coreutils are there")
}

fn options(folder: &Path) -> UpOptions {
    let me = std::env::current_exe().expect("this program");
    let run_dir = folder.join("run");
    let role = |name: &str, sockets| Role {
        name: name.to_owned(),
        argv: vec![me.clone().into(), "--exact".into(), "supervise::as_role".into(), "--nocapture".into()],
        user: None,
        hands_over: false,
        keep_sys_admin: name == "two",
        one_heap: false,
        sockets,
        ready_limit: LIMIT,
    };
    let http = SocketSpec::Tcp { name: "http".to_owned(), addr: "127.0.0.1:0".parse().expect("an address") };
    let unix = SocketSpec::UnixStream { name: "api".to_owned(), path: run_dir.join("api.sock"), mode: 0o666 };
    let packets = SocketSpec::UnixSeqpacket { name: "packets".to_owned(), path: run_dir.join("packets.sock"), mode: 0o600 };
    UpOptions {
        exe: env!("CARGO_BIN_EXE_paas").into(),
        up_args: vec![],
        roles: vec![role("one", vec![http, unix]), role("two", vec![packets])],
        log_dir: run_dir.join("log"),
        folders: vec![Folder { path: run_dir.clone(), owner: None, mode: 0o755 }],
        run_dir,
        foreground: true,
    }
}

/// Not a test by itself: the supervisor's process.
#[test]
fn as_supervisor() {
    let Some(folder) = std::env::var_os(HOST).filter(|_| std::env::var_os("NOTIFY_SOCKET").is_none()) else { return };
    let outcome = supervise::up(options(Path::new(&folder))).expect("it starts and stops");
    std::process::exit(if outcome == Outcome::Stopped { 0 } else { 9 });
}

/// Not a test by itself: a role. Says on every connection its pid, the names of its descriptors, and what is in the one that was kept for it.
#[test]
fn as_role() {
    let (Some(folder), Some(notify)) = (std::env::var_os(HOST), std::env::var_os("NOTIFY_SOCKET")) else { return };
    let (folder, me) = (PathBuf::from(folder), std::process::id());
    let given = fds::take_inherited().expect("the protocol is kept");
    let names = given.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(":");
    if !names.contains("kept") {
        let text = folder.join(format!("stored-{me}"));
        fs::write(&text, format!("stored by {me}")).expect("written");
        let file = fs::File::open(&text).expect("opened");
        systemd::store_fd("kept", file.as_fd());
        systemd::store_fd("gone", file.as_fd());
        systemd::remove_fd("gone");
    }
    let mut kept = String::new();
    for (name, fd) in given {
        match name.as_str() {
            "kept" => read_from_start(fd, &mut kept),
            "http" => {
                let text = format!("{me}|{names}|");
                std::thread::spawn(move || answer(&TcpListener::from(fd), &text, me));
            }
            _ => std::mem::forget(fd),
        }
    }
    fs::write(folder.join(format!("kept-{me}")), kept).expect("written");
    stop_when_told(&folder, Path::new(&notify));
}

fn answer(listener: &TcpListener, text: &str, me: u32) {
    for mut stream in listener.incoming().flatten() {
        let _ = stream.write_all(format!("{text}{me}").as_bytes());
    }
}

fn read_from_start(fd: OwnedFd, text: &mut String) {
    let mut file = fs::File::from(fd);
    std::io::Seek::rewind(&mut file).expect("a file");
    file.read_to_string(text).expect("read");
}

fn stop_when_told(folder: &Path, notify: &Path) {
    let role = notify.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut events = fs::OpenOptions::new().append(true).create(true).open(folder.join("events")).expect("opened");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let kind = tokio::signal::unix::SignalKind::terminate();
        let mut asked = tokio::signal::unix::signal(kind).expect("a handler");
        systemd::ready("fine");
        asked.recv().await;
        writeln!(events, "{role} begins").expect("written");
        tokio::time::sleep(Duration::from_millis(100)).await;
        writeln!(events, "{role} is done").expect("written");
    });
    std::process::exit(0);
}

/// Pid and names of descriptors, as the role `one` tells them.
fn ask(address: SocketAddr) -> (u32, String) {
    let mut text = String::new();
    TcpStream::connect(address).and_then(|mut s| s.read_to_string(&mut text)).expect("the socket takes connections at all times");
    let mut parts = text.split('|');
    let pid = parts.next().and_then(|pid| pid.parse().ok()).expect("a pid");
    (pid, parts.next().expect("names").to_owned())
}

#[test]
fn a_killed_role_comes_back_with_its_sockets_and_stored_descriptors() {
    let host = Host::start();
    let address = host.address();
    assert_ne!(address.port(), 0);
    let (first, names) = ask(address);
    assert_eq!(names, "http:api");
    assert_eq!(first, host.pid_of("one"));
    let other = host.pid_of("two");

    let killed = Instant::now();
    send(first, Signal::SIGKILL);
    until("its end is seen", || (!lives(first)).then_some(()));
    let (second, names) = ask(address);
    assert!(killed.elapsed() < Duration::from_secs(2), "the first restart comes at once, not after {:?}", killed.elapsed());
    assert_ne!(second, first);
    assert_eq!(names, "http:api:kept");
    let status = until("the new one is ready", || host.status().filter(|s| s.roles["one"].pid == Some(second)));
    assert_eq!(status.roles["one"].restarts, 1);
    assert_eq!(host.pid_of("one"), second);
    let kept = fs::read_to_string(host.folder.path().join(format!("kept-{second}"))).expect("it tells what it got");
    assert_eq!(kept, format!("stored by {first}"));
    assert_eq!(host.pid_of("two"), other, "another role is left alone");
    UnixStream::connect(host.run_dir().join("api.sock")).expect("the Unix socket is the same too");
}

#[test]
fn a_stop_is_in_order_and_leaves_nothing() {
    let mut host = Host::start();
    let pids = [host.pid_of("one"), host.pid_of("two")];
    send(host.supervisor.id(), Signal::SIGHUP);
    assert!(supervise::down(&host.run_dir()).expect("it stops"));
    assert!(host.supervisor.wait().expect("it has ended").success());
    assert_eq!(host.events(), ["two begins", "two is done", "one begins", "one is done"]);
    assert!(!pids.into_iter().any(lives));
    assert!(host.is_empty(), "nothing is left in the run folder");
    assert!(!supervise::down(&host.run_dir()).expect("nothing to stop"));
}

#[test]
fn there_is_one_supervisor_and_a_killed_one_takes_its_roles_along() {
    let mut host = Host::start();
    let second = spawn(host.folder.path()).wait().expect("it ends");
    assert_eq!(second.code(), Some(9), "it is told that another one runs");
    let pids = [host.pid_of("one"), host.pid_of("two")];

    send(host.supervisor.id(), Signal::SIGKILL);
    host.supervisor.wait().expect("it is gone");
    until("its roles are gone", || (!pids.into_iter().any(lives)).then_some(()));
    host.supervisor = spawn(host.folder.path());
    host.wait_ready();
    ask(host.address());
    assert!(supervise::down(&host.run_dir()).expect("it stops"));
    host.supervisor.wait().expect("it has ended");
    assert!(host.is_empty());
}

#[test]
fn a_start_in_the_background_returns_when_all_is_ready_and_twice_is_once() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let mut options = UpOptions { foreground: false, ..options(folder.path()) };
    // The binary starts this test's program as the supervisor.
    let mut args: Vec<std::ffi::OsString> = ["up-exec", "--", "env"].map(Into::into).to_vec();
    args.extend(BLOCKED.map(Into::into));
    args.push(format!("{HOST}={}", folder.path().display()).into());
    args.push(std::env::current_exe().expect("this program").into());
    args.extend(["--exact", "supervise::as_supervisor", "--nocapture"].map(Into::into));
    options.up_args = args;
    let Outcome::Started { pid } = supervise::up(options.clone()).expect("it starts") else { panic!("nothing was running") };
    let status = Status::read(&options.run_dir).expect("it tells its status");
    assert!(status.roles.values().all(|role| role.state == State::Ready));
    assert_eq!(nix::unistd::getsid(Some(Pid::from_raw(pid))), Ok(Pid::from_raw(pid)), "it has left the terminal");
    assert!(options.log_dir.join("one.log").is_file());
    assert_eq!(supervise::up(options.clone()).expect("no error"), Outcome::AlreadyRunning { pid });
    assert!(supervise::down(&options.run_dir).expect("it stops"));
    until("it is gone", || (!lives(pid.try_into().expect("a pid"))).then_some(()));
}

#[test]
fn a_start_that_fails_says_why() {
    let folder = tempfile::tempdir().expect("a temp dir");
    let mut options = UpOptions { foreground: false, ..options(folder.path()) };
    options.up_args = ["up-exec", "--", "ls", "--no-such-option-of-ls"].map(Into::into).to_vec();
    let error = supervise::up(options.clone()).expect_err("it can not start").to_string();
    assert!(error.contains("no-such-option-of-ls"), "{error}");
    options.roles[0].user = Some("no-such-user-of-paas".to_owned());
    let error = supervise::up(options).expect_err("it can not start").to_string();
    assert_eq!(error, "one: user `no-such-user-of-paas` does not exist");
}

#[test]
fn a_role_has_no_more_rights_than_it_needs() {
    let host = Host::start();
    let of = |pid: u32, key: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel tells it");
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("a number")
    };
    let (one, two) = (host.pid_of("one"), host.pid_of("two"));
    assert_eq!(of(one, "NoNewPrivs"), 1);
    assert_eq!((of(one, "CapEff"), of(one, "CapPrm")), (0, 0));
    if nix::unistd::Uid::effective().is_root() {
        let sys_admin = 1 << 21;
        assert_eq!(of(one, "CapBnd"), 0);
        assert_eq!(of(two, "CapBnd") & !sys_admin, 0);
        assert_eq!(of(two, "CapEff"), of(std::process::id(), "CapEff") & sys_admin);
    }
}

#[test]
fn up_exec_becomes_another_user_and_names_one_that_does_not_exist() {
    if !nix::unistd::Uid::effective().is_root() {
        return; // Only root can.
    }
    let run = |user: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_paas"));
        command.args(["up-exec", "--user", user, "--", "cat", "/proc/self/status"]).output().expect("it runs")
    };
    let nobody = accounts::user("nobody").expect("users can be read").expect("every system has it");
    let status = String::from_utf8(run("nobody").stdout).expect("text");
    let ids = |key: &str| status.lines().find_map(|l| l.strip_prefix(key)).expect("told").split_whitespace().collect::<Vec<_>>();
    assert_eq!(ids("Uid:"), [nobody.uid.to_string().as_str(); 4]);
    assert_eq!(ids("Gid:"), [nobody.gid.to_string().as_str(); 4]);
    assert_eq!(ids("CapBnd:"), ["0000000000000000"]);
    let refused = run("no-such-user-of-paas");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("user `no-such-user-of-paas` does not exist"));
}

#[test]
fn a_role_goes_as_late_as_is_permitted_when_memory_runs_out() {
    let paas = env!("CARGO_BIN_EXE_paas");
    let score = |and_then: &str| {
        let script = format!("echo 300 >/proc/self/oom_score_adj; {and_then}");
        let out = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).output().expect("a shell is there").stdout;
        String::from_utf8(out).expect("text").trim().parse::<i32>().expect("a number")
    };
    let own = "/proc/self/oom_score_adj";
    assert_eq!(score(&format!("cat {own}")), 300, "the begin");
    let permitted = score(&format!("echo -900 >{own} || echo 0 >{own}; cat {own}"));
    assert_eq!(score(&format!("exec {paas} up-exec -- cat {own}")), permitted);
}
