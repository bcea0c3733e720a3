//! Encoding: winners and explanations.

use ads_domain::{BidType, Considered, Outcome, Winner};
use rapport_api::ads::v1 as pb;

use crate::active::{ActiveLineItem, ActiveSet};

/// The outcome of a winner that an experiment held back.
const HOLDOUT: &str = "HOLDOUT";

/// Encodes the ad that won.
#[must_use]
pub fn winner(line_item: &ActiveLineItem, winner: &Winner) -> pb::Winner {
    let bid_type = match line_item.rules.bid.bid_type {
        BidType::Cpm => pb::BidType::Cpm,
        BidType::Cpc => pb::BidType::Cpc,
        BidType::Cpa => pb::BidType::Unspecified,
    };
    pb::Winner {
        campaign_id: line_item.rules.campaign_id.clone(),
        line_item_id: line_item.rules.id.clone(),
        creative: line_item.wire.creatives.get(winner.creative).cloned(),
        price_micros: winner.price.charge.0,
        bid_type: bid_type.into(),
    }
}

/// Encodes what was considered, best first.
#[must_use]
pub fn considered(
    set: &ActiveSet,
    considered: &[Considered],
    is_held_out: bool,
) -> Vec<pb::Considered> {
    let encode = |it: &Considered| {
        let is_held_out = is_held_out && it.outcome == Outcome::Won;
        let (outcome, text) = match is_held_out {
            true => (
                HOLDOUT,
                "the person sees no ads, to measure what ads cause".to_owned(),
            ),
            false => (it.outcome.code(), it.text()),
        };
        pb::Considered {
            line_item_id: set.line_items[it.entry].rules.id.clone(),
            outcome: outcome.to_owned(),
            text,
            ecpm_micros: it.ecpm.0,
        }
    };
    considered.iter().map(encode).collect()
}
