//! Which agent gets a case, which case an agent gets next, and why. Choosing is pure; that a case
//! goes to one agent only is the service's transaction.

use rapport_types::UnixMillis;

use crate::agent::{Agent, Ineligible, Presence};
use crate::priority::{QueuedCase, priority};

/// Most agents that one choice looks at; the caller takes them by id.
pub const AGENTS_MAX: usize = 10_000;
/// Most cases that one queue holds.
pub const QUEUE_MAX: usize = 100_000;

/// Why an agent was chosen, strongest first.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteReason {
    /// Speaks the customer's language.
    SpeaksLanguage(rapport_text::Language),
    /// Level in the case's topic.
    TopicLevel {
        /// What the case is about.
        topic: String,
        /// 0 only after the case has waited long enough for anybody.
        level: u8,
    },
    /// Share of the capacity taken before this case, in `[0, 1)`.
    Load(f64),
    /// How long the agent has been idle, in milliseconds.
    IdleFor(i64),
}

/// Why a case stays in the queue: the first gate that nobody passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum QueueReason {
    /// Nobody at all, there or not, speaks the language.
    #[error("nobody speaks the language")]
    NobodySpeaksLanguage,
    /// Speakers there are, but none knows the topic well enough yet.
    #[error("nobody who speaks the language knows the topic")]
    NobodyKnowsTopic,
    /// Those who could are all away.
    #[error("nobody who could take it is online")]
    NobodyOnline,
    /// Those who could and are there have given the case back.
    #[error("everybody who could take it gave it back")]
    EverybodyDeclined,
    /// Those who could and are there have their hands full.
    #[error("everybody who could take it is at capacity")]
    EverybodyBusy,
}

/// The answer to "who takes this case".
#[derive(Debug, Clone, PartialEq)]
pub struct RouteDecision {
    /// The chosen agent, or why nobody was.
    pub agent: Result<String, QueueReason>,
    /// How well the agent fits, in `[0, 1]`: 0.6 for the level, 0.4 for free capacity. For people to
    /// read; the choice itself is made by the exact order. 0 when nobody was chosen.
    pub score: f64,
    /// Why this agent.
    pub reasons: Vec<RouteReason>,
    /// Every agent that could not be chosen, with every reason, by id.
    pub rejected: Vec<(String, Vec<Ineligible>)>,
}

/// Chooses the agent for a case.
///
/// The order is total and does not depend on the order of `agents`: higher level in the topic, lower
/// share of capacity taken, idle longest, then id. At most [`AGENTS_MAX`] agents are looked at.
/// Cost: `O(agents)`.
#[must_use]
pub fn choose(case: &QueuedCase, agents: &[Agent], now: UnixMillis) -> RouteDecision {
    let agents = &agents[..agents.len().min(AGENTS_MAX)];
    let mut best: Option<&Agent> = None;
    let mut rejected = Vec::new();
    for agent in agents {
        let reasons = agent.ineligibility(case, now);
        if !reasons.is_empty() {
            rejected.push((agent.agent_id.clone(), reasons));
        } else if best.is_none_or(|best| is_better(agent, best, case)) {
            best = Some(agent);
        }
    }
    rejected.sort_by(|a, b| a.0.cmp(&b.0));
    let Some(agent) = best else {
        let agent = Err(queue_reason(case, agents, now));
        return RouteDecision {
            agent,
            score: 0.0,
            reasons: Vec::new(),
            rejected,
        };
    };
    let level = agent.level(&case.topic);
    let load = f64::from(agent.assigned) / f64::from(agent.capacity);
    RouteDecision {
        agent: Ok(agent.agent_id.clone()),
        score: 0.6 * f64::from(level) / f64::from(crate::LEVEL_MAX) + 0.4 * (1.0 - load),
        reasons: vec![
            RouteReason::SpeaksLanguage(case.language),
            RouteReason::TopicLevel {
                topic: case.topic.clone(),
                level,
            },
            RouteReason::Load(load),
            RouteReason::IdleFor(now.since(agent.idle_since).max(0)),
        ],
        rejected,
    }
}

/// Whether one eligible agent comes before another.
fn is_better(one: &Agent, other: &Agent, case: &QueuedCase) -> bool {
    let level = |agent: &Agent| agent.level(&case.topic);
    // a / b < c / d is a · d < c · b: exact where a division would round.
    let load = |a: &Agent, b: &Agent| u64::from(a.assigned) * u64::from(b.capacity);
    level(other)
        .cmp(&level(one))
        .then_with(|| load(one, other).cmp(&load(other, one)))
        .then_with(|| one.idle_since.cmp(&other.idle_since))
        .then_with(|| one.agent_id.cmp(&other.agent_id))
        .is_lt()
}

fn queue_reason(case: &QueuedCase, agents: &[Agent], now: UnixMillis) -> QueueReason {
    let mut left: Vec<&Agent> = agents
        .iter()
        .filter(|agent| agent.speaks(case.language))
        .collect();
    if left.is_empty() {
        return QueueReason::NobodySpeaksLanguage;
    }
    left.retain(|agent| agent.knows(case, now));
    if left.is_empty() {
        return QueueReason::NobodyKnowsTopic;
    }
    left.retain(|agent| agent.presence == Presence::Online);
    if left.is_empty() {
        return QueueReason::NobodyOnline;
    }
    left.retain(|agent| !case.declined_by.contains(&agent.agent_id));
    if left.is_empty() {
        QueueReason::EverybodyDeclined
    } else {
        QueueReason::EverybodyBusy
    }
}

/// Returns the case that a free agent should take next: the highest priority among those the agent
/// is eligible for, then the longest wait, then the id. `None` if there is none.
///
/// At most [`QUEUE_MAX`] cases are looked at. Cost: `O(cases)`.
#[must_use]
pub fn next_case<'a>(
    queue: &'a [QueuedCase],
    agent: &Agent,
    now: UnixMillis,
) -> Option<&'a QueuedCase> {
    let eligible = |case: &&QueuedCase| agent.ineligibility(case, now).is_empty();
    queue
        .iter()
        .take(QUEUE_MAX)
        .filter(eligible)
        .min_by_key(|case| queue_order(case, now))
}

/// The order in which cases are served: total, because ids are unique.
fn queue_order(case: &QueuedCase, now: UnixMillis) -> (i64, UnixMillis, &str) {
    (-priority(case, now), case.waiting_since, &case.case_id)
}

/// One case given to one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The case.
    pub case_id: String,
    /// Who takes it.
    pub agent_id: String,
}

/// Gives waiting cases to agents, most pressing case first, until no agent may take any of the rest.
///
/// Updates `assigned` of the agents; the answer does not depend on the order of either list.
/// Cost: `O(cases · agents)`.
pub fn assign_waiting(
    queue: &[QueuedCase],
    agents: &mut [Agent],
    now: UnixMillis,
) -> Vec<Assignment> {
    let mut cases: Vec<&QueuedCase> = queue.iter().take(QUEUE_MAX).collect();
    cases.sort_by_key(|case| queue_order(case, now));
    let mut assignments = Vec::new();
    for case in cases {
        let Ok(agent_id) = choose(case, agents, now).agent else {
            continue;
        };
        let chosen = agents.iter_mut().find(|agent| agent.agent_id == agent_id);
        chosen.expect("the chosen agent is one of these").assigned += 1;
        assignments.push(Assignment {
            case_id: case.case_id.clone(),
            agent_id,
        });
    }
    assignments
}

#[cfg(test)]
pub(crate) mod tests;
