//! Giving cases to agents: which agent a new case goes to, what a free agent takes from the queue,
//! what an agent who leaves puts back. Choosing is `care-domain`'s; here is the claim.
//!
//! The claim, inside one transaction: the agent's row is taken first and only while the load is
//! below the capacity, then the case's row from the version that was read, then a row under the
//! unique index of open assignments. Every transaction takes at most one agent, before any case that
//! an agent has or that waits, so they cannot wait for each other in a circle.

use std::sync::Arc;

use care_domain::{
    Agent, CaseEvent, CaseState, Presence, QueueReason, RouteDecision, RouteReason, SKILL_RELAX_MS,
    choose, next_case,
};
use rapport_flow::{Outbox, People};
use rapport_store::{Db, Tx};
use rapport_types::{Clock, DecisionId, UnixMillis};
use tokio::sync::Notify;

use crate::error::{Error, hex};
use crate::events::{Happening, Route};
use crate::keys::Keys;
use crate::models::Models;
use crate::store::agent::{self, AgentRow, joined};
use crate::store::assignment;
use crate::store::case::{self, CaseRow, Wanted};

/// Most agents of one deployment.
pub const AGENTS_MAX: u32 = 1_000;
/// Most cases at a time of one agent.
pub const CAPACITY_MAX: u32 = 50;
/// Agents that one new case tries, each found full at the last moment, before it waits.
const ROUTE_TRIES_MAX: usize = 16;
/// Waiting cases that one look at the queue reads.
const CANDIDATES_MAX: u32 = 20;
/// Agents who did not get a case that an explanation names.
pub const REJECTED_MAX: usize = 50;

/// What handlers and the background share.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The database.
    pub db: Db,
    /// Who allows what.
    pub people: People,
    /// What seals texts.
    pub keys: Keys,
    /// What reads texts.
    pub models: Models,
    /// The way back to the log.
    pub outbox: Outbox,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the sweeper.
    pub kick: Arc<Notify>,
    /// Wakes who sends the outbox.
    pub told: Arc<Notify>,
    /// Whether events are kept with the change that they tell; off only in the negative control of a
    /// test.
    pub durable: bool,
    /// The claim's protections; off only in the negative control of a test.
    pub guarded: bool,
}

/// How a case was routed, for the answer.
#[derive(Debug)]
pub struct Routed {
    /// The decision.
    pub decision_id: DecisionId,
    /// What was decided.
    pub decision: RouteDecision,
}

impl Desk {
    /// Gives a queued case to the agent who fits best, or writes into `row` why it waits. The caller
    /// stores `row`, in the same transaction.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Store`].
    pub async fn route(
        &self,
        tx: &mut Tx,
        row: &mut CaseRow,
        happened: &mut Vec<Happening>,
    ) -> Result<Routed, Error> {
        let now = self.clock.now();
        let queued = row.queued();
        let rows = agent::page_in(tx, "", AGENTS_MAX).await?;
        let mut agents: Vec<Agent> = rows.into_iter().map(|row| row.agent).collect();
        let mut tries = 0;
        let decision = loop {
            let decision = choose(&queued, &agents, now);
            let Ok(chosen) = &decision.agent else {
                break decision;
            };
            let Some(found) = agents.iter_mut().find(|agent| &agent.agent_id == chosen) else {
                return Err(Error::Internal("the chosen agent is none of these"));
            };
            if agent::take(tx, found, now, self.guarded).await? {
                break decision;
            }
            // Somebody else took the last place since the rows were read.
            found.load = found.capacity;
            tries += 1;
            if tries == ROUTE_TRIES_MAX {
                let agent = Err(QueueReason::EverybodyBusy);
                break RouteDecision {
                    agent,
                    reasons: Vec::new(),
                    ..decision
                };
            }
        };
        match &decision.agent {
            Ok(agent_id) => self.assign(tx, row, agent_id, now).await?,
            Err(reason) => reason.code().clone_into(&mut row.queue_reason),
        }
        let decision_id = self.outbox.new_decision_id();
        happened.push(Happening::Routed(Route::new(
            decision_id,
            row,
            &decision,
            now,
        )));
        Ok(Routed {
            decision_id,
            decision,
        })
    }

    /// Gives an online agent what fits from the queue, at most `limit` cases and never above the
    /// capacity, most urgent first. `row` is the agent as [`agent::lock`] returned it in `tx`.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Store`].
    pub async fn pull(
        &self,
        tx: &mut Tx,
        row: &mut AgentRow,
        limit: u32,
        happened: &mut Vec<Happening>,
    ) -> Result<Vec<CaseRow>, Error> {
        let mut given = Vec::new();
        let now = self.clock.now();
        let free = row.agent.capacity.saturating_sub(row.agent.load);
        let most = limit.min(free).min(CAPACITY_MAX) as usize;
        if row.agent.presence != Presence::Online || most == 0 {
            return Ok(given);
        }
        let wanted = Wanted {
            languages: &joined(&row.agent.languages),
            skills: &joined(&row.agent.skills),
            relaxed: now.plus(-SKILL_RELAX_MS),
            limit: CANDIDATES_MAX.max(limit.min(CAPACITY_MAX)),
        };
        let mut waiting = case::waiting(tx, &wanted, self.guarded).await?;
        while given.len() < most {
            let queue: Vec<_> = waiting.iter().map(CaseRow::queued).collect();
            let Some(next) = next_case(&queue, &row.agent, now) else {
                break;
            };
            let at = queue.iter().position(|case| case.case_id == next.case_id);
            let mut case = waiting.remove(at.unwrap_or(0));
            if !agent::take(tx, &row.agent, now, self.guarded).await? {
                return Err(Error::Conflict);
            }
            self.assign(tx, &mut case, &row.agent.agent_id, now).await?;
            if !case::update(tx, &mut case, self.guarded).await? {
                return Err(Error::Conflict);
            }
            row.agent.load += 1;
            self.tell_pulled(&case, &row.agent, now, happened);
            given.push(case);
        }
        Ok(given)
    }

    /// Puts every case of an agent who leaves back into the queue, where it keeps its first waiting
    /// time. Returns how many. The agent's row must be locked in `tx`.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Store`].
    pub async fn release(
        &self,
        tx: &mut Tx,
        agent_id: &str,
        happened: &mut Vec<Happening>,
    ) -> Result<usize, Error> {
        let now = self.clock.now();
        let cases = case::of_agent(tx, agent_id, CAPACITY_MAX).await?;
        let released = cases.len();
        for mut row in cases {
            row.state = row.state.after(CaseEvent::Release)?;
            row.agent_id = None;
            QueueReason::NobodyOnline
                .code()
                .clone_into(&mut row.queue_reason);
            assignment::end(tx, &row.case_id, now).await?;
            if !case::update(tx, &mut row, self.guarded).await? {
                return Err(Error::Conflict);
            }
            happened.push(Happening::Changed(row));
        }
        agent::empty(tx, agent_id, now).await?;
        Ok(released)
    }

    /// Fills an agent from the queue in a transaction of its own. Losing a race is no failure: who
    /// won has the case. Returns how many cases the agent got.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn refill(&self, agent_id: &str) -> Result<usize, Error> {
        let mut happened = Vec::new();
        let mut tx = self.db.begin().await?;
        let Some(mut row) = agent::lock(&mut tx, agent_id, self.guarded).await? else {
            tx.rollback().await?;
            return Ok(0);
        };
        let given = self
            .pull(&mut tx, &mut row, CAPACITY_MAX, &mut happened)
            .await?;
        if given.is_empty() {
            tx.rollback().await?;
            return Ok(0);
        }
        self.record(&mut tx, &happened, None).await?;
        tx.commit().await?;
        self.tell(happened);
        Ok(given.len())
    }

    /// Brings the reasons of those that wait up to date: agents came and went since they were written.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn explain(&self, rows: &mut [CaseRow]) -> Result<(), Error> {
        if rows.iter().all(|row| row.state != CaseState::Queued) {
            return Ok(());
        }
        let agents = agent::page(&self.db, "", AGENTS_MAX).await?;
        let agents: Vec<Agent> = agents.into_iter().map(|row| row.agent).collect();
        let now = self.clock.now();
        for row in rows {
            // One that somebody could take now waits for the sweeper, and says what it said.
            if row.state == CaseState::Queued
                && let Err(reason) = choose(&row.queued(), &agents, now).agent
            {
                reason.code().clone_into(&mut row.queue_reason);
            }
        }
        Ok(())
    }

    /// Makes `row` the agent's, whose place is taken already, and opens the assignment; a conflict if
    /// somebody gave the case away since `row` was read.
    async fn assign(
        &self,
        tx: &mut Tx,
        row: &mut CaseRow,
        agent_id: &str,
        now: UnixMillis,
    ) -> Result<(), Error> {
        row.state = row.state.after(CaseEvent::Assign)?;
        row.agent_id = Some(agent_id.to_owned());
        row.epoch += 1;
        row.queue_reason.clear();
        let begun = assignment::begin(tx, &row.case_id, row.epoch, agent_id, now).await?;
        // Without the guard the second agent is not noticed: the negative control of the claim.
        if begun || !self.guarded {
            Ok(())
        } else {
            Err(Error::Conflict)
        }
    }

    fn tell_pulled(
        &self,
        row: &CaseRow,
        agent: &Agent,
        now: UnixMillis,
        happened: &mut Vec<Happening>,
    ) {
        let decision = RouteDecision {
            agent: Ok(agent.agent_id.clone()),
            reasons: vec![RouteReason::Load(agent.load, agent.capacity)],
            rejected: Vec::new(),
        };
        let decision_id = self.outbox.new_decision_id();
        happened.push(Happening::Routed(Route::new(
            decision_id,
            row,
            &decision,
            now,
        )));
        happened.push(Happening::Changed(row.clone()));
        tracing::debug!(
            case = hex(&row.case_id),
            epoch = row.epoch,
            "a waiting case was given"
        );
    }
}
