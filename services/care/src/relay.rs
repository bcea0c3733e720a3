//! Bringing the outbox to the log: whatever was committed, at least once, whoever was killed.
//!
//! Every replica sends what it finds and deletes what the log has answered. Two may send the same row;
//! the log knows it by its event id.

use std::time::Duration;

use prost::Message as _;
use prost_types::Any;
use rapport_api::profile::v1::NewEvent;
use rapport_flow::Delivery;
use tokio::time::MissedTickBehavior;

use crate::desk::Desk;
use crate::error::Error;
use crate::store::outbox::{self, OutboxRow};

/// Rows that one round sends.
const ROWS_MAX: u32 = 500;
/// How often rows of others, and those that failed, are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Sends for ever: whenever a transaction that told something was committed, and every second.
pub async fn relay_for_ever(desk: Desk, mut delivery: Delivery) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = desk.told.notified() => {}
        }
        if let Err(error) = relay(&desk, &mut delivery).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "events wait to be sent"
            );
        }
    }
}

/// Sends until nothing waits.
///
/// # Errors
/// [`Error::Store`]; [`Error::Keys`] when a sealed part cannot be opened now. What was not deleted is
/// sent again.
pub async fn relay(desk: &Desk, delivery: &mut Delivery) -> Result<(), Error> {
    loop {
        let rows = outbox::next(&desk.db, ROWS_MAX).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            events.extend(opened(desk, row).await?);
        }
        delivery.deliver(events).await;
        outbox::delete(&desk.db, &rows).await?;
    }
}

/// Returns a row's event; `None` for one that cannot be told any more: its subject's key is destroyed.
async fn opened(desk: &Desk, row: &OutboxRow) -> Result<Option<NewEvent>, Error> {
    let Ok(mut event) = NewEvent::decode(row.event.as_slice()) else {
        tracing::error!(row = row.outbox_id, "an event in the outbox is damaged");
        return Ok(None);
    };
    let Some(sealed) = &row.sealed else {
        return Ok(Some(event));
    };
    let Some(key) = desk.keys.of(row.subject).await? else {
        return Ok(None);
    };
    let personal = key.open(event.event_id.as_bytes(), sealed);
    let Some(Ok(personal)) = personal.map(|plain| Any::decode(plain.as_slice())) else {
        tracing::error!(
            row = row.outbox_id,
            "an event in the outbox cannot be opened"
        );
        return Ok(None);
    };
    event.personal = Some(personal);
    Ok(Some(event))
}
