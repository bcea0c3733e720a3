//! The view of people, fed by a real server over the network.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use rapport_api::event::v1::{
    ConsentChanged, ConsentRegister, Person, SubjectsErased, SubjectsLinked,
};
use rapport_api::profile::v1::{GetControlSnapshotResponse, SubjectConsent};
use rapport_api::r#type::v1::{ConsentState, Purpose as WirePurpose};
use rapport_flow::{Consent, ControlChange, People};
use rapport_types::{Purpose, SubjectId};
use support::serve;
use tokio_util::sync::CancellationToken;

const A: SubjectId = SubjectId::new([1; 16]);
const B: SubjectId = SubjectId::new([2; 16]);

fn consent(subjects: &[SubjectId], state: ConsentState) -> ConsentChanged {
    let purpose = WirePurpose::Personalise.into();
    ConsentChanged {
        subject_ids: subjects.iter().map(|subject| subject.to_vec()).collect(),
        registers: vec![ConsentRegister {
            purpose,
            state: state.into(),
        }],
        ..ConsentChanged::default()
    }
}

fn granted(subject: SubjectId) -> SubjectConsent {
    let bit = 1 << (Purpose::Personalise as u32 - 1);
    SubjectConsent {
        subject_id: subject.to_vec(),
        granted: bit,
        revoked: 0,
    }
}

#[tokio::test]
async fn a_revocation_bites_as_soon_as_it_is_tailed() {
    let (log, channel) = serve().await;
    log.control("consent_changed", &consent(&[A], ConsentState::Granted));
    let people = People::follow(channel, CancellationToken::new());
    people.wait_ready().await;
    assert_eq!(people.consent(A, Purpose::Personalise), Consent::Granted);
    let mut changes = people.subscribe();
    log.control("consent_changed", &consent(&[A], ConsentState::Revoked));
    assert_eq!(
        changes.recv().await.unwrap(),
        ControlChange::Consent([A].into())
    );
    assert_eq!(people.consent(A, Purpose::Personalise), Consent::Refused);
}

#[tokio::test]
async fn the_view_starts_from_the_snapshot_and_goes_on_behind_it() {
    let (log, channel) = serve().await;
    // In the log, but before the snapshot: must not be applied again.
    log.control("consent_changed", &consent(&[A], ConsentState::Revoked));
    log.control("consent_changed", &consent(&[B], ConsentState::Revoked));
    log.set_snapshot(vec![
        GetControlSnapshotResponse {
            consents: vec![granted(A)],
            ..Default::default()
        },
        GetControlSnapshotResponse {
            control_sequence: 1,
            graph_version: 5,
            last: true,
            ..Default::default()
        },
    ]);
    let people = People::follow(channel, CancellationToken::new());
    people.wait_ready().await;
    assert_eq!(people.graph_version(), 5);
    assert_eq!(people.consent(A, Purpose::Personalise), Consent::Granted);
    assert_eq!(people.consent(B, Purpose::Personalise), Consent::Refused);
    let mut changes = people.subscribe();
    let members = vec![A.to_vec(), B.to_vec()];
    let person = Some(Person {
        anchor: A.to_vec(),
        members,
    });
    log.control(
        "subjects_linked",
        &SubjectsLinked {
            person,
            graph_version: 6,
            ..Default::default()
        },
    );
    assert_eq!(
        changes.recv().await.unwrap(),
        ControlChange::Persons([A, B].into())
    );
    assert_eq!(people.anchor(B), A);
    assert_eq!(
        people.consent(A, Purpose::Personalise),
        Consent::Refused,
        "B revoked"
    );
    let subject_ids = vec![A.to_vec(), B.to_vec()];
    let erased = SubjectsErased {
        subject_ids,
        graph_version: 7,
        ..Default::default()
    };
    log.control("subjects_erased", &erased);
    assert_eq!(
        changes.recv().await.unwrap(),
        ControlChange::Erased([A, B].into())
    );
    assert!(people.is_erased(A) && people.is_erased(B));
}

#[tokio::test]
async fn an_incomplete_snapshot_is_never_shown() {
    let (log, channel) = serve().await;
    log.set_snapshot(vec![GetControlSnapshotResponse {
        consents: vec![granted(A)],
        ..Default::default()
    }]);
    let people = People::follow(channel, CancellationToken::new());
    while log.snapshots() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(people.consent(A, Purpose::Personalise), Consent::Stale);
    log.set_snapshot(vec![GetControlSnapshotResponse {
        consents: vec![granted(A)],
        last: true,
        ..Default::default()
    }]);
    people.wait_ready().await;
    assert_eq!(people.consent(A, Purpose::Personalise), Consent::Granted);
}

#[tokio::test]
async fn an_expired_or_malformed_control_log_means_a_new_snapshot() {
    let (log, channel) = serve().await;
    log.control("consent_changed", &consent(&[A], ConsentState::Revoked));
    let people = People::follow(channel, CancellationToken::new());
    people.wait_ready().await;
    let mut changes = people.subscribe();
    let snapshot = |control_sequence| GetControlSnapshotResponse {
        consents: vec![granted(A)],
        control_sequence,
        last: true,
        ..Default::default()
    };
    log.set_snapshot(vec![snapshot(2)]);
    // Not 16 bytes: the view cannot know what it meant.
    let malformed = ConsentChanged {
        subject_ids: vec![vec![1]],
        ..Default::default()
    };
    log.control("consent_changed", &malformed);
    assert_eq!(changes.recv().await.unwrap(), ControlChange::Reloaded);
    assert_eq!(people.control_sequence(), 2);
    log.control("consent_changed", &consent(&[B], ConsentState::Granted));
    assert_eq!(
        changes.recv().await.unwrap(),
        ControlChange::Consent([B].into())
    );
    log.set_snapshot(vec![snapshot(9)]);
    log.expire(9);
    assert_eq!(changes.recv().await.unwrap(), ControlChange::Reloaded);
    assert_eq!(people.control_sequence(), 9);
}
