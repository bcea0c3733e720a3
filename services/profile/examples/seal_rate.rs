#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool to measure by"
)]
//! How fast old rows become segments, how small these are, and how fast both are read:
//! `cargo run --release -p rapport-profile --example seal_rate -- [events] [partitions]`.
//! On SQLite in a temporary folder.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser as _;
use prost::Message as _;
use rapport_api::event::v1::{EventRecord, ViewItem};
use rapport_profile::log::{
    Committer, CommitterOptions, Cursor, Disk, Erasures, Hub, Keeper, KeeperOptions, Prepared,
    Protection, Segments, Tail, TailFilter, dedup_key,
};
use rapport_profile::store::{log, segment};
use rapport_profile::{POSTGRES, SQLITE};
use rapport_store::objects::ObjectStore;
use rapport_store::{Db, StoreConfig, StoreError};
use rapport_types::{Clock, SubjectId, SystemClock};

/// Subjects that the events are spread over.
const SUBJECTS: u64 = 20_000;
/// Events of one commit.
const BATCH: u64 = 2_000;

#[derive(Debug, clap::Parser)]
struct Options {
    /// Events.
    #[arg(default_value_t = 400_000)]
    events: u64,
    /// Partitions that they are in.
    #[arg(default_value_t = 4)]
    partitions: u32,
}

#[derive(Debug)]
struct Nobody;

#[tonic::async_trait]
impl Erasures for Nobody {
    async fn between(&self, _: i64, _: i64) -> Result<HashSet<SubjectId>, StoreError> {
        Ok(HashSet::new())
    }
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("log.db").display());
    let db = Db::open(&StoreConfig::new(file)).await.unwrap();
    db.migrate(&POSTGRES, &SQLITE).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    fill(&db, &clock, &options).await;
    let objects = ObjectStore::open(folder.path().join("segments")).unwrap();
    let log_id = segment::identity(&db, "measured").await.unwrap();
    let segments = Segments::new(objects, &log_id);
    let disk = Disk::new(db.clone(), Some(segments.clone()));
    let from_rows = read(&disk, &options).await;
    let mut keeper = Keeper::new(
        db.clone(),
        segments,
        Arc::new(Nobody),
        clock,
        KeeperOptions {
            segment_bytes: 32 * 1024 * 1024,
            segment_age: Duration::ZERO,
            erase_every: Duration::from_secs(86_400),
            retention: None,
            record_first: true,
        },
    );
    let started = Instant::now();
    let kept = keeper.round().await.unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
    println!(
        "sealed {} segments in {seconds:.2} s: {:.0} MiB/s of rows, {:.0} events/s, {:.1} MiB to {:.1} MiB, ratio {:.2}",
        kept.sealed,
        mib(kept.row_bytes) / seconds,
        options.events as f64 / seconds,
        mib(kept.row_bytes),
        mib(kept.file_bytes),
        kept.row_bytes as f64 / kept.file_bytes as f64,
    );
    let from_segments = read(&disk, &options).await;
    println!("read {from_rows:.0} events/s from rows, {from_segments:.0} from segments");
}

async fn fill(db: &Db, clock: &Arc<dyn Clock>, options: &Options) {
    let hub = Arc::new(Hub::default());
    let commit = CommitterOptions {
        writers: 1,
        protection: Protection::default(),
    };
    let committer = Committer::start(db, &hub, clock, commit);
    for first in (0..options.events).step_by(BATCH as usize) {
        let events = (first..first + BATCH).map(|number| event(number, options.partitions));
        committer.append(events.collect()).await.unwrap();
    }
}

/// Reads the whole log as a service far behind does; returns events a second.
async fn read(disk: &Disk, options: &Options) -> f64 {
    let hub = Arc::new(Hub::default());
    for end in log::ends(disk.db()).await.unwrap() {
        hub.observe(end.partition, end.last_sequence);
    }
    let cursor = |partition| Cursor {
        partition,
        after_sequence: 0,
    };
    let cursors: Vec<_> = (0..options.partitions).map(cursor).collect();
    let started = Instant::now();
    let mut tail = Tail::new(disk.clone(), hub, &cursors, TailFilter::default(), false);
    let mut events = 0;
    while let Some(item) = tail.next().await.unwrap() {
        events += item.batch.map_or(0, |batch| batch.events.len() as u64);
    }
    assert_eq!(events, options.events);
    events as f64 / started.elapsed().as_secs_f64()
}

fn event(number: u64, partitions: u32) -> Prepared {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let subject =
        SubjectId::new(*uuid::Uuid::from_u64_pair(spread % SUBJECTS, spread % SUBJECTS).as_bytes());
    let message = ViewItem {
        item_id: format!("item-{}", spread % 4_000),
        category: format!("category-{}", spread % 40),
        ..ViewItem::default()
    };
    let event_id = format!("e-{number}");
    let dedup = dedup_key("shop", &event_id);
    let record = EventRecord {
        partition: (spread % u64::from(partitions)) as u32,
        event_id,
        source: "shop".to_owned(),
        r#type: "view_item".to_owned(),
        schema_version: 1,
        subject_id: subject.to_vec().into(),
        lane: 1,
        occurred_at_ms: 1_760_000_000_000 + number as i64,
        admitted: 3,
        // Random bytes, as a keyed hash is.
        fingerprint: dedup_key("fingerprint", &number.to_string())
            .to_vec()
            .into(),
        payload: message.encode_to_vec().into(),
        ..EventRecord::default()
    };
    Prepared::new(&record, dedup)
}
