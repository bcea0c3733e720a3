//! Profile, as far as care needs it: control records, keys, and a log that remembers what it was sent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use rapport_api::event::v1::{
    ConsentChanged, ConsentRegister, EventBatch, EventRecord, SubjectsErased,
};
use rapport_api::profile::v1::consent_service_server::{ConsentService, ConsentServiceServer};
use rapport_api::profile::v1::event_service_server::{EventService, EventServiceServer};
use rapport_api::profile::v1::key_service_server::{KeyService, KeyServiceServer};
use rapport_api::profile::v1::*;
use rapport_types::{CONTROL_PARTITION, ConsentState, Purpose, SubjectId};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

const HEARTBEAT: Duration = Duration::from_millis(50);

/// The server. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeProfile(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    control: watch::Sender<Vec<EventRecord>>,
    collected: Mutex<HashMap<String, NewEvent>>,
    /// Subjects without a key: erased or never seen.
    gone: Mutex<Vec<SubjectId>>,
    keys_away: Mutex<bool>,
}

impl FakeProfile {
    /// Starts the server.
    pub(crate) async fn serve() -> (Self, SocketAddr) {
        let profile = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder()
            .add_service(EventServiceServer::new(profile.clone()))
            .add_service(ConsentServiceServer::new(profile.clone()))
            .add_service(KeyServiceServer::new(profile.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        (profile, address)
    }

    pub(crate) fn set_consent(&self, subject: SubjectId, purpose: Purpose, state: ConsentState) {
        let register = ConsentRegister {
            purpose: i32::from(purpose as u8),
            state: i32::from(state as u8),
        };
        let record = ConsentChanged {
            subject_ids: vec![subject.to_vec()],
            registers: vec![register],
            ..ConsentChanged::default()
        };
        self.append_control("consent_changed", &record);
    }

    pub(crate) fn erase(&self, subject: SubjectId) {
        self.forget_key(subject);
        let record = SubjectsErased {
            subject_ids: vec![subject.to_vec()],
            ..SubjectsErased::default()
        };
        self.append_control("subjects_erased", &record);
    }

    /// Answers from now on that the subject does not exist.
    pub(crate) fn forget_key(&self, subject: SubjectId) {
        self.0.gone.lock().unwrap().push(subject);
    }

    pub(crate) fn hold_keys_back(&self, away: bool) {
        *self.0.keys_away.lock().unwrap() = away;
    }

    /// Returns what the log was sent of one type, by event id.
    pub(crate) fn collected(&self, name: &str) -> Vec<NewEvent> {
        let url = format!("type.googleapis.com/rapport.event.v1.{name}");
        let collected = self.0.collected.lock().unwrap();
        let mut events: Vec<NewEvent> = collected
            .values()
            .filter(|event| event.payload.as_ref().unwrap().type_url == url)
            .cloned()
            .collect();
        events.sort_by(|a, b| a.event_id.cmp(&b.event_id));
        events
    }

    fn append_control(&self, kind: &str, message: &impl Message) {
        self.0.control.send_modify(|records| {
            records.push(EventRecord {
                partition: CONTROL_PARTITION,
                sequence: records.len() as u64 + 1,
                r#type: kind.to_owned(),
                payload: message.encode_to_vec().into(),
                ..EventRecord::default()
            });
        });
    }

    async fn send_control(
        self,
        mut after: u64,
        sender: mpsc::Sender<Result<TailEventsResponse, Status>>,
    ) {
        let mut grown = self.0.control.subscribe();
        loop {
            let events = grown.borrow_and_update()[after as usize..].to_vec();
            let batch = events
                .last()
                .map(|last| last.sequence)
                .map(|last_sequence| EventBatch {
                    partition: CONTROL_PARTITION,
                    last_sequence,
                    events,
                    high_water: last_sequence,
                });
            after = batch.as_ref().map_or(after, |batch| batch.last_sequence);
            let response = TailEventsResponse {
                batch,
                caught_up: true,
            };
            if sender.send(Ok(response)).await.is_err() {
                return;
            }
            let _ = tokio::time::timeout(HEARTBEAT, grown.changed()).await;
        }
    }
}

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn not_needed<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not needed here"))
}

#[tonic::async_trait]
impl EventService for FakeProfile {
    async fn collect_events(
        &self,
        request: Request<CollectEventsRequest>,
    ) -> Result<Response<CollectEventsResponse>, Status> {
        let mut collected = self.0.collected.lock().unwrap();
        let accept = |event: NewEvent| {
            collected.insert(event.event_id.clone(), event);
            EventResult {
                outcome: EventOutcome::Accepted.into(),
                ..EventResult::default()
            }
        };
        let results = request
            .into_inner()
            .events
            .into_iter()
            .map(accept)
            .collect();
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
        let after = request.into_inner().cursors[0].after_sequence;
        tokio::spawn(self.clone().send_control(after, sender));
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
impl ConsentService for FakeProfile {
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

    /// Empty: everything comes by the tail.
    async fn get_control_snapshot(
        &self,
        _request: Request<GetControlSnapshotRequest>,
    ) -> Result<Response<Self::GetControlSnapshotStream>, Status> {
        let last = GetControlSnapshotResponse {
            last: true,
            ..Default::default()
        };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(last)))))
    }
}

#[tonic::async_trait]
impl KeyService for FakeProfile {
    async fn get_data_keys(
        &self,
        request: Request<GetDataKeysRequest>,
    ) -> Result<Response<GetDataKeysResponse>, Status> {
        let request = request.into_inner();
        assert_eq!(request.purpose, i32::from(Purpose::Service as u8));
        if *self.0.keys_away.lock().unwrap() {
            return Err(Status::internal("the keyring is locked"));
        }
        let gone = self.0.gone.lock().unwrap();
        let there = |id: &Vec<u8>| !gone.contains(&SubjectId::parse(id).unwrap());
        let keys = request
            .subject_ids
            .into_iter()
            .filter(there)
            .map(|subject_id| {
                let key = [subject_id.as_slice(), b"0123456789abcdef"].concat();
                DataKey { subject_id, key }
            });
        Ok(Response::new(GetDataKeysResponse {
            keys: keys.collect(),
        }))
    }
}
