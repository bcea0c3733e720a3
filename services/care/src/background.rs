//! What runs beside the requests: giving waiting cases to agents with room, and forgetting old request
//! ids.

use std::collections::HashMap;
use std::time::Duration;

use care_domain::SKILL_RELAX_MS;
use rapport_store::idempotency::{self, KEEP_MIN_MS};
use tokio::time::MissedTickBehavior;

use crate::desk::{AGENTS_MAX, Desk};
use crate::error::Error;
use crate::store::agent::{self, AgentRow, joined};
use crate::store::case::{self, Wanted};
use crate::write::lost_a_race;

/// How often waiting cases are looked at, if nothing wakes the sweeper earlier.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often old request ids are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(10 * 60);
/// Agents that one sweep tries to fill: all of them. The longest idle come first, and one for whom
/// nothing fits stays idle and first: fewer would keep the others from their turn for ever.
const FILLED_MAX: u32 = AGENTS_MAX;

/// Sweeps for ever: whenever it is woken, and every second. Every replica does; the claim keeps them
/// from each other's cases.
pub async fn sweep_for_ever(desk: Desk) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = desk.kick.notified() => {}
        }
        if let Err(error) = sweep(&desk).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a sweep failed");
        }
    }
}

/// Fills the agents who have room. Returns how many cases were given.
///
/// # Errors
/// [`Error::Store`].
pub async fn sweep(desk: &Desk) -> Result<usize, Error> {
    let (waiting, _) = case::queue(&desk.db).await?;
    if waiting == 0 {
        return Ok(0);
    }
    let mut given = 0;
    // Who speaks and handles the same finds the same: one look for all of them, without a lock.
    let mut fits_by_kind = HashMap::new();
    for AgentRow { agent, .. } in agent::free(&desk.db, FILLED_MAX).await? {
        let kind = (joined(&agent.languages), joined(&agent.skills));
        let fits = match fits_by_kind.get(&kind) {
            Some(fits) => *fits,
            None => {
                let fits = something_fits(desk, &kind).await?;
                fits_by_kind.insert(kind, fits);
                fits
            }
        };
        if !fits {
            continue;
        }
        match desk.refill(&agent.agent_id).await {
            Ok(more) => given += more,
            // Whoever won has given the case away; the next sweep sees the rest.
            Err(error) if lost_a_race(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(given)
}

/// Returns whether anything waits for who speaks these languages and handles these intents.
async fn something_fits(
    desk: &Desk,
    (languages, skills): &(String, String),
) -> Result<bool, Error> {
    let wanted = Wanted {
        languages,
        skills,
        relaxed: desk.clock.now().plus(-SKILL_RELAX_MS),
        limit: 1,
    };
    Ok(case::fits(&desk.db, &wanted).await?)
}

/// Forgets request ids that are old enough, for ever.
pub async fn forget_for_ever(desk: Desk) {
    let mut ticks = tokio::time::interval(FORGET_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let swept = idempotency::sweep_all(&desk.db, desk.clock.now(), KEEP_MIN_MS).await;
        if let Err(error) = swept {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "old requests stay"
            );
        }
    }
}
