//! Starting the service on a free port beside a log in memory, and what the tests do with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use prost::Message;
use rapport_api::evaluate::v1::experiment_service_server::ExperimentServiceServer;
use rapport_api::event::v1::{OrderLine, Purchase, ViewItem};
use rapport_api::profile::v1::consent_service_server::ConsentServiceServer;
use rapport_api::profile::v1::event_service_server::EventServiceServer;
use rapport_api::recommend::v1::catalog_service_client::CatalogServiceClient;
use rapport_api::recommend::v1::model_service_client::ModelServiceClient;
use rapport_api::recommend::v1::recommend_service_client::RecommendServiceClient;
use rapport_api::recommend::v1::{
    GetModelRequest, Item, Model, RecommendRequest, RecommendResponse, TrainModelRequest,
    UpsertItemsRequest,
};
use rapport_api::r#type::v1::Money;
use rapport_recommend::config::Config;
use rapport_recommend::{Peers, Recommend};
use rapport_rpc::{Channel, ClientConfig, ServeConfig, Server, connect};
use rapport_store::testing::{Engine, TestDb};
use rapport_types::{ManualClock, Purpose, SubjectId, UnixMillis};
use tonic::Status;
use tonic::service::Routes;
use tonic_types::StatusExt as _;

use crate::log::Neighbours;

pub(crate) const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
pub(crate) const BOTH: [Purpose; 2] = [Purpose::Personalise, Purpose::Measure];
/// Longer than anything takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What outlives a restart.
pub(crate) struct Kept {
    pub(crate) log: Neighbours,
    pub(crate) db: TestDb,
    pub(crate) data: tempfile::TempDir,
    pub(crate) redis: Option<String>,
    pub(crate) clock: Arc<ManualClock>,
    log_channel: Channel,
}

/// The service, running.
pub(crate) struct Running {
    pub(crate) recommend: Arc<Recommend>,
    pub(crate) channel: Channel,
}

impl Kept {
    pub(crate) async fn new(engine: Engine) -> Self {
        let log = Neighbours::default();
        let mut routes = Routes::builder();
        routes
            .add_service(EventServiceServer::new(log.log()))
            .add_service(ConsentServiceServer::new(log.log()))
            .add_service(ExperimentServiceServer::new(log.clone()));
        let log_channel = serve(routes.routes(), &[]);
        Self {
            log,
            db: TestDb::create(engine).await,
            data: tempfile::tempdir().unwrap(),
            redis: None,
            clock: Arc::new(ManualClock::at(NOW)),
            log_channel,
        }
    }

    pub(crate) fn config(&self) -> Config {
        let data = self.data.path().to_str().unwrap();
        let folder = self.data.path().file_name().unwrap().to_string_lossy();
        let namespace = format!("test-{}", folder.to_ascii_lowercase());
        let mut arguments = vec!["rapport-recommend", "--seed", "7", "--data", data];
        arguments.extend(["--database-url", self.db.url()]);
        if let Some(redis) = &self.redis {
            // Runs share a server: the folder's name is nobody else's.
            arguments.extend(["--redis-url", redis, "--redis-namespace", &namespace]);
        }
        Config::parse_from(arguments)
    }

    /// Starts the service and waits until it knows what people allow.
    pub(crate) async fn start(&self) -> Running {
        let running = self.start_with(self.log_channel.clone()).await;
        running.recommend.people().wait_ready().await;
        running
    }

    pub(crate) async fn start_with(&self, profile: Channel) -> Running {
        let peers = Peers {
            profile,
            evaluate: Some(self.log_channel.clone()),
        };
        let clock = Arc::clone(&self.clock);
        let started = Recommend::start(&self.config(), peers, clock).await;
        let recommend = Arc::new(started.unwrap());
        let mut routes = Routes::builder();
        recommend.mount(&mut routes);
        let channel = serve(routes.routes(), &Recommend::SERVICES);
        Running { recommend, channel }
    }

    pub(crate) fn model_file(&self, version: u32) -> PathBuf {
        let name = format!("models/item-item-{version:08}.bin");
        self.data.path().join(name)
    }
}

/// A service with its own SQLite file and log.
pub(crate) async fn spawn() -> (Running, Kept) {
    let kept = Kept::new(Engine::Sqlite).await;
    (kept.start().await, kept)
}

/// Serves routes with the real layers for the rest of the test.
fn serve(routes: Routes, services: &[&'static str]) -> Channel {
    let mut server = Server::new(ServeConfig::local_test(), routes, services);
    for (path, bytes) in Recommend::request_limits() {
        server = server.request_bytes_max(path, bytes);
    }
    let bound = server.bind().unwrap();
    let url = format!("http://{}", bound.address());
    tokio::spawn(bound.run(std::future::pending()));
    connect(&ClientConfig::new(url)).unwrap()
}

pub(crate) fn dead_channel() -> Channel {
    connect(&ClientConfig::new("http://127.0.0.1:9")).unwrap()
}

impl Running {
    pub(crate) fn recommender(&self) -> RecommendServiceClient<Channel> {
        RecommendServiceClient::new(self.channel.clone())
    }

    pub(crate) fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.channel.clone())
    }

    pub(crate) fn models(&self) -> ModelServiceClient<Channel> {
        ModelServiceClient::new(self.channel.clone())
    }

    /// Waits until the view of people has applied a control record.
    pub(crate) async fn knows(&self, control_sequence: u64) {
        let people = self.recommend.people();
        let mut changes = people.subscribe();
        while people.control_sequence() < control_sequence {
            let _ = changes.recv().await;
        }
    }

    pub(crate) async fn grant(&self, kept: &Kept, subjects: &[SubjectId], purposes: &[Purpose]) {
        self.knows(kept.log.grant(subjects, purposes)).await;
    }

    /// Waits until a timeline has an event.
    pub(crate) async fn has(&self, (partition, sequence): (u32, u64)) {
        let progress = self.recommend.progress();
        progress.wait_for(partition, sequence).await;
    }

    pub(crate) async fn upsert(&self, request_id: &str, items: Vec<Item>) -> u32 {
        let request_id = request_id.to_owned();
        let request = UpsertItemsRequest { request_id, items };
        let answer = self.catalog().upsert_items(request).await;
        answer.unwrap().into_inner().upserted
    }

    pub(crate) async fn ask(&self, subject: SubjectId) -> RecommendResponse {
        let request = RecommendRequest {
            subject_id: subject.to_vec(),
            ..RecommendRequest::default()
        };
        let answer = self.recommender().recommend(request).await;
        answer.unwrap().into_inner()
    }

    pub(crate) async fn train(&self, request_id: &str) -> Result<Model, Status> {
        let request_id = request_id.to_owned();
        let answer = self
            .models()
            .train_model(TrainModelRequest { request_id })
            .await?;
        Ok(answer.into_inner().model.unwrap())
    }

    /// Returns whether answers come from a model.
    pub(crate) async fn loaded(&self) -> Option<String> {
        let answer = self.models().get_model(GetModelRequest {}).await;
        let model = answer.unwrap().into_inner().model;
        model.map(|model| model.version)
    }

    pub(crate) async fn stop(self) {
        self.recommend.drain().await;
    }
}

/// Asks again until the answer is as it should be: for what is refreshed in the background.
pub(crate) async fn eventually<T, F>(mut ask: impl FnMut() -> F, done: impl Fn(&T) -> bool) -> T
where
    F: Future<Output = T>,
{
    let asking = async {
        let mut pause = tokio::time::interval(Duration::from_millis(5));
        loop {
            pause.tick().await;
            let answer = ask().await;
            if done(&answer) {
                return answer;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

pub(crate) fn subject(n: u8) -> SubjectId {
    SubjectId::new([n; 16])
}

pub(crate) fn item(id: &str, category: &str) -> Item {
    Item {
        item_id: id.to_owned(),
        title: format!("The {id}"),
        category: category.to_owned(),
        brand: "Rapport".to_owned(),
        price: Some(Money {
            currency: "GBP".to_owned(),
            micros: 2_500_000,
        }),
        available: true,
        tags: vec!["gift".to_owned()],
    }
}

pub(crate) fn view(item_id: &str) -> ViewItem {
    ViewItem {
        item_id: item_id.to_owned(),
        ..ViewItem::default()
    }
}

pub(crate) fn purchase(item_ids: &[&str]) -> Purchase {
    let line = |item_id: &&str| OrderLine {
        item_id: (*item_id).to_owned(),
        quantity: 1,
        ..OrderLine::default()
    };
    Purchase {
        order_id: "o".to_owned(),
        lines: item_ids.iter().map(line).collect(),
        ..Purchase::default()
    }
}

/// Six people of whom five bought a mug with a saucer; everybody permits everything.
pub(crate) async fn buyers(running: &Running, kept: &Kept) -> Vec<SubjectId> {
    let people: Vec<_> = (1..=6).map(subject).collect();
    running.grant(kept, &people, &BOTH).await;
    let mut last = Vec::new();
    for (at, person) in people.iter().enumerate() {
        let bought: &[&str] = if at < 5 {
            &["mug", "saucer"]
        } else {
            &["lamp"]
        };
        let order = purchase(bought);
        last.push(
            kept.log
                .did(*person, "purchase", NOW.0 - 1_000 * at as i64, &order),
        );
    }
    for place in last {
        running.has(place).await;
    }
    people
}

pub(crate) fn ids(answer: &RecommendResponse) -> Vec<&str> {
    let items = answer.items.iter().filter_map(|it| it.item.as_ref());
    items.map(|item| item.item_id.as_str()).collect()
}

pub(crate) fn codes(answer: &RecommendResponse) -> Vec<&str> {
    let reasons = answer.items.iter().flat_map(|item| &item.reasons);
    reasons.map(|reason| reason.code.as_str()).collect()
}

pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

pub(crate) fn bad_fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().unwrap();
    bad.field_violations
        .into_iter()
        .map(|it| it.field)
        .collect()
}

pub(crate) fn bytes(message: &impl Message) -> Vec<u8> {
    message.encode_to_vec()
}
