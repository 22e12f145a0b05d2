//! The file of this program.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::{env, io};

/// The path by which this process was started. An upgrade puts another file there, and that is the one that whoever is told this path is to
/// start; the kernel's own name for a running file that was replaced ends with ` (deleted)`, and can't be started. One that was found through
/// `PATH` is looked up once, at the first call: make that before there can be an upgrade.
pub fn own_path() -> io::Result<PathBuf> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let named = env::args_os().next().map(PathBuf::from).filter(|path| path.is_absolute());
    let path = named.map_or_else(env::current_exe, Ok)?;
    Ok(FOUND.get_or_init(|| path).clone())
}
