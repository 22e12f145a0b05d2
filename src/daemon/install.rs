//! What a start finds or makes on the host: folders, the lock, the copy of the binary that instances run, git's hooks.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::base::{atomic_file, program};
use crate::config::HostConfig;

/// Makes the state folders. Only what must be reached by others can be: sshd's key command reads `ssh/`, git as the login user reaches `apps/`.
pub fn folders(config: &HostConfig) -> anyhow::Result<()> {
    let open = [config.state_dir.clone(), config.apps_dir(), config.hooks_dir(), config.bin_dir(), config.instances_dir()];
    for dir in open {
        make(&dir, 0o711)?;
    }
    for dir in [config.builds_dir(), config.logs_dir(), config.state_dir.join("deploys")] {
        make(&dir, 0o700)?;
    }
    Ok(())
}

fn make(dir: &Path, mode: u32) -> anyhow::Result<()> {
    if !dir.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(mode).create(dir).with_context(|| format!("making `{}`", dir.display()))?;
    }
    Ok(())
}

/// One daemon per state folder: a second one ends here with a plain word.
pub fn lock(config: &HostConfig) -> anyhow::Result<Flock<File>> {
    let path = config.lock_file();
    let opening = || format!("opening `{}`", path.display());
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path).with_context(opening)?;
    // Nobody else may open it (older versions let them): even a reader can hold a lock, and keep us from starting.
    file.set_permissions(PermissionsExt::from_mode(0o600)).with_context(opening)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, e)| anyhow::anyhow!("another daemon holds `{}`: {e}", path.display()))
}

/// Copies this very binary to `bin/<sha256>/paas`, where instances mount it. Kept while an instance uses it; gives the folder.
pub fn init_binary(config: &HostConfig) -> anyhow::Result<PathBuf> {
    let mut bytes = Vec::new();
    // The link names the running binary even when its file was replaced by an upgrade meanwhile.
    File::open("/proc/self/exe").context("opening this binary")?.read_to_end(&mut bytes).context("reading this binary")?;
    let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    let dir = config.bin_dir().join(hash);
    let file = dir.join("paas");
    let whole = fs::metadata(&file).is_ok_and(|m| m.len() == bytes.len() as u64);
    if !whole {
        make(&dir, 0o755)?;
        fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).context("opening the folder to instances")?;
        atomic_file::write(&file, &bytes, 0o755).with_context(|| format!("writing `{}`", file.display()))?;
    }
    Ok(dir)
}

/// Git's hooks are links to this binary.
pub fn hooks(config: &HostConfig) -> anyhow::Result<()> {
    let exe = program::own_path().context("finding this binary")?;
    Ok(crate::git::install_hooks(&config.hooks_dir(), &exe)?)
}

/// A random UUID (RFC 9562 §5.4).
pub fn new_uuid() -> String {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
