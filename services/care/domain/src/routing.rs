//! Which agent gets a case, which case an agent gets next, and why. Choosing is pure; that a case
//! goes to one agent only is the service's transaction.

use rapport_types::UnixMillis;

use crate::agent::{Agent, Presence, Rejection};
use crate::priority::QueuedCase;

/// Most agents that one choice looks at; the caller takes them by id.
pub const AGENTS_MAX: usize = 10_000;
/// Most cases that one choice for an agent looks at, most urgent first.
pub const QUEUE_MAX: usize = 1_000;

/// Why an agent was chosen, strongest first.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteReason {
    /// Speaks the customer's language.
    SpeaksLanguage(String),
    /// The agent's skills name the intent.
    Specialist(String),
    /// The agent handles every intent.
    Generalist,
    /// The agent has other skills, but the case has waited too long for a specialist.
    SkillRelaxed,
    /// Cases and capacity before this case.
    Load(u32, u32),
    /// How long the agent has been idle, in milliseconds.
    IdleFor(i64),
}

impl std::fmt::Display for RouteReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SpeaksLanguage(language) => write!(f, "speaks {language}"),
            Self::Specialist(intent) => write!(f, "is a specialist for {intent}"),
            Self::Generalist => f.write_str("handles every intent"),
            Self::SkillRelaxed => f.write_str("takes it because it has waited long"),
            Self::Load(load, capacity) => write!(f, "has {load} of {capacity} cases"),
            Self::IdleFor(millis) => write!(f, "has been free for {} s", millis / 1_000),
        }
    }
}

/// Why a case stays in the queue: the first gate that nobody passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum QueueReason {
    /// Nobody at all, there or not, speaks the language.
    #[error("nobody speaks the language")]
    NobodySpeaksLanguage,
    /// Speakers there are, but none handles the intent yet.
    #[error("nobody who speaks the language handles the intent")]
    NobodyHandlesIntent,
    /// Those who could are all away.
    #[error("nobody who could take it is online")]
    NobodyOnline,
    /// Those who could and are there have their hands full.
    #[error("everybody who could take it is at capacity")]
    EverybodyBusy,
}

impl QueueReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::NobodySpeaksLanguage,
        Self::NobodyHandlesIntent,
        Self::NobodyOnline,
        Self::EverybodyBusy,
    ];

    /// Returns the code that answers and tables carry.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NobodySpeaksLanguage => "NOBODY_SPEAKS_LANGUAGE",
            Self::NobodyHandlesIntent => "NOBODY_HANDLES_INTENT",
            Self::NobodyOnline => "NOBODY_ONLINE",
            Self::EverybodyBusy => "EVERYBODY_BUSY",
        }
    }
}

/// The answer to "who takes this case".
#[derive(Debug, Clone, PartialEq)]
pub struct RouteDecision {
    /// The chosen agent, or why nobody was.
    pub agent: Result<String, QueueReason>,
    /// Why this agent; empty when nobody was chosen.
    pub reasons: Vec<RouteReason>,
    /// Every other agent with the reason, by id.
    pub rejected: Vec<(String, Rejection)>,
}

/// Chooses the agent for a case.
///
/// The order is total and does not depend on the order of `agents`: specialists first, then the
/// lower share of capacity taken, idle longest, id. At most [`AGENTS_MAX`] agents are looked at.
/// Cost: `O(agents log agents)`.
#[must_use]
pub fn choose(case: &QueuedCase, agents: &[Agent], now: UnixMillis) -> RouteDecision {
    let agents = &agents[..agents.len().min(AGENTS_MAX)];
    let eligible = agents
        .iter()
        .filter(|agent| agent.eligible(case, now).is_ok());
    let best = eligible.reduce(|best, agent| {
        if is_better(agent, best, case) {
            agent
        } else {
            best
        }
    });
    let chosen = best.map(|agent| agent.agent_id.as_str());
    let mut rejected: Vec<(String, Rejection)> = agents
        .iter()
        .filter(|agent| Some(agent.agent_id.as_str()) != chosen)
        .map(|agent| {
            let reason = agent
                .eligible(case, now)
                .err()
                .unwrap_or(Rejection::Outranked);
            (agent.agent_id.clone(), reason)
        })
        .collect();
    rejected.sort();
    RouteDecision {
        agent: best
            .map(|agent| agent.agent_id.clone())
            .ok_or_else(|| queue_reason(case, agents, now)),
        reasons: best.map_or_else(Vec::new, |agent| reasons(case, agent, now)),
        rejected,
    }
}

fn reasons(case: &QueuedCase, agent: &Agent, now: UnixMillis) -> Vec<RouteReason> {
    let mut reasons = Vec::new();
    if !case.language.is_empty() {
        reasons.push(RouteReason::SpeaksLanguage(case.language.clone()));
    }
    reasons.push(if agent.is_specialist(&case.intent) {
        RouteReason::Specialist(case.intent.clone())
    } else if agent.skills.is_empty() {
        RouteReason::Generalist
    } else {
        RouteReason::SkillRelaxed
    });
    reasons.push(RouteReason::Load(agent.load, agent.capacity));
    reasons.push(RouteReason::IdleFor(now.since(agent.idle_since).max(0)));
    reasons
}

/// Whether one eligible agent comes before another.
fn is_better(one: &Agent, other: &Agent, case: &QueuedCase) -> bool {
    let specialist = |agent: &Agent| agent.is_specialist(&case.intent);
    // a / b < c / d is a · d < c · b: exact where a division would round.
    let load = |a: &Agent, b: &Agent| u64::from(a.load) * u64::from(b.capacity);
    specialist(other)
        .cmp(&specialist(one))
        .then_with(|| load(one, other).cmp(&load(other, one)))
        .then_with(|| one.idle_since.cmp(&other.idle_since))
        .then_with(|| one.agent_id.cmp(&other.agent_id))
        .is_lt()
}

fn queue_reason(case: &QueuedCase, agents: &[Agent], now: UnixMillis) -> QueueReason {
    let mut left: Vec<&Agent> = agents.iter().filter(|agent| agent.speaks(case)).collect();
    if left.is_empty() {
        return QueueReason::NobodySpeaksLanguage;
    }
    left.retain(|agent| agent.handles(case, now));
    if left.is_empty() {
        return QueueReason::NobodyHandlesIntent;
    }
    left.retain(|agent| agent.presence == Presence::Online);
    if left.is_empty() {
        QueueReason::NobodyOnline
    } else {
        QueueReason::EverybodyBusy
    }
}

/// Returns the case that a free agent should take next: the highest rank among those the agent may
/// take, then the longest wait, then the id. `None` if there is none.
///
/// At most [`QUEUE_MAX`] cases are looked at. Cost: `O(cases)`.
#[must_use]
pub fn next_case<'a>(
    queue: &'a [QueuedCase],
    agent: &Agent,
    now: UnixMillis,
) -> Option<&'a QueuedCase> {
    let eligible = |case: &&QueuedCase| agent.eligible(case, now).is_ok();
    let order = |case: &&'a QueuedCase| (-case.rank(), case.waiting_since, case.case_id.as_str());
    queue
        .iter()
        .take(QUEUE_MAX)
        .filter(eligible)
        .min_by_key(order)
}

#[cfg(test)]
mod tests;
