//! Sending decisions and other events back to the log without making any answer wait for it.
//! What is decided, and with whose consent it carries a subject, is the service's affair.

mod numbering;
mod send;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use prost_types::Any;
use rapport_api::event::v1::{DecisionHeader, ExperimentArm};
use rapport_api::profile::v1::NewEvent;
use rapport_api::r#type::v1::Degraded;
use rapport_math::Rng;
use rapport_telemetry::names;
use rapport_types::{Clock, DecisionId, SubjectId, UnixMillis};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::Channel;
use numbering::Numbering;
pub use send::Delivery;

/// Experiment arms in one decision's header; the contract's limit.
pub(crate) const ARMS_MAX: usize = 20;

/// Who sends, and how much may wait.
#[derive(Debug)]
pub struct OutboxConfig {
    /// The service, such as `ads`.
    pub service: &'static str,
    /// The replica: unique among those that run at the same time.
    pub replica: String,
    /// Gives the boot time now, and times of decision ids and checkpoints.
    pub clock: Arc<dyn Clock>,
    /// Draws decision ids; seed it differently in every process.
    pub rng: Rng,
    /// Events that may wait, at least 1. Beyond, publishing answers [`OutboxFull`].
    pub queue_max: usize,
}

impl OutboxConfig {
    /// A hundred seconds of 1,000 decisions a second, some 100 MB at worst.
    pub const QUEUE_MAX: usize = 100_000;
}

/// An event to send.
#[derive(Debug, Clone)]
pub struct OutboxEvent {
    /// 1 to 64 characters, unique for ever per service: a repeat with the same content is one event.
    pub event_id: String,
    /// Whom it is about, `None` for an event without subject.
    pub subject: Option<SubjectId>,
    /// When it happened.
    pub occurred_at: UnixMillis,
    /// The event's message: see [`any_of`].
    pub payload: Any,
    /// Its `<Type>Personal` message, which the log seals.
    pub personal: Option<Any>,
}

impl OutboxEvent {
    /// Returns the event as the log takes it, in the trace of whoever calls this.
    #[must_use]
    pub fn into_new_event(self) -> NewEvent {
        NewEvent {
            event_id: self.event_id,
            subject_id: self.subject.map(SubjectId::to_vec).unwrap_or_default(),
            identifier: None,
            occurred_at_ms: self.occurred_at.0,
            payload: Some(self.payload),
            personal: self.personal,
            schema_version: 1,
            // Read here, in the call that publishes: the task that sends serves none.
            trace_context: crate::origin::current(),
        }
    }
}

/// What a decision's header says beside its id and number.
#[derive(Debug, Clone, Default)]
pub struct DecisionDraft {
    /// The version of the model or rule set that decided.
    pub model_version: String,
    /// The experiment arms that applied; cut after 20.
    pub arms: Vec<ExperimentArm>,
    /// Why the answer was less than it could be.
    pub degraded: Degraded,
    /// Whom it was for; `None` without the `measure` consent.
    pub subject: Option<SubjectId>,
    /// When it was made.
    pub occurred_at: UnixMillis,
}

/// Too much waits for the log. Nothing was queued and no number was used: answer degraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outbox is full or draining")]
pub struct OutboxFull;

/// What [`Outbox::drain`] could not deliver in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{waiting} event(s) were not acknowledged in time")]
pub struct DrainError {
    /// Events that were not acknowledged.
    pub waiting: u64,
}

/// Wraps a message as the log expects it; `name` is its full name, `rapport.event.v1.AdDecided`.
#[must_use]
pub fn any_of(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

/// The outbox of one process. Cloning shares it. Publishing never waits.
#[derive(Debug, Clone)]
pub struct Outbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: mpsc::Sender<NewEvent>,
    numbering: Arc<Numbering>,
    /// Events that are queued or in flight.
    waiting: Arc<watch::Sender<u64>>,
    draining: CancellationToken,
    stopped: watch::Receiver<bool>,
}

impl Outbox {
    /// Starts the task that sends to the log. Must be called inside a tokio runtime.
    #[must_use]
    pub fn spawn(profile: Channel, config: OutboxConfig) -> Self {
        let (queue, events) = mpsc::channel(config.queue_max.max(1));
        let (stop, stopped) = watch::channel(false);
        let numbering = Arc::new(Numbering::new(&config));
        let waiting = Arc::new(watch::Sender::new(0));
        let draining = CancellationToken::new();
        let sender = send::Sender::new(profile, numbering.clone(), waiting.clone());
        tokio::spawn(sender.run(events, draining.clone(), stop));
        Self(Arc::new(Shared {
            queue,
            numbering,
            waiting,
            draining,
            stopped,
        }))
    }

    /// Returns a new decision id: a UUIDv7. For what must name the decision before it is published,
    /// such as the ledger.
    #[must_use]
    pub fn new_decision_id(&self) -> DecisionId {
        self.0.numbering.new_id()
    }

    /// Queues a decision under a new id and returns the id. `build` makes the payload around the
    /// header; it runs under a short lock, so it should only encode.
    ///
    /// # Errors
    /// [`OutboxFull`]: no number was used, so the log shows no hole.
    pub fn decide(
        &self,
        draft: DecisionDraft,
        build: impl FnOnce(DecisionHeader) -> Any,
    ) -> Result<DecisionId, OutboxFull> {
        let id = self.new_decision_id();
        self.decide_as(id, draft, build)?;
        Ok(id)
    }

    /// As [`Outbox::decide`], under an id from [`Outbox::new_decision_id`].
    ///
    /// # Errors
    /// [`OutboxFull`]: no number was used, so the log shows no hole.
    pub fn decide_as(
        &self,
        id: DecisionId,
        draft: DecisionDraft,
        build: impl FnOnce(DecisionHeader) -> Any,
    ) -> Result<(), OutboxFull> {
        let slot = self.slot()?;
        let (subject, occurred_at) = (draft.subject, draft.occurred_at);
        // Numbering and queueing are one step: the queue holds numbers in order, without holes.
        self.0.numbering.number(id, draft, |header| {
            let event_id = id.to_string();
            let payload = build(header);
            let event = OutboxEvent {
                event_id,
                subject,
                occurred_at,
                payload,
                personal: None,
            };
            self.enqueue(slot, event);
        });
        Ok(())
    }

    /// Queues any other event.
    ///
    /// # Errors
    /// [`OutboxFull`]: nothing was queued.
    pub fn publish(&self, event: OutboxEvent) -> Result<(), OutboxFull> {
        let slot = self.slot()?;
        self.enqueue(slot, event);
        Ok(())
    }

    /// Returns the number of events that wait to be acknowledged.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        *self.0.waiting.borrow()
    }

    /// Waits until everything published before was acknowledged or refused by the log. For tests
    /// and for tools that end.
    pub async fn flushed(&self) {
        let mut waiting = self.0.waiting.subscribe();
        // The sender lives as long as `self`, so the only error cannot happen.
        let _ = waiting.wait_for(|waiting| *waiting == 0).await;
    }

    /// Refuses new events, sends what waits and a last checkpoint, and ends the task.
    ///
    /// # Errors
    /// [`DrainError`] when `deadline` passed first; the log will show the holes.
    pub async fn drain(&self, deadline: Duration) -> Result<(), DrainError> {
        self.0.draining.cancel();
        let mut stopped = self.0.stopped.clone();
        match tokio::time::timeout(deadline, stopped.wait_for(|stopped| *stopped)).await {
            Ok(Ok(_stopped)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(DrainError {
                waiting: self.waiting(),
            }),
        }
    }

    fn slot(&self) -> Result<mpsc::Permit<'_, NewEvent>, OutboxFull> {
        let refused = |_| {
            names::OUTBOX_EVENTS.add(1, &["full"]);
            OutboxFull
        };
        if self.0.draining.is_cancelled() {
            return Err(refused(()));
        }
        self.0.queue.try_reserve().map_err(|_| refused(()))
    }

    fn enqueue(&self, slot: mpsc::Permit<'_, NewEvent>, event: OutboxEvent) {
        // Counted before it can be sent, or the count could pass below zero.
        self.0.waiting.send_modify(|waiting| *waiting += 1);
        slot.send(event.into_new_event());
    }
}
