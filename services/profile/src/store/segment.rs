//! Which files the log's old runs are in, and below which sequence it forgot everything. Joined with no
//! profile table.

use rapport_store::{Db, StoreError, Tx, on_db, on_tx, on_writer};

use crate::log::StoredBatch;

/// Segments of one listing: what one round of the keeper looks at.
pub const PAGE: u32 = 256;
const HOLDING: &str =
    "select partition, first_sequence, last_sequence, name, digest, bytes, last_received_at_ms,
    erased_to_ms from log_segment
    where partition = $1 and first_sequence <= $2 and last_sequence >= $2
    order by first_sequence desc limit 1";
const NOT_ERASED_SINCE: &str =
    "select partition, first_sequence, last_sequence, name, digest, bytes, last_received_at_ms,
    erased_to_ms from log_segment
    where erased_to_ms <= $1 order by partition, first_sequence limit $2";
const RECEIVED_BEFORE: &str =
    "select partition, first_sequence, last_sequence, name, digest, bytes, last_received_at_ms,
    erased_to_ms from log_segment
    where last_received_at_ms < $1 order by partition, first_sequence limit $2";
const COUNT: &str = "select count(*) from log_segment";
const NAMED: &str = "select count(*) from log_segment
    where partition = $1 and first_sequence = $2 and name = $3";
const SEALED: &str = "select p.partition,
        coalesce((select max(s.last_sequence) from log_segment s where s.partition = p.partition), 0),
        coalesce((select w.sequence from log_low_water w where w.partition = p.partition), 0)
    from log_partition p order by p.partition";
const LOW_WATER: &str = "select sequence from log_low_water where partition = $1";
const RECORD: &str =
    "insert into log_segment (partition, first_sequence, last_sequence, name, digest,
        bytes, last_received_at_ms, erased_to_ms)
    values ($1, $2, $3, $4, $5, $6, $7, $8)";
const REPLACE: &str = "update log_segment set name = $4, digest = $5, bytes = $6, erased_to_ms = $7
    where partition = $1 and first_sequence = $2 and name = $3";
const DROP: &str = "delete from log_segment where partition = $1 and last_sequence <= $2";
const RAISE: &str = "insert into log_low_water (partition, sequence) values ($1, $2)
    on conflict (partition) do update set sequence = excluded.sequence
    where log_low_water.sequence < excluded.sequence";

/// Rows of the log that are still to be sealed, without their bytes.
const ROWS: &str = "select first_sequence, last_sequence, cast(length(events) as bigint)
    from log_batch where partition = $1 and first_sequence > $2 order by first_sequence limit $3";
const READ: &str = "select first_sequence, last_sequence, events from log_batch
    where partition = $1 and first_sequence >= $2 and last_sequence <= $3 order by first_sequence";
const CLEAR: &str = "delete from log_batch where partition = $1 and first_sequence <= $2";

const IDENTIFY: &str = "insert into log_identity (one, log_id) values (1, $1)
    on conflict (one) do nothing";
const IDENTITY: &str = "select log_id from log_identity where one = 1";

/// A segment as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// The partition.
    pub partition: u32,
    /// Sequence of the first event.
    pub first_sequence: u64,
    /// Sequence of the last event.
    pub last_sequence: u64,
    /// The object.
    pub name: String,
    /// SHA-256 of its header.
    pub digest: Vec<u8>,
    /// Its length.
    pub bytes: u64,
    /// When the log took its last event.
    pub last_received_at_ms: i64,
    /// Events of subjects erased until then are out of it.
    pub erased_to_ms: i64,
}

/// How far one partition is sealed and forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// The partition.
    pub partition: u32,
    /// The last sequence in a segment, or at least forgotten; 0 for none.
    pub sealed: u64,
    /// The last sequence that was forgotten; 0 for none.
    pub low_water: u64,
}

/// One row of the log, without its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSize {
    /// Sequence of the first event.
    pub first_sequence: u64,
    /// Sequence of the last event.
    pub last_sequence: u64,
    /// Bytes of the events.
    pub bytes: u64,
}

type Row = (i32, i64, i64, String, Vec<u8>, i64, i64, i64);

fn to_row(row: Row) -> SegmentRow {
    SegmentRow {
        partition: row.0 as u32,
        first_sequence: row.1 as u64,
        last_sequence: row.2 as u64,
        name: row.3,
        digest: row.4,
        bytes: row.5 as u64,
        last_received_at_ms: row.6,
        erased_to_ms: row.7,
    }
}

/// Returns the segment that holds a sequence.
///
/// # Errors
/// [`StoreError::Unavailable`] when the database is away.
pub async fn holding(
    db: &Db,
    partition: u32,
    sequence: u64,
) -> Result<Option<SegmentRow>, StoreError> {
    let row: Option<Row> = on_db!(db, |pool| sqlx::query_as(HOLDING)
        .bind(partition as i32)
        .bind(sequence as i64)
        .fetch_optional(pool)
        .await)?;
    Ok(row.map(to_row))
}

/// Returns up to [`PAGE`] segments from which only subjects erased up to `to_ms` were taken out, in
/// ascending order of partition and sequence.
///
/// # Errors
/// As [`holding`].
pub async fn not_erased_since(db: &Db, to_ms: i64) -> Result<Vec<SegmentRow>, StoreError> {
    page(db, NOT_ERASED_SINCE, to_ms).await
}

/// Returns up to [`PAGE`] segments whose last event came before `before_ms`, in ascending order of
/// partition and sequence.
///
/// # Errors
/// As [`holding`].
pub async fn received_before(db: &Db, before_ms: i64) -> Result<Vec<SegmentRow>, StoreError> {
    page(db, RECEIVED_BEFORE, before_ms).await
}

async fn page(db: &Db, text: &'static str, at_ms: i64) -> Result<Vec<SegmentRow>, StoreError> {
    let rows: Vec<Row> = on_db!(db, |pool| sqlx::query_as(text)
        .bind(at_ms)
        .bind(i64::from(PAGE))
        .fetch_all(pool)
        .await)?;
    Ok(rows.into_iter().map(to_row).collect())
}

/// Returns how many segments there are.
///
/// # Errors
/// As [`holding`].
pub async fn count(db: &Db) -> Result<u64, StoreError> {
    let count: i64 = on_db!(db, |pool| sqlx::query_scalar(COUNT).fetch_one(pool).await)?;
    Ok(count as u64)
}

/// Returns whether the run that begins at `first_sequence` is in the object `name`.
///
/// # Errors
/// As [`holding`].
pub async fn is_named(
    db: &Db,
    partition: u32,
    first_sequence: u64,
    name: &str,
) -> Result<bool, StoreError> {
    let count: i64 = on_db!(db, |pool| sqlx::query_scalar(NAMED)
        .bind(partition as i32)
        .bind(first_sequence as i64)
        .bind(name)
        .fetch_one(pool)
        .await)?;
    Ok(count > 0)
}

/// Returns how far each partition is sealed and forgotten, in ascending order.
///
/// # Errors
/// As [`holding`].
pub async fn sealed(db: &Db) -> Result<Vec<Sealed>, StoreError> {
    let rows: Vec<(i32, i64, i64)> =
        on_db!(db, |pool| sqlx::query_as(SEALED).fetch_all(pool).await)?;
    let sealed = rows
        .into_iter()
        .map(|(partition, sealed, low_water)| Sealed {
            partition: partition as u32,
            // When every segment is forgotten, what comes next is after the mark.
            sealed: sealed.max(low_water) as u64,
            low_water: low_water as u64,
        });
    Ok(sealed.collect())
}

/// Returns the last forgotten sequence of a partition, 0 for none.
///
/// # Errors
/// As [`holding`].
pub async fn low_water(db: &Db, partition: u32) -> Result<u64, StoreError> {
    let sequence: Option<i64> = on_db!(db, |pool| sqlx::query_scalar(LOW_WATER)
        .bind(partition as i32)
        .fetch_optional(pool)
        .await)?;
    Ok(sequence.unwrap_or(0) as u64)
}

/// Makes a segment the truth of its run.
///
/// # Errors
/// [`StoreError::Constraint`] when another one begins there; as [`holding`].
pub async fn record(tx: &mut Tx, row: &SegmentRow) -> Result<(), StoreError> {
    on_tx!(tx, |conn| sqlx::query(RECORD)
        .bind(row.partition as i32)
        .bind(row.first_sequence as i64)
        .bind(row.last_sequence as i64)
        .bind(row.name.as_str())
        .bind(row.digest.as_slice())
        .bind(row.bytes as i64)
        .bind(row.last_received_at_ms)
        .bind(row.erased_to_ms)
        .execute(conn)
        .await
        .map(|_| ()))?;
    Ok(())
}

/// Lets `row` take the place of the file `former` of the same run. Returns whether it was still that.
///
/// # Errors
/// As [`holding`].
pub async fn replace(tx: &mut Tx, former: &str, row: &SegmentRow) -> Result<bool, StoreError> {
    let done = on_tx!(tx, |conn| sqlx::query(REPLACE)
        .bind(row.partition as i32)
        .bind(row.first_sequence as i64)
        .bind(former)
        .bind(row.name.as_str())
        .bind(row.digest.as_slice())
        .bind(row.bytes as i64)
        .bind(row.erased_to_ms)
        .execute(conn)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Forgets the segments of a partition up to `sequence`, the last sequence of one of them.
///
/// # Errors
/// As [`holding`].
pub async fn forget(tx: &mut Tx, partition: u32, sequence: u64) -> Result<(), StoreError> {
    for text in [RAISE, DROP] {
        on_tx!(tx, |conn| sqlx::query(text)
            .bind(partition as i32)
            .bind(sequence as i64)
            .execute(conn)
            .await
            .map(|_| ()))?;
    }
    Ok(())
}

/// Returns up to `limit` rows of a partition that begin after `after_sequence`, in order, without their
/// events.
///
/// # Errors
/// As [`holding`].
pub async fn rows(
    db: &Db,
    partition: u32,
    after_sequence: u64,
    limit: u32,
) -> Result<Vec<BatchSize>, StoreError> {
    let rows: Vec<(i64, i64, i64)> = on_db!(db, |pool| sqlx::query_as(ROWS)
        .bind(partition as i32)
        .bind(after_sequence as i64)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await)?;
    let rows = rows.into_iter().map(|(first, last, bytes)| BatchSize {
        first_sequence: first as u64,
        last_sequence: last as u64,
        bytes: bytes as u64,
    });
    Ok(rows.collect())
}

/// Returns the rows of a partition that lie within a run, in order.
///
/// # Errors
/// As [`holding`].
pub async fn read(
    db: &Db,
    partition: u32,
    first_sequence: u64,
    last_sequence: u64,
) -> Result<Vec<StoredBatch>, StoreError> {
    let rows: Vec<(i64, i64, Vec<u8>)> = on_db!(db, |pool| sqlx::query_as(READ)
        .bind(partition as i32)
        .bind(first_sequence as i64)
        .bind(last_sequence as i64)
        .fetch_all(pool)
        .await)?;
    let batches = rows.into_iter().map(|(first, last, events)| StoredBatch {
        partition,
        first_sequence: first as u64,
        last_sequence: last as u64,
        encoded: events.into(),
    });
    Ok(batches.collect())
}

/// Deletes the rows up to `sequence`, the last sequence of one of them. Returns how many.
///
/// # Errors
/// As [`holding`].
pub async fn clear(db: &Db, partition: u32, sequence: u64) -> Result<u64, StoreError> {
    Ok(on_writer!(db, |pool| sqlx::query(CLEAR)
        .bind(partition as i32)
        .bind(sequence as i64)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
}

/// Returns the log's own name, `new` at the first call.
///
/// # Errors
/// As [`holding`].
pub async fn identity(db: &Db, new: &str) -> Result<String, StoreError> {
    on_writer!(db, |pool| sqlx::query(IDENTIFY)
        .bind(new)
        .execute(pool)
        .await
        .map(|_| ()))?;
    Ok(on_db!(db, |pool| sqlx::query_scalar(IDENTITY)
        .fetch_one(pool)
        .await)?)
}
