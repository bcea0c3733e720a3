//! Throw-away databases for tests: a SQLite file or a database on a real Postgres, gone afterwards.
//!
//! Postgres is the server of `TEST_PG_URL` (`scripts/testenv up` starts one and `make test` sets
//! it); without that variable one is started here, once per test process. Nothing is ever skipped:
//! a server that cannot start is a failure.

mod server;

use rapport_types::Secret;
pub use rapport_types::testing::free_port;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{Db, StoreConfig};

/// The two engines that every store contract is run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A SQLite file in a temporary folder.
    Sqlite,
    /// A database of its own on a real Postgres.
    Postgres,
}

/// One empty database for one test. Dropping it deletes the database, open connections or not.
#[derive(Debug)]
pub struct TestDb {
    url: String,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Folder { _folder: tempfile::TempDir },
    Database { server: String, name: String },
}

/// How a test's Postgres database keeps text: by bytes, which is what [`Db::open`] asks for.
const BYTE_ORDER: &str = "lc_collate 'C' lc_ctype 'C'";

impl TestDb {
    /// Creates an empty database.
    ///
    /// # Panics
    ///
    /// When the server cannot be started or reached.
    pub async fn create(engine: Engine) -> Self {
        match engine {
            Engine::Sqlite => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let url = format!("sqlite://{}/test.db", folder.path().display());
                Self {
                    url,
                    kept: Kept::Folder { _folder: folder },
                }
            }
            Engine::Postgres => Self::create_postgres(BYTE_ORDER).await,
        }
    }

    /// Creates an empty Postgres database with other `create database` options, a trusted SQL text.
    ///
    /// # Panics
    ///
    /// When the server refuses.
    pub async fn create_postgres(options: &str) -> Self {
        let server = server::postgres_url();
        let name = format!("test_{:016x}", rand::random::<u64>());
        let statement =
            format!("create database {name} template template0 encoding 'UTF8' {options}");
        execute(&server, statement).await;
        let (base, query) = match server.split_once('?') {
            Some((base, query)) => (base, format!("?{query}")),
            None => (server.as_str(), String::new()),
        };
        let (base, _admin) = base.rsplit_once('/').expect("TEST_PG_URL names a database");
        let url = format!("{base}/{name}{query}");
        Self {
            url,
            kept: Kept::Database { server, name },
        }
    }

    /// Returns the database's URL, as a service's configuration takes it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the default configuration for this database.
    #[must_use]
    pub fn config(&self) -> StoreConfig {
        StoreConfig {
            url: Secret::new(self.url.as_str()),
            ..StoreConfig::new("")
        }
    }

    /// Opens the database, one more set of connections per call.
    ///
    /// # Panics
    ///
    /// When it cannot be opened.
    pub async fn open(&self) -> Db {
        Db::open(&self.config())
            .await
            .expect("the test's database opens")
    }

    /// Opens the database and applies a service's migrations.
    ///
    /// # Panics
    ///
    /// When one fails.
    pub async fn open_migrated(&self, postgres: &Migrator, sqlite: &Migrator) -> Db {
        let db = self.open().await;
        db.migrate(postgres, sqlite)
            .await
            .expect("the migrations apply");
        db
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let Kept::Database { server, name } = &self.kept else {
            return;
        };
        let (server, statement) = (
            server.clone(),
            format!("drop database if exists {name} with (force)"),
        );
        // A thread, because a drop inside a runtime may not block on that runtime.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .expect("a runtime")
                .block_on(execute(&server, statement));
        });
        // A second panic while a test unwinds would abort and hide the first.
        if dropped.join().is_err() {
            tracing::warn!("a test's database was left behind");
        }
    }
}

/// Runs one statement on a connection of its own.
async fn execute(url: &str, statement: String) {
    let mut connection = PgConnection::connect(url)
        .await
        .expect("the test's Postgres answers");
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(statement)))
        .await
        .expect("it obeys");
    connection.close().await.expect("it closes");
}

/// Instantiates a contract once per engine: `store_contract!(open, [keeps_order, refuses_twice]);`.
///
/// `open` is an `async fn(Engine) -> Fixture` and each test an `async fn(Fixture)`, all beside the
/// call. The fixture must own its [`TestDb`].
#[macro_export]
macro_rules! store_contract {
    ($open:ident, [$($test:ident),+ $(,)?]) => {
        mod on_sqlite { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::$open($crate::testing::Engine::Sqlite).await).await;
            }
        )+ }
        mod on_postgres { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::$open($crate::testing::Engine::Postgres).await).await;
            }
        )+ }
    };
}
