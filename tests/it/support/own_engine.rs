//! A Docker engine of a test's own: to be stopped, killed, frozen and replaced while the engine that other tests use goes on.
//!
//! It has a network namespace, folders, a socket and a containerd of its own; as on a real host its containerd outlives it. A dockerd without
//! a namespace of its own would share bridges and firewall rules with the first one and delete them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::cli::{Done, run};
use super::machine::processes;
use super::small_disk::SmallDisk;
use super::wait::{eventually, until};

pub struct OwnEngine {
    folder: PathBuf,
    name: String,
    containerd: Mutex<Child>,
    dockerd: Mutex<Option<Child>>,
    /// What is started as dockerd.
    program: Mutex<PathBuf>,
    /// More arguments of dockerd.
    options: Vec<String>,
    /// Where it keeps images, containers and cache, if that is not the machine's own disk.
    disk: Option<SmallDisk>,
}

impl OwnEngine {
    /// Started, answering, and empty. `options` are more arguments of dockerd ("--live-restore").
    pub fn start(options: &[&str]) -> OwnEngine {
        let engine = OwnEngine::prepare(options);
        engine.start_dockerd();
        engine
    }

    /// Started on an ext4 filesystem of `mib` MiB of its own.
    pub fn start_on_disk(mib: u64) -> OwnEngine {
        let mut engine = OwnEngine::prepare(&[]);
        std::fs::create_dir(engine.root()).expect("a folder can be made");
        engine.disk = Some(SmallDisk::ext4(&engine.root(), mib));
        engine.start_dockerd();
        engine
    }

    /// Everything but dockerd itself.
    pub fn prepare(options: &[&str]) -> OwnEngine {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pt-{}-e{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let folder = Path::new("/tmp").join(&name);
        std::fs::create_dir_all(&folder).expect("/tmp can be written");
        act("ip", &["netns", "add", &name]);
        act("ip", &["-n", &name, "link", "set", "lo", "up"]);
        std::fs::write(folder.join("daemon.json"), "{}").expect("a file can be written");
        let config = format!(
            "version = 2\nroot = \"{dir}/containerd\"\nstate = \"{dir}/run/containerd\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{dir}/containerd.sock\"\n",
            dir = folder.display(),
        );
        std::fs::write(folder.join("containerd.toml"), config).expect("a file can be written");
        let mut command = Command::new("containerd");
        command.arg("--config").arg(folder.join("containerd.toml"));
        let containerd = Mutex::new(quietly(&mut command, &folder));
        let options = options.iter().map(|o| (*o).to_owned()).collect();
        OwnEngine {
            folder,
            name,
            containerd,
            dockerd: Mutex::new(None),
            program: Mutex::new("dockerd".into()),
            options,
            disk: None,
        }
    }

    /// The next start is of another dockerd.
    pub fn use_program(&self, program: &Path) {
        *self.program.lock().expect("no test panics with the lock") = program.to_owned();
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// Where its namespaces of containers are: Docker's `--exec-root`.
    pub fn exec_root(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// Docker's `--data-root`.
    fn root(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("the engine was started on a disk of its own")
    }

    /// Docker's own command line against this engine.
    pub fn docker(&self, args: &[&str]) -> Done {
        super::engine::docker_at(&self.host(), args)
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Starts dockerd and waits until it answers; gives when it did.
    #[track_caller]
    pub fn start_dockerd(&self) -> Instant {
        self.begin_dockerd();
        eventually("the test's own dockerd answers", Duration::from_secs(60), || {
            assert!(!self.has_ended(), "the test's own dockerd ended:\n{}", self.log());
            (self.docker(&["version"]).code == 0).then(Instant::now)
        })
    }

    /// Starts dockerd and waits for nothing.
    pub fn begin_dockerd(&self) {
        let mut running = self.dockerd.lock().expect("no test panics with the lock");
        assert!(running.is_none(), "dockerd runs already");
        // Only the network namespace is entered: what it mounts for its containers must be seen by everybody, as on a real host.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(&*self.program.lock().expect("no test panics with the lock"));
        for (option, value) in [
            ("--data-root", "data"),
            ("--exec-root", "run"),
            ("--pidfile", "docker.pid"),
            ("--config-file", "daemon.json"),
            ("--containerd", "containerd.sock"),
        ] {
            command.arg(option).arg(self.folder.join(value));
        }
        command.args(["--host", &self.host()]).args(&self.options);
        *running = Some(quietly(&mut command, &self.folder));
    }

    /// SIGTERM, as `systemctl stop docker`; waits for the end.
    #[track_caller]
    pub fn stop(&self) {
        self.end("-TERM");
    }

    /// SIGKILL, as the kernel does when memory runs out.
    #[track_caller]
    pub fn kill(&self) {
        self.end("-KILL");
    }

    /// Takes the file of its networks away, of an engine that does not run.
    pub fn forget_networks(&self) {
        std::fs::remove_file(self.root().join("network/files/local-kv.db")).expect("the engine had networks");
    }

    /// It answers nothing from now on, but its socket takes connections.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Answers again, whatever was done to it: for what cleans up after a test that failed.
    pub fn bring_back(&self) {
        let running = self.dockerd.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_some();
        if running {
            self.thaw()
        } else {
            self.begin_dockerd()
        }
        until(Duration::from_secs(30), || (self.docker(&["version"]).code == 0).then_some(()));
    }

    /// Stops and starts; gives the moment in which it answered again.
    #[track_caller]
    pub fn restart(&self) -> Instant {
        self.stop();
        self.start_dockerd()
    }

    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn has_ended(&self) -> bool {
        let mut running = self.dockerd.lock().expect("no test panics with the lock");
        running.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
    }

    fn signal(&self, signal: &str) {
        let running = self.dockerd.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let pid = running.as_ref().map(|child| child.id().to_string()).expect("dockerd runs");
        act("kill", &[signal, &pid]);
    }

    #[track_caller]
    fn end(&self, signal: &str) {
        self.signal(signal);
        let mut running = self.dockerd.lock().expect("no test panics with the lock");
        let mut child = running.take().expect("dockerd runs");
        eventually("the test's own dockerd ends", Duration::from_secs(40), || child.try_wait().ok().flatten());
    }

    /// Everything that belongs to this engine is known by its folder in the arguments.
    fn ours(&self) -> Vec<u32> {
        let folder = self.folder.display().to_string();
        let named = |argv: &[String]| argv.iter().any(|a| a.contains(&format!("{folder}/")));
        processes().into_iter().filter(|(_, argv)| named(argv)).map(|(pid, _)| pid).collect()
    }
}

impl Drop for OwnEngine {
    /// Containers first, by the engine itself; what does not go that way is killed.
    fn drop(&mut self) {
        let child = self.dockerd.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(mut child) = child {
            let pid = child.id().to_string();
            drop(run(Command::new("kill").args(["-CONT", &pid]), b"", Duration::from_secs(5)));
            let containers = self.docker(&["ps", "-aq"]).out;
            let ids: Vec<&str> = containers.split_whitespace().collect();
            if !ids.is_empty() {
                drop(self.docker(&[&["rm", "-f"], ids.as_slice()].concat()));
            }
            drop(run(Command::new("kill").args(["-TERM", &pid]), b"", Duration::from_secs(5)));
            until(Duration::from_secs(20), || child.try_wait().ok().flatten());
            drop(child.kill());
            drop(child.wait());
        }
        // The shims of containers that are still there, with what runs under them, and containerd.
        for pid in self.ours() {
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            let pids: Vec<String> = children.split_whitespace().map(str::to_owned).chain([pid.to_string()]).collect();
            drop(run(Command::new("kill").arg("-KILL").args(pids), b"", Duration::from_secs(5)));
        }
        let mut containerd = self.containerd.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        drop(containerd.kill());
        drop(containerd.wait());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let inside = format!("{}/", self.folder.display());
        for mount in mounts.lines().rev().filter_map(|l| l.split(' ').nth(1)).filter(|m| m.starts_with(&inside)) {
            // A small disk unmounts itself, after what lies on it.
            if self.disk.is_some() && Path::new(mount) == self.root() {
                continue;
            }
            drop(run(Command::new("umount").args(["-l", mount]), b"", Duration::from_secs(5)));
        }
        drop(self.disk.take());
        drop(run(Command::new("ip").args(["netns", "del", &self.name]), b"", Duration::from_secs(5)));
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

#[track_caller]
fn act(program: &str, args: &[&str]) {
    run(Command::new(program).args(args), b"", Duration::from_secs(10)).ok();
}

fn quietly(command: &mut Command, folder: &Path) -> Child {
    let log = || std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log can be made");
    command.stdin(Stdio::null()).stdout(log()).stderr(log()).current_dir("/").spawn().expect("the program is installed")
}
