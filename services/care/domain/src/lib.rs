//! The rules of care: what a message says, what state a case is in, whom it goes to, and how many
//! people a queue needs.
//!
//! Pure: no I/O, no clock (now is an argument), no async. Sealing of message text, the claim that
//! gives a case to one agent only, and all storage live in the service.

mod agent;
mod analysis;
mod case;
mod intent;
mod priority;
pub mod queueing;
mod routing;
mod sla;

pub use agent::{Agent, Presence, Rejection, SKILL_RELAX_MS};
pub use analysis::{Analysis, Evidence, EvidenceSource, Feelings, Felt, MessageModels, analyse};
pub use case::{CaseEvent, CaseState, ForbiddenMove};
pub use intent::Intent;
pub use priority::{
    AGING_POINTS_PER_MINUTE, BASE_POINTS_MAX, QueuedCase, ValueTier, base_points, priority, rank,
};
pub use rapport_text::{Emotion, Language, ModelFileError, TextClassifier};
pub use routing::{
    AGENTS_MAX, QUEUE_MAX, QueueReason, RouteDecision, RouteReason, choose, next_case,
};
pub use sla::{ClockState, SlaClock, SlaPolicy};
