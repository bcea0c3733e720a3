//! What people allow: folded over members, never widened, known everywhere.

use std::time::Duration;

use rapport_api::profile::v1 as pb;
use rapport_profile::error;
use rapport_store::store_contract;
use rapport_types::{CONTROL_PARTITION, ConsentState, Purpose, SubjectId};
use tokio::time::timeout;

use crate::support::{Service, identifier, login_of, refusal, register, spawn, view};

/// Far more than a view ever needs.
const KNOWN_WITHIN: Duration = Duration::from_secs(20);

store_contract!(
    spawn,
    [
        a_revocation_outweighs_a_grant_on_another_device,
        an_import_never_overturns_a_revocation,
        many_are_imported_at_once_and_once,
        a_snapshot_says_what_the_records_said,
        records_reach_the_partitions_of_their_subjects,
        registers_are_checked,
        a_change_that_nobody_waited_for_is_known_all_the_same,
    ]
);

use ConsentState::{Granted, Revoked, Unset};
use Purpose::{Advertise, Emotion, Personalise};

async fn state(service: &Service, subject: SubjectId, purpose: Purpose) -> ConsentState {
    let request = pb::GetConsentRequest {
        subject_id: subject.to_vec(),
    };
    let registers = service
        .consents()
        .get_consent(request)
        .await
        .unwrap()
        .into_inner()
        .registers;
    let register = registers
        .iter()
        .find(|register| register.purpose == i32::from(purpose as u8))
        .unwrap();
    [Unset, Granted, Revoked][register.state as usize]
}

async fn a_revocation_outweighs_a_grant_on_another_device(service: Service) {
    let (phone, laptop) = (
        service.subject("phone").await,
        service.subject("laptop").await,
    );
    service.grant(phone, Personalise).await;
    service
        .set_consent(laptop, Personalise, Revoked, false)
        .await;
    service.link(phone, laptop).await.unwrap();
    let people = service.profile.people();
    assert_eq!(state(&service, phone, Personalise).await, Revoked);
    assert!(!people.consent(phone, Personalise).is_granted());

    service.grant(phone, Personalise).await;
    for member in [phone, laptop] {
        assert_eq!(state(&service, member, Personalise).await, Granted);
        assert!(
            people.consent(member, Personalise).is_granted(),
            "a grant writes every member"
        );
    }
    service
        .set_consent(laptop, Personalise, Revoked, false)
        .await;
    assert!(!people.consent(phone, Personalise).is_granted());
    assert_eq!(state(&service, phone, Advertise).await, Unset);
    let service_purpose = state(&service, phone, Purpose::Service).await;
    assert_eq!(service_purpose, Granted, "always permitted");
}

async fn a_change_that_nobody_waited_for_is_known_all_the_same(service: Service) {
    let people = service.profile.people();
    for round in 0..40 {
        let subject = service.subject(&format!("person-{round}")).await;
        let request = pb::SetConsentRequest {
            request_id: format!("given-up-{round}"),
            subject_id: subject.to_vec(),
            registers: vec![register(Personalise, Granted)],
            evidence: "form-1".to_owned(),
            imported: false,
        };
        // The caller leaves before the commit, in the midst of it, or after it.
        let patience = Duration::from_micros(round * 150);
        let mut consents = service.consents();
        let _ = timeout(patience, consents.set_consent(request.clone())).await;
        let mut changes = people.subscribe();
        consents.set_consent(request).await.unwrap();
        let known = async {
            while !people.consent(subject, Personalise).is_granted() {
                let _ = changes.recv().await;
            }
        };
        timeout(KNOWN_WITHIN, known).await.expect("it is known");
    }
}

async fn an_import_never_overturns_a_revocation(service: Service) {
    let (phone, laptop) = (
        service.subject("phone").await,
        service.subject("laptop").await,
    );
    service.link(phone, laptop).await.unwrap();
    let tablet = service.subject("tablet").await;
    service
        .set_consent(tablet, Personalise, Revoked, false)
        .await;
    service.link(phone, tablet).await.unwrap();
    let refused = service.set_consent(phone, Personalise, Granted, true).await;
    assert_eq!(refused.control_sequence, 0, "nothing changed");
    assert_eq!(state(&service, phone, Personalise).await, Revoked);
    let other = service.set_consent(phone, Advertise, Granted, true).await;
    assert_ne!(other.control_sequence, 0);

    // The view before a restart and the one read from the snapshot agree on every member.
    let before = [phone, laptop, tablet].map(|one| service.profile.people().admitted(one));
    let service = service.stop().await.serve(&[]).await;
    let after = [phone, laptop, tablet].map(|one| service.profile.people().admitted(one));
    assert_eq!(before, after);
    let by_hand = service
        .set_consent(phone, Personalise, Granted, false)
        .await;
    assert_ne!(by_hand.control_sequence, 0, "the person may");
    assert_eq!(state(&service, laptop, Personalise).await, Granted);
}

async fn many_are_imported_at_once_and_once(service: Service) {
    let refuser = service.subject("c-7").await;
    service
        .set_consent(refuser, Personalise, Revoked, false)
        .await;
    let request = pb::ImportConsentRequest {
        request_id: "import-1".to_owned(),
        identifiers: (0..200)
            .map(|n| login_of(&format!("c-{}", n % 150)))
            .collect(),
        registers: vec![register(Personalise, Granted)],
        evidence: "demo".to_owned(),
    };
    let first = service
        .consents()
        .import_consent(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.subject_ids.len(), 200);
    assert_eq!(first.subject_ids[7], refuser.to_vec());
    let people = service.profile.people();
    let granted = first.subject_ids.iter().filter(|id| {
        let subject = SubjectId::parse(id).unwrap();
        people.consent(subject, Personalise).is_granted()
    });
    assert_eq!(
        granted.count(),
        198,
        "all but the one who refused, who came twice"
    );
    let again = service
        .consents()
        .import_consent(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first, again);
    assert_eq!(
        service.control().await.len(),
        150,
        "149 grants and the revocation"
    );
    let bad = pb::ImportConsentRequest {
        request_id: "import-2".to_owned(),
        identifiers: vec![identifier(pb::IdentifierKind::Email, "nothing")],
        registers: vec![register(Purpose::Service, Granted)],
        evidence: String::new(),
    };
    let status = service.consents().import_consent(bad).await.unwrap_err();
    assert_eq!(
        refusal(&status).1,
        ["identifiers[0].value", "registers[0].purpose", "evidence"]
    );
}

async fn a_snapshot_says_what_the_records_said(service: Service) {
    let (a, b, c) = (
        service.subject("a").await,
        service.subject("b").await,
        service.subject("c").await,
    );
    service.link(a, b).await.unwrap();
    service.grant(a, Personalise).await;
    service.set_consent(c, Emotion, Revoked, false).await;
    let request = pb::ErasePersonRequest {
        request_id: "r-1".to_owned(),
        subject_id: c.to_vec(),
    };
    service.subjects().erase_person(request).await.unwrap();
    let parts = pb::GetControlSnapshotRequest {};
    let mut parts = service
        .consents()
        .get_control_snapshot(parts)
        .await
        .unwrap()
        .into_inner();
    let mut whole = pb::GetControlSnapshotResponse::default();
    while let Some(part) = parts.message().await.unwrap() {
        assert!(!whole.last, "nothing after the last part");
        whole.persons.extend(part.persons);
        whole.consents.extend(part.consents);
        whole.erased.extend(part.erased);
        (whole.last, whole.control_sequence) = (part.last, part.control_sequence);
    }
    assert!(whole.last);
    assert_eq!(whole.control_sequence, service.control().await.len() as u64);
    let mut members = whole.persons[0].members.clone();
    members.sort();
    let mut both = [a.to_vec(), b.to_vec()];
    both.sort();
    assert_eq!(members, both);
    let bit = 1 << (Personalise as u32 - 1);
    assert_eq!(whole.consents.len(), 2, "who is erased allows nothing");
    assert!(
        whole
            .consents
            .iter()
            .all(|one| one.granted == bit && one.revoked == 0)
    );
    assert_eq!(whole.erased, [c.to_vec()]);
}

async fn records_reach_the_partitions_of_their_subjects(service: Service) {
    let (a, b) = (service.subject("a").await, service.subject("b").await);
    service.collect(vec![view("before", a, "tea")]).await;
    service.link(a, b).await.unwrap();
    service.grant(a, Personalise).await;
    let request = pb::TailEventsRequest {
        cursors: Vec::new(),
        types: vec!["subjects_linked".to_owned(), "consent_changed".to_owned()],
        follow: true,
    };
    let mut tail = service
        .events()
        .tail_events(request)
        .await
        .unwrap()
        .into_inner();
    let mut copies = Vec::new();
    while copies.len() < 4 {
        let batch = tail.message().await.unwrap().unwrap().batch;
        copies.extend(batch.into_iter().flat_map(|batch| batch.events));
    }
    let control = service.control().await;
    for subject in [a, b] {
        let own: Vec<_> = copies
            .iter()
            .filter(|event| event.subject_id == subject.to_vec())
            .map(|event| (event.r#type.as_str(), event.payload.clone()))
            .collect();
        let expected: Vec<_> = control
            .iter()
            .map(|event| (event.r#type.as_str(), event.payload.clone()))
            .collect();
        assert_eq!(own, expected, "in the order of the control partition");
    }
    assert!(
        copies
            .iter()
            .all(|event| event.partition < CONTROL_PARTITION)
    );
}

async fn registers_are_checked(service: Service) {
    let a = service.subject("a").await;
    let request = pb::SetConsentRequest {
        request_id: "x".repeat(65),
        subject_id: a.to_vec(),
        registers: vec![
            register(Purpose::Service, Granted),
            register(Personalise, Unset),
            register(Personalise, Granted),
            rapport_api::event::v1::ConsentRegister::default(),
        ],
        evidence: "x".repeat(257),
        imported: false,
    };
    let status = service.consents().set_consent(request).await.unwrap_err();
    assert_eq!(
        refusal(&status).1,
        [
            "request_id",
            "registers[0].purpose",
            "registers[1].state",
            "registers[2].purpose",
            "registers[3].purpose",
            "registers[3].state",
            "evidence",
        ]
    );
    let request = pb::SetConsentRequest {
        request_id: "r-1".to_owned(),
        subject_id: vec![9; 16],
        registers: vec![register(Personalise, Granted)],
        evidence: "form".to_owned(),
        imported: false,
    };
    let status = service.consents().set_consent(request).await.unwrap_err();
    assert_eq!(refusal(&status).0, error::SUBJECT_NOT_FOUND);
}
