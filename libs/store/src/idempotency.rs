//! One effect per request id: the record of a call lives in the transaction of its effect.
//!
//! A call is named by `(caller, method, request_id)`. The first to begin it inserts the record and so
//! holds its row until the transaction ends; others with the same name wait for that (on SQLite, for
//! the one writer) and then see the response, or, if the first rolled back, begin it themselves. So a record without its effect, or an effect without its record, cannot exist.
//!
//! Nothing is stored when the effect fails: it rolled back, and a retry executes again. Records are
//! kept at least [`KEEP_MIN_MS`]; [`sweep`] and [`sweep_all`] delete older ones.

use rapport_types::UnixMillis;

use crate::{Db, StoreError, Tx, on_tx, on_writer};

/// The table on Postgres, for a service's first migration.
pub const TABLE_POSTGRES: &str = "create table idempotency (
    caller text not null,
    method text not null,
    request_id text not null,
    body_hash bytea not null,
    response bytea,
    created_at_ms bigint not null,
    primary key (caller, method, request_id)
);
create index idempotency_by_age on idempotency (created_at_ms);";

/// The table on SQLite, for a service's first migration.
pub const TABLE_SQLITE: &str = "create table idempotency (
    caller text not null,
    method text not null,
    request_id text not null,
    body_hash blob not null,
    response blob,
    created_at_ms bigint not null,
    primary key (caller, method, request_id)
) without rowid;
create index idempotency_by_age on idempotency (created_at_ms);";

/// Records are kept at least this long, a day, whatever [`sweep`] is asked for.
pub const KEEP_MIN_MS: i64 = 24 * 60 * 60 * 1_000;
/// Longest caller, method or request id, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Longest body fingerprint, in bytes.
pub const BODY_HASH_BYTES_MAX: usize = 64;
/// Longest response that is kept, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
/// Most records that one [`sweep`] deletes.
pub const SWEEP_ROWS_MAX: u32 = 10_000;

/// One call of one method by one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// The authenticated caller. Two callers' equal request ids are independent.
    pub caller: &'a str,
    /// The gRPC method path.
    pub method: &'a str,
    /// The caller's idempotency key, from the request's body.
    pub request_id: &'a str,
    /// A fingerprint of the request's body, e.g. its SHA-256.
    pub body_hash: &'a [u8],
}

/// Why a call was not executed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdempotencyError {
    /// The same request id came with another body: ALREADY_EXISTS / REQUEST_ID_REUSED.
    #[error("the request id was used with another body")]
    Reused,
    /// A part of the call is empty or longer than its maximum; the name of the part.
    #[error("{0} is empty or too long")]
    Invalid(&'static str),
    /// The record was committed without a response: the service forgot [`Slot::commit`].
    #[error("the first call kept no response")]
    Unrecorded,
    /// The recorded response is no message of the type that the method answers.
    #[error("the first call's response does not decode")]
    Damaged,
    /// The store failed.
    #[error("store failed")]
    Store(#[from] StoreError),
}

/// A write that was either begun now or finished long ago.
#[derive(Debug)]
pub enum Begun {
    /// Nobody did this before: do it in this transaction, then [`Slot::commit`].
    New(Tx, Slot),
    /// It was done; the response of then, byte for byte.
    Done(Vec<u8>),
}

/// The right and the duty to record one call's response.
#[derive(Debug)]
#[must_use = "commit the response with the effect"]
pub struct Slot {
    caller: String,
    method: String,
    request_id: String,
}

const INSERT: &str =
    "insert into idempotency (caller, method, request_id, body_hash, created_at_ms)
    values ($1, $2, $3, $4, $5) on conflict (caller, method, request_id) do nothing";
const SELECT: &str = "select body_hash, response from idempotency
    where caller = $1 and method = $2 and request_id = $3";
const RECORD: &str = "update idempotency set response = $4
    where caller = $1 and method = $2 and request_id = $3";
const SWEEP: &str = "delete from idempotency where (caller, method, request_id) in (
    select caller, method, request_id from idempotency
    where created_at_ms < $1 order by created_at_ms limit $2)";

/// Begins a transaction that nobody else has for the same call, or returns what that call answered.
///
/// Waits while another transaction holds the same call. Dropping what is begun undoes all of it.
///
/// # Errors
///
/// [`IdempotencyError::Reused`] for another body under the same request id;
/// [`StoreError::Conflict`] or [`StoreError::Unavailable`] when the wait was too long (retry).
pub async fn begin(db: &Db, call: &Call<'_>, now: UnixMillis) -> Result<Begun, IdempotencyError> {
    check(call)?;
    let mut tx = db.begin().await?;
    let inserted = on_tx!(&mut tx, |conn| sqlx::query(INSERT)
        .bind(call.caller)
        .bind(call.method)
        .bind(call.request_id)
        .bind(call.body_hash)
        .bind(now.0)
        .execute(conn)
        .await
        .map(|done| done.rows_affected()))
    .map_err(StoreError::from)?;
    if inserted == 1 {
        let slot = Slot {
            caller: call.caller.to_owned(),
            method: call.method.to_owned(),
            request_id: call.request_id.to_owned(),
        };
        return Ok(Begun::New(tx, slot));
    }
    let (body_hash, response): (Vec<u8>, Option<Vec<u8>>) =
        on_tx!(&mut tx, |conn| sqlx::query_as(SELECT)
            .bind(call.caller)
            .bind(call.method)
            .bind(call.request_id)
            .fetch_one(conn)
            .await)
        .map_err(StoreError::from)?;
    if body_hash != call.body_hash {
        return Err(IdempotencyError::Reused);
    }
    let response = response.ok_or(IdempotencyError::Unrecorded)?;
    tx.rollback().await?;
    Ok(Begun::Done(response))
}

impl Slot {
    /// Records the response of the effect and commits both.
    ///
    /// # Errors
    ///
    /// [`IdempotencyError::Invalid`] for a response above [`RESPONSE_BYTES_MAX`]: nothing happened.
    /// [`IdempotencyError::Store`]: unknown whether it happened; the same call finds out.
    pub async fn commit(self, mut tx: Tx, response: &[u8]) -> Result<(), IdempotencyError> {
        if response.len() > RESPONSE_BYTES_MAX {
            return Err(IdempotencyError::Invalid("response"));
        }
        on_tx!(&mut tx, |conn| sqlx::query(RECORD)
            .bind(self.caller.as_str())
            .bind(self.method.as_str())
            .bind(self.request_id.as_str())
            .bind(response)
            .execute(conn)
            .await
            .map(drop))
        .map_err(StoreError::from)?;
        Ok(tx.commit().await?)
    }
}

/// Deletes every record above `keep_ms` of age as [`crate::sweep_all`] does, and returns how many.
/// `keep_ms` below [`KEEP_MIN_MS`] is raised.
///
/// # Errors
///
/// When the store fails.
pub async fn sweep_all(db: &Db, now: UnixMillis, keep_ms: i64) -> Result<u64, StoreError> {
    crate::sweep_all(SWEEP_ROWS_MAX, || sweep(db, now, keep_ms)).await
}

/// Deletes up to [`SWEEP_ROWS_MAX`] of the oldest records above `keep_ms` of age and returns how
/// many; fewer than the maximum means that none are left. `keep_ms` below [`KEEP_MIN_MS`] is raised.
///
/// # Errors
///
/// When the store fails.
pub async fn sweep(db: &Db, now: UnixMillis, keep_ms: i64) -> Result<u64, StoreError> {
    let oldest = now.plus(-keep_ms.max(KEEP_MIN_MS));
    Ok(on_writer!(db, |pool| sqlx::query(SWEEP)
        .bind(oldest.0)
        .bind(i64::from(SWEEP_ROWS_MAX))
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
}

fn check(call: &Call<'_>) -> Result<(), IdempotencyError> {
    let parts = [
        ("caller", call.caller.len(), NAME_BYTES_MAX),
        ("method", call.method.len(), NAME_BYTES_MAX),
        ("request_id", call.request_id.len(), NAME_BYTES_MAX),
        ("body_hash", call.body_hash.len(), BODY_HASH_BYTES_MAX),
    ];
    match parts
        .into_iter()
        .find(|(_, len, max)| *len == 0 || len > max)
    {
        Some((part, ..)) => Err(IdempotencyError::Invalid(part)),
        None => Ok(()),
    }
}
