//! The context of a build: what of the cleaned tar BuildKit gets, and under which names.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::mpsc::Sender;

use super::ignore::Ignore;
use crate::docker::buildkit::ContextStream;

/// A selection out of a cleaned tar.
#[derive(Debug, Clone, Default)]
pub struct ContextPlan {
    /// None: only `extra` is sent.
    pub tar: Option<PathBuf>,
    /// Only what lies in this folder is sent, without its name.
    pub root: Option<String>,
    /// Put before every name of the tree: keeps our own Dockerfile apart from the app's files.
    pub prefix: String,
    pub ignore: Ignore,
    /// Sent although `ignore` says otherwise, as the docker command does with the Dockerfile.
    pub always: Vec<String>,
    /// Files that are not in the tree.
    pub extra: Vec<(String, Vec<u8>)>,
}

/// Makes the stream. Each time BuildKit asks, the tar is read anew; nothing is held in memory but a few chunks.
pub fn stream(plan: ContextPlan) -> ContextStream {
    let plan = Arc::new(plan);
    Arc::new(move || {
        let plan = plan.clone();
        let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(8);
        tokio::task::spawn_blocking(move || {
            let mut out = ChunkWriter { to: sender, chunk: BytesMut::with_capacity(CHUNK) };
            if let Err(error) = write(&plan, &mut out)
                // The other side hung up: it has its reason.
                && error.kind() != io::ErrorKind::BrokenPipe
            {
                let _ = out.to.blocking_send(Err(error));
            }
        });
        futures_util::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) })
            .boxed()
    })
}

fn write(plan: &ContextPlan, out: &mut ChunkWriter) -> io::Result<()> {
    let mut to = tar::Builder::new(&mut *out);
    for (name, bytes) in &plan.extra {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        to.append_data(&mut header, name, bytes.as_slice())?;
    }
    if let Some(tar) = &plan.tar {
        copy(plan, tar, &mut to)?;
    }
    to.finish()?;
    drop(to);
    out.flush()
}

fn copy(plan: &ContextPlan, tar: &Path, to: &mut tar::Builder<&mut ChunkWriter>) -> io::Result<()> {
    let root = plan.root.as_ref().map(|root| format!("{}/", root.trim_matches('/'))).unwrap_or_default();
    let mut archive = tar::Archive::new(BufReader::with_capacity(256 * 1024, File::open(tar)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Ok(inner) = path.strip_prefix(&root) else { continue };
        let shown = inner.to_string_lossy();
        let shown = shown.trim_end_matches('/');
        if shown.is_empty() || (plan.ignore.excludes(shown) && !plan.always.iter().any(|name| name == shown)) {
            continue;
        }
        let name = Path::new(&plan.prefix).join(inner);
        let mut header = entry.header().clone();
        match entry.header().entry_type() {
            tar::EntryType::Symlink => {
                let target = entry.link_name()?.map(|l| l.into_owned()).unwrap_or_default();
                to.append_link(&mut header, name, target)?;
            }
            _ => to.append_data(&mut header, name, &mut entry)?,
        }
    }
    Ok(())
}

/// BuildKit takes messages of up to 16 MiB; large chunks only cost memory.
const CHUNK: usize = 128 * 1024;

struct ChunkWriter {
    to: Sender<io::Result<Bytes>>,
    chunk: BytesMut,
}

impl Write for ChunkWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(buf);
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.chunk, BytesMut::with_capacity(CHUNK)).freeze();
        self.to.blocking_send(Ok(full)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
