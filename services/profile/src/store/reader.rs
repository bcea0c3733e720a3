//! Readers of the log that can start from a snapshot of their own: below what they verified, the log may
//! forget. Joined with no profile table.

use std::collections::BTreeMap;

use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::UnixMillis;

/// Most readers: five services, a few projections each, two versions of some.
pub const READERS_MAX: u32 = 128;

/// Locks readers against retention until the transaction ends: an update of a row to what it is. SQLite's
/// one writer needs none of it.
const LOCK: &str = "update log_identity set log_id = log_id";
const COUNT_OTHERS: &str = "select count(*) from log_reader where reader <> $1";
const REGISTER: &str = "insert into log_reader (reader, registered_at_ms) values ($1, $2)
    on conflict (reader) do update set registered_at_ms = excluded.registered_at_ms";
const SET: &str =
    "insert into log_reader_position (reader, partition, sequence) values ($1, $2, $3)
    on conflict (reader, partition) do update set sequence = excluded.sequence";
const REMOVE_POSITIONS: &str = "delete from log_reader_position where reader = $1";
const REMOVE: &str = "delete from log_reader where reader = $1";
const READERS: &str = "select reader, registered_at_ms from log_reader order by reader";
const POSITIONS: &str = "select reader, partition, sequence from log_reader_position
    order by reader, partition";
const LOW_WATERS: &str = "select partition, sequence from log_low_water";
/// A reader that verified nothing of a partition holds the mark where it is.
const FLOOR: &str = "select r.reader, coalesce(p.sequence, 0) from log_reader r
    left join log_reader_position p on p.reader = r.reader and p.partition = $1
    order by 2, 1 limit 1";

/// A registered reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// Its name, after its caller's.
    pub name: String,
    /// When it last said so.
    pub registered_at: UnixMillis,
    /// The last sequence of its verified snapshot, by partition; 0 where it named none.
    pub verified: BTreeMap<u32, u64>,
}

/// Holds readers and retention apart until the transaction ends: both call it before they look.
///
/// # Errors
/// [`StoreError`].
pub async fn lock(tx: &mut Tx) -> Result<(), StoreError> {
    on_tx!(tx, |conn| sqlx::query(LOCK).execute(conn).await.map(|_| ()))?;
    Ok(())
}

/// Notes how far a reader's snapshots were verified. Returns whether there was room for it.
///
/// # Errors
/// [`StoreError`].
pub async fn register(
    tx: &mut Tx,
    reader: &str,
    verified: &BTreeMap<u32, u64>,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let others: i64 = on_tx!(tx, |conn| sqlx::query_scalar(COUNT_OTHERS)
        .bind(reader)
        .fetch_one(conn)
        .await)?;
    if others >= i64::from(READERS_MAX) {
        return Ok(false);
    }
    on_tx!(tx, |conn| {
        let register = sqlx::query(REGISTER).bind(reader).bind(now.0);
        register.execute(&mut *conn).await?;
        for (partition, sequence) in verified {
            let set = sqlx::query(SET).bind(reader).bind(*partition as i32);
            set.bind(*sequence as i64).execute(&mut *conn).await?;
        }
        Ok(true)
    })
}

/// Removes a reader and returns whether it was there.
///
/// # Errors
/// [`StoreError`].
pub async fn remove(tx: &mut Tx, reader: &str) -> Result<bool, StoreError> {
    on_tx!(tx, |conn| {
        let positions = sqlx::query(REMOVE_POSITIONS).bind(reader);
        positions.execute(&mut *conn).await?;
        let done = sqlx::query(REMOVE).bind(reader).execute(&mut *conn).await?;
        Ok(done.rows_affected() == 1)
    })
}

/// Returns the reader that verified least of a partition, and how far; `None` without readers.
///
/// # Errors
/// [`StoreError`].
pub async fn floor(tx: &mut Tx, partition: u32) -> Result<Option<(String, u64)>, StoreError> {
    let row: Option<(String, i64)> = on_tx!(tx, |conn| sqlx::query_as(FLOOR)
        .bind(partition as i32)
        .fetch_optional(conn)
        .await)?;
    Ok(row.map(|(reader, sequence)| (reader, sequence as u64)))
}

/// Returns what was forgotten of each partition that has a mark.
///
/// # Errors
/// [`StoreError`].
pub async fn low_waters(tx: &mut Tx) -> Result<BTreeMap<u32, u64>, StoreError> {
    let rows: Vec<(i32, i64)> =
        on_tx!(tx, |conn| sqlx::query_as(LOW_WATERS).fetch_all(conn).await)?;
    let marks = rows
        .into_iter()
        .map(|(partition, sequence)| (partition as u32, sequence as u64));
    Ok(marks.collect())
}

/// Returns all readers by name, at most [`READERS_MAX`].
///
/// # Errors
/// [`StoreError`].
pub async fn all(db: &Db) -> Result<Vec<Reader>, StoreError> {
    let rows: Vec<(String, i64)> =
        on_db!(db, |pool| sqlx::query_as(READERS).fetch_all(pool).await)?;
    let positions: Vec<(String, i32, i64)> =
        on_db!(db, |pool| sqlx::query_as(POSITIONS).fetch_all(pool).await)?;
    let mut verified: BTreeMap<String, BTreeMap<u32, u64>> = BTreeMap::new();
    for (reader, partition, sequence) in positions {
        let of = verified.entry(reader).or_default();
        of.insert(partition as u32, sequence as u64);
    }
    let readers = rows.into_iter().map(|(name, registered_at_ms)| Reader {
        verified: verified.remove(&name).unwrap_or_default(),
        registered_at: UnixMillis(registered_at_ms),
        name,
    });
    Ok(readers.collect())
}
