//! Caps over a person's subjects, on the counters in memory.

use super::*;
use ads_domain::{Bid, BidType, Creative, LineItemFields};
use rapport_cache::MemoryCounters;
use rapport_types::Micros;

fn line_item(caps: &[(u32, u32)]) -> LineItem {
    let cap = |(impressions_max, hours): &(u32, u32)| ads_domain::Cap {
        impressions_max: *impressions_max,
        window: Window::Hours(*hours),
    };
    LineItem::parse(LineItemFields {
        id: "li".to_owned(),
        campaign_id: "c".to_owned(),
        bid: Bid {
            bid_type: BidType::Cpc,
            amount: Micros(1),
        },
        budget: Micros(1),
        caps: caps.iter().map(cap).collect(),
        creatives: vec![Creative {
            id: "c1".to_owned(),
            headline: "Tea".to_owned(),
            language: String::new(),
            landing: "item:tea".to_owned(),
        }],
        ..LineItemFields::default()
    })
    .unwrap()
}

fn person(anchor: u8, others: &[u8]) -> Counted {
    Counted {
        anchor: SubjectId::new([anchor; 16]),
        others: others.iter().map(|n| SubjectId::new([*n; 16])).collect(),
    }
}

async fn frequency() -> Frequency {
    let counters = MemoryCounters::default();
    rapport_cache::testing::complete(&counters).await;
    Frequency::new(Arc::new(counters))
}

const NOW: UnixMillis = UnixMillis(1_000 * HOUR_MS);

#[tokio::test]
async fn the_cap_counts_every_subject_and_the_strictest_of_a_window_holds() {
    let (frequency, li) = (frequency().await, line_item(&[(9, 24), (3, 24), (5, 168)]));
    let reserve = async |person| frequency.reserve(&person, &li, NOW).await.unwrap();
    assert!(reserve(person(1, &[])).await);
    assert!(reserve(person(2, &[])).await);
    // Linked now: one seen on each, a third may follow, a fourth not.
    assert_eq!(
        frequency.reached(&person(1, &[2]), &[&li], NOW).await,
        Ok(vec![false])
    );
    assert!(reserve(person(1, &[2])).await);
    assert!(!reserve(person(1, &[2])).await);
    assert_eq!(
        frequency.reached(&person(1, &[2]), &[&li], NOW).await,
        Ok(vec![true])
    );
    assert_eq!(
        frequency.reached(&person(1, &[]), &[&li], NOW).await,
        Ok(vec![false])
    );
}

#[tokio::test]
async fn a_reservation_that_is_given_back_leaves_room() {
    let (frequency, li) = (frequency().await, line_item(&[(1, 1)]));
    let one = person(1, &[]);
    assert!(frequency.reserve(&one, &li, NOW).await.unwrap());
    assert!(!frequency.reserve(&one, &li, NOW).await.unwrap());
    frequency.release(one.anchor, &li, NOW).await;
    assert!(frequency.reserve(&one, &li, NOW).await.unwrap());
    let later = NOW.plus(HOUR_MS);
    assert!(
        frequency.reserve(&one, &li, later).await.unwrap(),
        "the next window"
    );
}

#[test]
fn a_long_id_has_a_name_that_counters_take() {
    assert_eq!(name_of("li-1"), "li/li-1");
    let long = name_of(&"茶".repeat(64));
    assert_eq!(long.len(), 3 + 32);
    assert_ne!(long, name_of(&"酒".repeat(64)));
}

#[tokio::test]
async fn counters_that_are_not_rebuilt_yet_answer_nothing() {
    let (frequency, li) = (
        Frequency::new(Arc::new(MemoryCounters::default())),
        line_item(&[(9, 24)]),
    );
    let one = person(1, &[]);
    assert_eq!(frequency.reserve(&one, &li, NOW).await, Err(NoAnswer));
    assert_eq!(frequency.reached(&one, &[&li], NOW).await, Err(NoAnswer));
}
