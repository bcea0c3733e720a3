//! The group committer: one writer that commits what queued up while it was committing.
//!
//! There is no timer: an idle log commits an event at once, a busy one gathers all that arrived
//! during the last fsync. So a group never waits longer than one commit, well below 5 ms on an SSD.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rapport_store::{Db, StoreError, Tx};
use rapport_types::Clock;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::dedup::{ENTRY_BYTES, Entry, KEY_BYTES, Key};
use super::recent::Recent;
use super::{Appended, Hub, Prepared, STORED_BYTES_MAX, StoredBatch};
use crate::store::log;

/// Requests that may wait for one committer; more are refused, which is back-pressure.
const QUEUE_MAX: usize = 1_024;
/// Bytes of events that may wait for all committers of a process; more are refused.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that may wait when a backfill comes, its own included: the rest belongs to the live lane, which
/// is therefore refused last.
const BACKFILL_BYTES_MAX: usize = QUEUE_BYTES_MAX / 4;
/// A group takes no further request beyond this size, so that one commit stays short.
const GROUP_BYTES_MAX: usize = 1024 * 1024;
/// Tries of one group when another replica's transaction won.
const TRIES_MAX: u32 = 5;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Why nothing of a request was stored, as far as is known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The queue is full: try again later.
    #[error("the log is behind")]
    Overloaded,
    /// The store failed; whether the events are on disk is unknown. Sending them again is safe.
    #[error("the log's store failed")]
    Store(#[source] Arc<StoreError>),
    /// The log is shutting down.
    #[error("the log is closing")]
    Closed,
}

/// What keeps the log's promises. All on, always: tests turn one off to show that they can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protection {
    /// Answers only after the commit.
    pub ack_after_commit: bool,
    /// Looks up whether an event is there already.
    pub dedup: bool,
}

impl Default for Protection {
    fn default() -> Self {
        Self {
            ack_after_commit: true,
            dedup: true,
        }
    }
}

/// How a log commits.
#[derive(Debug, Clone, Copy)]
pub struct CommitterOptions {
    /// Writers, each owning a fixed range of partitions. SQLite has one.
    pub writers: u32,
    /// What is on.
    pub protection: Protection,
}

struct Request {
    events: Vec<Prepared>,
    reply: oneshot::Sender<Result<Vec<Appended>, AppendError>>,
}

/// The committers of one process. Cloning shares them; dropping the last clone ends them.
#[derive(Debug, Clone)]
pub struct Committer {
    queues: Arc<Vec<mpsc::Sender<Request>>>,
    room: Arc<Semaphore>,
}

impl Committer {
    /// Starts the writers on the present runtime.
    #[must_use]
    pub fn start(
        db: &Db,
        hub: &Arc<Hub>,
        clock: &Arc<dyn Clock>,
        options: CommitterOptions,
    ) -> Self {
        let writers = match db {
            Db::Postgres(_) => options.writers.max(1),
            Db::Sqlite(_) => 1,
        };
        let queues = (0..writers).map(|_| {
            let (queue, requests) = mpsc::channel(QUEUE_MAX);
            let writer = Writer {
                db: db.clone(),
                hub: Arc::clone(hub),
                clock: Arc::clone(clock),
                protection: options.protection,
                recent: match db {
                    Db::Postgres(_) => None,
                    Db::Sqlite(_) => Some(Recent::default()),
                },
            };
            tokio::spawn(writer.run(requests));
            queue
        });
        Self {
            queues: Arc::new(queues.collect()),
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
        }
    }

    /// Appends `events` and returns, in their order, what became of each, once it is on disk.
    ///
    /// Atomic per partition.
    ///
    /// # Errors
    /// [`AppendError`]; part of the partitions may be stored: send the same events again.
    pub async fn append(&self, events: Vec<Prepared>) -> Result<Vec<Appended>, AppendError> {
        let bytes: usize = events.iter().map(Prepared::size).sum();
        let waiting = QUEUE_BYTES_MAX.saturating_sub(self.room.available_permits());
        if events.iter().any(|event| event.backfill) && waiting + bytes > BACKFILL_BYTES_MAX {
            return Err(AppendError::Overloaded);
        }
        // Held until the answer is there. A single request is far below the whole.
        let _room = self
            .room
            .try_acquire_many(u32::try_from(bytes).unwrap_or(u32::MAX))
            .map_err(|_full| AppendError::Overloaded)?;
        let writers = self.queues.len();
        let mut shares: Vec<(Vec<usize>, Vec<Prepared>)> = vec![Default::default(); writers];
        let total = events.len();
        for (index, event) in events.into_iter().enumerate() {
            let share = &mut shares[event.partition as usize % writers];
            share.0.push(index);
            share.1.push(event);
        }
        let mut waiting = Vec::with_capacity(writers);
        for (queue, (order, events)) in self.queues.iter().zip(shares) {
            if events.is_empty() {
                continue;
            }
            let (reply, answer) = oneshot::channel();
            queue
                .try_send(Request { events, reply })
                .map_err(|refused| match refused {
                    mpsc::error::TrySendError::Full(_) => AppendError::Overloaded,
                    mpsc::error::TrySendError::Closed(_) => AppendError::Closed,
                })?;
            waiting.push((order, answer));
        }
        let mut results = vec![Appended::Conflict; total];
        for (order, answer) in waiting {
            let appended = answer.await.map_err(|_closed| AppendError::Closed)??;
            for (index, result) in order.into_iter().zip(appended) {
                results[index] = result;
            }
        }
        Ok(results)
    }
}

struct Writer {
    db: Db,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    protection: Protection,
    /// On SQLite, whose only writer this is.
    recent: Option<Recent>,
}

impl Writer {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.recv().await {
            let mut bytes = size(&first);
            let mut group = vec![first];
            while bytes < GROUP_BYTES_MAX {
                let Ok(next) = requests.try_recv() else { break };
                bytes += size(&next);
                group.push(next);
            }
            self.commit(group).await;
        }
    }

    async fn commit(&mut self, mut group: Vec<Request>) {
        if !self.protection.ack_after_commit {
            for request in &mut group {
                let (unused, _) = oneshot::channel();
                let reply = std::mem::replace(&mut request.reply, unused);
                let early = request
                    .events
                    .iter()
                    .map(|_| Appended::Accepted(0))
                    .collect();
                // The caller may have given up; there is nobody to tell then.
                let _ = reply.send(Ok(early));
            }
        }
        let events: Vec<&Prepared> = group.iter().flat_map(|request| &request.events).collect();
        match self.commit_all(&events).await {
            Ok(Committed { appended, batches }) => {
                batches
                    .into_iter()
                    .for_each(|batch| self.hub.publish(batch));
                let mut appended = appended.into_iter();
                for request in group {
                    let own = appended.by_ref().take(request.events.len()).collect();
                    let _ = request.reply.send(Ok(own));
                }
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "append failed");
                for request in group {
                    let _ = request.reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// Commits a group, again when another replica's transaction won.
    async fn commit_all(&mut self, events: &[&Prepared]) -> Result<Committed, AppendError> {
        for _ in 0..TRIES_MAX {
            match self.try_commit(events).await {
                Ok(Some(committed)) => return Ok(committed),
                Ok(None) | Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(AppendError::Store(Arc::new(error))),
            }
        }
        Err(AppendError::Overloaded)
    }

    /// Commits a group; `None` when another replica just remembered one of its keys.
    async fn try_commit(&mut self, events: &[&Prepared]) -> Result<Option<Committed>, StoreError> {
        let mut partitions: Vec<u32> = events.iter().map(|event| event.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        let mut tx = self.db.begin().await?;
        // Locked before anything is read: what another replica commits later is seen below, or waits.
        let ends = log::lock(&mut tx, &partitions).await?;
        let known = self.known(&mut tx, events).await?;
        let mut now = self.clock.now().0;
        for end in &ends {
            now = now.max(end.last_received_at_ms);
        }
        let mut group = Group::new(&ends, now, self.protection.dedup);
        let appended: Vec<Appended> = events
            .iter()
            .zip(known)
            .map(|(event, known)| group.place(event, known))
            .collect();
        let batches = group.batches();
        if !batches.is_empty() {
            if !self.remember(&mut tx, &mut group, now / DAY_MS).await? {
                tx.rollback().await?;
                return Ok(None);
            }
            log::insert(&mut tx, &batches, now).await?;
        }
        tx.commit().await?;
        if let Some(recent) = &mut self.recent {
            recent.committed();
        }
        Ok(Some(Committed { appended, batches }))
    }

    /// Returns what is remembered of each event.
    async fn known(
        &mut self,
        tx: &mut Tx,
        events: &[&Prepared],
    ) -> Result<Vec<Option<Entry>>, StoreError> {
        let mut known = vec![None; events.len()];
        if !self.protection.dedup {
            return Ok(known);
        }
        if let Some(recent) = &mut self.recent {
            recent.catch_up(tx).await?;
            for (event, known) in events.iter().zip(&mut known) {
                *known = recent.get(&event.dedup_key);
            }
        }
        // In the order of the keys: neighbours in the tree are then read one after the other.
        let mut order: Vec<usize> = (0..events.len())
            .filter(|at| known[*at].is_none())
            .collect();
        order.sort_unstable_by_key(|at| events[*at].dedup_key);
        let keys: Vec<u8> = order.iter().flat_map(|at| events[*at].dedup_key).collect();
        for (at, entry) in order.into_iter().zip(log::look_up(tx, &keys).await?) {
            known[at] = entry;
        }
        Ok(known)
    }

    /// Writes the entries of a group; `false` when another replica just remembered one of its keys.
    async fn remember(
        &mut self,
        tx: &mut Tx,
        group: &mut Group,
        day: i64,
    ) -> Result<bool, StoreError> {
        if let Some(recent) = &mut self.recent {
            let new = [(&*group.live, Some(day)), (&*group.backfill, None)];
            recent.write(tx, new).await?;
            return Ok(true);
        }
        for (rows, day) in [(&mut group.live, Some(day)), (&mut group.backfill, None)] {
            let (keys, entries) = packed(rows);
            if !log::remember(tx, &keys, &entries, day).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What one transaction came to.
struct Committed {
    appended: Vec<Appended>,
    batches: Vec<StoredBatch>,
}

/// Returns keys and entries as the statement wants them, in the order of the keys: neighbours in the tree
/// are then written one after the other.
fn packed(rows: &mut [(Key, Entry)]) -> (Vec<u8>, Vec<u8>) {
    rows.sort_unstable_by_key(|(key, _)| *key);
    let mut keys = Vec::with_capacity(rows.len() * KEY_BYTES);
    let mut entries = Vec::with_capacity(rows.len() * ENTRY_BYTES);
    for (key, entry) in rows {
        keys.extend_from_slice(key);
        entry.write(&mut entries);
    }
    (keys, entries)
}

/// One transaction's worth of events, taking shape.
struct Group {
    received_at_ms: i64,
    ends: HashMap<u32, u64>,
    batches: BTreeMap<u32, Vec<StoredBatchBuilder>>,
    seen: Option<HashMap<Key, Entry>>,
    live: Vec<(Key, Entry)>,
    backfill: Vec<(Key, Entry)>,
}

struct StoredBatchBuilder {
    first_sequence: u64,
    last_sequence: u64,
    encoded: Vec<u8>,
}

impl Group {
    fn new(ends: &[log::PartitionEnd], received_at_ms: i64, dedup: bool) -> Self {
        Self {
            received_at_ms,
            ends: ends
                .iter()
                .map(|end| (end.partition, end.last_sequence))
                .collect(),
            batches: BTreeMap::new(),
            seen: dedup.then(HashMap::new),
            live: Vec::new(),
            backfill: Vec::new(),
        }
    }

    /// Gives `event` its sequence, unless it is `known` or came twice in this group.
    fn place(&mut self, event: &Prepared, known: Option<Entry>) -> Appended {
        let earlier = self
            .seen
            .as_ref()
            .and_then(|seen| seen.get(&event.dedup_key).copied());
        if let Some(entry) = known.or(earlier) {
            return if entry.fingerprint == event.fingerprint {
                Appended::Duplicate(entry.partition, entry.sequence)
            } else {
                Appended::Conflict
            };
        }
        let end = self.ends.entry(event.partition).or_default();
        *end += 1;
        let sequence = *end;
        let batches = self.batches.entry(event.partition).or_default();
        let fits =
            |batch: &StoredBatchBuilder| batch.encoded.len() + event.size() <= STORED_BYTES_MAX;
        // A new row when the last is full: a reader's message must not outgrow what its client takes.
        if !batches.last().is_some_and(fits) {
            batches.push(StoredBatchBuilder {
                first_sequence: sequence,
                last_sequence: sequence,
                encoded: Vec::new(),
            });
        }
        if let Some(batch) = batches.last_mut() {
            batch.last_sequence = sequence;
            event.write(sequence, self.received_at_ms, &mut batch.encoded);
        }
        if let Some(seen) = &mut self.seen {
            let entry = Entry {
                fingerprint: event.fingerprint,
                partition: event.partition,
                sequence,
            };
            seen.insert(event.dedup_key, entry);
            let rows = if event.backfill {
                &mut self.backfill
            } else {
                &mut self.live
            };
            rows.push((event.dedup_key, entry));
        }
        Appended::Accepted(sequence)
    }

    /// Returns the batches in ascending order of partition and sequence.
    fn batches(&mut self) -> Vec<StoredBatch> {
        let built = std::mem::take(&mut self.batches).into_iter();
        let built = built.flat_map(|(partition, batches)| {
            batches.into_iter().map(move |batch| (partition, batch))
        });
        let stored = built.map(|(partition, batch)| StoredBatch {
            partition,
            first_sequence: batch.first_sequence,
            last_sequence: batch.last_sequence,
            encoded: batch.encoded.into(),
        });
        stored.collect()
    }
}

fn size(request: &Request) -> usize {
    request.events.iter().map(Prepared::size).sum()
}

#[cfg(test)]
mod tests {
    use rapport_api::event::v1::{EventRecord, Lane};

    use super::*;

    fn event(lane: Lane) -> Vec<Prepared> {
        let record = EventRecord {
            lane: lane as i32,
            ..EventRecord::default()
        };
        vec![Prepared::new(&record, [0; 16])]
    }

    #[tokio::test]
    async fn a_backfill_yields_to_a_queue_that_still_takes_live_events() {
        let (queue, mut requests) = mpsc::channel(QUEUE_MAX);
        let committer = Committer {
            queues: Arc::new(vec![queue]),
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
        };
        let busy = committer.room.try_acquire_many(BACKFILL_BYTES_MAX as u32);
        let refused = committer.append(event(Lane::Backfill)).await;
        assert!(matches!(refused, Err(AppendError::Overloaded)));
        let live = committer.append(event(Lane::Live));
        assert!(futures::poll!(std::pin::pin!(live)).is_pending());
        assert!(requests.try_recv().is_ok(), "the live event is queued");
        drop(busy);
        let backfill = committer.append(event(Lane::Backfill));
        assert!(futures::poll!(std::pin::pin!(backfill)).is_pending());
        assert!(requests.try_recv().is_ok(), "and so is the backfill now");
    }
}
