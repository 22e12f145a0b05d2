//! A place to push from and a server to push to: temporary folders, an sshd of our own on a free port, and the stand-in daemon.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use paas::config::HostConfig;
use paas::git::install_hooks;
use paas::git::keys::{PublicKey, export};
use paas::names::{AppName, CommitSha, KeyId};

use super::fake_daemon::FakeDaemon;
use crate::support::place_program;

pub struct World {
    dir: tempfile::TempDir,
    pub daemon: FakeDaemon,
    sshd: Child,
    port: u16,
}

/// What a push printed, with its command for the message of a failed test.
pub struct Pushed(Output);

pub struct Answered {
    pub code: i32,
    pub out: String,
    pub said: String,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        for name in ["state", "run", "work"] {
            fs::create_dir(dir.path().join(name)).expect("mkdir");
        }
        let file = dir.path().join("paas.toml");
        let text = format!("state_dir = \"{0}/state\"\nrun_dir = \"{0}/run\"\n", dir.path().display());
        fs::write(&file, text).expect("config");
        let config = HostConfig::load(&file).expect("config is valid");
        // The login user must be able to read the program, which it can't in a build folder below /root.
        let exe = dir.path().join("paas");
        place_program(Path::new(env!("CARGO_BIN_EXE_paas")), &exe);
        install_hooks(&config.hooks_dir(), &exe).expect("hooks");
        keygen(&dir.path().join("id"));
        keygen(&dir.path().join("host_key"));
        let public = PublicKey::parse(&fs::read_to_string(dir.path().join("id.pub")).expect("key")).expect("key");
        export(&config.authorized_keys(), &exe, &file, [(KeyId(3), &public)]).expect("exported");
        let daemon = FakeDaemon::start(config.clone());
        let crash = dir.path().join("crash");
        fs::create_dir(&crash).expect("mkdir");
        fs::set_permissions(&crash, fs::Permissions::from_mode(0o777)).expect("chmod");
        let (sshd, port) = start_sshd(dir.path(), &config, &format!("SetEnv PAAS_CRASH_DIR={}\n", crash.display()));
        let world = Self { dir, daemon, sshd, port };
        world.git(&["init", "-q", "-b", "main"]);
        world.git(&["remote", "add", "deploy", &world.remote("shop")]);
        world
    }

    /// The next session or hook that comes to this crash point is killed there.
    pub fn crash_at(&self, point: &str) {
        fs::write(self.path("crash").join(point), "").expect("armed");
    }

    /// Somebody was killed there.
    pub fn crashed_at(&self, point: &str) -> bool {
        self.path("crash").join(format!("{point}.hit")).exists()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn work(&self) -> PathBuf {
        self.path("work")
    }

    pub fn remote(&self, app: &str) -> String {
        format!("paas@127.0.0.1:{app}")
    }

    #[track_caller]
    pub fn commit(&self, files: &[(&str, &str)]) -> CommitSha {
        for (path, text) in files {
            let path = self.work().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            fs::write(path, text).expect("write");
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "a change"]);
        CommitSha::parse(self.git(&["rev-parse", "HEAD"]).trim()).expect("sha")
    }

    pub fn push(&self, args: &[&str]) -> Pushed {
        // Options of push go before the remote.
        let (options, refs): (Vec<&str>, Vec<&str>) = args.iter().partition(|arg| arg.starts_with('-'));
        let all: Vec<&str> = ["push"].into_iter().chain(options).chain(["deploy"]).chain(refs).collect();
        Pushed(self.git_command(&all).output().expect("git runs"))
    }

    /// Where a branch is on the server.
    pub fn branch(&self, name: &str) -> Option<CommitSha> {
        let repo = self.repo();
        let mut command = Command::new("git");
        command.args(["-c", "safe.directory=*", "--git-dir"]).arg(repo).args([
            "rev-parse",
            "-q",
            "--verify",
            &format!("refs/heads/{name}"),
        ]);
        CommitSha::parse(String::from_utf8_lossy(&command.output().expect("git runs").stdout).trim()).ok()
    }

    /// Files that hold objects, whole or half.
    pub fn objects_left(&self) -> usize {
        fn count(dir: &Path) -> usize {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|e| if e.path().is_dir() { count(&e.path()) } else { 1 }).sum()
        }
        count(&self.repo().join("objects"))
    }

    /// What the daemon's user does when it tidies: it must be able to, whoever wrote the objects.
    #[track_caller]
    pub fn collect_as_daemon(&self) {
        let repo = self.repo();
        // The stand-in daemon runs as root, the real one as this user: give it what the stand-in made.
        let given =
            Command::new("chown").arg("-R").arg("--from=root").arg("paasd:paasd").arg(&repo).status().expect("chown runs");
        assert!(given.success());
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=paasd", "--regid=paasd", "--init-groups", "git", "-c", "safe.directory=*", "--git-dir"])
            .arg(&repo);
        let out = command.args(["gc", "-q", "--prune=now"]).current_dir("/").env("HOME", "/nonexistent").output().expect("runs");
        assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        finished(&format!("git {args:?}"), self.git_command(args).output().expect("git runs"))
    }

    #[track_caller]
    pub fn git_with_input(&self, args: &[&str], input: &[u8]) -> String {
        let mut child = self.git_command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git starts");
        child.stdin.take().expect("piped").write_all(input).expect("written");
        finished(&format!("git {args:?}"), child.wait_with_output().expect("waited")).trim().to_owned()
    }

    pub fn git_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.current_dir(self.work()).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_SSH_COMMAND", format!("ssh {}", self.ssh_options().join(" ")));
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.com");
            command.env(format!("GIT_{who}_DATE"), "1700000000 +0000");
        }
        command
    }

    /// Runs a command over ssh with this input.
    pub fn ssh(&self, options: &[&str], command: &str, input: &[u8]) -> Answered {
        let mut ssh = Command::new("ssh");
        ssh.args(self.ssh_options()).args(options).arg("paas@127.0.0.1");
        if !command.is_empty() {
            ssh.arg(command);
        }
        let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ssh starts");
        // It may have refused already. Its stdin stays open to the end: an API client that closes it is a client that went away.
        let mut stdin = child.stdin.take().expect("piped");
        let _ = stdin.write_all(input);
        let out = child.wait_with_output().expect("waited");
        drop(stdin);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Answered { code: out.status.code().unwrap_or(-1), out: text(&out.stdout), said: text(&out.stderr) }
    }

    #[track_caller]
    pub fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(15), "waited too long until {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn repo(&self) -> PathBuf {
        self.daemon.repo(&AppName::parse("shop").expect("name"))
    }

    fn ssh_options(&self) -> Vec<String> {
        let mut options: Vec<String> =
            ["-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
                .map(str::to_owned)
                .to_vec();
        options.extend(["-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-i"].map(str::to_owned));
        options.extend([self.path("id").display().to_string(), "-p".to_owned(), self.port.to_string()]);
        options
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

impl Pushed {
    pub fn succeeded(&self) -> bool {
        self.0.status.success()
    }

    #[track_caller]
    pub fn succeeds(self) -> String {
        finished("git push", self.0.clone());
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    #[track_caller]
    pub fn fails(self) -> String {
        let said = String::from_utf8_lossy(&self.0.stderr).into_owned();
        assert!(!self.0.status.success(), "the push was taken: {said}");
        said
    }
}

impl Answered {
    pub fn all(&self) -> String {
        format!("{}\n{}", self.out, self.said)
    }
}

#[track_caller]
fn finished(what: &str, out: Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{what}: {}\n{stdout}\n{stderr}", out.status);
    stdout.into_owned()
}

fn keygen(file: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(file).status();
    assert!(made.expect("ssh-keygen runs").success());
}

/// The installation's own drop-in behind the least of a server's config.
fn start_sshd(dir: &Path, config: &HostConfig, setting: &str) -> (Child, u16) {
    fs::create_dir_all("/run/sshd").expect("sshd's folder for separation of privileges");
    let template = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/sshd-paas.conf")).expect("drop-in");
    let drop_in =
        template.replace("@LOGIN@", &config.users.login).replace("@STATE_DIR@", &config.state_dir.display().to_string());
    for _ in 0..5 {
        let port = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port();
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nUsePAM no\nSubsystem sftp internal-sftp\nLogLevel VERBOSE\nMaxStartups 100\n{setting}{drop_in}",
            dir.join("host_key").display()
        );
        let file = dir.join("sshd_config");
        fs::write(&file, text).expect("config");
        let log = fs::File::create(dir.join("sshd.log")).expect("log");
        let mut sshd =
            Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f"]).arg(&file).stderr(log).spawn().expect("sshd starts");
        let start = Instant::now();
        while sshd.try_wait().expect("asked").is_none() && start.elapsed() < Duration::from_secs(10) {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return (sshd, port);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = sshd.kill();
        let _ = sshd.wait();
    }
    panic!("sshd does not start: {}", fs::read_to_string(dir.join("sshd.log")).unwrap_or_default());
}
