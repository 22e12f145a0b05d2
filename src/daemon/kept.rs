//! The proxy's snapshot in memory that its supervisor keeps: what a proxy serves that was killed, while the daemon may be away too.

use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard};

use crate::handover::systemd;
use crate::wire::proxy::Snapshot;

/// Names in the store begin with this.
pub const NAME: &str = "snapshot";
/// Used in turn: the new one is stored before the old one is let go, so that a kill between the two leaves one of them.
const NAMES: [&str; 2] = ["snapshot-a", "snapshot-b"];

/// Keeps the newest snapshot. It holds keys later, so it is never written to a disk.
pub struct Keeper(Mutex<Inner>);

struct Inner {
    /// What is in the store now.
    stored: Option<(String, OwnedFd)>,
    /// The store is left as it is; the newest snapshot since then waits here. While a process gives its place away, two of them know what is in
    /// the store, and only one may change it: before the change of place neither does, afterwards the new one.
    held: Option<Option<Vec<u8>>>,
}

impl Keeper {
    /// Takes what earlier processes kept; gives the newest, and lets the others go. `held`: see [`Keeper::hold`].
    pub fn take(kept: Vec<(String, OwnedFd)>, held: bool) -> (Keeper, Option<Vec<u8>>) {
        let mut newest: Option<(u64, (String, OwnedFd), Vec<u8>)> = None;
        for (name, fd) in kept {
            let read = read(&fd).map_err(|e| e.to_string());
            let found = read.and_then(|bytes| {
                let snapshot: Snapshot = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
                Ok((snapshot.version, bytes))
            });
            let older = match found {
                Ok((version, bytes)) if newest.as_ref().is_none_or(|(newest, ..)| *newest < version) => {
                    newest.replace((version, (name, fd), bytes)).map(|older| older.1.0)
                }
                Ok(_) => Some(name),
                Err(why) => {
                    tracing::warn!(name, why, "a kept snapshot cannot be read");
                    Some(name)
                }
            };
            if let Some(name) = older.filter(|_| !held) {
                systemd::remove_fd(&name);
            }
        }
        let (stored, bytes) = newest.map_or((None, None), |(_, stored, bytes)| (Some(stored), Some(bytes)));
        (Keeper(Mutex::new(Inner { stored, held: held.then_some(None) })), bytes)
    }

    /// Leaves the store as it is from now on, and gives what is in it.
    pub fn hold(&self) -> io::Result<Option<(String, OwnedFd)>> {
        let mut inner = self.lock();
        inner.held.get_or_insert_default();
        inner.stored.as_ref().map(|(name, fd)| Ok((name.clone(), fd.try_clone()?))).transpose()
    }

    /// The store is this process's: what waited is kept.
    pub fn release(&self) {
        let mut inner = self.lock();
        if let Some(Some(waited)) = inner.held.take() {
            inner.store(&waited);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no code panics while it holds this lock")
    }

    /// A snapshot that cannot be kept is told and served all the same.
    pub fn keep(&self, snapshot: &[u8]) {
        let mut inner = self.lock();
        match &mut inner.held {
            Some(waiting) => *waiting = Some(snapshot.to_vec()),
            None => inner.store(snapshot),
        }
    }
}

impl Inner {
    fn store(&mut self, snapshot: &[u8]) {
        let name = if self.stored.as_ref().is_some_and(|(name, _)| name == NAMES[0]) { NAMES[1] } else { NAMES[0] };
        let file = match in_memory(snapshot) {
            Ok(file) => OwnedFd::from(file),
            Err(e) => return tracing::warn!("the snapshot could not be kept for a restart: {e}"),
        };
        systemd::store_fd(name, file.as_fd());
        if let Some((old, _)) = self.stored.replace((name.to_owned(), file)) {
            systemd::remove_fd(&old);
        }
    }
}

fn in_memory(bytes: &[u8]) -> io::Result<std::fs::File> {
    let fd = nix::sys::memfd::memfd_create(NAME, nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn read(fd: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = std::fs::File::from(fd.try_clone()?);
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(keeper: &Keeper) -> Option<String> {
        keeper.lock().stored.as_ref().map(|(name, _)| name.clone())
    }

    #[test]
    fn while_a_place_is_given_away_the_store_stays_and_the_newest_waits() {
        let (old, _) = Keeper::take(vec![kept("snapshot-a", 7)], false);
        let given = old.hold().expect("a duplicate").expect("one is stored");
        assert_eq!(given.0, "snapshot-a");
        let (new, bytes) = Keeper::take(vec![given], true);
        assert!(bytes.is_some());
        for keeper in [&old, &new] {
            keeper.keep(b"8");
            keeper.keep(b"9");
            assert_eq!(stored(keeper).as_deref(), Some("snapshot-a"), "two processes must not change the store");
        }
        new.release();
        assert_eq!((stored(&new).as_deref(), stored(&old).as_deref()), (Some("snapshot-b"), Some("snapshot-a")));
        assert_eq!(read(&new.lock().stored.as_ref().expect("stored").1).expect("memory"), b"9", "the newest alone was kept");
        // It did not come to it: the old one goes on keeping.
        old.release();
        old.keep(b"10");
        assert_eq!(stored(&old).as_deref(), Some("snapshot-a"));
    }

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
        let (keeper, bytes) = Keeper::take(vec![kept("snapshot-a", 7), broken, kept("snapshot-b", 6)], false);
        let snapshot: Snapshot = serde_json::from_slice(&bytes.expect("one")).expect("a snapshot");
        assert_eq!(snapshot.version, 7);
        keeper.keep(b"x");
        assert_eq!(stored(&keeper).as_deref(), Some("snapshot-b"), "the other name is used next");
        assert!(Keeper::take(Vec::new(), false).1.is_none());
    }
}
