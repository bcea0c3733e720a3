//! What is known of every trained model that is kept; the models themselves are files.

use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::UnixMillis;

const INSERT: &str = "insert into model (version, trained_at_ms, persons, items, graph_version,
    size_bytes, algorithm, judged_persons, ndcg, plain_ndcg)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const NEWEST: &str = "select version, trained_at_ms, persons, items, graph_version, size_bytes,
    algorithm, judged_persons, ndcg, plain_ndcg from model order by version desc limit $1";
const FORGET: &str = "delete from model where version <= $1";

/// A trained model.
#[derive(Debug, Clone, PartialEq)]
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
    /// How it was made, as `rapport lab recommend` names it.
    pub algorithm: String,
    /// How it was chosen.
    pub choice: ModelChoice,
}

/// What a model was worth on items held out in training.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ModelChoice {
    /// Persons that it was judged by; 0 where they were too few.
    pub judged_persons: i64,
    /// Normalised discounted gain of the first 20 places, `[0, 1]`.
    pub ndcg: Option<f64>,
    /// The same of plain neighbours.
    pub plain_ndcg: Option<f64>,
}

impl ModelRow {
    /// Returns the version as decisions and the file carry it: `item-item-00000012`.
    #[must_use]
    pub fn name(&self) -> String {
        name(self.version)
    }

    /// Returns the name of the file in the model directory.
    #[must_use]
    pub fn object(&self) -> String {
        object(self.version)
    }
}

fn name(version: i64) -> String {
    format!("item-item-{version:08}")
}

/// Returns the name of a version's file in the model directory.
#[must_use]
pub fn object(version: i64) -> String {
    format!("models/{}.bin", name(version))
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
        .bind(&row.algorithm)
        .bind(row.choice.judged_persons)
        .bind(row.choice.ndcg)
        .bind(row.choice.plain_ndcg)
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
    let rows: Vec<Columns> = on_db!(db, |pool| sqlx::query_as(NEWEST)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await)?;
    Ok(rows.into_iter().map(Columns::row).collect())
}

/// A row as it is stored.
#[derive(Debug, sqlx::FromRow)]
struct Columns {
    version: i64,
    trained_at_ms: i64,
    persons: i64,
    items: i64,
    graph_version: i64,
    size_bytes: i64,
    algorithm: String,
    judged_persons: i64,
    ndcg: Option<f64>,
    plain_ndcg: Option<f64>,
}

impl Columns {
    fn row(self) -> ModelRow {
        ModelRow {
            version: self.version,
            trained_at: UnixMillis(self.trained_at_ms),
            persons: self.persons,
            items: self.items,
            graph_version: self.graph_version,
            size_bytes: self.size_bytes,
            algorithm: self.algorithm,
            choice: ModelChoice {
                judged_persons: self.judged_persons,
                ndcg: self.ndcg,
                plain_ndcg: self.plain_ndcg,
            },
        }
    }
}
