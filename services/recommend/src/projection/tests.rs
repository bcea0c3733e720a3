//! What events come to, worked by hand, and the laws of the stored states.

use std::sync::Arc;

use prost::Message;
use rapport_api::event::v1::{
    AddToCart, AddToWishlist, Dislike, EventRecord, OrderLine, Purchase, Refund, Review,
    SelectItem, Share, ViewItem,
};
use rapport_flow::{Projection as _, replay};
use rapport_types::{SubjectId, UnixMillis};
use recommend_domain::{ItemIdx, Items, Kind, Popularity};

use super::timeline::fold;
use super::{ItemPopularity, SubjectTimeline, Timelines, feedback};

const DAY_MS: i64 = 86_400_000;

fn event(kind: &str, sequence: u64, payload: &impl Message) -> EventRecord {
    let subject = SubjectId::new([1; 16]);
    EventRecord {
        partition: subject.partition(),
        sequence,
        r#type: kind.to_owned(),
        subject_id: subject.to_vec().into(),
        occurred_at_ms: sequence as i64,
        payload: payload.encode_to_vec().into(),
        ..EventRecord::default()
    }
}

fn line(item_id: &str, quantity: i64) -> OrderLine {
    OrderLine {
        item_id: item_id.to_owned(),
        quantity,
        ..OrderLine::default()
    }
}

fn view(item_id: &str) -> ViewItem {
    ViewItem {
        item_id: item_id.to_owned(),
        ..ViewItem::default()
    }
}

fn purchase(lines: Vec<OrderLine>) -> Purchase {
    Purchase {
        lines,
        ..Purchase::default()
    }
}

#[track_caller]
fn check(kind: &str, payload: &impl Message, expected: &[(&str, Kind, u32)]) {
    let found = feedback::of(&event(kind, 1, payload));
    let found: Vec<_> = found
        .iter()
        .map(|it| (it.item_id.as_str(), it.kind, it.weight_milli))
        .collect();
    assert_eq!(found, expected, "{kind}");
}

#[test]
fn events_come_to_what_the_table_says() {
    let mug = || "mug".to_owned();
    check("view_item", &view("mug"), &[("mug", Kind::View, 1_000)]);
    let select = SelectItem {
        item_id: mug(),
        ..SelectItem::default()
    };
    check("select_item", &select, &[("mug", Kind::View, 1_000)]);
    let cart = AddToCart {
        line: Some(line("mug", 2)),
        ..AddToCart::default()
    };
    check("add_to_cart", &cart, &[("mug", Kind::Cart, 2_000)]);
    let wish = AddToWishlist {
        item_id: mug(),
        ..AddToWishlist::default()
    };
    check("add_to_wishlist", &wish, &[("mug", Kind::Favourite, 1_000)]);
    let share = Share {
        item_id: mug(),
        ..Share::default()
    };
    check("share", &share, &[("mug", Kind::Share, 1_000)]);
    let order = purchase(vec![
        line("mug", 3),
        line("", 1),
        line("pan", 0),
        line("rug", 1),
    ]);
    let bought = [
        ("mug", Kind::Purchase, 3_000),
        ("rug", Kind::Purchase, 1_000),
    ];
    check("purchase", &order, &bought);
    let refund = Refund {
        lines: vec![line("mug", i64::MAX)],
        ..Refund::default()
    };
    check("refund", &refund, &[("mug", Kind::Refund, 1_000_000_000)]);
    let dislike = Dislike { item_id: mug() };
    check("dislike", &dislike, &[("mug", Kind::Dislike, 1_000)]);
    let rated = |rating| Review {
        item_id: mug(),
        rating,
    };
    for (rating, kind) in [
        (0, Kind::View),
        (1, Kind::Dislike),
        (2, Kind::Dislike),
        (3, Kind::View),
        (4, Kind::Favourite),
        (5, Kind::Favourite),
    ] {
        check("review", &rated(rating), &[("mug", kind, 1_000)]);
    }
    check("sign_in", &view("mug"), &[]);
    check("view_item", &view("a\nb"), &[]);
}

#[test]
fn a_payload_that_does_not_decode_says_nothing() {
    let mut broken = event("purchase", 1, &purchase(vec![line("mug", 1)]));
    broken.payload = vec![0xff; 3].into();
    assert_eq!(feedback::of(&broken), []);
}

fn state_of(events: &[EventRecord]) -> SubjectTimeline {
    let states = replay(&Timelines, events);
    states.into_values().next().unwrap_or_default()
}

#[test]
fn a_stored_timeline_reads_back_and_folds_on_any_numbering() {
    let events: Vec<_> = ["mug", "pan", "mug", "rug"]
        .iter()
        .enumerate()
        .map(|(at, id)| event("view_item", at as u64 + 1, &view(id)))
        .collect();
    let state = state_of(&events);
    let bytes = Timelines::encode(&state);
    let read = Timelines::decode(&bytes).unwrap();
    assert_eq!(Timelines::encode(&read), bytes);
    // A numbering that knows neither the pan nor any of the state's own indices.
    let mut items = Items::default();
    for id in ["x", "rug", "mug"] {
        items.intern(id).unwrap();
    }
    let folded = fold(&[Arc::new(state), Arc::new(read)], |id| items.get(id));
    let names: Vec<_> = folded
        .history()
        .iter()
        .map(|line| items.name(line.item).to_owned())
        .collect();
    assert_eq!(names, ["rug", "mug"]);
    assert_eq!(folded.len(), 3, "the same interaction twice is one");
    assert!(Timelines::decode(&[9, 9]).is_err());
}

#[test]
fn names_that_nothing_uses_are_dropped() {
    let events: Vec<_> = (1..=5_000)
        .map(|n| event("view_item", n, &view(&format!("item-{n}"))))
        .collect();
    let state = state_of(&events);
    let newest = state.interactions().next().unwrap();
    assert_eq!(state.name(newest.item), "item-5000");
    assert_eq!(state.interactions().count(), 200);
    let highest = state.interactions().map(|it| it.item.0).max().unwrap();
    assert!(highest < 800, "{highest}");
    assert_eq!(state.name(ItemIdx(10_000)), "");
}

#[test]
fn popularity_counts_what_each_event_says_about_taste() {
    let at = |day: i64, mut record: EventRecord| {
        record.occurred_at_ms = day * DAY_MS;
        record
    };
    let refund = Refund {
        lines: vec![line("pan", 1)],
        ..Refund::default()
    };
    let dislike = Dislike {
        item_id: "rug".to_owned(),
    };
    let order = purchase(vec![line("mug", 12), line("pan", 1)]);
    let events = [
        at(0, event("view_item", 1, &view("mug"))),
        at(14, event("purchase", 2, &order)),
        at(14, event("refund", 3, &refund)),
        at(14, event("dislike", 4, &dislike)),
    ];
    let states = replay(&ItemPopularity, &events);
    assert_eq!(states.len(), 2, "a dislike counts for nobody");
    let (mut items, mut total) = (Items::default(), Popularity::default());
    for ((_, key), state) in &states {
        let read = ItemPopularity::decode(&ItemPopularity::encode(state)).unwrap();
        assert_eq!(&read, state);
        let id = std::str::from_utf8(key).unwrap();
        read.add_to(&mut total, items.intern(id).unwrap());
    }
    let decayed = |id: &str| {
        let item = items.get(id).unwrap();
        total.decayed(item, UnixMillis(14 * DAY_MS), 14 * DAY_MS)
    };
    assert_eq!(decayed("mug"), 4.5); // half a view, and a purchase whatever its quantity
    assert_eq!(decayed("pan"), 0.0); // bought and given back
    assert_eq!(ItemPopularity.erased(SubjectId::new([1; 16])), None);
}

#[test]
fn an_order_changes_at_most_twenty_counts() {
    let lines = (0..50)
        .map(|n| line(&format!("item-{}", n / 2), 1))
        .collect();
    let mut keys = Vec::new();
    ItemPopularity.keys(&event("purchase", 1, &purchase(lines)), &mut keys);
    assert_eq!(keys.len(), 20);
}
