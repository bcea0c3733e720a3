//! Named leases with an epoch that fences: who owns a partition, and whose writes still count.
//!
//! Each successful [`acquire`] raises the lease's epoch and no epoch is ever used twice. An effect
//! calls [`fence`] in its own transaction, which holds the lease's row until that transaction ends:
//! either the owner is still the owner when it commits, or nothing is written.
//!
//! **Clocks.** Safety needs no clock: a replica whose clock is fast takes leases early, the former
//! owner's next fenced transaction is refused, and nothing is written twice. Time decides only how
//! soon a dead owner is replaced. An owner should measure its own time to live on a monotonic clock
//! from *before* it sent [`acquire`] or [`renew`], stop at about two thirds of it, and treat a
//! failed renewal as a loss.

use std::time::Duration;

use rapport_types::UnixMillis;
use tokio::time::{MissedTickBehavior, interval};

use crate::{Db, StoreError, Tx, on_db, on_tx, on_writer};

/// The table, the same text on both engines, for a service's first migration.
pub const TABLE: &str = "create table leases (
    name text not null primary key,
    owner text not null,
    epoch bigint not null,
    expires_at_ms bigint not null
);";

/// Longest name or owner, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Most leases that one [`list`] returns.
pub const LIST_MAX: u32 = 1_000;

/// A lease as its owner holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What is leased, e.g. `events/17`.
    pub name: String,
    /// Who holds it. Names a process: an id of this boot tells restarts apart in logs.
    pub owner: String,
    /// Raised by every acquisition; starts at 1.
    pub epoch: i64,
    /// When others may take it, by the clock of whoever asks. 0 after a release.
    pub expires: UnixMillis,
}

/// Why a fenced effect must not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Somebody else acquired the lease since: roll back, drop all state of it, stop.
    #[error("lease {name} at epoch {epoch} was taken over")]
    Fenced {
        /// The lease's name.
        name: String,
        /// The epoch that is over.
        epoch: i64,
    },
    /// The name or the owner is empty or longer than [`NAME_BYTES_MAX`].
    #[error("a lease's {0} is empty or too long")]
    Invalid(&'static str),
    /// The store failed; whether the lease still holds is unknown.
    #[error("store failed")]
    Store(#[from] StoreError),
}

const ACQUIRE: &str = "insert into leases (name, owner, epoch, expires_at_ms)
    values ($1, $2, 1, $4)
    on conflict (name) do update set owner = excluded.owner, epoch = leases.epoch + 1,
        expires_at_ms = excluded.expires_at_ms
    where leases.expires_at_ms <= $3 or leases.owner = excluded.owner
    returning epoch";
const RENEW: &str = "update leases set expires_at_ms = $4
    where name = $1 and owner = $2 and epoch = $3";
// SQLite's transaction is the only writer, so reading is enough. Postgres must hold the row, or the
// lease could change hands between this check and the commit.
const FENCE_SQLITE: &str = "select epoch from leases
    where name = $1 and owner = $2 and epoch = $3";
const FENCE_PG: &str = "select epoch from leases
    where name = $1 and owner = $2 and epoch = $3 for share";
const LIST: &str = "select name, owner, epoch, expires_at_ms from leases
    where name >= $1 and name < $2 order by name limit $3";

/// Takes a lease that is free, expired or already this owner's, until `now + ttl_ms`.
///
/// Returns `None` while somebody else holds it. Taking one's own again raises the epoch too: what
/// an earlier life of the same owner left behind is fenced.
///
/// # Errors
///
/// [`LeaseError::Invalid`] for a bad name, [`LeaseError::Store`] when the store fails.
pub async fn acquire(
    db: &Db,
    name: &str,
    owner: &str,
    now: UnixMillis,
    ttl_ms: i64,
) -> Result<Option<Lease>, LeaseError> {
    for (part, text) in [("name", name), ("owner", owner)] {
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(LeaseError::Invalid(part));
        }
    }
    let expires = now.plus(ttl_ms);
    let epoch: Option<i64> = on_writer!(db, |pool| sqlx::query_scalar(ACQUIRE)
        .bind(name)
        .bind(owner)
        .bind(now.0)
        .bind(expires.0)
        .fetch_optional(pool)
        .await)
    .map_err(StoreError::from)?;
    Ok(epoch.map(|epoch| Lease {
        name: name.to_owned(),
        owner: owner.to_owned(),
        epoch,
        expires,
    }))
}

/// Extends a lease until `now + ttl_ms`, also when it expired and nobody took it.
///
/// # Errors
///
/// [`LeaseError::Fenced`] when somebody took it.
pub async fn renew(
    db: &Db,
    lease: &Lease,
    now: UnixMillis,
    ttl_ms: i64,
) -> Result<Lease, LeaseError> {
    let expires = now.plus(ttl_ms);
    if set_expiry(db, lease, expires).await? {
        Ok(Lease {
            expires,
            ..lease.clone()
        })
    } else {
        Err(fenced(lease))
    }
}

/// Gives a lease up, so that others need not wait for its end. The row stays, and with it the
/// epoch. Returns whether it was still held.
///
/// # Errors
///
/// [`LeaseError::Store`] when the store fails; the lease then runs out by itself.
pub async fn release(db: &Db, lease: &Lease) -> Result<bool, LeaseError> {
    set_expiry(db, lease, UnixMillis(0)).await
}

/// Runs `work` while holding a lease, which is renewed three times in its `ttl_ms` and given up in the
/// end. Returns `None`, and runs nothing, while somebody else holds it.
///
/// * `owner`: of this call alone, because an owner may take its own lease twice.
/// * `now`: the time of whoever asks, as in [`acquire`].
/// * `work` is dropped as soon as a renewal finds the lease lost. A renewal that fails for another reason
///   is tried again, so an effect that must happen once has to [`fence`] with the lease.
///
/// # Errors
///
/// [`LeaseError::Fenced`] when somebody took the lease meanwhile; else as [`acquire`].
pub async fn alone<T, F>(
    db: &Db,
    name: &str,
    owner: &str,
    ttl_ms: i64,
    now: impl Fn() -> UnixMillis,
    work: impl FnOnce(Lease) -> F,
) -> Result<Option<T>, LeaseError>
where
    F: Future<Output = T>,
{
    let Some(lease) = acquire(db, name, owner, now(), ttl_ms).await? else {
        return Ok(None);
    };
    let done = tokio::select! {
        done = work(lease.clone()) => Ok(Some(done)),
        lost = keep(db, &lease, ttl_ms, now) => Err(lost),
    };
    if let Err(error) = release(db, &lease).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, name, "a lease runs out by itself");
    }
    done
}

/// Renews a lease until it is lost. Never returns otherwise.
async fn keep(db: &Db, lease: &Lease, ttl_ms: i64, now: impl Fn() -> UnixMillis) -> LeaseError {
    let mut ticks = interval(Duration::from_millis((ttl_ms / 3).max(1) as u64));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match renew(db, lease, now(), ttl_ms).await {
            Ok(_renewed) => {}
            Err(lost @ LeaseError::Fenced { .. }) => return lost,
            // It may run out meanwhile: who took it then is found by the next renewal, and by a fence.
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, name = lease.name, "a lease is not renewed");
            }
        }
    }
}

/// Makes the rest of `tx` depend on the lease: nobody can take it over before `tx` ends.
///
/// # Errors
///
/// [`LeaseError::Fenced`] when somebody already did: roll back.
pub async fn fence(tx: &mut Tx, lease: &Lease) -> Result<(), LeaseError> {
    let query = match tx {
        Tx::Postgres(_) => FENCE_PG,
        Tx::Sqlite(_) => FENCE_SQLITE,
    };
    let epoch: Option<i64> = on_tx!(tx, |conn| sqlx::query_scalar(query)
        .bind(lease.name.as_str())
        .bind(lease.owner.as_str())
        .bind(lease.epoch)
        .fetch_optional(conn)
        .await)
    .map_err(StoreError::from)?;
    epoch.map(|_| ()).ok_or_else(|| fenced(lease))
}

/// Returns up to [`LIST_MAX`] leases whose name starts with `prefix`, expired ones too, by name.
///
/// # Errors
///
/// [`LeaseError::Store`] when the store fails.
pub async fn list(db: &Db, prefix: &str) -> Result<Vec<Lease>, LeaseError> {
    // The last code point there is: every name with the prefix sorts before it, by bytes.
    let end = format!("{prefix}\u{10FFFF}");
    let rows: Vec<(String, String, i64, i64)> = on_db!(db, |pool| sqlx::query_as(LIST)
        .bind(prefix)
        .bind(end.as_str())
        .bind(i64::from(LIST_MAX))
        .fetch_all(pool)
        .await)
    .map_err(StoreError::from)?;
    Ok(rows
        .into_iter()
        .map(|(name, owner, epoch, expires)| Lease {
            name,
            owner,
            epoch,
            expires: UnixMillis(expires),
        })
        .collect())
}

async fn set_expiry(db: &Db, lease: &Lease, expires: UnixMillis) -> Result<bool, LeaseError> {
    let changed = on_writer!(db, |pool| sqlx::query(RENEW)
        .bind(lease.name.as_str())
        .bind(lease.owner.as_str())
        .bind(lease.epoch)
        .bind(expires.0)
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))
    .map_err(StoreError::from)?;
    Ok(changed == 1)
}

fn fenced(lease: &Lease) -> LeaseError {
    LeaseError::Fenced {
        name: lease.name.clone(),
        epoch: lease.epoch,
    }
}
