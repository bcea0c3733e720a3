//! One event on its way into the log: checked, sealed, and encoded but for what the log assigns.

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use rapport_api::event::v1::{EventRecord, Lane};

/// Field numbers of `EventRecord` that the log assigns at append.
const SEQUENCE_FIELD: u32 = 2;
const RECEIVED_AT_FIELD: u32 = 11;
/// Field number of `EventBatch.events`.
pub(super) const EVENTS_FIELD: u32 = 3;

/// An event that only lacks its sequence and its receipt time.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The partition, 0 to 64.
    pub partition: u32,
    /// Hash of source and event id.
    pub dedup_key: [u8; 16],
    /// Keyed hash of what the event says.
    pub fingerprint: [u8; 16],
    /// Whether the dedup entry is kept as long as the data live.
    pub backfill: bool,
    /// The `EventRecord`, encoded, with sequence and receipt time zero.
    encoded: Vec<u8>,
}

/// What became of a [`Prepared`] event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// On disk at this sequence.
    Accepted(u64),
    /// Was there already, at this partition and sequence.
    Duplicate(u32, u64),
    /// The id was used for another event.
    Conflict,
}

impl Prepared {
    /// Encodes `record`, whose sequence and receipt time must be unset.
    ///
    /// `dedup_key` and `record.fingerprint` identify it; a fingerprint of another length than 16 is
    /// cut or padded with zeros.
    #[must_use]
    pub fn new(record: &EventRecord, dedup_key: [u8; 16]) -> Self {
        debug_assert!(
            record.sequence == 0 && record.received_at_ms == 0,
            "the log assigns these"
        );
        let mut fingerprint = [0; 16];
        for (to, from) in fingerprint.iter_mut().zip(record.fingerprint.iter()) {
            *to = *from;
        }
        Self {
            partition: record.partition,
            dedup_key,
            fingerprint,
            backfill: record.lane == Lane::Backfill as i32,
            encoded: record.encode_to_vec(),
        }
    }

    /// Returns the bytes that the event takes on disk, near enough to size a batch by.
    #[must_use]
    pub fn size(&self) -> usize {
        self.encoded.len() + 32
    }

    /// Appends the event to `batch`, an encoded `EventBatch`, with what the log assigned.
    pub(crate) fn write(&self, sequence: u64, received_at_ms: i64, batch: &mut Vec<u8>) {
        let received = received_at_ms as u64;
        let length = self.encoded.len()
            + key_len(SEQUENCE_FIELD)
            + encoded_len_varint(sequence)
            + key_len(RECEIVED_AT_FIELD)
            + encoded_len_varint(received);
        encode_key(EVENTS_FIELD, WireType::LengthDelimited, batch);
        encode_varint(length as u64, batch);
        batch.extend_from_slice(&self.encoded);
        encode_key(SEQUENCE_FIELD, WireType::Varint, batch);
        encode_varint(sequence, batch);
        encode_key(RECEIVED_AT_FIELD, WireType::Varint, batch);
        encode_varint(received, batch);
    }
}

#[cfg(test)]
mod tests {
    use rapport_api::event::v1::EventBatch;

    use super::*;

    #[test]
    fn what_the_log_adds_decodes_into_the_record() {
        let record = EventRecord {
            partition: 7,
            event_id: "e-1".to_owned(),
            r#type: "view_item".to_owned(),
            payload: vec![1, 2, 3].into(),
            fingerprint: vec![9; 16].into(),
            ..EventRecord::default()
        };
        let mut bytes = Vec::new();
        let prepared = Prepared::new(&record, [0; 16]);
        prepared.write(300, 1_700_000_000_000, &mut bytes);
        prepared.write(301, 1_700_000_000_001, &mut bytes);
        let batch = EventBatch::decode(bytes.as_slice()).unwrap();
        let mut expected = record;
        expected.sequence = 300;
        expected.received_at_ms = 1_700_000_000_000;
        assert_eq!(batch.events[0], expected);
        assert_eq!(batch.events[1].sequence, 301);
        assert_eq!(prepared.fingerprint, [9; 16]);
    }
}
