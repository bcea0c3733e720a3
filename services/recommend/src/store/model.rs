//! What is known of every trained model that is kept; the models themselves are files.

use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::UnixMillis;

const INSERT: &str =
    "insert into model (version, trained_at_ms, persons, items, graph_version, size_bytes)
    values ($1, $2, $3, $4, $5, $6)";
const NEWEST: &str = "select version, trained_at_ms, persons, items, graph_version, size_bytes
    from model order by version desc limit $1";
const FORGET: &str = "delete from model where version <= $1";

/// A trained model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelRow {
    /// 1, 2, 3 … without reuse while a newer one is kept.
    pub version: i64,
    /// When it was trained.
    pub trained_at: UnixMillis,
    /// Persons whose histories were used.
    pub persons: i64,
    /// Items that have a neighbour.
    pub items: i64,
    /// The version of the identity graph at which histories were folded.
    pub graph_version: i64,
    /// Size of the file.
    pub size_bytes: i64,
}

impl ModelRow {
    /// Returns the version as decisions and the file carry it: `item-item-00000012`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("item-item-{:08}", self.version)
    }

    /// Returns the name of the file in the model directory.
    #[must_use]
    pub fn object(&self) -> String {
        format!("models/{}.bin", self.name())
    }
}

/// Adds a model and forgets those up to `forget`.
///
/// # Errors
/// [`StoreError`]; a unique violation when the version is taken.
pub async fn insert(tx: &mut Tx, row: &ModelRow, forget: i64) -> Result<(), StoreError> {
    on_tx!(&mut *tx, |conn| sqlx::query(INSERT)
        .bind(row.version)
        .bind(row.trained_at.0)
        .bind(row.persons)
        .bind(row.items)
        .bind(row.graph_version)
        .bind(row.size_bytes)
        .execute(conn)
        .await
        .map(|_| ()))?;
    on_tx!(&mut *tx, |conn| sqlx::query(FORGET)
        .bind(forget)
        .execute(conn)
        .await
        .map(|_| ()))?;
    Ok(())
}

/// Returns up to `limit` models, newest first.
///
/// # Errors
/// [`StoreError`].
pub async fn newest(db: &Db, limit: u32) -> Result<Vec<ModelRow>, StoreError> {
    let rows: Vec<(i64, i64, i64, i64, i64, i64)> = on_db!(db, |pool| sqlx::query_as(NEWEST)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await)?;
    let row = |(version, trained_at_ms, persons, items, graph_version, size_bytes)| ModelRow {
        version,
        trained_at: UnixMillis(trained_at_ms),
        persons,
        items,
        graph_version,
        size_bytes,
    };
    Ok(rows.into_iter().map(row).collect())
}
