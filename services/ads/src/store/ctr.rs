//! Impressions and clicks per line item and placement, counted where they are recorded.

use rapport_store::{Db, StoreError, Tx, on_db, on_tx};

/// Rows read: ten placements of every line item.
const ROWS_MAX: i64 = 100_000;

const ADD: &str = "insert into ctr (line_item_id, placement, impressions, clicks)
    values ($1, $2, $3, $4) on conflict (line_item_id, placement) do update
    set impressions = ctr.impressions + excluded.impressions,
        clicks = ctr.clicks + excluded.clicks";
const ALL: &str = "select line_item_id, placement, impressions, clicks from ctr
    order by line_item_id, placement limit $1";

/// Line item, placement, impressions, clicks.
pub type Row = (String, String, i64, i64);

/// Adds to the counts of a line item on a placement.
///
/// # Errors
/// [`StoreError`].
pub async fn add(
    tx: &mut Tx,
    line_item_id: &str,
    placement: &str,
    impressions: i64,
    clicks: i64,
) -> Result<(), StoreError> {
    on_tx!(tx, |conn| sqlx::query(ADD)
        .bind(line_item_id)
        .bind(placement)
        .bind(impressions)
        .bind(clicks)
        .execute(conn)
        .await
        .map(|_| ()))?;
    Ok(())
}

/// Returns all counts, at most a hundred thousand.
///
/// # Errors
/// [`StoreError`].
pub async fn all(db: &Db) -> Result<Vec<Row>, StoreError> {
    Ok(on_db!(db, |pool| sqlx::query_as(ALL)
        .bind(ROWS_MAX)
        .fetch_all(pool)
        .await)?)
}
