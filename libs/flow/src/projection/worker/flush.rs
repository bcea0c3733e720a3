//! How a worker writes state and offset: when, how much at a time, and what follows a failure.

use std::time::Duration;

use rapport_store::lease;
use rapport_telemetry::names;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::{Cursor, Dirty, Ended, Worker};
use crate::projection::runner::RunError;
use crate::projection::{PartitionChange, Projection, StateError};

/// Changed keys of one write: encoding them holds the worker up, and they are all in memory at once.
/// Partitions are written whole, so it may be one partition more.
const FLUSH_KEYS_MAX: usize = 20_000;

/// Failed writes after which a stopping worker leaves the rest to whoever reads it from the log again.
const STOP_FAILURES_MAX: u32 = 2;

/// A write on its way.
pub(super) struct Flush {
    commit: JoinHandle<Result<(), StateError>>,
    started: Instant,
    /// Partition, new offset, keys: to mark as changed again when it fails.
    sent: Vec<(u32, u64, Dirty)>,
}

impl<P: Projection> Worker<P> {
    /// Waits for the write on its way, then sends what has changed since.
    pub(super) async fn flush_now(&mut self) -> Result<(), StateError> {
        while self.flush.is_some() {
            let done = flushed(&mut self.flush).await;
            self.flushed(done)?;
            if let (None, Some(at)) = (&self.flush, self.flush_at)
                && self.backoff.is_waiting()
            {
                // The write failed: try again when it is time, and read nothing meanwhile.
                sleep_until(at).await;
                self.start_flush();
            }
        }
        self.start_flush();
        Ok(())
    }

    pub(super) fn flush_within(&mut self, wait: Duration) {
        let at = Instant::now() + wait;
        self.flush_at = Some(self.flush_at.map_or(at, |planned| planned.min(at)));
    }

    /// Sends what changed to the store, in the background: partition by partition in turn until
    /// [`FLUSH_KEYS_MAX`], the rest right after it.
    pub(super) fn start_flush(&mut self) {
        let mut changes = Vec::new();
        let mut sent = Vec::new();
        let mut keys = 0;
        let turn = self.turn;
        let (first, last) = (turn..=u32::MAX, 0..turn);
        let order: Vec<u32> = self.cursors.range(first).map(|(at, _)| *at).collect();
        let order = order
            .into_iter()
            .chain(self.cursors.range(last).map(|(at, _)| *at));
        for partition in order.collect::<Vec<u32>>() {
            let cursor = self.cursors.entry(partition).or_default();
            if cursor.applied == cursor.stored && cursor.dirty.is_empty() {
                continue;
            }
            if keys > FLUSH_KEYS_MAX {
                self.turn = partition;
                break;
            }
            let dirty = std::mem::take(&mut cursor.dirty);
            keys += dirty.len();
            changes.push(PartitionChange {
                partition,
                expected: cursor.stored,
                next: cursor.applied,
                changes: self.context.table.changes::<P>(partition, &dirty),
            });
            sent.push((partition, cursor.applied, dirty));
        }
        self.flush_at = (keys > FLUSH_KEYS_MAX).then(Instant::now);
        self.pending = 0;
        if changes.is_empty() {
            return;
        }
        self.note_sent(&changes);
        let (store, lease) = (self.context.store.clone(), self.lease.clone());
        let commit = tokio::spawn(async move { store.commit(&lease, &changes).await });
        self.flush = Some(Flush {
            commit,
            started: Instant::now(),
            sent,
        });
    }

    pub(super) fn flushed(&mut self, done: Result<(), StateError>) -> Result<(), StateError> {
        let Some(flush) = self.flush.take() else {
            return Ok(());
        };
        let context = self.context.clone();
        match done {
            Ok(()) => {
                self.backoff.reset();
                let seconds = flush.started.elapsed().as_secs_f64();
                names::PROJECTION_FLUSH_DURATION.observe(seconds, &[P::NAME]);
                for (partition, next, _keys) in flush.sent {
                    self.cursors.entry(partition).or_default().stored = next;
                    if !context.resident {
                        context.progress.set_readable(partition, next);
                    }
                    context
                        .table
                        .forget(partition, self.must_make_room(partition));
                }
                self.report();
                self.note_flushed(true);
                Ok(())
            }
            Err(StateError::Store(why)) => {
                tracing::warn!(projection = P::NAME, %why, "states cannot be written");
                for (partition, _next, keys) in flush.sent {
                    let cursor = self.cursors.entry(partition).or_default();
                    context.table.restore(partition, keys, &mut cursor.dirty);
                }
                self.flush_at = Some(Instant::now() + self.backoff.next());
                self.note_flushed(false);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn must_make_room(&self, partition: u32) -> bool {
        let share = self.context.config.keys_max / self.cursors.len().max(1);
        !self.context.resident && self.context.table.len(partition) > share
    }

    /// Returns whether something was applied that is not on its way to the store.
    fn is_behind(&self) -> bool {
        let behind = |cursor: &Cursor| cursor.applied != cursor.stored || !cursor.dirty.is_empty();
        self.cursors.values().any(behind)
    }

    /// Writes what is left and gives the lease up, so that the next owner need not wait.
    pub(super) async fn stop(&mut self) -> Result<Ended, RunError> {
        let mut failures = 0;
        while failures < STOP_FAILURES_MAX && (self.flush.is_some() || self.is_behind()) {
            if self.flush.is_none() {
                self.start_flush();
            }
            let done = flushed(&mut self.flush).await;
            if let Err(error) = self.flushed(done) {
                return self.ended(error);
            }
            failures += u32::from(self.backoff.is_waiting());
        }
        self.snapshot_all().await;
        if let Err(why) = lease::release(&self.context.db, &self.lease).await {
            tracing::warn!(projection = P::NAME, %why, "a lease runs out by itself");
        }
        Ok(Ended::Stopped)
    }
}

/// Waits for a write on its way; for ever if there is none.
pub(super) async fn flushed(flush: &mut Option<Flush>) -> Result<(), StateError> {
    match flush {
        Some(flush) => match (&mut flush.commit).await {
            Ok(done) => done,
            Err(failed) => Err(StateError::Store(Box::new(failed))),
        },
        None => std::future::pending().await,
    }
}
