//! Why a source was refused or a build made nothing, in words for whoever pushed.

use std::path::PathBuf;
use std::time::Duration;

use crate::docker::{DockerError, is_no_space};
use crate::model::disk::Full;

/// What went wrong. `to_string` is the sentence, `hint` the next thing to do, `last_lines` what the failing step printed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Something in the source tree that we do not take.
    #[error("the source holds {entry}: {why}")]
    Entry { entry: String, why: String, hint: Option<String> },
    /// The archive as a whole.
    #[error("the archive can't be read: {why}")]
    Archive { why: String },
    #[error("the source is too large: {what}")]
    TooLarge { what: String, hint: String },
    /// Reading or writing on the host.
    #[error("{act} `{}`: {source}", path.display())]
    Io { act: &'static str, path: PathBuf, source: std::io::Error },
    /// The source itself ended early: the pusher went away.
    #[error("the source broke off: {0}")]
    Broken(std::io::Error),
    /// No way to build it was found, or the one asked for does not fit.
    #[error("{why}")]
    Unfit { why: String, hint: String },
    /// The build ran and failed.
    #[error("{message}")]
    Failed { message: String, hint: Option<String>, last_lines: Vec<String> },
    #[error("the build took longer than {} minutes and was ended", .after.as_secs() / 60)]
    TooLong { after: Duration },
    #[error("the build was cancelled")]
    Cancelled,
    #[error(transparent)]
    Docker(#[from] DockerError),
}

impl BuildError {
    pub fn is_cancelled(&self) -> bool {
        matches!(self, BuildError::Cancelled)
    }

    /// Set when the engine could not be reached: the same build may work later.
    pub fn engine_away(&self) -> Option<String> {
        match self {
            BuildError::Docker(error) if error.is_unavailable() => Some(error.to_string()),
            _ => None,
        }
    }

    /// Whether the engine's disk was full.
    pub fn filled_engine(&self) -> bool {
        match self {
            BuildError::Failed { message, last_lines, .. } => {
                is_no_space(message) || last_lines.iter().any(|line| is_no_space(line))
            }
            BuildError::Docker(error) => is_no_space(&error.to_string()),
            _ => false,
        }
    }

    /// The next thing to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            BuildError::Entry { hint, .. } | BuildError::Failed { hint, .. } => hint.clone(),
            BuildError::TooLarge { hint, .. } | BuildError::Unfit { hint, .. } => Some(hint.clone()),
            BuildError::Archive { .. } => Some("give a tar archive: plain, gzip (.tar.gz) or zstd (.tar.zst)".to_owned()),
            BuildError::Broken(_) => Some("send it again".to_owned()),
            BuildError::TooLong { .. } => {
                Some("raise `[build] timeout` in the host config, or make the build shorter".to_owned())
            }
            BuildError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => Some(Full::HINT.to_owned()),
            BuildError::Docker(error) if is_no_space(&error.to_string()) => Some(Full::HINT.to_owned()),
            BuildError::Io { .. } | BuildError::Cancelled | BuildError::Docker(_) => None,
        }
    }

    /// The end of what the failing step printed, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        match self {
            BuildError::Failed { last_lines, .. } => last_lines.clone(),
            _ => Vec::new(),
        }
    }

    /// One name per kind, for records and tests.
    pub fn stage(&self) -> &'static str {
        match self {
            BuildError::Entry { .. }
            | BuildError::Archive { .. }
            | BuildError::TooLarge { .. }
            | BuildError::Io { .. }
            | BuildError::Broken(_) => "source",
            BuildError::Unfit { .. } => "detect",
            BuildError::Failed { .. } | BuildError::TooLong { .. } | BuildError::Cancelled | BuildError::Docker(_) => "build",
        }
    }

    pub(super) fn io(act: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> BuildError {
        let path = path.to_owned();
        move |source| BuildError::Io { act, path, source }
    }
}
