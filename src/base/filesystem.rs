//! How much room a filesystem has.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One filesystem at one moment. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filesystem {
    /// The kernel's number of it: equal for two paths on one filesystem.
    pub device: u64,
    pub total: u64,
    /// What a process that is not root may still write: blocks that the filesystem keeps for root are not counted.
    pub free: u64,
}

impl Filesystem {
    /// The filesystem that holds `path`, which must exist and be reachable. Blocking for as long as a stat is.
    pub fn of(path: &Path) -> io::Result<Self> {
        let device = std::fs::metadata(path)?.dev();
        let found = nix::sys::statvfs::statvfs(path)?;
        let block = found.fragment_size();
        Ok(Self { device, total: found.blocks().saturating_mul(block), free: found.blocks_available().saturating_mul(block) })
    }
}

/// Whether at least `bytes` are free where `path` lies. What cannot be looked at counts as enough.
pub fn has(path: &Path, bytes: u64) -> bool {
    Filesystem::of(path).map_or(true, |fs| fs.free >= bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_folders_of_one_filesystem_have_one_number_and_less_is_free_than_there_is() {
        let dir = tempfile::tempdir().expect("temp dir");
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).expect("a folder");
        let (a, b) = (Filesystem::of(dir.path()).expect("read"), Filesystem::of(&inner).expect("read"));
        assert_eq!(a.device, b.device);
        assert!(a.total > 0 && a.free <= a.total, "{a:?}");
        assert_ne!(Filesystem::of(Path::new("/proc")).expect("read").device, a.device);
        assert!(Filesystem::of(&inner.join("absent")).is_err());
        assert!(has(&inner, a.free / 2) && !has(&inner, u64::MAX) && has(&inner.join("absent"), u64::MAX));
    }
}
