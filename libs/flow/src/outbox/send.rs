//! The task that sends: batches in order, one request at a time, each retried until the log answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rapport_api::event::v1::Lane;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_api::profile::v1::{CollectEventsRequest, EventOutcome, EventResult, NewEvent};
use rapport_telemetry::names;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::Instrument as _;

use super::numbering::Numbering;
use crate::Channel;
use crate::backoff::Backoff;

/// Events in one request.
const BATCH_EVENTS_MAX: usize = 1_000;
/// Bytes in one request: half of what the log takes.
pub(super) const BATCH_BYTES_MAX: usize = 2 << 20;
/// How long the first event of a batch waits for company.
const BATCH_AFTER: Duration = Duration::from_millis(50);
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// The contract's deadline of `CollectEvents`.
const CALL_MAX: Duration = Duration::from_secs(10);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Sends events in order, in requests of bounded size, until the log has answered each: for outboxes,
/// the one in memory and those that services keep in their databases. Cloning shares the connection.
#[derive(Debug, Clone)]
pub struct Delivery {
    client: EventServiceClient<Channel>,
}

pub(super) struct Sender {
    delivery: Delivery,
    numbering: Arc<Numbering>,
    waiting: Arc<watch::Sender<u64>>,
    /// The number that the last checkpoint named.
    checkpointed: u64,
}

impl Sender {
    pub(super) fn new(
        profile: Channel,
        numbering: Arc<Numbering>,
        waiting: Arc<watch::Sender<u64>>,
    ) -> Self {
        Self {
            delivery: Delivery::new(profile),
            numbering,
            waiting,
            checkpointed: 0,
        }
    }

    /// Sends until drained. When it returns, `stop` says so.
    pub(super) async fn run(
        mut self,
        mut events: mpsc::Receiver<NewEvent>,
        draining: CancellationToken,
        stop: watch::Sender<bool>,
    ) {
        let mut checkpoint_at = Instant::now() + CHECKPOINT_EVERY;
        loop {
            let (batch, ended) = self.gather(&mut events, checkpoint_at, &draining).await;
            self.deliver(batch, true).await;
            if ended || Instant::now() >= checkpoint_at {
                checkpoint_at = Instant::now() + CHECKPOINT_EVERY;
                self.checkpoint().await;
            }
            if ended {
                // Nobody waiting for the end is fine.
                let _ = stop.send(true);
                return;
            }
        }
    }

    /// Collects events until there are enough, the first has waited long enough, or it is time for
    /// a checkpoint. Returns whether there can be no more: drained, or every outbox handle is gone.
    async fn gather(
        &self,
        events: &mut mpsc::Receiver<NewEvent>,
        checkpoint_at: Instant,
        draining: &CancellationToken,
    ) -> (Vec<NewEvent>, bool) {
        let mut batch = Vec::new();
        let mut until = checkpoint_at;
        while batch.len() < BATCH_EVENTS_MAX {
            let room = BATCH_EVENTS_MAX - batch.len();
            tokio::select! {
                taken = events.recv_many(&mut batch, room) => {
                    if taken == 0 {
                        return (batch, true);
                    }
                    if taken == batch.len() {
                        until = Instant::now() + BATCH_AFTER;
                    }
                }
                // What was queued, or has its slot, still comes out of a closed queue.
                () = draining.cancelled(), if !events.is_closed() => events.close(),
                () = sleep_until(until) => break,
            }
        }
        (batch, false)
    }

    async fn checkpoint(&mut self) {
        let last = self.numbering.last();
        if last > self.checkpointed {
            self.deliver(vec![self.numbering.checkpoint(last)], false)
                .await;
            self.checkpointed = last;
        }
    }

    async fn deliver(&mut self, events: Vec<NewEvent>, counted: bool) {
        let waiting = &self.waiting;
        let settle = |settled: usize| {
            if counted {
                let settled = settled as u64;
                waiting.send_modify(|waiting| *waiting = waiting.saturating_sub(settled));
            }
            names::OUTBOX_DEPTH.set(*waiting.borrow() as f64, &[]);
        };
        self.delivery.deliver_counting(events, settle).await;
    }
}

impl Delivery {
    /// Returns a way to the log at `profile`.
    #[must_use]
    pub fn new(profile: Channel) -> Self {
        Self {
            client: EventServiceClient::new(profile),
        }
    }

    /// Sends events in order until each was acknowledged or refused, however long the log is away. The
    /// log knows each by its id: what is sent again is one event.
    pub async fn deliver(&mut self, events: Vec<NewEvent>) {
        self.deliver_counting(events, |_settled| {}).await;
    }

    /// As [`Delivery::deliver`], told how many were answered as it goes.
    async fn deliver_counting(&mut self, events: Vec<NewEvent>, settled: impl Fn(usize)) {
        let mut requests = split_by_bytes(events);
        while let Some(request) = requests.pop_front() {
            let span = crate::origin::sending(&request);
            match self.deliver_request(&request).instrument(span).await {
                Ok(()) => settled(request.len()),
                Err(refused) => {
                    // One malformed event fails its whole request: halve until it stands alone.
                    let mut left = request;
                    if left.len() > 1 {
                        let right = left.split_off(left.len() / 2);
                        requests.push_front(right);
                        requests.push_front(left);
                    } else {
                        tracing::error!(code = %refused.code(), "the log refused an event of ours");
                        names::OUTBOX_EVENTS.add(1, &["rejected"]);
                        settled(1);
                    }
                }
            }
        }
    }

    /// Sends one request until the log answers it.
    ///
    /// # Errors
    /// The status by which the log called the request malformed.
    async fn deliver_request(&mut self, events: &[NewEvent]) -> Result<(), Status> {
        let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
        loop {
            let failure = match self.send(events).await {
                Ok(results) if results.len() == events.len() => {
                    let rejected = results.iter().filter(|result| is_rejected(result)).count();
                    let acknowledged = results.len() - rejected;
                    names::OUTBOX_EVENTS.add(acknowledged as u64, &["acknowledged"]);
                    names::OUTBOX_EVENTS.add(rejected as u64, &["rejected"]);
                    return Ok(());
                }
                Ok(_short) => Status::internal("the log answered with another number of results"),
                Err(status) if status.code() == Code::InvalidArgument => return Err(status),
                Err(status) => status,
            };
            names::OUTBOX_SEND_FAILURES.add(1, &[]);
            tracing::warn!(code = %failure.code(), events = events.len(), "the log is away");
            sleep(backoff.next()).await;
        }
    }

    async fn send(&mut self, events: &[NewEvent]) -> Result<Vec<EventResult>, Status> {
        let request = CollectEventsRequest {
            events: events.to_vec(),
            lane: Lane::Live.into(),
            import_hash: Vec::new(),
        };
        match timeout(CALL_MAX, self.client.collect_events(request)).await {
            Ok(answer) => Ok(answer?.into_inner().results),
            Err(_elapsed) => Err(Status::deadline_exceeded("no answer")),
        }
    }
}

fn is_rejected(result: &EventResult) -> bool {
    let rejected = result.outcome() == EventOutcome::Rejected;
    if rejected {
        // Consent that was withdrawn between decision and log refuses too: nobody needs to act on that.
        tracing::warn!(reason = result.reason, "the log rejected an event of ours");
    }
    rejected
}

/// Cuts a batch into requests of at most [`BATCH_BYTES_MAX`]; a larger single event goes alone.
pub(super) fn split_by_bytes(events: Vec<NewEvent>) -> VecDeque<Vec<NewEvent>> {
    let mut requests = VecDeque::new();
    let (mut request, mut bytes) = (Vec::new(), 0);
    for event in events {
        let size = event.encoded_len();
        if bytes + size > BATCH_BYTES_MAX && !request.is_empty() {
            requests.push_back(std::mem::take(&mut request));
            bytes = 0;
        }
        bytes += size;
        request.push(event);
    }
    if !request.is_empty() {
        requests.push_back(request);
    }
    requests
}
