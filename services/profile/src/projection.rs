//! What the log says about each subject: the state behind profiles, kept by the runner of `rapport-flow`.
//!
//! Whatever the log stored is added up here, and nothing of it is read without consent. Sealed parts
//! stay sealed: a bounded list of them is kept, to be opened when somebody may read them.

mod apply;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use profile_domain::ProfileState;
use prost::Message;
use rapport_api::event::v1::EventRecord;
use rapport_flow::{DecodeError, Projection};

/// Sealed events kept of each kind; older ones go.
pub const SEALED_PER_KIND_MAX: usize = 16;
/// The copy of an erasure in its subjects' partitions.
const ERASED: &str = "subjects_erased";

/// The projection of profiles.
#[derive(Debug, Clone, Copy, Default)]
pub struct Profiles;

/// One subject's part of a profile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SubjectState {
    /// What its events add up to.
    pub profile: ProfileState,
    /// The last sealed events in log order, at most [`SEALED_PER_KIND_MAX`] of each kind.
    pub sealed: VecDeque<SealedEvent>,
    /// Events whose payload did not decode: left out.
    pub malformed: u64,
    /// Whether the subject was erased: later events are ignored, however they came in.
    pub erased: bool,
}

/// An event whose content only the subject's key opens.
#[derive(Clone, PartialEq, Message)]
pub struct SealedEvent {
    /// The kind, a [`SealedKind`].
    #[prost(enumeration = "SealedKind", tag = "1")]
    pub kind: i32,
    /// The event: the seal is bound to it.
    #[prost(string, tag = "2")]
    pub event_id: String,
    /// When it happened.
    #[prost(int64, tag = "3")]
    pub occurred_at_ms: i64,
    /// The encrypted `<Type>Personal`.
    #[prost(bytes = "bytes", tag = "4")]
    pub sealed: Bytes,
}

/// The kinds of sealed events that a profile learns from. The numbers are stored: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum SealedKind {
    /// `search`: read under `personalise`.
    Search = 1,
    /// `emotion_observed`: read under `emotion`.
    Emotion = 2,
}

impl SealedKind {
    /// Returns the kind of an event type, `None` for a type without one.
    #[must_use]
    pub fn of(event_type: &str) -> Option<Self> {
        match event_type {
            "search" => Some(Self::Search),
            "emotion_observed" => Some(Self::Emotion),
            _ => None,
        }
    }

    /// Returns the event type.
    #[must_use]
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Emotion => "emotion_observed",
        }
    }
}

/// The stored form of a [`SubjectState`].
#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(bytes = "vec", tag = "1")]
    profile: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    sealed: Vec<SealedEvent>,
    #[prost(uint64, tag = "3")]
    malformed: u64,
    #[prost(bool, tag = "4")]
    erased: bool,
}

impl Projection for Profiles {
    const NAME: &'static str = "profiles";
    const VERSION: u32 = 1;
    const TYPES: &'static [&'static str] = &[
        "view_item",
        "view_item_list",
        "select_item",
        "add_to_cart",
        "remove_from_cart",
        "add_to_wishlist",
        "dislike",
        "share",
        "search",
        "purchase",
        "refund",
        "review",
        "sign_in",
        "sign_up",
        "message_received",
        "emotion_observed",
        "ad_click",
        ERASED,
    ];
    type State = SubjectState;

    fn apply(&self, _key: &[u8], state: &mut SubjectState, event: &EventRecord) {
        if event.r#type == ERASED {
            *state = SubjectState {
                erased: true,
                ..SubjectState::default()
            };
        }
        if state.erased {
            return;
        }
        if apply::apply(&mut state.profile, event).is_err() {
            state.malformed = state.malformed.saturating_add(1);
            return;
        }
        if let Some(kind) = SealedKind::of(&event.r#type)
            && !event.sealed.is_empty()
        {
            state.keep(SealedEvent {
                kind: kind as i32,
                event_id: event.event_id.clone(),
                occurred_at_ms: event.occurred_at_ms,
                // A copy: a slice would keep the whole batch in memory.
                sealed: Bytes::copy_from_slice(&event.sealed),
            });
        }
    }

    fn encode(state: &SubjectState) -> Vec<u8> {
        let stored = Stored {
            profile: state.profile.to_bytes(),
            sealed: state.sealed.iter().cloned().collect(),
            malformed: state.malformed,
            erased: state.erased,
        };
        stored.encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<SubjectState, DecodeError> {
        let stored = Stored::decode(bytes)?;
        Ok(SubjectState {
            profile: ProfileState::from_bytes(&stored.profile)?,
            sealed: stored.sealed.into(),
            malformed: stored.malformed,
            erased: stored.erased,
        })
    }
}

impl SubjectState {
    /// Adds a sealed event; the oldest of its kind goes when there are too many.
    fn keep(&mut self, event: SealedEvent) {
        let same = |other: &SealedEvent| other.kind == event.kind;
        if self.sealed.iter().filter(|other| same(other)).count() >= SEALED_PER_KIND_MAX
            && let Some(oldest) = self.sealed.iter().position(same)
        {
            self.sealed.remove(oldest);
        }
        self.sealed.push_back(event);
    }
}
