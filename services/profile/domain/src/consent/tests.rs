//! The rules of DESIGN section 6 for consent, one test each.

use super::*;
use proptest::prelude::*;

fn register(state: ConsentState, at: i64, sequence: u64, source: ConsentSource) -> Register {
    Register {
        state,
        received_at: UnixMillis(at),
        sequence,
        evidence_id: format!("e{sequence}"),
        source,
    }
}

fn person(state: ConsentState, at: i64) -> Register {
    register(state, at, at as u64, ConsentSource::Person)
}

use ConsentState::{Granted, Revoked, Unset};

#[test]
fn the_last_write_wins_and_a_replay_changes_nothing() {
    let mut registers = ConsentRegisters::default();
    assert!(registers.write(Purpose::Measure, person(Granted, 1)));
    assert!(registers.write(Purpose::Measure, person(Revoked, 2)));
    assert!(!registers.write(Purpose::Measure, person(Granted, 1)));
    assert!(!registers.write(Purpose::Measure, person(Revoked, 2)));
    assert_eq!(registers.state(Purpose::Measure), Revoked);
    assert!(registers.write(
        Purpose::Measure,
        register(Granted, 2, 9, ConsentSource::Person)
    ));
    assert_eq!(
        registers
            .get(Purpose::Measure)
            .map(|found| found.evidence_id.as_str()),
        Some("e9")
    );
}

#[test]
fn an_import_never_overturns_a_revocation_but_a_person_does() {
    let mut registers = ConsentRegisters::default();
    registers.write(Purpose::Personalise, person(Revoked, 1));
    assert!(!registers.write(
        Purpose::Personalise,
        register(Granted, 5, 5, ConsentSource::Import)
    ));
    assert_eq!(registers.state(Purpose::Personalise), Revoked);
    assert!(registers.write(Purpose::Personalise, person(Granted, 6)));
    assert_eq!(registers.state(Purpose::Personalise), Granted);
}

#[test]
fn a_person_is_the_maximum_of_its_members() {
    let mut granted = ConsentRegisters::default();
    granted.write(Purpose::Advertise, person(Granted, 1));
    granted.write(Purpose::Measure, person(Granted, 1));
    let mut revoked = ConsentRegisters::default();
    revoked.write(Purpose::Advertise, person(Revoked, 1));
    let members = [granted, ConsentRegisters::default(), revoked];
    assert_eq!(folded(&members, Purpose::Advertise), Revoked);
    assert_eq!(folded(&members, Purpose::Measure), Granted);
    assert_eq!(folded(&members, Purpose::Share), Unset);
    let purposes: Vec<_> = admitted(&members).iter().collect();
    assert_eq!(purposes, [Purpose::Service, Purpose::Measure]);
}

#[test]
fn service_is_always_permitted_and_cannot_be_written() {
    let mut registers = ConsentRegisters::default();
    assert!(!registers.write(Purpose::Service, person(Revoked, 1)));
    assert_eq!(registers.state(Purpose::Service), Granted);
    assert_eq!(admitted([]).iter().collect::<Vec<_>>(), [Purpose::Service]);
}

#[test]
fn a_write_reaches_every_member() {
    let ids = [1, 2, 3].map(|byte| SubjectId::new([byte; 16]));
    let mut members: Vec<_> = ids
        .iter()
        .map(|id| (*id, ConsentRegisters::default()))
        .collect();
    members[1].1.write(Purpose::Emotion, person(Granted, 50)); // later than what follows
    assert_eq!(
        write_members(&mut members, Purpose::Emotion, &person(Revoked, 9)),
        [ids[0], ids[2]]
    );
}

fn any_state() -> impl Strategy<Value = ConsentState> {
    prop::sample::select(vec![Unset, Granted, Revoked])
}

proptest! {
    #[test]
    fn writes_by_people_end_the_same_in_any_order(
        writes in prop::collection::vec((any_state(), 0i64..5), 1..20),
        rotate in 0usize..20,
    ) {
        let writes: Vec<Register> = writes.iter().enumerate()
            .map(|(sequence, (state, at))| register(*state, *at, sequence as u64, ConsentSource::Person))
            .collect();
        let run = |order: &[Register]| {
            let mut registers = ConsentRegisters::default();
            order.iter().for_each(|write| { registers.write(Purpose::Share, write.clone()); });
            registers
        };
        let mut other = writes.clone();
        other.rotate_left(rotate % writes.len());
        other.reverse();
        prop_assert_eq!(run(&writes), run(&other));
    }

    #[test]
    fn no_run_of_imports_leaves_revoked(states in prop::collection::vec(any_state(), 0..10)) {
        let mut registers = ConsentRegisters::default();
        registers.write(Purpose::Message, person(Revoked, 0));
        for (at, state) in states.into_iter().enumerate() {
            registers.write(Purpose::Message, register(state, at as i64, at as u64, ConsentSource::Import));
        }
        prop_assert_eq!(registers.state(Purpose::Message), Revoked);
    }

    #[test]
    fn a_link_never_widens(left in any_state(), right in any_state()) {
        let of = |state| {
            let mut registers = ConsentRegisters::default();
            registers.write(Purpose::Share, person(state, 1));
            registers
        };
        let both = admitted(&[of(left), of(right)]);
        let alone = [admitted(&[of(left)]), admitted(&[of(right)])];
        // What both grant together, at least one granted alone and none had revoked.
        prop_assert!(!both.contains(Purpose::Share)
            || (alone.iter().any(|set| set.contains(Purpose::Share)) && left != Revoked && right != Revoked));
    }
}
