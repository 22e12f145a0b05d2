//! Folders and the files of the roles' output.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::{Folder, UpError, exec};

/// A log is moved aside when it is larger than this.
const ROTATE_AT: u64 = 16 << 20;
/// As much of a log's end as is looked at for its last lines.
const TAIL: u64 = 16 << 10;

/// Makes a folder if it is missing, with its owner and mode; folders above it get 0755.
pub(super) fn make_folder(folder: &Folder) -> Result<(), UpError> {
    let path = &folder.path;
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(above).map_err(UpError::path("making", above))?;
    }
    DirBuilder::new().mode(0o700).create(path).map_err(UpError::path("making", path))?;
    if let Some(owner) = &folder.owner {
        let user = exec::find_user(owner).map_err(UpError::path("giving away", path))?;
        let changed = chown(path, Some(user.uid), Some(user.gid));
        changed.map_err(UpError::path("giving away", path))?;
    }
    // By its own call, as the umask cuts what `create` is told.
    fs::set_permissions(path, Permissions::from_mode(folder.mode)).map_err(UpError::path("setting the mode of", path))
}

/// Removes a file; one that is not there is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(super) fn log_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}

/// Opens `<folder>/<name>.log` for append; what was in it is moved to `.log.1` first if it is too much.
pub(super) fn open_log(folder: &Path, name: &str) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let path = log_path(folder, name);
    if fs::metadata(&path).is_ok_and(|found| found.len() > ROTATE_AT) {
        fs::rename(&path, folder.join(format!("{name}.log.1")))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Moves what is too much aside, of a log that may be open: who writes to it goes on at its new end. Lines that come in this moment are lost.
pub(super) fn cut_log(folder: &Path, name: &str) -> io::Result<()> {
    let path = log_path(folder, name);
    if fs::metadata(&path).is_ok_and(|found| found.len() > ROTATE_AT) {
        // A whole one is worth less than room: these folders mostly lie in memory.
        let copied = fs::copy(&path, folder.join(format!("{name}.log.1")));
        OpenOptions::new().write(true).open(&path)?.set_len(0)?;
        copied?;
    }
    Ok(())
}

/// The last lines of a role's log, at most `count`, or a word on why there are none.
pub(super) fn last_lines(folder: &Path, name: &str, count: usize) -> String {
    let path = log_path(folder, name);
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(&path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.is_empty() => format!("(`{}` is empty)", path.display()),
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(count)..].join("\n")
        }
        Err(error) => format!("(`{}`: {error})", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_that_is_open_is_cut_and_written_on() {
        let folder = tempfile::tempdir().expect("temp dir");
        let mut log = open_log(folder.path(), "daemon").expect("opened");
        let length = || fs::metadata(log_path(folder.path(), "daemon")).expect("there").len();
        log.write_all(&vec![b'x'; 17 << 20]).expect("written");
        cut_log(folder.path(), "daemon").expect("cut");
        assert_eq!(length(), 0);
        log.write_all(b"more\n").expect("written");
        cut_log(folder.path(), "daemon").expect("nothing to do");
        assert_eq!(length(), 5);
        let aside = fs::metadata(folder.path().join("daemon.log.1")).expect("moved aside");
        assert_eq!(aside.len(), 17 << 20);
    }
}
