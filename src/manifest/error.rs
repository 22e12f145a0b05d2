//! What can be wrong with an app's files.

use std::path::PathBuf;

use crate::base::toml_file::KeyError;

/// Why an app's files can't be used. Every message stands alone; `hint` says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A key or a line of one of the files.
    #[error("{0}")]
    Key(Box<KeyError>),
    #[error("reading `{}`: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{file}` is {bytes} bytes, but such a file may have at most {limit}")]
    TooLarge { file: &'static str, bytes: u64, limit: u64 },
    #[error("`{file}` is not UTF-8 text")]
    NotText { file: &'static str },
    #[error("Procfile has no `web` process, so no process would take requests")]
    NoWeb,
}

impl From<KeyError> for ManifestError {
    fn from(error: KeyError) -> Self {
        ManifestError::Key(Box::new(error))
    }
}

impl ManifestError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            ManifestError::Key(error) => error.hint.as_deref(),
            ManifestError::NoWeb => Some(
                "add a line `web: <command>` to the Procfile; if the app has only workers, say so in paas.toml: `[processes.web]` with `instances = 0`",
            ),
            ManifestError::NotText { .. } => Some("save the file as UTF-8"),
            ManifestError::Read { .. } | ManifestError::TooLarge { .. } => None,
        }
    }
}
