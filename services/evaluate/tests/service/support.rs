//! A running evaluate with its clients, and the events of a small shop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser as _;
use prost::Message;
use rapport_api::evaluate::v1::experiment_service_client::ExperimentServiceClient;
use rapport_api::evaluate::v1::report_service_client::ReportServiceClient;
use rapport_api::evaluate::v1::{
    Experiment, ExperimentState, SetExperimentStateRequest, UpsertExperimentRequest, Variant,
};
use rapport_api::event::v1::{
    AdClick, AdImpression, ConsentChanged, ConsentRegister, DecisionHeader, EventRecord,
    ExperimentArm, OrderLine, Person, Purchase, RecommendationDecided, Refund, SelectItem,
    SubjectsErased, SubjectsLinked,
};
use rapport_api::r#type::v1::{ConsentState, Purpose as WirePurpose};
use rapport_evaluate::Evaluate;
use rapport_evaluate::config::Config;
use rapport_flow::Channel;
use rapport_flow::testing::{self, FakeLog};
use rapport_rpc::{ClientConfig, ServeConfig, Server};
use rapport_store::Db;
use rapport_store::testing::{Engine, TestDb};
use rapport_types::{ManualClock, SubjectId, UnixMillis, partition_of};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;
use tonic_types::StatusExt as _;

pub(crate) const DAY_MS: i64 = 86_400_000;
/// Noon of the day on which every test stands.
pub(crate) const NOW: i64 = 20_000 * DAY_MS + DAY_MS / 2;

/// What outlives a restart.
pub(crate) struct Ground {
    pub(crate) log: FakeLog,
    profile: Channel,
    db: TestDb,
    folder: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
}

/// One running evaluate.
pub(crate) struct World {
    pub(crate) ground: Ground,
    pub(crate) evaluate: Arc<Evaluate>,
    pub(crate) experiments: ExperimentServiceClient<Channel>,
    pub(crate) reports: ReportServiceClient<Channel>,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl Ground {
    pub(crate) async fn new(engine: Engine) -> Self {
        let (log, url) = FakeLog::serve().await;
        let profile = testing::connect(&url);
        Self {
            log,
            profile,
            db: TestDb::create(engine).await,
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(UnixMillis(NOW))),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("evaluate")
    }

    /// Takes away what the projections have saved: their file, or their rows.
    pub(crate) async fn lose_states(&self) {
        match self.db.open().await {
            Db::Sqlite(_) => std::fs::remove_file(self.data().join("projections.db")).unwrap(),
            rows @ Db::Postgres(_) => testing::lose_states(&rows).await,
        }
    }

    pub(crate) async fn start(self) -> World {
        let data = self.data();
        let config = Config::parse_from([
            "rapport-evaluate",
            "--database-url",
            self.db.url(),
            "--data",
            data.to_str().unwrap(),
        ]);
        let started = Evaluate::start(&config, self.profile.clone(), self.clock.clone());
        let evaluate = Arc::new(started.await.unwrap());
        let mut routes = Routes::builder();
        evaluate.mount(&mut routes);
        let routes = routes.routes();
        let bound = Server::new(ServeConfig::local_test(), routes, &Evaluate::SERVICES);
        let bound = bound.bind().unwrap();
        let channel = connect(bound.address());
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(bound.run(shutdown.clone().cancelled_owned()));
        World {
            ground: self,
            evaluate,
            experiments: ExperimentServiceClient::new(channel.clone()),
            reports: ReportServiceClient::new(channel),
            shutdown,
            server,
        }
    }
}

fn connect(address: SocketAddr) -> Channel {
    rapport_rpc::connect(&ClientConfig::new(format!("http://{address}"))).unwrap()
}

impl World {
    pub(crate) async fn embedded() -> Self {
        Ground::new(Engine::Sqlite).await.start().await
    }

    /// Stops the server and evaluate as a process would.
    pub(crate) async fn stop(self) -> Ground {
        self.shutdown.cancel();
        self.server.await.unwrap();
        self.evaluate.drain().await;
        self.ground
    }

    /// Waits until reports and consent know everything in the log.
    pub(crate) async fn settle(&self) {
        let people = self.evaluate.people();
        let mut changes = people.subscribe();
        let ends = self.ground.log.ends();
        let (control_end, ends) = ends.split_last().unwrap();
        while people.control_sequence() < *control_end {
            // Lagging is as good as a change: look again.
            let _ = changes.recv().await;
        }
        for (partition, end) in (0..).zip(ends) {
            for progress in self.evaluate.progress() {
                progress.wait_for(partition, *end).await;
            }
        }
    }

    /// Appends an event of a subject, or of nobody.
    pub(crate) fn event(&self, subject: Option<SubjectId>, mut event: EventRecord) {
        event.partition = match subject {
            Some(subject) => subject.partition(),
            None => partition_of(event.event_id.as_bytes()),
        };
        event.subject_id = subject.map(SubjectId::to_vec).unwrap_or_default().into();
        self.ground.log.append(event);
    }

    /// Appends a control record and, as the relay would, its copies in its subjects' partitions.
    fn control(&self, kind: &str, message: &impl Message, subjects: &[SubjectId]) {
        for subject in subjects {
            self.ground.log.did(*subject, kind, 0, message);
        }
        self.ground.log.control(kind, message);
    }

    pub(crate) fn consent(&self, subjects: &[SubjectId], state: ConsentState) {
        let register = ConsentRegister {
            purpose: WirePurpose::Measure.into(),
            state: state.into(),
        };
        let changed = ConsentChanged {
            subject_ids: subjects.iter().map(|subject| subject.to_vec()).collect(),
            registers: vec![register],
            ..ConsentChanged::default()
        };
        self.control("consent_changed", &changed, subjects);
    }

    pub(crate) fn link(&self, members: &[SubjectId], graph_version: u64) {
        let person = Person {
            anchor: members[0].to_vec(),
            members: members.iter().map(|member| member.to_vec()).collect(),
        };
        let linked = SubjectsLinked {
            person: Some(person),
            graph_version,
            ..SubjectsLinked::default()
        };
        self.control("subjects_linked", &linked, members);
    }

    pub(crate) fn erase(&self, subject: SubjectId, graph_version: u64) {
        let erased = SubjectsErased {
            subject_ids: vec![subject.to_vec()],
            graph_version,
            ..SubjectsErased::default()
        };
        self.control("subjects_erased", &erased, &[subject]);
    }

    pub(crate) async fn running(&mut self, key: &str) {
        let request = upsert(&format!("upsert-{key}"), key);
        self.experiments.upsert_experiment(request).await.unwrap();
        let request = to_state(&format!("start-{key}"), key, ExperimentState::Running);
        self.experiments
            .set_experiment_state(request)
            .await
            .unwrap();
    }
}

pub(crate) fn upsert(request_id: &str, key: &str) -> UpsertExperimentRequest {
    let variant = |key: &str| Variant {
        key: key.to_owned(),
        share: 5_000,
    };
    let experiment = Experiment {
        key: key.to_owned(),
        hypothesis: "a bold button sells more".to_owned(),
        variants: vec![variant("control"), variant("bold")],
        ..Experiment::default()
    };
    UpsertExperimentRequest {
        request_id: request_id.to_owned(),
        experiment: Some(experiment),
    }
}

pub(crate) fn to_state(
    request_id: &str,
    key: &str,
    state: ExperimentState,
) -> SetExperimentStateRequest {
    SetExperimentStateRequest {
        request_id: request_id.to_owned(),
        key: key.to_owned(),
        state: state.into(),
    }
}

/// Returns a subject of its own for every number.
pub(crate) fn subject(n: u32) -> SubjectId {
    let mut bytes = [7; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    SubjectId::new(bytes)
}

pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

pub(crate) fn fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request().unwrap();
    bad.field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

/// An event with an id of its own.
pub(crate) fn event(kind: &str, at: i64, payload: &impl Message) -> EventRecord {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    EventRecord {
        r#type: kind.to_owned(),
        event_id: format!("e{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        source: "test".to_owned(),
        occurred_at_ms: at,
        received_at_ms: at,
        payload: payload.encode_to_vec().into(),
        ..EventRecord::default()
    }
}

fn lines(pence: i64) -> Vec<OrderLine> {
    vec![OrderLine {
        quantity: 1,
        unit_price_micros: pence * 10_000,
        ..OrderLine::default()
    }]
}

pub(crate) fn purchase_in(currency: &str, at: i64, order: &str, pence: i64) -> EventRecord {
    let order = Purchase {
        order_id: order.to_owned(),
        lines: lines(pence),
        currency: currency.to_owned(),
        ..Purchase::default()
    };
    event("purchase", at, &order)
}

pub(crate) fn purchase(at: i64, order: &str, pence: i64) -> EventRecord {
    purchase_in("GBP", at, order, pence)
}

pub(crate) fn refund(at: i64, order: &str, pence: i64) -> EventRecord {
    let refund = Refund {
        order_id: order.to_owned(),
        lines: lines(pence),
        currency: "GBP".to_owned(),
    };
    event("refund", at, &refund)
}

pub(crate) fn click(at: i64, campaign: &str) -> EventRecord {
    let click = AdClick {
        campaign_id: campaign.to_owned(),
        cost_micros: 500_000,
        ..AdClick::default()
    };
    event("ad_click", at, &click)
}

pub(crate) fn impression(at: i64, campaign: &str) -> EventRecord {
    let seen = AdImpression {
        campaign_id: campaign.to_owned(),
        cost_micros: 100_000,
        ..AdImpression::default()
    };
    event("ad_impression", at, &seen)
}

pub(crate) fn selection(at: i64, decision: u8) -> EventRecord {
    let chosen = SelectItem {
        decision_id: vec![decision; 16],
        ..SelectItem::default()
    };
    event("select_item", at, &chosen)
}

/// A recommendation under an arm of the experiment `checkout`, or under none.
pub(crate) fn recommendation(at: i64, number: u64, variant: Option<&str>) -> EventRecord {
    let arm = |variant: &str| ExperimentArm {
        experiment: "checkout".to_owned(),
        variant: variant.to_owned(),
    };
    let header = DecisionHeader {
        decision_id: vec![number as u8; 16],
        replica: "r1".to_owned(),
        boot_ms: 5,
        number,
        arms: variant.map(arm).into_iter().collect(),
        ..DecisionHeader::default()
    };
    let decided = RecommendationDecided {
        header: Some(header),
        ..RecommendationDecided::default()
    };
    event("recommendation_decided", at, &decided)
}
