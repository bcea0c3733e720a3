//! Runs of dedup entries on SQLite, which `log::recent` moves into the tree.

use rapport_store::{StoreError, Tx, on_tx};

/// One run on disk.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Run {
    /// Rising, never used twice.
    pub run: i64,
    /// The day of receipt of all its entries, `None` for those kept for ever.
    pub received_day: Option<i64>,
    /// Key and entry, one after the other.
    pub rows: Vec<u8>,
}

const AFTER: &str = "select run, received_day, rows from log_dedup_run where run > $1 order by run";
const ADD: &str = "insert into log_dedup_run (received_day, rows) values ($1, $2) returning run";
const DROP: &str = "delete from log_dedup_run where run <= $1";

/// Returns the runs after `run`, in order.
///
/// # Errors
/// [`StoreError`]: the transaction is then of no more use.
pub async fn runs_after(tx: &mut Tx, run: i64) -> Result<Vec<Run>, StoreError> {
    Ok(on_tx!(tx, |conn| sqlx::query_as(AFTER)
        .bind(run)
        .fetch_all(conn)
        .await)?)
}

/// Writes a run and returns its number.
///
/// # Errors
/// As [`runs_after`].
pub async fn add_run(
    tx: &mut Tx,
    received_day: Option<i64>,
    rows: &[u8],
) -> Result<i64, StoreError> {
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(ADD)
        .bind(received_day)
        .bind(rows)
        .fetch_one(conn)
        .await)?)
}

/// Deletes the runs up to `run`.
///
/// # Errors
/// As [`runs_after`].
pub async fn drop_runs(tx: &mut Tx, run: i64) -> Result<(), StoreError> {
    on_tx!(tx, |conn| sqlx::query(DROP)
        .bind(run)
        .execute(conn)
        .await
        .map(|_| ()))?;
    Ok(())
}
