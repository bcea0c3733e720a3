//! A small profile and evaluate: a log in memory, control records, and the experiments it is given.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use rapport_api::evaluate::v1::experiment_service_server::ExperimentService;
use rapport_api::evaluate::v1::{self as evaluate, Experiment};
use rapport_api::event::v1::{
    ConsentChanged, ConsentRegister, EventBatch, EventRecord, Person, RecommendationDecided,
    SubjectsErased, SubjectsLinked,
};
use rapport_api::profile::v1::consent_service_server::ConsentService;
use rapport_api::profile::v1::event_service_server::EventService;
use rapport_api::profile::v1::*;
use rapport_api::r#type::v1::ConsentState;
use rapport_types::{CONTROL_PARTITION, PARTITIONS, Purpose, SubjectId, partition_of};
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

const HEARTBEAT: Duration = Duration::from_millis(100);

/// The log. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    partitions: Mutex<Vec<Vec<EventRecord>>>,
    experiments: Mutex<Vec<Experiment>>,
    grown: watch::Sender<u64>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            partitions: Mutex::new(vec![Vec::new(); PARTITIONS as usize + 1]),
            experiments: Mutex::default(),
            grown: watch::Sender::new(0),
        }))
    }

    pub(crate) fn set_experiments(&self, experiments: Vec<Experiment>) {
        *self.0.experiments.lock().unwrap() = experiments;
    }

    fn append(&self, mut event: EventRecord) -> (u32, u64) {
        let (partition, sequence) = {
            let mut partitions = self.0.partitions.lock().unwrap();
            let events = &mut partitions[event.partition as usize];
            event.sequence = events.len() as u64 + 1;
            let place = (event.partition, event.sequence);
            events.push(event);
            place
        };
        self.0.grown.send_modify(|grown| *grown += 1);
        (partition, sequence)
    }

    /// Appends what a subject did and returns its place, as an acknowledgement does.
    pub(crate) fn did(
        &self,
        subject: SubjectId,
        kind: &str,
        occurred_at_ms: i64,
        payload: &impl Message,
    ) -> (u32, u64) {
        self.append(EventRecord {
            partition: subject.partition(),
            r#type: kind.to_owned(),
            subject_id: subject.to_vec().into(),
            occurred_at_ms,
            payload: payload.encode_to_vec().into(),
            ..EventRecord::default()
        })
    }

    fn control(&self, kind: &str, message: &impl Message) -> u64 {
        let event = EventRecord {
            partition: CONTROL_PARTITION,
            r#type: kind.to_owned(),
            payload: message.encode_to_vec().into(),
            ..EventRecord::default()
        };
        self.append(event).1
    }

    /// Grants purposes and returns the control sequence.
    pub(crate) fn grant(&self, subjects: &[SubjectId], purposes: &[Purpose]) -> u64 {
        let register = |purpose: &Purpose| ConsentRegister {
            purpose: *purpose as i32,
            state: ConsentState::Granted.into(),
        };
        let changed = ConsentChanged {
            subject_ids: subjects.iter().map(|subject| subject.to_vec()).collect(),
            registers: purposes.iter().map(register).collect(),
            ..ConsentChanged::default()
        };
        self.control("consent_changed", &changed)
    }

    pub(crate) fn link(&self, members: &[SubjectId]) -> u64 {
        let person = Person {
            anchor: members[0].to_vec(),
            members: members.iter().map(|member| member.to_vec()).collect(),
        };
        let linked = SubjectsLinked {
            person: Some(person),
            graph_version: 1,
            ..SubjectsLinked::default()
        };
        self.control("subjects_linked", &linked)
    }

    pub(crate) fn erase(&self, subject: SubjectId) -> u64 {
        let erased = SubjectsErased {
            subject_ids: vec![subject.to_vec()],
            ..SubjectsErased::default()
        };
        self.control("subjects_erased", &erased)
    }

    /// Returns every decision with the subject that the log has for it.
    pub(crate) fn decisions(&self) -> Vec<(Vec<u8>, RecommendationDecided)> {
        let partitions = self.0.partitions.lock().unwrap();
        let events = partitions.iter().flatten();
        let decided = |event: &&EventRecord| event.r#type.ends_with("RecommendationDecided");
        events
            .filter(decided)
            .map(|event| {
                let payload = RecommendationDecided::decode(event.payload.clone()).unwrap();
                (event.subject_id.to_vec(), payload)
            })
            .collect()
    }

    fn batch(&self, partition: u32, after: u64, types: &[String]) -> Option<EventBatch> {
        let partitions = self.0.partitions.lock().unwrap();
        let events = &partitions[partition as usize];
        let read = &events[(after as usize).min(events.len())..];
        let last_sequence = read.last()?.sequence;
        let wanted = |event: &&EventRecord| types.is_empty() || types.contains(&event.r#type);
        Some(EventBatch {
            partition,
            last_sequence,
            events: read.iter().filter(wanted).cloned().collect(),
            high_water: events.len() as u64,
        })
    }

    async fn send(self, request: TailEventsRequest, sender: mpsc::Sender<Tail>) {
        let mut grown = self.0.grown.subscribe();
        let mut cursors = request.cursors;
        loop {
            grown.mark_unchanged();
            for cursor in &mut cursors {
                let (partition, after) = (cursor.partition, cursor.after_sequence);
                if let Some(batch) = self.batch(partition, after, &request.types) {
                    cursor.after_sequence = batch.last_sequence;
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
            if !request.follow || sender.send(Ok(heartbeat)).await.is_err() {
                return;
            }
            // A heartbeat, or news: whichever comes first.
            let _ = tokio::time::timeout(HEARTBEAT, grown.changed()).await;
        }
    }

    fn collect(&self, event: NewEvent) -> EventResult {
        let payload = event.payload.unwrap_or_default();
        let subject = SubjectId::parse(&event.subject_id).ok();
        let partition = subject.map_or_else(
            || partition_of(event.event_id.as_bytes()),
            |subject| subject.partition(),
        );
        let (partition, sequence) = self.append(EventRecord {
            partition,
            event_id: event.event_id,
            r#type: payload.type_url,
            subject_id: event.subject_id.into(),
            occurred_at_ms: event.occurred_at_ms,
            payload: payload.value.into(),
            ..EventRecord::default()
        });
        EventResult {
            outcome: EventOutcome::Accepted.into(),
            partition,
            sequence,
            ..EventResult::default()
        }
    }
}

type Tail = Result<TailEventsResponse, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::internal("recommend does not call this"))
}

#[tonic::async_trait]
impl EventService for Log {
    type StreamEventsStream = Answers<StreamEventsResponse>;
    type TailEventsStream = ReceiverStream<Tail>;

    async fn collect_events(
        &self,
        request: Request<CollectEventsRequest>,
    ) -> Result<Response<CollectEventsResponse>, Status> {
        let events = request.into_inner().events.into_iter();
        let results = events.map(|event| self.collect(event)).collect();
        Ok(Response::new(CollectEventsResponse { results }))
    }

    async fn stream_events(
        &self,
        _request: Request<Streaming<StreamEventsRequest>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        unused()
    }

    async fn tail_events(
        &self,
        request: Request<TailEventsRequest>,
    ) -> Result<Response<Self::TailEventsStream>, Status> {
        let (sender, receiver) = mpsc::channel(16);
        tokio::spawn(self.clone().send(request.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get_log_positions(
        &self,
        _request: Request<GetLogPositionsRequest>,
    ) -> Result<Response<GetLogPositionsResponse>, Status> {
        unused()
    }
}

#[tonic::async_trait]
impl ConsentService for Log {
    type GetControlSnapshotStream = Answers<GetControlSnapshotResponse>;

    async fn set_consent(
        &self,
        _request: Request<SetConsentRequest>,
    ) -> Result<Response<SetConsentResponse>, Status> {
        unused()
    }

    async fn import_consent(
        &self,
        _request: Request<ImportConsentRequest>,
    ) -> Result<Response<ImportConsentResponse>, Status> {
        unused()
    }

    async fn get_consent(
        &self,
        _request: Request<GetConsentRequest>,
    ) -> Result<Response<GetConsentResponse>, Status> {
        unused()
    }

    async fn get_control_snapshot(
        &self,
        _request: Request<GetControlSnapshotRequest>,
    ) -> Result<Response<Self::GetControlSnapshotStream>, Status> {
        let part = GetControlSnapshotResponse {
            last: true,
            ..GetControlSnapshotResponse::default()
        };
        let parts: Self::GetControlSnapshotStream = Box::pin(tokio_stream::iter([Ok(part)]));
        Ok(Response::new(parts))
    }
}

#[tonic::async_trait]
impl ExperimentService for Log {
    async fn upsert_experiment(
        &self,
        _request: Request<evaluate::UpsertExperimentRequest>,
    ) -> Result<Response<evaluate::UpsertExperimentResponse>, Status> {
        unused()
    }

    async fn set_experiment_state(
        &self,
        _request: Request<evaluate::SetExperimentStateRequest>,
    ) -> Result<Response<evaluate::SetExperimentStateResponse>, Status> {
        unused()
    }

    async fn list_experiments(
        &self,
        _request: Request<evaluate::ListExperimentsRequest>,
    ) -> Result<Response<evaluate::ListExperimentsResponse>, Status> {
        let experiments = self.0.experiments.lock().unwrap().clone();
        Ok(Response::new(evaluate::ListExperimentsResponse {
            experiments,
            next_page_token: String::new(),
        }))
    }

    async fn get_assignments(
        &self,
        _request: Request<evaluate::GetAssignmentsRequest>,
    ) -> Result<Response<evaluate::GetAssignmentsResponse>, Status> {
        unused()
    }

    async fn analyze_experiment(
        &self,
        _request: Request<evaluate::AnalyzeExperimentRequest>,
    ) -> Result<Response<evaluate::AnalyzeExperimentResponse>, Status> {
        unused()
    }
}
