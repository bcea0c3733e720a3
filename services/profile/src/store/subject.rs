//! Subjects, their wrapped keys, and the blind index that leads to them.

use std::collections::HashSet;

use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::{SubjectId, UnixMillis};

/// Bytes of a blind index.
pub const INDEX_BYTES: usize = 32;
/// Bytes of a wrapped key: format, key number, nonce, key, tag.
pub const WRAPPED_BYTES: usize = 1 + 4 + 12 + 32 + 16;

/// As in the log: many keys travel as one blob, cut by a counter.
const FIND: &str = "with recursive i(n) as (
        select 0 union all select n + 1 from i where n + 1 < cast($2 as integer))
    select i.n, (select d.subject_id from identifier d where d.blind_index = substr($1, i.n * 32 + 1, 32))
    from i";
const KEYS: &str = "with recursive i(n) as (
        select 0 union all select n + 1 from i where n + 1 < cast($2 as integer))
    select s.subject_id, s.created_at_ms, s.wrapped_key from i
    join subject s on s.subject_id = substr($1, i.n * 16 + 1, 16)";
const INSERT: &str = "with recursive i(n) as (
        select 0 union all select n + 1 from i where n + 1 < cast($3 as integer))
    insert into subject (subject_id, created_at_ms, wrapped_key)
    select substr($1, i.n * 16 + 1, 16), cast($4 as bigint), substr($2, i.n * 65 + 1, 65) from i";
const IDENTIFY: &str = "with recursive i(n) as (
        select 0 union all select n + 1 from i where n + 1 < cast($3 as integer))
    insert into identifier (blind_index, subject_id)
    select substr($1, i.n * 32 + 1, 32), substr($2, i.n * 16 + 1, 16) from i where true
    on conflict (blind_index) do nothing";
/// The subjects of this transaction whose identifier another replica took first.
const DROP_ORPHANS: &str = "with recursive i(n) as (
        select 0 union all select n + 1 from i where n + 1 < cast($2 as integer))
    delete from subject where subject_id in (
        select substr($1, i.n * 16 + 1, 16) from i where not exists (
            select 1 from identifier d where d.subject_id = substr($1, i.n * 16 + 1, 16)))";
const SHRED: &str =
    "update subject set wrapped_key = null, erased_at_ms = $2 where subject_id = $1";
const FORGET: &str = "delete from identifier where subject_id = $1";
const RECEIPT: &str = "insert into erasure_receipt (receipt_id, subjects, erased_at_ms, signature)
    values ($1, $2, $3, $4)";
const ERASED: &str = "select subject_id from subject where erased_at_ms is not null
    and subject_id > $1 order by subject_id limit $2";

const ERASED_BETWEEN: &str = "select subject_id from subject
    where erased_at_ms > $1 and erased_at_ms <= $2";

/// A subject as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectRow {
    /// Its id.
    pub subject_id: SubjectId,
    /// When it was first seen.
    pub created_at: UnixMillis,
    /// Its wrapped data key; `None` once erased.
    pub wrapped_key: Option<Vec<u8>>,
}

/// A subject to make.
#[derive(Debug, Clone)]
pub struct NewSubject {
    /// Its id, random.
    pub subject_id: SubjectId,
    /// Its wrapped data key.
    pub wrapped_key: Vec<u8>,
    /// The blind index by which it is found.
    pub blind_index: [u8; INDEX_BYTES],
}

/// Returns the subject of each blind index, in order, `None` where there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn find(
    db: &Db,
    indexes: &[[u8; INDEX_BYTES]],
) -> Result<Vec<Option<SubjectId>>, StoreError> {
    let packed = indexes.concat();
    let rows: Vec<(i32, Option<Vec<u8>>)> = on_db!(db, |pool| {
        sqlx::query_as(FIND)
            .bind(&packed)
            .bind(indexes.len() as i64)
            .fetch_all(pool)
            .await
    })?;
    Ok(in_order(indexes.len(), rows))
}

/// Makes `subjects`, and returns the subject that each blind index leads to afterwards: another one
/// where another replica was first.
///
/// # Errors
/// [`StoreError`].
pub async fn create(
    tx: &mut Tx,
    subjects: &[NewSubject],
    now: UnixMillis,
) -> Result<Vec<Option<SubjectId>>, StoreError> {
    let count = subjects.len() as i64;
    let ids: Vec<u8> = subjects
        .iter()
        .flat_map(|subject| *subject.subject_id.as_bytes())
        .collect();
    let keys: Vec<u8> = subjects
        .iter()
        .flat_map(|subject| subject.wrapped_key.clone())
        .collect();
    let indexes: Vec<u8> = subjects
        .iter()
        .flat_map(|subject| subject.blind_index)
        .collect();
    on_tx!(tx, |conn| {
        let insert = sqlx::query(INSERT)
            .bind(&ids)
            .bind(&keys)
            .bind(count)
            .bind(now.0);
        insert.execute(&mut *conn).await?;
        let identify = sqlx::query(IDENTIFY).bind(&indexes).bind(&ids).bind(count);
        if identify.execute(&mut *conn).await?.rows_affected() < subjects.len() as u64 {
            sqlx::query(DROP_ORPHANS)
                .bind(&ids)
                .bind(count)
                .execute(&mut *conn)
                .await?;
        }
        let rows: Vec<(i32, Option<Vec<u8>>)> = sqlx::query_as(FIND)
            .bind(&indexes)
            .bind(count)
            .fetch_all(&mut *conn)
            .await?;
        Ok(in_order(subjects.len(), rows))
    })
}

/// Returns the rows of `subjects` that exist, in no order.
///
/// # Errors
/// [`StoreError`].
pub async fn rows(db: &Db, subjects: &[SubjectId]) -> Result<Vec<SubjectRow>, StoreError> {
    let packed: Vec<u8> = subjects
        .iter()
        .flat_map(|subject| *subject.as_bytes())
        .collect();
    if packed.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(Vec<u8>, i64, Option<Vec<u8>>)> = on_db!(db, |pool| {
        sqlx::query_as(KEYS)
            .bind(&packed)
            .bind(subjects.len() as i64)
            .fetch_all(pool)
            .await
    })?;
    Ok(to_rows(rows))
}

/// As [`rows`], inside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn rows_in(tx: &mut Tx, subjects: &[SubjectId]) -> Result<Vec<SubjectRow>, StoreError> {
    let packed: Vec<u8> = subjects
        .iter()
        .flat_map(|subject| *subject.as_bytes())
        .collect();
    if packed.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(Vec<u8>, i64, Option<Vec<u8>>)> = on_tx!(tx, |conn| {
        sqlx::query_as(KEYS)
            .bind(&packed)
            .bind(subjects.len() as i64)
            .fetch_all(conn)
            .await
    })?;
    Ok(to_rows(rows))
}

/// Destroys the keys of `subjects`, deletes the identifiers that lead to them and keeps the receipt.
///
/// # Errors
/// [`StoreError`].
pub async fn erase(
    tx: &mut Tx,
    subjects: &[SubjectId],
    receipt_id: &[u8; 16],
    signature: &[u8],
    now: UnixMillis,
) -> Result<(), StoreError> {
    on_tx!(tx, |conn| {
        for subject in subjects {
            let id = subject.as_bytes().as_slice();
            sqlx::query(SHRED)
                .bind(id)
                .bind(now.0)
                .execute(&mut *conn)
                .await?;
            sqlx::query(FORGET).bind(id).execute(&mut *conn).await?;
        }
        let receipt = sqlx::query(RECEIPT).bind(receipt_id.as_slice());
        let receipt = receipt
            .bind(subjects.len() as i64)
            .bind(now.0)
            .bind(signature);
        receipt.execute(&mut *conn).await?;
        Ok(())
    })
}

/// Returns one page of erased subjects after `after`, in order of their ids.
///
/// # Errors
/// [`StoreError`].
pub async fn erased(db: &Db, after: &[u8], limit: u32) -> Result<Vec<SubjectId>, StoreError> {
    let rows: Vec<(Vec<u8>,)> = on_db!(db, |pool| {
        sqlx::query_as(ERASED)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await
    })?;
    Ok(rows
        .iter()
        .filter_map(|(id,)| SubjectId::parse(id).ok())
        .collect())
}

/// Returns the subjects erased after `after_ms` and not after `to_ms`, in no order. Cost: one row each.
///
/// # Errors
/// [`StoreError`].
pub async fn erased_between(
    db: &Db,
    after_ms: i64,
    to_ms: i64,
) -> Result<HashSet<SubjectId>, StoreError> {
    let rows: Vec<Vec<u8>> = on_db!(db, |pool| sqlx::query_scalar(ERASED_BETWEEN)
        .bind(after_ms)
        .bind(to_ms)
        .fetch_all(pool)
        .await)?;
    let ids = rows.iter().filter_map(|id| SubjectId::parse(id).ok());
    Ok(ids.collect())
}

fn in_order(count: usize, rows: Vec<(i32, Option<Vec<u8>>)>) -> Vec<Option<SubjectId>> {
    let mut found = vec![None; count];
    for (index, subject) in rows {
        if let Some(slot) = found.get_mut(index as usize) {
            *slot = subject.and_then(|bytes| SubjectId::parse(&bytes).ok());
        }
    }
    found
}

fn to_rows(rows: Vec<(Vec<u8>, i64, Option<Vec<u8>>)>) -> Vec<SubjectRow> {
    let rows = rows
        .into_iter()
        .filter_map(|(id, created_at_ms, wrapped_key)| {
            let subject_id = SubjectId::parse(&id).ok()?;
            Some(SubjectRow {
                subject_id,
                created_at: UnixMillis(created_at_ms),
                wrapped_key,
            })
        });
    rows.collect()
}
