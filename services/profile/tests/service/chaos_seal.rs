//! kill -9 while segments are written: every acknowledged event is there, once, in order. With rows that go
//! before their segment is recorded, the same check finds what is lost.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rapport_api::profile::v1 as pb;
use rapport_store::testing::Engine;
use rapport_types::PARTITIONS;
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::chaos::{Server, Violation, WRITERS, Writer, client, violations};
use crate::support::Home;

/// Small segments, without a pause: some part of one is always being written.
const SEALING: [&str; 4] = ["--segment-bytes", "4096", "--seal-every", "1ms"];
/// How long nothing may be sealed before the killing ends.
const PATIENCE: Duration = Duration::from_secs(8);
const SEED: u64 = 20_251_123;

#[tokio::test(flavor = "multi_thread")]
async fn sealing_loses_nothing_on_sqlite() {
    assert_eq!(found(Engine::Sqlite, 40, "").await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn sealing_loses_nothing_on_postgres() {
    assert_eq!(found(Engine::Postgres, 10, "").await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_go_too_early_are_found_out_on_sqlite() {
    let found = found(Engine::Sqlite, 40, "record-first").await;
    assert!(found.contains(&Violation::Lost), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_go_too_early_are_found_out_on_postgres() {
    let found = found(Engine::Postgres, 10, "record-first").await;
    assert!(found.contains(&Violation::Lost), "{found:?}");
}

/// Streams, kills whenever segments have appeared since the last kill, and returns what was found.
async fn found(engine: Engine, kills: usize, without: &'static str) -> BTreeSet<Violation> {
    let home = Home::new(engine).await;
    let segments = home.folder.path().join("segments");
    let mut flags = vec!["--segments".to_owned(), segments.display().to_string()];
    flags.extend(SEALING.map(str::to_owned));
    if !without.is_empty() {
        flags.extend(["--without".to_owned(), without.to_owned()]);
    }
    let mut server = Server::new(home, flags);
    let progress = watch::Sender::new(0);
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| tokio::spawn(Writer::new(number, server.address).run(progress.clone())))
        .collect();
    let mut dice = StdRng::seed_from_u64(SEED);
    let mut sealed = 0;
    for _ in 0..kills {
        let more = tokio::time::timeout(PATIENCE, until_more_is_sealed(&server, sealed)).await;
        // Everything that fills a segment is in one, or what is left cannot be sealed any more.
        let Ok(more) = more else { break };
        sealed = more;
        // Anywhere within the next segments.
        tokio::time::sleep(Duration::from_micros(dice.random_range(0..20_000))).await;
        server.kill_and_start();
    }
    let mut acked = HashMap::new();
    for writer in writers {
        acked.extend(writer.await.unwrap());
    }
    assert!(until_more_is_sealed(&server, 0).await > 0);
    let mut stored = Vec::new();
    let mut found = BTreeSet::new();
    for partition in 0..PARTITIONS {
        match read(&server, partition).await {
            Ok(events) => stored.extend(events),
            Err(status) if status.code() == Code::DataLoss => _ = found.insert(Violation::Lost),
            Err(status) => panic!("{status}"),
        }
    }
    match found.is_empty() {
        true => violations(&acked, &stored),
        false => found,
    }
}

/// Waits until some partition is sealed further than `before`, all together; returns how far.
async fn until_more_is_sealed(server: &Server, before: u64) -> u64 {
    let mut client = client(server.address);
    loop {
        let asked = client
            .get_log_positions(pb::GetLogPositionsRequest {})
            .await;
        // It may be starting.
        if let Ok(answer) = asked {
            let positions = answer.into_inner().positions;
            let sealed: u64 = positions.iter().map(|one| one.sealed).sum();
            if sealed > before {
                return sealed;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn read(
    server: &Server,
    partition: u32,
) -> Result<Vec<rapport_api::event::v1::EventRecord>, Status> {
    let request = pb::TailEventsRequest {
        cursors: vec![pb::PartitionCursor {
            partition,
            after_sequence: 0,
        }],
        ..Default::default()
    };
    let mut tail = client(server.address)
        .tail_events(request)
        .await?
        .into_inner();
    let mut stored = Vec::new();
    while let Some(frame) = tail.message().await? {
        stored.extend(frame.batch.into_iter().flat_map(|batch| batch.events));
    }
    Ok(stored)
}
