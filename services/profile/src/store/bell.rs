//! How replicas wake each other on Postgres: a channel on connections of its own, never inside an append.
//! SQLite has one process, and its bell is in memory.

use std::time::Duration;

use rapport_store::{Db, StoreError};
use sqlx::PgPool;
use sqlx::postgres::PgListener;

const CHANNEL: &str = "rapport_log";
const RING: &str = "select pg_notify('rapport_log', '')";

/// Tells the other replicas that the log grew. Nothing on SQLite.
///
/// # Errors
/// [`StoreError::Unavailable`]: they learn it by polling.
pub async fn ring(db: &Db) -> Result<(), StoreError> {
    if let Db::Postgres(pool) = db {
        sqlx::query(RING).execute(pool).await?;
    }
    Ok(())
}

/// Hears other replicas ring. Connects by itself, again and again.
#[derive(Debug)]
pub struct Listener {
    /// `None` on SQLite, where nobody else rings.
    pool: Option<PgPool>,
    connected: Option<PgListener>,
}

impl Listener {
    /// Returns a listener.
    #[must_use]
    pub fn new(db: &Db) -> Self {
        let pool = match db {
            Db::Postgres(pool) => Some(pool.clone()),
            Db::Sqlite(_) => None,
        };
        Self {
            pool,
            connected: None,
        }
    }

    /// Returns when somebody rang, but after `longest` in any case: a call may be lost with its connection.
    pub async fn heard(&mut self, longest: Duration) {
        if let (Some(pool), None) = (&self.pool, &self.connected) {
            self.connected = connect(pool).await.ok();
        }
        match &mut self.connected {
            Some(connected) => {
                let rang = tokio::time::timeout(longest, connected.recv()).await;
                if matches!(rang, Ok(Err(_))) {
                    self.connected = None;
                }
            }
            None => tokio::time::sleep(longest).await,
        }
    }
}

async fn connect(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}
