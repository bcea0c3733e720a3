//! Tables and laws of the timeline.

use super::*;
use proptest::prelude::*;

fn done(at: i64, kind: Kind, item: u32, weight: u32) -> Interaction {
    Interaction {
        item: ItemIdx(item),
        kind,
        occurred_at: UnixMillis(at),
        weight_milli: weight * WEIGHT_ONE_MILLI,
        order: order_key(0, at as u64, item as u16),
    }
}

fn timeline(entries: &[Interaction]) -> Timeline {
    let mut timeline = Timeline::default();
    for entry in entries {
        timeline.insert(*entry);
    }
    timeline
}

/// Compares `(item, strength, purchased, disliked)` in history order.
#[track_caller]
fn check(entries: &[Interaction], expected: &[(u32, f32, bool, bool)]) {
    let lines = timeline(entries).history().into_iter();
    let lines: Vec<_> = lines
        .map(|line| {
            (
                line.item.0,
                line.strength,
                line.is_purchased,
                line.is_disliked,
            )
        })
        .collect();
    assert_eq!(lines, expected);
}

#[test]
fn history_matches_tables_worked_by_hand() {
    use Kind::{Cart, Dislike, Favourite, Purchase, View};
    check(&[], &[]);
    check(
        &[
            done(1, View, 7, 1),
            done(2, Cart, 7, 1),
            done(3, View, 5, 1),
        ],
        &[(5, 1.0, false, false), (7, 3.0, false, false)],
    );
    check(&[done(1, Purchase, 7, 12)], &[(7, 4.0, true, false)]); // quantity is not taste
    check(
        &[done(1, Favourite, 7, 1), done(2, Dislike, 7, 1)],
        &[(7, 0.0, false, true)],
    );
    check(
        &[done(1, Dislike, 7, 1), done(2, Purchase, 7, 1)],
        &[(7, 4.0, true, false)],
    );
    let often: Vec<_> = (0..50).map(|at| done(at, View, 7, 1)).collect();
    check(&often, &[(7, STRENGTH_MAX, false, false)]);
}

#[test]
fn refunds_take_back_the_newest_purchase_before_them() {
    use Kind::{Purchase, Refund, View};
    check(&[done(1, Purchase, 7, 1), done(2, Refund, 7, 1)], &[]);
    check(
        &[done(1, Purchase, 7, 10), done(2, Refund, 7, 2)],
        &[(7, 4.0, true, false)],
    );
    check(
        &[
            done(1, Purchase, 7, 1),
            done(2, Purchase, 7, 1),
            done(3, Refund, 7, 1),
        ],
        &[(7, 4.0, true, false)],
    );
    check(
        &[
            done(1, Purchase, 7, 1),
            done(2, Purchase, 7, 1),
            done(3, Refund, 7, 2),
        ],
        &[],
    );
    check(
        &[done(1, Refund, 7, 1), done(2, Purchase, 7, 1)],
        &[(7, 4.0, true, false)],
    ); // before it: nothing
    check(
        &[
            done(1, View, 7, 1),
            done(2, Purchase, 7, 1),
            done(3, Refund, 7, 1),
        ],
        &[(7, 1.0, false, false)],
    );
}

#[test]
fn browsing_never_pushes_a_purchase_out() {
    let mut kept = timeline(&[done(0, Kind::Purchase, 1, 1)]);
    for at in 1..1_000 {
        kept.insert(done(at, Kind::View, 2, 1));
    }
    assert_eq!(kept.len(), BROWSED_MAX + 1);
    assert!(kept.history().iter().any(|line| line.is_purchased));
    assert!(
        !kept.insert(done(1, Kind::View, 2, 1)),
        "older than the oldest kept view"
    );
}

#[test]
fn baskets_are_cut_at_the_gap() {
    use Kind::{Purchase, Refund};
    let kept = timeline(&[
        done(0, Purchase, 3, 1),
        done(10, Purchase, 1, 1),
        done(10, Purchase, 2, 1),
        done(11, Purchase, 2, 1),
        done(100, Purchase, 4, 1),
        done(101, Purchase, 5, 1),
        done(102, Refund, 5, 1),
    ]);
    let baskets: Vec<Vec<u32>> = kept
        .baskets(10)
        .iter()
        .map(|basket| basket.iter().map(|item| item.0).collect())
        .collect();
    assert_eq!(baskets, [vec![1, 2, 3], vec![4]]);
}

#[test]
fn order_keys_sort_by_partition_then_sequence_then_line() {
    assert!(order_key(0, 2, 0) > order_key(0, 1, 4_095));
    assert!(order_key(1, 0, 0) > order_key(0, (1 << 45) - 1, 4_095));
    assert_eq!(order_key(0, 5, 1), (5 << 12) + 1);
}

fn interaction() -> impl Strategy<Value = Interaction> {
    (0u32..6, 0usize..7, 0i64..8, 0u32..4, 0u64..4).prop_map(|(item, kind, at, weight, order)| {
        Interaction {
            item: ItemIdx(item),
            kind: Kind::ALL[kind],
            occurred_at: UnixMillis(at),
            weight_milli: weight * 500,
            order,
        }
    })
}

fn any_timeline() -> impl Strategy<Value = Timeline> {
    prop::collection::vec(interaction(), 0..40).prop_map(|entries| timeline(&entries))
}

/// Enough entries, on few enough instants, that the bounds bite.
fn full_timeline() -> impl Strategy<Value = Timeline> {
    prop::collection::vec((0u32..400, 0i64..500, prop::bool::ANY), 150..400).prop_map(|entries| {
        let kind = |is_view| if is_view { Kind::View } else { Kind::Purchase };
        timeline(
            &entries
                .iter()
                .map(|(item, at, view)| done(*at, kind(*view), *item, 1))
                .collect::<Vec<_>>(),
        )
    })
}

fn merged(a: &Timeline, b: &Timeline) -> Timeline {
    Timeline::fold([a, b])
}

proptest! {
    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        a in any_timeline(), b in any_timeline(), c in any_timeline(),
    ) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &a), a);
    }

    #[test]
    fn the_laws_hold_where_the_bounds_cut(
        a in full_timeline(), b in full_timeline(), c in full_timeline(),
    ) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert!(merged(&a, &b).len() <= BROWSED_MAX + DEEDS_MAX);
    }

    #[test]
    fn splitting_a_stream_over_subjects_changes_nothing(
        entries in prop::collection::vec((interaction(), 0usize..3), 0..80),
    ) {
        let whole = timeline(&entries.iter().map(|(entry, _)| *entry).collect::<Vec<_>>());
        let mut members = vec![Timeline::default(); 3];
        for (entry, member) in &entries {
            members[*member].insert(*entry);
        }
        prop_assert_eq!(Timeline::fold(&members), whole);
    }

    #[test]
    fn bytes_round_trip_into_another_process(kept in any_timeline()) {
        let mut here = Items::default();
        for item in 0..6 {
            here.intern(&format!("sku-{item}")).unwrap();
        }
        let bytes = kept.to_bytes(&here);
        let mut there = Items::default();
        there.intern("sku-5").unwrap(); // other numbers than here
        let read = Timeline::from_bytes(&bytes, &mut there).unwrap();
        let named = |timeline: &Timeline, items: &Items| {
            timeline.interactions().map(|it| (items.name(it.item).to_owned(), it.kind, it.order)).collect::<std::collections::BTreeSet<_>>()
        };
        prop_assert_eq!(named(&read, &there), named(&kept, &here));
        prop_assert_eq!(Timeline::from_bytes(&bytes, &mut here.clone()).unwrap(), kept);
    }

    #[test]
    fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Timeline::from_bytes(&bytes, &mut Items::default());
    }
}

#[test]
fn a_future_version_and_trailing_bytes_are_refused() {
    let mut items = Items::default();
    items.intern("a").unwrap();
    let mut bytes = timeline(&[done(1, Kind::View, 0, 1)]).to_bytes(&items);
    bytes.push(0);
    assert_eq!(
        Timeline::from_bytes(&bytes, &mut items),
        Err(DecodeError::Invalid("length"))
    );
    bytes[0] = 9;
    assert_eq!(
        Timeline::from_bytes(&bytes, &mut items),
        Err(DecodeError::Version(9))
    );
}
