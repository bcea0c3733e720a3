//! The states by their laws: any order of members, any split over partitions, replays.

use std::collections::BTreeMap;

use evaluate_domain::fold::Merge as _;
use proptest::prelude::*;
use prost::Message;
use rapport_api::event::v1::{
    AdClick, AdDecided, AdImpression, AddToCart, DecisionCheckpoint, DecisionHeader, EventRecord,
    ExperimentArm, Exposure, Lane, LedgerAdjustment, OrderLine, Purchase, RecommendationDecided,
    Refund, SelectItem, SubjectsErased,
};
use rapport_flow::{Projection, replay};
use rapport_types::{Currency, Micros, SubjectId, UnixMillis};

use super::journey::{ADS_MAX, MONEY_MAX, MoneyKey, Moved};
use super::totals::ORDERS_MAX;
use super::*;

const DAY_MS: i64 = 86_400_000;

/// An event of a type at a time, without subject and ids.
pub(crate) fn event(kind: &str, at: i64, payload: &impl Message) -> EventRecord {
    EventRecord {
        r#type: kind.to_owned(),
        occurred_at_ms: at,
        event_id: format!("{kind}-{at}"),
        payload: payload.encode_to_vec().into(),
        ..EventRecord::default()
    }
}

pub(crate) fn purchase(at: i64, order: &str, micros: i64) -> EventRecord {
    let order = Purchase {
        order_id: order.to_owned(),
        lines: lines(micros),
        currency: "GBP".to_owned(),
        ..Purchase::default()
    };
    event("purchase", at, &order)
}

pub(crate) fn refund(at: i64, order: &str, micros: i64) -> EventRecord {
    let refund = Refund {
        order_id: order.to_owned(),
        lines: lines(micros),
        currency: "GBP".to_owned(),
    };
    event("refund", at, &refund)
}

fn lines(micros: i64) -> Vec<OrderLine> {
    let line = OrderLine {
        quantity: 1,
        unit_price_micros: micros,
        ..OrderLine::default()
    };
    vec![line]
}

pub(crate) fn click(at: i64, campaign: &str) -> EventRecord {
    let click = AdClick {
        campaign_id: campaign.to_owned(),
        cost_micros: 300,
        ..AdClick::default()
    };
    event("ad_click", at, &click)
}

pub(crate) fn impression(at: i64, campaign: &str) -> EventRecord {
    let seen = AdImpression {
        campaign_id: campaign.to_owned(),
        cost_micros: 20,
        ..AdImpression::default()
    };
    event("ad_impression", at, &seen)
}

pub(crate) fn exposure(at: i64, variant: &str) -> EventRecord {
    let arm = ExperimentArm {
        experiment: "checkout".to_owned(),
        variant: variant.to_owned(),
    };
    event("exposure", at, &Exposure { arm: Some(arm) })
}

pub(crate) fn recommendation(at: i64, decision: u8) -> EventRecord {
    let header = DecisionHeader {
        decision_id: vec![decision; 16],
        number: u64::from(decision),
        replica: "r1".to_owned(),
        ..DecisionHeader::default()
    };
    let decided = RecommendationDecided {
        header: Some(header),
        ..RecommendationDecided::default()
    };
    event("recommendation_decided", at, &decided)
}

pub(crate) fn selection(at: i64, decision: u8) -> EventRecord {
    let chosen = SelectItem {
        decision_id: vec![decision; 16],
        ..SelectItem::default()
    };
    event("select_item", at, &chosen)
}

pub(crate) fn journey_of(events: &[EventRecord]) -> Journey {
    let mut journey = Journey::default();
    for event in events {
        Journeys.apply(&[], &mut journey, event);
    }
    journey
}

fn totals_of(events: &[EventRecord]) -> BTreeMap<Vec<u8>, Totals> {
    let mut totals: BTreeMap<Vec<u8>, Totals> = BTreeMap::new();
    for event in events {
        let mut keys = Vec::new();
        Shop.keys(event, &mut keys);
        for key in keys {
            let state = totals.entry(key.to_vec()).or_default();
            Shop.apply(&key, state, event);
        }
    }
    totals
}

#[test]
fn an_order_is_its_purchases_less_its_refunds() {
    let journey = journey_of(&[
        purchase(10, "a", 5_000_000),
        purchase(10, "a", 2_000_000),
        refund(40, "a", 3_000_000),
        refund(20, "credit-note", 1_000_000),
        purchase(30, "b", 4_000_000),
    ]);
    let found: Vec<_> = journey
        .orders()
        .iter()
        .map(|order| (order.at.0, order.is_purchase, order.net.0))
        .collect();
    let expected = [
        (10, true, 4_000_000),
        (20, false, -1_000_000),
        (30, true, 4_000_000),
    ];
    assert_eq!(found, expected);
}

#[test]
fn without_an_id_every_purchase_is_an_order_of_its_own() {
    let events = [
        purchase(10, "", 5_000_000),
        purchase(20, "", 2_000_000),
        refund(30, "", 1_000_000),
    ];
    let orders = journey_of(&events).orders().into_iter();
    let found: Vec<_> = orders
        .map(|order| (order.at.0, order.is_purchase, order.net.0))
        .collect();
    let expected = [
        (10, true, 5_000_000),
        (20, true, 2_000_000),
        (30, false, -1_000_000),
    ];
    assert_eq!(found, expected);
    let counted = totals_of(&events).into_values();
    assert_eq!(counted.map(|state| state.money.orders()).sum::<u64>(), 2);
}

#[test]
fn a_recommendation_is_known_whichever_device_and_order_the_log_has() {
    let (asked, chosen) = (
        journey_of(&[recommendation(5, 9)]),
        journey_of(&[selection(7, 9), selection(8, 4)]),
    );
    assert_eq!(chosen.recommendation_clicks().count(), 0);
    for (mut one, other) in [(asked.clone(), &chosen), (chosen.clone(), &asked)] {
        one.merge(other);
        let clicks: Vec<_> = one.recommendation_clicks().collect();
        assert_eq!(clicks, [UnixMillis(7)]);
    }
}

#[test]
fn imported_exposures_are_told_from_live_ones() {
    let mut past = exposure(5, "bold");
    past.lane = Lane::Backfill.into();
    let journey = journey_of(&[exposure(9, "bold"), past, exposure(7, "bold")]);
    let seen = FirstSeen {
        live: Some(7),
        imported: Some(5),
    };
    let found: Vec<_> = journey.variants("checkout").collect();
    assert_eq!(found, [("bold", seen)]);
    assert_eq!(journey.variants("check").count(), 0);
}

#[test]
fn states_are_bounded_and_keep_the_newest() {
    let mut events = Vec::new();
    for at in 0..(MONEY_MAX as i64 + 50) {
        events.push(purchase(at, &format!("o{at}"), 1_000_000));
        events.push(impression(at, "spring"));
    }
    let journey = journey_of(&events);
    assert_eq!(journey.orders().len(), MONEY_MAX);
    assert_eq!(journey.orders()[0].at, UnixMillis(50));
    assert_eq!(journey.ads().count(), ADS_MAX);
    let mut whole = Journey::default();
    for part in events.chunks(333) {
        whole.merge(&journey_of(part));
    }
    assert_eq!(whole, journey);
}

#[test]
fn malformed_payloads_count_for_nothing() {
    let mut broken = purchase(1, "a", 1);
    broken.payload = vec![0xff; 9].into();
    assert_eq!(
        journey_of(std::slice::from_ref(&broken)),
        Journey::default()
    );
    assert!(totals_of(&[broken]).is_empty());
    let nameless = click(1, "");
    assert!(totals_of(std::slice::from_ref(&nameless)).is_empty());
    assert_eq!(journey_of(&[nameless]).ads().count(), 0);
}

#[test]
fn sums_do_not_overflow() {
    let huge = OrderLine {
        quantity: i64::MAX,
        unit_price_micros: i64::MAX,
        ..OrderLine::default()
    };
    let order = Purchase {
        order_id: "a".to_owned(),
        lines: vec![huge; 100],
        ..Purchase::default()
    };
    let events = vec![event("purchase", 1, &order); 3];
    let order = journey_of(&events).orders()[0];
    assert_eq!(order.net, Micros(i64::MAX));
    assert_eq!(order.currency, Currency::NONE);
}

#[test]
fn decisions_that_never_came_are_counted_by_replica_and_boot() {
    let decided = |number: u64, boot_ms: i64| {
        let header = DecisionHeader {
            replica: "r1".to_owned(),
            boot_ms,
            number,
            ..DecisionHeader::default()
        };
        let decided = AdDecided {
            header: Some(header),
            ..AdDecided::default()
        };
        event("ad_decided", number as i64, &decided)
    };
    let told = DecisionCheckpoint {
        service: "ads".to_owned(),
        replica: "r1".to_owned(),
        boot_ms: 7,
        number: 6,
    };
    let events = [
        decided(1, 7),
        decided(4, 7),
        decided(2, 7),
        event("decision_checkpoint", 9, &told),
        decided(1, 8),
    ];
    // Of boot 7 the numbers 3, 5 and 6 are missing; boot 8 is whole.
    let totals = totals_of(&events);
    let missing: Vec<u64> = totals
        .values()
        .map(|state| state.numbers.missing())
        .collect();
    assert_eq!(missing.iter().sum::<u64>(), 3, "{missing:?}");
    assert_eq!(missing.len(), 2);
}

#[test]
fn orders_are_counted_exactly_then_estimated() {
    let mut money = DayMoney::default();
    let hash = |order: u64| order_hash(&EventRecord::default(), &order.to_string());
    for order in 0..ORDERS_MAX as u64 - 1 {
        money.order(hash(order));
        money.order(hash(order));
    }
    assert_eq!(money.orders(), ORDERS_MAX as u64 - 1);
    for order in 0..50_000 {
        money.order(hash(order));
    }
    // Four standard errors of 1 / sqrt(1,022).
    let error = (money.orders() as f64 - 50_000.0) / 50_000.0;
    assert!(error.abs() < 0.125, "{error}");
}

#[test]
fn keys_survive_their_bytes_and_nothing_else_is_one() {
    for key in [
        Key::Money(-3, Currency::of("GBP")),
        Key::campaign(15_000, "春 spring"),
        Key::decisions("ads", "pod-7", 1_700_000_000_000),
    ] {
        assert_eq!(Key::parse(&key.to_bytes()), Some(key));
    }
    for bytes in [
        &b""[..],
        b"m",
        b"m\0\0\0\x01gbp",
        b"d12",
        b"c\0\0\0\x01\xff",
        b"x123",
    ] {
        assert_eq!(Key::parse(bytes), None, "{bytes:?}");
    }
}

#[test]
fn another_format_is_refused() {
    let bytes = Journeys::encode(&journey_of(&[purchase(1, "a", 7)]));
    assert_eq!(bytes[0], 1);
    assert!(Journeys::decode(&bytes[1..]).is_err());
    assert!(Shop::decode(&[]).is_err());
    assert!(Shop::decode(&[2, 0]).is_err());
}

#[test]
fn an_erasure_drops_the_journey_and_keeps_the_totals() {
    let subject = SubjectId::new([3; 16]);
    let mut bought = purchase(DAY_MS, "a", 5_000_000);
    bought.subject_id = subject.to_vec().into();
    bought.partition = subject.partition();
    let erased = SubjectsErased {
        subject_ids: vec![subject.to_vec()],
        ..SubjectsErased::default()
    };
    let mut erased = event("subjects_erased", DAY_MS, &erased);
    erased.partition = subject.partition();
    let events = [bought, erased];
    assert!(replay(&Journeys, &events).is_empty());
    let totals = replay(&Shop, &events);
    let money: Vec<i128> = totals.values().map(|state| state.money.net()).collect();
    assert_eq!(money, [5_000_000]);
}

fn any_event() -> impl Strategy<Value = EventRecord> {
    let at = 0i64..(4 * DAY_MS);
    let name = |n: u8| ["spring", "summer", "autumn"][usize::from(n % 3)];
    (at, 0u8..10, 0u8..6, 1i64..9_000_000).prop_map(move |(at, kind, n, micros)| {
        let order = format!("o{n}");
        match kind {
            0 | 1 => purchase(at, &order, micros),
            2 => refund(at, &order, micros),
            3 => click(at, name(n)),
            4 => impression(at, name(n)),
            5 => exposure(at, ["control", "bold"][usize::from(n % 2)]),
            6 => recommendation(at, n),
            7 => selection(at, n),
            8 => event("add_to_cart", at, &AddToCart::default()),
            _ => {
                let change = LedgerAdjustment {
                    amount_micros: micros - 4_000_000,
                    currency: "GBP".to_owned(),
                    ..LedgerAdjustment::default()
                };
                event("ledger_adjustment", at, &change)
            }
        }
    })
}

proptest! {
    #[test]
    fn a_person_is_the_same_whoever_of_the_members_did_it(
        events in prop::collection::vec((any_event(), 0usize..4), 0..60),
    ) {
        let all: Vec<EventRecord> = events.iter().map(|(event, _)| event.clone()).collect();
        let members: Vec<Journey> = (0..4)
            .map(|member| {
                let own = events.iter().filter(|(_, of)| *of == member);
                journey_of(&own.map(|(event, _)| event.clone()).collect::<Vec<_>>())
            })
            .collect();
        let fold = |order: &[usize]| order.iter().fold(Journey::default(), |mut sum, member| {
            sum.merge(&members[*member]);
            sum
        });
        let whole = journey_of(&all);
        prop_assert_eq!(&fold(&[0, 1, 2, 3]), &whole);
        prop_assert_eq!(&fold(&[3, 1, 0, 2]), &whole);
        let (mut left, right) = (fold(&[2, 0]), fold(&[1, 3]));
        left.merge(&right);
        prop_assert_eq!(&left, &whole);
        prop_assert_eq!(Journeys::decode(&Journeys::encode(&whole)).unwrap(), whole);
    }

    #[test]
    fn totals_are_the_same_however_partitions_split_them(
        events in prop::collection::vec((any_event(), 0usize..3), 0..60),
    ) {
        let all: Vec<EventRecord> = events.iter().map(|(event, _)| event.clone()).collect();
        let mut folded: BTreeMap<Vec<u8>, Totals> = BTreeMap::new();
        for partition in [2, 0, 1] {
            let own = events.iter().filter(|(_, of)| *of == partition);
            let own: Vec<EventRecord> = own.map(|(event, _)| event.clone()).collect();
            for (key, state) in totals_of(&own) {
                folded.entry(key).or_default().merge(&state);
            }
        }
        let whole = totals_of(&all);
        for state in whole.values() {
            prop_assert_eq!(&Shop::decode(&Shop::encode(state)).unwrap(), state);
        }
        prop_assert_eq!(folded, whole);
    }

    #[test]
    fn net_is_purchases_less_refunds_with_adjustments(
        moved in prop::collection::vec((0i64..1_000_000_000, any::<bool>()), 0..40),
    ) {
        let mut journey = Journey::default();
        let mut net = 0;
        for (place, (micros, back)) in moved.iter().enumerate() {
            let key = MoneyKey { at: place as i64, order: 1, currency: Currency::of("GBP") };
            let (bought, refunded) = if *back { (0, *micros) } else { (*micros, 0) };
            journey.pay(key, Moved { bought: bought.into(), refunded: refunded.into() });
            net += bought - refunded;
        }
        let orders = journey.orders();
        prop_assert_eq!(orders.iter().map(|order| order.net.0).sum::<i64>(), net);
    }
}
