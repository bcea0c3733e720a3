//! Reading the log: from anywhere, filtered, for ever, far behind.

use rapport_api::event::v1 as events;
use rapport_api::profile::v1 as pb;
use rapport_store::store_contract;
use rapport_types::SubjectId;

use crate::support::{Service, assert_gapless, refusal, search, spawn, view};

store_contract!(
    spawn,
    [
        a_reader_goes_on_in_the_middle_of_a_batch,
        a_filter_leaves_events_out_and_says_how_far_it_read,
        a_follower_hears_of_new_events_and_of_silence,
        a_large_batch_comes_in_parts_that_a_client_takes,
        a_reader_far_behind_reads_from_disk_after_a_restart,
        bad_cursors_are_named,
    ]
);

async fn fill(service: &Service, name: &str, count: usize) -> SubjectId {
    let subject = service.subject(name).await;
    let sent = (0..count).map(|n| view(&format!("{name}-{n}"), subject, "tea"));
    service.collect(sent.collect()).await;
    subject
}

async fn a_reader_goes_on_in_the_middle_of_a_batch(service: Service) {
    let partition = fill(&service, "alice", 10).await.partition();
    for after in [0, 4, 9, 10] {
        let batches = service.read(&[(partition, after)], &[]).await;
        let sequences: Vec<u64> = batches
            .iter()
            .flat_map(|batch| batch.events.iter().map(|event| event.sequence))
            .collect();
        assert_eq!(sequences, (after + 1..=10).collect::<Vec<_>>());
    }
    let ends = pb::GetLogPositionsRequest {};
    let ends = service
        .events()
        .get_log_positions(ends)
        .await
        .unwrap()
        .into_inner()
        .ends;
    assert_eq!(ends.len(), 65);
    assert_eq!(ends[partition as usize].after_sequence, 10);
}

async fn a_filter_leaves_events_out_and_says_how_far_it_read(service: Service) {
    let alice = fill(&service, "alice", 3).await;
    service.collect(vec![search("s-1", alice, "tea")]).await;
    service.collect(vec![view("last", alice, "tea")]).await;
    let cursor = [(alice.partition(), 0)];
    let batches = service.read(&cursor, &["search"]).await;
    let found: Vec<_> = batches.iter().flat_map(|batch| &batch.events).collect();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].r#type.as_str(), found[0].sequence), ("search", 4));
    assert_eq!(batches.last().unwrap().last_sequence, 5);
    let batches = service.read(&cursor, &["purchase"]).await;
    assert!(batches.iter().all(|batch| batch.events.is_empty()));
    assert_eq!(batches.last().unwrap().last_sequence, 5);
}

async fn a_follower_hears_of_new_events_and_of_silence(service: Service) {
    let partition = fill(&service, "alice", 2).await.partition();
    let request = pb::TailEventsRequest {
        cursors: vec![pb::PartitionCursor {
            partition,
            after_sequence: 0,
        }],
        types: Vec::new(),
        follow: true,
    };
    let mut tail = service
        .events()
        .tail_events(request)
        .await
        .unwrap()
        .into_inner();
    let first = tail.message().await.unwrap().unwrap();
    assert_eq!(first.batch.unwrap().last_sequence, 2);
    let silence = tail.message().await.unwrap().unwrap();
    assert!(silence.batch.is_none() && silence.caught_up);
    let subject = service.subject("alice").await;
    service.collect(vec![view("new", subject, "tea")]).await;
    let news = loop {
        if let Some(batch) = tail.message().await.unwrap().unwrap().batch {
            break batch;
        }
    };
    assert_eq!(
        (news.events[0].event_id.as_str(), news.high_water),
        ("new", 3)
    );
}

async fn a_large_batch_comes_in_parts_that_a_client_takes(service: Service) {
    let alice = service.subject("alice").await;
    // Of a type of the shop's own: only what Rapport knows has texts that it can bound.
    let large = |n: usize| pb::NewEvent {
        payload: Some(prost_types::Any {
            type_url: "type.googleapis.com/com.shop.v1.Thing".to_owned(),
            value: vec![b'x'; 60_000],
        }),
        ..view(&format!("e-{n}"), alice, "tea")
    };
    let results = service.collect((0..60).map(large).collect()).await;
    assert_eq!(results.last().unwrap().sequence, 60);
    let mut service = service;
    for read in ["from memory", "from disk"] {
        let batches = service.read(&[(alice.partition(), 0)], &[]).await;
        assert!(
            batches.len() >= 4,
            "{read}: 3.6 MB in parts of 1 MiB at most"
        );
        let stored: Vec<_> = batches.into_iter().flat_map(|batch| batch.events).collect();
        assert_gapless(&stored);
        assert_eq!(stored.len(), 60);
        service = service.stop().await.serve(&[]).await;
    }
}

async fn a_reader_far_behind_reads_from_disk_after_a_restart(service: Service) {
    let mut subjects = Vec::new();
    for name in ["a", "b", "c", "d"] {
        subjects.push(service.subject(name).await);
    }
    // More rows than one page of a read: 80 commits for each of four partitions.
    for n in 0..80 {
        let sent = subjects.iter().enumerate();
        let sent = sent.map(|(who, subject)| view(&format!("{who}-{n}"), *subject, "tea"));
        service.collect(sent.collect()).await;
    }
    let before = service.all().await;
    let service = service.stop().await.serve(&[]).await;
    let after = service.all().await;
    assert_gapless(&after);
    assert_eq!(after.len(), 320);
    let key = |event: &events::EventRecord| (event.partition, event.sequence);
    let sorted = |mut events: Vec<events::EventRecord>| {
        events.sort_by_key(key);
        events
    };
    assert_eq!(sorted(before), sorted(after));
}

async fn bad_cursors_are_named(service: Service) {
    let cursor = |partition| pb::PartitionCursor {
        partition,
        after_sequence: 0,
    };
    let request = pb::TailEventsRequest {
        cursors: vec![cursor(65), cursor(3), cursor(3)],
        types: vec!["view_item".to_owned(); 65],
        follow: false,
    };
    let status = service.events().tail_events(request).await.unwrap_err();
    assert_eq!(
        refusal(&status).1,
        ["types", "cursors[0].partition", "cursors[2].partition"]
    );
}
