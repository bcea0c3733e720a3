//! A shop that calls all five services: with a token or without, in a trace of its own or in none.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use rapport_api::ads::v1 as ads;
use rapport_api::ads::v1::decision_service_client::DecisionServiceClient;
use rapport_api::care::v1 as care;
use rapport_api::care::v1::case_service_client::CaseServiceClient;
use rapport_api::evaluate::v1 as evaluate;
use rapport_api::evaluate::v1::experiment_service_client::ExperimentServiceClient;
use rapport_api::event::v1::ConsentRegister;
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::consent_service_client::ConsentServiceClient;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_api::profile::v1::subject_service_client::SubjectServiceClient;
use rapport_api::recommend::v1 as recommend;
use rapport_api::recommend::v1::recommend_service_client::RecommendServiceClient;
use rapport_api::r#type::v1::{ConsentState, Degraded, Purpose};
use rapport_rpc::{Channel, ClientConfig, TokenFile, TokenSource, connect};
use rapport_stories::{Five, Process};
use tonic::{Request, Status};

/// A trace that the shop began, and its span.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outside {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    pub(crate) sampled: bool,
}

impl Outside {
    /// Returns a trace of `byte`s.
    pub(crate) const fn new(byte: u8, sampled: bool) -> Self {
        Self {
            trace: [byte; 16],
            span: [byte; 8],
            sampled,
        }
    }

    fn traceparent(self) -> String {
        let hex =
            |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        let (trace, span) = (hex(&self.trace), hex(&self.span));
        format!("00-{trace}-{span}-{:02x}", u8::from(self.sampled))
    }
}

/// Clients to all five services.
#[derive(Clone)]
pub(crate) struct Visitor {
    outside: Option<Outside>,
    profile: Channel,
    recommend: Channel,
    ads: Channel,
    care: Channel,
    evaluate: Channel,
}

impl Visitor {
    pub(crate) fn of(five: &Five, token: Option<&Path>) -> Self {
        let token = token.map(|path| Arc::new(TokenFile::open(path).unwrap()));
        let channel = |process: &Process| {
            let token = token.clone().map(|token| token as Arc<dyn TokenSource>);
            let config = ClientConfig::new(process.url()).with_token_source(token);
            connect(&config).unwrap()
        };
        Self {
            outside: None,
            profile: channel(&five.profile),
            recommend: channel(&five.recommend),
            ads: channel(&five.ads),
            care: channel(&five.care),
            evaluate: channel(&five.evaluate),
        }
    }

    /// Returns the same shop, whose calls belong to `outside`.
    pub(crate) fn within(&self, outside: Outside) -> Self {
        let mut visitor = self.clone();
        visitor.outside = Some(outside);
        visitor
    }

    fn on<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(outside) = self.outside {
            let value = outside.traceparent().parse().unwrap();
            request.metadata_mut().insert("traceparent", value);
        }
        request
    }

    /// Returns a request id that each trace has once.
    fn request_id(&self, what: &str) -> String {
        let trace = self.outside.map_or(0, |outside| outside.trace[0]);
        format!("{what}-{trace}")
    }

    pub(crate) async fn subject(&self, device: &str) -> Vec<u8> {
        let identifier = profile::Identifier {
            kind: profile::IdentifierKind::Device as i32,
            value: device.to_owned(),
        };
        let request = profile::ResolveSubjectRequest {
            identifier: Some(identifier),
        };
        let mut client = SubjectServiceClient::new(self.profile.clone());
        let resolved = client.resolve_subject(self.on(request)).await.unwrap();
        resolved.into_inner().subject_id
    }

    pub(crate) async fn grant(&self, subject: &[u8]) {
        let register = |purpose: Purpose| ConsentRegister {
            purpose: purpose as i32,
            state: ConsentState::Granted as i32,
        };
        let purposes = [
            Purpose::Personalise,
            Purpose::Advertise,
            Purpose::Emotion,
            Purpose::Measure,
        ];
        let request = profile::SetConsentRequest {
            request_id: self.request_id("grant"),
            subject_id: subject.to_vec(),
            registers: purposes.map(register).to_vec(),
            evidence: "token story".to_owned(),
            imported: false,
        };
        let mut client = ConsentServiceClient::new(self.profile.clone());
        client.set_consent(self.on(request)).await.unwrap();
    }

    /// Returns why the answer was less than it could be.
    pub(crate) async fn recommend(
        &self,
        subject: &[u8],
        page_size: i32,
    ) -> Result<Degraded, Status> {
        let request = recommend::RecommendRequest {
            subject_id: subject.to_vec(),
            page_size,
            ..Default::default()
        };
        let mut client = RecommendServiceClient::new(self.recommend.clone());
        let answer = client.recommend(self.on(request)).await?;
        Ok(answer.get_ref().degraded())
    }

    pub(crate) async fn decide(&self, subject: &[u8]) {
        let request = ads::DecideRequest {
            request_id: self.request_id("decide"),
            subject_id: subject.to_vec(),
            placement: "home".to_owned(),
            ..Default::default()
        };
        let mut client = DecisionServiceClient::new(self.ads.clone());
        client.decide(self.on(request)).await.unwrap();
    }

    pub(crate) async fn write_to_care(&self, subject: &[u8]) -> Result<(), Status> {
        let request = care::OpenCaseRequest {
            request_id: self.request_id("case"),
            subject_id: subject.to_vec(),
            text: "where is my parcel".to_owned(),
            ..Default::default()
        };
        let mut client = CaseServiceClient::new(self.care.clone());
        client.open_case(self.on(request)).await.map(drop)
    }

    pub(crate) async fn ask_for_arms(&self, subject: &[u8]) {
        let request = evaluate::GetAssignmentsRequest {
            subject_id: subject.to_vec(),
        };
        let mut client = ExperimentServiceClient::new(self.evaluate.clone());
        client.get_assignments(self.on(request)).await.unwrap();
    }

    /// Returns who sent the events of a type to the log so far.
    pub(crate) async fn sources_of(&self, kind: &str) -> BTreeSet<String> {
        let cursor = |partition| profile::PartitionCursor {
            partition,
            after_sequence: 0,
        };
        let request = profile::TailEventsRequest {
            cursors: (0..64).map(cursor).collect(),
            types: vec![kind.to_owned()],
            follow: false,
        };
        let mut client = EventServiceClient::new(self.profile.clone());
        let mut tail = client.tail_events(request).await.unwrap().into_inner();
        let mut sources = BTreeSet::new();
        while let Some(frame) = tail.message().await.unwrap() {
            let events = frame.batch.into_iter().flat_map(|batch| batch.events);
            sources.extend(events.map(|event| event.source));
        }
        sources
    }
}
