//! One contract for every place where states may live: SQLite, Postgres, Redis and its twin.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use rapport_cache::{MemoryStates, PartitionStates, RedisStates, testing};
use rapport_flow::{
    CacheStates, PartitionChange, SqlStates, StateChange, StateError, StatePage, StateStore,
};
use rapport_store::Db;
use rapport_store::testing::{Engine, TestDb};
use support::projected::{Digest, open, take_lease};

type D = Digest<1>;

struct Fixture {
    store: Arc<dyn StateStore>,
    /// The same for the next version.
    newer: Arc<dyn StateStore>,
    db: Db,
    _test: TestDb,
}

async fn in_sql(engine: Engine) -> Fixture {
    let (test, db) = open(engine).await;
    Fixture {
        store: Arc::new(SqlStates::new::<D>(db.clone())),
        newer: Arc::new(SqlStates::new::<Digest<2>>(db.clone())),
        db,
        _test: test,
    }
}

async fn in_redis() -> Fixture {
    let redis = testing::open(&testing::redis_url());
    in_cache(Arc::new(RedisStates::new(redis))).await
}

async fn in_memory() -> Fixture {
    in_cache(Arc::new(MemoryStates::default())).await
}

async fn in_cache(states: Arc<dyn PartitionStates>) -> Fixture {
    Fixture {
        store: Arc::new(CacheStates::new::<D>(states.clone())),
        newer: Arc::new(CacheStates::new::<Digest<2>>(states)),
        ..in_sql(Engine::Sqlite).await
    }
}

macro_rules! contract {
    ($($test:ident),+ $(,)?) => { $( mod $test {
        use rapport_store::testing::Engine;
        #[tokio::test(flavor = "multi_thread")]
        async fn on_sqlite() { super::$test(super::in_sql(Engine::Sqlite).await).await }
        #[tokio::test(flavor = "multi_thread")]
        async fn on_postgres() { super::$test(super::in_sql(Engine::Postgres).await).await }
        #[tokio::test(flavor = "multi_thread")]
        async fn on_redis() { super::$test(super::in_redis().await).await }
        #[tokio::test(flavor = "multi_thread")]
        async fn in_memory() { super::$test(super::in_memory().await).await }
    } )+ };
}
contract!(
    state_and_offset_move_together,
    an_unexpected_offset_writes_nothing,
    an_older_lease_is_fenced,
    partitions_are_apart,
    a_reset_partition_is_empty_and_still_owned,
    pages_have_every_state_and_offsets_need_no_lease,
    a_dropped_version_is_gone_and_the_other_stays,
);

fn change(
    partition: u32,
    expected: u64,
    next: u64,
    states: &[(&str, Option<&str>)],
) -> PartitionChange {
    let state = |(key, state): &(&str, Option<&str>)| StateChange {
        key: key.as_bytes().into(),
        state: state.map(|state| state.as_bytes().to_vec()),
    };
    PartitionChange {
        partition,
        expected,
        next,
        changes: states.iter().map(state).collect(),
    }
}

async fn load(store: &dyn StateStore, partition: u32, keys: &[&str]) -> Vec<Option<String>> {
    let keys: Vec<Bytes> = keys
        .iter()
        .map(|key| Bytes::copy_from_slice(key.as_bytes()))
        .collect();
    let found = store.load(partition, &keys).await.unwrap();
    found
        .into_iter()
        .map(|state| Some(String::from_utf8(state?).unwrap()))
        .collect()
}

async fn state_and_offset_move_together(fixture: Fixture) {
    let (store, lease) = (&*fixture.store, take_lease(&fixture.db).await);
    assert_eq!(store.claim(&lease, &[7, 9]).await.unwrap(), [0, 0]);
    let many: Vec<String> = (0..200).map(|n| format!("k{n:03}")).collect();
    let states: Vec<_> = many
        .iter()
        .map(|key| (key.as_str(), Some(key.as_str())))
        .collect();
    store
        .commit(&lease, &[change(7, 0, 5, &states), change(9, 0, 3, &[])])
        .await
        .unwrap();
    let more = [("k000", None), ("k001", Some("new")), ("absent", None)];
    store
        .commit(&lease, &[change(7, 5, 8, &more)])
        .await
        .unwrap();
    let found = load(store, 7, &["k001", "k000", "k199", "k001"]).await;
    let expected = [Some("new"), None, Some("k199"), Some("new")];
    assert_eq!(found, expected.map(|state| state.map(str::to_owned)));
    let again = take_lease(&fixture.db).await;
    assert_eq!(store.claim(&again, &[9, 7]).await.unwrap(), [3, 8]);
}

async fn an_unexpected_offset_writes_nothing(fixture: Fixture) {
    let (store, lease) = (&*fixture.store, take_lease(&fixture.db).await);
    store.claim(&lease, &[7]).await.unwrap();
    store
        .commit(&lease, &[change(7, 0, 5, &[("a", Some("1"))])])
        .await
        .unwrap();
    // The same write again: its answer was lost.
    let moved = store
        .commit(&lease, &[change(7, 0, 5, &[("a", Some("2"))])])
        .await;
    assert!(
        matches!(moved, Err(StateError::OffsetMoved { partition: 7 })),
        "{moved:?}"
    );
    assert_eq!(load(store, 7, &["a"]).await, [Some("1".to_owned())]);
}

async fn an_older_lease_is_fenced(fixture: Fixture) {
    let (store, zombie) = (&*fixture.store, take_lease(&fixture.db).await);
    store.claim(&zombie, &[7]).await.unwrap();
    let owner = take_lease(&fixture.db).await;
    store.claim(&owner, &[7]).await.unwrap();
    let refused = store
        .commit(&zombie, &[change(7, 0, 5, &[("a", Some("1"))])])
        .await;
    assert!(matches!(refused, Err(StateError::Fenced)), "{refused:?}");
    assert!(matches!(
        store.claim(&zombie, &[7]).await,
        Err(StateError::Fenced)
    ));
    assert_eq!(load(store, 7, &["a"]).await, [None]);
    store
        .commit(&owner, &[change(7, 0, 5, &[("a", Some("2"))])])
        .await
        .unwrap();
}

async fn partitions_are_apart(fixture: Fixture) {
    let (store, lease) = (&*fixture.store, take_lease(&fixture.db).await);
    store.claim(&lease, &[0, 63]).await.unwrap();
    let changes = [
        change(0, 0, 1, &[("a", Some("0"))]),
        change(63, 0, 2, &[("a", Some("63"))]),
    ];
    store.commit(&lease, &changes).await.unwrap();
    assert_eq!(load(store, 0, &["a"]).await, [Some("0".to_owned())]);
    assert_eq!(load(store, 63, &["a"]).await, [Some("63".to_owned())]);
}

async fn a_reset_partition_is_empty_and_still_owned(fixture: Fixture) {
    let (store, zombie) = (&*fixture.store, take_lease(&fixture.db).await);
    store.claim(&zombie, &[7, 8]).await.unwrap();
    let owner = take_lease(&fixture.db).await;
    store.claim(&owner, &[7, 8]).await.unwrap();
    let written = [
        change(7, 0, 5, &[("a", Some("1"))]),
        change(8, 0, 5, &[("a", Some("1"))]),
    ];
    store.commit(&owner, &written).await.unwrap();
    let refused = store.reset(&zombie, 7).await;
    assert!(matches!(refused, Err(StateError::Fenced)), "{refused:?}");
    store.reset(&owner, 7).await.unwrap();
    assert_eq!(store.offsets(&[7, 8]).await.unwrap(), [0, 5]);
    assert_eq!(load(store, 7, &["a"]).await, [None]);
    assert_eq!(load(store, 8, &["a"]).await, [Some("1".to_owned())]);
    store
        .commit(&owner, &[change(7, 0, 9, &[("b", Some("2"))])])
        .await
        .unwrap();
    assert_eq!(store.offsets(&[7]).await.unwrap(), [9]);
}

async fn pages_have_every_state_and_offsets_need_no_lease(fixture: Fixture) {
    let (store, lease) = (&*fixture.store, take_lease(&fixture.db).await);
    assert_eq!(store.offsets(&[9, 7]).await.unwrap(), [0, 0]);
    assert_eq!(store.page(7, None).await.unwrap(), StatePage::default());
    store.claim(&lease, &[7]).await.unwrap();
    let keys: Vec<String> = (0..2_500).map(|n| format!("k{n:04}")).collect();
    let states: Vec<_> = keys.iter().map(|key| (key.as_str(), Some("v"))).collect();
    let written = [change(7, 0, 5, &states)];
    store.commit(&lease, &written).await.unwrap();
    let (mut found, mut from) = (std::collections::BTreeSet::new(), None);
    loop {
        let page = store.page(7, from.as_deref()).await.unwrap();
        found.extend(page.states.into_iter().map(|(key, _)| key));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(found, keys.into_iter().map(String::into_bytes).collect());
    assert_eq!(store.offsets(&[9, 7]).await.unwrap(), [0, 5]);
}

async fn a_dropped_version_is_gone_and_the_other_stays(fixture: Fixture) {
    let (store, lease) = (&*fixture.store, take_lease(&fixture.db).await);
    store.claim(&lease, &[7]).await.unwrap();
    let written = [change(7, 0, 5, &[("a", Some("1"))])];
    store.commit(&lease, &written).await.unwrap();
    let newer = &*fixture.newer;
    newer.claim(&lease, &[7]).await.unwrap();
    newer.commit(&lease, &written).await.unwrap();
    for _again in 0..2 {
        store.drop_all().await.unwrap();
        assert_eq!(store.offsets(&[7]).await.unwrap(), [0]);
        assert_eq!(load(store, 7, &["a"]).await, [None]);
    }
    assert_eq!(newer.offsets(&[7]).await.unwrap(), [5]);
    assert_eq!(load(newer, 7, &["a"]).await, [Some("1".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_lists_its_keys_page_by_page_and_a_cache_says_that_it_cannot() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let fixture = in_sql(engine).await;
        let (store, lease) = (&*fixture.store, take_lease(&fixture.db).await);
        store.claim(&lease, &[7]).await.unwrap();
        let states = [("b", Some("2")), ("a", Some("1")), ("c", Some("3"))];
        store
            .commit(&lease, &[change(7, 0, 1, &states)])
            .await
            .unwrap();
        let page = store.scan(7, None, 2).await.unwrap();
        assert_eq!(
            page,
            [
                (b"a".to_vec(), b"1".to_vec()),
                (b"b".to_vec(), b"2".to_vec())
            ]
        );
        let rest = store.scan(7, Some(b"b"), 2).await.unwrap();
        assert_eq!(rest, [(b"c".to_vec(), b"3".to_vec())]);
    }
    let listed = in_memory().await.store.scan(7, None, 2).await;
    assert!(matches!(listed, Err(StateError::NotIterable)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_kept_beside_the_old_until_the_old_is_dropped() {
    let fixture = in_sql(Engine::Sqlite).await;
    let (old, lease) = (&*fixture.store, take_lease(&fixture.db).await);
    old.claim(&lease, &[7]).await.unwrap();
    old.commit(&lease, &[change(7, 0, 5, &[("a", Some("old"))])])
        .await
        .unwrap();
    let new = SqlStates::new::<Digest<2>>(fixture.db.clone());
    assert_eq!(
        new.claim(&lease, &[7]).await.unwrap(),
        [0],
        "from the start"
    );
    new.commit(&lease, &[change(7, 0, 6, &[("a", Some("new"))])])
        .await
        .unwrap();
    assert_eq!(load(old, 7, &["a"]).await, [Some("old".to_owned())]);
    assert_eq!(new.drop_older_versions().await.unwrap(), 1);
    assert_eq!(load(old, 7, &["a"]).await, [None]);
    assert_eq!(load(&new, 7, &["a"]).await, [Some("new".to_owned())]);
}
