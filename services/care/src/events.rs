//! What care tells the log: written in the transaction that makes it true, decisions after it. Never a
//! text.

use care_domain::{CaseState, Felt, RouteDecision};
use prost::Message as _;
use rapport_api::event::v1::{
    Candidate, CaseChanged, EmotionObserved, EmotionObservedPersonal, MessageReceived, RouteDecided,
};
use rapport_flow::{DecisionDraft, OutboxEvent, any_of};
use rapport_store::Tx;
use rapport_types::{DecisionId, Purpose, SubjectId, UnixMillis};

use crate::desk::Desk;
use crate::error::{Error, hex};
use crate::keys::SubjectKey;
use crate::store::case::CaseRow;
use crate::store::outbox;

/// The rule set that routes, as decisions name it.
const ROUTER_VERSION: &str = "router-1";
/// Candidates that a decision names.
const CANDIDATES_MAX: usize = 50;

/// Something that the log should know.
#[derive(Debug)]
pub enum Happening {
    /// A customer wrote.
    Received(Received),
    /// A case has another state or agent.
    Changed(CaseRow),
    /// A case was routed.
    Routed(Route),
}

/// A customer's message, without its text.
#[derive(Debug)]
pub struct Received {
    /// The message.
    pub message_id: [u8; 16],
    /// Its case.
    pub case_id: [u8; 16],
    /// The customer.
    pub subject: SubjectId,
    /// Number of the channel.
    pub channel: i32,
    /// Characters of text.
    pub length: u32,
    /// What it is about.
    pub intent: String,
    /// Language by script.
    pub language: &'static str,
    /// What the writer feels; only under the `emotion` consent.
    pub feeling: Option<Felt>,
    /// When.
    pub at: UnixMillis,
}

/// A route and who else could have had the case.
#[derive(Debug)]
pub struct Route {
    decision_id: DecisionId,
    case_id: [u8; 16],
    subject: SubjectId,
    agent_id: String,
    candidates: Vec<Candidate>,
    at: UnixMillis,
}

impl Route {
    /// Returns the route of `row`, whose place is settled.
    #[must_use]
    pub fn new(
        decision_id: DecisionId,
        row: &CaseRow,
        decision: &RouteDecision,
        at: UnixMillis,
    ) -> Self {
        let chosen = decision
            .agent
            .as_ref()
            .ok()
            .map(|agent| candidate(agent, true, "CHOSEN"));
        let rejected = decision
            .rejected
            .iter()
            .map(|(agent, rejection)| candidate(agent, false, rejection.code()));
        Self {
            decision_id,
            case_id: row.case_id,
            subject: row.subject,
            agent_id: decision.agent.clone().unwrap_or_default(),
            candidates: chosen
                .into_iter()
                .chain(rejected)
                .take(CANDIDATES_MAX)
                .collect(),
            at,
        }
    }
}

/// The rules are certain: who is chosen is chosen with probability 1.
fn candidate(agent_id: &str, shown: bool, reason: &str) -> Candidate {
    Candidate {
        id: agent_id.to_owned(),
        score: 0.0,
        propensity: if shown { 1.0 } else { 0.0 },
        shown,
        reason: reason.to_owned(),
    }
}

impl Desk {
    /// Writes what the log must hear about, with the change that made it true: both are committed, or
    /// neither is. Decisions go another way, see [`Desk::tell`]. `key` seals what a message's writer
    /// feels.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Internal`] for a message without its writer's key.
    pub async fn record(
        &self,
        tx: &mut Tx,
        happened: &[Happening],
        key: Option<&SubjectKey>,
    ) -> Result<(), Error> {
        if !self.durable {
            return Ok(());
        }
        for mut event in happened
            .iter()
            .flat_map(|happening| self.events_of(happening))
        {
            let Some(subject) = event.subject else {
                continue;
            };
            let personal = event.personal.take();
            let sealed = match (personal, key) {
                (None, _) => None,
                (Some(personal), Some(key)) => {
                    Some(key.seal(event.event_id.as_bytes(), &personal.encode_to_vec()))
                }
                (Some(_), None) => return Err(Error::Internal("a feeling cannot be sealed")),
            };
            let event = event.into_new_event().encode_to_vec();
            outbox::insert(tx, subject, &event, sealed.as_deref()).await?;
        }
        Ok(())
    }

    /// Tells what was committed: wakes who sends the outbox, and sends decisions, which are counted and
    /// so may be lost. A full outbox loses some, says so, and delays nobody.
    pub fn tell(&self, happened: impl IntoIterator<Item = Happening>) {
        let mut lost = 0_u32;
        for happening in happened {
            lost += match happening {
                Happening::Routed(route) => self.tell_routed(route),
                Happening::Received(_) | Happening::Changed(_) if self.durable => 0,
                // The negative control: told after the commit, from memory.
                Happening::Received(_) | Happening::Changed(_) => {
                    let events = self.events_of(&happening).into_iter();
                    events
                        .map(|event| u32::from(self.outbox.publish(event).is_err()))
                        .sum()
                }
            };
        }
        if lost > 0 {
            tracing::warn!(lost, "the outbox is full");
        }
        self.told.notify_one();
    }

    fn events_of(&self, happening: &Happening) -> Vec<OutboxEvent> {
        match happening {
            Happening::Received(received) => events_of_message(received),
            Happening::Changed(row) => vec![self.event_of_change(row)],
            Happening::Routed(_) => Vec::new(),
        }
    }

    fn event_of_change(&self, row: &CaseRow) -> OutboxEvent {
        let case_id = hex(&row.case_id);
        let has_agent = match row.state {
            CaseState::Assigned | CaseState::Pending => true,
            CaseState::Queued | CaseState::Resolved | CaseState::Closed => false,
        };
        let agent = row.agent_id.as_deref().filter(|_| has_agent);
        let payload = CaseChanged {
            case_id: case_id.clone(),
            state: row.state.name().to_owned(),
            agent_id: agent.unwrap_or_default().to_owned(),
        };
        OutboxEvent {
            event_id: format!("case-{case_id}-{}", row.version),
            subject: Some(row.subject),
            occurred_at: self.clock.now(),
            payload: any_of("rapport.event.v1.CaseChanged", &payload),
            personal: None,
        }
    }

    fn tell_routed(&self, route: Route) -> u32 {
        let measured = self
            .people
            .consent(route.subject, Purpose::Measure)
            .is_granted();
        let draft = DecisionDraft {
            model_version: ROUTER_VERSION.to_owned(),
            subject: measured.then_some(route.subject),
            occurred_at: route.at,
            ..DecisionDraft::default()
        };
        let told = self.outbox.decide_as(route.decision_id, draft, |header| {
            let payload = RouteDecided {
                header: Some(header),
                case_id: hex(&route.case_id),
                agent_id: route.agent_id,
                candidates: route.candidates,
            };
            any_of("rapport.event.v1.RouteDecided", &payload)
        });
        u32::from(told.is_err())
    }
}

/// Returns that a message came, and what its writer feels.
fn events_of_message(received: &Received) -> Vec<OutboxEvent> {
    let message_id = hex(&received.message_id);
    let payload = MessageReceived {
        message_id: message_id.clone(),
        case_id: hex(&received.case_id),
        channel: received.channel,
        length: received.length,
        intent: received.intent.clone(),
        language: received.language.to_owned(),
    };
    let mut events = vec![OutboxEvent {
        event_id: format!("message-{message_id}"),
        subject: Some(received.subject),
        occurred_at: received.at,
        payload: any_of("rapport.event.v1.MessageReceived", &payload),
        personal: None,
    }];
    if let Some(felt) = &received.feeling {
        let personal = EmotionObservedPersonal {
            label: felt.emotion.name().to_owned(),
            valence: felt.valence,
            arousal: felt.arousal,
        };
        let payload = EmotionObserved {
            reference: message_id.clone(),
        };
        events.push(OutboxEvent {
            event_id: format!("emotion-{message_id}"),
            subject: Some(received.subject),
            occurred_at: received.at,
            payload: any_of("rapport.event.v1.EmotionObserved", &payload),
            personal: Some(any_of(
                "rapport.event.v1.EmotionObservedPersonal",
                &personal,
            )),
        });
    }
    events
}
