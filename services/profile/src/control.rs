//! Writing the control partition: in the transaction of the change it tells of.

use prost::Message;
use rapport_api::event::v1::{EventRecord, Lane};
use rapport_store::{StoreError, Tx};
use rapport_telemetry::context::Origin;
use rapport_types::{CONTROL_PARTITION, PurposeSet, UnixMillis};

use crate::log::{Prepared, StoredBatch};
use crate::store::log;

/// Who writes control records, and their copies in the subjects' partitions.
pub const SOURCE: &str = "control";

/// The control partition, locked until the transaction ends. Every change of identity or consent
/// takes it first, so such changes happen one after the other, in the order of their records.
#[derive(Debug)]
pub struct ControlWriter {
    end: u64,
    now: UnixMillis,
}

impl ControlWriter {
    /// Locks the control partition.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock(tx: &mut Tx, now: UnixMillis) -> Result<Self, StoreError> {
        let ends = log::lock(tx, &[CONTROL_PARTITION]).await?;
        let end = ends.first();
        let received = end.map_or(now.0, |end| end.last_received_at_ms.max(now.0));
        Ok(Self {
            end: end.map_or(0, |end| end.last_sequence),
            now: UnixMillis(received),
        })
    }

    /// Returns the sequence that the next record will get: the version of the graph after it.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.end + 1
    }

    /// Returns the receipt time of the record.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// Appends a record. The batch is to be published once the transaction has committed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn append(
        &mut self,
        tx: &mut Tx,
        name: &str,
        payload: &impl Message,
    ) -> Result<StoredBatch, StoreError> {
        let sequence = self.sequence();
        let record = EventRecord {
            partition: CONTROL_PARTITION,
            event_id: format!("control-{sequence}"),
            source: SOURCE.to_owned(),
            r#type: name.to_owned(),
            schema_version: 1,
            lane: Lane::Live as i32,
            occurred_at_ms: self.now.0,
            admitted: u32::from(
                PurposeSet::default()
                    .with(rapport_types::Purpose::Service)
                    .0,
            ),
            payload: payload.encode_to_vec().into(),
            trace_context: Origin::current()
                .map(|origin| origin.to_bytes().to_vec())
                .unwrap_or_default()
                .into(),
            ..EventRecord::default()
        };
        let mut encoded = Vec::new();
        Prepared::new(&record, [0; 16]).write(sequence, self.now.0, &mut encoded);
        let batch = StoredBatch {
            partition: CONTROL_PARTITION,
            first_sequence: sequence,
            last_sequence: sequence,
            encoded: encoded.into(),
        };
        log::insert(tx, std::slice::from_ref(&batch), self.now.0).await?;
        self.end = sequence;
        Ok(batch)
    }
}
