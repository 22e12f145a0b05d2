//! All the SQL. One question, one function; public functions open their transaction, those named `…_in` take it.
//!
//! Owns: the SQLite file (WAL, synchronous=FULL, foreign keys), its migrations, the sealing of secrets. Uses: names, base, manifest, model.
//! Never: decides; a rule of `model` is applied, not restated. Invariant: a state move and its event are one transaction.

use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Sqlite;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::base::filesystem;
use crate::model::disk::STORE_FLOOR;

mod alerts;
mod apps;
mod broken;
mod certificates;
mod config;
mod counts;
mod deploys;
mod domains;
mod ends;
mod error;
mod events;
mod history;
mod instances;
mod keys;
mod maintenance;
mod releases;
mod row;
mod seal;

pub use alerts::{AlertMessage, NewAlert};
pub use broken::broken;
pub use counts::InstanceCounts;
pub use deploys::{NewDeploy, StageEntry};
pub use error::StoreError;
pub use events::Event;
pub use instances::{Commit, NewInstance};
pub use releases::{NewRelease, ReleaseCommand};
pub use seal::Sealer;

/// The handle to the database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// One connection, so that writers queue here and never meet SQLITE_BUSY.
    writer: SqlitePool,
    readers: SqlitePool,
    sealer: Arc<Sealer>,
    /// Where it lies: looked at for room.
    file: PathBuf,
}

type Tx = sqlx::Transaction<'static, sqlx::Sqlite>;

/// Every step of the schema, in order. Steps are only added; a stored checksum refuses a database whose steps were other ones.
const MIGRATIONS: [(i64, &str, &str); 8] = [
    (1, "first", include_str!("migrations/0001_first.sql")),
    (2, "ended deploys", include_str!("migrations/0002_ended_deploys.sql")),
    (3, "ends of instances", include_str!("migrations/0003_ends_of_instances.sql")),
    (4, "alerts", include_str!("migrations/0004_alerts.sql")),
    (5, "counts", include_str!("migrations/0005_counts.sql")),
    (6, "edge", include_str!("migrations/0006_edge.sql")),
    (7, "ends by time", include_str!("migrations/0007_ends_by_time.sql")),
    (8, "deploys by name", include_str!("migrations/0008_deploys_by_name.sql")),
];

async fn migrate(writer: &SqlitePool) -> Result<(), MigrateError> {
    let steps = MIGRATIONS.map(|(version, name, sql)| {
        Migration::new(version, name.into(), MigrationType::Simple, sqlx::SqlStr::from_static(sql), false)
    });
    Migrator::with_migrations(steps.to_vec()).run(writer).await
}

/// The folder lets others through to what they need there, so the database says itself that it is nobody else's: it is made with mode 0600
/// (SQLite gives its write-ahead log the same), and set to it where an older version left it open. The index of that log, which an older
/// version kept in a file of its own, is of no use to anybody.
fn private(file: &Path) -> std::io::Result<()> {
    let beside = |part: &str| format!("{}{part}", file.display());
    let unless_absent = |done: std::io::Result<()>| match done {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    std::fs::File::options().write(true).create(true).truncate(false).mode(0o600).open(file)?;
    for part in ["", "-wal"] {
        unless_absent(std::fs::set_permissions(beside(part), PermissionsExt::from_mode(0o600)))?;
    }
    unless_absent(std::fs::remove_file(beside("-shm")))
}

impl Store {
    /// Opens or creates the database at `file` and brings its schema up to date. Errors name the file. No other process can read it
    /// meanwhile, or open it at all: see `unix-excl` below.
    pub async fn open(file: &Path, sealer: Sealer) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str("sqlite://")
            .map_err(StoreError::from)?
            .filename(file)
            // The file is locked for this process, and the index of its write-ahead log lies in memory. Shared between processes it would be
            // a mapped file, which SQLite makes anew at each start: on a full disk that ends the process with SIGBUS
            // (<https://www.sqlite.org/vfs.html>).
            .vfs("unix-excl")
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: a commit that was acknowledged survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // A sort never spills to a file: a question must be answered on a full disk.
            .pragma("temp_store", "memory")
            .busy_timeout(Duration::from_secs(10));
        let opening = |e: sqlx::Error| StoreError::opening(file, e);
        private(file).map_err(|e| opening(e.into()))?;
        // It stays open, so that the write-ahead log is there when the disk is full.
        let writer = SqlitePoolOptions::new().min_connections(1).max_connections(1).idle_timeout(None).max_lifetime(None);
        let writer = writer.connect_with(options.clone()).await.map_err(opening)?;
        migrate(&writer).await.map_err(|e| StoreError::Migrate { file: file.to_owned(), source: e })?;
        let readers = SqlitePoolOptions::new().max_connections(4).connect_with(options.read_only(true)).await.map_err(opening)?;
        Ok(Self { writer, readers, sealer: Arc::new(sealer), file: file.to_owned() })
    }

    /// Lets SQLite look at the whole file: `["ok"]`, or what is broken. Reads all of it.
    pub async fn check(&self) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar("pragma quick_check(10)").fetch_all(&self.readers).await?)
    }

    /// The same for a file that no daemon has open. It is opened for reading only.
    pub async fn check_file(file: &Path) -> Result<Vec<String>, StoreError> {
        let options = SqliteConnectOptions::new().filename(file).read_only(true).busy_timeout(Duration::from_secs(5));
        let opening = |e: sqlx::Error| StoreError::opening(file, e);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.map_err(opening)?;
        let said = sqlx::query_scalar("pragma quick_check(10)").fetch_all(&pool).await;
        pool.close().await;
        said.map_err(opening)
    }

    /// Closes both pools; the write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Refuses once a write has failed: what was not acknowledged is found out by the next process.
    fn whole() -> Result<(), StoreError> {
        broken::why().map_or(Ok(()), |why| Err(StoreError::Broken(why)))
    }

    /// The way to write one statement; refused as [`begin`](Self::begin) is.
    async fn writer(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.has_room()?;
        let connection = self.writer.acquire().await?;
        self.has_room()?;
        Ok(connection)
    }

    /// A write that the disk has no room for would end the daemon, which can't know what of it is there. To be asked again after the wait for
    /// the one connection: its last holder's write may have failed, and the disk may have filled meanwhile.
    fn has_room(&self) -> Result<(), StoreError> {
        Self::whole()?;
        if filesystem::has(&self.file, STORE_FLOOR) { Ok(()) } else { Err(StoreError::NoRoom) }
    }

    /// The way to write. Refused, too, while the disk has no room for a commit: that can wait, and costs no restart.
    async fn begin(&self) -> Result<Tx, StoreError> {
        self.has_room()?;
        let begun = self.writer.begin_with("begin immediate").await?;
        self.has_room()?;
        Ok(begun)
    }

    /// The value under `key`, or the one `make` gives, stored now: for what an installation chooses once.
    pub async fn setting_or(&self, key: &str, make: impl FnOnce() -> String) -> Result<String, StoreError> {
        let find = || sqlx::query_scalar("select value from settings where key = ?").bind(key);
        // Read first: a daemon must start on a full disk.
        if let Some(value) = find().fetch_optional(&self.readers).await? {
            return Ok(value);
        }
        let mut tx = self.begin().await?;
        if let Some(value) = find().fetch_optional(&mut *tx).await? {
            return Ok(value);
        }
        let value = make();
        sqlx::query("insert into settings (key, value) values (?, ?)").bind(key).bind(&value).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
