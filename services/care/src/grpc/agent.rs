//! `AgentService`: agents, their presence, and the work they take.

use care_domain::Presence;
use rapport_api::care::v1 as pb;
use rapport_api::care::v1::agent_service_server::AgentService;
use rapport_rpc::Caller;
use rapport_rpc::write::{Asked, Begun, finish};
use rapport_store::Tx;
use tonic::{Request, Response, Status};

use super::{encode, parse};
use crate::desk::{AGENTS_MAX, CAPACITY_MAX, Desk};
use crate::error::Error;
use crate::events::Happening;
use crate::store::agent::{self, AgentRow};
use crate::store::case::{self, CaseRow};
use crate::write::retried;

/// Waiting cases that `GetQueue` shows.
const NEXT_MAX: u32 = 20;
/// Why `ClaimCase` gives nothing, beside an agent's own rejections.
const NOTHING_WAITING: &str = "NOTHING_WAITING";

/// The service.
#[derive(Debug, Clone)]
pub struct AgentApi {
    /// The cases.
    pub desk: Desk,
}

#[tonic::async_trait]
impl AgentService for AgentApi {
    async fn upsert_agent(
        &self,
        request: Request<pb::UpsertAgentRequest>,
    ) -> Result<Response<pb::UpsertAgentResponse>, Status> {
        let caller = Caller::of(&request);
        let raw = request.into_inner();
        Ok(Response::new(retried!(self.upsert(&caller, &raw))?))
    }

    async fn set_presence(
        &self,
        request: Request<pb::SetPresenceRequest>,
    ) -> Result<Response<pb::SetPresenceResponse>, Status> {
        let caller = Caller::of(&request);
        let raw = request.into_inner();
        Ok(Response::new(retried!(self.presence(&caller, &raw))?))
    }

    async fn claim_case(
        &self,
        request: Request<pb::ClaimCaseRequest>,
    ) -> Result<Response<pb::ClaimCaseResponse>, Status> {
        let caller = Caller::of(&request);
        let raw = request.into_inner();
        Ok(Response::new(retried!(self.claim(&caller, &raw))?))
    }

    async fn list_agents(
        &self,
        request: Request<pb::ListAgentsRequest>,
    ) -> Result<Response<pb::ListAgentsResponse>, Status> {
        Ok(Response::new(self.list(&request.into_inner()).await?))
    }

    async fn get_queue(
        &self,
        _request: Request<pb::GetQueueRequest>,
    ) -> Result<Response<pb::GetQueueResponse>, Status> {
        Ok(Response::new(self.queue().await?))
    }
}

impl AgentApi {
    async fn upsert(
        &self,
        caller: &Caller,
        raw: &pb::UpsertAgentRequest,
    ) -> Result<pb::UpsertAgentResponse, Error> {
        let (wanted, presence) = parse::upsert(raw, self.desk.clock.now())?;
        let asked = Asked::plain(caller, "UpsertAgent", &raw.request_id, raw);
        let (mut tx, slot) = match self.desk.begin(&asked).await? {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        let mut row = agent::upsert(&mut tx, &wanted).await?;
        if agent::count(&mut tx).await? > u64::from(AGENTS_MAX) {
            return Err(Error::AgentsFull(AGENTS_MAX));
        }
        let mut happened = Vec::new();
        if let Some(presence) = presence {
            self.move_to(&mut tx, &mut row, presence, &mut happened)
                .await?;
        }
        let response = pb::UpsertAgentResponse {
            agent: Some(encode::agent(&row)),
        };
        self.desk.record(&mut tx, &happened, None).await?;
        finish(tx, slot, &response).await?;
        self.desk.tell(happened);
        self.desk.kick.notify_one();
        Ok(response)
    }

    async fn presence(
        &self,
        caller: &Caller,
        raw: &pb::SetPresenceRequest,
    ) -> Result<pb::SetPresenceResponse, Error> {
        let presence = parse::set_presence(raw)?;
        let asked = Asked::plain(caller, "SetPresence", &raw.request_id, raw);
        let (mut tx, slot) = match self.desk.begin(&asked).await? {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        let mut row = self.lock(&mut tx, &raw.agent_id).await?;
        let mut happened = Vec::new();
        let given = self
            .move_to(&mut tx, &mut row, presence, &mut happened)
            .await?;
        let now = self.desk.clock.now();
        let response = pb::SetPresenceResponse {
            agent: Some(encode::agent(&row)),
            assigned: given.iter().map(|case| encode::case(case, now)).collect(),
        };
        self.desk.record(&mut tx, &happened, None).await?;
        finish(tx, slot, &response).await?;
        self.desk.tell(happened);
        // What somebody put back may suit somebody else.
        self.desk.kick.notify_one();
        Ok(response)
    }

    /// Writes an agent's presence and does what follows: who comes online is filled, who goes offline
    /// leaves every case to the queue. Returns the cases that the agent got.
    async fn move_to(
        &self,
        tx: &mut Tx,
        row: &mut AgentRow,
        presence: Presence,
        happened: &mut Vec<Happening>,
    ) -> Result<Vec<CaseRow>, Error> {
        let now = self.desk.clock.now();
        if presence == Presence::Online && row.agent.presence != Presence::Online {
            row.agent.idle_since = now;
        }
        row.agent.presence = presence;
        agent::set_presence(tx, &row.agent.agent_id, presence, row.agent.idle_since).await?;
        match presence {
            Presence::Online => self.desk.pull(tx, row, CAPACITY_MAX, happened).await,
            Presence::Away => Ok(Vec::new()),
            Presence::Offline => {
                self.desk.release(tx, &row.agent.agent_id, happened).await?;
                row.agent.load = 0;
                Ok(Vec::new())
            }
        }
    }

    async fn claim(
        &self,
        caller: &Caller,
        raw: &pb::ClaimCaseRequest,
    ) -> Result<pb::ClaimCaseResponse, Error> {
        parse::claim(raw)?;
        let asked = Asked::plain(caller, "ClaimCase", &raw.request_id, raw);
        let (mut tx, slot) = match self.desk.begin(&asked).await? {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        let mut row = self.lock(&mut tx, &raw.agent_id).await?;
        let mut happened = Vec::new();
        let given = self.desk.pull(&mut tx, &mut row, 1, &mut happened).await?;
        let now = self.desk.clock.now();
        let response = match given.first() {
            Some(case) => {
                let case = Some(encode::case(case, now));
                pb::ClaimCaseResponse {
                    case,
                    reason: String::new(),
                }
            }
            None => pb::ClaimCaseResponse {
                case: None,
                reason: why_nothing(&row).to_owned(),
            },
        };
        self.desk.record(&mut tx, &happened, None).await?;
        finish(tx, slot, &response).await?;
        self.desk.tell(happened);
        Ok(response)
    }

    async fn lock(&self, tx: &mut Tx, agent_id: &str) -> Result<AgentRow, Error> {
        let row = agent::lock(tx, agent_id, self.desk.guarded).await?;
        row.ok_or_else(|| Error::AgentNotFound(agent_id.to_owned()))
    }

    async fn list(&self, raw: &pb::ListAgentsRequest) -> Result<pb::ListAgentsResponse, Error> {
        let (after, size) = parse::list(raw)?;
        // One more than asked for tells whether there is another page.
        let mut rows = agent::page(&self.desk.db, &after, size + 1).await?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let last = rows.last().filter(|_| more);
        Ok(pb::ListAgentsResponse {
            next_page_token: last
                .map(|row| row.agent.agent_id.clone())
                .unwrap_or_default(),
            agents: rows.iter().map(encode::agent).collect(),
        })
    }

    async fn queue(&self) -> Result<pb::GetQueueResponse, Error> {
        let now = self.desk.clock.now();
        let (waiting, since) = case::queue(&self.desk.db).await?;
        let mut next = case::top(&self.desk.db, NEXT_MAX).await?;
        self.desk.explain(&mut next).await?;
        Ok(pb::GetQueueResponse {
            waiting,
            longest_wait_ms: since.map_or(0, |since| now.since(since).max(0)),
            next: next.iter().map(|case| encode::case(case, now)).collect(),
        })
    }
}

fn why_nothing(row: &AgentRow) -> &'static str {
    if row.agent.presence != Presence::Online {
        care_domain::Rejection::Offline.code()
    } else if row.agent.load >= row.agent.capacity {
        care_domain::Rejection::AtCapacity.code()
    } else {
        NOTHING_WAITING
    }
}
