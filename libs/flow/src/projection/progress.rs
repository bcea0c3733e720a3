//! How far a projection has come: for readiness, metrics and tests that wait for an event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rapport_types::PARTITIONS;
use tokio::sync::watch;

/// How far a projection's readable state is. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    partitions: Box<[Partition]>,
    /// Bumped whenever anything moved.
    moved: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Partition {
    readable: AtomicU64,
    high_water: AtomicU64,
    standing: AtomicU8,
}

/// Where a partition stands in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Standing {
    /// It runs here and has not caught up since it was loaded, or nobody is known to run it.
    Behind = 0,
    /// It runs here and has caught up since it was loaded.
    CaughtUp = 1,
    /// Another replica runs it.
    Elsewhere = 2,
}

impl Progress {
    pub(super) fn new() -> Self {
        let partitions = (0..PARTITIONS).map(|_| Partition::default()).collect();
        Self(Arc::new(Shared {
            partitions,
            moved: watch::Sender::new(0),
        }))
    }

    /// Returns the last sequence of a data partition whose effect can be read; 0 before the first
    /// and for partitions that another replica runs.
    #[must_use]
    pub fn sequence(&self, partition: u32) -> u64 {
        self.of(partition).readable.load(Ordering::Acquire)
    }

    /// Returns the committed sequences that cannot be read yet, as far as is known here.
    #[must_use]
    pub fn lag_events(&self) -> u64 {
        let lag = |partition: &Partition| {
            let high = partition.high_water.load(Ordering::Acquire);
            high.saturating_sub(partition.readable.load(Ordering::Acquire))
        };
        self.0.partitions.iter().map(lag).sum()
    }

    /// Waits until every partition that runs here has once had everything that was committed, and
    /// the others run elsewhere. For a projection in memory: all 64.
    pub async fn wait_caught_up(&self) {
        let behind = Standing::Behind as u8;
        let done = |partition: &Partition| partition.standing.load(Ordering::Acquire) != behind;
        self.wait(|| self.0.partitions.iter().all(done)).await;
    }

    /// Waits until the effect of an event can be read: its partition and sequence as
    /// `CollectEvents` returned them.
    pub async fn wait_for(&self, partition: u32, sequence: u64) {
        self.wait(|| self.sequence(partition) >= sequence).await;
    }

    async fn wait(&self, done: impl Fn() -> bool) {
        let mut moved = self.0.moved.subscribe();
        // The sender lives as long as `self`, so the only error cannot happen.
        let _ = moved.wait_for(|_| done()).await;
    }

    pub(super) fn set_readable(&self, partition: u32, sequence: u64) {
        self.of(partition)
            .readable
            .store(sequence, Ordering::Release);
    }

    pub(super) fn set_high_water(&self, partition: u32, sequence: u64) {
        self.of(partition)
            .high_water
            .store(sequence, Ordering::Release);
    }

    pub(super) fn set_standing(&self, partition: u32, standing: Standing) {
        self.of(partition)
            .standing
            .store(standing as u8, Ordering::Release);
    }

    /// Wakes who waits, after one or more of the setters.
    pub(super) fn announce(&self) {
        self.0.moved.send_modify(|moves| *moves += 1);
    }

    fn of(&self, partition: u32) -> &Partition {
        &self.0.partitions[partition as usize]
    }
}
