//! `DecisionService` over a socket: price, money, idempotency, the log, drain.

use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message as _;
use rapport_api::ads::v1::*;
use rapport_api::event::v1::{AdClick, AdDecided, AdImpression};
use rapport_types::SystemClock;
use tonic::Code;

use crate::support::{World, bad_fields, home, line_item, outcome, reason, winner};

#[tokio::test]
async fn a_malformed_request_names_every_bad_field() {
    let world = World::new().await;
    let replica = world.start().await;
    let request = DecideRequest {
        subject_id: vec![1; 15],
        floor_micros: -1,
        ..DecideRequest::default()
    };
    let status = replica.clients.decide(request).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_REQUEST")
    );
    assert_eq!(
        bad_fields(&status),
        ["request_id", "subject_id", "placement", "floor_micros"]
    );
    let status = replica
        .clients
        .record(&[], AdEventKind::Unspecified)
        .await
        .unwrap_err();
    assert_eq!(bad_fields(&status), ["decision_id", "kind"]);
    let status = replica
        .clients
        .record(&[9; 16], AdEventKind::Click)
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, "DECISION_NOT_FOUND")
    );
}

#[tokio::test]
async fn the_best_bid_wins_and_pays_the_second_price_once() {
    let world = World::new().await;
    let replica = world.start().await;
    let clients = &replica.clients;
    clients.put_campaign("c").await;
    clients
        .put(line_item("li-1", 5_000_000, 1_000_000))
        .await
        .unwrap();
    clients
        .put(line_item("li-2", 3_000_000, 1_000_000))
        .await
        .unwrap();
    let mut elsewhere = line_item("li-3", 9_000_000, 1_000_000);
    elsewhere.targeting = Some(Targeting {
        placements: vec!["cart".to_owned()],
        ..Targeting::default()
    });
    clients.put(elsewhere).await.unwrap();

    let decision = clients.home(None).await;
    let won = decision.winner.clone().unwrap();
    assert_eq!(
        (won.line_item_id.as_str(), won.campaign_id.as_str()),
        ("li-1", "c")
    );
    assert_eq!(
        won.price_micros, 3_001,
        "a micro above the second, per thousand, rounded up"
    );
    assert_eq!(won.creative.unwrap().headline, "Fresh tea");
    let outcomes = ["li-1", "li-2", "li-3"].map(|id| outcome(&decision, id));
    assert_eq!(outcomes, ["WON", "OUTBID", "TARGETING"]);
    assert_eq!(decision.considered[2].text, "not for this placement");

    let id = &decision.decision_id;
    let seen = clients.record(id, AdEventKind::Impression).await.unwrap();
    assert_eq!((seen.recorded, seen.cost_micros), (true, 3_001));
    world.clock.advance(5_000);
    let again = clients.record(id, AdEventKind::Impression).await.unwrap();
    assert_eq!((again.recorded, again.cost_micros), (false, 3_001));
    let click = clients.record(id, AdEventKind::Click).await.unwrap();
    assert_eq!((click.recorded, click.cost_micros), (true, 0));
    let books = clients.ledger("li-1").await.unwrap();
    assert_eq!(
        (books.spent, books.leased, books.sum),
        (3_001, 50_000 - 3_001, 0)
    );
    assert_eq!(
        clients.ledger("li-2").await.unwrap().leased,
        0,
        "who loses leases nothing"
    );

    replica.ads.drain().await;
    let decided = world.log.records("AdDecided").remove(0);
    let decided = AdDecided::decode(decided.payload).unwrap();
    assert_eq!(
        (decided.line_item_id.as_str(), decided.price_micros),
        ("li-1", 3_001)
    );
    assert_eq!(decided.header.unwrap().decision_id, *id);
    let candidates: Vec<_> = decided
        .candidates
        .iter()
        .map(|it| (it.id.as_str(), it.shown))
        .collect();
    assert_eq!(
        candidates,
        [("li-1", true)],
        "what could not be shown has no propensity"
    );
    let seen = AdImpression::decode(world.log.records("AdImpression").remove(0).payload).unwrap();
    assert_eq!((seen.decision_id, seen.cost_micros), (id.clone(), 3_001));
    let click = AdClick::decode(world.log.records("AdClick").remove(0).payload).unwrap();
    assert_eq!(
        (click.line_item_id.as_str(), click.cost_micros),
        ("li-1", 0)
    );
    assert_eq!(
        world.log.conflicts(),
        Vec::<String>::new(),
        "a repeat is the same event"
    );
}

#[tokio::test]
async fn a_click_is_billed_at_the_click_and_predicts_the_next() {
    let world = World::new().await;
    let replica = world.start().await;
    let clients = &replica.clients;
    clients.put_campaign("c").await;
    let mut per_click = line_item("li", 200_000, 10_000_000);
    per_click.bid_type = BidType::Cpc.into();
    clients.put(per_click).await.unwrap();
    let decision = clients.home(None).await;
    // Nothing else bids: the least price that yields a micro per thousand impressions.
    assert_eq!(decision.winner.as_ref().unwrap().price_micros, 1);
    let before = decision.considered[0].ecpm_micros;
    assert_eq!(
        before, 2_000_000,
        "0.2 per click at the prior of one in a hundred"
    );
    let id = &decision.decision_id;
    assert_eq!(
        clients
            .record(id, AdEventKind::Impression)
            .await
            .unwrap()
            .cost_micros,
        0
    );
    assert_eq!(
        clients
            .record(id, AdEventKind::Click)
            .await
            .unwrap()
            .cost_micros,
        1
    );
    // The counts are swapped in four times a second.
    let after = loop {
        let ecpm = clients.home(None).await.considered[0].ecpm_micros;
        if ecpm != before {
            break ecpm;
        }
        tokio::task::yield_now().await;
    };
    // Over all placements (1 + 0.01 * 200) / 201, then the same once more for `home`.
    let everywhere = 3.0 / 201.0;
    let expected: f64 = 200_000.0 * 1_000.0 * (1.0 + everywhere * 200.0) / 201.0;
    assert_eq!(after, expected.round() as i64);
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_decision_and_costs_nothing() {
    let world = World::new().await;
    let replica = world.start().await;
    let clients = &replica.clients;
    clients.put_campaign("c").await;
    clients
        .put(line_item("li", 1_000_000, 1_000_000))
        .await
        .unwrap();
    let request = DecideRequest {
        floor_micros: 1_000_000,
        ..home(None)
    };
    let calls = (0..20).map(|_| clients.decide(request.clone()));
    let answers: Vec<_> = futures::future::join_all(calls).await;
    let first = answers[0].as_ref().unwrap();
    assert_eq!(winner(first), "li");
    assert!(
        answers
            .iter()
            .all(|answer| answer.as_ref().unwrap() == first)
    );
    let other = DecideRequest {
        placement: "cart".to_owned(),
        ..request
    };
    let status = clients.decide(other).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::AlreadyExists, "REQUEST_ID_REUSED")
    );
    replica.ads.drain().await;
    assert_eq!(world.log.records("AdDecided").len(), 1);
}

#[tokio::test]
async fn the_budget_is_spent_to_the_last_impression_and_never_beyond() {
    let world = World::new().await;
    let replica = world.start().await;
    let clients = &replica.clients;
    clients.put_campaign("c").await;
    clients
        .put(line_item("li", 1_000_000, 25_000))
        .await
        .unwrap();
    let mut fills = Vec::new();
    let last = loop {
        let decision = clients
            .decide(DecideRequest {
                floor_micros: 1_000_000,
                ..home(None)
            })
            .await
            .unwrap();
        if decision.winner.is_none() {
            break decision;
        }
        fills.push(decision.decision_id);
        assert!(fills.len() <= 25, "more was promised than there is");
    };
    assert_eq!((fills.len(), outcome(&last, "li")), (25, "BUDGET"));
    let books = clients.ledger("li").await.unwrap();
    assert_eq!((books.free, books.leased, books.spent), (0, 25_000, 0));
    for id in &fills {
        assert_eq!(
            clients
                .record(id, AdEventKind::Impression)
                .await
                .unwrap()
                .cost_micros,
            1_000
        );
    }
    let books = clients.ledger("li").await.unwrap();
    assert_eq!(
        (books.free, books.leased, books.spent, books.sum),
        (0, 0, 25_000, 0)
    );
}

#[tokio::test]
async fn draining_hands_leases_back_and_a_restart_serves_on() {
    let world = World::new().await;
    let flags = ["--replica", "a", "--lease-seconds", "600"];
    let replica = world
        .start_with(&flags, Arc::new(SystemClock))
        .await
        .unwrap();
    replica.clients.put_campaign("c").await;
    replica
        .clients
        .put(line_item("li", 1_000_000, 100_000))
        .await
        .unwrap();
    let decision = replica.clients.home(None).await;
    assert_eq!(replica.clients.ledger("li").await.unwrap().leased, 5_000);
    replica.ads.drain().await;

    let replica = world
        .start_with(&flags, Arc::new(SystemClock))
        .await
        .unwrap();
    let books = replica.clients.ledger("li").await.unwrap();
    assert_eq!(
        (books.free, books.leased, books.leases.len()),
        (100_000, 0, 0)
    );
    // Its lease is gone: the money comes from what is free.
    let seen = replica
        .clients
        .record(&decision.decision_id, AdEventKind::Impression)
        .await
        .unwrap();
    assert_eq!((seen.recorded, seen.cost_micros), (true, 1));
    let books = replica.clients.ledger("li").await.unwrap();
    assert_eq!((books.free, books.spent, books.sum), (99_999, 1, 0));
}

#[tokio::test]
async fn with_counters_in_memory_a_second_replica_refuses_to_start() {
    let world = World::new().await;
    let _first = world
        .start_with(&["--replica", "a"], Arc::new(SystemClock))
        .await
        .unwrap();
    let second = world
        .start_with(&["--replica", "b"], Arc::new(SystemClock))
        .await;
    let message = second.unwrap_err().to_string();
    assert!(message.contains("only one replica may run"), "{message}");
}

#[tokio::test]
async fn a_decision_that_is_stored_too_late_for_its_caller_reaches_the_log() {
    let world = World::new().await;
    let replica = world.start().await;
    let clients = &replica.clients;
    clients.put_campaign("c").await;
    clients
        .put(line_item("li", 1_000_000, 1_000_000))
        .await
        .unwrap();
    // Takes the lease, so that the next decision needs the database for its own row only.
    let in_time = clients.home(None).await;
    let db = world.db.open().await;
    let writer = db.begin().await.unwrap();
    let request = home(None);
    let given_up = clients.decide(request.clone()).await.unwrap_err();
    assert_eq!(given_up.code(), Code::DeadlineExceeded);
    writer.rollback().await.unwrap();
    // The caller asks again, and shows what it is told.
    let late = clients.decide(request).await.unwrap();
    assert_eq!(winner(&late), "li");
    replica.ads.drain().await;
    let decided = world.log.records("AdDecided").into_iter();
    let decided = decided.map(|record| AdDecided::decode(record.payload).unwrap());
    let ids: BTreeSet<_> = decided
        .map(|event| event.header.unwrap().decision_id)
        .collect();
    assert_eq!(ids, BTreeSet::from([in_time.decision_id, late.decision_id]));
}
