//! The log's four statements in a transaction, and its reads. Joined with no profile table.

use std::collections::BTreeMap;

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
/// The scalar subquery keeps both planners on the primary key; only known keys cost a row.
const LOOK_UP: &str = "with recursive i(n) as (
        select 0 union all select n + 1 from i where n + 1 < cast($2 as integer))
    select n, entry from (
        select i.n as n,
            (select d.entry from log_dedup d where d.dedup_key = substr($1, i.n * 16 + 1, 16)) as entry
        from i) known
    where entry is not null";
const REMEMBER_POSTGRES: &str = "with recursive i(n) as (
        select 0 union all select n + 1 from i where n + 1 < $3::integer)
    insert into log_dedup (dedup_key, entry, received_day)
    select substr($1, i.n * 16 + 1, 16), substr($2, i.n * 26 + 1, 26), $4::bigint
    from i on conflict (dedup_key) do nothing";
/// `or ignore` and not `on conflict`: SQLite copies every page that a statement changes unless no row of
/// it can fail, and only `or ignore` covers `not null` as well.
const REMEMBER_SQLITE: &str = "with recursive i(n) as (
        select 0 union all select n + 1 from i where n + 1 < $3)
    insert or ignore into log_dedup (dedup_key, entry, received_day)
    select substr($1, i.n * 16 + 1, 16), substr($2, i.n * 26 + 1, 26), $4 from i";

/// All rows in one statement. Postgres takes arrays; SQLite has none, so there the rows travel as JSON
/// and their bytes as one blob: every statement is a message to another thread and back.
const INSERT_POSTGRES: &str =
    "insert into log_batch (partition, first_sequence, last_sequence, events)
    select * from unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bytea[])";
const INSERT_SQLITE: &str =
    "insert into log_batch (partition, first_sequence, last_sequence, events)
    select value ->> 0, value ->> 1, value ->> 2, substr($2, value ->> 3, value ->> 4)
    from json_each($1)";
const ADVANCE_POSTGRES: &str = "update log_partition p
    set last_sequence = u.last_sequence, last_received_at_ms = $3
    from unnest($1::integer[], $2::bigint[]) as u(partition, last_sequence)
    where p.partition = u.partition";
const ADVANCE_SQLITE: &str = "update log_partition
    set last_sequence = u.value ->> 1, last_received_at_ms = $2
    from json_each($1) as u where partition = u.value ->> 0";

const ENDS: &str = "select partition, last_sequence, last_received_at_ms from log_partition
    order by partition";
const READ: &str = "select first_sequence, last_sequence, events from log_batch
    where partition = $1 and first_sequence >= coalesce(
        (select max(first_sequence) from log_batch where partition = $1 and first_sequence <= $2), 0)
    order by first_sequence limit $3";
/// One slice of the keys at a time: there is no index by day, which every append would pay for.
const FORGET: &str = "delete from log_dedup
    where dedup_key >= $1 and dedup_key < $2 and received_day < $3";
/// Slices of the keys. One holds 25,000 of a hundred million.
pub const SLICES: u16 = 4_096;

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
    let rows: Vec<(i32, Vec<u8>)> = on_tx!(tx, |conn| {
        sqlx::query_as(LOOK_UP)
            .bind(keys)
            .bind(count as i64)
            .fetch_all(conn)
            .await
    })?;
    let mut entries = vec![None; count];
    for (index, entry) in rows {
        if let Some(slot) = entries.get_mut(index as usize) {
            *slot = Entry::read(&entry);
        }
    }
    Ok(entries)
}

/// Remembers `entries` (26 bytes each) under `keys` (16 bytes each); `received_day` `None` for ever.
///
/// Returns whether all of them were new. If not, another transaction just remembered some: roll back.
///
/// # Errors
/// As [`lock`].
pub async fn remember(
    tx: &mut Tx,
    keys: &[u8],
    entries: &[u8],
    received_day: Option<i64>,
) -> Result<bool, StoreError> {
    let count = keys.len() / 16;
    if count == 0 {
        return Ok(true);
    }
    let text = match tx {
        Tx::Postgres(_) => REMEMBER_POSTGRES,
        Tx::Sqlite(_) => REMEMBER_SQLITE,
    };
    let new = on_tx!(tx, |conn| {
        let query = sqlx::query(text)
            .bind(keys)
            .bind(entries)
            .bind(count as i64);
        let done = query.bind(received_day).execute(conn).await;
        done.map(|done| done.rows_affected())
    })?;
    Ok(new == count as u64)
}

/// Inserts `batches`, in ascending order of partition and sequence, and moves the ends of their
/// partitions, which must be locked.
///
/// # Errors
/// As [`lock`].
pub async fn insert(
    tx: &mut Tx,
    batches: &[StoredBatch],
    received_at_ms: i64,
) -> Result<(), StoreError> {
    // The last batch of a partition wins: one row per partition, however many batches it got.
    let ends: BTreeMap<i32, i64> = batches
        .iter()
        .map(|batch| (batch.partition as i32, batch.last_sequence as i64))
        .collect();
    match tx {
        Tx::Postgres(tx) => {
            let column = |of: fn(&StoredBatch) -> u64| -> Vec<i64> {
                batches.iter().map(|batch| of(batch) as i64).collect()
            };
            let partitions: Vec<i32> = batches.iter().map(|batch| batch.partition as i32).collect();
            let events: Vec<&[u8]> = batches.iter().map(|batch| batch.encoded.as_ref()).collect();
            let insert = sqlx::query(INSERT_POSTGRES)
                .bind(&partitions)
                .bind(column(|batch| batch.first_sequence))
                .bind(column(|batch| batch.last_sequence));
            insert.bind(&events).execute(&mut **tx).await?;
            let (partitions, lasts): (Vec<i32>, Vec<i64>) = ends.into_iter().unzip();
            let advance = sqlx::query(ADVANCE_POSTGRES).bind(&partitions).bind(&lasts);
            advance.bind(received_at_ms).execute(&mut **tx).await?;
        }
        Tx::Sqlite(tx) => {
            let (rows, events) = packed(batches);
            let insert = sqlx::query(INSERT_SQLITE).bind(rows).bind(events);
            insert.execute(&mut **tx).await?;
            let ends = listed(
                ends.iter()
                    .map(|(partition, last)| format!("[{partition},{last}]")),
            );
            let advance = sqlx::query(ADVANCE_SQLITE).bind(ends);
            advance.bind(received_at_ms).execute(&mut **tx).await?;
        }
    }
    Ok(())
}

/// Returns batches as JSON rows of partition, first, last, place and length, and all their bytes.
fn packed(batches: &[StoredBatch]) -> (String, Vec<u8>) {
    let mut events = Vec::with_capacity(batches.iter().map(|batch| batch.encoded.len()).sum());
    let rows = batches.iter().map(|batch| {
        // SQL counts from 1.
        let (place, length) = (events.len() + 1, batch.encoded.len());
        events.extend_from_slice(&batch.encoded);
        let (partition, first, last) = (batch.partition, batch.first_sequence, batch.last_sequence);
        format!("[{partition},{first},{last},{place},{length}]")
    });
    (listed(rows), events)
}

fn listed(rows: impl Iterator<Item = String>) -> String {
    let rows: Vec<String> = rows.collect();
    format!("[{}]", rows.join(","))
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

/// Forgets live events of one slice of the keys, 0 to [`SLICES`], that were received before `day`.
/// Returns how many.
///
/// # Errors
/// As [`ends`].
pub async fn forget_before(db: &Db, slice: u16, day: i64) -> Result<u64, StoreError> {
    let border = |slice: u32| {
        // Keys are uniform hashes: equal ranges of their first four bytes are equal shares.
        let first = (u64::from(slice) << 32) / u64::from(SLICES);
        match u32::try_from(first) {
            Ok(first) => first.to_be_bytes().to_vec(),
            // Longer than any key, so above all of them.
            Err(_beyond) => vec![u8::MAX; 17],
        }
    };
    let (from, to) = (border(u32::from(slice)), border(u32::from(slice) + 1));
    Ok(on_writer!(db, |pool| {
        let forget = sqlx::query(FORGET).bind(&from).bind(&to).bind(day);
        forget.execute(pool).await.map(|done| done.rows_affected())
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
