//! Receiving a source tree: untrusted tar bytes in, one cleaned tar out.
//!
//! Owns: what an archive may hold (`path`), the reader that believes nothing (`strict`), the bytes' way in (`input`), looking into a
//! cleaned tar (`peek`). Never: unpacks anything on the host. Invariants: a cleaned tar holds only folders, regular files and symlinks that
//! stay inside the tree, each path once, parents never links, modes 644/755, owner 0:0; it is there whole or not at all.

mod extensions;
mod input;
mod path;
mod peek;
mod strict;

use std::path::Path;

use tokio::io::AsyncRead;

pub use peek::{SourceTree, read_manifest_files};
pub use strict::{SourceLimits, SourceSummary};

use super::error::BuildError;

/// Reads an archive (tar, gzip or zstd by its first bytes) and writes the cleaned tar to `to`, atomically; an older file there is replaced.
/// `strip` drops one folder that everything lies in, as release tarballs have. Cancel-safe: dropping it leaves no file behind, but
/// whatever was read of `from` is gone.
pub async fn receive(
    from: impl AsyncRead + Send + Unpin,
    to: &Path,
    strip: bool,
    limits: SourceLimits,
) -> Result<SourceSummary, BuildError> {
    // A few chunks in flight keep both sides busy; more would only be memory.
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let target = to.to_owned();
    let reading = tokio::task::spawn_blocking(move || strict::clean(input::ChannelReader::new(receiver), &target, strip, limits));
    let ((), done) = tokio::join!(input::pump(from, sender), reading);
    done.map_err(|e| BuildError::Archive { why: format!("the reader stopped: {e}") })?
}

#[cfg(test)]
mod tests;
