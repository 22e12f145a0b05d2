//! Receiving a source tree: untrusted tar bytes in, one cleaned tar out.
//!
//! Owns: what an archive may hold (`path`), the reader that believes nothing (`strict`), the bytes' way in (`input`) and out
//! (`output`), looking into a cleaned tar (`peek`). Never: unpacks anything on the host. Invariants: a cleaned tar holds only folders, regular
//! files and symlinks that stay inside the tree, each path once, parents never links, modes 644/755, owner 0:0; it is there whole or not at
//! all. What an archive costs is bounded by its limits, however it is made: entries, bytes, parts of a path, names, steps through symlinks.

mod extensions;
mod input;
mod output;
mod path;
mod peek;
mod strict;

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncRead;

pub use peek::{SourceTree, read_manifest_files};
pub use strict::{SourceLimits, SourceSummary};

use super::error::BuildError;

/// Reads an archive (tar, gzip or zstd by its first bytes) and writes the cleaned tar to `to`, atomically; an older file there is replaced.
/// `strip` drops one folder that everything lies in, as release tarballs have. Cancel-safe: a reader that was dropped ends by itself and leaves
/// no file behind, but whatever was read of `from` is gone.
pub async fn receive(
    from: impl AsyncRead + Send + Unpin,
    to: &Path,
    strip: bool,
    limits: SourceLimits,
) -> Result<SourceSummary, BuildError> {
    // A few chunks in flight keep both sides busy; more would only be memory.
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let target = to.to_owned();
    let waiting = Waiting(Arc::new(Mutex::new(true)));
    let wanted = Arc::clone(&waiting.0);
    let reading =
        tokio::task::spawn_blocking(move || strict::clean(input::ChannelReader::new(receiver), &target, strip, limits, &wanted));
    let ((), done) = tokio::join!(input::pump(from, sender, input::PACE), reading);
    done.map_err(|e| BuildError::Archive { why: format!("the reader stopped: {e}") })?
}

/// True as long as somebody waits for the cleaned tar: a thread that reads can't be dropped.
struct Waiting(Arc<Mutex<bool>>);

impl Drop for Waiting {
    fn drop(&mut self) {
        *self.0.lock().expect("no code panics while it holds this lock") = false;
    }
}

#[cfg(test)]
mod tests;
