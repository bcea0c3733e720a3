//! Who had which case when. The unique index over open rows is the last word on "one agent only".

use rapport_store::{StoreError, Tx, on_tx};
use rapport_types::UnixMillis;

// Either key may refuse: the open row of who has the case, or the row of this epoch. On Postgres it
// waits for a transaction that writes one of them now.
const BEGIN: &str = "insert into assignments (case_id, epoch, agent_id, assigned_at_ms)
    values ($1, $2, $3, $4) on conflict do nothing";
const END: &str = "update assignments set ended_at_ms = $2
    where case_id = $1 and ended_at_ms is null";

/// Writes that an agent has a case from now on; `false` if somebody has it, or had it under this
/// epoch: another transaction gave it away since it was read.
///
/// # Errors
/// [`StoreError`].
pub async fn begin(
    tx: &mut Tx,
    case_id: &[u8; 16],
    epoch: i64,
    agent_id: &str,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let written = on_tx!(tx, |conn| {
        sqlx::query(BEGIN)
            .bind(case_id.as_slice())
            .bind(epoch)
            .bind(agent_id)
            .bind(now.0)
            .execute(conn)
            .await
            .map(|done| done.rows_affected())
    })?;
    Ok(written == 1)
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
