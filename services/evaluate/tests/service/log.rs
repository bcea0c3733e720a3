//! A small profile on a free port: a log in memory, tailed, with its control partition.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
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

const HEARTBEAT: Duration = Duration::from_millis(20);
const BATCH_MAX: usize = 50;

/// The log. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    partitions: Mutex<Vec<Vec<EventRecord>>>,
    grown: watch::Sender<u64>,
    /// Whether the control snapshot is given out.
    snapshot: AtomicBool,
}

impl Log {
    /// Starts the server and returns the log with a channel to it.
    pub(crate) async fn serve() -> (Self, Channel) {
        let log = Self(Arc::new(Shared {
            partitions: Mutex::new(vec![Vec::new(); PARTITIONS as usize + 1]),
            grown: watch::Sender::new(0),
            snapshot: AtomicBool::new(true),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder()
            .add_service(EventServiceServer::new(log.clone()))
            .add_service(ConsentServiceServer::new(log.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        let config = rapport_rpc::ClientConfig::new(format!("http://{address}"));
        (log, rapport_rpc::connect(&config).unwrap())
    }

    /// Refuses the control snapshot from now on: nobody knows who permits what.
    pub(crate) fn hold_snapshot(&self) {
        self.0.snapshot.store(false, Ordering::SeqCst);
    }

    /// Appends an event of a subject, or of nobody, and returns where it went.
    pub(crate) fn append(&self, subject: Option<SubjectId>, mut event: EventRecord) -> (u32, u64) {
        event.partition = match subject {
            Some(subject) => subject.partition(),
            None => partition_of(event.event_id.as_bytes()),
        };
        event.subject_id = subject.map(SubjectId::to_vec).unwrap_or_default().into();
        self.put(event)
    }

    /// Appends a control record and, as the relay would, its copies in its subjects' partitions.
    pub(crate) fn control(
        &self,
        kind: &str,
        message: &impl Message,
        subjects: &[SubjectId],
    ) -> u64 {
        let record = EventRecord {
            partition: CONTROL_PARTITION,
            r#type: kind.to_owned(),
            payload: message.encode_to_vec().into(),
            ..EventRecord::default()
        };
        for subject in subjects {
            self.append(Some(*subject), record.clone());
        }
        self.put(record).1
    }

    /// Returns the last sequence of every data partition.
    pub(crate) fn ends(&self) -> Vec<u64> {
        let partitions = self.0.partitions.lock().unwrap();
        let data = &partitions[..PARTITIONS as usize];
        data.iter().map(|events| events.len() as u64).collect()
    }

    /// Returns the last control sequence.
    pub(crate) fn control_end(&self) -> u64 {
        self.0.partitions.lock().unwrap()[CONTROL_PARTITION as usize].len() as u64
    }

    fn put(&self, mut event: EventRecord) -> (u32, u64) {
        let place = {
            let mut partitions = self.0.partitions.lock().unwrap();
            let partition = &mut partitions[event.partition as usize];
            event.sequence = partition.len() as u64 + 1;
            let place = (event.partition, event.sequence);
            partition.push(event);
            place
        };
        self.0.grown.send_modify(|grown| *grown += 1);
        place
    }

    fn batch(&self, partition: u32, after: u64, types: &[String]) -> Option<EventBatch> {
        let partitions = self.0.partitions.lock().unwrap();
        let events = &partitions[partition as usize];
        let left = &events[(after as usize).min(events.len())..];
        let read = &left[..left.len().min(BATCH_MAX)];
        let last_sequence = read.last()?.sequence;
        let wanted = |event: &&EventRecord| types.is_empty() || types.contains(&event.r#type);
        Some(EventBatch {
            partition,
            last_sequence,
            events: read.iter().filter(wanted).cloned().collect(),
            high_water: events.len() as u64,
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
            let mut sent = true;
            while sent {
                sent = false;
                for cursor in &mut cursors {
                    let found = self.batch(cursor.partition, cursor.after_sequence, &request.types);
                    let Some(batch) = found else { continue };
                    cursor.after_sequence = batch.last_sequence;
                    sent = true;
                    let message = TailEventsResponse {
                        batch: Some(batch),
                        caught_up: false,
                    };
                    if sender.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
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
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
        }
    }
}

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn unused() -> Status {
    Status::internal("not needed here")
}

#[tonic::async_trait]
impl EventService for Log {
    async fn collect_events(
        &self,
        _request: Request<CollectEventsRequest>,
    ) -> Result<Response<CollectEventsResponse>, Status> {
        Err(unused())
    }

    type StreamEventsStream = Boxed<StreamEventsResponse>;

    async fn stream_events(
        &self,
        _request: Request<Streaming<StreamEventsRequest>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        Err(unused())
    }

    type TailEventsStream = ReceiverStream<Result<TailEventsResponse, Status>>;

    async fn tail_events(
        &self,
        request: Request<TailEventsRequest>,
    ) -> Result<Response<Self::TailEventsStream>, Status> {
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(self.clone().send(request.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get_log_positions(
        &self,
        _request: Request<GetLogPositionsRequest>,
    ) -> Result<Response<GetLogPositionsResponse>, Status> {
        Err(unused())
    }
}

#[tonic::async_trait]
impl ConsentService for Log {
    async fn set_consent(
        &self,
        _request: Request<SetConsentRequest>,
    ) -> Result<Response<SetConsentResponse>, Status> {
        Err(unused())
    }

    async fn get_consent(
        &self,
        _request: Request<GetConsentRequest>,
    ) -> Result<Response<GetConsentResponse>, Status> {
        Err(unused())
    }

    async fn import_consent(
        &self,
        _request: Request<ImportConsentRequest>,
    ) -> Result<Response<ImportConsentResponse>, Status> {
        Err(unused())
    }

    type GetControlSnapshotStream = Boxed<GetControlSnapshotResponse>;

    async fn get_control_snapshot(
        &self,
        _request: Request<GetControlSnapshotRequest>,
    ) -> Result<Response<Self::GetControlSnapshotStream>, Status> {
        if !self.0.snapshot.load(Ordering::SeqCst) {
            return Err(Status::unavailable("held back"));
        }
        // Empty, before every record: the view then reads the whole control partition.
        let snapshot = GetControlSnapshotResponse {
            last: true,
            ..Default::default()
        };
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(snapshot)]))))
    }
}
