//! Files that are whole or absent after a crash: write beside, fsync, rename, fsync the folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Puts `bytes` at `path` with `mode`, replacing what was there. When this returns Ok the new content survives a power cut;
/// when it returns an error the old content is untouched.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file path without a folder"))?;
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file path without a name"))?;
    let beside = folder.join(format!(".{}.new-{}", name.to_string_lossy(), std::process::id()));
    let written = write_beside(&beside, bytes, mode).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&beside);
    }
    written?;
    File::open(folder)?.sync_all()
}

/// The same, unless the file says this already: a start on a full disk must not fail for what is there.
pub fn write_if_other(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    if fs::read(path).is_ok_and(|now| now == bytes) {
        return Ok(());
    }
    write(path, bytes, mode)
}

fn write_beside(beside: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let _ = fs::remove_file(beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(beside)?;
    file.write_all(bytes)?;
    // The umask may have taken bits away that the caller asked for.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("f");
        write(&path, b"one", 0o600).expect("first write");
        write(&path, b"two", 0o644).expect("second write");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).expect("stat").permissions());
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "nothing beside it");
    }
}
