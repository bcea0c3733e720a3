//! Who had which case when. The unique index over open rows is the last word on "one agent only".

use rapport_store::{StoreError, Tx, on_tx};
use rapport_types::UnixMillis;

const BEGIN: &str = "insert into assignments (case_id, epoch, agent_id, assigned_at_ms)
    values ($1, $2, $3, $4)";
// The negative control of the claim: the second agent is not noticed.
const BEGIN_UNGUARDED: &str = "insert into assignments (case_id, epoch, agent_id, assigned_at_ms)
    values ($1, $2, $3, $4) on conflict do nothing";
const END: &str = "update assignments set ended_at_ms = $2
    where case_id = $1 and ended_at_ms is null";

/// Writes that an agent has a case from now on.
///
/// # Errors
/// [`StoreError::Constraint`] if somebody has it already.
pub async fn begin(
    tx: &mut Tx,
    case_id: &[u8; 16],
    epoch: i64,
    agent_id: &str,
    now: UnixMillis,
    guarded: bool,
) -> Result<(), StoreError> {
    on_tx!(tx, |conn| {
        sqlx::query(if guarded { BEGIN } else { BEGIN_UNGUARDED })
            .bind(case_id.as_slice())
            .bind(epoch)
            .bind(agent_id)
            .bind(now.0)
            .execute(conn)
            .await
            .map(drop)
    })?;
    Ok(())
}

/// Writes that nobody has a case any more.
///
/// # Errors
/// [`StoreError`].
pub async fn end(tx: &mut Tx, case_id: &[u8; 16], now: UnixMillis) -> Result<(), StoreError> {
    on_tx!(tx, |conn| {
        sqlx::query(END)
            .bind(case_id.as_slice())
            .bind(now.0)
            .execute(conn)
            .await
            .map(drop)
    })?;
    Ok(())
}
