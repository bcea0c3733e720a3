//! The policy that the contracts carry, as tables: which scope, purposes, deadline, shedding and
//! retry class each RPC has, what consent each event type needs, how sensitive each field is.
//!
//! Generated at build time from the custom options in `rapport/type/v1/policy.proto`.

use std::time::Duration;

use rapport_types::Purpose;

/// What an RPC does when a required purpose is not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnRefusal {
    /// The RPC needs no purpose.
    None,
    /// Answers without personal data.
    Degrade,
    /// Answers PERMISSION_DENIED.
    Deny,
}

/// The order in which calls are shed: the last variant goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Criticality {
    /// Consent, erasure, conversations and event collection.
    Vital,
    /// Ad decisions and their events.
    Spend,
    /// Answers that have a fallback.
    Serve,
    /// Reports and administration.
    Report,
}

/// Whether a call may be repeated after its outcome became unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Idempotency {
    /// Changes nothing.
    ReadOnly,
    /// Keyed by `request_id` or event id: a repeat has one effect.
    Keyed,
    /// Repeated only when it was never sent.
    None,
}

/// What the log does with an event whose purpose is not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WithoutConsent {
    /// Stores it; `admitted` says that the purpose was not granted.
    Store,
    /// Stores it without its subject.
    StoreWithoutSubject,
    /// Refuses it.
    Refuse,
}

/// How sensitive a field is, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataClass {
    /// A random identifier that means nothing outside the suite.
    Pseudonym,
    /// Behaviour or a derived trait.
    Personal,
    /// Text that may identify a person; sealed at rest.
    PersonalText,
    /// Emotion, health, finances, minors; sealed and audited.
    Sensitive,
}

/// The policy of one RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodPolicy {
    /// `/package.Service/Method`, as it stands in the HTTP/2 `:path`.
    pub path: &'static str,
    /// The scope that the caller's token must carry.
    pub scope: &'static str,
    /// The purposes that the subject must have granted, all of them.
    pub purposes: &'static [Purpose],
    /// What happens when one of them is missing.
    pub on_refusal: OnRefusal,
    /// The request field that names the subject, empty if there is none.
    pub subject_field: &'static str,
    /// The shedding class.
    pub criticality: Criticality,
    /// The retry class.
    pub idempotency: Idempotency,
    /// The longest the server works on one call in milliseconds; 0 for streams that stay open.
    pub deadline_ms: u32,
    /// Whether either side streams.
    pub streaming: bool,
}

impl MethodPolicy {
    /// Returns the longest the server works on one call, `None` for streams that stay open.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        (self.deadline_ms > 0).then(|| Duration::from_millis(u64::from(self.deadline_ms)))
    }
}

/// The policy of one event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPolicy {
    /// The name that the log stores, such as `view_item`.
    pub name: &'static str,
    /// The payload's full message name, such as `rapport.event.v1.ViewItem`.
    pub message: &'static str,
    /// The purpose for which the event is collected.
    pub purpose: Purpose,
    /// What happens when that purpose is not granted.
    pub without_consent: WithoutConsent,
    /// Whether the type has a `<Type>Personal` message that is sealed.
    pub personal: bool,
    /// Every string field of the payload, those of messages inside it included.
    pub texts: &'static [TextField],
}

/// A string field of an event's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextField {
    /// The field numbers that lead to it from the payload, its own last.
    pub path: &'static [u32],
    /// Its name, such as `lines.item_id`.
    pub name: &'static str,
}

/// The sensitivity of one field that holds personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldPolicy {
    /// The full field name, such as `rapport.event.v1.SearchPersonal.query`.
    pub field: &'static str,
    /// Its class.
    pub class: DataClass,
}

include!(concat!(env!("OUT_DIR"), "/policy_table.rs"));

/// Returns the policy of an RPC by its HTTP/2 path, `None` for a path that no contract has. `O(log n)`.
#[must_use]
pub fn method(path: &str) -> Option<&'static MethodPolicy> {
    METHODS
        .binary_search_by(|policy| policy.path.cmp(path))
        .ok()
        .map(|index| &METHODS[index])
}

/// Returns the policy of every RPC, sorted by path.
#[must_use]
pub fn methods() -> &'static [MethodPolicy] {
    METHODS
}

/// Returns the policy of an event type by the name that the log stores. `O(log n)`.
#[must_use]
pub fn event(name: &str) -> Option<&'static EventPolicy> {
    EVENTS
        .binary_search_by(|policy| policy.name.cmp(name))
        .ok()
        .map(|index| &EVENTS[index])
}

/// Returns the policy of every event type, sorted by name.
#[must_use]
pub fn events() -> &'static [EventPolicy] {
    EVENTS
}

/// Returns every field that holds personal data, sorted by name.
#[must_use]
pub fn fields() -> &'static [FieldPolicy] {
    FIELDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_so_that_binary_search_finds_every_row() {
        assert!(
            METHODS
                .iter()
                .all(|policy| method(policy.path) == Some(policy))
        );
        assert!(
            EVENTS
                .iter()
                .all(|policy| event(policy.name) == Some(policy))
        );
        assert!(
            METHODS.len() > 20 && EVENTS.len() > 20,
            "the contracts are loaded"
        );
    }

    #[test]
    fn every_unary_method_has_a_deadline_and_a_scope() {
        for policy in METHODS {
            assert!(!policy.scope.is_empty(), "{} has no scope", policy.path);
            assert!(
                policy.streaming || policy.deadline_ms > 0,
                "{} has no deadline",
                policy.path
            );
            assert_eq!(
                policy.purposes.is_empty(),
                policy.on_refusal == OnRefusal::None,
                "{}: purposes and on_refusal go together",
                policy.path
            );
        }
    }
}
