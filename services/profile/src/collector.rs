//! From a request to the log: check, resolve, seal, append.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use profile_domain::Identifier;
use rapport_api::event::v1::{EventRecord, Lane};
use rapport_api::policy::{self, EventPolicy, WithoutConsent};
use rapport_api::profile::v1 as pb;
use rapport_flow::People;
use rapport_telemetry::context::{ORIGIN_BYTES, Origin};
use rapport_telemetry::names::LOG_DEDUP_CONFLICTS;
use rapport_types::{Clock, Purpose, PurposeSet, SubjectId, UnixMillis, partition_of};
use tokio::sync::Semaphore;

use crate::error::{self, Error};
use crate::grpc::event::{NewEvent, Subject};
use crate::keyring::Keyring;
use crate::log::{Appended, Committer, DEDUP_HORIZON_DAYS, Prepared, dedup_key};
use crate::seal::{self, Claimed, SubjectKeys};
use crate::subjects::Subjects;

/// A claimed time may be this far ahead of ours; more is clamped.
const AHEAD_MS_MAX: i64 = 5 * 60 * 1_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Copies of control records in one append.
const RELAYED_MAX: usize = 2_000;
/// Before the type of Rapport's own payloads.
const OWN_TYPES: &str = "rapport.event.v1.";

/// Everything that appending an event needs. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Collector {
    /// Identifiers to subjects to keys.
    pub subjects: Subjects,
    /// Who allows what.
    pub people: People,
    /// The way to disk.
    pub committer: Committer,
    /// For events without subject.
    pub keyring: Arc<Keyring>,
    /// The log's time.
    pub clock: Arc<dyn Clock>,
    /// One permit per backfill that may be worked on: an import takes its share and no more.
    pub backfills: Arc<Semaphore>,
    /// Whether personal fields are sealed. Off only in the negative control of the privacy test.
    pub sealing: bool,
}

/// One event as far as it got.
enum Progress {
    Prepared(Option<SubjectId>),
    Rejected(Option<SubjectId>, &'static str),
}

impl Collector {
    /// Appends `events` of one caller and returns one result each, in their order, once on disk.
    ///
    /// # Errors
    /// [`Error::BackfillLimited`]: nothing was looked at. [`Error::Append`], [`Error::Store`]: some may be
    /// stored; sending all of them again is safe.
    pub async fn collect(
        &self,
        source: &str,
        lane: Lane,
        events: Vec<NewEvent>,
    ) -> Result<Vec<pb::EventResult>, Error> {
        // Refused rather than queued, and before any work: an import can wait, and is told how long.
        let _share = match lane {
            Lane::Backfill => Some(
                self.backfills
                    .try_acquire()
                    .map_err(|_full| Error::BackfillLimited)?,
            ),
            Lane::Live | Lane::Unspecified => None,
        };
        let subjects = self.resolve(&events).await?;
        let known: Vec<SubjectId> = subjects.iter().flatten().copied().collect();
        let keys = self.subjects.keys(&known).await?;
        let now = self.clock.now();
        let own_trace = own_trace(&events);
        let mut prepared = Vec::with_capacity(events.len());
        let mut progress = Vec::with_capacity(events.len());
        for (mut event, subject) in events.into_iter().zip(subjects) {
            if event.trace_context.is_empty() {
                event.trace_context.extend(own_trace.into_iter().flatten());
            }
            progress.push(
                match self.prepare(source, lane, event, subject, &keys, now) {
                    Ok((event, subject)) => {
                        prepared.push(event);
                        Progress::Prepared(subject)
                    }
                    Err(reason) => Progress::Rejected(subject, reason),
                },
            );
        }
        let partitions: Vec<u32> = prepared.iter().map(|event| event.partition).collect();
        let appended = self.committer.append(prepared).await?;
        let mut appended = partitions.into_iter().zip(appended);
        let results = progress.into_iter().map(|progress| match progress {
            Progress::Prepared(subject) => {
                let (partition, outcome) = appended.next().unwrap_or((0, Appended::Conflict));
                to_result(subject, partition, outcome)
            }
            Progress::Rejected(subject, reason) => rejected(subject, reason),
        });
        Ok(results.collect())
    }

    /// Returns the subject of each event, `None` for events without one.
    async fn resolve(&self, events: &[NewEvent]) -> Result<Vec<Option<SubjectId>>, Error> {
        let identifiers: Vec<Identifier> = events
            .iter()
            .filter_map(|event| match &event.subject {
                Subject::Identified(identifier) => Some(identifier.clone()),
                Subject::Known(_) | Subject::Nobody => None,
            })
            .collect();
        let mut resolved = self.subjects.resolve(&identifiers).await?.into_iter();
        let subjects = events.iter().map(|event| match &event.subject {
            Subject::Known(subject) => Some(*subject),
            Subject::Identified(_) => resolved.next().map(|resolved| resolved.subject_id),
            Subject::Nobody => None,
        });
        Ok(subjects.collect())
    }

    /// Returns the event as the log takes it, or the reason why it does not.
    fn prepare(
        &self,
        source: &str,
        lane: Lane,
        event: NewEvent,
        subject: Option<SubjectId>,
        keys: &HashMap<SubjectId, Arc<SubjectKeys>>,
        now: UnixMillis,
    ) -> Result<(Prepared, Option<SubjectId>), &'static str> {
        let occurred_at_ms = match event.occurred_at_ms {
            0 => now.0,
            claimed => claimed.min(now.0 + AHEAD_MS_MAX),
        };
        if lane != Lane::Backfill && occurred_at_ms < now.0 - DEDUP_HORIZON_DAYS * DAY_MS {
            return Err(error::EVENT_TOO_OLD);
        }
        let (name, policy) = type_name(&event.type_url);
        let admitted = match &subject {
            Some(subject) => self.people.admitted(*subject),
            None => PurposeSet::default().with(Purpose::Service),
        };
        let subject = match policy {
            Some(policy) if !admitted.contains(policy.purpose) => match policy.without_consent {
                WithoutConsent::Store => subject,
                WithoutConsent::StoreWithoutSubject => None,
                WithoutConsent::Refuse => return Err(error::EVENT_REFUSED),
            },
            Some(_) | None => subject,
        };
        let keys = match &subject {
            Some(subject) if self.people.is_erased(*subject) => return Err(error::SUBJECT_ERASED),
            Some(subject) => Some(keys.get(subject).ok_or(error::SUBJECT_NOT_FOUND)?),
            None => None,
        };
        let claimed = Claimed {
            name,
            occurred_at_ms: event.occurred_at_ms,
            payload: &event.payload,
            personal: &event.personal,
        };
        // An event that may lose its subject must look the same with and without it, or sending it again
        // after a change of consent would be a conflict.
        let may_lose_subject = policy
            .is_some_and(|policy| policy.without_consent == WithoutConsent::StoreWithoutSubject);
        let fingerprint = match keys {
            Some(keys) if !may_lose_subject => keys.fingerprint(&claimed),
            Some(_) | None => seal::fingerprint(self.keyring.unkeyed(), &claimed),
        };
        let sealed = match subject.zip(keys) {
            Some((subject, keys)) => self.sealed(subject, keys, &event),
            None => Vec::new(),
        };
        let dedup = dedup_key(source, &event.event_id);
        let record = EventRecord {
            partition: subject.map_or_else(|| partition_of(&dedup), |subject| subject.partition()),
            event_id: event.event_id,
            source: source.to_owned(),
            r#type: name.to_owned(),
            schema_version: event.schema_version,
            subject_id: subject.map(SubjectId::to_vec).unwrap_or_default().into(),
            lane: lane as i32,
            occurred_at_ms,
            admitted: u32::from(admitted.0),
            fingerprint: fingerprint.to_vec().into(),
            payload: event.payload.into(),
            sealed: sealed.into(),
            trace_context: event.trace_context.into(),
            ..EventRecord::default()
        };
        Ok((Prepared::new(&record, dedup), subject))
    }

    fn sealed(&self, subject: SubjectId, keys: &SubjectKeys, event: &NewEvent) -> Vec<u8> {
        if event.personal.is_empty() || !self.sealing {
            return event.personal.clone();
        }
        keys.seal(&subject, &event.event_id, &event.personal)
    }

    /// Copies control records into the partitions of their subjects. Idempotent.
    ///
    /// # Errors
    /// [`Error::Append`]: some copies may be there; copying again is safe.
    pub async fn relay(&self, records: &[(&EventRecord, Vec<SubjectId>)]) -> Result<(), Error> {
        let pairs = records
            .iter()
            .flat_map(|(record, subjects)| subjects.iter().map(move |subject| (*record, *subject)));
        let copies: Vec<Prepared> = pairs
            .map(|(record, subject)| copy_of(record, subject))
            .collect();
        for copies in copies.chunks(RELAYED_MAX) {
            self.committer.append(copies.to_vec()).await?;
        }
        Ok(())
    }
}

/// Returns the span of this call as its events' origin, unless they name their own: a batch of several
/// requests' events must not pull those that are not traced into the trace of another.
fn own_trace(events: &[NewEvent]) -> Option<[u8; ORIGIN_BYTES]> {
    let named = events.iter().any(|event| !event.trace_context.is_empty());
    if named { None } else { Origin::current() }.map(Origin::to_bytes)
}

fn copy_of(record: &EventRecord, subject: SubjectId) -> Prepared {
    let event_id = format!("{}-{subject}", record.event_id);
    let dedup = dedup_key(&record.source, &event_id);
    let copy = EventRecord {
        partition: subject.partition(),
        event_id,
        subject_id: subject.to_vec().into(),
        sequence: 0,
        received_at_ms: 0,
        ..record.clone()
    };
    Prepared::new(&copy, dedup)
}

/// Returns the name under which the log stores a type, and its policy if Rapport knows it.
///
/// `type.googleapis.com/rapport.event.v1.ViewItem` is `view_item`; a foreign type keeps its full name.
pub(crate) fn type_name(type_url: &str) -> (&str, Option<&'static EventPolicy>) {
    static BY_MESSAGE: LazyLock<HashMap<&'static str, &'static EventPolicy>> =
        LazyLock::new(|| {
            policy::events()
                .iter()
                .map(|policy| (policy.message, policy))
                .collect()
        });
    let message = type_url.rsplit('/').next().unwrap_or_default();
    match BY_MESSAGE.get(message) {
        Some(policy) => (policy.name, Some(policy)),
        None => (message, None),
    }
}

/// Returns whether a type is one of Rapport's names without being an event that callers may send.
pub(crate) fn is_reserved(type_url: &str) -> bool {
    const CONTROL: [&str; 4] = [
        "consent_changed",
        "subjects_linked",
        "subjects_unlinked",
        "subjects_erased",
    ];
    match type_name(type_url) {
        (name, Some(_)) => CONTROL.contains(&name),
        (name, None) => name.starts_with(OWN_TYPES) || !name.contains('.'),
    }
}

fn to_result(subject: Option<SubjectId>, partition: u32, outcome: Appended) -> pb::EventResult {
    let (outcome, partition, sequence) = match outcome {
        Appended::Accepted(sequence) => (pb::EventOutcome::Accepted, partition, sequence),
        Appended::Duplicate(partition, sequence) => {
            (pb::EventOutcome::Duplicate, partition, sequence)
        }
        Appended::Conflict => {
            LOG_DEDUP_CONFLICTS.add(1, &[]);
            return rejected(subject, error::EVENT_ID_CONFLICT);
        }
    };
    pb::EventResult {
        outcome: outcome as i32,
        reason: String::new(),
        subject_id: subject.map(SubjectId::to_vec).unwrap_or_default(),
        partition,
        sequence,
    }
}

fn rejected(subject: Option<SubjectId>, reason: &'static str) -> pb::EventResult {
    pb::EventResult {
        outcome: pb::EventOutcome::Rejected as i32,
        reason: reason.to_owned(),
        subject_id: subject.map(SubjectId::to_vec).unwrap_or_default(),
        ..pb::EventResult::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_types_get_their_short_name_and_foreign_ones_keep_theirs() {
        let (name, policy) = type_name("type.googleapis.com/rapport.event.v1.ViewItem");
        assert_eq!(
            (name, policy.map(|policy| policy.purpose)),
            ("view_item", Some(Purpose::Personalise))
        );
        assert_eq!(
            type_name("type.googleapis.com/com.shop.v1.Thing").0,
            "com.shop.v1.Thing"
        );
    }

    #[test]
    fn nobody_can_send_control_records_or_pretend_to_be_ours() {
        for reserved in [
            "rapport.event.v1.ConsentChanged",
            "rapport.event.v1.Nothing",
            "view_item",
            "",
        ] {
            assert!(
                is_reserved(&format!("type.googleapis.com/{reserved}")),
                "{reserved}"
            );
        }
        assert!(!is_reserved(
            "type.googleapis.com/rapport.event.v1.Purchase"
        ));
        assert!(!is_reserved("type.googleapis.com/com.shop.v1.Thing"));
    }
}
