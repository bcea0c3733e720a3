//! Agents, their presence, and the work they take.

use std::collections::BTreeSet;

use care_domain::{Agent, Presence};
use rapport_api::care::v1 as pb;
use rapport_care::error;
use rapport_care::store::agent::{self, AgentRow};
use rapport_store::store_contract;
use tonic::Code;

use crate::support::{ALICE, START, Service, an_agent, new_id, opening, refusal, rows, spawn};

store_contract!(
    spawn,
    [
        an_agent_is_written_and_read_in_pages,
        a_malformed_agent_names_every_bad_field,
        coming_online_takes_the_most_urgent_up_to_capacity,
        ending_a_case_takes_the_next,
        a_claim_takes_one_or_says_why_not,
        a_claim_is_made_once_per_request_id,
        a_long_wait_is_worth_more_than_a_skill,
        who_is_idle_longest_keeps_nobody_from_a_case,
        why_a_case_waits_follows_who_is_there_and_writes_nothing,
        concurrent_claims_and_cases_keep_one_agent_per_case,
        an_unknown_agent_is_not_found,
    ]
);

async fn an_agent_is_written_and_read_in_pages(service: Service) {
    for agent_id in ["c", "a", "b"] {
        service.agent(agent_id, 2).await;
    }
    let page = |page_token: String| {
        let mut agents = service.agents();
        let request = pb::ListAgentsRequest {
            page_size: 2,
            page_token,
        };
        async move { agents.list_agents(request).await.unwrap().into_inner() }
    };
    let first = page(String::new()).await;
    let ids: Vec<&str> = first
        .agents
        .iter()
        .map(|agent| agent.agent_id.as_str())
        .collect();
    assert_eq!(ids, ["a", "b"]);
    let second = page(first.next_page_token).await;
    assert_eq!(
        (second.agents.len(), second.next_page_token.as_str()),
        (1, "")
    );
    assert_eq!(second.agents[0].languages, ["en", "zh"], "primary subtags");

    let moved = pb::Agent {
        name: "New".to_owned(),
        presence: 0,
        capacity: 9,
        ..an_agent("a", 2)
    };
    let written = service.upsert(moved).await;
    assert_eq!((written.name.as_str(), written.capacity), ("New", 9));
    assert_eq!(
        written.presence(),
        pb::Presence::Online,
        "no presence given: none changed"
    );
    let malformed = pb::ListAgentsRequest {
        page_size: -1,
        page_token: "a\0".to_owned(),
    };
    let status = service.agents().list_agents(malformed).await.unwrap_err();
    assert_eq!(refusal(&status).1, ["page_size", "page_token"]);
}

async fn a_malformed_agent_names_every_bad_field(service: Service) {
    let request = pb::UpsertAgentRequest {
        request_id: String::new(),
        agent: Some(pb::Agent {
            languages: vec!["zh".to_owned(), "e".to_owned()],
            skills: vec!["two words".to_owned(), "50%".to_owned()],
            capacity: 51,
            ..Default::default()
        }),
    };
    let status = service.agents().upsert_agent(request).await.unwrap_err();
    let (reason, fields) = refusal(&status);
    assert_eq!(reason, "INVALID_REQUEST");
    assert_eq!(
        fields,
        [
            "request_id",
            "agent.agent_id",
            "agent.name",
            "agent.languages[1]",
            "agent.skills[0]",
            "agent.skills[1]",
            "agent.capacity",
        ]
    );
    let status = service
        .agents()
        .upsert_agent(pb::UpsertAgentRequest::default())
        .await;
    assert_eq!(refusal(&status.unwrap_err()).1, ["request_id", "agent"]);
    let status = service
        .agents()
        .set_presence(pb::SetPresenceRequest::default())
        .await;
    assert_eq!(
        refusal(&status.unwrap_err()).1,
        ["request_id", "agent_id", "presence"]
    );
}

async fn coming_online_takes_the_most_urgent_up_to_capacity(service: Service) {
    let mut opened = Vec::new();
    for text in ["有货吗", "我要投诉,马上处理", "有货吗", "我要退款"] {
        service.clock.advance(1);
        opened.push(service.open(text).await.case.unwrap().case_id);
    }
    let queue = service
        .agents()
        .get_queue(pb::GetQueueRequest {})
        .await
        .unwrap()
        .into_inner();
    let order: Vec<&[u8]> = queue
        .next
        .iter()
        .map(|case| case.case_id.as_slice())
        .collect();
    assert_eq!(
        order,
        [&opened[1], &opened[3], &opened[0], &opened[2]],
        "urgent, then longest wait"
    );
    assert_eq!((queue.waiting, queue.longest_wait_ms), (4, 3));

    service
        .upsert(pb::Agent {
            presence: pb::Presence::Offline.into(),
            ..an_agent("a", 3)
        })
        .await;
    let came = service.presence("a", pb::Presence::Online).await;
    let got: Vec<&[u8]> = came
        .assigned
        .iter()
        .map(|case| case.case_id.as_slice())
        .collect();
    assert_eq!(got, [&opened[1], &opened[3], &opened[0]]);
    assert!(
        came.assigned
            .iter()
            .all(|case| case.agent_id == "a" && case.epoch == 1)
    );
    assert_eq!(came.agent.unwrap().load, 3);

    let away = service.presence("a", pb::Presence::Away).await;
    assert_eq!(away.agent.unwrap().load, 3, "a break keeps the cases");
    assert_eq!(
        service.case(&opened[0]).await.state(),
        pb::CaseState::Assigned
    );
}

async fn ending_a_case_takes_the_next(service: Service) {
    service.agent("a", 1).await;
    let first = service.open("我要退款").await.case.unwrap();
    let second = service.open("我要换货").await.case.unwrap();
    assert_eq!(second.queue_reason, "EVERYBODY_BUSY");
    service.end(&first, pb::CaseState::Resolved).await.unwrap();
    let second = service.case(&second.case_id).await;
    assert_eq!(
        (second.state(), second.agent_id.as_str()),
        (pb::CaseState::Assigned, "a")
    );
    assert_eq!(service.load("a").await, 1);
}

async fn a_claim_takes_one_or_says_why_not(service: Service) {
    service.agent("a", 1).await;
    let nothing = service.claim("a").await;
    assert_eq!(
        (nothing.case, nothing.reason.as_str()),
        (None, "NOTHING_WAITING")
    );
    service.open("我要退款").await;
    assert_eq!(service.claim("a").await.reason, "AT_CAPACITY");
    service.presence("a", pb::Presence::Away).await;
    assert_eq!(service.claim("a").await.reason, "OFFLINE");
}

async fn a_claim_is_made_once_per_request_id(service: Service) {
    let ids = [
        service.open("我要退款").await,
        service.open("我要换货").await,
    ];
    // Nobody is online yet, so that the claim finds both waiting.
    service
        .upsert(pb::Agent {
            presence: pb::Presence::Offline.into(),
            ..an_agent("a", 1)
        })
        .await;
    let came = service.presence("a", pb::Presence::Online).await;
    assert_eq!(came.assigned.len(), 1);
    let request = pb::ClaimCaseRequest {
        request_id: new_id(),
        agent_id: "a".to_owned(),
    };
    let full = service
        .agents()
        .claim_case(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(full.reason, "AT_CAPACITY");
    service.upsert(an_agent("a", 2)).await;
    let again = service
        .agents()
        .claim_case(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.reason, "AT_CAPACITY", "the answer of then");
    // The sweeper may have held the second case at the moment of the update.
    service.care.sweep().await.unwrap();
    assert_eq!(service.load("a").await, 2);
    for opened in ids {
        let case = service.case(&opened.case.unwrap().case_id).await;
        assert_eq!(case.state(), pb::CaseState::Assigned);
    }
}

/// A case's reason and version on disk.
type Written = (String, i64);
const WRITTEN: &str = "select queue_reason, version from cases";

async fn why_a_case_waits_follows_who_is_there_and_writes_nothing(service: Service) {
    let case = service.open("我要退款").await.case.unwrap();
    let reason = async || {
        let now = service.case(&case.case_id).await.queue_reason;
        let queue = service.agents().get_queue(pb::GetQueueRequest {}).await;
        assert_eq!(queue.unwrap().into_inner().next[0].queue_reason, now);
        now
    };
    let db = service.home.open().await;
    let written: Vec<Written> = rows(&db, WRITTEN).await;
    let nobody = reason().await;
    service
        .upsert(pb::Agent {
            skills: vec!["payment".to_owned()],
            ..an_agent("cashier", 3)
        })
        .await;
    service.care.sweep().await.unwrap();
    assert_eq!(
        (nobody.as_str(), reason().await.as_str()),
        ("NOBODY_SPEAKS_LANGUAGE", "NOBODY_HANDLES_INTENT")
    );
    service
        .upsert(pb::Agent {
            presence: pb::Presence::Offline.into(),
            ..an_agent("clerk", 3)
        })
        .await;
    assert_eq!(reason().await, "NOBODY_ONLINE");
    assert_eq!(rows::<Written>(&db, WRITTEN).await, written);
}

async fn a_long_wait_is_worth_more_than_a_skill(service: Service) {
    service
        .upsert(pb::Agent {
            skills: vec!["payment".to_owned()],
            ..an_agent("cashier", 3)
        })
        .await;
    let case = service.open("我要退款").await.case.unwrap();
    assert_eq!(case.queue_reason, "NOBODY_HANDLES_INTENT");
    assert_eq!(service.claim("cashier").await.reason, "NOTHING_WAITING");
    service.clock.advance(10 * 60_000);
    service.care.sweep().await.unwrap();
    let case = service.case(&case.case_id).await;
    assert_eq!(
        (case.state(), case.agent_id.as_str()),
        (pb::CaseState::Assigned, "cashier")
    );
}

async fn who_is_idle_longest_keeps_nobody_from_a_case(service: Service) {
    let db = service.home.open().await;
    let mut tx = db.begin().await.unwrap();
    for n in 0..250 {
        let row = AgentRow {
            name: "Tourist".to_owned(),
            agent: Agent {
                agent_id: format!("tourist-{n}"),
                languages: BTreeSet::from(["en".to_owned()]),
                skills: BTreeSet::new(),
                presence: Presence::Online,
                capacity: 1,
                load: 0,
                idle_since: START,
            },
        };
        agent::upsert(&mut tx, &row).await.unwrap();
    }
    tx.commit().await.unwrap();
    service.clock.advance(1);
    let cashier = pb::Agent {
        skills: vec!["payment".to_owned()],
        ..an_agent("cashier", 3)
    };
    service.upsert(cashier).await;
    let case = service.open("我要退款").await.case.unwrap();
    assert_eq!(case.queue_reason, "NOBODY_HANDLES_INTENT");
    // From now on the sweeper alone can give it.
    service.clock.advance(10 * 60_000);
    service.care.sweep().await.unwrap();
    assert_eq!(service.case(&case.case_id).await.agent_id, "cashier");
}

async fn concurrent_claims_and_cases_keep_one_agent_per_case(service: Service) {
    for agent in 0..4 {
        service.agent(&format!("a{agent}"), 5).await;
    }
    let opening = (0..30).map(|_| {
        let mut cases = service.cases();
        async move {
            let opened = cases.open_case(opening(ALICE, "我要退款")).await.unwrap();
            opened.into_inner().case.unwrap().case_id
        }
    });
    let claiming = (0..40).map(|n| {
        let mut agents = service.agents();
        let agent_id = format!("a{}", n % 4);
        async move {
            let request = pb::ClaimCaseRequest {
                request_id: new_id(),
                agent_id,
            };
            agents.claim_case(request).await.unwrap();
        }
    });
    let (opened, _) = tokio::join!(
        futures::future::join_all(opening),
        futures::future::join_all(claiming)
    );
    service.care.sweep().await.unwrap();
    let ids: BTreeSet<Vec<u8>> = opened.into_iter().collect();
    assert_eq!(ids.len(), 30);
    let (mut taken, mut waiting) = (0, 0);
    for case_id in ids {
        let case = service.case(&case_id).await;
        match case.state() {
            pb::CaseState::Assigned => taken += 1,
            pb::CaseState::Queued => waiting += 1,
            pb::CaseState::Unspecified
            | pb::CaseState::Pending
            | pb::CaseState::Resolved
            | pb::CaseState::Closed => panic!("{case:?}"),
        }
        assert_eq!(
            case.queue_reason.is_empty(),
            case.state() == pb::CaseState::Assigned
        );
    }
    assert_eq!((taken, waiting), (20, 10));
    for agent in 0..4 {
        assert_eq!(service.load(&format!("a{agent}")).await, 5);
    }
}

async fn an_unknown_agent_is_not_found(service: Service) {
    let request = pb::ClaimCaseRequest {
        request_id: new_id(),
        agent_id: "ghost".to_owned(),
    };
    let status = service.agents().claim_case(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(refusal(&status).0, error::AGENT_NOT_FOUND);
}
