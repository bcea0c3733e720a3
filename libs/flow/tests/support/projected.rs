//! A projection whose state depends on every event and on their order, and a store that crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use rapport_api::event::v1::EventRecord;
use rapport_flow::{
    DecodeError, PartitionChange, Projection, StateError, StatePage, StateStore, States, replay,
};
use rapport_store::Db;
use rapport_store::lease::{self, Lease};
use rapport_store::testing::{Engine, TestDb};
use rapport_types::PARTITIONS;
use rapport_types::UnixMillis;
use tokio::sync::watch;

/// `(events, digest)` per subject: a lost, repeated or swapped event changes the digest.
#[derive(Debug)]
pub(crate) struct Digest<const VERSION: u32>;

impl<const VERSION: u32> Projection for Digest<VERSION> {
    const NAME: &'static str = "digest";
    const VERSION: u32 = VERSION;
    const TYPES: &'static [&'static str] = &["view_item"];
    type State = (u64, u64);

    fn apply(&self, _key: &[u8], state: &mut (u64, u64), event: &EventRecord) {
        // Another version comes to another digest, so that a test sees which one it read.
        let said = event.sequence.wrapping_mul(u64::from(VERSION));
        let mixed = state.1.wrapping_mul(0x100_0000_01b3) ^ said;
        *state = (state.0 + 1, mixed);
    }

    fn encode(state: &(u64, u64)) -> Vec<u8> {
        [state.0.to_le_bytes(), state.1.to_le_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Result<(u64, u64), DecodeError> {
        let (events, digest) = bytes.split_at_checked(8).ok_or("too short")?;
        Ok((
            u64::from_le_bytes(events.try_into()?),
            u64::from_le_bytes(digest.try_into()?),
        ))
    }
}

type Sorted = Vec<(u32, Vec<u8>, (u64, u64))>;

/// Returns every state that can be read, sorted.
pub(crate) async fn read_all<const V: u32>(states: &States<Digest<V>>) -> Sorted {
    let mut all = Vec::new();
    for partition in 0..PARTITIONS {
        let visit = |key: &[u8], state: &(u64, u64)| all.push((partition, key.to_vec(), *state));
        states.for_each(partition, visit).await.unwrap();
    }
    all
}

/// Returns what a serial replay gives, sorted.
pub(crate) fn truth(events: &[EventRecord]) -> Sorted {
    truth_of::<1>(events)
}

/// Returns what a serial replay gives of a version, sorted.
pub(crate) fn truth_of<const V: u32>(events: &[EventRecord]) -> Sorted {
    let states = replay(&Digest::<V>, events);
    let mut all: Vec<_> = states
        .into_iter()
        .map(|((partition, key), state)| (partition, key.to_vec(), state))
        .collect();
    all.sort_unstable();
    all
}

/// Opens a database with the tables that a projection needs.
pub(crate) async fn open(engine: Engine) -> (TestDb, Db) {
    let test = TestDb::create(engine).await;
    let db = test.open().await;
    let tables = match engine {
        Engine::Sqlite => rapport_flow::TABLES_SQLITE,
        Engine::Postgres => rapport_flow::TABLES_POSTGRES,
    };
    for text in [tables, lease::TABLE] {
        match &db {
            Db::Postgres(pool) => _ = sqlx::raw_sql(text).execute(pool).await.unwrap(),
            Db::Sqlite(files) => _ = sqlx::raw_sql(text).execute(files.writer()).await.unwrap(),
        }
    }
    (test, db)
}

/// Takes a lease; the same owner again gets the next epoch.
pub(crate) async fn take_lease(db: &Db) -> Lease {
    let taken = lease::acquire(db, "test", "owner", UnixMillis(0), 1_000).await;
    taken.unwrap().unwrap()
}

/// Where the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// Before the write.
    Before,
    /// After it, before the answer.
    After,
    /// The negative control: state and offset are two writes, and the process dies between them.
    Between,
}

/// A store under which the process dies in its `at`th write, from 1, or for 0 when a version is dropped:
/// that call never returns.
#[derive(Debug)]
pub(crate) struct CrashingStore {
    pub(crate) inner: Arc<dyn StateStore>,
    pub(crate) crash: Crash,
    pub(crate) at: usize,
    pub(crate) writes: AtomicUsize,
    pub(crate) crashed: watch::Sender<bool>,
}

impl CrashingStore {
    pub(crate) fn new(inner: Arc<dyn StateStore>, crash: Crash, at: usize) -> Arc<Self> {
        let (writes, crashed) = (AtomicUsize::new(0), watch::Sender::new(false));
        Arc::new(Self {
            inner,
            crash,
            at,
            writes,
            crashed,
        })
    }

    async fn die(&self) -> ! {
        self.crashed.send_replace(true);
        std::future::pending().await
    }
}

#[async_trait]
impl StateStore for CrashingStore {
    async fn claim(&self, lease: &Lease, partitions: &[u32]) -> Result<Vec<u64>, StateError> {
        self.inner.claim(lease, partitions).await
    }

    async fn load(
        &self,
        partition: u32,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        self.inner.load(partition, keys).await
    }

    async fn scan(
        &self,
        partition: u32,
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        self.inner.scan(partition, after, limit).await
    }

    async fn offsets(&self, partitions: &[u32]) -> Result<Vec<u64>, StateError> {
        self.inner.offsets(partitions).await
    }

    async fn page(&self, partition: u32, from: Option<&[u8]>) -> Result<StatePage, StateError> {
        self.inner.page(partition, from).await
    }

    /// Does nothing in the negative control.
    async fn reset(&self, lease: &Lease, partition: u32) -> Result<(), StateError> {
        if self.crash == Crash::Between {
            return Ok(());
        }
        self.inner.reset(lease, partition).await
    }

    async fn drop_all(&self) -> Result<u64, StateError> {
        match self.crash {
            Crash::Before if self.at == 0 => self.die().await,
            Crash::After if self.at == 0 => {
                self.inner.drop_all().await?;
                self.die().await
            }
            Crash::Before | Crash::After | Crash::Between => self.inner.drop_all().await,
        }
    }

    fn is_volatile(&self) -> bool {
        self.inner.is_volatile()
    }

    async fn commit(&self, lease: &Lease, changes: &[PartitionChange]) -> Result<(), StateError> {
        if self.writes.fetch_add(1, Ordering::SeqCst) + 1 != self.at {
            return self.inner.commit(lease, changes).await;
        }
        match self.crash {
            Crash::Before => self.die().await,
            Crash::After => {
                self.inner.commit(lease, changes).await?;
                self.die().await
            }
            Crash::Between => {
                let mut states_only = changes.to_vec();
                states_only
                    .iter_mut()
                    .for_each(|change| change.next = change.expected);
                self.inner.commit(lease, &states_only).await?;
                self.die().await
            }
        }
    }
}
