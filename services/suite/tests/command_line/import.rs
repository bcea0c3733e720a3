//! A file of any shape, imported by a mapping: the one that the benchmarks use.

use std::path::Path;

use prost::Message as _;
use rapport_api::event::v1::{Lane, ViewItem};
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_rpc::Channel;

use crate::support::{Served, json};

/// 2010-01-01 in UTC, where the mapping's time begins.
const START_MS: i64 = 1_262_304_000_000;

/// Returns when and what was looked at in the imported events, in the order of time.
async fn views_in(channel: &Channel) -> Vec<(i64, String)> {
    let cursor = |partition| profile::PartitionCursor {
        partition,
        after_sequence: 0,
    };
    let request = profile::TailEventsRequest {
        cursors: (0..64).map(cursor).collect(),
        types: vec!["view_item".to_owned()],
        follow: false,
    };
    let mut client = EventServiceClient::new(channel.clone());
    let mut tail = client.tail_events(request).await.unwrap().into_inner();
    let mut views = Vec::new();
    while let Some(frame) = tail.message().await.unwrap() {
        for event in frame.batch.into_iter().flat_map(|batch| batch.events) {
            assert_eq!(event.lane(), Lane::Backfill);
            let view = ViewItem::decode(event.payload.clone()).unwrap();
            views.push((event.occurred_at_ms, view.item_id));
        }
    }
    views.sort();
    views
}

#[tokio::test]
async fn a_mapped_file_comes_in_whole_and_again_changes_nothing() {
    let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/gowalla.toml");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("visits.csv");
    std::fs::write(&file, "user,item\nann,cafe\nbob,park\nann,park\n").unwrap();
    let served = Served::start(folder.path());
    let mut arguments = vec!["import", "csv", "--mapping", mapping.to_str().unwrap()];
    arguments.push(file.to_str().unwrap());
    arguments.extend(["--grant", "personalise", "--evidence", "test", "--json"]);
    for (accepted, duplicate) in [(3, 0), (0, 3)] {
        let summary = json(&served.run(&arguments));
        for (figure, wanted) in [
            ("lines", 3),
            ("accepted", accepted),
            ("duplicate", duplicate),
            ("rejected", 0),
            ("subjects", 2),
            ("consents", 2),
            ("last_event_ms", START_MS + 3_000),
        ] {
            assert_eq!(
                summary[figure].as_i64(),
                Some(wanted),
                "{figure}: {summary}"
            );
        }
        let views = [(1_000, "cafe"), (2_000, "park"), (3_000, "park")];
        let views = views.map(|(after, item)| (START_MS + after, item.to_owned()));
        assert_eq!(views_in(&served.channel()).await, views);
    }
}
