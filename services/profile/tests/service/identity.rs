//! Who is whom: resolve, link, unlink, and writing only once.

use std::collections::HashSet;

use rapport_api::profile::v1 as pb;
use rapport_profile::error;
use rapport_store::store_contract;
use rapport_types::SubjectId;
use tonic::Code;

use crate::support::{Service, link_request, login_of, refusal, spawn};

store_contract!(
    spawn,
    [
        a_subject_is_made_once_however_many_ask,
        a_link_joins_and_an_unlink_takes_it_back_exactly,
        validating_changes_nothing,
        the_sixty_fifth_member_is_refused,
        the_same_request_is_answered_the_same_and_another_is_refused,
        a_hundred_equal_requests_make_one_link,
        what_is_missing_is_not_found,
    ]
);

async fn a_subject_is_made_once_however_many_ask(service: Service) {
    let asks = (0..50).map(|_| {
        let mut subjects = service.subjects();
        tokio::spawn(async move {
            let request = pb::ResolveSubjectRequest {
                identifier: Some(login_of("alice")),
            };
            subjects
                .resolve_subject(request)
                .await
                .unwrap()
                .into_inner()
        })
    });
    let asks: Vec<_> = asks.collect();
    let mut answers = Vec::new();
    for ask in asks {
        answers.push(ask.await.unwrap());
    }
    let ids: HashSet<_> = answers
        .iter()
        .map(|answer| answer.subject_id.clone())
        .collect();
    assert_eq!(ids.len(), 1);
    let after = service.stop().await.serve(&[]).await;
    assert_eq!(after.subject("alice").await.to_vec(), answers[0].subject_id);
}

async fn person(service: &Service, subject: SubjectId) -> pb::PersonView {
    let request = pb::GetPersonRequest {
        subject_id: subject.to_vec(),
    };
    let person = service.subjects().get_person(request).await.unwrap();
    person.into_inner().person.unwrap()
}

async fn unlink(
    service: &Service,
    link_id: &[u8],
    validate_only: bool,
) -> Result<Vec<pb::PersonView>, tonic::Status> {
    let request = pb::UnlinkSubjectsRequest {
        request_id: uuid::Uuid::now_v7().to_string(),
        link_id: link_id.to_vec(),
        validate_only,
    };
    let left = service.subjects().unlink_subjects(request).await?;
    Ok(left.into_inner().persons)
}

async fn three(service: &Service) -> [SubjectId; 3] {
    let mut made = Vec::new();
    for name in ["a", "b", "c"] {
        made.push(service.subject(name).await);
        service.home.clock.advance(1_000);
    }
    made.try_into().unwrap()
}

async fn a_link_joins_and_an_unlink_takes_it_back_exactly(service: Service) {
    let [a, b, c] = three(&service).await;
    let first = service.link(c, b).await.unwrap();
    assert_eq!(first.person.unwrap().anchor, b.to_vec(), "the earlier made");
    let second = service.link(a, c).await.unwrap();
    let joined = second.person.unwrap();
    assert_eq!(joined.members, [a.to_vec(), b.to_vec(), c.to_vec()]);
    assert_eq!((joined.anchor, joined.links.len()), (a.to_vec(), 2));
    let people = service.profile.people();
    assert_eq!(people.members(b).len(), 3, "the own view shows it at once");
    let again = service.link(c, a).await.unwrap();
    assert!(again.link_id.is_empty(), "linked already");
    assert_eq!(again.person.unwrap().members.len(), 3);

    let left = unlink(&service, &second.link_id, false).await.unwrap();
    let members: Vec<_> = left.iter().map(|person| person.members.clone()).collect();
    assert_eq!(members, [vec![a.to_vec()], vec![b.to_vec(), c.to_vec()]]);
    assert_eq!(people.members(a).len(), 1);
    let gone = unlink(&service, &second.link_id, false).await.unwrap_err();
    assert_eq!(refusal(&gone).0, error::LINK_NOT_FOUND);

    let service = service.stop().await.serve(&[]).await;
    assert_eq!(person(&service, c).await.members, [b.to_vec(), c.to_vec()]);
    assert_eq!(person(&service, a).await.members, [a.to_vec()]);
    assert_eq!(
        service.profile.people().members(c).len(),
        2,
        "from the snapshot"
    );
    let names: Vec<_> = service
        .control()
        .await
        .into_iter()
        .map(|event| event.r#type)
        .collect();
    assert_eq!(
        names,
        ["subjects_linked", "subjects_linked", "subjects_unlinked"]
    );
}

async fn validating_changes_nothing(service: Service) {
    let [a, b, _] = three(&service).await;
    let mut request = link_request("r-1", a, b);
    request.validate_only = true;
    let would = service
        .subjects()
        .link_subjects(request)
        .await
        .unwrap()
        .into_inner();
    assert!(would.link_id.is_empty());
    assert_eq!(would.person.unwrap().members.len(), 2);
    assert_eq!(person(&service, a).await.members.len(), 1);
    let link = service.link(a, b).await.unwrap();
    let would = unlink(&service, &link.link_id, true).await.unwrap();
    assert_eq!(would.len(), 2);
    assert_eq!(person(&service, a).await.members.len(), 2);
    assert_eq!(service.control().await.len(), 1);
}

async fn the_sixty_fifth_member_is_refused(service: Service) {
    let first = service.subject("s-0").await;
    for n in 1..64 {
        let next = service.subject(&format!("s-{n}")).await;
        service.link(first, next).await.unwrap();
    }
    let last = service.subject("s-64").await;
    let status = service.link(last, first).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(refusal(&status).0, error::PERSON_TOO_LARGE);
    assert_eq!(person(&service, first).await.members.len(), 64);
}

async fn the_same_request_is_answered_the_same_and_another_is_refused(service: Service) {
    let [a, b, c] = three(&service).await;
    let link = async |request| service.subjects().link_subjects(request).await;
    let first = link(link_request("r-1", a, b)).await.unwrap().into_inner();
    let again = link(link_request("r-1", a, b)).await.unwrap().into_inner();
    assert_eq!(first, again);
    let status = link(link_request("r-1", a, c)).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(refusal(&status).0, rapport_rpc::write::REQUEST_ID_REUSED);
    assert_eq!(service.control().await.len(), 1);
    let failed = link(link_request("r-2", a, SubjectId::new([9; 16]))).await;
    assert_eq!(refusal(&failed.unwrap_err()).0, error::SUBJECT_NOT_FOUND);
    let corrected = link(link_request("r-2", a, c)).await;
    assert!(corrected.is_ok(), "a call that failed keeps no record");
}

async fn a_hundred_equal_requests_make_one_link(service: Service) {
    let [a, b, _] = three(&service).await;
    let calls = (0..100).map(|_| {
        let mut subjects = service.subjects();
        tokio::spawn(async move { subjects.link_subjects(link_request("r-1", a, b)).await })
    });
    let calls: Vec<_> = calls.collect();
    let mut links = HashSet::new();
    for call in calls {
        links.insert(call.await.unwrap().unwrap().into_inner().link_id);
    }
    assert_eq!(links.len(), 1);
    assert_eq!(person(&service, a).await.links.len(), 1);
    assert_eq!(service.control().await.len(), 1);
}

async fn what_is_missing_is_not_found(service: Service) {
    let a = service.subject("a").await;
    let request = pb::GetPersonRequest {
        subject_id: vec![9; 16],
    };
    let status = service.subjects().get_person(request).await.unwrap_err();
    assert_eq!(
        (status.code(), refusal(&status).0.as_str()),
        (Code::NotFound, error::SUBJECT_NOT_FOUND)
    );
    let alone = service.link(a, a).await.unwrap_err();
    assert_eq!(
        refusal(&alone),
        ("INVALID_REQUEST".to_owned(), vec!["right".to_owned()])
    );
    let request = pb::LinkSubjectsRequest::default();
    let empty = service.subjects().link_subjects(request).await.unwrap_err();
    assert_eq!(
        refusal(&empty).1,
        ["request_id", "left", "right", "evidence"]
    );
}
