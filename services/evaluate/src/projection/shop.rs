//! What each event does to the shop's totals. No subject enters a key or a state, so an event counts
//! the same with and without one, and an erasure changes nothing here.

use bytes::Bytes;
use evaluate_domain::activity::Day;
use evaluate_domain::fold::Merge as _;
use rapport_api::event::v1::{
    AdClick, AdDecided, AdImpression, DecisionCheckpoint, DecisionHeader, EventRecord,
    LedgerAdjustment, Purchase, RecommendationDecided, Refund, RouteDecided,
};
use rapport_flow::{DecodeError, Projection};
use rapport_types::{Currency, SubjectId, UnixMillis};

use super::totals::{DayMoney, Key, Numbers, Shown, Totals, campaign_id};
use super::{amount, decode, encode, order_hash, payload};

/// The projection of totals: per day and currency, per campaign, per replica. Stock adjustments are
/// not among its types: they move no money.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shop;

impl Projection for Shop {
    const NAME: &'static str = "evaluate_totals";
    const VERSION: u32 = 2;
    const TYPES: &'static [&'static str] = &[
        "purchase",
        "refund",
        "ledger_adjustment",
        "ad_impression",
        "ad_click",
        "recommendation_decided",
        "ad_decided",
        "route_decided",
        "decision_checkpoint",
    ];
    type State = Totals;

    fn keys(&self, event: &EventRecord, keys: &mut Vec<Bytes>) {
        if let Some((key, _)) = effect(event) {
            keys.push(key.to_bytes());
        }
    }

    fn apply(&self, _key: &[u8], state: &mut Totals, event: &EventRecord) {
        if let Some((_, effect)) = effect(event) {
            state.merge(&effect);
        }
    }

    fn encode(state: &Totals) -> Vec<u8> {
        encode(state)
    }

    fn decode(bytes: &[u8]) -> Result<Totals, DecodeError> {
        decode(bytes)
    }

    fn erased(&self, _subject: SubjectId) -> Option<Bytes> {
        None
    }
}

/// Returns the key that an event changes and what it adds there.
fn effect(event: &EventRecord) -> Option<(Key, Totals)> {
    let day = Day::of(UnixMillis(event.occurred_at_ms)).0;
    let money = |currency: &str, money: DayMoney| {
        let totals = Totals {
            money,
            ..Totals::default()
        };
        Some((Key::Money(day, Currency::of(currency)), totals))
    };
    let shown = |campaign: &str, shown: Shown| {
        let totals = Totals {
            shown: [(day, shown)].into(),
            ..Totals::default()
        };
        Some((Key::campaign(day, campaign_id(campaign)?), totals))
    };
    match event.r#type.as_str() {
        "purchase" => {
            let order: Purchase = payload(event)?;
            let mut bought = DayMoney {
                purchases: i128::from(amount(&order.lines)),
                ..DayMoney::default()
            };
            bought.order(order_hash(event, &order.order_id));
            money(&order.currency, bought)
        }
        "refund" => {
            let refund: Refund = payload(event)?;
            let returned = DayMoney {
                refunds: i128::from(amount(&refund.lines)),
                ..DayMoney::default()
            };
            money(&refund.currency, returned)
        }
        "ledger_adjustment" => {
            let change: LedgerAdjustment = payload(event)?;
            let corrected = DayMoney {
                adjustments: i128::from(change.amount_micros),
                ..DayMoney::default()
            };
            money(&change.currency, corrected)
        }
        "ad_impression" => {
            let seen: AdImpression = payload(event)?;
            let cost = i128::from(seen.cost_micros);
            let once = Shown {
                impressions: 1,
                clicks: 0,
                cost,
            };
            shown(&seen.campaign_id, once)
        }
        "ad_click" => {
            let click: AdClick = payload(event)?;
            let cost = i128::from(click.cost_micros);
            let once = Shown {
                impressions: 0,
                clicks: 1,
                cost,
            };
            shown(&click.campaign_id, once)
        }
        _ => numbered(event),
    }
}

fn numbered(event: &EventRecord) -> Option<(Key, Totals)> {
    let decided = |service: &str, header: DecisionHeader| {
        let key = Key::decisions(service, &header.replica, header.boot_ms);
        (key, 1, header.number)
    };
    let (key, seen, last) = match event.r#type.as_str() {
        "recommendation_decided" => decided(
            "recommend",
            payload::<RecommendationDecided>(event)?.header?,
        ),
        "ad_decided" => decided("ads", payload::<AdDecided>(event)?.header?),
        "route_decided" => decided("care", payload::<RouteDecided>(event)?.header?),
        "decision_checkpoint" => {
            let told: DecisionCheckpoint = payload(event)?;
            let key = Key::decisions(&told.service, &told.replica, told.boot_ms);
            (key, 0, told.number)
        }
        _ => return None,
    };
    let totals = Totals {
        numbers: Numbers { seen, last },
        ..Totals::default()
    };
    Some((key, totals))
}
