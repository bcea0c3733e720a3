//! One worker: tails the partitions of one lease, applies, and writes state and offset together.

mod flush;
mod restore;
mod snapshots;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rapport_api::event::v1::{EventBatch, EventRecord};
use rapport_store::lease::{Lease, LeaseError};
use rapport_telemetry::names;
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::progress::Standing;
use super::read::prefetch;
use super::runner::{Context, RunError};
use super::table::{Dirty, ERASED_TYPE, keys_of};
use super::{Projection, StateError, decode};
use crate::backoff::Backoff;
use crate::origin::applying;
use crate::people::ControlChange;
use crate::tail::{LogReader, TailError, TailOptions, Tailed};
use flush::{Flush, flushed};
use snapshots::Schedule;

/// Offsets that moved without any state changing are written this often: reading on from an older
/// one costs little.
const OFFSETS_AFTER: Duration = Duration::from_secs(1);
/// Batches may come in faster than they are written; beyond this many flushes' worth, reading waits.
const AHEAD_MAX: usize = 4;
/// How often a store that may lose everything is asked whether it did.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const PAGE_MAX: u32 = 1_000;
/// Events applied before looking at the size of the next write.
const SLICE_MAX: usize = 250;
/// Changed keys of one partition that ask for a write. With one more slice of 20 keys per event it
/// stays below the 10,000 that a cache takes at once.
const DIRTY_MAX: usize = 5_000;

/// How a worker ended without the projection being broken.
pub(super) enum Ended {
    /// It was told to: everything is written and the lease released.
    Stopped,
    /// The lease is somebody else's.
    Fenced,
    /// The store is not where it was thought to be; the lease still holds.
    Reload(Lease),
    /// The log no longer has what comes next; the lease still holds.
    Expired(Lease),
}

/// How far one partition is.
#[derive(Debug, Default)]
struct Cursor {
    stored: u64,
    applied: u64,
    dirty: Dirty,
}

pub(super) struct Worker<P: Projection> {
    context: Arc<Context<P>>,
    lease: Lease,
    cursors: BTreeMap<u32, Cursor>,
    flush: Option<Flush>,
    /// The partition after the last that was written: the next write begins there.
    turn: u32,
    /// Events applied and not yet on their way to the store.
    pending: usize,
    /// When the first of them must be; `None` when nothing changed.
    flush_at: Option<Instant>,
    backoff: Backoff,
    caught_up: bool,
    /// Whether it had caught up once: busy partitions take turns in being behind.
    live: bool,
    /// When to write snapshots; `None` without an object store.
    schedule: Option<Schedule>,
}

impl<P: Projection> Worker<P> {
    /// Claims partitions, reads their offsets and, in memory, all their states.
    pub(super) async fn load(
        context: Arc<Context<P>>,
        lease: Lease,
        partitions: Vec<u32>,
    ) -> Result<Self, StateError> {
        let offsets = context.store.claim(&lease, &partitions).await?;
        let mut cursors = BTreeMap::new();
        for (partition, mut stored) in partitions.into_iter().zip(offsets) {
            if stored == 0 {
                stored = context.begin(&lease, partition).await?;
            }
            let mut cursor = Cursor {
                stored,
                applied: stored,
                dirty: Dirty::new(),
            };
            let states = match context.resident {
                true => context.read_all(partition).await?,
                false => Vec::new(),
            };
            context.table.replace(partition, states);
            context.drop_erased(partition, &mut cursor.dirty);
            context.progress.set_readable(partition, stored);
            context.progress.set_standing(partition, Standing::Behind);
            cursors.insert(partition, cursor);
        }
        context.progress.announce();
        let backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
        let (flush, flush_at, pending, caught_up) = (None, None, 0, false);
        let schedule = Schedule::new(&context, cursors.len());
        Ok(Self {
            schedule,
            context,
            lease,
            cursors,
            flush,
            turn: 0,
            pending,
            flush_at,
            backoff,
            caught_up,
            live: false,
        })
    }

    /// Runs until stopped, fenced or out of step with the store.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<Ended, RunError> {
        let context = self.context.clone();
        let mut reader = LogReader::spawn(context.log.clone(), self.tail_options());
        let mut changes = context.people.as_ref().map(crate::People::subscribe);
        let mut renewals = interval(context.config.lease_ttl / 3);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                () = stop.cancelled() => return self.stop().await,
                message = reader.next(), if self.may_read() => match message {
                    Ok(Some(tailed)) => self.take(tailed).await,
                    Ok(None) => Ok(()),
                    Err(TailError::Expired) => return Ok(Ended::Expired(self.lease.clone())),
                    Err(error) => return Err(context.log_error(error)),
                },
                done = flushed(&mut self.flush) => self.flushed(done),
                () = due(self.flush_at), if self.flush.is_none() => {
                    self.start_flush();
                    Ok(())
                }
                change = changed(&mut changes) => {
                    self.people_changed(change);
                    Ok(())
                }
                _ = renewals.tick() => self.renew().await,
                next = snapshots::due(&mut self.schedule) => {
                    self.snapshot_due(next);
                    Ok(())
                }
                _ = looks.tick(), if context.store.is_volatile() && self.flush.is_none() => {
                    self.look().await
                }
            };
            if let Err(error) = step {
                return self.ended(error);
            }
        }
    }

    fn ended(&mut self, error: StateError) -> Result<Ended, RunError> {
        match error {
            StateError::Fenced => {
                tracing::warn!(projection = P::NAME, lease = self.lease.name, "fenced");
                Ok(Ended::Fenced)
            }
            StateError::OffsetMoved { partition } => {
                names::PROJECTION_RELOADS.add(1, &[P::NAME]);
                tracing::warn!(
                    projection = P::NAME,
                    partition,
                    "out of step, loading again"
                );
                Ok(Ended::Reload(self.lease.clone()))
            }
            StateError::Decode { .. } | StateError::NotIterable | StateError::Store(_) => {
                Err(self.context.states_error(error))
            }
        }
    }

    fn tail_options(&self) -> TailOptions {
        let mut types: Vec<String> = P::TYPES.iter().map(|name| (*name).to_owned()).collect();
        // Erasures must be seen by everybody; an empty filter already has them.
        if !types.is_empty() && !P::TYPES.contains(&ERASED_TYPE) {
            types.push(ERASED_TYPE.to_owned());
        }
        let applied = |(partition, cursor): (&u32, &Cursor)| (*partition, cursor.applied);
        let cursors = self.cursors.iter().map(applied).collect();
        TailOptions {
            name: P::NAME,
            cursors,
            types,
            follow: true,
        }
    }

    /// In memory, states bound what is held; otherwise a store that is away must stop the reading.
    fn may_read(&self) -> bool {
        self.context.resident || self.pending < AHEAD_MAX * self.context.config.flush_events_max
    }

    async fn take(&mut self, tailed: Tailed) -> Result<(), StateError> {
        if let Some(batch) = &tailed.batch {
            // A replay joins no trace: the requests behind it are long over.
            let live = if self.live { &batch.events[..] } else { &[] };
            let _traced = applying(P::NAME, live);
            self.apply(batch).await?;
        }
        self.caught_up = tailed.caught_up;
        self.live |= tailed.caught_up;
        self.report();
        Ok(())
    }

    async fn apply(&mut self, batch: &EventBatch) -> Result<(), StateError> {
        self.context
            .progress
            .set_high_water(batch.partition, batch.high_water);
        let mut slices = batch.events.chunks(SLICE_MAX).peekable();
        while let Some(events) = slices.next() {
            if !self.context.resident {
                self.prefetch(batch.partition, events).await?;
            }
            let reached = match (slices.peek(), events.last()) {
                (Some(_), Some(last)) => last.sequence,
                _ => batch.last_sequence,
            };
            self.apply_slice(batch.partition, events, reached);
            if !self.context.resident && self.is_flush_full(batch.partition) {
                self.flush_now().await?;
            }
        }
        // A filter may leave a batch without events: only the offset moves.
        self.apply_slice(batch.partition, &[], batch.last_sequence);
        Ok(())
    }

    fn apply_slice(&mut self, partition: u32, events: &[EventRecord], reached: u64) {
        let context = self.context.clone();
        let Some(cursor) = self.cursors.get_mut(&partition) else {
            return;
        };
        context
            .table
            .apply(&context.projection, partition, events, &mut cursor.dirty);
        context.drop_late(partition, events, &mut cursor.dirty);
        cursor.applied = reached;
        let changed = !cursor.dirty.is_empty();
        self.pending += events.len();
        names::PROJECTION_EVENTS.add(events.len() as u64, &[P::NAME]);
        self.flush_within(match self.pending >= context.config.flush_events_max {
            true => Duration::ZERO,
            false if changed => context.config.flush_after,
            false => OFFSETS_AFTER,
        });
    }

    /// Returns whether one more slice could pass what a store takes in one write.
    fn is_flush_full(&self, partition: u32) -> bool {
        let dirty = self
            .cursors
            .get(&partition)
            .map_or(0, |cursor| cursor.dirty.len());
        dirty >= DIRTY_MAX || self.pending >= self.context.config.flush_events_max
    }

    /// Reads the states that events need, however long the store is away.
    async fn prefetch(&mut self, partition: u32, events: &[EventRecord]) -> Result<(), StateError> {
        let context = self.context.clone();
        let mut keys = Vec::new();
        keys_of(&context.projection, events, &mut keys);
        loop {
            match prefetch::<P>(&*context.store, &context.table, partition, keys.clone()).await {
                Err(StateError::Store(why)) => {
                    tracing::warn!(projection = P::NAME, %why, "states cannot be read");
                    sleep(self.backoff.next()).await;
                }
                read => return read,
            }
        }
    }

    /// Publishes how far the readable state is.
    fn report(&mut self) {
        let progress = &self.context.progress;
        let clean = self.flush.is_none() && self.cursors.values().all(|c| c.dirty.is_empty());
        for (partition, cursor) in &self.cursors {
            if self.context.resident || clean {
                progress.set_readable(*partition, cursor.applied);
                if self.caught_up {
                    progress.set_standing(*partition, Standing::CaughtUp);
                }
            }
        }
        progress.announce();
        names::PROJECTION_LAG.set(progress.lag_events() as f64, &[P::NAME]);
    }

    fn people_changed(&mut self, change: Result<ControlChange, broadcast::error::RecvError>) {
        let context = self.context.clone();
        for (partition, cursor) in &mut self.cursors {
            match &change {
                Ok(ControlChange::Erased(subjects)) => {
                    for subject in subjects.iter().filter(|s| s.partition() == *partition) {
                        let table = &context.table;
                        table.erase(&context.projection, *partition, *subject, &mut cursor.dirty);
                    }
                }
                // Reloaded, or some changes were missed: look at every state held.
                Ok(ControlChange::Reloaded) | Err(_) => {
                    context.drop_erased(*partition, &mut cursor.dirty);
                }
                Ok(ControlChange::Consent(_) | ControlChange::Persons(_)) => {}
            }
        }
        if self.cursors.values().any(|cursor| !cursor.dirty.is_empty()) {
            self.flush_within(context.config.flush_after);
        }
    }

    /// Looks whether the store still is where it was left: a cache that lost everything must be
    /// filled again although nothing new arrives.
    async fn look(&mut self) -> Result<(), StateError> {
        let partitions: Vec<u32> = self.cursors.keys().copied().collect();
        // A store that is away is noticed by the next write.
        let Ok(offsets) = self.context.store.offsets(&partitions).await else {
            return Ok(());
        };
        let mut places = self.cursors.iter().zip(offsets);
        match places.find(|((_, cursor), offset)| cursor.stored != *offset) {
            Some(((partition, _), _)) => Err(StateError::OffsetMoved {
                partition: *partition,
            }),
            None => Ok(()),
        }
    }

    async fn renew(&mut self) -> Result<(), StateError> {
        match self.context.renew(&self.lease).await {
            Ok(lease) => {
                self.lease = lease;
                Ok(())
            }
            Err(LeaseError::Fenced { .. }) => Err(StateError::Fenced),
            // The fence keeps writes safe; who holds the lease is decided when the store is back.
            Err(why) => {
                tracing::warn!(projection = P::NAME, %why, "a lease could not be renewed");
                Ok(())
            }
        }
    }
}

impl<P: Projection> Context<P> {
    async fn read_all(&self, partition: u32) -> Result<Vec<(Box<[u8]>, P::State)>, StateError> {
        let mut states: Vec<(Box<[u8]>, P::State)> = Vec::new();
        loop {
            let after = states.last().map(|(key, _)| &**key);
            let page = self.store.scan(partition, after, PAGE_MAX).await?;
            let full = page.len() == PAGE_MAX as usize;
            for (key, bytes) in page {
                states.push((key.into(), decode::<P>(&bytes)?));
            }
            if !full {
                return Ok(states);
            }
        }
    }

    /// Drops what events of erased subjects made again: one that another replica took at the same moment
    /// may lie behind the copy of the erasure.
    fn drop_late(&self, partition: u32, events: &[EventRecord], dirty: &mut Dirty) {
        let Some(people) = &self.people else { return };
        for event in events {
            if let Ok(subject) = rapport_types::SubjectId::parse(&event.subject_id)
                && people.is_erased(subject)
            {
                self.table
                    .erase(&self.projection, partition, subject, dirty);
            }
        }
    }

    /// Drops every held state whose subject is erased: a snapshot may be older than the erasure.
    fn drop_erased(&self, partition: u32, dirty: &mut Dirty) {
        let Some(people) = &self.people else { return };
        for (key, _state) in self.table.all(partition) {
            let Ok(subject) = rapport_types::SubjectId::parse(&key) else {
                continue;
            };
            if people.is_erased(subject) {
                self.table
                    .erase(&self.projection, partition, subject, dirty);
            }
        }
    }
}

/// Returns the outcome of the write on its way; waits for ever when there is none. Cancel safe.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Returns the next change of people; waits for ever without a view.
async fn changed(
    changes: &mut Option<broadcast::Receiver<ControlChange>>,
) -> Result<ControlChange, broadcast::error::RecvError> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}
