//! What runs beside the requests: keeping leases, taking back ended ones, refreshing, sweeping.

use std::sync::Arc;
use std::time::Duration;

use rapport_store::{Db, idempotency, sweep_all};
use rapport_types::Clock;
use tokio::time::{MissedTickBehavior, interval};

use crate::active::Active;
use crate::error::Error;
use crate::store::decision;
use crate::wallet::Wallet;

/// How often another replica's writes, the spend and the click rates are looked for.
const REFRESH: Duration = Duration::from_millis(250);
/// How often old rows are deleted, all there are.
const SWEEP: Duration = Duration::from_secs(30);
/// Renewals within the life of a lease: two may fail before it ends.
const KEEPS_PER_LEASE: u32 = 3;

/// Renews this replica's leases and takes back ended ones of any, for ever.
pub async fn keep_leases(wallet: Wallet, lease: Duration) {
    let mut ticks = interval(lease / KEEPS_PER_LEASE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        report("leases not kept", wallet.keep().await);
        report("ended leases not taken back", wallet.reap().await);
    }
}

/// Keeps the active set and the standings fresh, for ever.
pub async fn refresh(active: Active) {
    let mut ticks = interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        report("campaigns not refreshed", active.refresh().await);
        report("standings not refreshed", active.refresh_standings().await);
    }
}

/// Deletes what need not be remembered any longer, for ever.
pub async fn sweep(db: Db, clock: Arc<dyn Clock>) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = clock.now();
        let swept = sweep_all(decision::SWEEP_ROWS_MAX, || decision::sweep(&db, now)).await;
        report("decisions not swept", swept.map_err(Error::from));
        let swept = idempotency::sweep_all(&db, now, idempotency::KEEP_MIN_MS).await;
        report("request ids not swept", swept.map_err(Error::from));
    }
}

fn report<T>(what: &'static str, outcome: Result<T, Error>) {
    if let Err(error) = outcome {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            what,
            "will try again"
        );
    }
}
