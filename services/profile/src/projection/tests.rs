//! The projection without a log: bounds, tombstones, stored bytes.

use rapport_api::event::v1::{EventRecord, Search, SubjectsErased, ViewItem};

use super::*;

fn record(id: usize, name: &str, message: &impl Message, sealed: &[u8]) -> EventRecord {
    EventRecord {
        event_id: format!("e-{id}"),
        r#type: name.to_owned(),
        occurred_at_ms: 1_000 + id as i64,
        payload: message.encode_to_vec().into(),
        sealed: sealed.to_vec().into(),
        ..EventRecord::default()
    }
}

fn applied(events: &[EventRecord]) -> SubjectState {
    let mut state = SubjectState::default();
    events
        .iter()
        .for_each(|event| Profiles.apply(b"s", &mut state, event));
    state
}

#[test]
fn sealed_events_are_bounded_per_kind_and_the_newest_stay() {
    let mut events: Vec<_> = (0..40)
        .map(|id| record(id, "search", &Search { results: 1 }, b"sealed"))
        .collect();
    events.insert(
        0,
        record(99, "emotion_observed", &Search::default(), b"sealed"),
    );
    let state = applied(&events);
    let kept = |kind| {
        state
            .sealed
            .iter()
            .filter(move |event| event.kind() == kind)
    };
    assert_eq!(
        kept(SealedKind::Emotion).count(),
        1,
        "searches do not push it out"
    );
    let ids: Vec<_> = kept(SealedKind::Search)
        .map(|event| event.event_id.as_str())
        .collect();
    let expected: Vec<_> = (24..40).map(|id| format!("e-{id}")).collect();
    assert_eq!(ids, expected);
}

#[test]
fn an_erased_subject_learns_nothing_any_more() {
    let view = record(1, "view_item", &ViewItem::default(), b"");
    let erased = record(2, "subjects_erased", &SubjectsErased::default(), b"");
    let late = record(3, "view_item", &ViewItem::default(), b"");
    let state = applied(&[view, erased, late]);
    assert!(state.erased);
    assert_eq!(state.profile, ProfileState::default());
}

#[test]
fn a_state_survives_its_stored_form() {
    let state = applied(&[
        record(1, "view_item", &ViewItem::default(), b""),
        record(2, "search", &Search::default(), b"sealed"),
        EventRecord {
            payload: vec![0xff].into(),
            ..record(3, "purchase", &ViewItem::default(), b"")
        },
    ]);
    assert_eq!(state.malformed, 1);
    let stored = Profiles::encode(&state);
    assert_eq!(Profiles::decode(&stored).unwrap(), state);
    assert!(Profiles::decode(&stored[1..]).is_err());
    let empty = Profiles::encode(&SubjectState::default());
    assert_eq!(Profiles::decode(&empty).unwrap(), SubjectState::default());
}

#[test]
fn every_type_is_one_of_the_contract() {
    for name in Profiles::TYPES {
        assert!(rapport_api::policy::event(name).is_some(), "{name}");
    }
}
