//! What happened to a decided ad: billed once, counted once, published.

use std::sync::Arc;

use ads_domain::{BilledOn, LedgerError, LineLedger, Transaction};
use rapport_api::event::v1::{AdClick, AdImpression};
use rapport_flow::{Outbox, OutboxEvent, People, any_of};
use rapport_store::{Db, StoreError, Tx};
use rapport_types::{Clock, DecisionId, Micros, Purpose, UnixMillis};

use crate::error::Error;
use crate::store::ctr;
use crate::store::decision::{self, Event, Shown, StoredDecision};
use crate::store::ledger::{self, Note};
use crate::wallet::Wallet;

/// How often a record is tried when another transaction is in its way.
const TRIES_MAX: usize = 3;

/// What recording came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Whether this call recorded it.
    pub is_new: bool,
    /// What it cost.
    pub cost: Micros,
}

/// Records ad events. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct Recorder {
    /// The database.
    pub db: Db,
    /// Whose promises are kept here.
    pub wallet: Wallet,
    /// What people allow.
    pub people: People,
    /// Where events are published.
    pub outbox: Outbox,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Recorder {
    /// Records an event of a decision, once for ever.
    ///
    /// # Errors
    /// [`Error::DecisionNotFound`], [`Error::Store`]: the same call finds out.
    pub async fn record(&self, id: DecisionId, event: Event) -> Result<Recorded, Error> {
        let now = self.clock.now();
        let mut tries = 1;
        let (decision, recorded) = loop {
            match self.try_record(id, event, now).await {
                Err(Error::Store(StoreError::Conflict(_))) if tries < TRIES_MAX => tries += 1,
                outcome => break outcome?,
            }
        };
        // Again for a repeat: the first call may have died before it got here. The log knows the id.
        self.publish(id, event, &decision, recorded.cost);
        Ok(recorded)
    }

    async fn try_record(
        &self,
        id: DecisionId,
        event: Event,
        now: UnixMillis,
    ) -> Result<(StoredDecision, Recorded), Error> {
        let found = decision::find(&self.db, id).await?;
        let mut stored = found.ok_or(Error::DecisionNotFound(id))?;
        let is_billed = is_billed_on(&stored.shown, event);
        let repeat = |stored: StoredDecision| {
            let cost = if is_billed { stored.cost } else { Micros::ZERO };
            (
                stored,
                Recorded {
                    is_new: false,
                    cost,
                },
            )
        };
        if stored.happened_at(event).is_some() {
            return Ok(repeat(stored));
        }
        let line_item = stored.shown.line_item_id.clone();
        let is_own = stored.shown.replica == self.wallet.replica();
        // Held beyond the commit: no renewal may count in memory what is being billed here.
        let _gate = match is_billed && is_own {
            true => Some(self.wallet.gate(&line_item).await),
            false => None,
        };
        let mut tx = self.db.begin().await?;
        if !decision::happened(&mut tx, id, event, now).await? {
            tx.rollback().await?;
            let found = decision::find(&self.db, id).await?;
            return Ok(repeat(found.ok_or(Error::DecisionNotFound(id))?));
        }
        let mut cost = Micros::ZERO;
        if is_billed {
            cost = bill(&mut tx, id, &stored.shown, now).await?;
            decision::set_cost(&mut tx, id, cost).await?;
        }
        let (impressions, clicks) = match event {
            Event::Impression => (1, 0),
            Event::Click => (0, 1),
        };
        ctr::add(&mut tx, &line_item, &stored.placement, impressions, clicks).await?;
        tx.commit().await?;
        if is_billed && is_own {
            self.wallet.billed(&line_item, id);
        }
        stored.set_happened(event, now);
        Ok((stored, Recorded { is_new: true, cost }))
    }

    /// Sends the event to the log, with its subject as long as they allow it.
    fn publish(&self, id: DecisionId, event: Event, decision: &StoredDecision, cost: Micros) {
        let granted = |subject| {
            self.people
                .consent(subject, Purpose::Advertise)
                .is_granted()
        };
        let (line_item_id, campaign_id) = (
            decision.shown.line_item_id.clone(),
            decision.shown.campaign_id.clone(),
        );
        let (decision_id, cost_micros) = (id.to_vec(), cost.0);
        let (suffix, payload) = match event {
            Event::Impression => {
                let event = AdImpression {
                    decision_id,
                    line_item_id,
                    campaign_id,
                    cost_micros,
                };
                ("i", any_of("rapport.event.v1.AdImpression", &event))
            }
            Event::Click => {
                let event = AdClick {
                    decision_id,
                    line_item_id,
                    campaign_id,
                    cost_micros,
                };
                ("c", any_of("rapport.event.v1.AdClick", &event))
            }
        };
        let published = self.outbox.publish(OutboxEvent {
            event_id: format!("{id}-{suffix}"),
            subject: decision.subject.filter(|subject| granted(*subject)),
            // As stored: a repeat must be the same event to the log.
            occurred_at: decision.happened_at(event).unwrap_or_default(),
            payload,
            personal: None,
        });
        if published.is_err() {
            tracing::warn!(decision = %id, "an ad event did not fit into the outbox");
        }
    }
}

fn is_billed_on(shown: &Shown, event: Event) -> bool {
    match (shown.billed_on, event) {
        (BilledOn::Impression, Event::Impression) | (BilledOn::Click, Event::Click) => true,
        (BilledOn::Impression | BilledOn::Click | BilledOn::Conversion, _) => false,
    }
}

/// Moves the price of a decision to what is spent, and returns what was moved: the whole or nothing.
async fn bill(
    tx: &mut Tx,
    id: DecisionId,
    shown: &Shown,
    now: UnixMillis,
) -> Result<Micros, Error> {
    let note = Note {
        decision: Some(id),
        ..Note::new("bill", now)
    };
    ledger::run_in(tx, &shown.line_item_id, note, |ledger| {
        Ok(spend(ledger, shown, now))
    })
    .await
}

/// Bills the lease that the decision was promised from; if it is over, what is free. An ad whose money
/// is gone by then is not billed at all: the budget is never overspent.
fn spend(ledger: &mut LineLedger, shown: &Shown, now: UnixMillis) -> (Micros, Vec<Transaction>) {
    let mut moved = ledger.expire(now);
    let from_lease = ledger.spend(&shown.replica, shown.epoch, shown.charge, now);
    let billed = match from_lease {
        Ok(transaction) => Ok(transaction),
        Err(
            LedgerError::StaleEpoch(_) | LedgerError::Expired(_) | LedgerError::LeaseExhausted(_),
        ) => ledger.spend_free(shown.charge),
        Err(error) => Err(error),
    };
    match billed {
        Ok(transaction) => {
            moved.push(transaction);
            (shown.charge, moved)
        }
        Err(error) => {
            tracing::warn!(line_item = shown.line_item_id, %error, "an ad could not be billed");
            (Micros::ZERO, moved)
        }
    }
}
