//! Collecting: every outcome, every refusal.

use prost::Message as _;
use rapport_api::event::v1 as events;
use rapport_api::profile::v1 as pb;
use rapport_profile::error;
use rapport_store::store_contract;
use rapport_telemetry::{names, prometheus};
use rapport_types::{Purpose, SubjectId};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::support::{
    DAY_MS, START, Service, any, assert_gapless, bytes, emotion, event, identifier, login_of, of,
    refusal, search, spawn, view,
};

store_contract!(
    spawn,
    [
        an_event_is_accepted_once_then_recognised_then_defended,
        a_conflict_is_counted_and_a_duplicate_is_not,
        one_identifier_in_many_spellings_is_one_subject,
        each_event_has_its_own_outcome,
        every_bad_field_is_named_at_once,
        personal_text_is_sealed_and_opens_only_with_the_key,
        a_stream_is_answered_in_order,
        what_rapport_does_not_know_is_kept_as_it_came,
        a_decision_is_recognised_after_its_person_consents,
    ]
);

async fn an_event_is_accepted_once_then_recognised_then_defended(service: Service) {
    let alice = service.subject("alice").await;
    let first = &service.collect(vec![view("e-1", alice, "tea")]).await[0];
    assert_eq!(first.outcome(), pb::EventOutcome::Accepted);
    assert_eq!((first.partition, first.sequence), (alice.partition(), 1));
    let twice = vec![view("e-1", alice, "tea"), view("e-2", alice, "tea")];
    let again = service.collect([twice.clone(), twice].concat()).await;
    let outcomes: Vec<_> = again
        .iter()
        .map(|result| (result.outcome(), result.sequence))
        .collect();
    let (accepted, duplicate) = (pb::EventOutcome::Accepted, pb::EventOutcome::Duplicate);
    assert_eq!(
        outcomes,
        [
            (duplicate, 1),
            (accepted, 2),
            (duplicate, 1),
            (duplicate, 2)
        ]
    );
    let other = &service.collect(vec![view("e-1", alice, "coffee")]).await[0];
    assert_eq!(other.outcome(), pb::EventOutcome::Rejected);
    assert_eq!(other.reason, error::EVENT_ID_CONFLICT);
    let stored = service.all().await;
    assert_eq!(stored.len(), 2);
    assert_gapless(&stored);
    assert_eq!(
        (stored[0].r#type.as_str(), stored[0].source.as_str()),
        ("view_item", "local")
    );
}

/// Returns the conflicts that a scrape shows. Tests that share a process share the count.
fn conflicts() -> u64 {
    let name = names::LOG_DEDUP_CONFLICTS.name;
    let scrape = prometheus::render();
    let mut counts = scrape.lines().filter_map(|line| line.strip_prefix(name));
    counts
        .next()
        .map_or(0, |count| count.trim().parse().unwrap())
}

async fn a_conflict_is_counted_and_a_duplicate_is_not(service: Service) {
    // Alone in this process the numbers are exact; where tests share one, others may add to them.
    let alone = std::env::args().any(|argument| argument == "--exact");
    let alice = service.subject("alice").await;
    service.collect(vec![view("e-1", alice, "tea")]).await;
    let before = conflicts();
    service.collect(vec![view("e-1", alice, "tea")]).await;
    assert!(!alone || conflicts() == before, "a duplicate is none");
    let other = vec![view("e-1", alice, "coffee"), view("e-1", alice, "water")];
    service.collect(other).await;
    let counted = conflicts() - before;
    assert!(counted >= 2 && (!alone || counted == 2), "{counted}");
}

async fn one_identifier_in_many_spellings_is_one_subject(service: Service) {
    let spellings = ["138 0013 8000", "+86 138-0013-8000", "8613800138000"];
    let sent = (0..600).map(|n| pb::NewEvent {
        identifier: Some(match n % 4 {
            3 => login_of("bob"),
            n => identifier(pb::IdentifierKind::Phone, spellings[n]),
        }),
        ..event(&format!("e-{n}"), "SignIn", &events::SignIn::default())
    });
    let results = service.collect(sent.collect()).await;
    let bob = service.subject("bob").await;
    let phone = SubjectId::parse(&results[0].subject_id).unwrap();
    for (n, result) in results.iter().enumerate() {
        let expected = if n % 4 == 3 { bob } else { phone };
        assert_eq!(result.subject_id, expected.to_vec(), "event {n}");
        assert_eq!(result.partition, expected.partition());
    }
    assert_ne!(bob, phone);
    let stored = service.all().await;
    assert_gapless(&stored);
    let order: Vec<usize> = stored
        .iter()
        .filter(|event| event.subject_id == phone.to_vec())
        .map(|event| event.event_id[2..].parse().unwrap())
        .collect();
    assert!(order.is_sorted() && order.len() == 450);
}

async fn each_event_has_its_own_outcome(service: Service) {
    let alice = service.subject("alice").await;
    let stranger = SubjectId::new([9; 16]);
    let old = pb::NewEvent {
        occurred_at_ms: START.0 - 36 * DAY_MS,
        ..view("old", alice, "tea")
    };
    let sent = vec![
        view("fine", alice, "tea"),
        view("unknown", stranger, "tea"),
        old.clone(),
        emotion("felt", alice, "anger"),
        view("fine too", alice, "tea"),
    ];
    let results = service.collect(sent).await;
    let reasons: Vec<_> = results
        .iter()
        .map(|result| result.reason.as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "",
            error::SUBJECT_NOT_FOUND,
            error::EVENT_TOO_OLD,
            error::EVENT_REFUSED,
            ""
        ]
    );
    assert_eq!((results[0].sequence, results[4].sequence), (1, 2));
    let backfill = pb::CollectEventsRequest {
        events: vec![old],
        lane: events::Lane::Backfill as i32,
        import_hash: vec![1; 32],
    };
    let backfilled = service.events().collect_events(backfill).await.unwrap();
    let backfilled = &backfilled.into_inner().results[0];
    assert_eq!(backfilled.outcome(), pb::EventOutcome::Accepted);
    service.grant(alice, Purpose::Emotion).await;
    let felt = &service.collect(vec![emotion("felt", alice, "anger")]).await[0];
    assert_eq!(felt.outcome(), pb::EventOutcome::Accepted);
    let future = pb::NewEvent {
        occurred_at_ms: START.0 + DAY_MS,
        ..view("future", alice, "tea")
    };
    service.collect(vec![future]).await;
    let stored = service.all().await;
    let clamped = stored
        .iter()
        .find(|event| event.event_id == "future")
        .unwrap();
    assert_eq!(clamped.occurred_at_ms, START.0 + 5 * 60 * 1_000);
    assert_gapless(&stored);
}

async fn every_bad_field_is_named_at_once(service: Service) {
    let alice = service.subject("alice").await;
    let foreign = events::SearchPersonal::default();
    let sent = vec![
        pb::NewEvent {
            event_id: String::new(),
            occurred_at_ms: -1,
            ..view("", alice, "tea")
        },
        pb::NewEvent {
            subject_id: vec![1, 2, 3],
            ..view("a", alice, "tea")
        },
        pb::NewEvent {
            identifier: Some(login_of("bob")),
            ..view("b", alice, "tea")
        },
        pb::NewEvent {
            payload: Some(any("ConsentChanged", &events::ConsentChanged::default())),
            ..view("c", alice, "tea")
        },
        pb::NewEvent {
            personal: Some(prost_types::Any {
                value: vec![10, 1, 65],
                ..any("SearchPersonal", &foreign)
            }),
            ..event(&"x".repeat(65), "ViewItem", &events::ViewItem::default())
        },
        pb::NewEvent {
            identifier: Some(identifier(pb::IdentifierKind::Email, "no address")),
            ..event("d", "SignIn", &events::SignIn::default())
        },
        view("e", alice, &"茶".repeat(1_025)),
    ];
    let status = service.try_collect(sent).await.unwrap_err();
    let (reason, fields) = refusal(&status);
    assert_eq!(reason, "INVALID_REQUEST");
    assert_eq!(
        fields,
        [
            "events[0].event_id",
            "events[0].occurred_at_ms",
            "events[1].subject_id",
            "events[2].identifier",
            "events[3].payload",
            "events[4].event_id",
            "events[4].personal",
            "events[4].personal",
            "events[5].identifier.value",
            "events[6].payload.category",
        ]
    );
    let nothing = service.try_collect(Vec::new()).await.unwrap_err();
    assert_eq!(refusal(&nothing).1, ["events"]);
    let many = (0..2_001).map(|n| view(&format!("m-{n}"), alice, "tea"));
    let many = service.try_collect(many.collect()).await.unwrap_err();
    assert_eq!(refusal(&many).1, ["events"]);
    assert!(service.all().await.is_empty(), "nothing was stored");
}

async fn personal_text_is_sealed_and_opens_only_with_the_key(service: Service) {
    let alice = service.subject("alice").await;
    service
        .collect(vec![search("e-1", alice, "oolong for a cold")])
        .await;
    let stored = service.all().await.remove(0);
    let plain = events::SearchPersonal {
        query: "oolong for a cold".to_owned(),
    };
    let plain = plain.encode_to_vec();
    assert_ne!(stored.sealed, plain);
    assert!(
        !stored
            .encode_to_vec()
            .windows(6)
            .any(|part| part == b"oolong")
    );
    let request = pb::GetDataKeysRequest {
        subject_ids: vec![alice.to_vec()],
        purpose: i32::from(Purpose::Personalise as u8),
    };
    let keys = service.keys().get_data_keys(request.clone()).await.unwrap();
    assert!(keys.into_inner().keys.is_empty(), "no consent, no key");
    service.grant(alice, Purpose::Personalise).await;
    let keys = service
        .keys()
        .get_data_keys(request)
        .await
        .unwrap()
        .into_inner()
        .keys;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &keys[0].key).unwrap());
    let nonce = Nonce::try_assume_unique_for_key(&stored.sealed[1..13]).unwrap();
    let bound = [alice.as_bytes().as_slice(), b"e-1"].concat();
    let mut body = stored.sealed[13..].to_vec();
    let opened = key
        .open_in_place(nonce, Aad::from(bound), &mut body)
        .unwrap();
    assert_eq!(opened, plain);
}

async fn a_stream_is_answered_in_order(service: Service) {
    let alice = service.subject("alice").await;
    let batches = (0..20).map(|batch| pb::StreamEventsRequest {
        batch: Some(pb::CollectEventsRequest {
            events: (0..5)
                .map(|n| view(&format!("e-{batch}-{n}"), alice, "tea"))
                .collect(),
            ..Default::default()
        }),
    });
    let sent = futures::stream::iter(batches.collect::<Vec<_>>());
    let mut answers = service
        .events()
        .stream_events(sent)
        .await
        .unwrap()
        .into_inner();
    let mut sequences = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        sequences.extend(answer.results.iter().map(|result| result.sequence));
    }
    assert_eq!(sequences, (1..=100).collect::<Vec<u64>>());
    let bad = futures::stream::iter([pb::StreamEventsRequest::default()]);
    let mut answers = service
        .events()
        .stream_events(bad)
        .await
        .unwrap()
        .into_inner();
    let status = answers.message().await.unwrap_err();
    assert_eq!(
        refusal(&status),
        ("INVALID_REQUEST".to_owned(), vec!["events".to_owned()])
    );
}

async fn what_rapport_does_not_know_is_kept_as_it_came(service: Service) {
    // Field 99 is of a newer shop's schema; the second type is of nobody's.
    let payload = bytes("\u{0a}\u{03}i-9\u{9a}\u{06}\u{02}hi");
    let foreign = |id: &str, name: &str| pb::NewEvent {
        event_id: id.to_owned(),
        payload: Some(prost_types::Any {
            type_url: format!("type.googleapis.com/{name}"),
            value: payload.to_vec(),
        }),
        schema_version: 7,
        ..Default::default()
    };
    let sent = vec![
        foreign("e-1", "rapport.event.v1.ViewItem"),
        foreign("e-2", "com.shop.v1.Loyalty"),
    ];
    let results = service.collect(sent.clone()).await;
    assert!(
        results
            .iter()
            .all(|result| result.subject_id.is_empty() && result.sequence == 1)
    );
    let again = service.collect(sent).await;
    assert!(
        again
            .iter()
            .all(|result| result.outcome() == pb::EventOutcome::Duplicate)
    );
    let mut stored = service.all().await;
    stored.sort_by(|left, right| left.event_id.cmp(&right.event_id));
    let names: Vec<_> = stored.iter().map(|event| event.r#type.as_str()).collect();
    assert_eq!(names, ["view_item", "com.shop.v1.Loyalty"]);
    assert!(
        stored
            .iter()
            .all(|event| event.payload == payload && event.schema_version == 7)
    );
    assert!(
        stored.iter().all(|event| event.occurred_at_ms == START.0),
        "0 is now"
    );
}

async fn a_decision_is_recognised_after_its_person_consents(service: Service) {
    let alice = service.subject("alice").await;
    let decision = of(
        alice,
        event("d-1", "AdDecided", &events::AdDecided::default()),
    );
    let without = &service.collect(vec![decision.clone()]).await[0];
    assert!(without.subject_id.is_empty(), "no `measure`, no subject");
    service.grant(alice, Purpose::Measure).await;
    let again = &service.collect(vec![decision]).await[0];
    assert_eq!(again.outcome(), pb::EventOutcome::Duplicate);
    let other = of(
        alice,
        event("d-2", "AdDecided", &events::AdDecided::default()),
    );
    let with = &service.collect(vec![other]).await[0];
    assert_eq!(with.subject_id, alice.to_vec());
}
