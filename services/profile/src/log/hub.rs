//! What was committed lately, in memory, and the bell that wakes the readers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rapport_types::CONTROL_PARTITION;
use tokio::sync::{Notify, watch};

use super::StoredBatch;

/// Bytes of recent batches kept per partition: a reader this close to the end never asks the disk.
const RING_BYTES_MAX: usize = 512 * 1024;
/// At most one wake-up of the readers in this time, so that small commits do not cost a round each.
const COALESCE: Duration = Duration::from_millis(10);

/// The recent end of every partition. Shared by the committers and all readers of one process.
#[derive(Debug)]
pub struct Hub {
    partitions: Vec<Recent>,
    dirty: Notify,
    bell: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Recent {
    end: AtomicU64,
    ring: RwLock<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    batches: VecDeque<Arc<StoredBatch>>,
    bytes: usize,
}

impl Default for Hub {
    fn default() -> Self {
        let (bell, _) = watch::channel(0);
        let partitions = (0..=CONTROL_PARTITION).map(|_| Recent::default()).collect();
        Self {
            partitions,
            dirty: Notify::new(),
            bell,
        }
    }
}

impl Hub {
    /// Makes a committed batch known. Never waits.
    pub fn publish(&self, batch: StoredBatch) {
        let Some(recent) = self.partitions.get(batch.partition as usize) else {
            return;
        };
        recent.end.fetch_max(batch.last_sequence, Ordering::AcqRel);
        let mut ring = recent.ring.write().unwrap_or_else(PoisonError::into_inner);
        // Two writers of the control partition may come here in another order than they committed in.
        let at = ring
            .batches
            .partition_point(|other| other.last_sequence < batch.first_sequence);
        ring.bytes += batch.encoded.len();
        ring.batches.insert(at, Arc::new(batch));
        while ring.bytes > RING_BYTES_MAX && ring.batches.len() > 1 {
            if let Some(old) = ring.batches.pop_front() {
                ring.bytes -= old.encoded.len();
            }
        }
        drop(ring);
        self.dirty.notify_one();
    }

    /// Makes known that a partition ends at `last_sequence`, as the database says.
    pub fn observe(&self, partition: u32, last_sequence: u64) {
        let Some(recent) = self.partitions.get(partition as usize) else {
            return;
        };
        if recent.end.fetch_max(last_sequence, Ordering::AcqRel) < last_sequence {
            self.dirty.notify_one();
        }
    }

    /// Returns the last known sequence of a partition.
    #[must_use]
    pub fn end(&self, partition: u32) -> u64 {
        self.partitions
            .get(partition as usize)
            .map_or(0, |recent| recent.end.load(Ordering::Acquire))
    }

    /// Returns the batch in memory that holds the event after `after_sequence`, if there is one.
    #[must_use]
    pub fn next_after(&self, partition: u32, after_sequence: u64) -> Option<Arc<StoredBatch>> {
        let recent = self.partitions.get(partition as usize)?;
        let ring = recent.ring.read().unwrap_or_else(PoisonError::into_inner);
        let index = ring
            .batches
            .partition_point(|batch| batch.last_sequence <= after_sequence);
        let batch = ring.batches.get(index)?;
        (batch.first_sequence <= after_sequence + 1).then(|| Arc::clone(batch))
    }

    /// Returns a receiver that changes when any partition may have grown.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// Rings the bell after commits, at once for the first and then at most every 10 ms, for ever.
    /// `rung` is called each time: Postgres replicas tell each other there.
    pub async fn ring<F: Future<Output = ()>>(&self, mut rung: impl FnMut() -> F) {
        loop {
            self.dirty.notified().await;
            self.bell.send_modify(|count| *count += 1);
            rung().await;
            tokio::time::sleep(COALESCE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: u64, last: u64, bytes: usize) -> StoredBatch {
        StoredBatch {
            partition: 3,
            first_sequence: first,
            last_sequence: last,
            encoded: vec![0; bytes].into(),
        }
    }

    #[test]
    fn memory_answers_only_where_it_is_contiguous() {
        let hub = Hub::default();
        hub.publish(batch(5, 9, 10));
        hub.publish(batch(12, 14, 10));
        assert!(hub.next_after(3, 3).is_none(), "4 is on disk only");
        assert_eq!(hub.next_after(3, 4).unwrap().last_sequence, 9);
        assert_eq!(
            hub.next_after(3, 7).unwrap().first_sequence,
            5,
            "mid-batch readers go on"
        );
        assert!(
            hub.next_after(3, 9).is_none(),
            "10 and 11 were another replica's"
        );
        assert_eq!(hub.next_after(3, 11).unwrap().last_sequence, 14);
        assert_eq!(hub.end(3), 14);
    }

    #[test]
    fn memory_is_in_order_whoever_publishes_first() {
        let hub = Hub::default();
        hub.publish(batch(6, 6, 10));
        hub.publish(batch(7, 7, 10));
        hub.publish(batch(5, 5, 10));
        for sequence in 5..=7 {
            let found = hub.next_after(3, sequence - 1).unwrap();
            assert_eq!(found.last_sequence, sequence);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let hub = Hub::default();
        for sequence in 1..=10 {
            hub.publish(batch(sequence, sequence, 200 * 1024));
        }
        assert!(hub.next_after(3, 7).is_none());
        assert_eq!(hub.next_after(3, 8).unwrap().first_sequence, 9);
    }
}
