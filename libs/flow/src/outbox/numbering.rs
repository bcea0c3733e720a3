//! Decision ids and numbers: `(replica, boot, number)` without gaps, and the checkpoint that says
//! which number was the last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost_types::Any;
use rapport_api::event::v1::{DecisionCheckpoint, DecisionHeader};
use rapport_api::profile::v1::NewEvent;
use rapport_math::{Rng, stable_hash64};
use rapport_types::{Clock, DecisionId, UnixMillis};

use super::{ARMS_MAX, DecisionDraft, OutboxConfig, any_of};

#[derive(Debug)]
pub(super) struct Numbering {
    service: &'static str,
    replica: String,
    boot: UnixMillis,
    clock: Arc<dyn Clock>,
    rng: Mutex<Rng>,
    /// The last number given out; 0 before the first.
    last: Mutex<u64>,
}

impl Numbering {
    pub(super) fn new(config: &OutboxConfig) -> Self {
        Self {
            service: config.service,
            replica: config.replica.clone(),
            boot: config.clock.now(),
            clock: config.clock.clone(),
            rng: Mutex::new(config.rng.clone()),
            last: Mutex::new(0),
        }
    }

    /// Returns a UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, then 74 random bits.
    pub(super) fn new_id(&self) -> DecisionId {
        let now = u64::try_from(self.clock.now().0).unwrap_or(0);
        let mut bytes: [u8; 16] = lock(&self.rng).bytes();
        bytes[..6].copy_from_slice(&now.to_be_bytes()[2..]);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        DecisionId::new(bytes)
    }

    /// Gives the decision the next number and queues it before anybody can take another.
    pub(super) fn number(
        &self,
        id: DecisionId,
        mut draft: DecisionDraft,
        queue: impl FnOnce(DecisionHeader),
    ) {
        draft.arms.truncate(ARMS_MAX);
        let mut last = lock(&self.last);
        queue(DecisionHeader {
            decision_id: id.to_vec(),
            replica: self.replica.clone(),
            boot_ms: self.boot.0,
            number: *last + 1,
            model_version: draft.model_version,
            arms: draft.arms,
            degraded: draft.degraded.into(),
        });
        // After queueing: a `build` that panics uses no number.
        *last += 1;
    }

    /// Returns the last number given out.
    pub(super) fn last(&self) -> u64 {
        *lock(&self.last)
    }

    /// Returns the event that says that `number` was the last given out.
    pub(super) fn checkpoint(&self, number: u64) -> NewEvent {
        let boot = self.boot.0.to_le_bytes();
        let run = stable_hash64(&[self.service.as_bytes(), self.replica.as_bytes(), &boot]);
        let payload: Any = any_of(
            "rapport.event.v1.DecisionCheckpoint",
            &DecisionCheckpoint {
                service: self.service.to_owned(),
                replica: self.replica.clone(),
                boot_ms: self.boot.0,
                number,
            },
        );
        NewEvent {
            // A replica's name may be too long for an id.
            event_id: format!("checkpoint-{run:016x}-{number}"),
            occurred_at_ms: self.clock.now().0,
            payload: Some(payload),
            schema_version: 1,
            ..NewEvent::default()
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
