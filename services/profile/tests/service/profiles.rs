//! Profiles: learned from events, folded over a person, read only under consent.

use rapport_api::event::v1 as events;
use rapport_api::profile::v1 as pb;
use rapport_profile::error;
use rapport_store::store_contract;
use rapport_types::{Purpose, SubjectId};
use tonic::Code;

use crate::support::{
    DAY_MS, START, Service, emotion, event, of, purchase, refusal, search, spawn, view,
};

store_contract!(
    spawn,
    [
        a_profile_needs_consent,
        a_person_is_the_sum_of_its_members,
        sealed_events_are_read_under_their_own_consent,
        a_profile_survives_a_restart,
        the_population_is_counted_by_person,
        a_malformed_event_costs_only_itself,
    ]
);

async fn a_profile_needs_consent(service: Service) {
    let alice = service.subject("alice").await;
    service.live(vec![view("e-1", alice, "tea")]).await;
    let refused = service.profile_of(alice).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(refusal(&refused).0, error::CONSENT_MISSING);
    let unknown = service
        .profile_of(SubjectId::new([9; 16]))
        .await
        .unwrap_err();
    assert_eq!(refusal(&unknown).0, error::SUBJECT_NOT_FOUND);
    service.grant(alice, Purpose::Personalise).await;
    let profile = service.profile_of(alice).await.unwrap();
    let tags: Vec<_> = profile
        .tags
        .iter()
        .filter(|tag| tag.kind == "interest")
        .collect();
    assert_eq!(
        (tags[0].name.as_str(), tags[0].evidence.as_slice()),
        ("category:tea", ["e-1".to_owned()].as_slice())
    );
    assert_eq!(
        (profile.first_seen_ms, profile.as_of_ms),
        (START.0, START.0)
    );
    assert_eq!(
        (profile.lifecycle.as_str(), profile.rfm),
        ("prospect", None)
    );
    let bad = pb::GetProfileRequest {
        subject_id: vec![1],
        as_of_ms: -1,
    };
    let bad = service.profiles().get_profile(bad).await.unwrap_err();
    assert_eq!(refusal(&bad).1, ["subject_id", "as_of_ms"]);
}

async fn a_person_is_the_sum_of_its_members(service: Service) {
    let (phone, laptop) = (
        service.subject("phone").await,
        service.subject("laptop").await,
    );
    service.grant(phone, Purpose::Personalise).await;
    service.grant(laptop, Purpose::Personalise).await;
    let sent = vec![
        purchase("p-1", phone, 10, 14),
        purchase("p-2", laptop, 3, 10),
        view("v-1", laptop, "cups"),
    ];
    service.live(sent).await;
    let alone = service.profile_of(phone).await.unwrap();
    assert_eq!((alone.members, alone.rfm.unwrap().recency_days), (1, 10));
    let link = service.link(phone, laptop).await.unwrap();
    for member in [phone, laptop] {
        let profile = service.profile_of(member).await.unwrap();
        let rfm = profile.rfm.unwrap();
        assert_eq!(
            (profile.members, rfm.recency_days, rfm.frequency),
            (2, 3, 2)
        );
        assert_eq!(rfm.monetary[0].micros, 24_000_000, "2 × 7 and 2 × 5");
        assert_eq!(
            (
                rfm.monetary[0].currency.as_str(),
                profile.lifecycle.as_str()
            ),
            ("GBP", "new")
        );
        let counts: Vec<_> = profile
            .events
            .iter()
            .map(|one| (one.r#type.as_str(), one.count))
            .collect();
        assert_eq!(counts, [("purchase", 2), ("view_item", 1)]);
    }
    let later = pb::GetProfileRequest {
        subject_id: phone.to_vec(),
        as_of_ms: START.0 + 60 * DAY_MS,
    };
    let later = service
        .profiles()
        .get_profile(later)
        .await
        .unwrap()
        .into_inner()
        .profile
        .unwrap();
    assert_eq!(later.lifecycle, "at_risk", "63 days: 2.1 expected gaps");
    let request = pb::UnlinkSubjectsRequest {
        request_id: "r-9".to_owned(),
        link_id: link.link_id,
        validate_only: false,
    };
    service.subjects().unlink_subjects(request).await.unwrap();
    let again = service.profile_of(phone).await.unwrap();
    assert_eq!(
        (again.members, again.rfm.unwrap().recency_days),
        (1, 10),
        "exactly as before"
    );
}

async fn sealed_events_are_read_under_their_own_consent(service: Service) {
    let alice = service.subject("alice").await;
    service.grant(alice, Purpose::Personalise).await;
    service.grant(alice, Purpose::Emotion).await;
    let mut sent: Vec<_> = (0..20)
        .map(|n| search(&format!("s-{n}"), alice, "oolong"))
        .collect();
    sent.push(emotion("f-1", alice, "anger"));
    service.live(sent).await;
    let profile = service.profile_of(alice).await.unwrap();
    let felt = profile.emotion.unwrap();
    // Sums are integers, so a fraction comes back to the millionth.
    let near = |left: f64, right: f64| (left - right).abs() < 1e-5;
    assert_eq!(felt.label, "anger");
    assert!(
        near(felt.valence, -0.8) && near(felt.arousal, 0.6),
        "{felt:?}"
    );
    let tag = profile
        .tags
        .iter()
        .find(|tag| tag.name == "keyword:oolong")
        .unwrap();
    assert_eq!(
        (tag.evidence.len(), tag.evidence[0].as_str()),
        (5, "s-9"),
        "of equal age, by name"
    );
    let counts: Vec<_> = profile
        .events
        .iter()
        .map(|one| (one.r#type.as_str(), one.count))
        .collect();
    assert_eq!(
        counts,
        [("emotion_observed", 1), ("search", 20)],
        "none counted twice"
    );
    let revoked = rapport_types::ConsentState::Revoked;
    service
        .set_consent(alice, Purpose::Emotion, revoked, false)
        .await;
    let profile = service.profile_of(alice).await.unwrap();
    assert_eq!(profile.emotion, None);
    assert!(profile.tags.iter().any(|tag| tag.name == "keyword:oolong"));
}

async fn a_profile_survives_a_restart(service: Service) {
    let alice = service.subject("alice").await;
    service.grant(alice, Purpose::Personalise).await;
    service
        .live(vec![
            view("v-1", alice, "tea"),
            purchase("p-1", alice, 1, 18),
        ])
        .await;
    let before = service.profile_of(alice).await.unwrap();
    let service = service.stop().await.serve(&[]).await;
    assert_eq!(
        service.profile_of(alice).await.unwrap(),
        before,
        "from what was saved"
    );
    service.live(vec![view("v-2", alice, "tea")]).await;
    let after = service.profile_of(alice).await.unwrap();
    let views = |profile: &pb::Profile| {
        profile
            .events
            .iter()
            .find(|one| one.r#type == "view_item")
            .unwrap()
            .count
    };
    assert_eq!(
        (views(&before), views(&after)),
        (1, 2),
        "nothing applied twice"
    );
}

async fn the_population_is_counted_by_person(service: Service) {
    let mut subjects = Vec::new();
    for n in 0..6 {
        let subject = service.subject(&format!("s-{n}")).await;
        if n < 5 {
            service.grant(subject, Purpose::Personalise).await;
        }
        subjects.push(subject);
    }
    service.link(subjects[0], subjects[1]).await.unwrap();
    // A member without any event: the person still counts once.
    let quiet = service.subject("quiet").await;
    service.link(subjects[2], quiet).await.unwrap();
    let mut sent: Vec<_> = subjects
        .iter()
        .enumerate()
        .map(|(n, subject)| view(&format!("v-{n}"), *subject, "tea"))
        .collect();
    sent.push(purchase("p-0", subjects[1], 2, 6));
    sent.push(purchase("p-3", subjects[3], 300, 6));
    // Older than the log takes live.
    let backfill = pb::CollectEventsRequest {
        events: sent,
        lane: events::Lane::Backfill as i32,
        import_hash: vec![7; 32],
    };
    let results = service
        .events()
        .collect_events(backfill)
        .await
        .unwrap()
        .into_inner()
        .results;
    for result in results {
        service
            .profile
            .reader()
            .progress
            .wait_for(result.partition, result.sequence)
            .await;
    }
    let summary = pb::SummariseProfilesRequest::default();
    let summary = service
        .profiles()
        .summarise_profiles(summary)
        .await
        .unwrap()
        .into_inner();
    let stages: Vec<_> = summary
        .stages
        .iter()
        .map(|one| (one.stage.as_str(), one.persons))
        .collect();
    assert_eq!(stages, [("lost", 1), ("new", 1), ("prospect", 2)]);
    assert_eq!((summary.persons, summary.without_consent), (4, 1));
}

async fn a_malformed_event_costs_only_itself(service: Service) {
    let alice = service.subject("alice").await;
    service.grant(alice, Purpose::Personalise).await;
    let broken = pb::NewEvent {
        payload: Some(prost_types::Any {
            type_url: "type.googleapis.com/rapport.event.v1.Purchase".to_owned(),
            value: vec![0xff, 0xff, 0xff],
        }),
        ..view("e-1", alice, "tea")
    };
    let huge = events::Purchase {
        lines: vec![
            events::OrderLine {
                quantity: i64::MAX,
                unit_price_micros: i64::MAX,
                ..Default::default()
            };
            2
        ],
        currency: "GBP".to_owned(),
        order_id: "o-1".to_owned(),
        ..Default::default()
    };
    let sent = vec![
        broken,
        of(alice, event("e-2", "Purchase", &huge)),
        view("e-3", alice, "tea"),
    ];
    service.live(sent).await;
    let profile = service.profile_of(alice).await.unwrap();
    let counts: Vec<_> = profile
        .events
        .iter()
        .map(|one| (one.r#type.as_str(), one.count))
        .collect();
    assert_eq!(counts, [("purchase", 1), ("view_item", 1)]);
    assert_eq!(
        profile.rfm.unwrap().monetary[0].micros,
        i64::MAX,
        "held, not wrapped"
    );
    let state = service.profile.reader().states.get(alice).await.unwrap();
    assert_eq!(state.malformed, 1);
}
