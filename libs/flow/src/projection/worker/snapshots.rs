//! How a worker writes snapshots, beside its other work.
//!
//! A copy of one partition at one sequence. In memory that is a copy of pointers. From a store it is
//! read page by page while writes go on, and every state that is written meanwhile is noted: put over
//! what was read, the notes make it the partition as it is after the last of those writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use rapport_store::objects::ObjectError;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::{Context, Worker};
use crate::projection::snapshot::{BYTES_MAX, States};
use crate::projection::{PartitionChange, Projection, StateChange, StateError, WrittenSnapshot};

/// States changed while a partition is copied; beyond it the copy is given up until its next turn.
const NOTED_MAX: usize = 100_000;

/// The snapshots of one worker's partitions.
#[derive(Debug)]
pub(super) struct Schedule {
    /// When the next partition is due.
    at: Instant,
    /// The partition after the last that had its turn.
    turn: u32,
    /// The sequence of each partition's last snapshot.
    written: BTreeMap<u32, u64>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Idle,
    Copying(Copying),
    Writing(JoinHandle<Result<WrittenSnapshot, ObjectError>>),
}

#[derive(Debug)]
struct Copying {
    partition: u32,
    /// Where the partition was when the copy began.
    from: u64,
    scan: Option<JoinHandle<Result<Scanned, StateError>>>,
    scanned: Option<States>,
    /// What was written since the copy began.
    noted: BTreeMap<Box<[u8]>, Option<Vec<u8>>>,
    /// What is in the write on its way.
    sent: Vec<StateChange>,
    slot: OwnedSemaphorePermit,
}

/// What was read of a partition, and where it was after that.
#[derive(Debug)]
pub(super) struct Scanned {
    states: States,
    offset: u64,
}

/// What a schedule wakes the worker for.
pub(super) enum Due {
    Turn,
    Scanned(Result<Scanned, StateError>),
    Written(Result<WrittenSnapshot, ObjectError>),
}

impl Schedule {
    pub(super) fn new<P: Projection>(context: &Context<P>, partitions: usize) -> Option<Self> {
        let snapshots = context.snapshots.as_ref()?;
        Some(Self {
            at: snapshots.next_at(partitions),
            turn: 0,
            written: BTreeMap::new(),
            stage: Stage::Idle,
        })
    }

    /// Waits for what is next. Cancel safe.
    async fn due(&mut self) -> Due {
        match &mut self.stage {
            Stage::Idle => {
                tokio::time::sleep_until(self.at).await;
                Due::Turn
            }
            Stage::Copying(Copying {
                scan: Some(scan), ..
            }) => {
                let scanned = scan.await;
                Due::Scanned(scanned.unwrap_or_else(|why| Err(StateError::Store(Box::new(why)))))
            }
            // A write is on its way, and what it wrote belongs to the copy.
            Stage::Copying(_) => std::future::pending().await,
            Stage::Writing(task) => {
                let written = task.await;
                Due::Written(written.unwrap_or_else(|why| Err(std::io::Error::other(why).into())))
            }
        }
    }
}

/// Waits for a schedule; for ever if there is none.
pub(super) async fn due(schedule: &mut Option<Schedule>) -> Due {
    match schedule {
        Some(schedule) => schedule.due().await,
        None => std::future::pending().await,
    }
}

impl<P: Projection> Worker<P> {
    pub(super) fn snapshot_due(&mut self, due: Due) {
        let partitions = self.cursors.len();
        let context = self.context.clone();
        let (Some(schedule), Some(snapshots)) = (&mut self.schedule, &context.snapshots) else {
            return;
        };
        match due {
            Due::Turn => {
                schedule.at = snapshots.next_at(partitions);
                self.begin_copy();
            }
            Due::Scanned(Ok(scanned)) => {
                match &mut schedule.stage {
                    Stage::Copying(copying) if scanned.offset >= copying.from => {
                        copying.scan = None;
                        copying.scanned = Some(scanned.states);
                    }
                    // The store lost the partition meanwhile: what was read is not what it was.
                    stage @ (Stage::Idle | Stage::Copying(_) | Stage::Writing(_)) => {
                        *stage = Stage::Idle;
                    }
                }
                self.end_copy();
            }
            Due::Scanned(Err(why)) => {
                tracing::warn!(projection = P::NAME, %why, "a partition cannot be copied");
                schedule.stage = Stage::Idle;
            }
            Due::Written(Ok(written)) => {
                schedule.written.insert(written.partition, written.sequence);
                schedule.stage = Stage::Idle;
            }
            Due::Written(Err(why)) => {
                tracing::warn!(projection = P::NAME, %why, "a snapshot cannot be written");
                schedule.stage = Stage::Idle;
            }
        }
    }

    /// Returns the next partition in turn that moved since its last snapshot.
    fn next_moved(&self) -> Option<u32> {
        let schedule = self.schedule.as_ref()?;
        let order = self.cursors.range(schedule.turn..);
        let order = order.chain(self.cursors.range(..schedule.turn));
        let moved = |partition: u32, stored: u64| {
            stored > schedule.written.get(&partition).copied().unwrap_or(0)
        };
        let mut partitions = order.filter(|(at, cursor)| moved(**at, cursor.stored));
        partitions.next().map(|(partition, _)| *partition)
    }

    fn begin_copy(&mut self) {
        let Some(partition) = self.next_moved() else {
            return;
        };
        // What a write on its way changes would be missed, and one copy is held at a time.
        if !self.context.resident && self.flush.is_some() {
            return;
        }
        if let Ok(slot) = self.context.copying.clone().try_acquire_owned() {
            self.copy(partition, slot);
        }
    }

    fn copy(&mut self, partition: u32, slot: OwnedSemaphorePermit) {
        if self.context.resident {
            self.write_resident(partition, slot);
            return;
        }
        let from = self
            .cursors
            .get(&partition)
            .map_or(0, |cursor| cursor.stored);
        let store = self.context.store.clone();
        let scan = tokio::spawn(async move { scan(&*store, partition).await });
        if let Some(schedule) = &mut self.schedule {
            schedule.turn = partition + 1;
            schedule.stage = Stage::Copying(Copying {
                partition,
                from,
                scan: Some(scan),
                scanned: None,
                noted: BTreeMap::new(),
                sent: Vec::new(),
                slot,
            });
        }
    }

    /// Notes what a write takes along of the partition that is copied.
    pub(super) fn note_sent(&mut self, changes: &[PartitionChange]) {
        if let Some(Schedule {
            stage: Stage::Copying(copying),
            ..
        }) = &mut self.schedule
        {
            let of = changes
                .iter()
                .find(|change| change.partition == copying.partition);
            copying.sent = of.map_or_else(Vec::new, |change| change.changes.clone());
        }
    }

    /// Notes that the write arrived, or that it failed and comes again.
    pub(super) fn note_flushed(&mut self, arrived: bool) {
        let Some(schedule) = &mut self.schedule else {
            return;
        };
        let Stage::Copying(copying) = &mut schedule.stage else {
            return;
        };
        let sent = std::mem::take(&mut copying.sent);
        if arrived {
            copying
                .noted
                .extend(sent.into_iter().map(|change| (change.key, change.state)));
        }
        if copying.noted.len() > NOTED_MAX {
            tracing::debug!(
                projection = P::NAME,
                "a partition is too busy to be copied now"
            );
            schedule.stage = Stage::Idle;
            return;
        }
        self.end_copy();
    }

    /// Writes the copy, once everything is read and no write is on its way.
    fn end_copy(&mut self) {
        let Some(schedule) = &mut self.schedule else {
            return;
        };
        if self.flush.is_some() {
            return;
        }
        match std::mem::replace(&mut schedule.stage, Stage::Idle) {
            Stage::Copying(Copying {
                scanned: Some(scanned),
                partition,
                noted,
                slot,
                ..
            }) => {
                let Some(sequence) = self.cursors.get(&partition).map(|cursor| cursor.stored)
                else {
                    return;
                };
                let task =
                    self.context
                        .clone()
                        .write_snapshot(partition, sequence, slot, move || overlay(scanned, noted));
                schedule.stage = Stage::Writing(tokio::spawn(task));
            }
            other @ (Stage::Idle | Stage::Copying(_) | Stage::Writing(_)) => schedule.stage = other,
        }
    }

    fn write_resident(&mut self, partition: u32, slot: OwnedSemaphorePermit) {
        let sequence = self
            .cursors
            .get(&partition)
            .map_or(0, |cursor| cursor.applied);
        let states = self.context.table.all(partition);
        let encode = move || {
            let bytes = |(key, state): (Box<[u8]>, Arc<P::State>)| (key, P::encode(&state));
            states.into_iter().map(bytes).collect()
        };
        let task = self
            .context
            .clone()
            .write_snapshot(partition, sequence, slot, encode);
        if let Some(schedule) = &mut self.schedule {
            schedule.turn = partition + 1;
            schedule.stage = Stage::Writing(tokio::spawn(task));
        }
    }

    /// Writes every partition that moved, as long as there is time: nothing else writes any more.
    pub(super) async fn snapshot_all(&mut self) {
        let Some(snapshots) = &self.context.snapshots else {
            return;
        };
        let give_up = Instant::now() + snapshots.stop_within;
        if let Some(schedule) = &mut self.schedule
            && let Stage::Copying(_) = &schedule.stage
        {
            schedule.stage = Stage::Idle;
        }
        loop {
            let is_idle = |schedule: &Schedule| matches!(schedule.stage, Stage::Idle);
            if self.schedule.as_ref().is_some_and(is_idle) {
                let Some(partition) = self.next_moved() else {
                    return;
                };
                // The other workers stop as well and take turns.
                let slot = self.context.copying.clone().acquire_owned();
                let Ok(Ok(slot)) = timeout_at(give_up, slot).await else {
                    return;
                };
                self.copy(partition, slot);
            }
            let Ok(next) = timeout_at(give_up, due(&mut self.schedule)).await else {
                return;
            };
            let failed = matches!(next, Due::Scanned(Err(_)) | Due::Written(Err(_)));
            self.snapshot_due(next);
            if failed {
                return;
            }
        }
    }
}

/// Reads a whole partition.
async fn scan(
    store: &dyn crate::projection::StateStore,
    partition: u32,
) -> Result<Scanned, StateError> {
    // By key, because a page may repeat what an earlier one had.
    let mut states: BTreeMap<Box<[u8]>, Vec<u8>> = BTreeMap::new();
    let (mut from, mut bytes) = (None, 0);
    loop {
        let page = store.page(partition, from.as_deref()).await?;
        for (key, state) in page.states {
            bytes += key.len() + state.len();
            if bytes > BYTES_MAX {
                return Err(StateError::Store(
                    "it is larger than a snapshot may be".into(),
                ));
            }
            states.insert(key.into(), state);
        }
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    let offsets = store.offsets(&[partition]).await?;
    Ok(Scanned {
        states: states.into_iter().collect(),
        offset: offsets.first().copied().unwrap_or(0),
    })
}

/// Puts what was written meanwhile over what was read.
fn overlay(scanned: States, mut noted: BTreeMap<Box<[u8]>, Option<Vec<u8>>>) -> States {
    let mut states = Vec::with_capacity(scanned.len() + noted.len());
    for (key, state) in scanned {
        match noted.remove(&key) {
            Some(Some(newer)) => states.push((key, newer)),
            Some(None) => {}
            None => states.push((key, state)),
        }
    }
    let new = noted
        .into_iter()
        .filter_map(|(key, state)| Some((key, state?)));
    states.extend(new);
    states
}

impl<P: Projection> Context<P> {
    /// Encodes and writes one snapshot. Holds the slot until it is on disk.
    async fn write_snapshot(
        self: Arc<Self>,
        partition: u32,
        sequence: u64,
        slot: OwnedSemaphorePermit,
        states: impl FnOnce() -> States + Send + 'static,
    ) -> Result<WrittenSnapshot, ObjectError> {
        let _slot = slot;
        let Some(snapshots) = &self.snapshots else {
            return Err(std::io::Error::other("no snapshots are configured").into());
        };
        let graph_version = self.people.as_ref().map_or(0, crate::People::graph_version);
        let header = snapshots.header::<P>(partition, sequence, graph_version);
        let states = tokio::task::spawn_blocking(states).await;
        let states = states.map_err(std::io::Error::other)?;
        let written = snapshots.write(header, states).await?;
        // Only what was read back whole lets the log forget what it replaces.
        let before = sequence.saturating_sub(1);
        let newest = snapshots.newest::<P>(partition, before).await?;
        if newest.is_some_and(|(header, _)| header.sequence == sequence) {
            self.register(Some(&written)).await;
        }
        Ok(written)
    }
}
