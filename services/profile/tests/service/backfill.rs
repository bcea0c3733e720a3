//! The backfill lane has a share of its own: what exceeds it is refused with a time to come back, and the
//! live lane is not.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rapport_api::event::v1::Lane;
use rapport_api::profile::v1 as pb;
use rapport_profile::error;
use rapport_rpc::retry_after_of;
use rapport_store::store_contract;
use rapport_store::testing::Engine;
use tonic::Code;

use crate::support::{Home, Service, refusal, view};

store_contract!(
    spawn,
    [a_backfill_beyond_the_share_is_refused_and_a_live_event_is_not]
);

async fn spawn(engine: Engine) -> Service {
    let one = ["--backfill-calls-max", "1"];
    Home::new(engine).await.serve(&one).await
}

/// A transaction that no append gets past, until it is dropped.
async fn blocker(service: &Service) -> rapport_store::Tx {
    let db = service.home.db.open().await;
    let mut tx = db.begin().await.unwrap();
    let partitions: Vec<u32> = (0..64).collect();
    rapport_profile::store::log::lock(&mut tx, &partitions)
        .await
        .unwrap();
    tx
}

async fn a_backfill_beyond_the_share_is_refused_and_a_live_event_is_not(service: Service) {
    let alice = service.subject("alice").await;
    let blocker = blocker(&service).await;
    let send = |id: &'static str, lane: Lane| {
        let mut client = service.events();
        let request = pb::CollectEventsRequest {
            events: vec![view(id, alice, "tea")],
            lane: lane as i32,
            import_hash: vec![1; 32],
        };
        async move { (lane, client.collect_events(request).await) }
    };
    let mut calls: FuturesUnordered<_> = [
        send("b-1", Lane::Backfill),
        send("b-2", Lane::Backfill),
        send("l-1", Lane::Live),
    ]
    .into_iter()
    .collect();
    // Nothing can be appended yet, so what answers first was refused.
    let (lane, refused) = calls.next().await.unwrap();
    let status = refused.unwrap_err();
    assert_eq!(lane, Lane::Backfill);
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(refusal(&status).0, error::BACKFILL_LIMITED);
    assert!(retry_after_of(&status) > Some(Duration::ZERO));
    blocker.rollback().await.unwrap();
    let mut answered = Vec::new();
    while let Some((lane, answer)) = calls.next().await {
        answered.push((lane, answer.unwrap().into_inner().results[0].outcome()));
    }
    answered.sort_by_key(|(lane, _)| *lane);
    let accepted = pb::EventOutcome::Accepted;
    assert_eq!(
        answered,
        [(Lane::Live, accepted), (Lane::Backfill, accepted)]
    );
    // The share is free again.
    let (_, again) = send("b-3", Lane::Backfill).await;
    assert_eq!(again.unwrap().into_inner().results[0].outcome(), accepted);
}
