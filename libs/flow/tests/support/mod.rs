//! A small profile and evaluate on a free port: a log in memory, and the faults that tests ask for.
#![expect(dead_code, reason = "each test file uses a part")]

pub(crate) mod projected;

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use rapport_api::event::v1::{EventBatch, EventRecord};
use rapport_api::profile::v1::consent_service_server::{ConsentService, ConsentServiceServer};
use rapport_api::profile::v1::event_service_server::{EventService, EventServiceServer};
use rapport_api::profile::v1::*;
use rapport_flow::Channel;
use rapport_types::{CONTROL_PARTITION, PARTITIONS, SubjectId, partition_of};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

const HEARTBEAT: Duration = Duration::from_millis(20);
const BATCH_MAX: usize = 7;

/// The log. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    partitions: Mutex<Vec<Vec<EventRecord>>>,
    seen: Mutex<HashMap<String, (u32, u64)>>,
    grown: watch::Sender<u64>,
    /// Streams of an older generation end.
    generation: watch::Sender<u64>,
    /// How many requests to collect fail before they write, and how many after.
    fail_before: AtomicUsize,
    fail_after: AtomicUsize,
    /// The next batch loses its first event.
    gap: AtomicBool,
    /// Sequences up to this one have expired.
    expired: AtomicU64,
    /// Event ids that the log calls malformed.
    malformed: Mutex<Vec<String>>,
    snapshot: Mutex<VecDeque<GetControlSnapshotResponse>>,
    pub(crate) snapshots: AtomicUsize,
    pub(crate) collects: AtomicUsize,
}

impl Log {
    /// Starts the server and returns the log with a channel to it.
    pub(crate) async fn serve() -> (Self, Channel) {
        let log = Self(Arc::new(Shared {
            partitions: Mutex::new(vec![Vec::new(); PARTITIONS as usize + 1]),
            seen: Mutex::default(),
            grown: watch::Sender::new(0),
            generation: watch::Sender::new(0),
            fail_before: AtomicUsize::new(0),
            fail_after: AtomicUsize::new(0),
            gap: AtomicBool::new(false),
            expired: AtomicU64::new(0),
            malformed: Mutex::default(),
            snapshot: Mutex::new(VecDeque::from([GetControlSnapshotResponse {
                last: true,
                ..Default::default()
            }])),
            snapshots: AtomicUsize::new(0),
            collects: AtomicUsize::new(0),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder()
            .add_service(EventServiceServer::new(log.clone()))
            .add_service(ConsentServiceServer::new(log.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        (log, connect(&format!("http://{address}")))
    }

    /// Appends an event and returns its sequence.
    pub(crate) fn append(&self, mut event: EventRecord) -> u64 {
        let sequence = {
            let mut partitions = self.0.partitions.lock().unwrap();
            let partition = &mut partitions[event.partition as usize];
            event.sequence = partition.len() as u64 + 1;
            partition.push(event);
            partition.len() as u64
        };
        self.0.grown.send_modify(|grown| *grown += 1);
        sequence
    }

    /// Appends an event of a subject.
    pub(crate) fn append_of(&self, subject: SubjectId, kind: &str, payload: &[u8]) -> u64 {
        self.append(EventRecord {
            partition: subject.partition(),
            r#type: kind.to_owned(),
            subject_id: subject.to_vec().into(),
            payload: payload.to_vec().into(),
            ..EventRecord::default()
        })
    }

    /// Appends a control record.
    pub(crate) fn control(&self, kind: &str, message: &impl Message) -> u64 {
        self.append(EventRecord {
            partition: CONTROL_PARTITION,
            r#type: kind.to_owned(),
            payload: message.encode_to_vec().into(),
            ..EventRecord::default()
        })
    }

    /// Returns every event, by partition.
    pub(crate) fn all(&self) -> Vec<EventRecord> {
        self.0.partitions.lock().unwrap().concat()
    }

    /// Ends every open tail.
    pub(crate) fn cut(&self) {
        self.0.generation.send_modify(|generation| *generation += 1);
    }

    pub(crate) fn fail_collects(&self, before: usize, after: usize) {
        self.0.fail_before.store(before, Ordering::SeqCst);
        self.0.fail_after.store(after, Ordering::SeqCst);
    }

    pub(crate) fn skip_one(&self) {
        self.0.gap.store(true, Ordering::SeqCst);
    }

    pub(crate) fn expire(&self, sequence: u64) {
        self.0.expired.store(sequence, Ordering::SeqCst);
        self.cut();
    }

    pub(crate) fn call_malformed(&self, event_id: &str) {
        self.0.malformed.lock().unwrap().push(event_id.to_owned());
    }

    pub(crate) fn set_snapshot(&self, parts: Vec<GetControlSnapshotResponse>) {
        *self.0.snapshot.lock().unwrap() = parts.into();
    }

    pub(crate) fn snapshots(&self) -> usize {
        self.0.snapshots.load(Ordering::SeqCst)
    }

    pub(crate) fn collects(&self) -> usize {
        self.0.collects.load(Ordering::SeqCst)
    }

    /// Returns the next batch of a partition, if there is one.
    fn batch(&self, partition: u32, after: u64, types: &[String]) -> Option<EventBatch> {
        let partitions = self.0.partitions.lock().unwrap();
        let events = &partitions[partition as usize];
        let left = &events[(after as usize).min(events.len())..];
        let read = &left[..left.len().min(BATCH_MAX)];
        let last_sequence = read.last()?.sequence;
        let wanted = |event: &&EventRecord| types.is_empty() || types.contains(&event.r#type);
        let mut events: Vec<_> = read.iter().filter(wanted).cloned().collect();
        if !events.is_empty() && self.0.gap.swap(false, Ordering::SeqCst) {
            events.remove(0);
        }
        let high_water = partitions[partition as usize].len() as u64;
        Some(EventBatch {
            partition,
            last_sequence,
            events,
            high_water,
        })
    }

    async fn send(
        self,
        request: TailEventsRequest,
        sender: mpsc::Sender<Result<TailEventsResponse, Status>>,
    ) {
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
                    if after < self.0.expired.load(Ordering::SeqCst) {
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
                    if generation.has_changed().unwrap() || sender.send(Ok(message)).await.is_err()
                    {
                        return;
                    }
                }
            }
            if !request.follow {
                return;
            }
            let heartbeat = TailEventsResponse {
                batch: None,
                caught_up: true,
            };
            if sender.send(Ok(heartbeat)).await.is_err() {
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
        let payload = event.payload.unwrap_or_default();
        let partition = match SubjectId::parse(&event.subject_id) {
            Ok(subject) => subject.partition(),
            Err(_) => partition_of(event.event_id.as_bytes()),
        };
        let known = self.0.seen.lock().unwrap().get(&event.event_id).copied();
        if let Some((partition, sequence)) = known {
            let outcome = EventOutcome::Duplicate.into();
            return EventResult {
                outcome,
                partition,
                sequence,
                ..EventResult::default()
            };
        }
        let sequence = self.append(EventRecord {
            partition,
            event_id: event.event_id.clone(),
            r#type: payload.type_url,
            subject_id: event.subject_id.into(),
            payload: payload.value.into(),
            ..EventRecord::default()
        });
        self.0
            .seen
            .lock()
            .unwrap()
            .insert(event.event_id, (partition, sequence));
        let outcome = EventOutcome::Accepted.into();
        EventResult {
            outcome,
            partition,
            sequence,
            ..EventResult::default()
        }
    }
}

pub(crate) fn connect(url: &str) -> Channel {
    rapport_rpc::connect(&rapport_rpc::ClientConfig::new(url)).unwrap()
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

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl EventService for Log {
    async fn collect_events(
        &self,
        request: Request<CollectEventsRequest>,
    ) -> Result<Response<CollectEventsResponse>, Status> {
        self.0.collects.fetch_add(1, Ordering::SeqCst);
        if take(&self.0.fail_before) {
            return Err(Status::unavailable("not now"));
        }
        let events = request.into_inner().events;
        let malformed = self.0.malformed.lock().unwrap().clone();
        if events
            .iter()
            .any(|event| malformed.contains(&event.event_id))
        {
            return Err(Status::invalid_argument("an event is malformed"));
        }
        let results = events
            .into_iter()
            .map(|event| self.collect(event))
            .collect();
        if take(&self.0.fail_after) {
            return Err(Status::unavailable("the answer was lost"));
        }
        Ok(Response::new(CollectEventsResponse { results }))
    }

    type StreamEventsStream = Boxed<StreamEventsResponse>;

    async fn stream_events(
        &self,
        _request: Request<Streaming<StreamEventsRequest>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        Err(Status::unimplemented("not needed here"))
    }

    type TailEventsStream = ReceiverStream<Result<TailEventsResponse, Status>>;

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
        Err(Status::unimplemented("not needed here"))
    }
}

#[tonic::async_trait]
impl ConsentService for Log {
    async fn set_consent(
        &self,
        _request: Request<SetConsentRequest>,
    ) -> Result<Response<SetConsentResponse>, Status> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn get_consent(
        &self,
        _request: Request<GetConsentRequest>,
    ) -> Result<Response<GetConsentResponse>, Status> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn import_consent(
        &self,
        _request: Request<ImportConsentRequest>,
    ) -> Result<Response<ImportConsentResponse>, Status> {
        Err(Status::unimplemented("not needed here"))
    }

    type GetControlSnapshotStream = Boxed<GetControlSnapshotResponse>;

    async fn get_control_snapshot(
        &self,
        _request: Request<GetControlSnapshotRequest>,
    ) -> Result<Response<Self::GetControlSnapshotStream>, Status> {
        self.0.snapshots.fetch_add(1, Ordering::SeqCst);
        let parts: Vec<_> = self
            .0
            .snapshot
            .lock()
            .unwrap()
            .iter()
            .cloned()
            .map(Ok)
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(parts))))
    }
}
