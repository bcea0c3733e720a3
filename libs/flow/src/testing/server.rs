//! The log's side of the wire.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rapport_api::profile::v1::consent_service_server::ConsentService;
use rapport_api::profile::v1::event_service_server::EventService;
use rapport_api::profile::v1::key_service_server::KeyService;
use rapport_api::profile::v1::reader_service_server::ReaderService;
use rapport_api::profile::v1::*;
use rapport_types::SubjectId;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Collected, FakeLog, lock};

const HEARTBEAT: Duration = Duration::from_millis(20);

type Tailed = Result<TailEventsResponse, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl FakeLog {
    async fn send(self, request: TailEventsRequest, sender: mpsc::Sender<Tailed>) {
        let mut grown = self.0.grown.subscribe();
        let mut generation = self.0.generation.subscribe();
        generation.mark_unchanged();
        let mut cursors = request.cursors;
        loop {
            grown.mark_unchanged();
            let mut sent = true;
            while sent {
                sent = false;
                for cursor in &mut cursors {
                    let (partition, after) = (cursor.partition, cursor.after_sequence);
                    if self.has_expired(partition, after) {
                        // A reader that is gone needs no answer.
                        let _ = sender.send(Err(expired())).await;
                        return;
                    }
                    let Some(batch) = self.batch(partition, after, &request.types) else {
                        continue;
                    };
                    cursor.after_sequence = batch.last_sequence;
                    sent = true;
                    let message = TailEventsResponse {
                        batch: Some(batch),
                        caught_up: false,
                    };
                    let is_cut = generation.has_changed().unwrap_or(true);
                    if is_cut || sender.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
            }
            let heartbeat = TailEventsResponse {
                batch: None,
                caught_up: true,
            };
            if !request.follow || sender.send(Ok(heartbeat)).await.is_err() {
                return;
            }
            tokio::select! {
                _ = grown.changed() => {}
                _ = generation.changed() => return,
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
        }
    }

    fn collect(&self, event: NewEvent) -> EventResult {
        let known = lock(&self.0.collected).get(&event.event_id).cloned();
        let (outcome, partition, sequence) = match known {
            Some(known) => {
                // The span that a repeat comes from is no part of the event.
                let same = |event: &NewEvent| NewEvent {
                    trace_context: Vec::new(),
                    ..event.clone()
                };
                if same(&known.event) != same(&event) {
                    lock(&self.0.conflicts).push(event.event_id);
                }
                (EventOutcome::Duplicate, known.partition, known.sequence)
            }
            None => {
                let (partition, sequence) = self.append_new(event.clone());
                let collected = Collected {
                    event: event.clone(),
                    partition,
                    sequence,
                };
                lock(&self.0.collected).insert(event.event_id, collected);
                (EventOutcome::Accepted, partition, sequence)
            }
        };
        EventResult {
            outcome: outcome.into(),
            partition,
            sequence,
            ..EventResult::default()
        }
    }
}

fn expired() -> Status {
    let details = ErrorDetails::with_error_info("SEQUENCE_EXPIRED", "rapport", HashMap::new());
    Status::with_error_details(tonic::Code::OutOfRange, "below the low-water mark", details)
}

/// Takes one from a counter; whether there was one.
fn take(counter: &AtomicUsize) -> bool {
    let less = |left: usize| left.checked_sub(1);
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

fn not_needed<T>() -> Result<Response<T>, Status> {
    Err(Status::internal("no service calls this"))
}

#[tonic::async_trait]
impl EventService for FakeLog {
    async fn collect_events(
        &self,
        request: Request<CollectEventsRequest>,
    ) -> Result<Response<CollectEventsResponse>, Status> {
        self.0.collects.fetch_add(1, Ordering::SeqCst);
        if take(&self.0.fail_before) {
            return Err(Status::unavailable("not now"));
        }
        let events = request.into_inner().events;
        let is_malformed =
            |event: &NewEvent| lock(&self.0.malformed).contains(event.event_id.as_str());
        if events.iter().any(is_malformed) {
            return Err(Status::invalid_argument("an event is malformed"));
        }
        let results = events.into_iter().map(|event| self.collect(event));
        let results = results.collect();
        if take(&self.0.fail_after) {
            return Err(Status::unavailable("the answer was lost"));
        }
        Ok(Response::new(CollectEventsResponse { results }))
    }

    type StreamEventsStream = Answers<StreamEventsResponse>;

    async fn stream_events(
        &self,
        _request: Request<Streaming<StreamEventsRequest>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        not_needed()
    }

    type TailEventsStream = ReceiverStream<Tailed>;

    async fn tail_events(
        &self,
        request: Request<TailEventsRequest>,
    ) -> Result<Response<Self::TailEventsStream>, Status> {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(self.clone().send(request.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get_log_positions(
        &self,
        _request: Request<GetLogPositionsRequest>,
    ) -> Result<Response<GetLogPositionsResponse>, Status> {
        let ends = (0..).zip(self.ends());
        let ends = ends.map(|(partition, after_sequence)| PartitionCursor {
            partition,
            after_sequence,
        });
        Ok(Response::new(GetLogPositionsResponse {
            ends: ends.collect(),
            ..GetLogPositionsResponse::default()
        }))
    }
}

#[tonic::async_trait]
impl ConsentService for FakeLog {
    async fn set_consent(
        &self,
        _request: Request<SetConsentRequest>,
    ) -> Result<Response<SetConsentResponse>, Status> {
        not_needed()
    }

    async fn get_consent(
        &self,
        _request: Request<GetConsentRequest>,
    ) -> Result<Response<GetConsentResponse>, Status> {
        not_needed()
    }

    async fn import_consent(
        &self,
        _request: Request<ImportConsentRequest>,
    ) -> Result<Response<ImportConsentResponse>, Status> {
        not_needed()
    }

    type GetControlSnapshotStream = Answers<GetControlSnapshotResponse>;

    async fn get_control_snapshot(
        &self,
        _request: Request<GetControlSnapshotRequest>,
    ) -> Result<Response<Self::GetControlSnapshotStream>, Status> {
        self.0.snapshots.fetch_add(1, Ordering::SeqCst);
        let Some(parts) = lock(&self.0.snapshot).clone() else {
            return Err(Status::unavailable("held back"));
        };
        let parts = parts.into_iter().map(Ok);
        Ok(Response::new(Box::pin(tokio_stream::iter(parts))))
    }
}

#[tonic::async_trait]
impl KeyService for FakeLog {
    async fn get_data_keys(
        &self,
        request: Request<GetDataKeysRequest>,
    ) -> Result<Response<GetDataKeysResponse>, Status> {
        if self.0.keys_away.load(Ordering::SeqCst) {
            return Err(Status::internal("the keyring is locked"));
        }
        let keyless = lock(&self.0.keyless).clone();
        let is_there =
            |id: &Vec<u8>| !SubjectId::parse(id).is_ok_and(|subject| keyless.contains(&subject));
        let subjects = request.into_inner().subject_ids.into_iter();
        let key = |subject_id: Vec<u8>| {
            let key = [subject_id.as_slice(), b"0123456789abcdef"].concat();
            DataKey { subject_id, key }
        };
        Ok(Response::new(GetDataKeysResponse {
            keys: subjects.filter(is_there).map(key).collect(),
        }))
    }
}

#[tonic::async_trait]
impl ReaderService for FakeLog {
    async fn register_reader(
        &self,
        request: Request<RegisterReaderRequest>,
    ) -> Result<Response<RegisterReaderResponse>, Status> {
        let request = request.into_inner();
        let mut readers = lock(&self.0.readers);
        let verified = readers.entry(request.reader).or_default();
        let cursors = request.verified.into_iter();
        verified.extend(cursors.map(|cursor| (cursor.partition, cursor.after_sequence)));
        Ok(Response::new(RegisterReaderResponse::default()))
    }

    async fn remove_reader(
        &self,
        request: Request<RemoveReaderRequest>,
    ) -> Result<Response<RemoveReaderResponse>, Status> {
        let removed = lock(&self.0.readers).remove(&request.into_inner().reader);
        Ok(Response::new(RemoveReaderResponse {
            removed: removed.is_some(),
        }))
    }

    async fn list_readers(
        &self,
        _request: Request<ListReadersRequest>,
    ) -> Result<Response<ListReadersResponse>, Status> {
        not_needed()
    }
}
