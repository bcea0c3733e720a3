//! One ad decision: who asks, the auction, the money and the frequency it needs, and its record.

mod fill;
mod viewer;

use std::sync::Arc;

use prost::Message as _;
use rapport_api::ads::v1 as pb;
use rapport_api::event::v1::{AdDecided, Candidate, ExperimentArm};
use rapport_api::r#type::v1::Degraded;
use rapport_flow::{DecisionDraft, Experiments, Outbox, People, States, any_of};
use rapport_store::idempotency::IdempotencyError;
use rapport_types::{Clock, DecisionId, Micros, SubjectId, UnixMillis};

use crate::active::{Active, ActiveSet};
use crate::audience::AudienceProjection;
use crate::committer::{Committed, Committer};
use crate::error::Error;
use crate::frequency::Frequency;
use crate::grpc::encode;
use crate::store::decision::{NewDecision, Shown};
use crate::wallet::Wallet;
use fill::Filled;
use viewer::Viewer;

/// The rule set that decides, for the log.
const MODEL_VERSION: &str = "ads/second-price/1";
/// The experiment whose second arm sees no ads: what they cause is measured against it.
pub const HOLDOUT_EXPERIMENT: &str = "ads-holdout";
/// The arm of it that is held out.
pub const HOLDOUT_VARIANT: &str = "holdout";
/// How often a decision is made anew because its lease was taken back meanwhile.
const FENCED_MAX: usize = 2;

/// A placement to fill, parsed.
#[derive(Debug, Clone)]
pub struct DecideQuery {
    /// The idempotency key.
    pub request_id: String,
    /// The person, if any.
    pub subject: Option<SubjectId>,
    /// The placement.
    pub placement: String,
    /// The least price per thousand impressions.
    pub floor: Micros,
    /// What the caller knows of the region; empty if nothing.
    pub region: String,
    /// What the caller knows of the language; empty if nothing.
    pub language: String,
    /// Whether to return what lost.
    pub explain: bool,
}

/// Makes decisions. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct Decider {
    /// What may be delivered.
    pub active: Active,
    /// Who is whom, and what they allow.
    pub people: People,
    /// What is known of them.
    pub audience: States<AudienceProjection>,
    /// The money.
    pub wallet: Wallet,
    /// The caps.
    pub frequency: Frequency,
    /// The experiments.
    pub experiments: Experiments,
    /// Where decisions are stored.
    pub committer: Committer,
    /// Where decisions are published.
    pub outbox: Outbox,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Decider {
    /// Decides, stores the decision, publishes it, and returns the answer.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Store`], [`Error::ShuttingDown`].
    pub async fn decide(
        &self,
        caller: &str,
        query: &DecideQuery,
        body_hash: Vec<u8>,
    ) -> Result<pb::DecideResponse, Error> {
        let viewer = self.viewer(query).await;
        for _attempt in 0..=FENCED_MAX {
            let set = self.active.set();
            let id = self.outbox.new_decision_id();
            let now = self.clock.now();
            let filled = self.fill(&set, query, &viewer, id, now).await;
            let response = to_response(&set, query, &viewer, &filled, id);
            let decision = NewDecision {
                id,
                caller: caller.to_owned(),
                request_id: query.request_id.clone(),
                body_hash: body_hash.clone(),
                response: response.encode_to_vec(),
                decided_at: now,
                placement: query.placement.clone(),
                subject: viewer.advertised_to(),
                shown: self.shown(&set, &viewer, &filled),
            };
            match self.committer.commit(decision).await? {
                Committed::Stored => {
                    return Ok(self.publish(&set, query, &viewer, &filled, response, (id, now)));
                }
                Committed::Earlier(earlier) => {
                    self.undo(&set, &viewer, &filled, id, now).await;
                    let earlier = pb::DecideResponse::decode(earlier.as_slice());
                    return earlier.map_err(|_| Error::Internal("a stored answer is damaged"));
                }
                Committed::Reused => {
                    self.undo(&set, &viewer, &filled, id, now).await;
                    return Err(IdempotencyError::Reused.into());
                }
                Committed::Fenced => {
                    self.undo(&set, &viewer, &filled, id, now).await;
                    if let Some(won) = &filled.won {
                        let line_item = &set.line_items[won.winner.entry].rules.id;
                        self.wallet.fenced(line_item, won.epoch);
                    }
                }
            }
        }
        Err(Error::Internal(
            "leases are taken back faster than they are granted",
        ))
    }

    /// Returns what is billed and fenced, `None` for no fill.
    fn shown(&self, set: &ActiveSet, viewer: &Viewer, filled: &Filled) -> Option<Shown> {
        let won = filled.won.as_ref()?;
        let line_item = &set.line_items[won.winner.entry].rules;
        Some(Shown {
            line_item_id: line_item.id.clone(),
            campaign_id: line_item.campaign_id.clone(),
            billed_on: won.winner.price.billed_on,
            charge: won.winner.price.charge,
            replica: self.wallet.replica().to_owned(),
            epoch: won.epoch,
            counted_on: viewer
                .counted
                .as_ref()
                .filter(|_| won.is_counted)
                .map(|it| it.anchor),
        })
    }

    /// Gives back what a decision took that nobody will see.
    async fn undo(
        &self,
        set: &ActiveSet,
        viewer: &Viewer,
        filled: &Filled,
        id: DecisionId,
        now: UnixMillis,
    ) {
        let Some(won) = &filled.won else { return };
        let line_item = &set.line_items[won.winner.entry].rules;
        self.wallet.put_back(&line_item.id, id);
        if let Some(person) = viewer.counted.as_ref().filter(|_| won.is_counted) {
            self.frequency.release(person.anchor, line_item, now).await;
        }
    }

    /// Sends a stored decision to the log. One that does not fit shows as a hole there, and here as a
    /// degraded answer: its money is in the ledger all the same.
    fn publish(
        &self,
        set: &ActiveSet,
        query: &DecideQuery,
        viewer: &Viewer,
        filled: &Filled,
        mut response: pb::DecideResponse,
        (id, now): (DecisionId, UnixMillis),
    ) -> pb::DecideResponse {
        let draft = DecisionDraft {
            model_version: MODEL_VERSION.to_owned(),
            arms: filled.arms.clone(),
            degraded: response.degraded(),
            subject: viewer.measured(),
            occurred_at: now,
        };
        let winner = response.winner.clone().unwrap_or_default();
        let placement = query.placement.clone();
        let candidates = to_candidates(set, filled);
        let published = self.outbox.decide_as(id, draft, |header| {
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

fn to_response(
    set: &ActiveSet,
    query: &DecideQuery,
    viewer: &Viewer,
    filled: &Filled,
    id: DecisionId,
) -> pb::DecideResponse {
    let winner = filled
        .won
        .as_ref()
        .map(|won| encode::winner(&set.line_items[won.winner.entry], &won.winner));
    let considered = match query.explain {
        true => encode::considered(set, &filled.decision.considered, filled.is_held_out),
        false => Vec::new(),
    };
    let degraded = if viewer.degraded == Degraded::Unspecified {
        filled.degraded
    } else {
        viewer.degraded
    };
    pb::DecideResponse {
        decision_id: id.to_vec(),
        winner,
        degraded: degraded.into(),
        considered,
        arms: filled.arms.clone(),
    }
}

/// Returns what competed: whatever could have been shown, with its probability.
fn to_candidates(set: &ActiveSet, filled: &Filled) -> Vec<Candidate> {
    let considered = filled.decision.considered.iter();
    let competed = considered.filter(|it| it.propensity.get() > 0.0);
    let shown = filled.won.as_ref().map(|won| won.winner.entry);
    let candidate = competed.map(|it| Candidate {
        id: set.line_items[it.entry].rules.id.clone(),
        score: it.ecpm.to_units_f64(),
        propensity: it.propensity.get(),
        shown: shown == Some(it.entry),
        reason: it.outcome.code().to_owned(),
    });
    candidate.collect()
}

/// Returns the arms that mattered to a decision.
fn exposures(arms: Option<&rapport_flow::Arms>) -> Vec<ExperimentArm> {
    arms.map(|arms| arms.exposures(&[HOLDOUT_EXPERIMENT]))
        .unwrap_or_default()
}
