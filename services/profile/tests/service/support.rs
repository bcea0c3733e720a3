//! A server on a free port, clients of it, and events to send.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use clap::Parser as _;
use prost::Message;
use prost::bytes::Bytes;
use rapport_api::event::v1::{self as events, ConsentRegister, EventRecord};
use rapport_api::profile::v1 as pb;
use rapport_api::profile::v1::consent_service_client::ConsentServiceClient;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_api::profile::v1::key_service_client::KeyServiceClient;
use rapport_api::profile::v1::model_service_client::ModelServiceClient;
use rapport_api::profile::v1::profile_service_client::ProfileServiceClient;
use rapport_api::profile::v1::subject_service_client::SubjectServiceClient;
use rapport_profile::Profile;
use rapport_profile::config::Config;
use rapport_profile::keyring::Keyring;
use rapport_rpc::{
    Channel, ClientConfig, ServeConfig, Server, connect, connect_in_process, in_process,
};
use rapport_store::testing::{Engine, TestDb};
use rapport_types::{CONTROL_PARTITION, ConsentState, ManualClock, Purpose, SubjectId, UnixMillis};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::service::Routes;
use tonic_types::StatusExt as _;

/// When the tests' world begins.
pub(crate) const START: UnixMillis = UnixMillis(1_760_000_000_000);
pub(crate) const DAY_MS: i64 = 86_400_000;

/// What outlives a server: database, keyring, directory.
pub(crate) struct Home {
    pub(crate) db: TestDb,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
}

impl Home {
    pub(crate) async fn new(engine: Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Keyring::create(&folder.path().join("keyring")).unwrap();
        Self {
            db: TestDb::create(engine).await,
            folder,
            clock: Arc::new(ManualClock::at(START)),
        }
    }

    pub(crate) fn config(&self, more: &[&str]) -> Config {
        config(self.db.url(), self.folder.path(), more)
    }

    pub(crate) async fn serve(self, more: &[&str]) -> Service {
        let (connector, incoming) = in_process();
        let own = connect_in_process(&connector, &ClientConfig::new("http://in-process"));
        let clock = Arc::clone(&self.clock);
        let profile = Profile::start(&self.config(more), clock, own).await;
        let profile = Arc::new(profile.unwrap());
        let mut routes = Routes::builder();
        profile.mount(&mut routes);
        let mut server = Server::new(
            ServeConfig::local_test(),
            routes.routes(),
            &Profile::SERVICES,
        );
        for (path, bytes) in Profile::request_limits() {
            server = server.request_bytes_max(path, bytes);
        }
        let draining = Arc::clone(&profile);
        let bound = server
            .in_process(incoming)
            .before_exit("close", async move { draining.drain().await })
            .bind()
            .unwrap();
        let address = bound.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(bound.run(async {
            let _ = stopped.await;
        }));
        let channel = connect(&ClientConfig::new(format!("http://{address}"))).unwrap();
        Service {
            home: self,
            profile,
            channel,
            address,
            stop,
            task,
        }
    }
}

pub(crate) fn config(url: &str, folder: &Path, more: &[&str]) -> Config {
    let (keyring, data) = (folder.join("keyring"), folder.join("data"));
    let own = [
        "rapport-profile",
        "--database-url",
        url,
        "--keyring",
        keyring.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
    ];
    Config::parse_from(own.iter().chain(more))
}

/// A running server.
pub(crate) struct Service {
    pub(crate) home: Home,
    pub(crate) profile: Arc<Profile>,
    pub(crate) channel: Channel,
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

pub(crate) async fn spawn(engine: Engine) -> Service {
    Home::new(engine).await.serve(&[]).await
}

impl Service {
    /// Drains the server and returns what is left of it.
    pub(crate) async fn stop(self) -> Home {
        let _ = self.stop.send(());
        self.task.await.unwrap();
        self.home
    }

    pub(crate) fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel.clone())
    }

    pub(crate) fn subjects(&self) -> SubjectServiceClient<Channel> {
        SubjectServiceClient::new(self.channel.clone())
    }

    pub(crate) fn consents(&self) -> ConsentServiceClient<Channel> {
        ConsentServiceClient::new(self.channel.clone())
    }

    pub(crate) fn keys(&self) -> KeyServiceClient<Channel> {
        KeyServiceClient::new(self.channel.clone())
    }

    pub(crate) fn profiles(&self) -> ProfileServiceClient<Channel> {
        ProfileServiceClient::new(self.channel.clone())
    }

    pub(crate) fn models(&self) -> ModelServiceClient<Channel> {
        ModelServiceClient::new(self.channel.clone())
    }

    pub(crate) async fn try_collect(
        &self,
        events: Vec<pb::NewEvent>,
    ) -> Result<Vec<pb::EventResult>, Status> {
        let request = pb::CollectEventsRequest {
            events,
            ..Default::default()
        };
        let response = self.events().collect_events(request).await?;
        Ok(response.into_inner().results)
    }

    pub(crate) async fn collect(&self, events: Vec<pb::NewEvent>) -> Vec<pb::EventResult> {
        self.try_collect(events).await.unwrap()
    }

    /// Collects events that must all be accepted, and waits until profiles show them.
    pub(crate) async fn live(&self, events: Vec<pb::NewEvent>) -> Vec<pb::EventResult> {
        let results = self.collect(events).await;
        for result in &results {
            assert_eq!(result.outcome(), pb::EventOutcome::Accepted, "{result:?}");
            let progress = &self.profile.reader().progress;
            progress.wait_for(result.partition, result.sequence).await;
        }
        results
    }

    pub(crate) async fn subject(&self, login: &str) -> SubjectId {
        let request = pb::ResolveSubjectRequest {
            identifier: Some(login_of(login)),
        };
        let resolved = self.subjects().resolve_subject(request).await.unwrap();
        SubjectId::parse(&resolved.into_inner().subject_id).unwrap()
    }

    pub(crate) async fn set_consent(
        &self,
        subject: SubjectId,
        purpose: Purpose,
        state: ConsentState,
        imported: bool,
    ) -> pb::SetConsentResponse {
        let request = pb::SetConsentRequest {
            request_id: uuid::Uuid::now_v7().to_string(),
            subject_id: subject.to_vec(),
            registers: vec![register(purpose, state)],
            evidence: "form-1".to_owned(),
            imported,
        };
        let response = self.consents().set_consent(request).await.unwrap();
        response.into_inner()
    }

    pub(crate) async fn grant(&self, subject: SubjectId, purpose: Purpose) {
        self.set_consent(subject, purpose, ConsentState::Granted, false)
            .await;
    }

    pub(crate) async fn link(
        &self,
        left: SubjectId,
        right: SubjectId,
    ) -> Result<pb::LinkSubjectsResponse, Status> {
        let request = link_request(&uuid::Uuid::now_v7().to_string(), left, right);
        let response = self.subjects().link_subjects(request).await?;
        Ok(response.into_inner())
    }

    pub(crate) async fn profile_of(&self, subject: SubjectId) -> Result<pb::Profile, Status> {
        let request = pb::GetProfileRequest {
            subject_id: subject.to_vec(),
            as_of_ms: 0,
        };
        let response = self.profiles().get_profile(request).await?;
        Ok(response.into_inner().profile.unwrap())
    }

    /// Reads partitions from sequences on to the present end.
    pub(crate) async fn read(
        &self,
        cursors: &[(u32, u64)],
        types: &[&str],
    ) -> Vec<events::EventBatch> {
        let cursor = |(partition, after_sequence): &(u32, u64)| pb::PartitionCursor {
            partition: *partition,
            after_sequence: *after_sequence,
        };
        let request = pb::TailEventsRequest {
            cursors: cursors.iter().map(cursor).collect(),
            types: types.iter().map(|name| (*name).to_owned()).collect(),
            follow: false,
        };
        let tail = self.events().tail_events(request).await.unwrap();
        let mut tail = tail.into_inner();
        let mut batches = Vec::new();
        while let Some(frame) = tail.message().await.unwrap() {
            batches.extend(frame.batch);
        }
        batches
    }

    /// Reads every event of every data partition.
    pub(crate) async fn all(&self) -> Vec<EventRecord> {
        let batches = self.read(&[], &[]).await;
        batches.into_iter().flat_map(|batch| batch.events).collect()
    }

    /// Reads the control partition.
    pub(crate) async fn control(&self) -> Vec<EventRecord> {
        let batches = self.read(&[(CONTROL_PARTITION, 0)], &[]).await;
        batches.into_iter().flat_map(|batch| batch.events).collect()
    }
}

pub(crate) fn register(purpose: Purpose, state: ConsentState) -> ConsentRegister {
    ConsentRegister {
        purpose: i32::from(purpose as u8),
        state: i32::from(state as u8),
    }
}

pub(crate) fn link_request(
    request_id: &str,
    left: SubjectId,
    right: SubjectId,
) -> pb::LinkSubjectsRequest {
    pb::LinkSubjectsRequest {
        request_id: request_id.to_owned(),
        left: left.to_vec(),
        right: right.to_vec(),
        evidence: "sign_in".to_owned(),
        validate_only: false,
    }
}

pub(crate) fn login_of(value: &str) -> pb::Identifier {
    identifier(pb::IdentifierKind::Login, value)
}

pub(crate) fn identifier(kind: pb::IdentifierKind, value: &str) -> pb::Identifier {
    pb::Identifier {
        kind: kind as i32,
        value: value.to_owned(),
    }
}

pub(crate) fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any {
        type_url: format!("type.googleapis.com/rapport.event.v1.{name}"),
        value: message.encode_to_vec(),
    }
}

/// An event of nobody: add a subject or an identifier.
pub(crate) fn event(id: &str, name: &str, message: &impl Message) -> pb::NewEvent {
    pb::NewEvent {
        event_id: id.to_owned(),
        occurred_at_ms: START.0,
        payload: Some(any(name, message)),
        ..Default::default()
    }
}

pub(crate) fn view(id: &str, subject: SubjectId, category: &str) -> pb::NewEvent {
    let message = events::ViewItem {
        item_id: "i-1".to_owned(),
        category: category.to_owned(),
        ..Default::default()
    };
    of(subject, event(id, "ViewItem", &message))
}

/// A purchase of two things for `units` pounds together, some days before the tests' world began.
pub(crate) fn purchase(id: &str, subject: SubjectId, days_ago: i64, units: i64) -> pb::NewEvent {
    let message = events::Purchase {
        order_id: format!("o-{id}"),
        lines: vec![events::OrderLine {
            item_id: "i-1".to_owned(),
            quantity: 2,
            unit_price_micros: units * 500_000,
            category: "tea".to_owned(),
        }],
        currency: "GBP".to_owned(),
        ..Default::default()
    };
    pb::NewEvent {
        occurred_at_ms: START.0 - days_ago * DAY_MS,
        ..of(subject, event(id, "Purchase", &message))
    }
}

pub(crate) fn search(id: &str, subject: SubjectId, query: &str) -> pb::NewEvent {
    let personal = events::SearchPersonal {
        query: query.to_owned(),
    };
    pb::NewEvent {
        personal: Some(any("SearchPersonal", &personal)),
        ..of(subject, event(id, "Search", &events::Search { results: 3 }))
    }
}

pub(crate) fn emotion(id: &str, subject: SubjectId, label: &str) -> pb::NewEvent {
    let personal = events::EmotionObservedPersonal {
        label: label.to_owned(),
        valence: -0.8,
        arousal: 0.6,
    };
    let message = events::EmotionObserved {
        reference: "m-1".to_owned(),
    };
    pb::NewEvent {
        personal: Some(any("EmotionObservedPersonal", &personal)),
        ..of(subject, event(id, "EmotionObserved", &message))
    }
}

pub(crate) fn of(subject: SubjectId, event: pb::NewEvent) -> pb::NewEvent {
    pb::NewEvent {
        subject_id: subject.to_vec(),
        ..event
    }
}

/// The reason of a status, and its bad fields.
pub(crate) fn refusal(status: &Status) -> (String, Vec<String>) {
    let reason = status.get_details_error_info().unwrap().reason;
    let bad = status.get_details_bad_request();
    let bad = bad.map_or_else(Vec::new, |bad| bad.field_violations);
    (reason, bad.into_iter().map(|bad| bad.field).collect())
}

/// Asserts that each partition's sequences are 1, 2, 3 … and that receipt times never fall.
pub(crate) fn assert_gapless(events: &[EventRecord]) {
    let mut ends: std::collections::HashMap<u32, (u64, i64)> = Default::default();
    for event in events {
        let (last, received) = ends.entry(event.partition).or_default();
        assert_eq!(event.sequence, *last + 1, "partition {}", event.partition);
        assert!(event.received_at_ms >= *received);
        (*last, *received) = (event.sequence, event.received_at_ms);
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
