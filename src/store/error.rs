//! What can go wrong in the store, in the terms of its callers.

use std::path::{Path, PathBuf};

use super::broken;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("opening the database `{}`", .file.display())]
    Open { file: PathBuf, source: sqlx::Error },
    /// Only one process at a time has it: see [`Store::open`](super::Store::open).
    #[error("another process has the database `{}` open (`fuser -v {}` names it)", .file.display(), .file.display())]
    InUse { file: PathBuf },
    #[error("bringing the schema of `{}` up to date", .file.display())]
    Migrate { file: PathBuf, source: sqlx::migrate::MigrateError },
    /// Somebody else changed the row first, or the move is not legal from where the row is.
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    NotFound(String),
    /// A name, key or host that has an owner already.
    #[error("{what} is taken")]
    Taken { what: String },
    #[error("the row of {what} cannot be read: {why}")]
    BadRow { what: &'static str, why: String },
    #[error("a sealed value cannot be opened: is this the secret key that the database was made with?")]
    Sealed,
    /// Not tried: a commit that fails would stop the daemon, and a reserve for the end of running work is all that is left.
    #[error("the disk is full: nothing can be stored until there is room")]
    NoRoom,
    #[error("database: {0}")]
    Sql(sqlx::Error),
    /// A write failed, now or before, or the file is damaged: see [`super::broken()`]. Nothing was acknowledged.
    #[error("the database cannot be relied on any more: {0}")]
    Broken(String),
}

/// SQLite's own (extended) result code.
fn code_of(error: &sqlx::Error) -> Option<u32> {
    match error {
        sqlx::Error::Database(db) => db.code().and_then(|code| code.parse().ok()),
        _ => None,
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = code_of(&error);
        if code.is_some_and(is_fatal) {
            let why = format!("{error} (SQLite code {})", code.unwrap_or_default());
            broken::note(&why);
            return StoreError::Broken(why);
        }
        StoreError::Sql(error)
    }
}

/// Whether an (extended) result code of SQLite means that the file, or what the kernel holds of it, is no longer known
/// (<https://www.sqlite.org/rescode.html>; the low byte is the kind of error). After a failed fsync the kernel may have dropped the pages
/// that it could not write and call the next fsync good: only a restart, which reads what is really there, tells.
///
/// FULL is among them: a temporary file never needs room (`temp_store` is memory), so it is a commit that failed.
/// Not among them: BUSY, LOCKED, CONSTRAINT, CANTOPEN (a limit of open files) and NOMEM.
fn is_fatal(code: u32) -> bool {
    const IOERR: u32 = 10;
    const CORRUPT: u32 = 11;
    const FULL: u32 = 13;
    const NOTADB: u32 = 26;
    const IOERR_NOMEM: u32 = IOERR | (12 << 8);
    code != IOERR_NOMEM && matches!(code & 0xff, IOERR | CORRUPT | FULL | NOTADB)
}

impl StoreError {
    pub(super) fn opening(file: &Path, source: sqlx::Error) -> Self {
        const BUSY: u32 = 5;
        match code_of(&source) {
            Some(code) if code & 0xff == BUSY => Self::InUse { file: file.to_owned() },
            _ => Self::Open { file: file.to_owned(), source },
        }
    }

    /// Maps a violated constraint to a word for the user: `constraint` is a part of the message SQLite gives (table.column, as its own
    /// documentation of SQLITE_CONSTRAINT says), `what` is what the user asked for.
    pub(super) fn taken(error: sqlx::Error, constraint: &str, what: impl FnOnce() -> String) -> Self {
        match &error {
            sqlx::Error::Database(db) if db.is_unique_violation() && db.message().contains(constraint) => {
                Self::Taken { what: what() }
            }
            _ => Self::from(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_or_fsync_is_fatal_and_a_refused_row_is_not() {
        // SQLITE_FULL, IOERR_WRITE, IOERR_FSYNC, IOERR_DIR_FSYNC, IOERR_SHORT_READ, IOERR_SHMSIZE, CORRUPT, CORRUPT_INDEX, NOTADB
        for code in [13, 778, 1034, 1290, 522, 4874, 11, 779, 26] {
            assert!(is_fatal(code), "{code}");
        }
        // BUSY, LOCKED, CONSTRAINT_UNIQUE, CANTOPEN, IOERR_NOMEM, READONLY, SCHEMA
        for code in [5, 6, 2067, 14, 3082, 8, 17] {
            assert!(!is_fatal(code), "{code}");
        }
    }
}
