//! Cases from first message to the end.

use prost::Message as _;
use rapport_api::care::v1 as pb;
use rapport_care::error;
use rapport_care::store::agent;
use rapport_store::store_contract;
use rapport_store::testing::Engine;
use tonic::Code;

use crate::support::{
    ALICE, BOB, START, Service, an_agent, metadata, new_id, opening, refusal, rows, spawn,
};

store_contract!(
    spawn,
    [
        a_malformed_request_names_every_bad_field,
        a_case_without_agents_waits_and_says_why,
        a_case_goes_to_the_specialist_and_the_others_are_told_why_not,
        a_request_id_has_one_effect,
        many_calls_of_one_request_id_make_one_case,
        a_case_lives_as_its_states_allow,
        an_agent_who_lost_the_case_is_refused,
        a_customer_may_close_a_case_that_waits,
        a_case_holds_so_many_messages,
        what_is_not_there_is_not_found,
    ]
);

async fn a_malformed_request_names_every_bad_field(service: Service) {
    let request = pb::OpenCaseRequest {
        channel: 99,
        subject_id: vec![1],
        ..Default::default()
    };
    let status = service.cases().open_case(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let (reason, fields) = refusal(&status);
    assert_eq!(reason, "INVALID_REQUEST");
    assert_eq!(fields, ["request_id", "subject_id", "channel", "text"]);

    let long = opening(ALICE, &"长".repeat(4_001));
    let (_, fields) = refusal(&service.cases().open_case(long).await.unwrap_err());
    assert_eq!(fields, ["text"]);

    let status = service
        .cases()
        .append_message(pb::AppendMessageRequest::default())
        .await;
    assert_eq!(
        refusal(&status.unwrap_err()).1,
        ["request_id", "case_id", "author", "text"]
    );
    let resolving = pb::EndCaseRequest {
        request_id: new_id(),
        case_id: vec![0; 16],
        state: pb::CaseState::Resolved.into(),
        ..Default::default()
    };
    let status = service.cases().end_case(resolving).await;
    assert_eq!(
        refusal(&status.unwrap_err()).1,
        ["agent_id"],
        "somebody must have solved it"
    );
    let status = service
        .cases()
        .end_case(pb::EndCaseRequest::default())
        .await;
    assert_eq!(
        refusal(&status.unwrap_err()).1,
        ["request_id", "case_id", "state"]
    );
}

async fn a_case_without_agents_waits_and_says_why(service: Service) {
    let opened = service.open("我要退款,快点").await;
    let case = opened.case.unwrap();
    assert_eq!(case.state(), pb::CaseState::Queued);
    assert_eq!(case.queue_reason, "NOBODY_SPEAKS_LANGUAGE");
    assert_eq!(
        (case.intent.as_str(), case.language.as_str()),
        ("refund", "zh")
    );
    assert_eq!(
        (case.opened_at_ms, case.epoch, case.agent_id.as_str()),
        (START.0, 0, "")
    );
    assert_eq!(case.response_due_ms, START.0 + 10 * 60_000);
    let route = opened.route.unwrap();
    assert_eq!(route.reasons, ["nobody speaks the language"]);
    assert_eq!(route.decision_id.len(), 16);

    // Intent points: a quarter of 300 times 0.6. A point for every six seconds of waiting.
    assert!((case.priority - 45.0).abs() < 1e-9, "{}", case.priority);
    service.clock.advance(60_000);
    assert!((service.case(&case.case_id).await.priority - 55.0).abs() < 1e-9);
}

async fn a_case_goes_to_the_specialist_and_the_others_are_told_why_not(service: Service) {
    service.agent("generalist", 3).await;
    service
        .upsert(pb::Agent {
            skills: vec!["refund".to_owned()],
            ..an_agent("expert", 3)
        })
        .await;
    service
        .upsert(pb::Agent {
            skills: vec!["payment".to_owned()],
            ..an_agent("cashier", 3)
        })
        .await;
    service
        .upsert(pb::Agent {
            languages: vec!["en".to_owned()],
            ..an_agent("tourist", 3)
        })
        .await;
    service
        .upsert(pb::Agent {
            presence: pb::Presence::Away.into(),
            ..an_agent("lunch", 3)
        })
        .await;
    let opened = service.open("我要退款").await;
    let case = opened.case.unwrap();
    assert_eq!(case.state(), pb::CaseState::Assigned);
    assert_eq!(
        (
            case.agent_id.as_str(),
            case.epoch,
            case.queue_reason.as_str()
        ),
        ("expert", 1, "")
    );
    let route = opened.route.unwrap();
    assert_eq!(route.agent_id, "expert");
    assert_eq!(
        route.reasons[..2],
        ["speaks zh", "is a specialist for refund"]
    );
    let rejected: Vec<(&str, &str)> = route
        .rejected
        .iter()
        .map(|other| (other.agent_id.as_str(), other.reason.as_str()))
        .collect();
    assert_eq!(
        rejected,
        [
            ("cashier", "SKILL"),
            ("generalist", "OUTRANKED"),
            ("lunch", "OFFLINE"),
            ("tourist", "LANGUAGE"),
        ]
    );
    assert_eq!(service.load("expert").await, 1);

    service.care.told().await.unwrap();
    let decided = service.log.collected("RouteDecided");
    assert_eq!(decided.len(), 1);
    assert!(
        decided[0].subject_id.is_empty(),
        "without the measure consent"
    );
    let changed = service.log.collected("CaseChanged");
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].subject_id, ALICE.to_vec());
}

async fn a_request_id_has_one_effect(service: Service) {
    service.agent("a", 5).await;
    let request = opening(ALICE, "where is my parcel");
    let first = service
        .cases()
        .open_case(request.clone())
        .await
        .unwrap()
        .into_inner();
    let again = service
        .cases()
        .open_case(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        first.encode_to_vec(),
        again.encode_to_vec(),
        "byte for byte"
    );
    let other = pb::OpenCaseRequest {
        text: "another".to_owned(),
        ..request.clone()
    };
    let status = service.cases().open_case(other).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(refusal(&status).0, rapport_rpc::write::REQUEST_ID_REUSED);
    assert_eq!(service.load("a").await, 1);

    let case = first.case.unwrap();
    let request = pb::EndCaseRequest {
        request_id: new_id(),
        case_id: case.case_id.clone(),
        state: pb::CaseState::Resolved.into(),
        agent_id: "a".to_owned(),
        epoch: case.epoch,
    };
    for _ in 0..2 {
        let ended = service
            .cases()
            .end_case(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(ended.case.unwrap().state(), pb::CaseState::Resolved);
        assert_eq!(service.load("a").await, 0, "given back once");
    }
}

async fn many_calls_of_one_request_id_make_one_case(service: Service) {
    service.agent("a", 50).await;
    let request = opening(BOB, "I want a refund");
    let calls = (0..20).map(|_| {
        let (mut cases, request) = (service.cases(), request.clone());
        async move {
            cases
                .open_case(request)
                .await
                .unwrap()
                .into_inner()
                .case
                .unwrap()
                .case_id
        }
    });
    let mut ids = futures::future::join_all(calls).await;
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(service.load("a").await, 1);
}

async fn a_case_lives_as_its_states_allow(service: Service) {
    service.agent("a", 1).await;
    let case = service.open("我的快递到哪里了").await.case.unwrap();
    service.clock.advance(30_000);
    let case = service.answer(&case, "您好,正在为您查询").await.unwrap();
    assert_eq!(case.state(), pb::CaseState::Pending);
    assert_eq!(case.first_response_ms, START.0 + 30_000);
    let case = service.write(&case.case_id, "好的").await.unwrap();
    assert_eq!((case.state(), case.epoch), (pb::CaseState::Assigned, 1));
    service.clock.advance(1_000);
    let case = service.answer(&case, "明天送到").await.unwrap();
    assert_eq!(
        case.first_response_ms,
        START.0 + 30_000,
        "the first stays the first"
    );

    let case = service.end(&case, pb::CaseState::Resolved).await.unwrap();
    assert_eq!(case.state(), pb::CaseState::Resolved);
    assert_eq!(service.load("a").await, 0);
    let status = service
        .end(&case, pb::CaseState::Resolved)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(refusal(&status).0, error::STATE_FORBIDS);
    assert_eq!(metadata(&status, "state"), "resolved");

    let case = service.write(&case.case_id, "还是没收到!").await.unwrap();
    assert_eq!(
        (case.state(), case.epoch),
        (pb::CaseState::Assigned, 2),
        "taken up again"
    );
    assert_eq!(service.load("a").await, 1);
    let case = service.end(&case, pb::CaseState::Closed).await.unwrap();
    assert_eq!(case.state(), pb::CaseState::Closed);
    let status = service.write(&case.case_id, "喂?").await.unwrap_err();
    assert_eq!(refusal(&status).0, error::STATE_FORBIDS);

    let texts: Vec<String> = service
        .get(&case.case_id)
        .await
        .messages
        .into_iter()
        .map(|message| message.text)
        .collect();
    assert_eq!(
        texts,
        [
            "我的快递到哪里了",
            "您好,正在为您查询",
            "好的",
            "明天送到",
            "还是没收到!"
        ]
    );
}

async fn an_agent_who_lost_the_case_is_refused(service: Service) {
    service.agent("first", 1).await;
    let held = service.open("I want a refund").await.case.unwrap();
    service.presence("first", pb::Presence::Offline).await;
    let waits = service.case(&held.case_id).await;
    assert_eq!(
        (waits.state(), waits.agent_id.as_str()),
        (pb::CaseState::Queued, "")
    );
    assert_eq!(waits.queue_reason, "NOBODY_ONLINE");
    assert_eq!(service.load("first").await, 0);

    let taken = service.agent("second", 1).await;
    assert_eq!(taken.load, 1, "coming online takes what waits");
    for status in [
        service.answer(&held, "too late").await.unwrap_err(),
        service
            .end(&held, pb::CaseState::Resolved)
            .await
            .unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(refusal(&status).0, error::STALE_EPOCH);
        assert_eq!(metadata(&status, "epoch"), "2");
    }
    let case = service.case(&held.case_id).await;
    assert_eq!((case.agent_id.as_str(), case.epoch), ("second", 2));
    // The right agent with an old epoch is as wrong as another agent.
    let old = pb::Case {
        epoch: 1,
        ..case.clone()
    };
    assert_eq!(
        refusal(&service.answer(&old, "x").await.unwrap_err()).0,
        error::STALE_EPOCH
    );
    service.answer(&case, "hello").await.unwrap();
}

async fn a_customer_may_close_a_case_that_waits(service: Service) {
    let case = service.open("what size should I get").await.case.unwrap();
    let case = service.end(&case, pb::CaseState::Closed).await.unwrap();
    assert_eq!(
        (case.state(), case.queue_reason.as_str()),
        (pb::CaseState::Closed, "")
    );
    let queue = service
        .agents()
        .get_queue(pb::GetQueueRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(queue.waiting, 0);
}

async fn a_case_holds_so_many_messages(service: Service) {
    let case = service.open("1").await.case.unwrap();
    for number in 2..=200 {
        service
            .write(&case.case_id, &number.to_string())
            .await
            .unwrap();
    }
    let status = service.write(&case.case_id, "201").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(refusal(&status).0, error::CASE_FULL);
    let messages = service.get(&case.case_id).await.messages;
    let texts: Vec<String> = messages.into_iter().map(|message| message.text).collect();
    let expected: Vec<String> = (1..=200).map(|number| number.to_string()).collect();
    assert_eq!(texts, expected, "in order");
}

async fn what_is_not_there_is_not_found(service: Service) {
    let status = service.write(&[7; 16], "hello").await.unwrap_err();
    assert_eq!(
        (status.code(), refusal(&status).0.as_str()),
        (Code::NotFound, error::CASE_NOT_FOUND)
    );
    let nobody = pb::Case {
        case_id: vec![7; 16],
        agent_id: "a".to_owned(),
        ..Default::default()
    };
    let status = service
        .end(&nobody, pb::CaseState::Closed)
        .await
        .unwrap_err();
    assert_eq!(refusal(&status).0, error::CASE_NOT_FOUND);
    let request = pb::GetCaseRequest {
        case_id: vec![7; 16],
    };
    let status = service.cases().get_case(request).await.unwrap_err();
    assert_eq!(refusal(&status).0, error::CASE_NOT_FOUND);

    service.log.forget_key(BOB);
    let status = service
        .cases()
        .open_case(opening(BOB, "hello"))
        .await
        .unwrap_err();
    assert_eq!(refusal(&status).0, error::SUBJECT_NOT_FOUND);
}

/// Looks at who waits for a row, until both messages do: far more than it takes.
const LOOKS_MAX: usize = 10_000;

// On Postgres only: SQLite has one writer, so the second message reads what the first one wrote.
#[tokio::test]
async fn two_messages_at_once_bring_a_case_back_once() {
    let service = spawn(Engine::Postgres).await;
    service.agent("a", 3).await;
    let case = service.open("我要退款").await.case.unwrap();
    service.end(&case, pb::CaseState::Resolved).await.unwrap();
    let db = service.home.open().await;
    // Both read the resolved case, and then wait for the agent.
    let mut tx = db.begin().await.unwrap();
    agent::lock(&mut tx, "a", true).await.unwrap().unwrap();
    let let_go = async {
        let mut waiting = 0;
        for _look in 0..LOOKS_MAX {
            let found: Vec<(i64,)> = rows(
                &db,
                "select count(*) from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock'",
            )
            .await;
            waiting = found[0].0;
            if waiting == 2 {
                break;
            }
        }
        tx.commit().await.unwrap();
        waiting
    };
    let (first, second, waiting) = tokio::join!(
        service.write(&case.case_id, "还没到"),
        service.write(&case.case_id, "快点"),
        let_go
    );
    assert_eq!(waiting, 2, "they did not meet: this proves nothing");
    for written in [first, second] {
        let written = written.unwrap();
        assert_eq!(
            (written.state(), written.epoch, written.agent_id.as_str()),
            (pb::CaseState::Assigned, 2, "a")
        );
    }
    assert_eq!(service.load("a").await, 1, "one place for one case");
    assert_eq!(service.get(&case.case_id).await.messages.len(), 3);
}
