//! One whole installation in a temporary folder: daemon, proxy and dialer under `paas up`, an sshd, a key, and the clients for each door.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::cli::{Done, run};
use super::door::TLS;
use super::http::{Client, Reply};
use super::machine::{make_folders, place_binary, processes, require_machine, start_supervisor};
use super::net::Range;
use super::own_engine::OwnEngine;
use super::repo::Repo;
use super::shared::Shared;
use super::small_disk::SmallDisk;
use super::sshd::{Sshd, make_key};
use super::wait::{eventually, until};
use super::{engine, listening};

/// A push builds an image: minutes only where a machine is busy with other builds.
const PUSH_LIMIT: Duration = Duration::from_secs(300);

pub struct World {
    folder: PathBuf,
    pub config: PathBuf,
    pub domain: String,
    install: String,
    proxy: SocketAddr,
    sshd: Sshd,
    supervisor: Mutex<Child>,
    /// What was mounted for this world.
    disks: Vec<SmallDisk>,
    names: AtomicU32,
    range: Range,
    /// Last, as it must outlive everything that runs in it.
    engine: Option<OwnEngine>,
}

impl World {
    pub fn start() -> World {
        World::start_with("", &[])
    }

    /// `more` is added to the host config; `env` to the environment of the roles and of ssh sessions.
    pub fn start_with(more: &str, env: &[(&str, &str)]) -> World {
        World::launch(None, TLS, more, env, |_| Vec::new())
    }

    /// An installation on an engine of its own, which ends with it.
    pub fn start_on(engine: OwnEngine) -> World {
        World::start_on_with(engine, "")
    }

    /// The same; `more` is added to the host config.
    pub fn start_on_with(engine: OwnEngine, more: &str) -> World {
        World::launch(Some(engine), TLS, more, &[], |_| Vec::new())
    }

    pub fn start_without_tls() -> World {
        World::launch(None, "", "", &[], |_| Vec::new())
    }

    /// `mount` may put small disks below the world's folder, whose folders `state` and `run` are there.
    pub fn start_on_disks(more: &str, mount: impl FnOnce(&Path) -> Vec<SmallDisk>) -> World {
        World::launch(None, TLS, more, &[], mount)
    }

    fn launch(
        engine: Option<OwnEngine>,
        tls: &str,
        more: &str,
        env: &[(&str, &str)],
        mount: impl FnOnce(&Path) -> Vec<SmallDisk>,
    ) -> World {
        require_machine();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Short, because the path of a Unix socket may have 107 bytes.
        let name = format!("pt-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let folder = Path::new("/tmp").join(&name);
        let range = Range::take();
        let config = folder.join("paas.toml");
        make_folders(&folder);
        let disks = mount(&folder);
        place_binary(&folder);
        let sshd = Sshd::start(&folder.join("ssh"), &folder.join("state"), env);
        let domain = format!("{name}.test");
        let of_engine = engine.as_ref().map_or(String::new(), |engine| {
            format!("socket = \"{}\"\nexec_root = \"{}\"\n", engine.socket().display(), engine.exec_root().display())
        });
        let text = format!(
            "state_dir = \"{dir}/state\"\nrun_dir = \"{dir}/run\"\ndomain = \"{domain}\"\n\
             [proxy]\nlisten = [\"127.0.0.1:0\"]\nlisten_tls = [{tls}]\ncommit_header = true\n\
             [ssh]\nhost = \"127.0.0.1\"\nport = {port}\n\
             [docker]\nsubnets = \"{range}\"\n{of_engine}[stack]\nsource = \"debian\"\n{more}",
            dir = folder.display(),
            port = sshd.port,
            range = range.text,
        );
        std::fs::write(&config, text).expect("the host config can be written");
        let supervisor = start_supervisor(&folder, &config, env);
        let mut world = World {
            folder,
            config,
            domain,
            install: String::new(),
            proxy: ([127, 0, 0, 1], 0).into(),
            sshd,
            supervisor: Mutex::new(supervisor),
            disks,
            names: AtomicU32::new(0),
            range,
            engine,
        };
        world.wait_until_ready();
        make_key(&world.key("laptop"));
        world.add_key("laptop", &[]).ok();
        world
    }

    /// The world of a group of tests: started by the first that asks, ended (and checked) with the last that holds it.
    pub fn shared(group: &'static str) -> Shared {
        static WORLDS: Mutex<Option<HashMap<&'static str, Weak<World>>>> = Mutex::new(None);
        let mut worlds = WORLDS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let worlds = worlds.get_or_insert_default();
        if let Some(world) = worlds.get(group).and_then(Weak::upgrade) {
            return Shared(world);
        }
        let world = Arc::new(World::start());
        worlds.insert(group, Arc::downgrade(&world));
        Shared(world)
    }

    fn wait_until_ready(&mut self) {
        let run_dir = self.run_dir();
        let ended = || self.supervisor.lock().is_ok_and(|mut child| matches!(child.try_wait(), Ok(Some(_))));
        let found = until(Duration::from_secs(30), || {
            if ended() {
                panic!("`paas up` ended before it was ready\n{}", self.logs_of_roles());
            }
            let address = listening::proxy_address(&run_dir)?;
            let status = self.paas(&["status", "--json"]);
            let install = (status.code == 0).then(|| status.json()["install"].as_str().map(str::to_owned))??;
            Some((address, install))
        });
        match found {
            Some((address, install)) => (self.proxy, self.install) = (address, install),
            None => panic!(
                "paas was not ready within 30 s; `paas status`:\n{}\n{}",
                self.paas(&["status", "--json"]),
                self.logs_of_roles()
            ),
        }
    }

    // ---- doors

    pub fn paas(&self, args: &[&str]) -> Done {
        self.paas_in(args, b"")
    }

    /// The CLI on the host, as an administrator.
    pub fn paas_in(&self, args: &[&str], input: &[u8]) -> Done {
        run(self.paas_command().args(args), input, PUSH_LIMIT)
    }

    /// The CLI, not started yet.
    pub fn paas_command(&self) -> Command {
        let mut command = Command::new(self.folder.join("paas"));
        command.env("PAAS_SOCKET", self.run_dir().join("api.sock")).env_remove("PAAS_CRASH_DIR").current_dir("/");
        command
    }

    /// A verb by plain ssh with the key `key`: a laptop that has nothing installed.
    pub fn ssh(&self, key: &str, args: &[&str], input: &[u8]) -> Done {
        let ssh = self.sshd.command(&self.key(key));
        let mut words = ssh.split(' ');
        let mut command = Command::new(words.next().expect("a command has a first word"));
        command.args(words).arg("paas@127.0.0.1").args(args).current_dir("/");
        run(&mut command, input, PUSH_LIMIT)
    }

    pub fn ssh_command(&self, key: &str) -> String {
        self.sshd.command(&self.key(key))
    }

    pub fn push(&self, repo: &Repo, app: &str) -> Done {
        self.push_as("laptop", repo, app, &["main"])
    }

    pub fn push_as(&self, key: &str, repo: &Repo, app: &str, refs: &[&str]) -> Done {
        let url = format!("paas@127.0.0.1:{app}");
        let args: Vec<&str> = ["push", &url].iter().chain(refs).copied().collect();
        repo.git_with(&args, &[("GIT_SSH_COMMAND", &self.ssh_command(key))], PUSH_LIMIT)
    }

    /// A connection to the proxy that will ask for `app`.
    pub fn client(&self, app: &str) -> Client {
        Client::connect(self.proxy, &self.host(app)).expect("the proxy accepts")
    }

    #[track_caller]
    pub fn get(&self, app: &str, path: &str) -> Reply {
        self.get_host(&self.host(app), path)
    }

    #[track_caller]
    pub fn get_host(&self, host: &str, path: &str) -> Reply {
        let asked = Client::connect(self.proxy, host).and_then(|mut client| client.get(path));
        asked.unwrap_or_else(|e| panic!("GET {path} of {host}: {e}\n{}", self.logs_of_roles()))
    }

    pub fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// The range that this installation takes its networks from.
    pub fn subnets(&self) -> &str {
        &self.range.text
    }

    pub fn host(&self, app: &str) -> String {
        format!("{app}.{}", self.domain)
    }

    // ---- keys and names

    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.join("ssh").join(name)
    }

    /// Registers the key `name` (made if missing) with more options, for example `--app shop`.
    pub fn add_key(&self, name: &str, options: &[&str]) -> Done {
        let key = self.key(name);
        if !key.exists() {
            make_key(&key);
        }
        let public = std::fs::read(key.with_extension("pub")).expect("a key has a public half");
        let args: Vec<&str> = ["keys", "add", name].iter().chain(options).copied().collect();
        self.paas_in(&args, &public)
    }

    /// An app name that nobody has.
    pub fn app(&self, stem: &str) -> String {
        format!("{stem}-{}", self.names.fetch_add(1, Ordering::SeqCst))
    }

    /// An app that serves `version` already, with the working copy it came from.
    #[track_caller]
    pub fn live(&self, stem: &str, version: &str) -> (String, Repo) {
        let (app, repo) = (self.app(stem), Repo::testapp(version));
        self.push(&repo, &app).ok();
        self.serves(&app, version);
        (app, repo)
    }

    /// `version` of the test app answers at `app`'s own name.
    #[track_caller]
    pub fn serves(&self, app: &str, version: &str) {
        let reply = self.get(app, "/");
        let wanted = format!("{app} {version}\n");
        assert!(reply.status == 200 && reply.text() == wanted, "wanted {wanted:?}, got {reply:?}\n{}", self.logs_of_roles());
    }

    // ---- processes

    pub fn run_dir(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// The small disk that was mounted as number `n`.
    pub fn disk(&self, n: usize) -> &SmallDisk {
        &self.disks[n]
    }

    /// The name that the installation's objects in Docker carry.
    pub fn install(&self) -> &str {
        &self.install
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The process of a role (`daemon`, `proxy`, `dialer`), found in /proc as any operator would.
    pub fn pid_of(&self, role: &str) -> Option<u32> {
        let config = self.config.display().to_string();
        processes()
            .into_iter()
            .find(|(_, argv)| argv.get(1).is_some_and(|a| a == role) && argv.contains(&config))
            .map(|(pid, _)| pid)
    }

    /// SIGKILL to a role; waits until its supervisor has started another. Gives how long that took.
    #[track_caller]
    pub fn kill(&self, role: &str) -> Duration {
        self.end(role, "-KILL")
    }

    /// The same by another signal; `-TERM` is a stop of the service.
    #[track_caller]
    pub fn end(&self, role: &str, signal: &str) -> Duration {
        let old = eventually(role, Duration::from_secs(10), || self.pid_of(role));
        let started = std::time::Instant::now();
        run(Command::new("kill").args([signal, &old.to_string()]), b"", Duration::from_secs(5)).ok();
        eventually(&format!("a new {role}"), Duration::from_secs(15), || self.pid_of(role).filter(|new| *new != old));
        eventually("paas status", Duration::from_secs(15), || (self.paas(&["status", "--json"]).code == 0).then_some(()));
        started.elapsed()
    }

    pub fn objects(&self) -> Vec<String> {
        // A world that never became ready made nothing, and has no name to ask for.
        if self.install.is_empty() { Vec::new() } else { engine::objects(&self.engine_host(), &self.install) }
    }

    /// Docker's own command line, against the engine of this world.
    pub fn docker(&self, args: &[&str]) -> Done {
        engine::docker_at(&self.engine_host(), args)
    }

    /// The engine that is this world's own.
    pub fn engine(&self) -> &OwnEngine {
        self.engine.as_ref().expect("the world was started on an engine of its own")
    }

    fn engine_host(&self) -> String {
        self.engine.as_ref().map_or(engine::SHARED.to_owned(), OwnEngine::host)
    }

    pub fn logs_of_roles(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("up.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!(
            "--- last lines of paas up\n{}\n--- sshd\n{}",
            lines[lines.len().saturating_sub(80)..].join("\n"),
            self.sshd.log()
        )
    }

    /// Destroys every app by the product's own command, stops the installation, and gives what was left behind.
    fn finish(&self) -> Vec<String> {
        let mut left = Vec::new();
        let apps = self.paas(&["apps", "list", "--json"]);
        let names = serde_json::from_str::<serde_json::Value>(&apps.out).unwrap_or_default();
        for name in names.as_array().into_iter().flatten().filter_map(|app| app["name"].as_str()) {
            let done = self.paas(&["apps", "destroy", name, "--confirm", name]);
            if done.code != 0 {
                left.push(format!("app {name} could not be destroyed:\n{done}"));
            }
        }
        // Old releases are retired in the background; clean-up may take its drain time.
        if until(Duration::from_secs(40), || self.objects().is_empty().then_some(())).is_none() {
            left.extend(self.objects());
        }
        let mut child = self.supervisor.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        drop(run(Command::new("kill").args(["-TERM", &child.id().to_string()]), b"", Duration::from_secs(5)));
        if until(Duration::from_secs(20), || child.try_wait().ok().flatten()).is_none() {
            left.push("the supervisor did not end within 20 s of SIGTERM".into());
        }
        let config = self.config.display().to_string();
        let ours = || processes().into_iter().filter(|(_, argv)| argv.contains(&config)).collect::<Vec<_>>();
        if until(Duration::from_secs(5), || ours().is_empty().then_some(())).is_none() {
            left.extend(ours().iter().map(|(pid, argv)| format!("process {pid} {argv:?}")));
        }
        left
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if let Some(engine) = self.engine.as_ref().filter(|_| failed) {
            engine.bring_back();
        }
        let left = self.finish();
        let config = self.config.display().to_string();
        for (pid, _) in processes().into_iter().filter(|(_, argv)| argv.contains(&config)) {
            drop(run(Command::new("kill").args(["-KILL", &pid.to_string()]), b"", Duration::from_secs(5)));
        }
        if !self.install.is_empty() {
            engine::clear(&self.engine_host(), &self.install);
        }
        let logs = self.logs_of_roles();
        self.disks.clear();
        drop(std::fs::remove_dir_all(&self.folder));
        if failed || !left.is_empty() {
            eprintln!("{logs}");
        }
        assert!(failed || left.is_empty(), "this world left behind:\n{}", left.join("\n"));
    }
}
