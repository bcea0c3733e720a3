//! A log with segments, below the service: what the tests of sealing and forgetting share.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rapport_api::event::v1::EventRecord;
use rapport_profile::log::{
    Appended, Committer, CommitterOptions, Cursor, Disk, Erasures, Hub, Keeper, KeeperOptions,
    Kept, Prepared, Protection, Segments, Tail, TailError, TailFilter, dedup_key,
};
use rapport_profile::store::{log as rows, segment};
use rapport_profile::{POSTGRES, SQLITE};
use rapport_store::objects::ObjectStore;
use rapport_store::testing::{Engine, TestDb};
use rapport_store::{Db, StoreError, on_writer};
use rapport_types::{Clock, ManualClock, SubjectId};

use crate::support::START;

/// Two partitions of the tests; no other has events.
pub(crate) const PARTITIONS: [u32; 2] = [3, 9];
pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Who was erased when.
#[derive(Debug, Default)]
pub(crate) struct Erased(pub(crate) Mutex<Vec<(i64, SubjectId)>>);

#[tonic::async_trait]
impl Erasures for Erased {
    async fn between(&self, after_ms: i64, to_ms: i64) -> Result<HashSet<SubjectId>, StoreError> {
        let erased = self.0.lock().unwrap();
        let due = erased
            .iter()
            .filter(|(at, _)| *at > after_ms && *at <= to_ms);
        Ok(due.map(|(_, subject)| *subject).collect())
    }
}

/// A log, its segments, and what was acknowledged of it.
pub(crate) struct Vault {
    pub(crate) database: TestDb,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) db: Db,
    pub(crate) hub: Arc<Hub>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) segments: Segments,
    pub(crate) erased: Arc<Erased>,
    committer: Committer,
    /// Event ids of each partition in the order in which they were acknowledged.
    pub(crate) serial: BTreeMap<u32, Vec<String>>,
}

pub(crate) async fn open(engine: Engine) -> Vault {
    let database = TestDb::create(engine).await;
    let folder = tempfile::tempdir().unwrap();
    let db = database.open_migrated(&POSTGRES, &SQLITE).await;
    let segments = segments(&db, folder.path()).await;
    let (hub, clock) = (Arc::new(Hub::default()), Arc::new(ManualClock::at(START)));
    let committer = committer(&db, &hub, &clock);
    Vault {
        database,
        folder,
        db,
        hub,
        clock,
        segments,
        erased: Arc::default(),
        committer,
        serial: BTreeMap::new(),
    }
}

pub(crate) async fn segments(db: &Db, folder: &Path) -> Segments {
    let log_id = segment::identity(db, "a-log").await.unwrap();
    Segments::new(ObjectStore::open(folder).unwrap(), &log_id)
}

fn committer(db: &Db, hub: &Arc<Hub>, clock: &Arc<ManualClock>) -> Committer {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let options = CommitterOptions {
        writers: 1,
        protection: Protection::default(),
    };
    Committer::start(db, hub, &clock, options)
}

/// What the tests seal by: a few dozen events.
pub(crate) fn options() -> KeeperOptions {
    KeeperOptions {
        segment_bytes: 10_000,
        segment_age: WEEK,
        erase_every: WEEK,
        retention: None,
        record_first: true,
    }
}

impl Vault {
    /// Appends `count` events of about 200 bytes in one commit.
    pub(crate) async fn append(&mut self, partition: u32, subject: SubjectId, count: usize) {
        let end = self.serial.entry(partition).or_default();
        let ids: Vec<String> = (end.len()..end.len() + count)
            .map(|number| format!("p{partition}-{number}"))
            .collect();
        let prepared = ids.iter().map(|id| prepared(id, partition, subject));
        let appended = self.committer.append(prepared.collect()).await.unwrap();
        let accepted = |one: &Appended| matches!(one, Appended::Accepted(_));
        assert!(appended.iter().all(accepted));
        end.extend(ids);
    }

    /// Fills both partitions with `commits` commits of five events each.
    pub(crate) async fn fill(&mut self, commits: usize) {
        for _ in 0..commits {
            for partition in PARTITIONS {
                self.append(partition, SubjectId::new([7; 16]), 5).await;
            }
        }
    }

    pub(crate) fn keeper(&self, options: KeeperOptions) -> Keeper {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let erasures = Arc::clone(&self.erased) as Arc<dyn Erasures>;
        let (db, segments) = (self.db.clone(), self.segments.clone());
        Keeper::new(db, segments, erasures, clock, options)
    }

    /// One round of a keeper that has just started.
    pub(crate) async fn keep(&self, options: KeeperOptions) -> Kept {
        // The lease of the one before has run out.
        self.clock.advance(2_000);
        self.keeper(options).round().await.unwrap()
    }

    /// The disk as a process sees it that has just started: nothing is cached.
    pub(crate) async fn disk(&self) -> Disk {
        let segments = segments(&self.db, self.folder.path()).await;
        Disk::new(self.db.clone(), Some(segments))
    }

    /// Forgets what is in memory, as a restart does.
    pub(crate) async fn restart(&mut self) {
        self.hub = Arc::new(Hub::default());
        for end in rows::ends(&self.db).await.unwrap() {
            self.hub.observe(end.partition, end.last_sequence);
        }
        self.committer = committer(&self.db, &self.hub, &self.clock);
    }

    /// Reads on in one partition to its end.
    pub(crate) async fn read(
        &self,
        partition: u32,
        after_sequence: u64,
    ) -> Result<Vec<EventRecord>, TailError> {
        let cursor = Cursor {
            partition,
            after_sequence,
        };
        let (disk, hub) = (self.disk().await, Arc::clone(&self.hub));
        let mut tail = Tail::new(disk, hub, &[cursor], TailFilter::default(), false);
        let mut events = Vec::new();
        while let Some(item) = tail.next().await? {
            events.extend(item.batch.into_iter().flat_map(|batch| batch.events));
        }
        Ok(events)
    }

    /// Asserts that a reader gets the serial log from every `step`th sequence on.
    pub(crate) async fn assert_serial(&self, step: usize) {
        for (&partition, serial) in &self.serial {
            for after in (0..=serial.len()).step_by(step) {
                let events = self.read(partition, after as u64).await.unwrap();
                let ids: Vec<_> = events.iter().map(|event| &event.event_id).collect();
                assert_eq!(
                    ids,
                    serial[after..].iter().collect::<Vec<_>>(),
                    "after {after}"
                );
                let sequences = events.iter().map(|event| event.sequence);
                assert!(sequences.eq(after as u64 + 1..=serial.len() as u64));
            }
        }
    }

    /// Rows of a partition: first and last sequence.
    pub(crate) async fn rows(&self, partition: u32) -> Vec<(u64, u64)> {
        let rows = segment::rows(&self.db, partition, 0, 10_000).await.unwrap();
        rows.iter()
            .map(|row| (row.first_sequence, row.last_sequence))
            .collect()
    }

    /// All recorded segments.
    pub(crate) async fn recorded(&self) -> Vec<segment::SegmentRow> {
        segment::received_before(&self.db, i64::MAX).await.unwrap()
    }

    /// The files below the folder, sorted.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect(self.folder.path(), &mut files);
        files.sort();
        files
    }

    /// Puts rows back, as if their deletion had never come.
    pub(crate) async fn put_back(&self, batches: &[rapport_profile::log::StoredBatch]) {
        const INSERT: &str =
            "insert into log_batch (partition, first_sequence, last_sequence, events)
            values ($1, $2, $3, $4)";
        for batch in batches {
            on_writer!(&self.db, |pool| sqlx::query(INSERT)
                .bind(batch.partition as i32)
                .bind(batch.first_sequence as i64)
                .bind(batch.last_sequence as i64)
                .bind(batch.encoded.as_ref())
                .execute(pool)
                .await
                .map(|_| ()))
            .unwrap();
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push(path),
        }
    }
}

fn prepared(id: &str, partition: u32, subject: SubjectId) -> Prepared {
    let record = EventRecord {
        partition,
        event_id: id.to_owned(),
        r#type: "view_item".to_owned(),
        subject_id: subject.to_vec().into(),
        fingerprint: vec![1; 16].into(),
        payload: id.repeat(20).into_bytes().into(),
        ..EventRecord::default()
    };
    Prepared::new(&record, dedup_key("test", id))
}
