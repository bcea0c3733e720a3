//! What the log must hear: rows written in the transaction that made it true, deleted once it is sent.

use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::SubjectId;

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Names the row, in the order in which rows were written.
    pub outbox_id: i64,
    /// Whom the event is about.
    pub subject: SubjectId,
    /// The encoded event without its personal part.
    pub event: Vec<u8>,
    /// The sealed personal part.
    pub sealed: Option<Vec<u8>>,
}

const INSERT: &str = "insert into outbox (subject_id, event, sealed) values ($1, $2, $3)";
const NEXT: &str = "select outbox_id, subject_id, event, sealed from outbox
    order by outbox_id limit $1";
const DELETE: &str = "delete from outbox where outbox_id = $1";

/// Writes an event that the log must hear if `tx` commits, and only then.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(
    tx: &mut Tx,
    subject: SubjectId,
    event: &[u8],
    sealed: Option<&[u8]>,
) -> Result<(), StoreError> {
    on_tx!(tx, |conn| {
        sqlx::query(INSERT)
            .bind(subject.to_vec())
            .bind(event)
            .bind(sealed)
            .execute(conn)
            .await
            .map(drop)
    })?;
    Ok(())
}

/// Id, subject, event, what is sealed of it.
type Columns = (i64, Vec<u8>, Vec<u8>, Option<Vec<u8>>);

/// Returns the first rows that wait.
///
/// # Errors
/// [`StoreError`].
pub async fn next(db: &Db, limit: u32) -> Result<Vec<OutboxRow>, StoreError> {
    let rows: Vec<Columns> = on_db!(db, |pool| {
        sqlx::query_as(NEXT)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await
    })?;
    let row = |(outbox_id, subject, event, sealed): Columns| {
        Some(OutboxRow {
            outbox_id,
            subject: SubjectId::parse(&subject).ok()?,
            event,
            sealed,
        })
    };
    Ok(rows.into_iter().filter_map(row).collect())
}

/// Deletes rows that the log has, each by its id: rows with lower ones may commit later.
///
/// # Errors
/// [`StoreError`]: they are sent again.
pub async fn delete(db: &Db, rows: &[OutboxRow]) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    for row in rows {
        on_tx!(&mut tx, |conn| {
            sqlx::query(DELETE)
                .bind(row.outbox_id)
                .execute(conn)
                .await
                .map(drop)
        })?;
    }
    tx.commit().await
}
