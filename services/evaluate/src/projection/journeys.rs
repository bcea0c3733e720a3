//! What each event does to its subject's journey.

use bytes::Bytes;
use evaluate_domain::activity::Day;
use evaluate_domain::experiment::KEY_CHARS_MAX;
use rapport_api::event::v1::{
    AdClick, AdDecided, AdImpression, AddToCart, DecisionHeader, EventRecord, ExperimentArm,
    Exposure, Lane, Purchase, RecommendationDecided, Refund, RouteDecided, SelectItem, ViewItem,
    ViewItemList,
};
use rapport_flow::{DecodeError, Projection};
use rapport_types::{Currency, UnixMillis};

use super::journey::{AdTouch, Answer, FirstSeen, Journey, MoneyKey, Moved, Stage};
use super::totals::campaign_id;
use super::{amount, decode, encode, event_hash, order_hash, payload};

/// Arms of one decision that are read; the contract's limit.
const ARMS_MAX: usize = 20;

/// The projection of journeys, one per subject.
#[derive(Debug, Clone, Copy, Default)]
pub struct Journeys;

impl Projection for Journeys {
    const NAME: &'static str = "evaluate_journeys";
    const VERSION: u32 = 2;
    const TYPES: &'static [&'static str] = &[
        "view_item",
        "view_item_list",
        "select_item",
        "add_to_cart",
        "remove_from_cart",
        "add_to_wishlist",
        "dislike",
        "share",
        "search",
        "purchase",
        "refund",
        "review",
        "sign_in",
        "sign_up",
        "message_received",
        "recommendation_decided",
        "ad_decided",
        "route_decided",
        "exposure",
        "ad_impression",
        "ad_click",
    ];
    type State = Journey;

    fn keys(&self, event: &EventRecord, keys: &mut Vec<Bytes>) {
        if !event.subject_id.is_empty() {
            keys.push(event.subject_id.clone());
        }
    }

    fn apply(&self, _key: &[u8], state: &mut Journey, event: &EventRecord) {
        // A payload that is not what its type says changes nothing.
        let _ = apply(state, event);
    }

    fn encode(state: &Journey) -> Vec<u8> {
        encode(state)
    }

    fn decode(bytes: &[u8]) -> Result<Journey, DecodeError> {
        decode(bytes)
    }
}

fn apply(state: &mut Journey, event: &EventRecord) -> Option<()> {
    match event.r#type.as_str() {
        "recommendation_decided" => {
            let header = payload::<RecommendationDecided>(event)?.header?;
            state.recommend(header.decision_id.as_slice().try_into().ok()?);
            expose_all(state, event, header);
        }
        "ad_decided" => expose_all(state, event, payload::<AdDecided>(event)?.header?),
        "route_decided" => expose_all(state, event, payload::<RouteDecided>(event)?.header?),
        "exposure" => expose(state, event, payload::<Exposure>(event)?.arm?),
        "ad_impression" => {
            let seen: AdImpression = payload(event)?;
            touch(state, event, &seen.campaign_id, false);
        }
        "ad_click" => {
            let click: AdClick = payload(event)?;
            touch(state, event, &click.campaign_id, true);
            act(state, event, Stage::Click);
        }
        "refund" => {
            let refund: Refund = payload(event)?;
            let refunded = i128::from(amount(&refund.lines));
            let moved = Moved {
                bought: 0,
                refunded,
            };
            pay(state, event, &refund.order_id, &refund.currency, moved);
        }
        _ => shop(state, event)?,
    }
    Some(())
}

/// What people do in the shop themselves: it makes the day an active one.
fn shop(state: &mut Journey, event: &EventRecord) -> Option<()> {
    let (stage, decision) = match event.r#type.as_str() {
        "view_item" => (Stage::View, payload::<ViewItem>(event)?.decision_id),
        "view_item_list" => {
            // The list itself is the decision, not an answer to it.
            let _list: ViewItemList = payload(event)?;
            (Stage::Visit, Vec::new())
        }
        "select_item" => (Stage::Click, payload::<SelectItem>(event)?.decision_id),
        "add_to_cart" => (Stage::Cart, payload::<AddToCart>(event)?.decision_id),
        "purchase" => {
            let order: Purchase = payload(event)?;
            let moved = Moved {
                bought: i128::from(amount(&order.lines)),
                refunded: 0,
            };
            pay(state, event, &order.order_id, &order.currency, moved);
            (Stage::Purchase, order.decision_id)
        }
        _ => (Stage::Visit, Vec::new()),
    };
    if let Ok(decision) = decision.as_slice().try_into() {
        state.answer(Answer {
            at: event.occurred_at_ms,
            decision,
        });
    }
    act(state, event, stage);
    Some(())
}

fn act(state: &mut Journey, event: &EventRecord, stage: Stage) {
    state.act(Day::of(UnixMillis(event.occurred_at_ms)).0, stage);
}

fn touch(state: &mut Journey, event: &EventRecord, campaign: &str, clicked: bool) {
    if let Some(campaign) = campaign_id(campaign) {
        state.touch(AdTouch {
            at: event.occurred_at_ms,
            campaign: campaign.to_owned(),
            clicked,
            event: event_hash(event),
        });
    }
}

fn pay(state: &mut Journey, event: &EventRecord, order: &str, currency: &str, moved: Moved) {
    let key = MoneyKey {
        at: event.occurred_at_ms,
        order: order_hash(event, order),
        currency: Currency::of(currency),
    };
    state.pay(key, moved);
}

fn expose_all(state: &mut Journey, event: &EventRecord, header: DecisionHeader) {
    for arm in header.arms.into_iter().take(ARMS_MAX) {
        expose(state, event, arm);
    }
}

fn expose(state: &mut Journey, event: &EventRecord, arm: ExperimentArm) {
    let is_key = |key: &str| (1..=KEY_CHARS_MAX).contains(&key.chars().count());
    if is_key(&arm.experiment) && is_key(&arm.variant) {
        let at = Some(event.occurred_at_ms);
        let seen = match event.lane() {
            Lane::Backfill => FirstSeen {
                live: None,
                imported: at,
            },
            Lane::Live | Lane::Unspecified => FirstSeen {
                live: at,
                imported: None,
            },
        };
        state.expose(arm.experiment, arm.variant, seen);
    }
}
