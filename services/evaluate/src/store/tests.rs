//! One contract for both engines.

use evaluate_domain::experiment::{Allocation, State, Variant};
use rapport_store::Db;
use rapport_store::testing::{Engine, TestDb};
use rapport_types::UnixMillis;

use super::experiment::{self, DRAFT, Experiment, RUNNING};
use crate::{POSTGRES, SQLITE};

macro_rules! contract {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite { $(
            #[tokio::test]
            async fn $test() { super::with(super::Engine::Sqlite, super::$test).await; }
        )+ }
        mod on_postgres { $(
            #[tokio::test]
            async fn $test() { super::with(super::Engine::Postgres, super::$test).await; }
        )+ }
    };
}

contract!(
    only_drafts_are_replaced,
    a_state_moves_once,
    lists_go_by_key_and_state,
    a_rollback_leaves_nothing,
);

async fn with<F: Future<Output = ()>>(engine: Engine, test: impl FnOnce(Db) -> F) {
    let kept = TestDb::create(engine).await;
    test(kept.open_migrated(&POSTGRES, &SQLITE).await).await;
}

fn halves(second: &str) -> Allocation {
    let variant = |key: &str| Variant {
        key: key.to_owned(),
        share: 5_000,
    };
    Allocation::new(vec![variant("control"), variant(second)]).unwrap()
}

async fn write(db: &Db, key: &str, second: &str) -> bool {
    let mut tx = db.begin().await.unwrap();
    let written = experiment::upsert(&mut tx, key, "why", &halves(second)).await;
    tx.commit().await.unwrap();
    written.unwrap()
}

async fn moved(db: &Db, key: &str, from: State, to: State) -> bool {
    let mut tx = db.begin().await.unwrap();
    let moved = experiment::set_state(&mut tx, key, from, to).await;
    tx.commit().await.unwrap();
    moved.unwrap()
}

const STARTED: State = State::Running {
    started_at: UnixMillis(7),
};

async fn only_drafts_are_replaced(db: Db) {
    assert!(write(&db, "a", "bold").await);
    assert!(write(&db, "a", "shy \"quoted\" 语").await);
    let expected = Experiment {
        key: "a".to_owned(),
        hypothesis: "why".to_owned(),
        allocation: halves("shy \"quoted\" 语"),
        state: State::Draft,
    };
    assert_eq!(experiment::get(&db, "a").await.unwrap(), Some(expected));
    assert!(moved(&db, "a", State::Draft, STARTED).await);
    assert!(!write(&db, "a", "bold").await);
    let kept = experiment::get(&db, "a").await.unwrap().unwrap();
    assert_eq!(
        (kept.state, kept.allocation),
        (STARTED, halves("shy \"quoted\" 语"))
    );
    assert_eq!(experiment::get(&db, "b").await.unwrap(), None);
}

async fn a_state_moves_once(db: Db) {
    write(&db, "a", "bold").await;
    assert!(moved(&db, "a", State::Draft, STARTED).await);
    assert!(
        !moved(&db, "a", State::Draft, STARTED).await,
        "it is no draft"
    );
    let stopped = State::Stopped {
        started_at: UnixMillis(7),
        stopped_at: UnixMillis(9),
    };
    assert!(moved(&db, "a", STARTED, stopped).await);
    let found = experiment::get(&db, "a").await.unwrap().unwrap();
    assert_eq!(found.state, stopped);
    assert!(!moved(&db, "nobody", State::Draft, STARTED).await);
}

async fn lists_go_by_key_and_state(db: Db) {
    // Upper case sorts before lower case and accents after both: bytes, on both engines.
    for key in ["b", "B", "é", "a", "c"] {
        write(&db, key, "bold").await;
    }
    moved(&db, "c", State::Draft, STARTED).await;
    let keys = async |state: i32, after: &str, limit: u32| -> Vec<String> {
        let found = experiment::list(&db, state, after, limit).await.unwrap();
        found.into_iter().map(|experiment| experiment.key).collect()
    };
    assert_eq!(keys(0, "", 10).await, ["B", "a", "b", "c", "é"]);
    assert_eq!(keys(0, "a", 2).await, ["b", "c"]);
    assert_eq!(keys(RUNNING, "", 10).await, ["c"]);
    assert_eq!(keys(DRAFT, "b", 10).await, ["é"]);
    let mut tx = db.begin().await.unwrap();
    assert_eq!(experiment::count(&mut tx, RUNNING).await.unwrap(), 1);
    assert_eq!(experiment::count(&mut tx, DRAFT).await.unwrap(), 4);
    tx.rollback().await.unwrap();
}

async fn a_rollback_leaves_nothing(db: Db) {
    let mut tx = db.begin().await.unwrap();
    let written = experiment::upsert(&mut tx, "a", "why", &halves("bold")).await;
    assert!(written.unwrap());
    assert!(experiment::find(&mut tx, "a").await.unwrap().is_some());
    tx.rollback().await.unwrap();
    assert_eq!(experiment::get(&db, "a").await.unwrap(), None);
}
