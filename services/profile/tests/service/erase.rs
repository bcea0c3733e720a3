//! Erasure: keys, identifiers, links and registers go; what comes late is refused.

use rapport_api::profile::v1 as pb;
use rapport_profile::error;
use rapport_store::store_contract;
use rapport_types::{Purpose, SubjectId};

use crate::support::{Service, refusal, search, spawn, view};

store_contract!(
    spawn,
    [
        an_erased_person_is_gone_for_every_call,
        an_erasure_reaches_every_member_and_their_partitions,
    ]
);

async fn erase(service: &Service, request_id: &str, subject: SubjectId) -> pb::ErasePersonResponse {
    let request = pb::ErasePersonRequest {
        request_id: request_id.to_owned(),
        subject_id: subject.to_vec(),
    };
    service
        .subjects()
        .erase_person(request)
        .await
        .unwrap()
        .into_inner()
}

async fn an_erased_person_is_gone_for_every_call(service: Service) {
    let alice = service.subject("alice").await;
    service.grant(alice, Purpose::Personalise).await;
    let sent = vec![search("e-1", alice, "oolong"), view("e-2", alice, "tea")];
    service.live(sent).await;
    assert!(service.profile_of(alice).await.is_ok());
    let receipt = erase(&service, "r-1", alice).await;
    assert_eq!((receipt.subjects, receipt.signature.len()), (1, 32));
    assert_eq!(
        receipt,
        erase(&service, "r-1", alice).await,
        "the same request, the same receipt"
    );

    let mut service = service;
    for time in ["at once", "after a restart"] {
        let late = vec![view("e-3", alice, "tea"), view("e-2", alice, "tea")];
        for result in service.collect(late).await {
            assert_eq!(result.reason, error::SUBJECT_ERASED, "{time}");
        }
        let keys = pb::GetDataKeysRequest {
            subject_ids: vec![alice.to_vec()],
            purpose: i32::from(Purpose::Service as u8),
        };
        let keys = service
            .keys()
            .get_data_keys(keys)
            .await
            .unwrap()
            .into_inner()
            .keys;
        assert!(keys.is_empty(), "{time}");
        let gone = service.profile_of(alice).await.unwrap_err();
        assert_eq!(refusal(&gone).0, error::SUBJECT_NOT_FOUND, "{time}");
        let consent = pb::GetConsentRequest {
            subject_id: alice.to_vec(),
        };
        let registers = service.consents().get_consent(consent).await;
        let granted = registers.unwrap().into_inner().registers;
        let granted = granted.iter().filter(|register| register.state != 0);
        assert_eq!(granted.count(), 1, "{time}: `service` only");
        service = service.stop().await.serve(&[]).await;
    }
    let reborn = service.subject("alice").await;
    assert_ne!(reborn, alice, "the identifier leads to somebody new");
    let summary = pb::SummariseProfilesRequest::default();
    let summary = service
        .profiles()
        .summarise_profiles(summary)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((summary.persons, summary.without_consent), (0, 0));
}

async fn an_erasure_reaches_every_member_and_their_partitions(service: Service) {
    let (a, b) = (service.subject("a").await, service.subject("b").await);
    let link = service.link(a, b).await.unwrap();
    let receipt = erase(&service, "r-1", b).await;
    assert_eq!(receipt.subjects, 2);
    for subject in [a, b] {
        let result = &service
            .collect(vec![view(&format!("e-{subject}"), subject, "tea")])
            .await[0];
        assert_eq!(result.reason, error::SUBJECT_ERASED);
    }
    let request = pb::UnlinkSubjectsRequest {
        request_id: "r-2".to_owned(),
        link_id: link.link_id,
        validate_only: false,
    };
    let status = service
        .subjects()
        .unlink_subjects(request)
        .await
        .unwrap_err();
    assert_eq!(refusal(&status).0, error::LINK_NOT_FOUND);
    let request = pb::TailEventsRequest {
        types: vec!["subjects_erased".to_owned()],
        follow: true,
        ..Default::default()
    };
    let mut tail = service
        .events()
        .tail_events(request)
        .await
        .unwrap()
        .into_inner();
    let mut told = Vec::new();
    while told.len() < 2 {
        let batch = tail.message().await.unwrap().unwrap().batch;
        let events = batch.into_iter().flat_map(|batch| batch.events);
        told.extend(events.map(|event| event.subject_id.to_vec()));
    }
    told.sort();
    let mut both = [a.to_vec(), b.to_vec()];
    both.sort();
    assert_eq!(told, both);
    let service = service.stop().await.serve(&[]).await;
    assert_eq!(
        service.profile.people().members(a).len(),
        1,
        "no person is left"
    );
}
