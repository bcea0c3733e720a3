//! Reading the log: per partition, by sequence, from memory near the end and from disk behind it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use rapport_api::event::v1::EventBatch;
use rapport_store::StoreError;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Disk, EncodedBatch, Hub, STORED_BYTES_MAX, SegmentError, StoredBatch};

/// A reader hears from the log at least this often, so that silence means trouble.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A batch sent to a reader takes no further stored batch beyond this size. One stored batch alone is
/// at most an event longer: far below the 4 MiB that a gRPC client takes.
const SEND_BYTES_MAX: usize = STORED_BYTES_MAX;

/// Where a reader stands in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The partition, 0 to 64.
    pub partition: u32,
    /// The last sequence that the reader has.
    pub after_sequence: u64,
}

/// Which events a reader wants.
#[derive(Debug, Clone, Default)]
pub struct TailFilter {
    types: Option<HashSet<String>>,
}

impl TailFilter {
    /// Returns a filter that passes `types`, or everything if there are none.
    #[must_use]
    pub fn new(types: Vec<String>) -> Self {
        Self {
            types: (!types.is_empty()).then(|| types.into_iter().collect()),
        }
    }

    /// Returns what tells by its name whether a type is wanted; `None` when all are.
    fn test(&self) -> Option<impl Fn(&[u8]) -> bool> {
        let types = self.types.as_ref()?;
        Some(|name: &[u8]| str::from_utf8(name).is_ok_and(|name| types.contains(name)))
    }
}

/// Why a tail ended.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The store failed.
    #[error("store failed")]
    Store(#[from] StoreError),
    /// A stored batch cannot be decoded: the disk is damaged.
    #[error("a stored batch is damaged")]
    Damaged(#[from] prost::DecodeError),
    /// A sequence that was committed is not there.
    #[error("partition {0} lost sequence {1}")]
    Lost(u32, u64),
    /// A sealed segment cannot be read.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The log forgot what the reader asks for: it starts from a snapshot of its own, or after the mark.
    #[error("partition {partition} keeps nothing up to sequence {low_water}")]
    Expired {
        /// The partition.
        partition: u32,
        /// The last sequence that was forgotten.
        low_water: u64,
    },
}

/// What a reader gets, its events as they lie on disk: the contract's `TailEventsResponse` on the wire.
#[derive(Clone, PartialEq, Message)]
pub struct TailFrame {
    /// As [`TailItem::batch`].
    #[prost(message, optional, tag = "1")]
    pub batch: Option<EncodedBatch>,
    /// As [`TailItem::caught_up`].
    #[prost(bool, tag = "2")]
    pub caught_up: bool,
}

/// What a reader gets, its events decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct TailItem {
    /// Events, or only how far the filter has read; `None` in a heartbeat.
    pub batch: Option<EventBatch>,
    /// Whether the reader has everything that was committed.
    pub caught_up: bool,
}

/// One reader of the log.
#[derive(Debug)]
pub struct Tail {
    disk: Disk,
    hub: Arc<Hub>,
    bell: watch::Receiver<u64>,
    positions: Vec<Position>,
    filter: TailFilter,
    follow: bool,
    next: usize,
    heartbeat: Instant,
    announced: bool,
}

#[derive(Debug)]
struct Position {
    cursor: Cursor,
    /// What the reader was last told; behind the cursor while only filtered events were read.
    told: u64,
    /// Batches read ahead from disk, newest first.
    ahead: Vec<Arc<StoredBatch>>,
}

impl Tail {
    /// Starts reading after `cursors`. Without `follow` the tail ends when it has caught up.
    #[must_use]
    pub fn new(
        disk: impl Into<Disk>,
        hub: Arc<Hub>,
        cursors: &[Cursor],
        filter: TailFilter,
        follow: bool,
    ) -> Self {
        let position = |cursor: &Cursor| Position {
            cursor: *cursor,
            told: cursor.after_sequence,
            ahead: Vec::new(),
        };
        Self {
            bell: hub.subscribe(),
            disk: disk.into(),
            hub,
            positions: cursors.iter().map(position).collect(),
            filter,
            follow,
            next: 0,
            heartbeat: Instant::now() + HEARTBEAT,
            announced: false,
        }
    }

    /// Returns what [`Self::next_frame`] does, its events decoded.
    ///
    /// # Errors
    /// As there.
    pub async fn next(&mut self) -> Result<Option<TailItem>, TailError> {
        let Some(frame) = self.next_frame().await? else {
            return Ok(None);
        };
        Ok(Some(TailItem {
            batch: frame.batch.map(EncodedBatch::decoded).transpose()?,
            caught_up: frame.caught_up,
        }))
    }

    /// Returns the next batch or heartbeat; `None` at the end of a tail that does not follow.
    ///
    /// # Errors
    /// [`TailError`]; the reader goes on with a new tail from its last sequence.
    pub async fn next_frame(&mut self) -> Result<Option<TailFrame>, TailError> {
        loop {
            // Marked as seen before looking, so that a commit during the look rings again.
            self.bell.borrow_and_update();
            if let Some(item) = self.next_batch().await? {
                return Ok(Some(item));
            }
            if let Some(item) = self.owed() {
                return Ok(Some(item));
            }
            if !self.follow {
                return Ok(None);
            }
            if !self.announced {
                self.announced = true;
                return Ok(Some(TailFrame {
                    batch: None,
                    caught_up: true,
                }));
            }
            let rang = tokio::time::timeout_at(self.heartbeat, self.bell.changed()).await;
            if matches!(rang, Err(_) | Ok(Err(_))) {
                self.heartbeat = Instant::now() + HEARTBEAT;
                return Ok(Some(TailFrame {
                    batch: None,
                    caught_up: self.caught_up(),
                }));
            }
        }
    }

    /// Returns the next batch that holds an event for this reader, or none for a heartbeat's time;
    /// takes partitions in turn.
    async fn next_batch(&mut self) -> Result<Option<TailFrame>, TailError> {
        let mut idle = 0;
        while idle < self.positions.len() {
            let index = self.next % self.positions.len();
            let end = self.hub.end(self.positions[index].cursor.partition);
            if self.positions[index].cursor.after_sequence >= end {
                self.next = index + 1;
                idle += 1;
                continue;
            }
            idle = 0;
            let batch = self.read(index, end).await?;
            // On to the next partition only when nothing is read ahead in this one: so a reader far
            // behind holds one partition's pages in memory, not 64.
            if self.positions[index].ahead.is_empty() {
                self.next = index + 1;
            }
            if batch.events.is_empty() {
                // However much is passed over, the reader hears how far that is each second.
                if Instant::now() < self.heartbeat {
                    continue;
                }
                self.heartbeat = Instant::now() + HEARTBEAT;
            }
            self.positions[index].told = batch.last_sequence;
            let caught_up = self.caught_up();
            self.announced |= caught_up;
            return Ok(Some(TailFrame {
                batch: Some(batch),
                caught_up,
            }));
        }
        Ok(None)
    }

    /// Reads on in one partition until the batch to send is full or the end is reached.
    async fn read(&mut self, index: usize, end: u64) -> Result<EncodedBatch, TailError> {
        let mut events = Vec::new();
        let mut bytes = 0;
        let Cursor {
            partition,
            mut after_sequence,
        } = self.positions[index].cursor;
        while after_sequence < end {
            let batch = self.stored_after(index, after_sequence).await?;
            let batch = batch.filter(|batch| batch.first_sequence <= after_sequence + 1);
            let batch = batch.ok_or(TailError::Lost(partition, after_sequence + 1))?;
            if bytes > 0 && bytes + batch.encoded.len() > SEND_BYTES_MAX {
                self.positions[index].ahead.push(batch);
                break;
            }
            bytes += batch.encoded.len();
            batch.encoded_after(after_sequence, self.filter.test(), &mut events)?;
            after_sequence = batch.last_sequence;
        }
        self.positions[index].cursor.after_sequence = after_sequence;
        Ok(EncodedBatch {
            partition,
            last_sequence: after_sequence,
            events,
            // The disk may be ahead of what this process was told.
            high_water: end.max(after_sequence),
        })
    }

    async fn stored_after(
        &mut self,
        index: usize,
        after_sequence: u64,
    ) -> Result<Option<Arc<StoredBatch>>, TailError> {
        let partition = self.positions[index].cursor.partition;
        if self.positions[index].ahead.is_empty() {
            if let Some(batch) = self.hub.next_after(partition, after_sequence) {
                return Ok(Some(batch));
            }
            let mut read = self.disk.read_after(partition, after_sequence).await?;
            read.reverse();
            self.positions[index].ahead = read;
        }
        Ok(self.positions[index].ahead.pop())
    }

    /// Returns progress that the reader was not told of, because the filter passed nothing.
    fn owed(&mut self) -> Option<TailFrame> {
        if self.follow && Instant::now() < self.heartbeat {
            return None;
        }
        let position = self
            .positions
            .iter_mut()
            .find(|position| position.told < position.cursor.after_sequence)?;
        position.told = position.cursor.after_sequence;
        let batch = EncodedBatch {
            partition: position.cursor.partition,
            last_sequence: position.told,
            events: Vec::new(),
            high_water: self.hub.end(position.cursor.partition),
        };
        Some(TailFrame {
            batch: Some(batch),
            caught_up: self.caught_up(),
        })
    }

    fn caught_up(&self) -> bool {
        self.positions.iter().all(|position| {
            position.cursor.after_sequence >= self.hub.end(position.cursor.partition)
        })
    }
}
