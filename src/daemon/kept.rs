//! The proxy's snapshot in memory that its supervisor keeps: what a proxy serves that was killed, while the daemon may be away too.

use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

use crate::handover::systemd;
use crate::wire::proxy::Snapshot;

/// Names in the store begin with this.
pub const NAME: &str = "snapshot";
/// Used in turn: the new one is stored before the old one is let go, so that a kill between the two leaves one of them.
const NAMES: [&str; 2] = ["snapshot-a", "snapshot-b"];

/// Keeps the newest snapshot. It holds keys later, so it is never written to a disk.
pub struct Keeper {
    /// What is in the store now.
    stored: Mutex<Option<String>>,
}

impl Keeper {
    /// Takes what earlier processes kept; gives the newest, and lets the others go.
    pub fn take(kept: Vec<(String, OwnedFd)>) -> (Keeper, Option<Vec<u8>>) {
        let mut newest: Option<(u64, String, Vec<u8>)> = None;
        for (name, fd) in kept {
            let read = read(fd).map_err(|e| e.to_string());
            let found = read.and_then(|bytes| {
                let snapshot: Snapshot = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
                Ok((snapshot.version, name.clone(), bytes))
            });
            let older = match found {
                Ok(found) if newest.as_ref().is_none_or(|(version, ..)| *version < found.0) => newest.replace(found).map(|o| o.1),
                Ok(found) => Some(found.1),
                Err(why) => {
                    tracing::warn!(name, why, "a kept snapshot cannot be read");
                    Some(name)
                }
            };
            if let Some(name) = older {
                systemd::remove_fd(&name);
            }
        }
        let (name, bytes) = newest.map_or((None, None), |(_, name, bytes)| (Some(name), Some(bytes)));
        (Keeper { stored: Mutex::new(name) }, bytes)
    }

    /// A snapshot that cannot be kept is told and served all the same.
    pub fn keep(&self, snapshot: &[u8]) {
        let mut stored = self.stored.lock().expect("no code panics while it holds this lock");
        let name = if stored.as_deref() == Some(NAMES[0]) { NAMES[1] } else { NAMES[0] };
        match in_memory(snapshot) {
            Ok(file) => systemd::store_fd(name, file.as_fd()),
            Err(e) => return tracing::warn!("the snapshot could not be kept for a restart: {e}"),
        }
        if let Some(old) = stored.replace(name.to_owned()) {
            systemd::remove_fd(&old);
        }
    }
}

fn in_memory(bytes: &[u8]) -> std::io::Result<std::fs::File> {
    let fd = nix::sys::memfd::memfd_create(NAME, nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn read(fd: OwnedFd) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::from(fd);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, version: u64) -> (String, OwnedFd) {
        let snapshot = Snapshot {
            version,
            routes: Vec::new(),
            targets: Vec::new(),
            commit_header: false,
            front: crate::wire::proxy::Front::default(),
        };
        let file = in_memory(&serde_json::to_vec(&snapshot).expect("plain data")).expect("memory");
        (name.to_owned(), file.into())
    }

    #[test]
    fn the_newest_of_what_a_killed_proxy_left_is_taken_and_a_broken_one_is_not() {
        let broken = ("snapshot-c".to_owned(), OwnedFd::from(in_memory(b"{").expect("memory")));
        let (keeper, bytes) = Keeper::take(vec![kept("snapshot-a", 7), broken, kept("snapshot-b", 6)]);
        let snapshot: Snapshot = serde_json::from_slice(&bytes.expect("one")).expect("a snapshot");
        assert_eq!(snapshot.version, 7);
        keeper.keep(b"x");
        assert_eq!(keeper.stored.lock().expect("lock").as_deref(), Some("snapshot-b"), "the other name is used next");
        assert!(Keeper::take(Vec::new()).1.is_none());
    }
}
