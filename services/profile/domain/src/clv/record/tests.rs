//! Records worked by hand, the laws of folding, the sample.

use super::*;
use crate::clv::History;
use crate::{Behaviour, PURCHASE_DAYS_MAX, ProfileEvent};
use proptest::prelude::*;
use rapport_types::Micros;

/// A purchase: day, order, currency, units; a negative amount is a refund.
type Bought = (i64, u32, &'static str, i64);

fn state(events: &[Bought]) -> ProfileState {
    let mut state = ProfileState::default();
    for (day, order, currency, units) in events {
        let (order_id, amount) = (order.to_string(), Micros(units.abs() * 1_000_000));
        let behaviour = if *units < 0 {
            Behaviour::Refund {
                currency,
                amount,
                items: &[],
            }
        } else {
            Behaviour::Purchase {
                order_id: &order_id,
                currency,
                amount,
                items: &[],
            }
        };
        state.apply(&ProfileEvent {
            event_id: "e",
            event_type: "any",
            occurred_at: day_end(*day),
            channel: 0,
            device: "",
            behaviour,
        });
    }
    state
}

fn day_end(day: i64) -> UnixMillis {
    UnixMillis((day + 1) * DAY_MS - 1)
}

fn code(text: &str) -> Currency {
    Currency::parse(text).unwrap()
}

/// Repeat days, span and mean spends in GBP and EUR as of a day.
#[track_caller]
fn check(events: &[Bought], as_of: i64, expected: Option<(u32, u32, Option<f64>, Option<f64>)>) {
    let record = state(events).purchase_record(day_end(as_of));
    let told = record.map(|record| {
        let mean = |currency| record.mean_spend(code(currency));
        (
            record.repeats(),
            record.span_days(),
            mean("GBP"),
            mean("EUR"),
        )
    });
    assert_eq!(told, expected);
}

#[test]
fn records_worked_by_hand() {
    check(&[], 9, None);
    check(&[(5, 1, "GBP", 7)], 4, None); // later than asked
    check(&[(5, 1, "GBP", 7)], 5, Some((0, 0, None, None))); // the first tells no spend
    check(
        &[(5, 1, "GBP", 7), (5, 2, "GBP", 9)],
        9,
        Some((0, 0, None, None)),
    ); // one day
    let thrice = [
        (5, 1, "GBP", 7),
        (9, 2, "GBP", 4),
        (9, 3, "GBP", 6),
        (19, 4, "GBP", 20),
    ];
    check(&thrice, 30, Some((2, 14, Some(15.0), None))); // (4 + 6 and 20) / 2 days
    check(&thrice, 18, Some((1, 4, Some(10.0), None)));
    let mixed = [
        (0, 1, "GBP", 1),
        (7, 2, "GBP", 3),
        (7, 3, "EUR", 8),
        (9, 4, "EUR", 4),
    ];
    check(&mixed, 9, Some((2, 9, Some(3.0), Some(6.0))));
    check(
        &[(0, 1, "GBP", 5), (3, 1, "GBP", -5)],
        9,
        Some((0, 0, None, None)),
    ); // no purchase
    check(
        &[(0, 1, "?", 5), (3, 1, "?", 5)],
        9,
        Some((1, 3, None, None)),
    ); // counts without money
    let old = [
        (0, 1, "GBP", 1),
        (1, 2, "GBP", 2),
        (PURCHASE_DAYS_MAX, 3, "GBP", 4),
    ];
    check(&old, 500, Some((1, 399, Some(4.0), None))); // day 0 is no longer kept
}

#[test]
fn a_customer_is_what_the_model_reads_off_the_days() {
    let events = [(3, 1, "GBP", 7), (10, 2, "GBP", 4), (31, 3, "EUR", 6)];
    let record = state(&events).purchase_record(day_end(40)).unwrap();
    let customer = |currency| record.customer(day_end(45), currency).unwrap();
    let days = History::of_days(&[3, 10, 31], 45).unwrap();
    assert_eq!(
        customer(None),
        Customer {
            history: days,
            mean_spend: 0.0
        }
    );
    assert_eq!(customer(Some(code("GBP"))).mean_spend, 4.0);
    assert_eq!(customer(Some(code("CNY"))).mean_spend, 0.0);
    assert_eq!(
        record.customer(day_end(30), None),
        None,
        "before the last purchase"
    );
}

fn anchor(n: u8) -> SubjectId {
    SubjectId::new([n; 16])
}

/// People who buy every `gap` days, thrice, for `units` in a currency.
fn regular(n: u8, gap: i64, units: i64, currency: &'static str) -> (SubjectId, PurchaseRecord) {
    let first = i64::from(n) % 11;
    let day = |nth: i64| (first + nth * gap, nth as u32, currency, units + nth);
    let record = state(&[day(0), day(1), day(2)]).purchase_record(day_end(900));
    (anchor(n), record.unwrap())
}

#[test]
fn learning_is_the_same_as_fitting_the_histories() {
    let people: Vec<_> = (0..40)
        .map(|n| {
            regular(
                n,
                3 + i64::from(n) % 13,
                5 + i64::from(n) % 7,
                if n < 30 { "GBP" } else { "EUR" },
            )
        })
        .collect();
    let mut learners = Learners::new(100);
    people
        .iter()
        .rev()
        .for_each(|(anchor, record)| learners.add(*anchor, record.clone()));
    let learned = learners.fit().unwrap();
    let newest = people.iter().map(|(_, record)| record.last).max().unwrap();
    assert_eq!(
        (learned.as_of, learned.currency),
        (day_end(newest), Some(code("GBP")))
    );
    let customer = |(_, record): &(_, PurchaseRecord)| Customer {
        history: History::of_days(
            &[record.first, (record.first + record.last) / 2, record.last],
            newest,
        )
        .unwrap(),
        mean_spend: record.mean_spend(code("GBP")).unwrap_or(0.0),
    };
    let customers: Vec<Customer> = people.iter().map(customer).collect();
    assert_eq!(
        learned.model.to_bytes(),
        ClvModel::fit(&customers).unwrap().to_bytes()
    );
    assert_eq!(learned.model.spend.unwrap().spenders, 30);
}

#[test]
fn too_few_who_bought_again_teach_nothing() {
    let mut learners = Learners::new(100);
    assert_eq!(learners.fit(), Err(TooFewRepeaters(0)));
    (0..29).for_each(|n| {
        let (anchor, record) = regular(n, 5, 10, "GBP");
        learners.add(anchor, record);
    });
    assert_eq!(learners.fit(), Err(TooFewRepeaters(29)));
}

#[test]
fn the_sample_does_not_depend_on_the_order() {
    let sample = |order: &mut dyn Iterator<Item = u8>| {
        let mut learners = Learners::new(32);
        order.for_each(|n| {
            let (anchor, record) = regular(n, 5, 10, "GBP");
            learners.add(anchor, record);
        });
        learners.kept.into_keys().collect::<Vec<_>>()
    };
    let (up, down) = (sample(&mut (0..200)), sample(&mut (0..200).rev()));
    assert_eq!(up, down);
    assert_eq!(up.len(), 32);
    let mean = up
        .iter()
        .map(|(_, anchor)| f64::from(anchor.as_bytes()[0]))
        .sum::<f64>()
        / 32.0;
    assert!(
        (70.0..130.0).contains(&mean),
        "spread over all of them: {mean}"
    );
}

proptest! {
    #[test]
    fn the_order_of_folding_does_not_matter(
        events in prop::collection::vec((0i64..900, 0u32..9, 0usize..3, -9i64..99), 0..40),
        members in prop::collection::vec(0usize..4, 40), as_of in 0i64..1_000,
    ) {
        let events: Vec<Bought> = events
            .into_iter()
            .map(|(day, order, currency, units)| (day, order, ["GBP", "EUR", "?"][currency], units))
            .collect();
        let of = |member: usize| {
            let own = events.iter().zip(&members).filter(|(_, of)| **of == member);
            state(&own.map(|(event, _)| *event).collect::<Vec<_>>())
        };
        let states: Vec<ProfileState> = (0..4).map(of).collect();
        let record = |state: &ProfileState| state.purchase_record(day_end(as_of));
        let whole = record(&state(&events));
        prop_assert_eq!(&record(&ProfileState::folded(&states)), &whole);
        prop_assert_eq!(&record(&ProfileState::folded(states.iter().rev())), &whole);
        if let Some(record) = whole {
            prop_assert!(record.repeats() <= record.span_days());
            let customer = record.customer(day_end(as_of), None);
            prop_assert!(customer.is_some());
        }
    }
}
