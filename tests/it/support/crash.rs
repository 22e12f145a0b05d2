//! A world whose processes can be killed at a named point: a file in a folder arms it, and the process that comes there renames the file.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::wait::{eventually, until};
use super::world::World;

/// The folder that the processes of a world look into.
pub struct Armed {
    folder: tempfile::TempDir,
}

impl Armed {
    /// A world with such a folder; `more` is added to its host config.
    pub fn world(more: &str) -> (World, Armed) {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        // Daemon and ssh sessions run as users of their own.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("a mode can be set");
        let env = [("PAAS_CRASH_DIR", folder.path().to_str().expect("a temporary folder has a plain name"))];
        (World::start_with(more, &env), Armed { folder })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The next process that comes to `point` dies there.
    pub fn arm(&self, point: &str) {
        std::fs::write(self.file(point), "").expect("a file can be made");
    }

    pub fn was_hit(&self, point: &str) -> bool {
        self.file(&format!("{point}.hit")).exists()
    }

    /// Waits until a process died at `point`.
    #[track_caller]
    pub fn wait_hit(&self, point: &str) {
        eventually(&format!("a process dies at {point}"), Duration::from_secs(30), || self.was_hit(point).then_some(()));
    }
}

impl World {
    /// Waits until a daemon answers; gives when it did.
    #[track_caller]
    pub fn wait_for_daemon(&self) -> Instant {
        let answers = || (self.paas(&["apps", "list", "--json"]).code == 0).then(Instant::now);
        match until(Duration::from_secs(20), answers) {
            Some(since) => since,
            None => panic!("no daemon answers\n{}", self.logs_of_roles()),
        }
    }
}
