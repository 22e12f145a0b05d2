//! The one hook that all repositories share.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::GitError;

/// Makes `dir` hold exactly one hook: `proc-receive`, a link to this program, which looks at the name it was called by. Sessions point git at
/// the folder by `core.hooksPath`, so that repositories hold no code. Doing it again changes the link to a new `exe` without a gap.
pub fn install_hooks(dir: &Path, exe: &Path) -> Result<(), GitError> {
    let problem = |source| GitError::Folder { act: "writing hooks in", path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(problem)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(problem)?;
    for entry in fs::read_dir(dir).map_err(problem)? {
        let entry = entry.map_err(problem)?;
        if entry.file_name() != "proc-receive" {
            fs::remove_file(entry.path()).map_err(problem)?;
        }
    }
    let hook = dir.join("proc-receive");
    if fs::read_link(&hook).is_ok_and(|now| now == exe) {
        return Ok(());
    }
    let beside = dir.join(format!(".proc-receive.new-{}", std::process::id()));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(problem(error)),
        _ => {}
    }
    symlink(exe, &beside).and_then(|()| fs::rename(&beside, &hook)).map_err(problem)?;
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(problem)
}
