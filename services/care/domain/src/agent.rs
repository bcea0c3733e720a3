//! Agents: what they can do, whether they are there, and every reason why one may not take a case.

use std::collections::BTreeSet;

use rapport_types::UnixMillis;

use crate::priority::QueuedCase;

/// After this long a case goes to any agent who speaks its language: a generalist now is better
/// than a specialist some day.
pub const SKILL_RELAX_MS: i64 = 10 * 60_000;

/// Whether an agent takes cases now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Presence {
    /// Takes cases.
    Online,
    /// Logged in, on a break: keeps the cases at hand.
    Away,
    /// Not there.
    Offline,
}

/// An agent as routing sees one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Unique; breaks every tie.
    pub agent_id: String,
    /// Languages the agent answers in: primary subtags in lower case, such as `zh`.
    pub languages: BTreeSet<String>,
    /// Intents the agent handles; empty means all.
    pub skills: BTreeSet<String>,
    /// Whether the agent is there.
    pub presence: Presence,
    /// Most cases at a time.
    pub capacity: u32,
    /// Cases the agent has now.
    pub load: u32,
    /// When the agent last got or finished a case, or came online.
    pub idle_since: UnixMillis,
}

/// Why an agent does not get a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rejection {
    /// Not there, or on a break.
    Offline,
    /// No room for another case.
    AtCapacity,
    /// Cannot talk to the customer.
    Language,
    /// Does not handle the intent, and the case has not waited long enough to do without.
    Skill,
    /// Could have it, but another agent fits better.
    Outranked,
}

impl Rejection {
    /// Returns the code that explanations carry.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Offline => "OFFLINE",
            Self::AtCapacity => "AT_CAPACITY",
            Self::Language => "LANGUAGE",
            Self::Skill => "SKILL",
            Self::Outranked => "OUTRANKED",
        }
    }
}

impl Agent {
    /// Returns whether the agent may take the case now, or the first reason why not, in the order of
    /// [`Rejection`].
    ///
    /// # Errors
    ///
    /// Any [`Rejection`] but `Outranked`, which takes other agents to tell.
    pub fn eligible(&self, case: &QueuedCase, now: UnixMillis) -> Result<(), Rejection> {
        if self.presence != Presence::Online {
            Err(Rejection::Offline)
        } else if self.load >= self.capacity {
            Err(Rejection::AtCapacity)
        } else if !self.speaks(case) {
            Err(Rejection::Language)
        } else if !self.handles(case, now) {
            Err(Rejection::Skill)
        } else {
            Ok(())
        }
    }

    /// Returns whether the agent's skills name the intent: more than handling everything.
    #[must_use]
    pub fn is_specialist(&self, intent: &str) -> bool {
        self.skills.contains(intent)
    }

    pub(crate) fn speaks(&self, case: &QueuedCase) -> bool {
        case.language.is_empty() || self.languages.contains(&case.language)
    }

    pub(crate) fn handles(&self, case: &QueuedCase, now: UnixMillis) -> bool {
        self.skills.is_empty()
            || self.is_specialist(&case.intent)
            || now.since(case.waiting_since) >= SKILL_RELAX_MS
    }
}
