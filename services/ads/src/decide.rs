//! One ad decision: who asks, the auction, the money and the frequency it needs, and its record.

mod fill;
mod made;
mod viewer;

use std::sync::Arc;

use rapport_api::ads::v1 as pb;
use rapport_api::event::v1::{Candidate, ExperimentArm};
use rapport_api::r#type::v1::Degraded;
use rapport_flow::{Experiments, Outbox, People, States};
use rapport_types::{Clock, DecisionId, Micros, SubjectId};

use crate::active::{Active, ActiveSet};
use crate::audience::AudienceProjection;
use crate::committer::Committer;
use crate::error::Error;
use crate::frequency::Frequency;
use crate::grpc::encode;
use crate::wallet::Wallet;
use fill::Filled;
use made::Made;
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
        body_hash: &[u8],
    ) -> Result<pb::DecideResponse, Error> {
        let viewer = Arc::new(self.viewer(query).await);
        for _attempt in 0..=FENCED_MAX {
            let set = self.active.set();
            let id = self.outbox.new_decision_id();
            let now = self.clock.now();
            let filled = self.fill(&set, query, &viewer, id, now).await;
            let response = to_response(&set, query, &viewer, &filled, id);
            let made = Made {
                decider: self.clone(),
                set,
                viewer: Arc::clone(&viewer),
                placement: query.placement.clone(),
                filled,
                response,
                id,
                now,
            };
            let row = made.row(caller, query, body_hash);
            let place = self.committer.place().await?;
            if let Some(answer) = made.store(place, row).await? {
                return Ok(answer);
            }
        }
        Err(Error::Internal(
            "leases are taken back faster than they are granted",
        ))
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
