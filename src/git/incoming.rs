//! What pushes leave that were killed in the middle.
//!
//! git receives into a folder `objects/tmp_objdir-…` that only its own user, the login user, can open: what a killed git leaves there the daemon
//! can't remove. So the session of each push does it, as that user, before its git begins.

use std::fs::{self, File};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::config::HostConfig;

/// How git names its folder of incoming objects (tmp-objdir.c).
const FOLDER: &str = "tmp_objdir-";

/// While a session holds it, no other one removes what its git receives.
pub struct Receiving {
    _lock: Option<Flock<File>>,
}

/// To be called as the login user before its git receives into `repo`, and to be held until that git has ended. First removes what killed pushes
/// left there, and in the repositories of apps that were destroyed. What can't be removed or locked is no reason to refuse a push.
pub fn receive(config: &HostConfig, repo: &Path) -> Receiving {
    for removed in fs::read_dir(config.removed_repos_dir()).into_iter().flatten().flatten() {
        let _ = sweep(&removed.path());
    }
    let lock = match sweep(repo) {
        // Another push may sweep before the lock is shared: then it finds nothing of ours, as our git has not begun.
        Ok(alone) => alone.relock(FlockArg::LockShared).ok().map(|()| alone),
        // Another push is under way: what is to be removed is the next one's.
        Err(Some(objects)) => Flock::lock(objects, FlockArg::LockShared).ok(),
        Err(None) => None,
    };
    Receiving { _lock: lock }
}

/// Removes what killed pushes left in a repository, unless a push may be receiving there. Gives the lock under which it did, else the folder of objects
/// if it is another one's. A session that was killed holds no lock: its git, if that runs on, has lost its client.
fn sweep(repo: &Path) -> Result<Flock<File>, Option<File>> {
    let path = repo.join("objects");
    let objects = File::open(&path).map_err(|_| None)?;
    let alone = Flock::lock(objects, FlockArg::LockExclusiveNonblock).map_err(|(objects, errno)| match errno {
        Errno::EWOULDBLOCK => Some(objects),
        _ => None,
    })?;
    for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(FOLDER.as_bytes()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(alone)
}
