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
    pool: PgPool,
    connected: Option<PgListener>,
}

impl Listener {
    /// Returns a listener; `None` on SQLite, where nobody else rings.
    #[must_use]
    pub fn new(db: &Db) -> Option<Self> {
        let Db::Postgres(pool) = db else { return None };
        Some(Self {
            pool: pool.clone(),
            connected: None,
        })
    }

    /// Returns when somebody rang, but after `longest` in any case: a call may be lost with its connection.
    pub async fn heard(&mut self, longest: Duration) {
        if self.connected.is_none() {
            self.connected = connect(&self.pool).await.ok();
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
