//! Parsing requests: every bad field at once, and types that cannot be wrong.

use std::collections::BTreeSet;

use care_domain::{Agent, CaseEvent, Presence};
use rapport_api::care::v1 as pb;
use rapport_api::r#type::v1::Channel;
use rapport_rpc::{Fields, InvalidRequest};
use rapport_types::{SubjectId, UnixMillis};

use crate::desk::CAPACITY_MAX;
use crate::store::agent::AgentRow;

/// Longest agent id, in characters.
pub const ID_CHARS_MAX: usize = 64;
/// Longest message, in characters.
pub const TEXT_CHARS_MAX: usize = 4_000;
/// Longest name of an agent, in characters.
pub const NAME_CHARS_MAX: usize = 128;
/// Most languages of one agent.
pub const LANGUAGES_MAX: usize = 20;
/// Most skills of one agent.
pub const SKILLS_MAX: usize = 50;
/// Longest skill, in characters.
pub const SKILL_CHARS_MAX: usize = 64;
/// Agents of one page, unless the request says otherwise and at most.
const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 500;

/// An agent who claims to have a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Who.
    pub agent_id: String,
    /// Under which epoch.
    pub epoch: i64,
}

/// Parses `OpenCase`: the customer. The text is at most 4,000 characters and not empty.
///
/// # Errors
/// Every violation.
pub fn open(raw: &pb::OpenCaseRequest) -> Result<SubjectId, InvalidRequest> {
    let mut fields = Fields::default();
    fields.request_id(&raw.request_id);
    let subject = fields.subject("subject_id", &raw.subject_id);
    if Channel::try_from(raw.channel).is_err() {
        fields.refuse("channel", "is not a channel");
    }
    fields.text("text", &raw.text, TEXT_CHARS_MAX);
    fields.finish(subject)
}

/// Parses `AppendMessage`: the case, and for an agent who it is.
///
/// # Errors
/// Every violation.
pub fn append(
    raw: &pb::AppendMessageRequest,
) -> Result<([u8; 16], Option<Holder>), InvalidRequest> {
    let mut fields = Fields::default();
    fields.request_id(&raw.request_id);
    let case_id = fields.id16("case_id", &raw.case_id);
    let holder = match raw.author() {
        pb::Author::Customer => None,
        pb::Author::Agent => Some(holder(&mut fields, &raw.agent_id, raw.epoch)),
        pb::Author::Unspecified => {
            fields.refuse("author", "is required");
            None
        }
    };
    fields.text("text", &raw.text, TEXT_CHARS_MAX);
    fields.finish((case_id, holder))
}

/// Parses `EndCase`: the case, how it ends, and the agent if one ends it.
///
/// # Errors
/// Every violation.
pub fn end(
    raw: &pb::EndCaseRequest,
) -> Result<([u8; 16], CaseEvent, Option<Holder>), InvalidRequest> {
    let mut fields = Fields::default();
    fields.request_id(&raw.request_id);
    let case_id = fields.id16("case_id", &raw.case_id);
    let event = match raw.state() {
        pb::CaseState::Resolved => CaseEvent::Resolve,
        pb::CaseState::Closed => CaseEvent::Close,
        pb::CaseState::Unspecified
        | pb::CaseState::Queued
        | pb::CaseState::Assigned
        | pb::CaseState::Pending => {
            fields.refuse("state", "must be RESOLVED or CLOSED");
            CaseEvent::Close
        }
    };
    let by_agent = event == CaseEvent::Resolve || !raw.agent_id.is_empty();
    let holder = by_agent.then(|| holder(&mut fields, &raw.agent_id, raw.epoch));
    fields.finish((case_id, event, holder))
}

fn holder(fields: &mut Fields, agent_id: &str, epoch: u64) -> Holder {
    fields.text("agent_id", agent_id, ID_CHARS_MAX);
    Holder {
        agent_id: agent_id.to_owned(),
        epoch: i64::try_from(epoch).unwrap_or_else(|_| {
            fields.refuse("epoch", "is out of range");
            0
        }),
    }
}

/// Parses `UpsertAgent`: the agent, and its presence if the request says one.
///
/// # Errors
/// Every violation.
pub fn upsert(
    raw: &pb::UpsertAgentRequest,
    now: UnixMillis,
) -> Result<(AgentRow, Option<Presence>), InvalidRequest> {
    let mut fields = Fields::default();
    fields.request_id(&raw.request_id);
    let Some(agent) = &raw.agent else {
        fields.refuse("agent", "is required");
        return Err(fields.refused());
    };
    fields.text("agent.agent_id", &agent.agent_id, ID_CHARS_MAX);
    fields.text("agent.name", &agent.name, NAME_CHARS_MAX);
    let languages = words(
        &mut fields,
        "agent.languages",
        &agent.languages,
        LANGUAGES_MAX,
        language,
    );
    if agent.languages.is_empty() {
        fields.refuse("agent.languages", "is required");
    }
    let skills = words(
        &mut fields,
        "agent.skills",
        &agent.skills,
        SKILLS_MAX,
        skill,
    );
    if !(1..=CAPACITY_MAX).contains(&agent.capacity) {
        fields.refuse("agent.capacity", format!("must be 1 to {CAPACITY_MAX}"));
    }
    let presence = presence(agent.presence());
    let row = AgentRow {
        name: agent.name.clone(),
        agent: Agent {
            agent_id: agent.agent_id.clone(),
            languages,
            skills,
            presence: presence.unwrap_or(Presence::Offline),
            capacity: agent.capacity,
            load: 0,
            idle_since: now,
        },
    };
    fields.finish((row, presence))
}

/// Parses words of which there may be `max`, each by `parse`.
fn words(
    fields: &mut Fields,
    field: &str,
    words: &[String],
    max: usize,
    parse: fn(&str) -> Result<String, &'static str>,
) -> BTreeSet<String> {
    if words.len() > max {
        fields.refuse(field, format!("must have at most {max} entries"));
    }
    let mut parsed = BTreeSet::new();
    for (index, word) in words.iter().take(max).enumerate() {
        match parse(word) {
            Ok(word) => {
                parsed.insert(word);
            }
            Err(why) => fields.refuse(&format!("{field}[{index}]"), why),
        }
    }
    parsed
}

/// Returns the primary subtag of a BCP 47 tag: agents who speak `zh-CN` speak `zh`.
fn language(tag: &str) -> Result<String, &'static str> {
    let primary = tag.split('-').next().unwrap_or_default();
    let is_subtag =
        (2..=8).contains(&primary.len()) && primary.bytes().all(|b| b.is_ascii_alphabetic());
    if is_subtag && tag.len() <= 35 {
        Ok(primary.to_ascii_lowercase())
    } else {
        Err("must be a BCP 47 language such as `zh` or `en-GB`")
    }
}

/// Checks an intent's name. Letters of any script, so that a shop's own labels pass; no spaces,
/// which part the words of the column, and no `%`, which the query for waiting cases reads.
fn skill(name: &str) -> Result<String, &'static str> {
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if (1..=SKILL_CHARS_MAX).contains(&name.chars().count()) && name.chars().all(plain) {
        Ok(name.to_owned())
    } else {
        Err("must be 1 to 64 letters, digits, `_`, `-` or `.`")
    }
}

fn presence(presence: pb::Presence) -> Option<Presence> {
    match presence {
        pb::Presence::Unspecified => None,
        pb::Presence::Online => Some(Presence::Online),
        pb::Presence::Away => Some(Presence::Away),
        pb::Presence::Offline => Some(Presence::Offline),
    }
}

/// Parses `SetPresence`.
///
/// # Errors
/// Every violation.
pub fn set_presence(raw: &pb::SetPresenceRequest) -> Result<Presence, InvalidRequest> {
    let mut fields = Fields::default();
    fields.request_id(&raw.request_id);
    fields.text("agent_id", &raw.agent_id, ID_CHARS_MAX);
    let presence = presence(raw.presence()).unwrap_or_else(|| {
        fields.refuse("presence", "is required");
        Presence::Offline
    });
    fields.finish(presence)
}

/// Checks `ClaimCase`.
///
/// # Errors
/// Every violation.
pub fn claim(raw: &pb::ClaimCaseRequest) -> Result<(), InvalidRequest> {
    let mut fields = Fields::default();
    fields.request_id(&raw.request_id);
    fields.text("agent_id", &raw.agent_id, ID_CHARS_MAX);
    fields.finish(())
}

/// Parses `ListAgents`: the agent after whom the page begins, and how many it has.
///
/// # Errors
/// Every violation.
pub fn list(raw: &pb::ListAgentsRequest) -> Result<(String, u32), InvalidRequest> {
    let mut fields = Fields::default();
    let size = fields.page_size(raw.page_size, PAGE_DEFAULT, PAGE_MAX);
    let token = &raw.page_token;
    // Postgres keeps no NUL in a text, so no agent is named by one.
    if token.chars().count() > ID_CHARS_MAX || token.contains('\0') {
        fields.refuse("page_token", "is not a token of ours");
    }
    fields.finish((token.clone(), size))
}
