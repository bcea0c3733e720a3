//! One effect per request id: the record of a call lives in the transaction of its effect.
//!
//! A call is named by `(caller, method, request_id)`. The first claim of a name inserts the record
//! and so holds its row until the transaction ends; others with the same name wait for that (on
//! SQLite, for the one writer) and then see the response, or, if the first rolled back, claim it
//! themselves. So a record without its effect, or an effect without its record, cannot exist.
//!
//! Nothing is stored when the effect fails: it rolled back, and a retry executes again. Records are
//! kept at least [`KEEP_MIN_MS`]; [`sweep`] deletes older ones.

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
    /// The record was committed without a response: the service forgot [`Slot::record`].
    #[error("the first call kept no response")]
    Unrecorded,
    /// The store failed.
    #[error("store failed")]
    Store(#[from] StoreError),
}

/// What a call with an idempotency key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The effect happened now; the response.
    Executed(Vec<u8>),
    /// The effect had happened before; the response of then, byte for byte.
    Replayed(Vec<u8>),
}

impl Outcome {
    /// Returns the response, whichever call made it.
    #[must_use]
    pub fn into_response(self) -> Vec<u8> {
        match self {
            Self::Executed(response) | Self::Replayed(response) => response,
        }
    }
}

/// The answer to [`claim`].
#[derive(Debug)]
pub enum Claim {
    /// Nobody did this before: do it in the same transaction, then [`Slot::record`], then commit.
    New(Slot),
    /// It was done: answer this and roll back.
    Replay(Vec<u8>),
}

/// The right and the duty to record one call's response.
#[derive(Debug)]
#[must_use = "record the response in the same transaction"]
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

/// Claims a call inside `tx`, before any other write of that transaction.
///
/// Waits while another transaction holds the same call.
///
/// # Errors
///
/// [`IdempotencyError::Reused`] for another body under the same request id;
/// [`StoreError::Conflict`] or [`StoreError::Unavailable`] when the wait was too long (retry).
pub async fn claim(
    tx: &mut Tx,
    call: &Call<'_>,
    now: UnixMillis,
) -> Result<Claim, IdempotencyError> {
    check(call)?;
    let inserted = on_tx!(tx, |conn| sqlx::query(INSERT)
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
        return Ok(Claim::New(Slot {
            caller: call.caller.to_owned(),
            method: call.method.to_owned(),
            request_id: call.request_id.to_owned(),
        }));
    }
    let (body_hash, response): (Vec<u8>, Option<Vec<u8>>) =
        on_tx!(tx, |conn| sqlx::query_as(SELECT)
            .bind(call.caller)
            .bind(call.method)
            .bind(call.request_id)
            .fetch_one(conn)
            .await)
        .map_err(StoreError::from)?;
    if body_hash != call.body_hash {
        return Err(IdempotencyError::Reused);
    }
    Ok(Claim::Replay(response.ok_or(IdempotencyError::Unrecorded)?))
}

impl Slot {
    /// Records the response of the effect. The caller commits.
    ///
    /// # Errors
    ///
    /// [`IdempotencyError::Invalid`] for a response above [`RESPONSE_BYTES_MAX`].
    pub async fn record(self, tx: &mut Tx, response: &[u8]) -> Result<(), IdempotencyError> {
        if response.len() > RESPONSE_BYTES_MAX {
            return Err(IdempotencyError::Invalid("response"));
        }
        on_tx!(tx, |conn| sqlx::query(RECORD)
            .bind(self.caller.as_str())
            .bind(self.method.as_str())
            .bind(self.request_id.as_str())
            .bind(response)
            .execute(conn)
            .await
            .map(|_| ()))
        .map_err(StoreError::from)?;
        Ok(())
    }
}

/// Runs `effect` once per call, in one transaction with its record, and commits.
///
/// `effect` writes through the transaction it is given and returns the encoded response. When it
/// fails, everything is rolled back and nothing is recorded.
///
/// # Errors
///
/// The effect's own error, or an [`IdempotencyError`] as `E`.
pub async fn run<E, F>(db: &Db, call: &Call<'_>, now: UnixMillis, effect: F) -> Result<Outcome, E>
where
    E: From<IdempotencyError>,
    F: AsyncFnOnce(&mut Tx) -> Result<Vec<u8>, E>,
{
    let mut tx = db.begin().await.map_err(IdempotencyError::from)?;
    match claim(&mut tx, call, now).await? {
        Claim::Replay(response) => {
            tx.rollback().await.map_err(IdempotencyError::from)?;
            Ok(Outcome::Replayed(response))
        }
        Claim::New(slot) => {
            let response = effect(&mut tx).await?;
            slot.record(&mut tx, &response).await?;
            tx.commit().await.map_err(IdempotencyError::from)?;
            Ok(Outcome::Executed(response))
        }
    }
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
