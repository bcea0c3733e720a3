//! What a service tells the store at start. Reading flags and variables is the service's own work.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use rapport_types::Secret;
use sqlx::sqlite::SqliteConnectOptions;

/// How to reach one service's database.
///
/// A service's clap struct carries the first two as `--database-url` and `--database-connections-max`,
/// with the variables `<SVC>_DATABASE_URL` and `<SVC>_DATABASE_CONNECTIONS_MAX`: clap cannot prefix a
/// flattened struct's variables, so this one is plain and the service fills it.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `postgres://user:password@host/database` or `sqlite:///path/file.db`. Holds a password.
    pub url: Secret,
    /// Most connections this process may hold. Pods times this must stay under the server's limit.
    pub connections_max: NonZeroU32,
    /// Longest wait for a free connection before the call fails as unavailable.
    pub acquire_timeout: Duration,
    /// Longest run of one statement on Postgres before the server cancels it. Migrations are exempt.
    pub statement_timeout: Duration,
}

impl StoreConfig {
    /// Connections per process unless told otherwise.
    pub const CONNECTIONS_MAX: NonZeroU32 = NonZeroU32::new(16).expect("16 is not zero");
    /// Wait for a connection unless told otherwise. As long as SQLite's busy timeout.
    pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
    /// Statement limit unless told otherwise.
    pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

    /// Returns the defaults for `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            connections_max: Self::CONNECTIONS_MAX,
            acquire_timeout: Self::ACQUIRE_TIMEOUT,
            statement_timeout: Self::STATEMENT_TIMEOUT,
        }
    }

    /// Returns the SQLite file that `url` names; `None` for another database.
    #[must_use]
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        let url = self.url.expose();
        let options = url
            .starts_with("sqlite:")
            .then(|| SqliteConnectOptions::from_str(url));
        Some(options?.ok()?.get_filename().to_path_buf())
    }
}
