//! What can go wrong in the store, in the terms of its callers.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("opening the database `{}`", .file.display())]
    Open { file: PathBuf, source: sqlx::Error },
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
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
}

impl StoreError {
    /// Maps a violated constraint to a word for the user: `constraint` is a part of the message SQLite gives (table.column, as its own
    /// documentation of SQLITE_CONSTRAINT says), `what` is what the user asked for.
    pub(super) fn taken(error: sqlx::Error, constraint: &str, what: impl FnOnce() -> String) -> Self {
        match &error {
            sqlx::Error::Database(db) if db.is_unique_violation() && db.message().contains(constraint) => {
                Self::Taken { what: what() }
            }
            _ => Self::Sql(error),
        }
    }
}
