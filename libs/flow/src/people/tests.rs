//! Tables worked by hand, staleness on paused time, and the view against a naive model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use prost::Message as _;
use rapport_api::event::v1::{
    self as events, ConsentChanged, ConsentRegister, EventRecord, SubjectsErased, SubjectsLinked,
    SubjectsUnlinked,
};
use rapport_api::profile::v1::{GetControlSnapshotResponse, SubjectConsent};
use rapport_types::{CONTROL_PARTITION, ConsentState};
use tokio::time::advance;

use super::*;

fn subject(n: u8) -> SubjectId {
    SubjectId::new([n; 16])
}

fn ids(subjects: &[u8]) -> Vec<Vec<u8>> {
    subjects.iter().map(|n| subject(*n).to_vec()).collect()
}

fn person(members: &[u8]) -> events::Person {
    events::Person {
        anchor: subject(members[0]).to_vec(),
        members: ids(members),
    }
}

fn record(sequence: u64, kind: &str, payload: Vec<u8>) -> EventRecord {
    EventRecord {
        partition: CONTROL_PARTITION,
        sequence,
        r#type: kind.to_owned(),
        payload: payload.into(),
        ..EventRecord::default()
    }
}

fn loaded() -> People {
    let people = People::new();
    let mut snapshot = Snapshot::default();
    let last = GetControlSnapshotResponse {
        last: true,
        ..Default::default()
    };
    snapshot.add(&last).unwrap();
    people.load(snapshot).unwrap();
    people.heartbeat();
    people
}

/// A view and the sequence of its next record.
struct Fed(People, u64);

impl Fed {
    fn new() -> Self {
        Self(loaded(), 0)
    }

    fn apply(&mut self, kind: &str, payload: Vec<u8>) {
        self.1 += 1;
        self.0
            .apply_control(&record(self.1, kind, payload))
            .unwrap();
    }

    fn consent(&mut self, subjects: &[u8], purpose: Purpose, state: ConsentState) {
        let registers = vec![ConsentRegister {
            purpose: purpose as i32,
            state: i32::from(state as u8),
        }];
        let subject_ids = ids(subjects);
        let changed = ConsentChanged {
            subject_ids,
            registers,
            ..Default::default()
        };
        self.apply("consent_changed", changed.encode_to_vec());
    }

    fn link(&mut self, members: &[u8]) {
        let (person, graph_version) = (Some(person(members)), self.1 + 1);
        let linked = SubjectsLinked {
            person,
            graph_version,
            ..Default::default()
        };
        self.apply("subjects_linked", linked.encode_to_vec());
    }

    fn unlink(&mut self, persons: &[&[u8]]) {
        let (persons, graph_version) = (persons.iter().map(|p| person(p)).collect(), self.1 + 1);
        let unlinked = SubjectsUnlinked {
            persons,
            graph_version,
            ..Default::default()
        };
        self.apply("subjects_unlinked", unlinked.encode_to_vec());
    }

    fn erase(&mut self, subjects: &[u8]) {
        let (subject_ids, graph_version) = (ids(subjects), self.1 + 1);
        let erased = SubjectsErased {
            subject_ids,
            graph_version,
            ..Default::default()
        };
        self.apply("subjects_erased", erased.encode_to_vec());
    }

    #[track_caller]
    fn check(&self, n: u8, purpose: Purpose, expected: Consent) {
        assert_eq!(self.0.consent(subject(n), purpose), expected);
    }
}

use ConsentState::{Granted, Revoked, Unset};
use Purpose::{Advertise, Personalise, Service};

#[tokio::test]
async fn the_strongest_register_of_any_member_decides() {
    let mut fed = Fed::new();
    fed.check(1, Personalise, Consent::Refused); // never asked
    fed.check(1, Service, Consent::Granted); // always
    fed.consent(&[1], Personalise, Granted);
    fed.check(1, Personalise, Consent::Granted);
    fed.check(1, Advertise, Consent::Refused);
    fed.link(&[1, 2]);
    fed.check(2, Personalise, Consent::Granted); // by member 1
    fed.consent(&[2], Personalise, Revoked);
    fed.check(1, Personalise, Consent::Refused); // revoked anywhere
    fed.unlink(&[&[1], &[2]]);
    fed.check(1, Personalise, Consent::Granted); // registers stay as they were
    fed.check(2, Personalise, Consent::Refused);
    fed.consent(&[1], Personalise, Unset);
    fed.check(1, Personalise, Consent::Refused);
    assert_eq!(
        fed.0.admitted(subject(1)),
        PurposeSet::default().with(Service)
    );
}

#[tokio::test]
async fn members_anchor_and_version_follow_the_graph() {
    let mut fed = Fed::new();
    assert_eq!(*fed.0.members(subject(9)), [subject(9)]);
    fed.link(&[2, 9]);
    fed.link(&[1, 2, 9]); // an earlier subject becomes the anchor
    let view = fed.0.person_view(subject(9));
    assert_eq!((view.anchor, view.graph_version), (subject(1), 2));
    assert_eq!(*view.members, [subject(1), subject(2), subject(9)]);
    fed.unlink(&[&[1], &[2, 9]]);
    assert_eq!(fed.0.anchor(subject(9)), subject(2));
    assert_eq!(*fed.0.members(subject(1)), [subject(1)]);
    fed.erase(&[2, 9]);
    assert!(fed.0.is_erased(subject(2)) && !fed.0.is_erased(subject(1)));
    assert_eq!(*fed.0.members(subject(9)), [subject(9)]);
    assert_eq!(fed.0.graph_version(), 4);
}

#[tokio::test]
async fn erasure_outweighs_whatever_comes_later() {
    let mut fed = Fed::new();
    fed.consent(&[3], Personalise, Granted);
    fed.erase(&[3]);
    fed.consent(&[3], Personalise, Granted);
    fed.check(3, Personalise, Consent::Refused);
}

#[tokio::test(start_paused = true)]
async fn a_view_without_heartbeat_fails_closed_after_five_seconds() {
    let mut fed = Fed::new();
    fed.consent(&[1], Personalise, Granted);
    advance(STALE_AFTER).await;
    fed.check(1, Personalise, Consent::Granted);
    advance(Duration::from_millis(2)).await;
    fed.check(1, Personalise, Consent::Stale);
    fed.check(1, Service, Consent::Granted);
    assert_eq!(
        fed.0.admitted(subject(1)),
        PurposeSet::default().with(Service)
    );
    // A record alone proves nothing about what else was committed.
    fed.consent(&[2], Personalise, Granted);
    fed.check(1, Personalise, Consent::Stale);
    fed.0.heartbeat();
    fed.check(1, Personalise, Consent::Granted);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_waited_is_as_old_as_its_arrival() {
    let mut fed = Fed::new();
    fed.consent(&[1], Personalise, Granted);
    let received = Instant::now();
    advance(Duration::from_secs(6)).await;
    fed.0.heartbeat_at(received);
    fed.check(1, Personalise, Consent::Stale);
}

#[tokio::test]
async fn a_view_permits_nothing_before_it_is_loaded() {
    let people = People::new();
    people.heartbeat();
    assert_eq!(people.consent(subject(1), Personalise), Consent::Stale);
    let early = record(1, "subjects_erased", Vec::new());
    assert_eq!(people.apply_control(&early), Err(ControlError::NotLoaded));
    assert_eq!(
        people.load(Snapshot::default()),
        Err(ControlError::Incomplete)
    );
}

#[tokio::test]
async fn records_apply_once_and_in_order_or_not_at_all() {
    let mut fed = Fed::new();
    fed.consent(&[1], Personalise, Granted);
    let revoke = ConsentChanged {
        subject_ids: vec![subject(1).to_vec(), vec![1, 2, 3]],
        registers: vec![ConsentRegister {
            purpose: 2,
            state: 2,
        }],
        ..Default::default()
    };
    let malformed = record(2, "consent_changed", revoke.encode_to_vec());
    assert!(matches!(
        fed.0.apply_control(&malformed),
        Err(ControlError::Malformed(_))
    ));
    fed.check(1, Personalise, Consent::Granted); // nothing of it was applied
    let gap = record(3, "some_new_type", Vec::new());
    assert_eq!(
        fed.0.apply_control(&gap),
        Err(ControlError::Gap {
            applied: 1,
            found: 3
        })
    );
    let again = record(
        1,
        "subjects_erased",
        SubjectsErased::default().encode_to_vec(),
    );
    assert_eq!(fed.0.apply_control(&again), Ok(()));
    assert_eq!(
        fed.0.apply_control(&record(2, "some_new_type", vec![9])),
        Ok(())
    );
    assert_eq!(fed.0.control_sequence(), 2);
}

/// What the view should say, as simply as it can be said.
#[derive(Debug, Default)]
struct Naive {
    registers: BTreeMap<(u8, u8), ConsentState>,
    persons: Vec<BTreeSet<u8>>,
    erased: BTreeSet<u8>,
}

impl Naive {
    fn members(&self, n: u8) -> BTreeSet<u8> {
        let person = self.persons.iter().find(|person| person.contains(&n));
        person.cloned().unwrap_or_else(|| BTreeSet::from([n]))
    }

    fn permits(&self, n: u8, purpose: Purpose) -> bool {
        let register = |member: &u8| self.registers.get(&(*member, purpose as u8)).copied();
        let strongest = self.members(n).iter().filter_map(register).max();
        purpose == Service || (strongest == Some(Granted) && !self.erased.contains(&n))
    }
}

#[derive(Debug, Clone)]
enum Step {
    Consent(u8, u8, u8),
    Link(u8, u8),
    Unlink(u8),
    Erase(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..8u8, 2..=7u8, 0..3u8).prop_map(|(n, purpose, state)| Step::Consent(n, purpose, state)),
        (0..8u8, 0..8u8).prop_map(|(a, b)| Step::Link(a, b)),
        (0..8u8).prop_map(Step::Unlink),
        (0..8u8).prop_map(Step::Erase),
    ]
}

/// Does a step to both; what the graph refuses is not a step.
fn take(step: &Step, fed: &mut Fed, naive: &mut Naive) {
    let list = |set: &BTreeSet<u8>| set.iter().copied().collect::<Vec<u8>>();
    match *step {
        Step::Consent(n, purpose, state) => {
            let purpose = Purpose::from_wire(i32::from(purpose)).unwrap();
            let state = [Unset, Granted, Revoked][usize::from(state)];
            let members = naive.members(n);
            members
                .iter()
                .for_each(|m| _ = naive.registers.insert((*m, purpose as u8), state));
            fed.consent(&list(&members), purpose, state);
        }
        Step::Link(a, b) => {
            let whole = &naive.members(a) | &naive.members(b);
            if whole.len() > 1 && whole.is_disjoint(&naive.erased) {
                naive.persons.retain(|person| person.is_disjoint(&whole));
                naive.persons.push(whole.clone());
                fed.link(&list(&whole));
            }
        }
        Step::Unlink(n) => {
            let whole = naive.members(n);
            if whole.len() > 1 {
                let rest = &whole - &BTreeSet::from([n]);
                naive.persons.retain(|person| *person != whole);
                naive.persons.push(rest.clone());
                fed.unlink(&[&[n], &list(&rest)]);
            }
        }
        Step::Erase(n) => {
            let whole = naive.members(n);
            naive.persons.retain(|person| *person != whole);
            naive
                .registers
                .retain(|(member, _), _| !whole.contains(member));
            naive.erased.extend(&whole);
            fed.erase(&list(&whole));
        }
    }
}

/// Rebuilds the view from a snapshot of the naive model.
fn snapshot(naive: &Naive) -> People {
    let bits = |n: u8, wanted: ConsentState| {
        let bit = |purpose: &Purpose| 1u32 << (*purpose as u8 - 1);
        let is = |purpose: &&Purpose| naive.registers.get(&(n, **purpose as u8)) == Some(&wanted);
        Purpose::ALL.iter().filter(is).map(bit).sum()
    };
    let consent = |n: u8| SubjectConsent {
        subject_id: subject(n).to_vec(),
        granted: bits(n, Granted),
        revoked: bits(n, Revoked),
    };
    let members = |set: &BTreeSet<u8>| person(&set.iter().copied().collect::<Vec<_>>());
    let linked = naive.persons.iter().filter(|person| person.len() > 1);
    let part = GetControlSnapshotResponse {
        persons: linked.map(members).collect(),
        consents: (0..8).map(consent).collect(),
        erased: ids(&naive.erased.iter().copied().collect::<Vec<_>>()),
        last: true,
        ..Default::default()
    };
    let (people, mut snapshot) = (People::new(), Snapshot::default());
    snapshot.add(&part).unwrap();
    people.load(snapshot).unwrap();
    people.heartbeat();
    people
}

proptest! {
    #[test]
    fn the_view_equals_a_naive_model(steps in prop::collection::vec(step(), 0..60)) {
        let (mut fed, mut naive) = (Fed::new(), Naive::default());
        steps.iter().for_each(|step| take(step, &mut fed, &mut naive));
        for people in [&fed.0, &snapshot(&naive)] {
            for n in 0..8 {
                let members: Vec<_> = naive.members(n).into_iter().map(subject).collect();
                prop_assert_eq!(people.anchor(subject(n)), members[0]);
                prop_assert_eq!(&*people.members(subject(n)), members.as_slice());
                prop_assert_eq!(people.is_erased(subject(n)), naive.erased.contains(&n));
                let permitted = Purpose::ALL.into_iter().filter(|p| naive.permits(n, *p)).collect();
                prop_assert_eq!(people.admitted(subject(n)), permitted);
            }
        }
    }
}
