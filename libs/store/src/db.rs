//! The database and the transaction as enums, and the macros that run one text on either engine.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{PgPool, Postgres, Sqlite, Transaction};

use crate::sqlite::SqliteDb;
use crate::{StoreConfig, StoreError, on_db, postgres};

/// One service's database. Cloning shares the pools.
#[derive(Debug, Clone)]
pub enum Db {
    /// A Postgres server.
    Postgres(PgPool),
    /// A SQLite file.
    Sqlite(SqliteDb),
}

/// A transaction that may write. Dropping it without [`Tx::commit`] rolls it back.
///
/// On SQLite it holds the only writer connection from the start: never await a second [`Db::begin`]
/// or an [`on_writer!`](crate::on_writer) while one is open.
#[derive(Debug)]
pub enum Tx {
    /// On Postgres, at its default isolation, read committed.
    Postgres(Transaction<'static, Postgres>),
    /// On SQLite, begun immediate.
    Sqlite(Transaction<'static, Sqlite>),
}

impl Db {
    /// Opens the database of `config.url` and checks that it can be used.
    ///
    /// # Errors
    ///
    /// [`StoreError::BadUrl`] for another scheme, [`StoreError::WrongCollation`] and
    /// [`StoreError::WrongEncoding`] for a Postgres database that does not sort UTF-8 by bytes,
    /// [`StoreError::Unavailable`] when it cannot be reached.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let url = config.url.expose();
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Ok(Self::Postgres(postgres::open(config).await?))
        } else if url.starts_with("sqlite:") {
            Ok(Self::Sqlite(SqliteDb::open(config).await?))
        } else {
            Err(StoreError::BadUrl("the scheme must be postgres or sqlite"))
        }
    }

    /// Applies the engine's pending migrations under a lock: replicas that start together apply
    /// each one once.
    ///
    /// A database that is ahead of this binary is left alone: during a roll-out the older replica
    /// must still start, and migrations only ever expand until nobody old is left.
    ///
    /// # Errors
    ///
    /// [`StoreError::Migration`] when one fails or an applied one was edited; the failed one leaves
    /// no trace.
    pub async fn migrate(&self, postgres: &Migrator, sqlite: &Migrator) -> Result<(), StoreError> {
        let (outcome, migrator) = match self {
            Self::Postgres(pool) => (postgres::migrate(pool, postgres).await, postgres),
            Self::Sqlite(db) => (db.migrate(sqlite).await, sqlite),
        };
        let newest = migrator
            .iter()
            .map(|migration| migration.version)
            .max()
            .unwrap_or(0);
        match outcome {
            Err(StoreError::Migration(MigrateError::VersionMissing(version)))
                if version > newest =>
            {
                tracing::warn!(version, newest, "database schema is newer than this binary");
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Begins a transaction that may write.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when no connection came free in time, [`StoreError::Conflict`]
    /// when another process holds SQLite's write lock.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        match self {
            Self::Postgres(pool) => Ok(Tx::Postgres(pool.begin().await?)),
            Self::Sqlite(db) => Ok(Tx::Sqlite(db.begin().await?)),
        }
    }

    /// Returns once the database has answered a trivial query: for readiness.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when it did not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on_db!(self, |pool| sqlx::query("select 1")
            .execute(pool)
            .await
            .map(|_| ()))?;
        Ok(())
    }

    /// Closes every connection after its present work, and on SQLite folds the log into the file.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
            Self::Sqlite(db) => db.close().await,
        }
    }
}

impl Tx {
    /// Commits. When this returns, the writes are on disk.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when the database refused at the last moment (nothing is written);
    /// [`StoreError::Unavailable`] when the answer was lost: the commit may or may not have
    /// happened, which is why every write has an idempotency record.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(tx) => Ok(tx.commit().await?),
            Self::Sqlite(tx) => Ok(tx.commit().await?),
        }
    }

    /// Rolls back now, rather than when the connection is next used.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the connection is gone, which rolls back as well.
    pub async fn rollback(self) -> Result<(), StoreError> {
        match self {
            Self::Postgres(tx) => Ok(tx.rollback().await?),
            Self::Sqlite(tx) => Ok(tx.rollback().await?),
        }
    }
}

/// Runs a read on either engine: `on_db!(&db, |pool| sqlx::query_as(Q).fetch_all(pool).await)`.
///
/// The expression is compiled once per engine, so both are type-checked. On SQLite the pool is the
/// readers'; a write through it is refused.
#[macro_export]
macro_rules! on_db {
    ($db:expr, |$pool:ident| $run:expr) => {
        match $db {
            $crate::Db::Postgres($pool) => $run,
            $crate::Db::Sqlite(files) => {
                let $pool = files.reader();
                $run
            }
        }
    };
}

/// Runs one writing statement outside a transaction: as [`on_db!`], on SQLite's writer.
#[macro_export]
macro_rules! on_writer {
    ($db:expr, |$pool:ident| $run:expr) => {
        match $db {
            $crate::Db::Postgres($pool) => $run,
            $crate::Db::Sqlite(files) => {
                let $pool = files.writer();
                $run
            }
        }
    };
}

/// Runs statements inside a transaction: `on_tx!(&mut tx, |conn| sqlx::query(Q).execute(conn).await)`.
///
/// `conn` is a `&mut` connection; with several statements, pass `&mut *conn`.
#[macro_export]
macro_rules! on_tx {
    ($tx:expr, |$conn:ident| $run:expr) => {
        match $tx {
            $crate::Tx::Postgres(transaction) => {
                let $conn = &mut **transaction;
                $run
            }
            $crate::Tx::Sqlite(transaction) => {
                let $conn = &mut **transaction;
                $run
            }
        }
    };
}
