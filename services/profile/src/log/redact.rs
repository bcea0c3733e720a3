//! Taking erased subjects out of stored batches without touching any other byte.
//!
//! Events are walked as they lie, never decoded and encoded again: a newer replica's fields stay. An
//! event of an erased subject becomes a tombstone at its sequence; a copied control record, which may
//! name several subjects, keeps its shape, with zeros for those who were erased.

use std::collections::HashSet;

use bytes::{Buf as _, Bytes};
use prost::Message as _;
use prost::encoding::{self, DecodeContext, WireType, decode_key, encode_key, encode_varint};
use rapport_api::event::v1::EventRecord;
use rapport_types::SubjectId;

use super::StoredBatch;
use super::prepared::EVENTS_FIELD;
use crate::control::SOURCE as CONTROL_SOURCE;

/// The type of an event that was taken out. Reserved: no caller can send it.
pub const TOMBSTONE_TYPE: &str = "erased";
const SUBJECT_BYTES: usize = 16;

/// Returns `batch` without the events of `erased`, or `None` if it holds none of them.
///
/// # Errors
/// When the bytes are not what was written: the disk is damaged.
pub(super) fn redact(
    batch: &StoredBatch,
    erased: &HashSet<SubjectId>,
) -> Result<Option<StoredBatch>, prost::DecodeError> {
    if erased.is_empty() {
        return Ok(None);
    }
    let mut rest = batch.encoded.clone();
    let mut kept = Vec::with_capacity(rest.len());
    let mut changed = false;
    while rest.has_remaining() {
        let (_field, wire) = decode_key(&mut rest)?;
        let mut raw = Bytes::new();
        encoding::bytes::merge(wire, &mut raw, &mut rest, DecodeContext::default())?;
        let event = EventRecord::decode(raw.clone())?;
        match instead_of(&event, &raw, erased) {
            Some(other) => {
                changed = true;
                write(&other, &mut kept);
            }
            None => write(&raw, &mut kept),
        }
    }
    Ok(changed.then(|| StoredBatch {
        encoded: kept.into(),
        ..batch.clone()
    }))
}

fn write(event: &[u8], to: &mut Vec<u8>) {
    encode_key(EVENTS_FIELD, WireType::LengthDelimited, to);
    encode_varint(event.len() as u64, to);
    to.extend_from_slice(event);
}

/// Returns what to store instead of an event; `None` if it may stay as it is.
fn instead_of(event: &EventRecord, raw: &[u8], erased: &HashSet<SubjectId>) -> Option<Vec<u8>> {
    let is_erased = |id: &[u8]| SubjectId::parse(id).is_ok_and(|id| erased.contains(&id));
    if is_erased(&event.subject_id) {
        return Some(tombstone(event).encode_to_vec());
    }
    if event.source != CONTROL_SOURCE {
        return None;
    }
    let mut blanked = raw.to_vec();
    let mut changed = false;
    for at in 0..(raw.len() + 1).saturating_sub(SUBJECT_BYTES) {
        if is_erased(&raw[at..at + SUBJECT_BYTES]) {
            blanked[at..at + SUBJECT_BYTES].fill(0);
            changed = true;
        }
    }
    changed.then_some(blanked)
}

/// Returns what is left of an event: its place, and when the log took it, on which retention depends.
fn tombstone(event: &EventRecord) -> EventRecord {
    EventRecord {
        partition: event.partition,
        sequence: event.sequence,
        r#type: TOMBSTONE_TYPE.to_owned(),
        lane: event.lane,
        occurred_at_ms: event.received_at_ms,
        received_at_ms: event.received_at_ms,
        ..EventRecord::default()
    }
}

#[cfg(test)]
mod tests {
    use rapport_api::event::v1::{EventBatch, Person, SubjectsLinked};

    use super::*;

    const ALICE: SubjectId = SubjectId::new([0xa1; 16]);
    const BOB: SubjectId = SubjectId::new([0xb0; 16]);

    fn event(sequence: u64, subject: SubjectId) -> EventRecord {
        EventRecord {
            partition: 3,
            sequence,
            event_id: format!("e-{sequence}"),
            source: "shop".to_owned(),
            r#type: "view_item".to_owned(),
            subject_id: subject.to_vec().into(),
            received_at_ms: 1_000 + sequence as i64,
            payload: vec![9; 20].into(),
            sealed: vec![8; 40].into(),
            ..EventRecord::default()
        }
    }

    fn batch(events: Vec<EventRecord>) -> StoredBatch {
        let (first, last) = (events[0].sequence, events[events.len() - 1].sequence);
        let events = EventBatch {
            events,
            ..EventBatch::default()
        };
        StoredBatch {
            partition: 3,
            first_sequence: first,
            last_sequence: last,
            encoded: events.encode_to_vec().into(),
        }
    }

    fn contains(batch: &StoredBatch, subject: SubjectId) -> bool {
        let mut windows = batch.encoded.windows(SUBJECT_BYTES);
        windows.any(|window| window == subject.as_bytes())
    }

    #[test]
    fn an_erased_subject_leaves_a_tombstone_and_the_others_stay_as_they_are() {
        let before = batch(vec![event(5, ALICE), event(6, BOB), event(7, ALICE)]);
        let after = redact(&before, &HashSet::from([ALICE])).unwrap().unwrap();
        let events = after.events().unwrap();
        let places: Vec<_> = events
            .iter()
            .map(|event| (event.sequence, event.r#type.as_str(), event.received_at_ms))
            .collect();
        let erased = |sequence| (sequence, TOMBSTONE_TYPE, 1_000 + sequence as i64);
        assert_eq!(places, [erased(5), (6, "view_item", 1_006), erased(7)]);
        assert_eq!(events[1], event(6, BOB));
        assert!(contains(&before, ALICE) && !contains(&after, ALICE));
        assert_eq!(redact(&after, &HashSet::from([ALICE])).unwrap(), None);
        assert_eq!(redact(&before, &HashSet::new()).unwrap(), None);
    }

    #[test]
    fn what_a_newer_version_wrote_stays() {
        let mut raw = event(5, BOB).encode_to_vec();
        // Field 99, varint 7: nobody knows it here.
        raw.extend_from_slice(&[0x98, 0x06, 7]);
        let mut encoded = Vec::new();
        write(&raw, &mut encoded);
        write(&event(6, ALICE).encode_to_vec(), &mut encoded);
        let before = StoredBatch {
            encoded: encoded.into(),
            ..batch(vec![event(5, BOB), event(6, ALICE)])
        };
        let after = redact(&before, &HashSet::from([ALICE])).unwrap().unwrap();
        let mut kept = Vec::new();
        write(&raw, &mut kept);
        assert!(after.encoded.starts_with(&kept));
    }

    #[test]
    fn a_copied_link_forgets_its_erased_member_only() {
        let person = Person {
            anchor: ALICE.to_vec(),
            members: vec![ALICE.to_vec(), BOB.to_vec()],
        };
        let link = SubjectsLinked {
            link_id: vec![4; 16],
            person: Some(person),
            graph_version: 8,
            evidence: "sign_in".to_owned(),
        };
        let copy = EventRecord {
            source: CONTROL_SOURCE.to_owned(),
            r#type: "subjects_linked".to_owned(),
            payload: link.encode_to_vec().into(),
            ..event(5, BOB)
        };
        let after = redact(&batch(vec![copy]), &HashSet::from([ALICE]));
        let events = after.unwrap().unwrap().events().unwrap();
        let link = SubjectsLinked::decode(events[0].payload.clone()).unwrap();
        let person = link.person.unwrap();
        assert_eq!(person.anchor, [0; 16]);
        assert_eq!(person.members, [vec![0; 16], BOB.to_vec()]);
        assert_eq!((link.graph_version, link.evidence.as_str()), (8, "sign_in"));
    }

    #[test]
    fn a_cut_off_batch_is_refused() {
        let mut before = batch(vec![event(5, ALICE)]);
        before.encoded.truncate(before.encoded.len() - 1);
        assert!(redact(&before, &HashSet::from([ALICE])).is_err());
    }
}
