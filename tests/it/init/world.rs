//! What the tests of init and of the logs run in: the daemon's side of one instance, and init in a namespace of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use paas::config::LogsConfig;
use paas::instances::link::{InitState, Links};
use paas::logs::{Kind, LogLine, LogStore, Query, Source};
use paas::names::{AppName, InstanceId, ProcessName, ReleaseNumber};

pub const LIMIT: Duration = Duration::from_secs(20);
pub const ONE: InstanceId = InstanceId(1);

/// What the daemon would hold for one instance, in a folder of its own.
pub struct World {
    pub dir: PathBuf,
    pub logs: Arc<LogStore>,
    pub links: Arc<Links>,
    runtime: tokio::runtime::Runtime,
    config: LogsConfig,
}

impl World {
    pub fn new(dir: &Path, config: LogsConfig) -> Self {
        let logs = LogStore::open(dir.join("logs"), &config);
        let links = Links::new(dir.join("instances"), logs.clone(), &config);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let world = Self { dir: dir.to_owned(), logs, links, runtime, config };
        world.inside(|| world.links.listen(ONE, source()).expect("listen"));
        world
    }

    /// Everything of this daemon goes; another one starts from what is on disk.
    pub fn restarted(self) -> Self {
        let (dir, config) = (self.dir.clone(), self.config.clone());
        self.gone();
        Self::new(&dir, config)
    }

    pub fn gone(self) {
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }

    fn inside<T>(&self, work: impl FnOnce() -> T) -> T {
        let _guard = self.runtime.enter();
        work()
    }

    #[track_caller]
    pub fn wait(&self, wanted: impl Fn(&InitState) -> bool) -> InitState {
        let outcome = self.runtime.block_on(self.links.wait(ONE, wanted, LIMIT));
        outcome.unwrap_or_else(|e| panic!("{e}: {:?}", self.links.state(ONE)))
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub fn open(&self) {
        self.links.open(ONE).expect("open");
    }

    pub fn all_lines(&self) -> Vec<LogLine> {
        let mut page = self.logs.query(&query(), None).expect("query");
        let mut lines = std::mem::take(&mut page.lines);
        while page.more {
            page = self.logs.query(&query(), Some(&page.cursor)).expect("query");
            lines.append(&mut page.lines);
        }
        lines
    }

    /// Waits until a line with this text was logged; gives all texts until then.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) -> Vec<String> {
        let until = Instant::now() + LIMIT;
        loop {
            let lines: Vec<String> = self.all_lines().into_iter().map(|l| l.text).collect();
            if lines.iter().any(|line| line == text) {
                return lines;
            }
            assert!(
                Instant::now() < until,
                "no line `{text}` in {} lines that end with {:?}",
                lines.len(),
                &lines[lines.len().saturating_sub(10)..]
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub fn source() -> Source {
    let process = Some(ProcessName::parse("web").expect("name"));
    let app = AppName::parse("shop").expect("name");
    Source { process, index: Some(1), release: Some(ReleaseNumber(1)), ..Source::of_kind(app, Kind::App) }
}

pub fn query() -> Query {
    Query::of(source().app)
}

pub fn config() -> LogsConfig {
    LogsConfig { max_bytes_per_app: 64 << 20, lines_per_second: 100_000, burst: 100_000 }
}

/// `paas init` as the first process of a process namespace of its own.
pub struct Instance {
    outer: Child,
}

impl Instance {
    pub fn start(world: &World, argv: &[&str]) -> Self {
        let outer = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount-proc", env!("CARGO_BIN_EXE_paas"), "init", "--"])
            .args(argv)
            .env("PAAS_INSTANCE", "i1")
            .env("PAAS_INIT_SOCKET", world.dir.join("instances/i1/init.sock"))
            .current_dir(&world.dir)
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare is there, and we are root");
        Self { outer }
    }

    pub fn shell(world: &World, script: &str) -> Self {
        Self::start(world, &["/bin/sh", "-c", script])
    }

    /// Sends a signal to init, as the engine would.
    pub fn signal(&self, signal: &str) {
        let outer = self.outer.id();
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).expect("children");
        let init = children.trim();
        assert!(Command::new("kill").args(["-s", signal, init]).status().expect("kill").success());
    }

    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.outer.try_wait().expect("wait") {
                return status;
            }
            assert!(Instant::now() < until, "init does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.outer.kill();
        let _ = self.outer.wait();
    }
}

pub fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("temp dir")
}
