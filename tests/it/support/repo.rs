//! Git repositories to push: sample apps of `tests/apps`, and the test app in an image without any base.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::cli::{Done, run};

/// The folder of a sample app.
pub fn sample(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps").join(name);
    assert!(folder.is_dir(), "there is no sample app {}", folder.display());
    folder
}

/// The test app (`examples/testapp.rs`), as it was built with the tests.
pub fn testapp_file() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_paas")).with_file_name("examples").join("testapp")
}

/// The test app without its debug information.
pub fn testapp_binary() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let stripped = folder.path().join("testapp");
        run(Command::new("strip").arg("-o").arg(&stripped).arg(testapp_file()), b"", Duration::from_secs(20)).ok();
        std::fs::read(&stripped).expect("strip wrote the file")
    })
}

pub const SCRATCH: &str = "FROM scratch\nCOPY testapp /testapp\nCOPY version mode /\nENTRYPOINT [\"/testapp\"]\n";

/// Puts a copy of `program` at `to`, to be run from there. Another process writes it: a child that some other test forks while this
/// process holds the file open for writing would keep it open, and the kernel refuses to run a file that is being written (ETXTBSY).
pub fn place_program(program: &Path, to: &Path) {
    run(Command::new("install").args(["-m", "0755"]).arg(program).arg(to), b"", Duration::from_secs(20)).ok();
}

/// A working copy with its own git, which sees no configuration of the machine.
pub struct Repo {
    folder: tempfile::TempDir,
}

impl Repo {
    pub fn empty() -> Repo {
        let repo = Repo { folder: tempfile::tempdir().expect("a temporary folder can be made") };
        repo.git(&["init", "-q", "-b", "main"]).ok();
        repo
    }

    /// The files of a sample app, committed.
    pub fn of_sample(name: &str) -> Repo {
        let repo = Repo::empty();
        copy_folder(&sample(name), repo.path());
        // A sample of behaviour is the test app with a `mode` file.
        if repo.path().join("mode").exists() {
            repo.add_testapp("bad");
        }
        repo.commit("first");
        repo
    }

    /// The test app that says `version`, in an image from scratch, committed.
    pub fn testapp(version: &str) -> Repo {
        let repo = Repo::empty();
        repo.write("mode", "");
        repo.add_testapp(version);
        repo.commit(version);
        repo
    }

    fn add_testapp(&self, version: &str) {
        if !self.path().join("Dockerfile").exists() {
            self.write("Dockerfile", SCRATCH);
        }
        self.write("version", version);
        self.write("testapp", testapp_binary());
        make_executable(&self.path().join("testapp"));
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, file: &str, content: impl AsRef<[u8]>) -> &Repo {
        let at = self.path().join(file);
        std::fs::create_dir_all(at.parent().expect("a file has a folder")).expect("a folder can be made");
        std::fs::write(&at, content).unwrap_or_else(|e| panic!("writing {}: {e}", at.display()));
        self
    }

    pub fn remove(&self, file: &str) -> &Repo {
        std::fs::remove_file(self.path().join(file)).unwrap_or_else(|e| panic!("removing {file}: {e}"));
        self
    }

    /// Commits everything; gives the commit.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]).ok();
        self.git(&["commit", "-q", "--allow-empty", "-m", message]).ok();
        self.head()
    }

    /// Changes the version that the test app tells, and commits.
    pub fn release(&self, version: &str) -> String {
        self.write("version", version);
        self.commit(version)
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).ok().out.trim().to_owned()
    }

    pub fn git(&self, args: &[&str]) -> Done {
        self.git_with(args, &[], Duration::from_secs(60))
    }

    pub fn git_with(&self, args: &[&str], env: &[(&str, &str)], limit: Duration) -> Done {
        let mut command = Command::new("git");
        command.current_dir(self.path()).args(args);
        command.envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null"), ("GIT_TERMINAL_PROMPT", "0")]);
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Test").env(format!("GIT_{who}_EMAIL"), "test@example.test");
        }
        command.envs(env.iter().copied());
        run(&mut command, b"", limit)
    }
}

fn make_executable(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).expect("a mode can be set");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("a folder can be read") {
        let entry = entry.expect("a folder can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("a file can be copied");
        }
    }
}
