//! SQLite: one writer connection, several readers, every commit on disk.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};

use crate::{StoreConfig, StoreError};

/// How long a statement waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Most reader connections: each is a thread, and one file gains nothing from more.
const READERS_MAX: u32 = 8;
/// Pages that the writer keeps in memory, in KiB: SQLite's own 2 MiB spill random inserts to disk in
/// the middle of a transaction.
const WRITER_CACHE_KIB: &str = "-65536";
/// Pages of the write-ahead log, 32 MiB, after which a commit folds it into the file: a page that many
/// commits change is then written once.
const CHECKPOINT_PAGES: &str = "8192";
/// The write-ahead log is cut back to this size after a checkpoint.
const WAL_BYTES_MAX: &str = "67108864";

/// One SQLite file: a pool of exactly one writer and a pool of readers that cannot write.
///
/// SQLite has one writer at a time whatever we do. Waiting for it in a pool is fair and costs
/// nothing; waiting for it in SQLite's busy handler sleeps and starves.
#[derive(Debug, Clone)]
pub struct SqliteDb {
    writer: SqlitePool,
    reader: SqlitePool,
}

impl SqliteDb {
    pub(crate) async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let url = config.url.expose();
        if url.contains(":memory:") || url.contains("mode=memory") {
            // Each pooled connection would see a database of its own.
            return Err(StoreError::BadUrl(
                "SQLite in memory is not supported, name a file",
            ));
        }
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|_hides_the_url| {
                StoreError::BadUrl("expected sqlite:///absolute/file.db or sqlite://relative.db")
            })?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An acknowledged write survives a power cut; `normal` may lose the last ones in WAL.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            // Erased means overwritten: personal data must not linger in free pages.
            .pragma("secure_delete", "on")
            // What a statement may have to undo stays in memory: statements here are small.
            .pragma("temp_store", "memory")
            .pragma("journal_size_limit", WAL_BYTES_MAX);
        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(config.acquire_timeout)
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        // The writer first: it creates the file and turns on the write-ahead log.
        let writer = pool()
            .max_connections(1)
            .connect_with(
                options
                    .clone()
                    .pragma("cache_size", WRITER_CACHE_KIB)
                    .pragma("wal_autocheckpoint", CHECKPOINT_PAGES),
            )
            .await?;
        let reader = pool()
            .max_connections(config.connections_max.get().min(READERS_MAX))
            .connect_with(options.pragma("query_only", "on"))
            .await?;
        Ok(Self { writer, reader })
    }

    /// Returns the pool of the one connection that may write.
    #[must_use]
    pub fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    /// Returns the pool for reads. A write through it is refused by SQLite.
    #[must_use]
    pub fn reader(&self) -> &SqlitePool {
        &self.reader
    }

    /// Takes the write lock at once, so that a transaction never fails half way for want of it.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with("begin immediate").await?)
    }

    pub(crate) async fn migrate(&self, migrator: &Migrator) -> Result<(), StoreError> {
        // sqlx takes no lock on SQLite: one immediate transaction around all pending migrations
        // is the lock, and a failed one leaves the schema as it was.
        let mut tx = self.begin().await?;
        migrator.run_direct(None, &mut *tx, false).await?;
        Ok(tx.commit().await?)
    }

    pub(crate) async fn close(&self) {
        // Readers first: the last connection to close is the writer, which checkpoints the log.
        self.reader.close().await;
        self.writer.close().await;
    }
}
