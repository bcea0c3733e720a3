//! Reading the log: one task per reader that tails partitions, reconnects and checks continuity.
//! What the events mean is the consumer's affair.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use rapport_api::event::v1::EventBatch;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_api::profile::v1::{PartitionCursor, TailEventsRequest, TailEventsResponse};
use rapport_telemetry::names;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::Channel;
use crate::backoff::Backoff;

/// Most event types that one tail may filter by; the contract's limit.
pub(crate) const TYPES_MAX: usize = 64;
/// Batches that may wait for the consumer, 1 MiB each at most; beyond, the server is held back.
const WAITING_MAX: usize = 4;
/// Three heartbeats missed: the connection is dead, whatever TCP believes.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// What to read.
#[derive(Debug, Clone)]
pub struct TailOptions {
    /// Who reads, fixed in the source: a label of metrics and logs.
    pub name: &'static str,
    /// Each partition with the last sequence that was read; 0 reads from the start. Not empty.
    pub cursors: BTreeMap<u32, u64>,
    /// The event types to send, at most 64; empty sends all.
    pub types: Vec<String>,
    /// Whether to wait for more at the end.
    pub follow: bool,
}

/// One message of the log: a batch, a heartbeat or both.
#[derive(Debug, Clone)]
pub struct Tailed {
    /// Events that continue their partition; `None` in a heartbeat.
    pub batch: Option<EventBatch>,
    /// Whether the reader had everything committed when this was sent.
    pub caught_up: bool,
    /// When it arrived. A message that waited is as old as its arrival.
    pub received: Instant,
}

/// Why reading ended for good. Everything else is retried.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TailError {
    /// A cursor is below the low-water mark: start from a snapshot.
    #[error("a sequence to read from has expired")]
    Expired,
    /// More than 64 types or no partition: a defect of the caller.
    #[error("nothing to tail, or too many types")]
    Invalid,
}

/// A reader of the log. Dropping it ends its task and its connection.
#[derive(Debug)]
pub struct LogReader {
    messages: mpsc::Receiver<Result<Tailed, TailError>>,
    task: JoinHandle<()>,
}

impl LogReader {
    /// Starts reading. Must be called inside a tokio runtime.
    #[must_use]
    pub fn spawn(channel: Channel, options: TailOptions) -> Self {
        let (sender, messages) = mpsc::channel(WAITING_MAX);
        let task = tokio::spawn(run(EventServiceClient::new(channel), options, sender));
        Self { messages, task }
    }

    /// Returns the next message, `None` at the end of the log when not following.
    ///
    /// Waits out every outage. Cancel safe: a message is never lost.
    ///
    /// # Errors
    /// [`TailError`] once, then `None`.
    pub async fn next(&mut self) -> Result<Option<Tailed>, TailError> {
        self.messages.recv().await.transpose()
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How one connection ended.
enum Ended {
    /// Nobody listens any more, or the end of the log was reached.
    Done,
    Fatal(TailError),
    Lost(String),
}

async fn run(
    mut client: EventServiceClient<Channel>,
    mut options: TailOptions,
    sender: mpsc::Sender<Result<Tailed, TailError>>,
) {
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
    if options.cursors.is_empty() || options.types.len() > TYPES_MAX {
        // The receiver may be gone, and then nobody needs to know.
        let _ = sender.send(Err(TailError::Invalid)).await;
        return;
    }
    loop {
        match read(&mut client, &mut options, &sender, &mut backoff).await {
            Ended::Done => return,
            Ended::Fatal(error) => {
                let _ = sender.send(Err(error)).await;
                return;
            }
            Ended::Lost(why) => {
                names::LOG_READER_RECONNECTS.add(1, &[options.name]);
                tracing::warn!(reader = options.name, why, "the log is away, reading again");
            }
        }
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(backoff.next()) => {}
        }
    }
}

async fn read(
    client: &mut EventServiceClient<Channel>,
    options: &mut TailOptions,
    sender: &mpsc::Sender<Result<Tailed, TailError>>,
    backoff: &mut Backoff,
) -> Ended {
    let opened = timeout(SILENCE_MAX, client.tail_events(request(options))).await;
    let mut stream = match opened {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return ended(&status),
        Err(_elapsed) => return Ended::Lost("no answer".to_owned()),
    };
    loop {
        let asked = Instant::now();
        let message = match timeout(SILENCE_MAX, stream.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) if options.follow => return Ended::Lost("the stream ended".to_owned()),
            Ok(Ok(None)) => return Ended::Done,
            Ok(Err(status)) => return ended(&status),
            Err(_elapsed) => return Ended::Lost("no heartbeat".to_owned()),
        };
        // After a long pause of this process, buffered messages are ready although they are old:
        // believing their heartbeats would call a stale view fresh.
        if asked.elapsed() > SILENCE_MAX {
            return Ended::Lost("this process was paused".to_owned());
        }
        let tailed = match accept(options, message) {
            Ok(tailed) => tailed,
            Err(gap) => {
                names::LOG_READER_GAPS.add(1, &[options.name]);
                return Ended::Lost(gap);
            }
        };
        backoff.reset();
        if sender.send(Ok(tailed)).await.is_err() {
            return Ended::Done;
        }
    }
}

fn request(options: &TailOptions) -> TailEventsRequest {
    let cursor = |(partition, after): (&u32, &u64)| PartitionCursor {
        partition: *partition,
        after_sequence: *after,
    };
    TailEventsRequest {
        cursors: options.cursors.iter().map(cursor).collect(),
        types: options.types.clone(),
        follow: options.follow,
    }
}

fn ended(status: &Status) -> Ended {
    let expired = status
        .get_details_error_info()
        .is_some_and(|info| info.reason == "SEQUENCE_EXPIRED");
    if expired || status.code() == Code::OutOfRange {
        Ended::Fatal(TailError::Expired)
    } else {
        Ended::Lost(format!("{}: {}", status.code(), status.message()))
    }
}

/// Checks that a batch continues its partition and moves the cursor. An error leaves it in place.
fn accept(options: &mut TailOptions, message: TailEventsResponse) -> Result<Tailed, String> {
    if let Some(batch) = &message.batch {
        let cursor = options
            .cursors
            .get_mut(&batch.partition)
            .ok_or_else(|| format!("partition {} was not asked for", batch.partition))?;
        let mut last = *cursor;
        for event in &batch.events {
            let continues = event.partition == batch.partition
                && event.sequence > last
                && event.sequence <= batch.last_sequence
                // A filter may leave events out; without one nothing may be missing.
                && (!options.types.is_empty() || event.sequence == last + 1);
            if !continues {
                return Err(format!(
                    "partition {}: sequence {} after {last}",
                    batch.partition, event.sequence
                ));
            }
            last = event.sequence;
        }
        if batch.last_sequence < last || (options.types.is_empty() && batch.last_sequence != last) {
            return Err(format!(
                "partition {}: the batch ends at {}, its events at {last}",
                batch.partition, batch.last_sequence
            ));
        }
        *cursor = batch.last_sequence;
    }
    Ok(Tailed {
        batch: message.batch,
        caught_up: message.caught_up,
        received: Instant::now(),
    })
}
