//! What can go wrong with a repository.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::names::{AppName, CommitSha};

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("starting `git {act}`: {source}")]
    Spawn { act: String, source: io::Error },
    #[error("`git {act}` ended with code {code}: {stderr}")]
    Failed { act: String, code: i32, stderr: String },
    #[error("`git {act}` took longer than {} s", after.as_secs())]
    TimedOut { act: String, after: Duration },
    #[error("`git {act}` gave more than {limit} bytes")]
    TooMuch { act: String, limit: usize },
    #[error("`git {act}` gave an answer that is not understood: {found}")]
    Odd { act: &'static str, found: String },
    #[error("{commit} is not a commit in the repository of app `{app}`")]
    NotACommit { app: AppName, commit: CommitSha },
    #[error("`{reference}` of app `{app}` is at {}, not at {}", shown(found), shown(expected))]
    Moved { app: AppName, reference: String, expected: Option<CommitSha>, found: Option<CommitSha> },
    #[error("file `{path}` of commit {} is larger than {limit} bytes", commit.short())]
    FileTooLarge { path: String, commit: CommitSha, limit: usize },
    #[error("{act} `{}`: {source}", path.display())]
    Folder { act: &'static str, path: PathBuf, source: io::Error },
    #[error("system user `{name}` does not exist")]
    NoUser { name: String },
    #[error(
        "users `{daemon}` and `{login}` have the same main group, so the login user could write refs; give `{daemon}` a group of its own"
    )]
    GroupShared { daemon: String, login: String },
}

fn shown(at: &Option<CommitSha>) -> String {
    at.as_ref().map_or_else(|| "nothing".to_owned(), |commit| commit.short().to_owned())
}
