//! Views worked by hand.

use super::*;
use crate::event::{Action, Behaviour, ItemRef, ProfileEvent};

const DAY: i64 = 86_400_000;

fn event(id: &'static str, day: i64, behaviour: Behaviour<'static>) -> ProfileEvent<'static> {
    ProfileEvent {
        event_id: id,
        event_type: "any",
        occurred_at: UnixMillis(day * DAY),
        channel: 2,
        device: "phone",
        behaviour,
    }
}

const TEA: &[ItemRef<'static>] = &[ItemRef {
    category: "tea",
    brand: "",
    keywords: &[],
}];
const SHOES: &[ItemRef<'static>] = &[ItemRef {
    category: "shoes",
    brand: "",
    keywords: &[],
}];

fn purchase(order_id: &'static str, currency: &'static str, units: i64) -> Behaviour<'static> {
    Behaviour::Purchase {
        order_id,
        currency,
        amount: Micros::from_units(units),
        items: TEA,
    }
}

fn state(events: &[ProfileEvent<'_>]) -> ProfileState {
    let mut state = ProfileState::default();
    events.iter().for_each(|event| state.apply(event));
    state
}

fn at(day: i64) -> ViewOptions {
    ViewOptions::at(UnixMillis(day * DAY))
}

#[test]
fn rfm_counts_orders_not_lines_and_net_money() {
    let state = state(&[
        event("1", 100, purchase("A", "CNY", 30)),
        event("2", 100, purchase("A", "CNY", 20)),
        event("3", 110, purchase("B", "CNY", 50)),
        event(
            "4",
            112,
            Behaviour::Refund {
                currency: "CNY",
                amount: Micros::from_units(20),
                items: TEA,
            },
        ),
        event("5", 113, purchase("C", "EUR", 7)),
    ]);
    let rfm = state.rfm(&at(120)).unwrap();
    assert_eq!(
        (rfm.recency_days, rfm.frequency, rfm.monetary),
        (7, 3, Micros::from_units(80))
    );
    assert_eq!(rfm.currency, Currency::parse("CNY"));
    let in_euros = ViewOptions {
        currency: Currency::parse("EUR"),
        ..at(120)
    };
    assert_eq!(
        state.rfm(&in_euros).unwrap().monetary,
        Micros::from_units(7)
    );
    // Asked for an earlier day, what came later has not happened.
    let earlier = state.rfm(&at(105)).unwrap();
    assert_eq!(
        (earlier.recency_days, earlier.frequency, earlier.monetary),
        (5, 1, Micros::from_units(50))
    );
    assert_eq!(state.rfm(&at(99)), None);
    let short = ViewOptions {
        window_days: 5,
        ..at(120)
    };
    assert_eq!(state.rfm(&short), None);
    assert_eq!(state.view(&at(120)).purchase_events, 4);
}

#[test]
fn a_purchase_without_a_valid_currency_counts_without_money() {
    let state = state(&[event("1", 10, purchase("A", "yuan", 30))]);
    let rfm = state.rfm(&at(10)).unwrap();
    assert_eq!(
        (rfm.frequency, rfm.monetary, rfm.currency),
        (1, Micros::ZERO, None)
    );
    assert!(state.view(&at(10)).totals.is_empty());
}

#[test]
fn tags_fade_rank_and_cite_their_events() {
    let state = state(&[
        event("v1", 100, Behaviour::Items(Action::View, SHOES)),
        event("v2", 160, Behaviour::Items(Action::Cart, SHOES)),
        event("p1", 160, purchase("A", "CNY", 1)),
    ]);
    let view = state.view(&at(160));
    let names: Vec<_> = view
        .tags
        .iter()
        .map(|tag| (tag.name.as_str(), tag.evidence.join(" ")))
        .collect();
    assert_eq!(
        names,
        [("tea", "p1".to_owned()), ("shoes", "v2 v1".to_owned())]
    );
    assert!((view.tags[1].weight - 4.5).abs() < 1e-5); // 1 halved once, plus 4
    assert!((view.tags[0].share - 5.0 / 9.5).abs() < 1e-6);
    assert!((view.tags[1].confidence - 0.5).abs() < 1e-12);
    let later = state.view(&at(220));
    assert!((later.tags[1].weight - 2.25).abs() < 1e-5);
    assert!(state.view(&at(160 + 60 * 20)).tags.is_empty()); // twenty half-lives on, nothing is left
}

#[test]
fn a_refund_or_dislike_takes_interest_back() {
    let refund = Behaviour::Refund {
        currency: "CNY",
        amount: Micros(1),
        items: TEA,
    };
    let state = state(&[
        event("p", 10, purchase("A", "CNY", 1)),
        event("r", 10, refund),
    ]);
    assert!(state.view(&at(10)).tags.is_empty());
}

#[test]
fn evidence_keeps_the_latest_five() {
    let ids = ["a", "b", "c", "d", "e", "f", "g"];
    let events: Vec<_> = (0..7)
        .map(|n| {
            event(
                ids[n as usize],
                100 - n,
                Behaviour::Items(Action::View, TEA),
            )
        })
        .collect();
    assert_eq!(
        state(&events).view(&at(100)).tags[0].evidence,
        ["a", "b", "c", "d", "e"]
    );
}

#[test]
fn a_hidden_tag_stays_away_until_the_person_brings_it_back() {
    let say = |keep| Behaviour::StateTag {
        kind: TagKind::Category,
        name: "tea",
        keep,
    };
    let mut state = state(&[
        event("v1", 10, Behaviour::Items(Action::View, TEA)),
        event("s1", 11, say(false)),
        event("v2", 12, Behaviour::Items(Action::View, TEA)),
    ]);
    assert!(state.view(&at(12)).tags.is_empty());
    state.apply(&event("s2", 13, say(true)));
    let tags = state.view(&at(13)).tags;
    assert_eq!((tags[0].name.as_str(), tags[0].stated), ("tea", true));
    assert!(!tags[0].evidence.contains(&"v2".to_owned())); // nothing was learnt while it was hidden
}

#[test]
fn emotion_is_a_fading_mean() {
    let feel = |label, valence| Behaviour::Emotion {
        label,
        valence,
        arousal: 0.5,
    };
    let state = state(&[
        event("1", 10, feel("anger", -1.0)),
        event("2", 13, feel("joy", 0.5)),
    ]);
    let emotion = state.view(&at(13)).emotion.unwrap();
    assert!((emotion.valence - 0.0).abs() < 1e-5); // (-1 / 2 + 0.5) / 1.5
    assert!((emotion.arousal - 0.5).abs() < 1e-5);
    assert!((emotion.weight - 1.5).abs() < 1e-5);
    let later = state.view(&at(10_000)).emotion.unwrap();
    assert!(later.weight < 1e-6 && later.valence.abs() < 1e-5);
    assert_eq!(ProfileState::default().view(&at(1)).emotion, None);
}

#[test]
fn hours_and_channels_say_when_and_where_to_reach_somebody() {
    let mut morning = event("1", 10, Behaviour::Seen);
    morning.occurred_at = UnixMillis(10 * DAY + 9 * 3_600_000);
    let mut late = morning;
    late.occurred_at = UnixMillis(10 * DAY + 10 * 3_600_000);
    let view = state(&[morning, late, late]).view(&at(11));
    assert_eq!(view.best_hour_utc(), Some(10));
    assert_eq!(
        view.channels[0],
        UsageView {
            name: 2,
            count: 3,
            last: late.occurred_at
        }
    );
    assert_eq!(view.devices[0].name, "phone");
    assert_eq!(ProfileState::default().view(&at(1)).best_hour_utc(), None);
}

#[test]
fn what_people_say_of_themselves_is_the_latest() {
    let say = |language, age_band| Behaviour::Attributes {
        language,
        region: "",
        age_band,
    };
    let view = state(&[
        event("2", 20, say("en", AgeBand::Adult)),
        event("1", 10, say("zh", AgeBand::Minor)),
        event("3", 30, say("", AgeBand::Unknown)), // unsaid changes nothing
    ])
    .view(&at(30));
    assert_eq!(
        (view.language.as_deref(), view.age_band),
        (Some("en"), AgeBand::Adult)
    );
    assert_eq!(view.region, None);
}
