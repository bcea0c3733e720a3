//! What the claim rests on, statement by statement: the same on both engines.

use std::collections::BTreeSet;

use care_domain::{Agent, CaseState, Presence};
use rapport_care::store::agent::{self, AgentRow};
use rapport_care::store::assignment;
use rapport_care::store::case::{self, CaseRow, Wanted};
use rapport_care::store::message::{self, MessageRow};
use rapport_care::{POSTGRES, SQLITE};
use rapport_store::testing::{Engine, TestDb};
use rapport_store::{Db, Tx, store_contract};
use rapport_types::{SubjectId, UnixMillis};

struct Fixture {
    db: Db,
    _home: TestDb,
}

async fn open(engine: Engine) -> Fixture {
    let home = TestDb::create(engine).await;
    let db = home.open_migrated(&POSTGRES, &SQLITE).await;
    Fixture { db, _home: home }
}

store_contract!(
    open,
    [
        a_case_is_changed_only_from_the_version_that_was_read,
        a_place_is_taken_only_while_there_is_one,
        a_case_has_one_open_assignment,
        waiting_cases_come_in_order_and_only_those_that_fit,
        a_locked_case_is_not_given_twice,
        a_case_has_each_message_number_once,
    ]
);

const NOW: UnixMillis = UnixMillis(1_000_000);

fn a_case(id: u8) -> CaseRow {
    CaseRow {
        case_id: [id; 16],
        subject: SubjectId::new([9; 16]),
        state: CaseState::Queued,
        channel: 3,
        intent: "refund".to_owned(),
        language: "zh".to_owned(),
        base_points: 0,
        waiting_since: NOW,
        agent_id: None,
        epoch: 0,
        opened_at: NOW,
        response_due: NOW,
        first_response: UnixMillis(0),
        queue_reason: "NOBODY_ONLINE".to_owned(),
        messages: 1,
        version: 1,
    }
}

fn an_agent(capacity: u32, presence: Presence) -> AgentRow {
    AgentRow {
        name: "A".to_owned(),
        agent: Agent {
            agent_id: "a".to_owned(),
            languages: BTreeSet::from(["en".to_owned(), "zh".to_owned()]),
            skills: BTreeSet::new(),
            presence,
            capacity,
            load: 0,
            idle_since: NOW,
        },
    }
}

/// Runs one step in a transaction of its own.
async fn begin(fixture: &Fixture) -> Tx {
    fixture.db.begin().await.unwrap()
}

async fn insert(fixture: &Fixture, rows: &[CaseRow]) {
    let mut tx = begin(fixture).await;
    for row in rows {
        case::insert(&mut tx, row).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn a_case_is_changed_only_from_the_version_that_was_read(fixture: Fixture) {
    insert(&fixture, &[a_case(1)]).await;
    let mut winner = a_case(1);
    winner.state = CaseState::Closed;
    let mut loser = a_case(1);
    loser.intent = "payment".to_owned();
    let mut tx = begin(&fixture).await;
    assert!(case::update(&mut tx, &mut winner, true).await.unwrap());
    assert!(!case::update(&mut tx, &mut loser, true).await.unwrap());
    tx.commit().await.unwrap();
    let found = case::get(&fixture.db, &[1; 16]).await.unwrap().unwrap();
    assert_eq!(found, winner);
    assert_eq!((found.version, found.intent.as_str()), (2, "refund"));
}

async fn a_place_is_taken_only_while_there_is_one(fixture: Fixture) {
    let mut tx = begin(&fixture).await;
    let row = agent::upsert(&mut tx, &an_agent(2, Presence::Online))
        .await
        .unwrap();
    for taken in [true, true, false] {
        assert_eq!(
            agent::take(&mut tx, &row.agent, NOW, true).await.unwrap(),
            taken
        );
    }
    agent::give_back(&mut tx, "a", NOW).await.unwrap();
    assert!(agent::take(&mut tx, &row.agent, NOW, true).await.unwrap());
    agent::empty(&mut tx, "a", NOW).await.unwrap();
    agent::give_back(&mut tx, "a", NOW).await.unwrap();
    let locked = agent::lock(&mut tx, "a", true).await.unwrap().unwrap();
    assert_eq!(locked.agent.load, 0, "never below none");
    for presence in [Presence::Away, Presence::Offline] {
        agent::set_presence(&mut tx, "a", presence, NOW)
            .await
            .unwrap();
        assert!(
            !agent::take(&mut tx, &row.agent, NOW, true).await.unwrap(),
            "{presence:?}"
        );
    }
    assert_eq!(agent::lock(&mut tx, "nobody", true).await.unwrap(), None);
    tx.commit().await.unwrap();
}

async fn a_case_has_one_open_assignment(fixture: Fixture) {
    insert(&fixture, &[a_case(1)]).await;
    let mut tx = begin(&fixture).await;
    let case_id = [1; 16];
    assert!(
        assignment::begin(&mut tx, &case_id, 1, "a", NOW)
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    let mut tx = begin(&fixture).await;
    let second = assignment::begin(&mut tx, &case_id, 2, "b", NOW).await;
    assert!(!second.unwrap(), "somebody has it");
    assignment::end(&mut tx, &case_id, NOW).await.unwrap();
    let same_epoch = assignment::begin(&mut tx, &case_id, 1, "b", NOW).await;
    assert!(!same_epoch.unwrap(), "somebody had it under this epoch");
    assert!(
        assignment::begin(&mut tx, &case_id, 2, "b", NOW)
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
}

async fn waiting_cases_come_in_order_and_only_those_that_fit(fixture: Fixture) {
    let urgent = CaseRow {
        base_points: 100,
        ..a_case(3)
    };
    let early = CaseRow {
        waiting_since: UnixMillis(NOW.0 - 1),
        ..a_case(4)
    };
    let of_any_language = CaseRow {
        language: String::new(),
        ..a_case(5)
    };
    let french = CaseRow {
        language: "fr".to_owned(),
        base_points: 900,
        ..a_case(6)
    };
    let other = CaseRow {
        intent: "payment".to_owned(),
        base_points: 900,
        ..a_case(7)
    };
    let long = CaseRow {
        waiting_since: UnixMillis(0),
        intent: "payment".to_owned(),
        ..a_case(8)
    };
    let taken = CaseRow {
        state: CaseState::Assigned,
        base_points: 900,
        ..a_case(9)
    };
    insert(
        &fixture,
        &[
            a_case(1),
            urgent,
            early,
            of_any_language,
            french,
            other,
            long,
            taken,
        ],
    )
    .await;
    let ids = async |languages, skills, limit| {
        let wanted = Wanted {
            languages,
            skills,
            relaxed: UnixMillis(0),
            limit,
        };
        let mut tx = begin(&fixture).await;
        let found = case::waiting(&mut tx, &wanted, true).await.unwrap();
        tx.rollback().await.unwrap();
        found
            .into_iter()
            .map(|row| row.case_id[0])
            .collect::<Vec<_>>()
    };
    // 100 points are ten minutes; case 8 has waited 1,000 s, but needs no skill any more.
    assert_eq!(
        ids(" en zh ", " exchange refund ", 20).await,
        [8, 3, 4, 1, 5]
    );
    assert_eq!(ids(" en zh ", "", 20).await, [7, 8, 3, 4, 1, 5]);
    assert_eq!(ids(" en zh ", "", 2).await, [7, 8]);
    assert_eq!(ids(" fr ", " refund ", 20).await, [6, 5]);
    assert_eq!(ids(" z ", "", 20).await, [5], "whole words only");
    let top: Vec<u8> = case::top(&fixture.db, 3)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.case_id[0])
        .collect();
    assert_eq!(top, [6, 7, 8]);
    assert_eq!(
        case::queue(&fixture.db).await.unwrap(),
        (7, Some(UnixMillis(0)))
    );
}

async fn a_locked_case_is_not_given_twice(fixture: Fixture) {
    insert(&fixture, &[a_case(1), a_case(2)]).await;
    let wanted = Wanted {
        languages: " zh ",
        skills: "",
        relaxed: UnixMillis(0),
        limit: 1,
    };
    let mut first = begin(&fixture).await;
    let given = case::waiting(&mut first, &wanted, true).await.unwrap();
    assert_eq!(given[0].case_id, [1; 16]);
    if matches!(fixture.db, Db::Postgres(_)) {
        let mut second = begin(&fixture).await;
        let given = case::waiting(&mut second, &wanted, true).await.unwrap();
        assert_eq!(
            given[0].case_id, [2; 16],
            "neither waited for nor given twice"
        );
        second.rollback().await.unwrap();
    }
    let french = Wanted {
        languages: " fr ",
        ..wanted.clone()
    };
    assert!(!case::fits(&fixture.db, &french).await.unwrap());
    let fits = case::fits(&fixture.db, &wanted).await;
    assert!(fits.unwrap(), "locked or not");
    first.rollback().await.unwrap();
}

async fn a_case_has_each_message_number_once(fixture: Fixture) {
    let message = |id: u8| MessageRow {
        message_id: [id; 16],
        author: 1,
        sealed: vec![1, 2, 3],
        written_at: NOW,
    };
    let mut tx = begin(&fixture).await;
    message::insert(&mut tx, &[1; 16], 2, &message(2))
        .await
        .unwrap();
    message::insert(&mut tx, &[1; 16], 1, &message(1))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut tx = begin(&fixture).await;
    let refused = message::insert(&mut tx, &[1; 16], 1, &message(3))
        .await
        .unwrap_err();
    assert!(refused.is_unique_violation());
    tx.rollback().await.unwrap();
    let found = message::of_case(&fixture.db, &[1; 16], 10).await.unwrap();
    assert_eq!(found, [message(1), message(2)]);
    assert_eq!(
        message::of_case(&fixture.db, &[1; 16], 1)
            .await
            .unwrap()
            .len(),
        1
    );
}
