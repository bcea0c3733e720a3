//! Continuity, case by case. Reconnecting is tested against a real server in `tests/`.

use rapport_api::event::v1::EventRecord;

use super::*;

fn options(types: &[&str]) -> TailOptions {
    TailOptions {
        name: "test",
        cursors: BTreeMap::from([(3, 10)]),
        types: types.iter().map(|name| (*name).to_owned()).collect(),
        follow: true,
    }
}

fn batch(partition: u32, sequences: &[u64], last_sequence: u64) -> TailEventsResponse {
    let event = |sequence: &u64| EventRecord {
        partition,
        sequence: *sequence,
        ..EventRecord::default()
    };
    TailEventsResponse {
        batch: Some(EventBatch {
            partition,
            last_sequence,
            events: sequences.iter().map(event).collect(),
            high_water: last_sequence,
        }),
        caught_up: false,
    }
}

#[track_caller]
fn check(types: &[&str], message: TailEventsResponse, expected: Option<u64>) {
    let mut options = options(types);
    let accepted = accept(&mut options, message).is_ok();
    assert_eq!(accepted.then(|| options.cursors[&3]), expected);
    assert!(
        accepted || options.cursors[&3] == 10,
        "a refused batch moves nothing"
    );
}

#[test]
fn a_batch_must_continue_its_partition() {
    check(&[], batch(3, &[11, 12], 12), Some(12));
    check(&[], batch(3, &[12], 12), None); // 11 is missing
    check(&[], batch(3, &[11, 13], 13), None);
    check(&[], batch(3, &[10, 11], 11), None); // seen already
    check(&[], batch(3, &[11], 12), None); // 12 is missing
    check(&[], batch(4, &[1], 1), None); // not asked for
    check(&["view_item"], batch(3, &[12, 15], 20), Some(20)); // a filter leaves gaps
    check(&["view_item"], batch(3, &[], 20), Some(20));
    check(&["view_item"], batch(3, &[15, 12], 20), None);
    check(&["view_item"], batch(3, &[12], 11), None);
    check(&["view_item"], batch(3, &[], 9), None); // backwards
}

#[test]
fn a_heartbeat_moves_no_cursor() {
    check(
        &[],
        TailEventsResponse {
            batch: None,
            caught_up: true,
        },
        Some(10),
    );
}

#[test]
fn only_an_expired_sequence_ends_reading() {
    assert!(matches!(
        ended(&Status::out_of_range("below")),
        Ended::Fatal(TailError::Expired)
    ));
    assert!(matches!(
        ended(&Status::unavailable("away")),
        Ended::Lost(_)
    ));
    assert!(matches!(
        ended(&Status::unauthenticated("who")),
        Ended::Lost(_)
    ));
}
