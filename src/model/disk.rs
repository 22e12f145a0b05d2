//! The rules of disk space: what is kept free, and what may begin on a disk that has little left.
//!
//! Below the *reserve* nothing begins that brings bytes (a push, a build, an upload); what runs, and what a person does to save space, goes on.
//! The store needs the reserve to note how running deploys end. Below [`STORE_FLOOR`] it would fail to, so nothing is asked of it any more.

use std::path::PathBuf;

use crate::base::size::bytes;

/// The share of a filesystem that is kept free, and the least of it.
const RESERVE_SHARE: u64 = 20;
const RESERVE_LEAST: u64 = 1 << 30;

/// With less free, a commit of the store could fail in the middle: its log grows by this much before it is folded into the database
/// (SQLite's 1000 pages of 4 KiB, at most a quarter of them in one of our transactions).
pub const STORE_FLOOR: u64 = 1 << 20;

/// What lies on a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// Database, repositories, sources of builds, what instances mount.
    State,
    Logs,
    /// Images, build cache and containers of the Docker engine.
    Docker,
}

impl Area {
    pub fn as_str(self) -> &'static str {
        match self {
            Area::State => "state",
            Area::Logs => "logs",
            Area::Docker => "docker",
        }
    }
}

/// A filesystem with what paas keeps on it. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// The folder by which it was found.
    pub path: PathBuf,
    pub holds: Vec<Area>,
    pub total: u64,
    pub free: u64,
    pub reserve: u64,
}

/// Something that takes space. None: it could not be found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub area: Area,
    pub what: &'static str,
    pub bytes: Option<u64>,
}

/// Why something may not begin. Its text is for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Full {
    /// "a push"
    pub what: &'static str,
    pub space: Space,
    /// Bytes beside the reserve.
    pub needed: u64,
    /// The largest first.
    pub uses: Vec<(String, u64)>,
}

/// Bytes to keep free of `total`: as configured, else a twentieth and at least a gibibyte.
pub fn reserve(configured: Option<u64>, total: u64) -> u64 {
    configured.unwrap_or_else(|| (total / RESERVE_SHARE).max(RESERVE_LEAST))
}

impl Space {
    pub fn is_below_reserve(&self) -> bool {
        self.free < self.reserve
    }

    /// What may still be written before the reserve is touched.
    pub fn above_reserve(&self) -> u64 {
        self.free.saturating_sub(self.reserve)
    }

    /// Whether `needed` bytes can be written without touching the reserve.
    pub fn has_room(&self, needed: u64) -> bool {
        self.free >= self.reserve.saturating_add(needed)
    }

    /// `` `/var/lib/docker` (docker) has 3 GiB free of 80 GiB ``
    pub fn figures(&self) -> String {
        format!("`{}` ({}) has {} free of {}", self.path.display(), self.names(), bytes(self.free), bytes(self.total))
    }

    /// `state and docker`
    pub fn names(&self) -> String {
        self.holds.iter().map(|a| a.as_str()).collect::<Vec<_>>().join(" and ")
    }
}

/// `; it is used by: images 3 GiB, build cache 1 GiB`, or nothing where nothing is known.
pub fn used_by(uses: &[(String, u64)]) -> String {
    let uses: Vec<String> = uses.iter().map(|(what, n)| format!("{what} {}", bytes(*n))).collect();
    if uses.is_empty() { String::new() } else { format!("; it is used by: {}", uses.join(", ")) }
}

impl Full {
    pub const HINT: &'static str = "free some space on the server, then try again: `paas disk` shows what uses it";

    fn text(&self) -> String {
        let Space { reserve, .. } = &self.space;
        let mut text =
            format!("the disk is too full for {}: {}, and {} must stay free", self.what, self.space.figures(), bytes(*reserve));
        if self.needed > 0 {
            text.push_str(&format!(" beside the {} that it needs", bytes(self.needed)));
        }
        text.push_str(&used_by(&self.uses));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(total: u64, free: u64, reserve: u64) -> Space {
        Space { path: PathBuf::from("/srv"), holds: vec![Area::State, Area::Docker], total, free, reserve }
    }

    #[test]
    fn the_reserve_is_a_twentieth_and_at_least_a_gibibyte_unless_it_is_configured() {
        const GIB: u64 = 1 << 30;
        assert_eq!(reserve(None, 8 * GIB), GIB);
        assert_eq!(reserve(None, 100 * GIB), 5 * GIB);
        assert_eq!(reserve(Some(7), 100 * GIB), 7);
    }

    #[test]
    fn what_is_needed_comes_beside_the_reserve() {
        let s = space(100, 30, 20);
        assert!(s.has_room(0) && s.has_room(10) && !s.has_room(11) && !s.is_below_reserve());
        assert_eq!(s.above_reserve(), 10);
        let s = space(100, 19, 20);
        assert!(!s.has_room(0) && s.is_below_reserve());
        assert_eq!(s.above_reserve(), 0);
    }

    #[test]
    fn a_refusal_says_what_is_free_what_is_needed_and_what_uses_the_disk() {
        const MIB: u64 = 1 << 20;
        let uses = vec![("images".to_owned(), 40 * MIB), ("logs".to_owned(), 2 * MIB)];
        let full = Full { what: "a build", space: space(100 * MIB, 3 * MIB, 20 * MIB), needed: 5 * MIB, uses };
        assert_eq!(
            full.to_string(),
            "the disk is too full for a build: `/srv` (state and docker) has 3 MiB free of 100 MiB, and 20 MiB must stay free beside \
             the 5 MiB that it needs; it is used by: images 40 MiB, logs 2 MiB"
        );
    }
}
