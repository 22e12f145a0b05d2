//! Crash files are taken out of an instance that died: found by name in what its container wrote, and read by a strict reader.
//!
//! What the container holds is the app's to decide, so nothing of it is believed: one plain file is taken, or nothing; no link is followed,
//! no name of the archive is used, sizes are counted, and what is kept is bounded in count and bytes.

use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use tar::EntryType;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio_util::io::StreamReader;

use crate::base::clock::UnixMillis;
use crate::docker::DockerError;
use crate::instances::lifecycle::Instances;
use crate::model::crash::{NewCrashFile, surplus};
use crate::model::instance::Instance;
use crate::names::{AppName, CrashId};
use crate::store::StoreError;

/// Files that one end may leave.
const MOST_AT_ONCE: usize = 5;
/// Files that are looked at after one end: a container that was started again still has those of earlier ends.
const MOST_LOOKED_AT: usize = 50;
/// Files that are kept per app.
const MOST_KEPT: usize = 10;
/// One block of a tar.
const BLOCK: usize = 512;
/// Extension headers (long names, times) before the file's own.
const MOST_EXTENSIONS: usize = 8;
const LONGEST_EXTENSION: u64 = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum CrashFileError {
    #[error(transparent)]
    Docker(#[from] DockerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("it {0}")]
    Refused(String),
    #[error("{act} `{}`: {source}", path.display())]
    Io { act: &'static str, path: PathBuf, source: io::Error },
}

impl Instances {
    /// Keeps the files of the instance that match `patterns` and are not kept yet. Gives their paths in the instance.
    pub async fn keep_crash_files(&self, row: &Instance, patterns: &[String]) -> Result<Vec<String>, CrashFileError> {
        let wanted = matcher(patterns);
        if wanted.is_empty() || self.config.limits.crash_bytes == 0 {
            return Ok(Vec::new());
        }
        let changed = self.docker.changed_paths(&self.container_name(row)).await?;
        let found = changed.into_iter().filter(|path| matches(&wanted, path)).take(MOST_LOOKED_AT);
        let since = self.store.crash_file_newest(row.id).await?;
        let mut kept = Vec::new();
        for path in found.collect::<Vec<_>>() {
            if kept.len() == MOST_AT_ONCE {
                break;
            }
            match self.keep_crash_file(row, &path, since).await {
                Ok(true) => kept.push(path),
                Ok(false) => {}
                Err(e) => {
                    tracing::warn!(app = %row.app, instance = %row.id, "a crash file of {} was not kept: {path:?}: {e}", row.label())
                }
            }
        }
        if !kept.is_empty() {
            self.drop_surplus(row).await?;
        }
        Ok(kept)
    }

    /// False: it is kept already, or is older than what is: one that was dropped to make room does not come back.
    async fn keep_crash_file(&self, row: &Instance, path: &str, since: Option<i64>) -> Result<bool, CrashFileError> {
        let archive = self.docker.archive(&self.container_name(row), path).await?;
        let mut from = StreamReader::new(Box::pin(archive));
        let found = read_head(&mut from).await.map_err(|why| CrashFileError::Refused(why.to_string()))?;
        if since.is_some_and(|since| found.modified < since) {
            return Ok(false);
        }
        let most = self.config.limits.crash_bytes;
        if found.bytes > most {
            return Err(CrashFileError::Refused(format!("has {} bytes; {most} may be kept (limits.crash_bytes)", found.bytes)));
        }
        let new = NewCrashFile {
            at: UnixMillis::now(),
            instance: row.id,
            process: row.process.clone(),
            index: row.index,
            release: row.release,
            path: path.to_owned(),
            modified: found.modified,
            bytes: found.bytes,
        };
        let id = self.store.crash_file_add(row.app_id, &new).await?;
        let to = self.crash_file_path(&row.app, id);
        // One with a row is kept already, unless the daemon was killed between the row and the file.
        if to.exists() {
            return Ok(false);
        }
        if let Err(e) = write(&mut from, found.bytes, &to).await {
            self.forget_crash_file(row, id).await?;
            return Err(CrashFileError::Io { act: "writing", path: to, source: e });
        }
        Ok(true)
    }

    pub fn crash_file_path(&self, app: &AppName, id: CrashId) -> PathBuf {
        self.config.crashes_dir(app).join(id.to_string())
    }

    async fn drop_surplus(&self, row: &Instance) -> Result<(), CrashFileError> {
        let kept = self.store.crash_files(row.app_id).await?;
        for id in surplus(&kept, MOST_KEPT, self.config.limits.crash_bytes) {
            self.forget_crash_file(row, id).await?;
        }
        Ok(())
    }

    async fn forget_crash_file(&self, row: &Instance, id: CrashId) -> Result<(), CrashFileError> {
        let path = self.crash_file_path(&row.app, id);
        match tokio::fs::remove_file(&path).await {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(CrashFileError::Io { act: "removing", path, source: e });
            }
            _ => {}
        }
        Ok(self.store.crash_file_forget(row.app_id, id).await?)
    }

    /// All crash files of an app that goes; none is fine.
    pub async fn remove_crash_files(&self, app: &AppName) -> Result<(), io::Error> {
        match tokio::fs::remove_dir_all(self.config.crashes_dir(app)).await {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// What the archive says of its one file.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    bytes: u64,
    /// Seconds since 1970.
    modified: i64,
}

/// Reads up to the bytes of the first entry, which must be a plain file.
async fn read_head(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Found> {
    let refused = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    for _ in 0..MOST_EXTENSIONS {
        let mut block = [0; BLOCK];
        from.read_exact(&mut block).await?;
        let header = tar::Header::from_byte_slice(&block);
        let sum: u32 =
            block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) }).sum();
        if header.cksum()? != sum {
            return Err(refused("is in an archive that makes no sense"));
        }
        let size = header.entry_size()?;
        match header.entry_type() {
            EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName | EntryType::GNULongLink => {
                if size > LONGEST_EXTENSION {
                    return Err(refused("has a header that is too long"));
                }
                let padded = size.div_ceil(BLOCK as u64) * BLOCK as u64;
                tokio::io::copy(&mut (&mut *from).take(padded), &mut tokio::io::sink()).await?;
            }
            EntryType::Regular => {
                let modified = i64::try_from(header.mtime()?).unwrap_or(i64::MAX);
                return Ok(Found { bytes: size, modified });
            }
            _ => return Err(refused("is no plain file")),
        }
    }
    Err(refused("has too many headers"))
}

/// Writes exactly so many bytes under a name of ours, readable by us alone, whole or not at all.
async fn write(from: &mut (impl AsyncRead + Unpin), bytes: u64, to: &Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    tokio::fs::create_dir_all(folder).await?;
    let part = to.with_extension("part");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part).await?;
    let copied = tokio::io::copy(&mut from.take(bytes), &mut file).await;
    let done = match copied {
        Ok(n) if n == bytes => file.flush().await,
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(e) => Err(e),
    };
    if let Err(e) = done {
        let _ = tokio::fs::remove_file(&part).await;
        return Err(e);
    }
    tokio::fs::rename(&part, to).await
}

/// The manifest's patterns, which its own check has accepted; one that globset refuses matches nothing.
fn matcher(patterns: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        if let Ok(glob) = GlobBuilder::new(pattern).literal_separator(true).build() {
            set.add(glob);
        }
    }
    set.build().unwrap_or_else(|_| GlobSet::empty())
}

/// By its name alone, or by its whole path.
fn matches(wanted: &GlobSet, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let clean = !path.chars().any(char::is_control);
    clean && path.starts_with('/') && !path.starts_with("/.paas/") && (wanted.is_match(name) || wanted.is_match(path))
}

#[cfg(test)]
mod tests;
