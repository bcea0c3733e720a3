//! A run of events of one partition as it lies on disk and in memory.

use bytes::Bytes;
use prost::Message as _;
use rapport_api::event::v1::{EventBatch, EventRecord};

/// A stored batch takes no further event beyond this size.
pub const STORED_BYTES_MAX: usize = 1024 * 1024;

/// A committed batch: immutable, shared between every reader.
#[derive(Debug, Clone)]
pub struct StoredBatch {
    /// The partition.
    pub partition: u32,
    /// Sequence of the first event.
    pub first_sequence: u64,
    /// Sequence of the last event.
    pub last_sequence: u64,
    /// The encoded events, as `EventBatch.events`.
    pub encoded: Bytes,
}

impl StoredBatch {
    /// Decodes the events. Payloads share this batch's memory: nothing is copied.
    ///
    /// # Errors
    /// When the bytes are not what was written: the disk is damaged.
    pub fn events(&self) -> Result<Vec<EventRecord>, prost::DecodeError> {
        Ok(EventBatch::decode(self.encoded.clone())?.events)
    }

    /// Returns how many events the batch holds.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.last_sequence + 1 - self.first_sequence
    }

    /// Returns whether the batch holds nothing: never, once committed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last_sequence < self.first_sequence
    }
}
