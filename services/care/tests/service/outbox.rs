//! What care tells the log, told through kills: every change that was acknowledged is heard, at least
//! once, under one id.

use std::collections::BTreeSet;

use rapport_api::care::v1 as pb;
use rapport_api::care::v1::case_service_client::CaseServiceClient;
use rapport_care::store::outbox;
use rapport_care::{POSTGRES, SQLITE};
use rapport_flow::testing::FakeLog;
use rapport_store::testing::{Engine, TestDb};
use rapport_store::{Db, on_db};
use rapport_types::{ConsentState, Purpose};

use crate::chaos::{PATIENCE, Process};
use crate::support::{ALICE, opening};

const CASES: usize = 40;
/// More calls than a test makes.
const ALL: usize = 1_000_000;

/// Opens cases while the log is away, kills care, and starts it again with the log there. Returns the ids
/// of the events that had to be heard and were not.
async fn unheard_after_a_kill(engine: Engine, more: &[&str]) -> BTreeSet<String> {
    let home = TestDb::create(engine).await;
    let (log, url) = FakeLog::serve().await;
    log.set_consent(&[ALICE], &[Purpose::Emotion], ConsentState::Granted);
    log.fail_collects(ALL, 0);
    let mut care = Process::start(home.url(), &url, more).await;
    let mut expected = BTreeSet::new();
    for number in 0..CASES {
        let mut cases = CaseServiceClient::new(care.channel.clone());
        let case = cases
            .open_case(opening(ALICE, "太生气了，我要退款！"))
            .await
            .unwrap();
        let case = case.into_inner().case.unwrap();
        let id = hex(&case.case_id);
        expected.insert(format!("case-{id}-1"));
        let got = cases
            .get_case(pb::GetCaseRequest {
                case_id: case.case_id,
            })
            .await;
        let message = hex(&got.unwrap().into_inner().messages[0].message_id);
        expected.insert(format!("message-{message}"));
        // Some reach the log and their answer does not: they are sent again.
        if number == CASES / 2 {
            log.fail_collects(0, 1);
            while log.collects() == 0
                || log.collected("MessageReceived").is_empty() && more.is_empty()
            {
                tokio::task::yield_now().await;
            }
            log.fail_collects(ALL, 0);
        }
    }
    care.kill();
    log.fail_collects(0, 0);
    let again = Process::start(home.url(), &url, more).await;
    let db = home.open().await;
    let began = std::time::Instant::now();
    while waiting(&db).await > 0 {
        assert!(began.elapsed() < PATIENCE, "the outbox does not empty");
        tokio::task::yield_now().await;
    }
    drop(again);
    assert_eq!(log.conflicts(), Vec::<String>::new(), "one id, one event");
    for event in log
        .collected("CaseChanged")
        .iter()
        .chain(&log.collected("MessageReceived"))
    {
        expected.remove(&event.event_id);
    }
    expected
}

async fn waiting(db: &Db) -> i64 {
    on_db!(db, |pool| sqlx::query_scalar("select count(*) from outbox")
        .fetch_one(pool)
        .await)
    .unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_what_was_acknowledged_is_heard_after_a_kill() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let unheard = unheard_after_a_kill(engine, &[]).await;
        assert!(unheard.is_empty(), "{engine:?}: {unheard:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_without_the_durable_outbox_it_is_not() {
    let unheard = unheard_after_a_kill(Engine::Sqlite, &["--without", "durable-outbox"]).await;
    assert!(
        !unheard.is_empty(),
        "the kill did not need the outbox: it proves nothing"
    );
}

/// A transaction that began first and commits last is not skipped; a reader with a cursor skips it.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_commit_with_an_earlier_id_is_sent() {
    let home = TestDb::create(Engine::Postgres).await;
    let db = home.open_migrated(&POSTGRES, &SQLITE).await;
    let (mut slow, mut fast) = (db.begin().await.unwrap(), db.begin().await.unwrap());
    outbox::insert(&mut slow, ALICE, b"first", None)
        .await
        .unwrap();
    outbox::insert(&mut fast, ALICE, b"second", None)
        .await
        .unwrap();
    fast.commit().await.unwrap();
    let sent = outbox::next(&db, 10).await.unwrap();
    assert_eq!(
        sent.iter().map(|row| &row.event[..]).collect::<Vec<_>>(),
        [b"second"]
    );
    outbox::delete(&db, &sent).await.unwrap();
    slow.commit().await.unwrap();
    let rest = outbox::next(&db, 10).await.unwrap();
    assert_eq!(
        rest.iter().map(|row| &row.event[..]).collect::<Vec<_>>(),
        [b"first"]
    );
    assert!(
        rest[0].outbox_id < sent[0].outbox_id,
        "a cursor would never come back to it"
    );
}
