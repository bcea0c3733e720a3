//! A server on a free port with a fake profile behind it, clients of it, and requests to send.

use std::path::Path;
use std::sync::Arc;

use clap::Parser as _;
use rapport_api::care::v1 as pb;
use rapport_api::care::v1::agent_service_client::AgentServiceClient;
use rapport_api::care::v1::case_service_client::CaseServiceClient;
use rapport_api::r#type::v1::Channel as Contact;
use rapport_care::config::Config;
use rapport_care::{Care, Peers};
use rapport_flow::testing::FakeLog;
use rapport_rpc::{Channel, ClientConfig, ServeConfig, Server, connect};
use rapport_store::testing::{Engine, TestDb};
use rapport_store::{Db, on_db};
use rapport_types::{ConsentState, ManualClock, Purpose, SubjectId, UnixMillis};
use sqlx::FromRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use tonic::Status;
use tonic::service::Routes;
use tonic_types::StatusExt as _;

/// When the tests' world begins.
pub(crate) const START: UnixMillis = UnixMillis(1_760_000_000_000);
pub(crate) const ALICE: SubjectId = SubjectId::new([0xa1; 16]);
pub(crate) const BOB: SubjectId = SubjectId::new([0xb0; 16]);

/// A running server.
pub(crate) struct Service {
    pub(crate) log: FakeLog,
    pub(crate) care: Arc<Care>,
    pub(crate) channel: Channel,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) home: TestDb,
    _folder: tempfile::TempDir,
}

pub(crate) async fn spawn(engine: Engine) -> Service {
    let home = TestDb::create(engine).await;
    let folder = tempfile::tempdir().unwrap();
    let (log, url) = FakeLog::serve().await;
    let peers = Peers {
        profile: connect(&ClientConfig::new(url)).unwrap(),
    };
    let clock = Arc::new(ManualClock::at(START));
    let config = config(home.url(), folder.path());
    let care = Care::start(&config, peers, Arc::<ManualClock>::clone(&clock))
        .await
        .unwrap();
    care.people().wait_ready().await;
    let mut routes = Routes::builder();
    care.mount(&mut routes);
    let server = Server::new(ServeConfig::local_test(), routes.routes(), &Care::SERVICES);
    let bound = server.bind().unwrap();
    let address = bound.address();
    tokio::spawn(bound.run(std::future::pending()));
    Service {
        log,
        care: Arc::new(care),
        channel: connect(&ClientConfig::new(format!("http://{address}"))).unwrap(),
        clock,
        home,
        _folder: folder,
    }
}

pub(crate) fn config(url: &str, folder: &Path) -> Config {
    Config::parse_from([
        "rapport-care",
        "--database-url",
        url,
        "--data",
        folder.to_str().unwrap(),
    ])
}

pub(crate) fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

impl Service {
    pub(crate) fn cases(&self) -> CaseServiceClient<Channel> {
        CaseServiceClient::new(self.channel.clone())
    }

    pub(crate) fn agents(&self) -> AgentServiceClient<Channel> {
        AgentServiceClient::new(self.channel.clone())
    }

    pub(crate) async fn open(&self, text: &str) -> pb::OpenCaseResponse {
        let request = opening(ALICE, text);
        self.cases().open_case(request).await.unwrap().into_inner()
    }

    pub(crate) async fn get(&self, case_id: &[u8]) -> pb::GetCaseResponse {
        let request = pb::GetCaseRequest {
            case_id: case_id.to_vec(),
        };
        self.cases().get_case(request).await.unwrap().into_inner()
    }

    pub(crate) async fn case(&self, case_id: &[u8]) -> pb::Case {
        self.get(case_id).await.case.unwrap()
    }

    /// The customer writes.
    pub(crate) async fn write(&self, case_id: &[u8], text: &str) -> Result<pb::Case, Status> {
        let request = pb::AppendMessageRequest {
            request_id: new_id(),
            case_id: case_id.to_vec(),
            author: pb::Author::Customer.into(),
            text: text.to_owned(),
            ..Default::default()
        };
        Ok(self
            .cases()
            .append_message(request)
            .await?
            .into_inner()
            .case
            .unwrap())
    }

    /// The agent who has the case, as `case` says, writes.
    pub(crate) async fn answer(&self, case: &pb::Case, text: &str) -> Result<pb::Case, Status> {
        let request = pb::AppendMessageRequest {
            request_id: new_id(),
            case_id: case.case_id.clone(),
            author: pb::Author::Agent.into(),
            agent_id: case.agent_id.clone(),
            epoch: case.epoch,
            text: text.to_owned(),
        };
        Ok(self
            .cases()
            .append_message(request)
            .await?
            .into_inner()
            .case
            .unwrap())
    }

    pub(crate) async fn end(
        &self,
        case: &pb::Case,
        state: pb::CaseState,
    ) -> Result<pb::Case, Status> {
        let request = pb::EndCaseRequest {
            request_id: new_id(),
            case_id: case.case_id.clone(),
            state: state.into(),
            agent_id: case.agent_id.clone(),
            epoch: case.epoch,
        };
        Ok(self
            .cases()
            .end_case(request)
            .await?
            .into_inner()
            .case
            .unwrap())
    }

    /// Writes an online agent who speaks Chinese and English and handles everything.
    pub(crate) async fn agent(&self, agent_id: &str, capacity: u32) -> pb::Agent {
        self.upsert(an_agent(agent_id, capacity)).await
    }

    pub(crate) async fn upsert(&self, agent: pb::Agent) -> pb::Agent {
        let request = pb::UpsertAgentRequest {
            request_id: new_id(),
            agent: Some(agent),
        };
        self.agents()
            .upsert_agent(request)
            .await
            .unwrap()
            .into_inner()
            .agent
            .unwrap()
    }

    pub(crate) async fn presence(
        &self,
        agent_id: &str,
        presence: pb::Presence,
    ) -> pb::SetPresenceResponse {
        let request = pb::SetPresenceRequest {
            request_id: new_id(),
            agent_id: agent_id.to_owned(),
            presence: presence.into(),
        };
        self.agents()
            .set_presence(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn claim(&self, agent_id: &str) -> pb::ClaimCaseResponse {
        let request = pb::ClaimCaseRequest {
            request_id: new_id(),
            agent_id: agent_id.to_owned(),
        };
        self.agents()
            .claim_case(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn load(&self, agent_id: &str) -> u32 {
        let agents = self
            .agents()
            .list_agents(pb::ListAgentsRequest::default())
            .await
            .unwrap();
        let agents = agents.into_inner().agents;
        agents
            .iter()
            .find(|agent| agent.agent_id == agent_id)
            .unwrap()
            .load
    }

    /// Writes a register and waits until care knows.
    pub(crate) async fn consent(&self, subject: SubjectId, purpose: Purpose, state: ConsentState) {
        self.log.set_consent(&[subject], &[purpose], state);
        let granted = state == ConsentState::Granted;
        let people = self.care.people();
        self.until(|| people.consent(subject, purpose).is_granted() == granted)
            .await;
    }

    /// Erases a subject and waits until care knows.
    pub(crate) async fn erase(&self, subject: SubjectId) {
        self.log.erase(subject);
        self.until(|| self.care.people().is_erased(subject)).await;
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        let mut changes = self.care.people().subscribe();
        while !holds() {
            changes.recv().await.unwrap();
        }
    }
}

/// What a query of a test may return a row as, on either database.
pub(crate) trait Row:
    Send + Unpin + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow>
{
}

impl<T> Row for T where T: Send + Unpin + for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow>
{}

/// Looks into the database beside the service.
pub(crate) async fn rows<T: Row>(db: &Db, text: &'static str) -> Vec<T> {
    on_db!(db, |pool| sqlx::query_as(text).fetch_all(pool).await).unwrap()
}

pub(crate) fn opening(subject: SubjectId, text: &str) -> pb::OpenCaseRequest {
    pb::OpenCaseRequest {
        request_id: new_id(),
        subject_id: subject.to_vec(),
        channel: Contact::Wechat.into(),
        text: text.to_owned(),
    }
}

pub(crate) fn an_agent(agent_id: &str, capacity: u32) -> pb::Agent {
    pb::Agent {
        agent_id: agent_id.to_owned(),
        name: format!("Agent {agent_id}"),
        languages: vec!["zh-CN".to_owned(), "en".to_owned()],
        skills: Vec::new(),
        capacity,
        presence: pb::Presence::Online.into(),
        load: 0,
    }
}

/// The reason of a status, and its bad fields.
pub(crate) fn refusal(status: &Status) -> (String, Vec<String>) {
    let reason = status.get_details_error_info().unwrap().reason;
    let bad = status.get_details_bad_request();
    let bad = bad.map_or_else(Vec::new, |bad| bad.field_violations);
    (reason, bad.into_iter().map(|bad| bad.field).collect())
}

pub(crate) fn metadata(status: &Status, key: &str) -> String {
    status.get_details_error_info().unwrap().metadata[key].clone()
}
