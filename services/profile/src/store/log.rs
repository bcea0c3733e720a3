//! The log's four statements in a transaction, and its reads. Joined with no profile table.

use bytes::Bytes;
use rapport_store::{Db, StoreError, Tx, on_db, on_tx, on_writer};

use crate::log::{Entry, StoredBatch};

/// Batches that one read returns at most: bounds the memory of a reader that starts far behind.
const BATCHES_PER_READ_MAX: i64 = 64;

/// Where a partition ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionEnd {
    /// The partition, 0 to 64.
    pub partition: u32,
    /// The last committed sequence, 0 if it is empty.
    pub last_sequence: u64,
    /// The receipt time of that event.
    pub last_received_at_ms: i64,
}

/// Row locks make a second writer of the partition wait until the first has committed: so sequences
/// are given out in commit order. SQLite's one writer needs no lock.
const LOCK_POSTGRES: &str =
    "select partition, last_sequence, last_received_at_ms from log_partition
    where partition = any($1) order by partition for update";
const LOCK_SQLITE: &str = "select partition, last_sequence, last_received_at_ms from log_partition
    order by partition";

/// Keys and entries travel as one blob each, cut by a counter: one text, one bind, any number of rows.
/// The scalar subquery keeps both planners on the primary key.
const LOOK_UP: &str = "with recursive i(n) as (
        select 0 union all select n + 1 from i where n + 1 < cast($2 as integer))
    select i.n, (select d.entry from log_dedup d where d.dedup_key = substr($1, i.n * 16 + 1, 16))
    from i";
const REMEMBER: &str = "with recursive i(n) as (
        select 0 union all select n + 1 from i where n + 1 < cast($3 as integer))
    insert into log_dedup (dedup_key, entry, received_day)
    select substr($1, i.n * 16 + 1, 16), substr($2, i.n * 26 + 1, 26), cast($4 as bigint) from i";

/// One row per partition. Postgres takes them in one round trip; SQLite has no round trips.
const INSERT_POSTGRES: &str =
    "insert into log_batch (partition, first_sequence, last_sequence, events)
    select * from unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bytea[])";
const INSERT_SQLITE: &str =
    "insert into log_batch (partition, first_sequence, last_sequence, events)
    values ($1, $2, $3, $4)";
const ADVANCE_POSTGRES: &str = "update log_partition p
    set last_sequence = u.last_sequence, last_received_at_ms = u.received
    from unnest($1::integer[], $2::bigint[], $3::bigint[]) as u(partition, last_sequence, received)
    where p.partition = u.partition";
const ADVANCE_SQLITE: &str = "update log_partition
    set last_sequence = $2, last_received_at_ms = $3 where partition = $1";

const ENDS: &str = "select partition, last_sequence, last_received_at_ms from log_partition
    order by partition";
const READ: &str = "select first_sequence, last_sequence, events from log_batch
    where partition = $1 and first_sequence >= coalesce(
        (select max(first_sequence) from log_batch where partition = $1 and first_sequence <= $2), 0)
    order by first_sequence limit $3";
const FORGET: &str = "delete from log_dedup where received_day < $1";

/// Locks `partitions` until the transaction ends and returns where they end, in ascending order.
///
/// # Errors
/// [`StoreError`]: a conflict or an unavailable store; the transaction is then of no more use.
pub async fn lock(tx: &mut Tx, partitions: &[u32]) -> Result<Vec<PartitionEnd>, StoreError> {
    let wanted: Vec<i32> = partitions
        .iter()
        .map(|partition| *partition as i32)
        .collect();
    let rows: Vec<(i32, i64, i64)> = match tx {
        Tx::Postgres(tx) => {
            sqlx::query_as(LOCK_POSTGRES)
                .bind(&wanted)
                .fetch_all(&mut **tx)
                .await?
        }
        Tx::Sqlite(tx) => {
            let all: Vec<(i32, i64, i64)> =
                sqlx::query_as(LOCK_SQLITE).fetch_all(&mut **tx).await?;
            all.into_iter()
                .filter(|row| wanted.contains(&row.0))
                .collect()
        }
    };
    Ok(rows.into_iter().map(to_end).collect())
}

/// Returns the entry of each 16-byte key in `keys`, in order, `None` for a key never seen.
///
/// # Errors
/// As [`lock`].
pub async fn look_up(tx: &mut Tx, keys: &[u8]) -> Result<Vec<Option<Entry>>, StoreError> {
    let count = keys.len() / 16;
    if count == 0 {
        return Ok(Vec::new());
    }
    let rows: Vec<(i32, Option<Vec<u8>>)> = on_tx!(tx, |conn| {
        sqlx::query_as(LOOK_UP)
            .bind(keys)
            .bind(count as i64)
            .fetch_all(conn)
            .await
    })?;
    let mut entries = vec![None; count];
    for (index, entry) in rows {
        if let Some(slot) = entries.get_mut(index as usize) {
            *slot = entry.as_deref().and_then(Entry::read);
        }
    }
    Ok(entries)
}

/// Remembers `entries` (26 bytes each) under `keys` (16 bytes each); `received_day` `None` for ever.
///
/// # Errors
/// As [`lock`]; a unique violation when another transaction just remembered one of the keys.
pub async fn remember(
    tx: &mut Tx,
    keys: &[u8],
    entries: &[u8],
    received_day: Option<i64>,
) -> Result<(), StoreError> {
    let count = keys.len() / 16;
    if count == 0 {
        return Ok(());
    }
    on_tx!(tx, |conn| {
        let query = sqlx::query(REMEMBER)
            .bind(keys)
            .bind(entries)
            .bind(count as i64);
        query.bind(received_day).execute(conn).await.map(|_| ())
    })?;
    Ok(())
}

/// Inserts `batches` and moves the ends of their partitions, which must be locked.
///
/// # Errors
/// As [`lock`].
pub async fn insert(
    tx: &mut Tx,
    batches: &[StoredBatch],
    received_at_ms: i64,
) -> Result<(), StoreError> {
    match tx {
        Tx::Postgres(tx) => {
            let partitions: Vec<i32> = batches.iter().map(|batch| batch.partition as i32).collect();
            let firsts: Vec<i64> = batches
                .iter()
                .map(|batch| batch.first_sequence as i64)
                .collect();
            let lasts: Vec<i64> = batches
                .iter()
                .map(|batch| batch.last_sequence as i64)
                .collect();
            let events: Vec<&[u8]> = batches.iter().map(|batch| batch.encoded.as_ref()).collect();
            let insert = sqlx::query(INSERT_POSTGRES)
                .bind(&partitions)
                .bind(&firsts)
                .bind(&lasts);
            insert.bind(&events).execute(&mut **tx).await?;
            let received = vec![received_at_ms; batches.len()];
            let advance = sqlx::query(ADVANCE_POSTGRES)
                .bind(&partitions)
                .bind(&lasts)
                .bind(&received);
            advance.execute(&mut **tx).await?;
        }
        Tx::Sqlite(tx) => {
            for batch in batches {
                let last = batch.last_sequence as i64;
                let insert = sqlx::query(INSERT_SQLITE).bind(batch.partition as i32);
                let insert = insert.bind(batch.first_sequence as i64).bind(last);
                insert
                    .bind(batch.encoded.as_ref())
                    .execute(&mut **tx)
                    .await?;
                let advance = sqlx::query(ADVANCE_SQLITE).bind(batch.partition as i32);
                advance
                    .bind(last)
                    .bind(received_at_ms)
                    .execute(&mut **tx)
                    .await?;
            }
        }
    }
    Ok(())
}

/// Returns where every partition ends, in ascending order.
///
/// # Errors
/// [`StoreError::Unavailable`] when the database is away.
pub async fn ends(db: &Db) -> Result<Vec<PartitionEnd>, StoreError> {
    let rows: Vec<(i32, i64, i64)> = on_db!(db, |pool| sqlx::query_as(ENDS).fetch_all(pool).await)?;
    Ok(rows.into_iter().map(to_end).collect())
}

/// Returns up to [`BATCHES_PER_READ_MAX`] batches that hold events after `after_sequence`, in order.
/// The first may begin at or before it.
///
/// # Errors
/// As [`ends`].
pub async fn read_after(
    db: &Db,
    partition: u32,
    after_sequence: u64,
) -> Result<Vec<StoredBatch>, StoreError> {
    let rows: Vec<(i64, i64, Vec<u8>)> = on_db!(db, |pool| {
        let query = sqlx::query_as(READ)
            .bind(partition as i32)
            .bind(after_sequence as i64 + 1);
        query.bind(BATCHES_PER_READ_MAX).fetch_all(pool).await
    })?;
    let batches = rows.into_iter().map(|(first, last, events)| StoredBatch {
        partition,
        first_sequence: first as u64,
        last_sequence: last as u64,
        encoded: Bytes::from(events),
    });
    Ok(batches
        .filter(|batch| batch.last_sequence > after_sequence)
        .collect())
}

/// Forgets live events that were received before `day`. Returns how many.
///
/// # Errors
/// As [`ends`].
pub async fn forget_before(db: &Db, day: i64) -> Result<u64, StoreError> {
    Ok(on_writer!(db, |pool| {
        sqlx::query(FORGET)
            .bind(day)
            .execute(pool)
            .await
            .map(|done| done.rows_affected())
    })?)
}

fn to_end((partition, last_sequence, last_received_at_ms): (i32, i64, i64)) -> PartitionEnd {
    PartitionEnd {
        partition: partition as u32,
        last_sequence: last_sequence as u64,
        last_received_at_ms,
    }
}

const RELAYED: &str = "select sequence from relay where name = 'control'";
/// Never back: two replicas may relay at once.
const SET_RELAYED: &str = "update relay set sequence = $1 where name = 'control' and sequence < $1";

/// Returns how far control records were copied to the subjects' partitions.
///
/// # Errors
/// As [`ends`].
pub async fn relayed(db: &Db) -> Result<u64, StoreError> {
    let sequence: i64 = on_db!(db, |pool| sqlx::query_scalar(RELAYED).fetch_one(pool).await)?;
    Ok(sequence as u64)
}

/// Notes that control records up to `sequence` were copied.
///
/// # Errors
/// As [`ends`].
pub async fn set_relayed(db: &Db, sequence: u64) -> Result<(), StoreError> {
    on_writer!(db, |pool| {
        sqlx::query(SET_RELAYED)
            .bind(sequence as i64)
            .execute(pool)
            .await
            .map(|_| ())
    })?;
    Ok(())
}
