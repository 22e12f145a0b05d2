//! What takes disk space, and what may begin on a disk that has little left.
//!
//! Owns: looking at the filesystems that paas writes to and at what lies there. Uses: the rules of `model::disk`, docker, config.
//! Never: removes anything. Invariant: a disk that cannot be looked at refuses nothing.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::base::filesystem::{self, Filesystem};
use crate::config::HostConfig;
use crate::docker::Docker;
use crate::model::disk::{self, Area, Full, STORE_FLOOR, Space, Use};
use crate::store::Store;

mod folder_size;
mod usage;

/// A refusal waits this long to find out what uses the disk (without it, it says less), and for an engine that does not answer.
const LOOK_LIMIT: Duration = Duration::from_secs(3);
/// So many uses stand in a refusal.
const SHOWN_USES: usize = 4;

/// The disks of one installation. Cheap to clone.
#[derive(Clone)]
pub struct Disk {
    config: Arc<HostConfig>,
    docker: Docker,
    store: Store,
    /// Where the engine keeps its files, once it has said so: it may be away when it matters.
    root: Arc<Mutex<Option<PathBuf>>>,
}

impl Disk {
    pub fn new(config: Arc<HostConfig>, docker: Docker, store: Store) -> Self {
        Self { config, docker, store, root: Arc::default() }
    }

    /// The filesystems that hold something of paas, each once. Cancel-safe: yes, reads only.
    pub async fn spaces(&self) -> Vec<Space> {
        let mut places = vec![(Area::State, self.config.state_dir.clone()), (Area::Logs, self.config.logs_dir())];
        places.extend(self.docker_root().await.map(|root| (Area::Docker, root)));
        let mut found: Vec<(u64, Space)> = Vec::new();
        for (area, path) in places {
            // An engine elsewhere, or a folder that we may not even look at: nothing is known of it.
            let Ok(fs) = Filesystem::of(&path) else { continue };
            match found.iter_mut().find(|(device, _)| *device == fs.device) {
                Some((_, space)) => space.holds.push(area),
                None => found.push((fs.device, self.space(area, path, fs))),
            }
        }
        found.into_iter().map(|(_, space)| space).collect()
    }

    fn space(&self, area: Area, path: PathBuf, fs: Filesystem) -> Space {
        let reserve = disk::reserve(self.config.limits.disk_reserve, fs.total);
        Space { path, holds: vec![area], total: fs.total, free: fs.free, reserve }
    }

    /// Refuses what would bring `needed` bytes to the filesystem of `area` if they are not there beside the reserve. `what` is "a push".
    /// Where the logs lie is never a reason: lines are dropped and counted.
    pub async fn refuse(&self, what: &'static str, area: Area, needed: u64) -> Result<(), Full> {
        let spaces = self.spaces().await;
        let Some(space) = spaces.into_iter().find(|space| space.holds.contains(&area) && !space.has_room(needed)) else {
            return Ok(());
        };
        let uses = self.largest_uses(&space).await;
        Err(Full { what, space, needed, uses })
    }

    /// What the filesystem of `area` has free now and what uses it, in one line; None if it can't be looked at. Cancel-safe: yes, reads only.
    pub async fn tell(&self, area: Area) -> Option<String> {
        let space = self.spaces().await.into_iter().find(|space| space.holds.contains(&area))?;
        let uses = self.largest_uses(&space).await;
        Some(format!("{} now{}", space.figures(), disk::used_by(&uses)))
    }

    async fn largest_uses(&self, space: &Space) -> Vec<(String, u64)> {
        let uses = tokio::time::timeout(LOOK_LIMIT, self.uses(space)).await.unwrap_or_default();
        let mut uses: Vec<(String, u64)> = uses.iter().filter_map(|u| Some((u.what.to_owned(), u.bytes?))).collect();
        uses.retain(|(_, bytes)| *bytes > 0);
        uses.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        uses.truncate(SHOWN_USES);
        uses
    }

    /// What may be sent to the state folder before its reserve is touched, bytes.
    pub fn room_for_state(&self) -> u64 {
        let fs = Filesystem::of(&self.config.state_dir);
        fs.map_or(u64::MAX, |fs| self.space(Area::State, self.config.state_dir.clone(), fs).above_reserve())
    }

    /// Whether the store can commit: with less it would stop the daemon in the middle of something that can as well wait.
    pub fn store_has_room(&self) -> bool {
        filesystem::has(&self.config.state_dir, STORE_FLOOR)
    }

    /// What lies on a filesystem, everything else on it last. Cancel-safe: yes, reads only.
    pub async fn uses(&self, space: &Space) -> Vec<Use> {
        let mut all = Vec::new();
        for area in &space.holds {
            match area {
                Area::State => all.extend(self.state_uses().await),
                Area::Logs => all.extend(self.log_uses().await),
                Area::Docker => all.extend(self.docker_uses().await),
            }
        }
        all
    }

    async fn docker_root(&self) -> Option<PathBuf> {
        let known = self.root.lock().expect("no code panics while it holds this lock").clone();
        if known.is_some() {
            return known;
        }
        let root = tokio::time::timeout(LOOK_LIMIT, self.docker.engine()).await.ok()?.ok()?.root_dir;
        *self.root.lock().expect("no code panics while it holds this lock") = Some(root.clone());
        Some(root)
    }
}
