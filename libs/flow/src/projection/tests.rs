//! The table and the replay, without a server.

use bytes::Bytes;
use prost::Message as _;
use rapport_api::event::v1::{EventRecord, SubjectsErased};
use rapport_types::SubjectId;

use super::table::{Dirty, Table};
use super::*;

/// Counts events per subject and, apart, per type.
#[derive(Debug)]
struct Counts;

impl Projection for Counts {
    const NAME: &'static str = "counts";
    const VERSION: u32 = 1;
    const TYPES: &'static [&'static str] = &["view_item", "purchase"];
    type State = u64;

    fn keys(&self, event: &EventRecord, keys: &mut Vec<Bytes>) {
        keys.push(event.subject_id.clone());
        keys.push(Bytes::copy_from_slice(event.r#type.as_bytes()));
    }

    fn apply(&self, _key: &[u8], state: &mut u64, _event: &EventRecord) {
        *state += 1;
    }

    fn encode(state: &u64) -> Vec<u8> {
        state.to_le_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(bytes.try_into()?))
    }
}

const A: SubjectId = SubjectId::new([1; 16]);

fn event(sequence: u64, kind: &str) -> EventRecord {
    EventRecord {
        partition: A.partition(),
        sequence,
        r#type: kind.to_owned(),
        subject_id: A.to_vec().into(),
        ..EventRecord::default()
    }
}

fn erasure(sequence: u64) -> EventRecord {
    let erased = SubjectsErased {
        subject_ids: vec![A.to_vec()],
        ..SubjectsErased::default()
    };
    EventRecord {
        payload: erased.encode_to_vec().into(),
        ..event(sequence, "subjects_erased")
    }
}

#[test]
fn several_keys_of_one_event_each_get_it_and_other_types_are_left_out() {
    let events = [
        event(1, "view_item"),
        event(2, "purchase"),
        event(3, "search"),
    ];
    let states = replay(&Counts, &events);
    let state = |key: &[u8]| states.get(&(A.partition(), key.into())).copied();
    assert_eq!(state(A.as_bytes()), Some(2));
    assert_eq!(state(b"purchase"), Some(1));
    assert_eq!(state(b"search"), None);
}

#[test]
fn an_erasure_drops_the_subject_where_it_stands_in_the_order() {
    let events = [event(1, "view_item"), erasure(2)];
    let states = replay(&Counts, &events);
    assert_eq!(states.get(&(A.partition(), A.as_bytes()[..].into())), None);
    assert_eq!(
        states.get(&(A.partition(), b"view_item"[..].into())),
        Some(&1),
        "no subject's"
    );
}

#[test]
fn a_key_that_changes_often_is_written_once_and_a_failed_write_is_not_forgotten() {
    let (table, mut dirty, p) = (Table::new(), Dirty::new(), A.partition());
    table.apply(
        &Counts,
        p,
        &[event(1, "view_item"), event(2, "view_item")],
        &mut dirty,
    );
    assert_eq!(dirty.len(), 2);
    let sent = std::mem::take(&mut dirty);
    let changes = table.changes::<Counts>(p, &sent);
    assert!(
        changes
            .iter()
            .all(|change| change.state == Some(2u64.to_le_bytes().to_vec()))
    );
    // Changed again while the write was on its way, which then failed.
    table.apply(&Counts, p, &[event(3, "view_item")], &mut dirty);
    table.restore(p, sent, &mut dirty);
    dirty.sort();
    dirty.dedup();
    assert_eq!(dirty.len(), 2, "each once");
    assert_eq!(
        table.changes::<Counts>(p, &dirty)[0].state,
        Some(3u64.to_le_bytes().to_vec())
    );
}

#[test]
fn an_erased_key_is_deleted_and_room_is_made_of_clean_ones_only() {
    let (table, mut dirty, p) = (Table::new(), Dirty::new(), A.partition());
    table.apply(&Counts, p, &[event(1, "view_item"), erasure(2)], &mut dirty);
    let erased = |change: &&StateChange| *change.key == A.as_bytes()[..];
    let changes = table.changes::<Counts>(p, &dirty);
    assert_eq!(changes.iter().find(erased).unwrap().state, None);
    dirty.clear();
    table.apply(&Counts, p, &[event(3, "purchase")], &mut dirty);
    table.forget(p, true);
    assert!(table.holds(p, b"purchase") && !table.holds(p, b"view_item"));
}

#[test]
fn a_reader_keeps_what_it_read_while_the_state_moves_on() {
    let (table, mut dirty, p) = (Table::new(), Dirty::new(), A.partition());
    table.apply(&Counts, p, &[event(1, "view_item")], &mut dirty);
    let before = table.get(p, A.as_bytes()).unwrap();
    table.apply(&Counts, p, &[event(2, "view_item")], &mut dirty);
    assert_eq!((*before, *table.get(p, A.as_bytes()).unwrap()), (1, 2));
}

#[test]
fn an_undecodable_state_names_its_projection() {
    let error = decode::<Counts>(&[1, 2, 3]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a stored state of counts does not decode"
    );
}
