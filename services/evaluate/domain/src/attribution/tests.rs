//! Attribution by hand, by brute force, and by law.

use super::*;
use proptest::prelude::*;
use rapport_types::{Micros, UnixMillis};

fn journeys(rows: &[(&str, u64, f64, u64)]) -> Journeys {
    let mut journeys = Journeys::default();
    for &(path, conversions, value, nulls) in rows {
        journeys
            .add(path.split(" > "), conversions, value, nulls)
            .unwrap();
    }
    journeys
}

#[track_caller]
fn check(model: Model, rows: &[(&str, u64, f64, u64)], expected: &[(&str, f64)]) {
    let found = attribute(&journeys(rows), model).unwrap();
    assert_eq!(found.credit.len(), expected.len());
    for &(channel, credit) in expected {
        assert!(
            (found.credit[channel] - credit).abs() < 1e-12,
            "{model:?}: {:?}",
            found.credit
        );
    }
}

#[test]
fn rules_give_what_they_say() {
    let rows = [("a > b > c > d", 10, 0.0, 3)];
    check(
        Model::First,
        &rows,
        &[("a", 10.0), ("b", 0.0), ("c", 0.0), ("d", 0.0)],
    );
    check(
        Model::Last,
        &rows,
        &[("a", 0.0), ("b", 0.0), ("c", 0.0), ("d", 10.0)],
    );
    check(
        Model::Linear,
        &rows,
        &[("a", 2.5), ("b", 2.5), ("c", 2.5), ("d", 2.5)],
    );
    check(
        Model::Position,
        &rows,
        &[("a", 4.0), ("b", 1.0), ("c", 1.0), ("d", 4.0)],
    );
    // Weights 2^-1.5, 2^-1, 2^-0.5, 1: d gets twice what b gets.
    let whole = 1.0 + 0.5 + 0.5f64.sqrt() * 1.5;
    let half = 0.5f64.sqrt();
    let decayed = [
        ("a", 5.0 * half / whole),
        ("b", 5.0 / whole),
        ("c", 10.0 * half / whole),
        ("d", 10.0 / whole),
    ];
    check(Model::TimeDecay, &rows, &decayed);
    check(
        Model::Position,
        &[("a > b", 2, 0.0, 0)],
        &[("a", 1.0), ("b", 1.0)],
    );
    check(Model::Position, &[("a", 2, 0.0, 0)], &[("a", 2.0)]);
    check(
        Model::Linear,
        &[("a > a > b", 3, 0.0, 0)],
        &[("a", 2.0), ("b", 1.0)],
    );
}

#[test]
fn markov_matches_the_chain_solved_by_hand() {
    // From the start: a 2/3, c 1/3. From a: b 1. From b: convert 1/2, null 1/2. From c: convert 1/2.
    // P(convert) = 2/3 * 1/2 + 1/3 * 1/2 = 1/2. Without a or b: 1/6 is left. Without c: 1/3 is left.
    let rows = [("a > b", 1, 8.0, 1), ("c", 1, 1.0, 1), ("a > b", 1, 8.0, 1)];
    let found = attribute(&journeys(&rows), Model::Markov { order: 1 }).unwrap();
    let effects = found.removal_effects.unwrap();
    for (channel, effect) in [("a", 2.0 / 3.0), ("b", 2.0 / 3.0), ("c", 1.0 / 3.0)] {
        assert!((effects[channel] - effect).abs() < 1e-12, "{effects:?}");
    }
    check(
        Model::Markov { order: 1 },
        &rows,
        &[("a", 1.2), ("b", 1.2), ("c", 0.6)],
    );
    // Of a value of 17, a and b carry 16 and c 1: effects 16/17, 16/17, 1/17.
    assert!(
        (found.value_credit["c"] - 17.0 / 33.0).abs() < 1e-12,
        "{:?}",
        found.value_credit
    );
}

#[test]
fn loops_do_not_matter_and_order_two_remembers() {
    let looped = journeys(&[("a > a > a > b", 3, 0.0, 2), ("b > b", 1, 0.0, 4)]);
    let plain = journeys(&[("a > b", 3, 0.0, 2), ("b", 1, 0.0, 4)]);
    let effects = |journeys| {
        attribute(journeys, Model::Markov { order: 1 })
            .unwrap()
            .removal_effects
            .unwrap()
    };
    for (channel, effect) in effects(&looped) {
        assert!((effect - effects(&plain)[&channel]).abs() < 1e-12);
    }
    // Only "a then b" converts. Order 1 mixes it with "c then b"; order 2 does not.
    let rows = journeys(&[("a > b", 10, 0.0, 0), ("c > b", 0, 0.0, 10)]);
    let at = |order| {
        attribute(&rows, Model::Markov { order })
            .unwrap()
            .removal_effects
            .unwrap()
    };
    assert!((at(1)["c"] - 0.5).abs() < 1e-12);
    assert!(at(2)["c"].abs() < 1e-12 && (at(2)["a"] - 1.0).abs() < 1e-12);
}

#[test]
fn refusals_and_emptiness() {
    let mut empty = Journeys::default();
    assert_eq!(empty.add([], 1, 0.0, 0), Err(JourneyError::Steps(0)));
    assert_eq!(empty.add(["a"], 1, f64::NAN, 0), Err(JourneyError::Value));
    assert_eq!(
        empty.add([""], 1, 0.0, 0),
        Err(JourneyError::Channel(String::new()))
    );
    let endless = std::iter::repeat_n("a", STEPS_MAX + 1);
    assert_eq!(
        empty.add(endless, 1, 0.0, 0),
        Err(JourneyError::Steps(STEPS_MAX + 1))
    );
    let refused = attribute(&empty, Model::Markov { order: 9 });
    assert_eq!(refused, Err(JourneyError::Order(9)));
    for model in Model::ALL {
        assert!(
            attribute(&Journeys::default(), model)
                .unwrap()
                .credit
                .is_empty()
        );
        assert_eq!(Model::parse(model.name()), Some(model));
        let nobody = attribute(&journeys(&[("a > b", 0, 0.0, 5)]), model).unwrap();
        assert!(
            nobody.credit.values().all(|credit| *credit == 0.0),
            "{model:?}"
        );
    }
}

#[test]
fn synergy_is_the_interaction_of_rates() {
    let rows = journeys(&[
        ("a > b", 8, 0.0, 2),
        ("a", 3, 0.0, 7),
        ("b > b", 2, 0.0, 8),
        ("c", 1, 0.0, 9),
    ]);
    let pairs = synergy(&rows);
    assert!(
        (pairs["a + b"].unwrap() - (0.8 - 0.3 - 0.2 + 0.1)).abs() < 1e-12,
        "{pairs:?}"
    );
    assert_eq!(pairs["a + c"], None); // the two never meet
}

#[test]
fn a_life_is_cut_at_its_conversions() {
    let touch = |at, channel: &str| Touch {
        at: UnixMillis(at),
        channel: channel.to_owned(),
    };
    let touches = vec![
        touch(90, "mail"),
        touch(10, "ad"),
        touch(50, "ad"),
        touch(60, "search"),
    ];
    let conversions = vec![
        (UnixMillis(60), Micros(3_000_000)),
        (UnixMillis(70), Micros(1)),
    ];
    let mut found = Journeys::default();
    let unexplained = journeys_of(&mut found, touches, conversions, 30).unwrap();
    assert_eq!(
        unexplained, 1,
        "the second conversion has no touch of its own"
    );
    // The touch at 10 is older than 30; "mail" ended in nothing.
    assert_eq!(
        found,
        journeys(&[("ad > search", 1, 3.0, 0), ("mail", 0, 0.0, 1)])
    );
}

/// Shapley by its definition: the mean over all orders of arrival of what each channel adds.
fn shapley_by_orders(rows: &Journeys) -> Vec<f64> {
    let n = rows.channels().count();
    let paths = rows.paths();
    let worth = |coalition: u32| -> f64 {
        let inside = |path: &[usize]| path.iter().all(|&channel| coalition >> channel & 1 == 1);
        paths
            .iter()
            .filter(|(path, _)| inside(path))
            .map(|(_, outcome)| outcome.conversions)
            .sum()
    };
    let factorial = |k: usize| (1..=k).map(|i| i as f64).product::<f64>();
    (0..n)
        .map(|channel| {
            (0..1u32 << n)
                .filter(|coalition| coalition >> channel & 1 == 0)
                .map(|coalition| {
                    let before = coalition.count_ones() as usize;
                    let orders = factorial(before) * factorial(n - before - 1) / factorial(n);
                    orders * (worth(coalition | 1 << channel) - worth(coalition))
                })
                .sum()
        })
        .collect()
}

fn any_journeys() -> impl Strategy<Value = Journeys> {
    let path = prop::collection::vec(0usize..5, 1..7);
    let row = (path, 0u64..9, 0.0..50.0f64, 0u64..9);
    prop::collection::vec(row, 1..12).prop_map(|rows| {
        let mut journeys = Journeys::default();
        for (path, conversions, value, nulls) in rows {
            let steps = path
                .iter()
                .map(|&channel| ["a", "b", "c", "d", "e"][channel]);
            let value = if conversions > 0 { value } else { 0.0 };
            journeys.add(steps, conversions, value, nulls).unwrap();
        }
        journeys
    })
}

/// Probability of conversion with a channel removed, by walking the chain until nobody is left.
fn conversion_without(rows: &Journeys, removed: Option<usize>) -> f64 {
    let n = rows.channels().count();
    let (mut moves, mut ends, mut left) = (vec![0.0; (n + 1) * n], vec![0.0; n], vec![0.0; n + 1]);
    for (path, outcome) in rows.paths() {
        let times = outcome.conversions + outcome.nulls;
        let mut from = n;
        for &to in &path {
            moves[from * n + to] += times;
            left[from] += times;
            from = to;
        }
        left[from] += times;
        ends[from] += outcome.conversions;
    }
    let (mut here, mut converted) = (vec![0.0; n + 1], 0.0);
    here[n] = 1.0;
    for _ in 0..5_000 {
        let mut next = vec![0.0; n + 1];
        for from in (0..=n).filter(|&from| here[from] > 0.0 && left[from] > 0.0) {
            for to in (0..n).filter(|&to| Some(to) != removed) {
                next[to] += here[from] * moves[from * n + to] / left[from];
            }
            converted += if from < n {
                here[from] * ends[from] / left[from]
            } else {
                0.0
            };
        }
        here = next;
    }
    converted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn credits_sum_to_the_conversions_and_value(rows in any_journeys(), order in 1usize..=3) {
        for model in Model::ALL.into_iter().chain([Model::Markov { order }]) {
            let found = attribute(&rows, model).unwrap();
            let (credit, value): (f64, f64) = (found.credit.values().sum(), found.value_credit.values().sum());
            prop_assert!((credit - rows.conversions()).abs() < 1e-9, "{model:?} {credit}");
            prop_assert!((value - rows.value()).abs() < 1e-9, "{model:?} {value}");
            prop_assert!(found.credit.values().all(|credit| *credit >= -1e-12));
        }
    }

    #[test]
    fn shapley_equals_its_definition(rows in any_journeys()) {
        let found = attribute(&rows, Model::Shapley).unwrap();
        for (ours, exact) in found.credit.values().zip(shapley_by_orders(&rows)) {
            prop_assert!((ours - exact).abs() < 1e-9);
        }
    }

    #[test]
    fn removal_effects_equal_walking_the_chain(rows in any_journeys()) {
        let whole = conversion_without(&rows, None);
        if let Some(effects) = attribute(&rows, Model::Markov { order: 1 }).unwrap().removal_effects {
            for (channel, effect) in effects.values().enumerate() {
                let walked = 1.0 - conversion_without(&rows, Some(channel)) / whole;
                prop_assert!((effect - walked).abs() < 1e-9, "{effect} {walked}");
            }
        }
    }

    #[test]
    fn order_of_arrival_does_not_matter(rows in prop::collection::vec((0usize..5, 0usize..5, 1u64..9), 1..9)) {
        const NAMES: [&str; 5] = ["e", "a", "d", "b", "c"];
        let fill = |rows: &[(usize, usize, u64)]| {
            let mut journeys = Journeys::default();
            for &(first, second, n) in rows {
                journeys.add([NAMES[first], NAMES[second]], n, 0.0, 1).unwrap();
            }
            journeys
        };
        let mut reversed = rows.clone();
        reversed.reverse();
        for model in Model::ALL {
            prop_assert_eq!(attribute(&fill(&rows), model), attribute(&fill(&reversed), model));
        }
    }
}
