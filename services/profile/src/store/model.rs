//! The trained models of customer value: so small that they live in their rows.

use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::UnixMillis;

/// Models that are kept: when the newest is damaged an older one serves.
pub const MODELS_KEPT: u32 = 4;

const INSERT: &str = "insert into model (version, trained_at_ms, as_of_ms, persons, graph_version,
    currency, model) values ($1, $2, $3, $4, $5, $6, $7)";
const NEWEST: &str =
    "select version, trained_at_ms, as_of_ms, persons, graph_version, currency, model
    from model order by version desc limit $1";
const FORGET: &str = "delete from model where version <= $1";

/// A trained model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelRow {
    /// 1, 2, 3 … without reuse while a newer one is kept.
    pub version: i64,
    /// When it was trained.
    pub trained_at: UnixMillis,
    /// Until when it learned.
    pub as_of: UnixMillis,
    /// Persons whose purchases were used.
    pub persons: i64,
    /// The version of the identity graph at which they were folded.
    pub graph_version: i64,
    /// The currency of spend, empty if it has none.
    pub currency: String,
    /// What `ClvModel::to_bytes` gave.
    pub model: Vec<u8>,
}

impl ModelRow {
    /// Returns the version as answers carry it: `clv-00000012`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("clv-{:08}", self.version)
    }
}

/// Adds a model and forgets those beyond [`MODELS_KEPT`].
///
/// # Errors
/// [`StoreError`]; a unique violation when the version is taken.
pub async fn insert(tx: &mut Tx, row: &ModelRow) -> Result<(), StoreError> {
    on_tx!(&mut *tx, |conn| sqlx::query(INSERT)
        .bind(row.version)
        .bind(row.trained_at.0)
        .bind(row.as_of.0)
        .bind(row.persons)
        .bind(row.graph_version)
        .bind(&row.currency)
        .bind(&row.model)
        .execute(conn)
        .await
        .map(|_| ()))?;
    on_tx!(&mut *tx, |conn| sqlx::query(FORGET)
        .bind(row.version - i64::from(MODELS_KEPT))
        .execute(conn)
        .await
        .map(|_| ()))?;
    Ok(())
}

/// Returns the models that are kept, newest first.
///
/// # Errors
/// [`StoreError`].
pub async fn newest(db: &Db) -> Result<Vec<ModelRow>, StoreError> {
    type Columns = (i64, i64, i64, i64, i64, String, Vec<u8>);
    let rows: Vec<Columns> = on_db!(db, |pool| sqlx::query_as(NEWEST)
        .bind(i64::from(MODELS_KEPT))
        .fetch_all(pool)
        .await)?;
    let row = |row: Columns| ModelRow {
        version: row.0,
        trained_at: UnixMillis(row.1),
        as_of: UnixMillis(row.2),
        persons: row.3,
        graph_version: row.4,
        currency: row.5,
        model: row.6,
    };
    Ok(rows.into_iter().map(row).collect())
}
