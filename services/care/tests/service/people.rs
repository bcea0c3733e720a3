//! What people allow: feelings only by consent, texts sealed, the erased unread.

use prost::Message as _;
use rapport_api::care::v1 as pb;
use rapport_api::event::v1::{EmotionObservedPersonal, MessageReceived};
use rapport_care::error;
use rapport_store::{on_db, store_contract};
use rapport_types::{ConsentState, Purpose};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{ALICE, BOB, Service, metadata, opening, refusal, spawn};

store_contract!(
    spawn,
    [
        feelings_are_read_only_by_consent,
        a_text_is_analysed_only_by_consent,
        texts_are_sealed_at_rest,
        an_erased_customers_texts_read_as_empty,
        no_key_no_case,
    ]
);

const ANGRY: &str = "太生气了！你们就是骗子，马上给我退款！";

async fn feelings_are_read_only_by_consent(service: Service) {
    let opened = service.open(ANGRY).await;
    let (calm_case, analysis) = (opened.case.unwrap(), opened.analysis.unwrap());
    assert_eq!((analysis.emotion.as_str(), analysis.valence), ("", 0.0));
    assert!(analysis.emotion_probability.abs() < f64::EPSILON);
    assert!(
        !analysis.evidence.iter().any(|word| word == "生气"),
        "{:?}",
        analysis.evidence
    );
    assert_eq!(analysis.model_version, "rules-1+rules-1");

    service
        .consent(ALICE, Purpose::Emotion, ConsentState::Granted)
        .await;
    service
        .consent(ALICE, Purpose::Measure, ConsentState::Granted)
        .await;
    let opened = service.open(ANGRY).await;
    let (case, analysis) = (opened.case.unwrap(), opened.analysis.unwrap());
    assert_eq!(analysis.emotion, "anger");
    assert!(analysis.valence < -0.3 && analysis.emotion_probability > 0.5);
    assert!(case.priority > calm_case.priority, "anger is taken sooner");

    service
        .consent(ALICE, Purpose::Emotion, ConsentState::Revoked)
        .await;
    let calm = service.open(ANGRY).await.analysis.unwrap();
    assert_eq!(calm.emotion, "");

    service.care.told().await.unwrap();
    let observed = service.log.collected("EmotionObserved");
    assert_eq!(observed.len(), 1, "one of three messages");
    let personal = observed[0].personal.as_ref().unwrap();
    let personal = EmotionObservedPersonal::decode(personal.value.as_slice()).unwrap();
    assert_eq!(personal.label, "anger");
    assert!(personal.arousal > 0.0);
    let received = service.log.collected("MessageReceived");
    assert_eq!(received.len(), 3);
    let message = received[0].payload.as_ref().unwrap();
    let message = MessageReceived::decode(message.value.as_slice()).unwrap();
    assert_eq!(
        (message.length, message.language.as_str()),
        (ANGRY.chars().count() as u32, "zh")
    );
    let routed = service.log.collected("RouteDecided");
    let with_subject = routed
        .iter()
        .filter(|event| !event.subject_id.is_empty())
        .count();
    assert_eq!(
        (routed.len(), with_subject),
        (3, 2),
        "the subject only under measure"
    );
}

async fn a_text_is_analysed_only_by_consent(service: Service) {
    let request = pb::AnalyzeTextRequest {
        subject_id: BOB.to_vec(),
        text: "I am furious".to_owned(),
    };
    let status = service
        .cases()
        .analyze_text(request.clone())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(refusal(&status).0, error::CONSENT_MISSING);
    assert_eq!(metadata(&status, "purpose"), "emotion");
    service
        .consent(BOB, Purpose::Emotion, ConsentState::Granted)
        .await;
    let answer = service
        .cases()
        .analyze_text(request)
        .await
        .unwrap()
        .into_inner();
    let analysis = answer.analysis.unwrap();
    assert_eq!(
        (analysis.emotion.as_str(), analysis.language.as_str()),
        ("anger", "en")
    );
    let empty = pb::AnalyzeTextRequest::default();
    let (_, fields) = refusal(&service.cases().analyze_text(empty).await.unwrap_err());
    assert_eq!(fields, ["subject_id", "text"]);
}

/// Every column of bytes that could hold a text.
async fn bytes_at_rest(service: &Service) -> Vec<u8> {
    const SEALED: &str = "select sealed from messages";
    const RECORDED: &str = "select response from idempotency";
    let db = service.home.open().await;
    let mut all = Vec::new();
    for text in [SEALED, RECORDED] {
        let rows: Vec<Vec<u8>> =
            on_db!(&db, |pool| sqlx::query_scalar(text).fetch_all(pool).await).unwrap();
        assert!(!rows.is_empty());
        all.extend(rows.into_iter().flatten());
    }
    all
}

async fn texts_are_sealed_at_rest(service: Service) {
    service
        .consent(ALICE, Purpose::Emotion, ConsentState::Granted)
        .await;
    let case = service
        .open("furious about the zanzibar refund")
        .await
        .case
        .unwrap();
    service
        .write(&case.case_id, "zanzibar again")
        .await
        .unwrap();
    let at_rest = bytes_at_rest(&service).await;
    for word in ["zanzibar", "furious", "anger"] {
        let found = at_rest
            .windows(word.len())
            .any(|bytes| bytes == word.as_bytes());
        assert!(!found, "{word:?} is readable in the database");
    }
    let messages = service.get(&case.case_id).await.messages;
    assert_eq!(messages[0].text, "furious about the zanzibar refund");
    assert_eq!(messages[1].text, "zanzibar again");
}

async fn an_erased_customers_texts_read_as_empty(service: Service) {
    let request = opening(ALICE, "my secret");
    let case = service
        .cases()
        .open_case(request.clone())
        .await
        .unwrap()
        .into_inner();
    let case_id = case.case.unwrap().case_id;
    assert_eq!(service.get(&case_id).await.messages[0].text, "my secret");
    service.erase(ALICE).await;
    let messages = service.get(&case_id).await.messages;
    assert_eq!(
        (messages.len(), messages[0].text.as_str()),
        (1, ""),
        "although the key was at hand"
    );
    for status in [
        service.write(&case_id, "hello").await.unwrap_err(),
        service.cases().open_case(request).await.unwrap_err(),
    ] {
        assert_eq!(refusal(&status).0, error::SUBJECT_NOT_FOUND);
    }
}

async fn no_key_no_case(service: Service) {
    service.log.hold_keys_back(true);
    let status = service
        .cases()
        .open_case(opening(BOB, "hello"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(refusal(&status).0, error::KEYS_UNAVAILABLE);
    assert!(status.get_details_retry_info().is_some());
    let queue = service
        .agents()
        .get_queue(pb::GetQueueRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(queue.waiting, 0, "nothing half done");
    service.log.hold_keys_back(false);
    service
        .cases()
        .open_case(opening(BOB, "hello"))
        .await
        .unwrap();
}
