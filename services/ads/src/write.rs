//! Writes of campaigns: idempotent by request id, the record and the effect in one transaction.

use ads_domain::{DeliveryState, LINE_ITEMS_MAX, LedgerError, LineItem, Review, Transaction};
use prost::Message;
use rapport_api::ads::v1 as pb;
use rapport_rpc::write::{self, Asked, Begun};
use rapport_store::idempotency::Slot;
use rapport_store::{Db, Tx};
use rapport_types::{Clock, Micros};
use std::sync::Arc;

use crate::active::Active;
use crate::error::Error;
use crate::grpc::parse;
use crate::store::campaign::{self, Kind};
use crate::store::ledger::{self, Note};

/// Most campaigns: every replica holds all of them in memory, and every auction passes them by.
pub const CAMPAIGNS_MAX: i64 = 10_000;
/// Most bytes of the line items of one campaign: with the campaign itself and what frames them they
/// fit into one answer of 4 MiB, the most that a client takes.
pub const LINE_ITEMS_BYTES_MAX: i64 = 3 * 1024 * 1024;

/// Writes campaigns. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct Writer {
    /// The database.
    pub db: Db,
    /// This replica's view, which shows a write before it is answered.
    pub active: Active,
    /// The time of entries.
    pub clock: Arc<dyn Clock>,
}

impl Writer {
    /// Inserts or replaces a campaign.
    ///
    /// # Errors
    /// [`Error::StateForbids`], [`Error::TooManyCampaigns`], [`Error::Write`], [`Error::Store`].
    pub async fn put_campaign(
        &self,
        asked: &Asked,
        wire: pb::Campaign,
        state: DeliveryState,
    ) -> Result<pb::UpsertCampaignResponse, Error> {
        let (mut tx, slot) = match write::begin(&self.db, asked, self.clock.now()).await? {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        campaign::lock(&mut tx).await?;
        let id = &wire.campaign_id;
        if let Some(present) = campaign::find(&mut tx, Kind::Campaign, id).await? {
            let present = pb::Campaign::decode(present.as_slice()).map_err(damaged)?;
            check_state(Some(present.state()), state)?;
        } else {
            check_state(None, state)?;
            if campaign::count(&mut tx, Kind::Campaign).await? >= CAMPAIGNS_MAX {
                return Err(Error::TooManyCampaigns);
            }
        }
        campaign::put_campaign(&mut tx, id, &wire.encode_to_vec()).await?;
        let campaign = Some(wire);
        self.finish(tx, slot, pb::UpsertCampaignResponse { campaign })
            .await
    }

    /// Inserts or replaces a line item, and funds or withdraws what its budget changed by.
    ///
    /// # Errors
    /// [`Error::CampaignNotFound`], [`Error::StateForbids`], [`Error::BudgetBelowSpend`],
    /// [`Error::TooManyLineItems`], [`Error::CampaignTooLarge`], [`Error::Write`], [`Error::Store`].
    pub async fn put_line_item(
        &self,
        asked: &Asked,
        wire: pb::LineItem,
        rules: &LineItem,
    ) -> Result<pb::UpsertLineItemResponse, Error> {
        let (mut tx, slot) = match write::begin(&self.db, asked, self.clock.now()).await? {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        campaign::lock(&mut tx).await?;
        let campaign_id = &rules.campaign_id;
        if campaign::find(&mut tx, Kind::Campaign, campaign_id)
            .await?
            .is_none()
        {
            return Err(Error::CampaignNotFound(campaign_id.clone()));
        }
        if let Some(present) = campaign::find(&mut tx, Kind::LineItem, &rules.id).await? {
            let present = pb::LineItem::decode(present.as_slice()).map_err(damaged)?;
            check_state(Some(present.state()), rules.state)?;
        } else {
            check_state(None, rules.state)?;
            if campaign::count(&mut tx, Kind::LineItem).await? >= LINE_ITEMS_MAX as i64 {
                return Err(Error::TooManyLineItems);
            }
        }
        let definition = wire.encode_to_vec();
        let beside = campaign::bytes_beside(&mut tx, campaign_id, &rules.id).await?;
        if beside + definition.len() as i64 > LINE_ITEMS_BYTES_MAX {
            return Err(Error::CampaignTooLarge(campaign_id.clone()));
        }
        campaign::put_line_item(&mut tx, &rules.id, campaign_id, &definition).await?;
        self.fund(&mut tx, rules).await?;
        let line_item = Some(wire);
        self.finish(tx, slot, pb::UpsertLineItemResponse { line_item })
            .await
    }

    /// Brings what was put into the line item's ledger to its budget.
    async fn fund(&self, tx: &mut Tx, rules: &LineItem) -> Result<(), Error> {
        ledger::open(tx, &rules.id).await?;
        let now = self.clock.now();
        ledger::run_in(tx, &rules.id, Note::new("budget", now), |ledger| {
            let missing = rules.budget - ledger.funded();
            let moved: Option<Transaction> = if missing > Micros::ZERO {
                Some(ledger.fund(missing)?)
            } else if missing < Micros::ZERO {
                let withdrawn = ledger.withdraw(-missing);
                Some(withdrawn.map_err(|error| match error {
                    LedgerError::BudgetExhausted(free) => Error::BudgetBelowSpend { free },
                    LedgerError::Unbalanced(_)
                    | LedgerError::Amount
                    | LedgerError::LeaseExhausted(_)
                    | LedgerError::StaleEpoch(_)
                    | LedgerError::Expired(_)
                    | LedgerError::TooManyLeases => Error::Ledger(error),
                })?)
            } else {
                None
            };
            Ok(((), moved.into_iter().collect()))
        })
        .await
    }

    async fn finish<T: Message>(&self, tx: Tx, slot: Slot, response: T) -> Result<T, Error> {
        write::finish(tx, slot, &response).await?;
        if let Err(error) = self.active.reload().await {
            // It is written: the next look at the version finds it.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "own write not read yet"
            );
        }
        Ok(response)
    }
}

/// A new one may begin in any state that a draft may become.
fn check_state(present: Option<pb::DeliveryState>, next: DeliveryState) -> Result<(), Error> {
    let present = present.map_or(DeliveryState::Draft, parse::delivery_state);
    present.transition(next, Review::Waived)?;
    Ok(())
}

fn damaged(_error: prost::DecodeError) -> Error {
    Error::Internal("a stored message is damaged")
}
