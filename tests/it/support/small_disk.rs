//! Real filesystems that are small, mounted for one test: ext4 in a file, or memory where only its size matters.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use paas::model::disk::STORE_FLOOR;

use super::cli::run;

/// Unmounts when it is dropped, also when its test fails.
pub struct SmallDisk {
    at: PathBuf,
    image: Option<PathBuf>,
}

impl SmallDisk {
    /// An ext4 filesystem of `mib` MiB at the folder `at`, which becomes its top with the mode and owner that it has.
    pub fn ext4(at: &Path, mib: u64) -> SmallDisk {
        let image = at.with_extension("disk");
        let file = std::fs::File::create(&image).expect("an image can be made");
        file.set_len(mib << 20).expect("an image can be sparse");
        let mut make = Command::new("mkfs.ext4");
        run(make.args(["-q", "-F", "-m", "0"]).arg(&image), b"", Duration::from_secs(60)).ok();
        let disk = SmallDisk { at: at.to_owned(), image: Some(image.clone()) };
        disk.mount(&["-o", "loop", &image.display().to_string()]);
        disk
    }

    /// A filesystem in memory that says it has `bytes`.
    pub fn in_memory(at: &Path, bytes: u64) -> SmallDisk {
        let disk = SmallDisk { at: at.to_owned(), image: None };
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]);
        disk
    }

    fn mount(&self, args: &[&str]) {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let before = std::fs::metadata(&self.at).expect("the folder is there");
        run(Command::new("mount").args(args).arg(&self.at), b"", Duration::from_secs(30)).ok();
        std::os::unix::fs::chown(&self.at, Some(before.uid()), Some(before.gid())).expect("root may give it away");
        std::fs::set_permissions(&self.at, std::fs::Permissions::from_mode(before.mode())).expect("root may set its mode");
    }

    pub fn free(&self) -> u64 {
        free(&self.at)
    }

    /// Fills it until at most `bytes` are free. To the last byte in two steps: a commit for which there was room has a second to be written,
    /// as on any disk that takes longer than one commit to fill.
    pub fn leave(&self, bytes: u64) {
        if bytes == 0 {
            self.fill(STORE_FLOOR / 2);
            std::thread::sleep(Duration::from_secs(1));
        }
        self.fill(bytes);
    }

    fn fill(&self, bytes: u64) {
        let filler = self.at.join("filler");
        let mut size = std::fs::metadata(&filler).map_or(0, |meta| meta.len());
        // The filesystem takes some for its own lists: what is asked for shrinks until it fits.
        let mut step = self.free().saturating_sub(bytes);
        while step > 0 && self.free() > bytes {
            let wanted = (size + step).to_string();
            match run(Command::new("fallocate").args(["-l", &wanted]).arg(&filler), b"", Duration::from_secs(30)).code {
                0 => (size, step) = (size + step, self.free().saturating_sub(bytes).min(step)),
                _ => step /= 2,
            }
        }
        // What does not fit a whole extent.
        if bytes == 0 {
            let rest = format!("dd if=/dev/zero of={}/rest bs=1k 2>/dev/null; sync -f {}", self.at.display(), self.at.display());
            run(Command::new("sh").args(["-c", &rest]), b"", Duration::from_secs(30));
        }
    }

    /// Gives back what `leave` took.
    pub fn empty(&self) {
        for name in ["filler", "rest"] {
            drop(std::fs::remove_file(self.at.join(name)));
        }
        // A journal gives blocks back when it commits.
        run(Command::new("sync").arg("-f").arg(&self.at), b"", Duration::from_secs(30));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut done = run(Command::new("umount").arg(&self.at), b"", Duration::from_secs(30));
        if done.code != 0 {
            done = run(Command::new("umount").arg("-l").arg(&self.at), b"", Duration::from_secs(30));
        }
        if let Some(image) = &self.image {
            drop(std::fs::remove_file(image));
        }
        assert!(done.code == 0 || std::thread::panicking(), "a small disk stays mounted:\n{done}");
    }
}

/// Bytes that are free where `path` lies.
pub fn free(path: &Path) -> u64 {
    let found = nix::sys::statvfs::statvfs(path).expect("a filesystem can be looked at");
    found.blocks_available() * found.fragment_size()
}
