//! Encoding what the domain and the store say as the contract's messages.

use care_domain::{Analysis, CaseState, Presence};
use rapport_api::care::v1 as pb;
use rapport_types::UnixMillis;

use crate::desk::{REJECTED_MAX, Routed};
use crate::store::agent::AgentRow;
use crate::store::case::CaseRow;

/// Words of evidence in one answer.
const EVIDENCE_MAX: usize = 10;
/// How a language that is not known is written.
const UNDETERMINED: &str = "und";

pub(crate) fn case(row: &CaseRow, now: UnixMillis) -> pb::Case {
    let language = if row.language.is_empty() {
        UNDETERMINED
    } else {
        row.language.as_str()
    };
    pb::Case {
        case_id: row.case_id.to_vec(),
        subject_id: row.subject.to_vec(),
        state: state(row.state).into(),
        channel: row.channel,
        intent: row.intent.clone(),
        language: language.to_owned(),
        priority: row.priority(now),
        agent_id: row.agent_id.clone().unwrap_or_default(),
        epoch: u64::try_from(row.epoch).unwrap_or(0),
        opened_at_ms: row.opened_at.0,
        response_due_ms: row.response_due.0,
        first_response_ms: row.first_response.0,
        queue_reason: row.queue_reason.clone(),
    }
}

fn state(state: CaseState) -> pb::CaseState {
    match state {
        CaseState::Queued => pb::CaseState::Queued,
        CaseState::Assigned => pb::CaseState::Assigned,
        CaseState::Pending => pb::CaseState::Pending,
        CaseState::Resolved => pb::CaseState::Resolved,
        CaseState::Closed => pb::CaseState::Closed,
    }
}

/// Fields about feelings stay empty where nobody may look.
pub(crate) fn analysis(analysis: &Analysis, model_version: &str) -> pb::Analysis {
    let felt = analysis.feeling.as_ref();
    pb::Analysis {
        language: analysis.language.code().to_owned(),
        intent: analysis.intent.clone(),
        intent_probability: analysis.intent_probability,
        emotion: felt.map_or_else(String::new, |felt| felt.emotion.name().to_owned()),
        emotion_probability: felt.map_or(0.0, |felt| felt.probability),
        valence: felt.map_or(0.0, |felt| felt.valence),
        evidence: evidence(analysis),
        model_version: model_version.to_owned(),
    }
}

fn evidence(analysis: &Analysis) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for evidence in &analysis.evidence {
        if words.len() < EVIDENCE_MAX && !words.contains(&evidence.words) {
            words.push(evidence.words.clone());
        }
    }
    words
}

pub(crate) fn route(routed: &Routed) -> pb::RouteExplanation {
    let decision = &routed.decision;
    let reasons = match &decision.agent {
        Ok(_) => decision.reasons.iter().map(ToString::to_string).collect(),
        Err(reason) => vec![reason.to_string()],
    };
    let rejected = decision.rejected.iter().take(REJECTED_MAX);
    let rejected = rejected.map(|(agent_id, rejection)| pb::RejectedAgent {
        agent_id: agent_id.clone(),
        reason: rejection.code().to_owned(),
    });
    pb::RouteExplanation {
        decision_id: routed.decision_id.to_vec(),
        agent_id: decision.agent.clone().unwrap_or_default(),
        reasons,
        rejected: rejected.collect(),
    }
}

pub(crate) fn agent(row: &AgentRow) -> pb::Agent {
    let presence = match row.agent.presence {
        Presence::Online => pb::Presence::Online,
        Presence::Away => pb::Presence::Away,
        Presence::Offline => pb::Presence::Offline,
    };
    pb::Agent {
        agent_id: row.agent.agent_id.clone(),
        name: row.name.clone(),
        languages: row.agent.languages.iter().cloned().collect(),
        skills: row.agent.skills.iter().cloned().collect(),
        capacity: row.agent.capacity,
        presence: presence.into(),
        load: row.agent.load,
    }
}
