//! A decision that was made, from there on: stored, and then published or given back.

use std::sync::Arc;

use prost::Message as _;
use rapport_api::ads::v1 as pb;
use rapport_api::event::v1::AdDecided;
use rapport_api::r#type::v1::Degraded;
use rapport_flow::{DecisionDraft, any_of};
use rapport_store::idempotency::IdempotencyError;
use rapport_types::{DecisionId, UnixMillis};
use tracing::Instrument as _;

use super::fill::Filled;
use super::viewer::Viewer;
use super::{DecideQuery, Decider, MODEL_VERSION, to_candidates};
use crate::active::ActiveSet;
use crate::committer::{Committed, Place};
use crate::error::Error;
use crate::store::decision::{NewDecision, Shown};

/// One decision with all that storing, publishing or undoing it takes.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) decider: Decider,
    pub(super) set: Arc<ActiveSet>,
    pub(super) viewer: Arc<Viewer>,
    pub(super) placement: String,
    pub(super) filled: Filled,
    pub(super) response: pb::DecideResponse,
    pub(super) id: DecisionId,
    pub(super) now: UnixMillis,
}

impl Made {
    /// Returns the row of the decision.
    pub(super) fn row(&self, caller: &str, query: &DecideQuery, body_hash: &[u8]) -> NewDecision {
        NewDecision {
            id: self.id,
            caller: caller.to_owned(),
            request_id: query.request_id.clone(),
            body_hash: body_hash.to_vec(),
            response: self.response.encode_to_vec(),
            decided_at: self.now,
            placement: self.placement.clone(),
            subject: self.viewer.advertised_to(),
            shown: self.shown(),
        }
    }

    /// Stores the decision and does what follows: publishes it, or gives back what it took. Returns
    /// the answer, `None` when its lease was taken back meanwhile.
    ///
    /// It is a task of its own. A decision that waits for the database is stored whether or not its
    /// caller still waits, and the same request may show its ad later: the log must have it then.
    /// [`Place`] bounds how many there are.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Store`], [`Error::ShuttingDown`].
    pub(super) async fn store(
        self,
        place: Place,
        row: NewDecision,
    ) -> Result<Option<pb::DecideResponse>, Error> {
        let stored = tokio::spawn(self.store_here(place, row).in_current_span());
        stored
            .await
            .map_err(|_panicked| Error::Internal("storing a decision panicked"))?
    }

    async fn store_here(
        self,
        place: Place,
        row: NewDecision,
    ) -> Result<Option<pb::DecideResponse>, Error> {
        match place.commit(row).await? {
            Committed::Stored => Ok(Some(self.publish())),
            Committed::Earlier(earlier) => {
                self.undo().await;
                let earlier = pb::DecideResponse::decode(earlier.as_slice());
                let earlier = earlier.map_err(|_| Error::Internal("a stored answer is damaged"));
                Ok(Some(earlier?))
            }
            Committed::Reused => {
                self.undo().await;
                Err(IdempotencyError::Reused.into())
            }
            Committed::Fenced => {
                self.undo().await;
                if let Some(won) = &self.filled.won {
                    let line_item = &self.set.line_items[won.winner.entry].rules.id;
                    self.decider.wallet.fenced(line_item, won.epoch);
                }
                Ok(None)
            }
        }
    }

    /// Returns what is billed and fenced, `None` for no fill.
    fn shown(&self) -> Option<Shown> {
        let won = self.filled.won.as_ref()?;
        let line_item = &self.set.line_items[won.winner.entry].rules;
        let counted = self.viewer.counted.as_ref().filter(|_| won.is_counted);
        Some(Shown {
            line_item_id: line_item.id.clone(),
            campaign_id: line_item.campaign_id.clone(),
            billed_on: won.winner.price.billed_on,
            charge: won.winner.price.charge,
            replica: self.decider.wallet.replica().to_owned(),
            epoch: won.epoch,
            counted_on: counted.map(|it| it.anchor),
        })
    }

    /// Gives back what a decision took that nobody will see.
    async fn undo(&self) {
        let Some(won) = &self.filled.won else { return };
        let line_item = &self.set.line_items[won.winner.entry].rules;
        self.decider.wallet.put_back(&line_item.id, self.id);
        if let Some(person) = self.viewer.counted.as_ref().filter(|_| won.is_counted) {
            let frequency = &self.decider.frequency;
            frequency.release(person.anchor, line_item, self.now).await;
        }
    }

    /// Sends a stored decision to the log. One that does not fit shows as a hole there, and here as a
    /// degraded answer: its money is in the ledger all the same.
    fn publish(self) -> pb::DecideResponse {
        let Self {
            mut response,
            placement,
            ..
        } = self;
        let draft = DecisionDraft {
            model_version: MODEL_VERSION.to_owned(),
            arms: self.filled.arms.clone(),
            degraded: response.degraded(),
            subject: self.viewer.measured(),
            occurred_at: self.now,
        };
        let winner = response.winner.clone().unwrap_or_default();
        let candidates = to_candidates(&self.set, &self.filled);
        let published = self.decider.outbox.decide_as(self.id, draft, |header| {
            let event = AdDecided {
                header: Some(header),
                placement,
                line_item_id: winner.line_item_id,
                campaign_id: winner.campaign_id,
                price_micros: winner.price_micros,
                candidates,
            };
            any_of("rapport.event.v1.AdDecided", &event)
        });
        if published.is_err() {
            response.set_degraded(Degraded::Dependency);
        }
        response
    }
}
