//! A small profile on a free port: a log in memory that takes events and is tailed.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use rapport_api::event::v1::{EventBatch, EventRecord};
use rapport_api::profile::v1::consent_service_server::{ConsentService, ConsentServiceServer};
use rapport_api::profile::v1::event_service_server::{EventService, EventServiceServer};
use rapport_api::profile::v1::*;
use rapport_types::{CONTROL_PARTITION, PARTITIONS, SubjectId, partition_of};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

const HEARTBEAT: Duration = Duration::from_millis(50);

/// The log. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    partitions: Mutex<Vec<Vec<EventRecord>>>,
    seen: Mutex<HashMap<String, NewEvent>>,
    grown: watch::Sender<u64>,
    conflicts: Mutex<Vec<String>>,
}

impl Log {
    /// Starts the server and returns the log with its URL.
    pub(crate) async fn serve() -> (Self, String) {
        let log = Self(Arc::new(Shared {
            partitions: Mutex::new(vec![Vec::new(); PARTITIONS as usize + 1]),
            seen: Mutex::default(),
            grown: watch::Sender::new(0),
            conflicts: Mutex::default(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder()
            .add_service(EventServiceServer::new(log.clone()))
            .add_service(ConsentServiceServer::new(log.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        (log, url)
    }

    fn append(&self, mut event: EventRecord) -> u64 {
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

    /// Appends an event of a subject, admitted for every purpose.
    pub(crate) fn append_of(&self, subject: SubjectId, kind: &str, payload: &impl Message) -> u64 {
        self.append(EventRecord {
            partition: subject.partition(),
            r#type: kind.to_owned(),
            subject_id: subject.to_vec().into(),
            payload: payload.encode_to_vec().into(),
            admitted: 0x7f,
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

    /// Returns the events of a type that were collected, by its message's short name.
    pub(crate) fn collected(&self, message: &str) -> Vec<EventRecord> {
        let all = self.0.partitions.lock().unwrap().concat();
        all.into_iter()
            .filter(|event| event.r#type.ends_with(message))
            .collect()
    }

    /// Returns the ids of events that came again with another content.
    pub(crate) fn conflicts(&self) -> Vec<String> {
        self.0.conflicts.lock().unwrap().clone()
    }

    fn batch(&self, partition: u32, after: u64, types: &[String]) -> Option<EventBatch> {
        let partitions = self.0.partitions.lock().unwrap();
        let events = &partitions[partition as usize];
        let left = &events[(after as usize).min(events.len())..];
        let last_sequence = left.last()?.sequence;
        let wanted = |event: &&EventRecord| types.is_empty() || types.contains(&event.r#type);
        let (events, high_water) = (left.iter().filter(wanted).cloned().collect(), last_sequence);
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
        let mut cursors = request.cursors;
        loop {
            grown.mark_unchanged();
            for cursor in &mut cursors {
                let (partition, after) = (cursor.partition, cursor.after_sequence);
                let Some(batch) = self.batch(partition, after, &request.types) else {
                    continue;
                };
                cursor.after_sequence = batch.last_sequence;
                let message = TailEventsResponse {
                    batch: Some(batch),
                    caught_up: false,
                };
                if sender.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            let heartbeat = TailEventsResponse {
                batch: None,
                caught_up: true,
            };
            if !request.follow || sender.send(Ok(heartbeat)).await.is_err() {
                return;
            }
            let _ = tokio::time::timeout(HEARTBEAT, grown.changed()).await;
        }
    }

    fn collect(&self, event: NewEvent) -> EventResult {
        let known = self
            .0
            .seen
            .lock()
            .unwrap()
            .insert(event.event_id.clone(), event.clone());
        if let Some(known) = known {
            if known != event {
                self.0.conflicts.lock().unwrap().push(event.event_id);
            }
            let outcome = EventOutcome::Duplicate.into();
            return EventResult {
                outcome,
                ..EventResult::default()
            };
        }
        let payload = event.payload.unwrap_or_default();
        let partition = match SubjectId::parse(&event.subject_id) {
            Ok(subject) => subject.partition(),
            Err(_) => partition_of(event.event_id.as_bytes()),
        };
        let sequence = self.append(EventRecord {
            partition,
            event_id: event.event_id,
            r#type: payload.type_url,
            subject_id: event.subject_id.into(),
            payload: payload.value.into(),
            ..EventRecord::default()
        });
        let outcome = EventOutcome::Accepted.into();
        EventResult {
            outcome,
            partition,
            sequence,
            ..EventResult::default()
        }
    }
}

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn not_needed<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not needed here"))
}

#[tonic::async_trait]
impl EventService for Log {
    async fn collect_events(
        &self,
        request: Request<CollectEventsRequest>,
    ) -> Result<Response<CollectEventsResponse>, Status> {
        let events = request.into_inner().events.into_iter();
        let results = events.map(|event| self.collect(event)).collect();
        Ok(Response::new(CollectEventsResponse { results }))
    }

    type StreamEventsStream = Boxed<StreamEventsResponse>;

    async fn stream_events(
        &self,
        _request: Request<Streaming<StreamEventsRequest>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        not_needed()
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
        not_needed()
    }
}

#[tonic::async_trait]
impl ConsentService for Log {
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

    type GetControlSnapshotStream = Boxed<GetControlSnapshotResponse>;

    async fn get_control_snapshot(
        &self,
        _request: Request<GetControlSnapshotRequest>,
    ) -> Result<Response<Self::GetControlSnapshotStream>, Status> {
        // Empty: everything is in the control partition from its first record on.
        let last = GetControlSnapshotResponse {
            last: true,
            ..Default::default()
        };
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(last)]))))
    }
}
