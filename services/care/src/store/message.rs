//! Messages: sealed texts in the order of their case. Nothing here sees a plain text.

use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::UnixMillis;

/// A message as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    /// The message.
    pub message_id: [u8; 16],
    /// Number of the author: 1 the customer, 2 an agent.
    pub author: i32,
    /// The sealed text.
    pub sealed: Vec<u8>,
    /// When.
    pub written_at: UnixMillis,
}

const INSERT: &str =
    "insert into messages (message_id, case_id, number, author, sealed, written_at_ms)
    values ($1, $2, $3, $4, $5, $6)";
const OF_CASE: &str = "select message_id, author, sealed, written_at_ms from messages
    where case_id = $1 order by number limit $2";

/// Inserts a message as the case's `number`th.
///
/// # Errors
/// [`StoreError::Constraint`] if the case has that number already.
pub async fn insert(
    tx: &mut Tx,
    case_id: &[u8; 16],
    number: i32,
    row: &MessageRow,
) -> Result<(), StoreError> {
    on_tx!(tx, |conn| {
        sqlx::query(INSERT)
            .bind(row.message_id.as_slice())
            .bind(case_id.as_slice())
            .bind(number)
            .bind(row.author)
            .bind(row.sealed.as_slice())
            .bind(row.written_at.0)
            .execute(conn)
            .await
            .map(drop)
    })?;
    Ok(())
}

/// Returns the first `limit` messages of a case, oldest first.
///
/// # Errors
/// [`StoreError`].
pub async fn of_case(
    db: &Db,
    case_id: &[u8; 16],
    limit: u32,
) -> Result<Vec<MessageRow>, StoreError> {
    let rows: Vec<(Vec<u8>, i32, Vec<u8>, i64)> = on_db!(db, |pool| {
        sqlx::query_as(OF_CASE)
            .bind(case_id.as_slice())
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await
    })?;
    let row = |(message_id, author, sealed, written_at): (Vec<u8>, i32, Vec<u8>, i64)| {
        Some(MessageRow {
            message_id: message_id.try_into().ok()?,
            author,
            sealed,
            written_at: UnixMillis(written_at),
        })
    };
    Ok(rows.into_iter().filter_map(row).collect())
}
