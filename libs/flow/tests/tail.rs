//! Reading the log from a real server that cuts, skips and expires.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;

use rapport_flow::{Channel, LogReader, TailError, TailOptions};
use rapport_math::Rng;
use support::{Log, serve};

fn options(cursors: &[(u32, u64)], types: &[&str], follow: bool) -> TailOptions {
    TailOptions {
        name: "test",
        cursors: cursors.iter().copied().collect(),
        types: types.iter().map(|name| (*name).to_owned()).collect(),
        follow,
    }
}

/// Reads until `count` events came and returns their partitions and sequences.
async fn read(reader: &mut LogReader, count: usize) -> Vec<(u32, u64)> {
    let mut read = Vec::new();
    while read.len() < count {
        let tailed = reader.next().await.unwrap().unwrap();
        let events = tailed.batch.into_iter().flat_map(|batch| batch.events);
        read.extend(events.map(|event| (event.partition, event.sequence)));
    }
    read
}

fn append(log: &Log, partition: u32, kind: &str, count: usize) {
    for _ in 0..count {
        log.append(rapport_api::event::v1::EventRecord {
            partition,
            r#type: kind.to_owned(),
            ..Default::default()
        });
    }
}

fn assert_each_once_in_order(read: &[(u32, u64)], counts: &BTreeMap<u32, u64>) {
    for (partition, count) in counts {
        let sequences = read
            .iter()
            .filter(|(of, _)| of == partition)
            .map(|(_, at)| *at);
        assert_eq!(
            sequences.collect::<Vec<_>>(),
            (1..=*count).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn cuts_at_random_points_lose_and_repeat_nothing() {
    let (log, channel) = serve().await;
    let mut rng = Rng::seeded(7);
    let mut reader = LogReader::spawn(channel, options(&[(1, 0), (2, 0)], &[], true));
    let mut all = Vec::new();
    let mut counts = BTreeMap::from([(1, 0), (2, 0)]);
    for _round in 0..12 {
        let (partition, count) = (1 + rng.below(2) as u32, 1 + rng.below(30));
        append(&log, partition, "view_item", count as usize);
        *counts.get_mut(&partition).unwrap() += count;
        let some = 1 + rng.below(count) as usize;
        let due = counts.values().sum::<u64>() as usize - all.len();
        all.extend(read(&mut reader, some.min(due)).await);
        log.cut();
    }
    let due = counts.values().sum::<u64>() as usize - all.len();
    all.extend(read(&mut reader, due).await);
    assert_each_once_in_order(&all, &counts);
}

#[tokio::test]
async fn a_skipped_event_is_noticed_and_read_again() {
    let (log, channel) = serve().await;
    append(&log, 5, "view_item", 20);
    log.skip_one();
    let mut reader = LogReader::spawn(channel, options(&[(5, 0)], &[], true));
    let all = read(&mut reader, 20).await;
    assert_each_once_in_order(&all, &BTreeMap::from([(5, 20)]));
}

#[tokio::test]
async fn an_expired_sequence_is_the_consumers_to_handle() {
    let (log, channel) = serve().await;
    append(&log, 5, "view_item", 20);
    log.expire(10);
    let mut reader = LogReader::spawn(channel, options(&[(5, 3)], &[], true));
    assert!(matches!(reader.next().await, Err(TailError::Expired)));
    assert!(reader.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_filter_moves_past_what_it_leaves_out_and_the_end_ends() {
    let (log, channel) = serve().await;
    append(&log, 5, "view_item", 10);
    append(&log, 5, "purchase", 3);
    let mut reader = LogReader::spawn(channel, options(&[(5, 0)], &["purchase"], false));
    let (mut events, mut last) = (0, 0);
    while let Some(tailed) = reader.next().await.unwrap() {
        let batch = tailed.batch.unwrap();
        events += batch.events.len();
        last = batch.last_sequence;
    }
    assert_eq!((events, last), (3, 13));
}

#[tokio::test]
async fn a_log_that_is_not_there_yet_is_waited_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let channel: Channel = support::connect(&url);
    let mut reader = LogReader::spawn(channel, options(&[(5, 0)], &[], true));
    // Nobody answers HTTP/2 there; the reader waits instead of failing.
    let waited = tokio::time::timeout(std::time::Duration::from_millis(200), reader.next()).await;
    assert!(waited.is_err());
}

#[tokio::test]
async fn a_reader_of_nothing_is_refused() {
    let (_log, channel) = serve().await;
    let mut reader = LogReader::spawn(channel, options(&[], &[], true));
    assert!(matches!(reader.next().await, Err(TailError::Invalid)));
}
