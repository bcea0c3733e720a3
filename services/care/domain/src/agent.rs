//! Agents: what they can do, whether they are there, and every reason why one may not take a case.

use std::collections::{BTreeMap, BTreeSet};

use rapport_text::Language;
use rapport_types::UnixMillis;

use crate::priority::QueuedCase;

/// Highest level of a skill.
pub const LEVEL_MAX: u8 = 5;
/// After this long a case goes to any agent who speaks its language: a generalist now is better
/// than a specialist some day.
pub const TOPIC_RELAX_MS: i64 = 10 * 60_000;

/// Whether an agent takes cases now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Presence {
    /// Takes cases.
    Online,
    /// Logged in, on a break.
    Away,
    /// Not there.
    Offline,
}

/// An agent as routing sees one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Unique; breaks every tie.
    pub agent_id: String,
    /// Languages the agent answers in.
    pub languages: BTreeSet<Language>,
    /// Level per topic, 1 to [`LEVEL_MAX`]; a topic that is not here is level 0.
    pub topics: BTreeMap<String, u8>,
    /// Whether the agent is there.
    pub presence: Presence,
    /// Most cases at a time.
    pub capacity: u32,
    /// Cases the agent has now.
    pub assigned: u32,
    /// When the agent last finished a case, or came online.
    pub idle_since: UnixMillis,
}

/// One reason why an agent may not take a case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ineligible {
    /// Not there.
    #[error("is {0:?}")]
    NotOnline(Presence),
    /// No room for another case.
    #[error("has {assigned} of {capacity} cases")]
    AtCapacity {
        /// Cases now.
        assigned: u32,
        /// Most cases at a time.
        capacity: u32,
    },
    /// Cannot talk to the customer.
    #[error("does not speak {}", .0.code())]
    LacksLanguage(Language),
    /// Does not know the topic well enough, and the case has not waited long enough to do without.
    #[error("has level {level} in {topic}, {level_min} is asked for")]
    LacksTopic {
        /// What the case is about.
        topic: String,
        /// What the agent has.
        level: u8,
        /// What the case asks for.
        level_min: u8,
    },
    /// Gave this very case back before.
    #[error("gave the case back")]
    Declined,
}

impl Agent {
    /// Returns the agent's level in a topic, 0 for none. The empty topic is known to all.
    #[must_use]
    pub fn level(&self, topic: &str) -> u8 {
        self.topics.get(topic).copied().unwrap_or(0).min(LEVEL_MAX)
    }

    /// Returns every reason why the agent may not take the case now; none means eligible.
    #[must_use]
    pub fn ineligibility(&self, case: &QueuedCase, now: UnixMillis) -> Vec<Ineligible> {
        let mut reasons = Vec::new();
        if self.presence != Presence::Online {
            reasons.push(Ineligible::NotOnline(self.presence));
        }
        if self.assigned >= self.capacity {
            let Self {
                assigned, capacity, ..
            } = *self;
            reasons.push(Ineligible::AtCapacity { assigned, capacity });
        }
        if !self.speaks(case.language) {
            reasons.push(Ineligible::LacksLanguage(case.language));
        }
        if !self.knows(case, now) {
            reasons.push(Ineligible::LacksTopic {
                topic: case.topic.clone(),
                level: self.level(&case.topic),
                level_min: needed_level(case),
            });
        }
        if case.declined_by.contains(&self.agent_id) {
            reasons.push(Ineligible::Declined);
        }
        reasons
    }

    pub(crate) fn speaks(&self, language: Language) -> bool {
        language == Language::Unknown || self.languages.contains(&language)
    }

    pub(crate) fn knows(&self, case: &QueuedCase, now: UnixMillis) -> bool {
        case.topic.is_empty()
            || now.since(case.waiting_since) >= TOPIC_RELAX_MS
            || self.level(&case.topic) >= needed_level(case)
    }
}

/// A named topic asks for level 1 at least, or naming it would mean nothing.
fn needed_level(case: &QueuedCase) -> u8 {
    case.level_min.max(1)
}
