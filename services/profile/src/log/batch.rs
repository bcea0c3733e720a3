//! A run of events of one partition as it lies on disk and in memory.

use bytes::Bytes;
use prost::{DecodeError, Message};
use rapport_api::event::v1::{EventBatch, EventRecord};

/// A stored batch takes no further event beyond this size.
pub const STORED_BYTES_MAX: usize = 1024 * 1024;

/// A committed batch: immutable, shared between every reader.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub fn events(&self) -> Result<Vec<EventRecord>, DecodeError> {
        Ok(EventBatch::decode(self.encoded.clone())?.events)
    }

    /// Adds the events after `after_sequence` whose type `passes` to `to`, encoded as they lie on disk:
    /// every reader gets the very bytes that were written, and they share this batch's memory.
    ///
    /// # Errors
    /// As [`Self::events`].
    pub fn encoded_after(
        &self,
        after_sequence: u64,
        passes: Option<impl Fn(&[u8]) -> bool>,
        to: &mut Vec<Bytes>,
    ) -> Result<(), DecodeError> {
        let batch = EncodedBatch::decode(self.encoded.clone())?;
        // Without gaps, so an event's place in the batch is its sequence.
        let events = (self.first_sequence..).zip(batch.events);
        for (_, event) in events.skip_while(|(sequence, _)| *sequence <= after_sequence) {
            let wanted = match &passes {
                Some(passes) => passes(&OnlyType::decode(event.clone())?.name),
                None => true,
            };
            if wanted {
                to.push(event);
            }
        }
        Ok(())
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

/// An [`EventBatch`] whose events stay encoded: the same bytes on the wire.
#[derive(Clone, PartialEq, Message)]
pub struct EncodedBatch {
    /// The partition.
    #[prost(uint32, tag = "1")]
    pub partition: u32,
    /// How far the reader has now read.
    #[prost(uint64, tag = "2")]
    pub last_sequence: u64,
    /// Each an encoded [`EventRecord`], in order.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub events: Vec<Bytes>,
    /// The end of the partition.
    #[prost(uint64, tag = "4")]
    pub high_water: u64,
}

impl EncodedBatch {
    /// Decodes the events.
    ///
    /// # Errors
    /// When one is not what was written: the disk is damaged.
    pub fn decoded(self) -> Result<EventBatch, DecodeError> {
        let events = self.events.into_iter().map(EventRecord::decode);
        Ok(EventBatch {
            partition: self.partition,
            last_sequence: self.last_sequence,
            events: events.collect::<Result<_, _>>()?,
            high_water: self.high_water,
        })
    }
}

/// Of an [`EventRecord`] what a filter looks at.
#[derive(Clone, PartialEq, Message)]
struct OnlyType {
    #[prost(bytes = "bytes", tag = "5")]
    name: Bytes,
}

#[cfg(test)]
mod tests {
    use rapport_api::profile::v1::TailEventsResponse;

    use super::*;
    use crate::log::TailFrame;

    #[test]
    fn encoded_batches_are_the_contracts_batches_on_the_wire() {
        let event = |sequence, name: &str| EventRecord {
            partition: 7,
            sequence,
            r#type: name.to_owned(),
            payload: vec![1, 2, 3].into(),
            ..EventRecord::default()
        };
        let events = vec![
            event(5, "view_item"),
            event(6, "purchase"),
            event(7, "view_item"),
        ];
        let stored = StoredBatch {
            partition: 7,
            first_sequence: 5,
            last_sequence: 7,
            encoded: EventBatch {
                events: events.clone(),
                ..EventBatch::default()
            }
            .encode_to_vec()
            .into(),
        };
        let read = |after, passes: Option<fn(&[u8]) -> bool>| {
            let mut encoded = Vec::new();
            stored.encoded_after(after, passes, &mut encoded).unwrap();
            let batch = EncodedBatch {
                partition: 7,
                last_sequence: 7,
                events: encoded,
                high_water: 9,
            };
            let frame = TailFrame {
                batch: Some(batch.clone()),
                caught_up: true,
            };
            let wire = frame.encode_to_vec();
            let sent = TailEventsResponse::decode(wire.as_slice()).unwrap();
            assert!(sent.caught_up);
            assert_eq!(sent.batch, Some(batch.decoded().unwrap()));
            sent.batch.unwrap()
        };
        assert_eq!(read(0, None).events, events);
        assert_eq!(read(5, None).events, events[1..]);
        let views = read(5, Some(|name| name == b"view_item"));
        assert_eq!(views.events, events[2..]);
        assert_eq!((views.last_sequence, views.high_water), (7, 9));
    }
}
