//! The partition states' contract, on the twin, on Redis and on Redis Cluster.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use rapport_cache::{
    CHANGES_MAX, COMMIT_BYTES_MAX, CacheError, Change, CommitError, KEY_BYTES_MAX, MemoryStates,
    PartitionId, PartitionStates, Position, RedisStates, testing,
};

type Subject = Arc<dyn PartitionStates>;

fn on_url(url: &str) -> Subject {
    Arc::new(RedisStates::new(testing::open(url)))
}

macro_rules! contract {
    ([$($test:ident),+ $(,)?]) => {
        mod in_memory { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$test(std::sync::Arc::new(super::MemoryStates::default())).await }
        )+ }
        mod on_redis { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$test(super::on_url(&super::testing::redis_url())).await }
        )+ }
        mod on_cluster { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$test(super::on_url(&super::testing::redis_cluster_url())).await }
        )+ }
    };
}

contract!([
    an_unknown_partition_is_empty,
    state_and_offset_move_together,
    a_zombie_is_fenced,
    a_commit_at_another_offset_changes_nothing,
    a_repeated_commit_is_noticed,
    the_last_change_of_a_key_wins,
    a_large_commit_is_whole,
    concurrent_owners_lose_nothing,
    partitions_projections_and_versions_are_apart,
    a_cleared_partition_starts_again,
    a_reset_partition_is_empty_and_still_owned,
    pages_have_every_key,
    bad_calls_are_refused,
]);

const P17: PartitionId<'static> = PartitionId {
    projection: "timelines",
    version: 1,
    partition: 17,
};

fn set(key: &str, value: &[u8]) -> Change {
    (key.as_bytes().to_vec(), Some(value.to_vec()))
}

fn delete(key: &str) -> Change {
    (key.as_bytes().to_vec(), None)
}

async fn get(states: &Subject, id: PartitionId<'_>, key: &str) -> Option<Vec<u8>> {
    states
        .get_many(id, &[key.as_bytes()])
        .await
        .unwrap()
        .remove(0)
}

async fn an_unknown_partition_is_empty(states: Subject) {
    assert_eq!(
        states.position(P17).await.unwrap(),
        Position {
            epoch: 0,
            offset: 0
        }
    );
    assert_eq!(get(&states, P17, "anna").await, None);
    assert!(states.get_many(P17, &[]).await.unwrap().is_empty());
}

async fn state_and_offset_move_together(states: Subject) {
    assert_eq!(
        states.claim(P17, 1).await.unwrap(),
        Position {
            epoch: 1,
            offset: 0
        }
    );
    let bytes = [0_u8, 255, b'\n', b'}'];
    let changes = [
        set("anna", &bytes),
        set("bert", b""),
        set("e", b"not the epoch"),
    ];
    states.commit(P17, 1, 0, 40, &changes).await.unwrap();
    states
        .commit(P17, 1, 40, 41, &[set("anna", b"2"), delete("bert")])
        .await
        .unwrap();
    assert_eq!(
        states.position(P17).await.unwrap(),
        Position {
            epoch: 1,
            offset: 41
        }
    );
    let keys: [&[u8]; 4] = [b"bert", b"anna", b"e", b"anna"];
    let values = states.get_many(P17, &keys).await.unwrap();
    let anna = Some(b"2".to_vec());
    assert_eq!(
        values,
        [None, anna.clone(), Some(b"not the epoch".to_vec()), anna]
    );
    // An empty batch still moves the offset: events that change nothing are done too.
    states.commit(P17, 1, 41, 99, &[]).await.unwrap();
    assert_eq!(states.position(P17).await.unwrap().offset, 99);
}

async fn a_zombie_is_fenced(states: Subject) {
    states.claim(P17, 3).await.unwrap();
    states
        .commit(P17, 3, 0, 10, &[set("anna", b"zombie's, earlier")])
        .await
        .unwrap();
    assert_eq!(
        states.claim(P17, 4).await.unwrap(),
        Position {
            epoch: 4,
            offset: 10
        }
    );
    // The offset is the one that it expects: only the epoch can refuse it.
    let refused = states
        .commit(P17, 3, 10, 11, &[set("anna", b"zombie's")])
        .await
        .unwrap_err();
    assert!(
        matches!(refused, CommitError::Fenced { current: 4 }),
        "{refused:?}"
    );
    let refused = states.claim(P17, 3).await.unwrap_err();
    assert!(
        matches!(refused, CommitError::Fenced { current: 4 }),
        "{refused:?}"
    );
    assert_eq!(
        get(&states, P17, "anna").await.unwrap(),
        b"zombie's, earlier"
    );
    states
        .commit(P17, 4, 10, 11, &[set("anna", b"heir's")])
        .await
        .unwrap();
    assert_eq!(get(&states, P17, "anna").await.unwrap(), b"heir's");
}

async fn a_commit_at_another_offset_changes_nothing(states: Subject) {
    states.claim(P17, 1).await.unwrap();
    states
        .commit(P17, 1, 0, 10, &[set("anna", b"1")])
        .await
        .unwrap();
    for expected in [0, 9, 11] {
        let refused = states
            .commit(P17, 1, expected, 20, &[delete("anna")])
            .await
            .unwrap_err();
        assert!(
            matches!(refused, CommitError::OffsetMismatch { actual: 10 }),
            "{refused:?}"
        );
    }
    assert_eq!(get(&states, P17, "anna").await.unwrap(), b"1");
    assert_eq!(states.position(P17).await.unwrap().offset, 10);
}

async fn a_repeated_commit_is_noticed(states: Subject) {
    // The answer of the first was lost, and the caller tries again.
    states
        .commit(P17, 1, 0, 10, &[set("anna", b"1")])
        .await
        .unwrap();
    let again = states
        .commit(P17, 1, 0, 10, &[set("anna", b"1")])
        .await
        .unwrap_err();
    assert!(
        matches!(again, CommitError::OffsetMismatch { actual: 10 }),
        "{again:?}"
    );
}

async fn the_last_change_of_a_key_wins(states: Subject) {
    let changes = [
        set("a", b"1"),
        delete("a"),
        set("a", b"2"),
        set("b", b"1"),
        delete("b"),
        delete("none"),
    ];
    states.commit(P17, 1, 0, 1, &changes).await.unwrap();
    assert_eq!(get(&states, P17, "a").await.unwrap(), b"2");
    assert_eq!(get(&states, P17, "b").await, None);
}

async fn a_large_commit_is_whole(states: Subject) {
    let changes: Vec<_> = (0..CHANGES_MAX)
        .map(|number| set(&format!("k{number}"), &[7; 200]))
        .collect();
    states.commit(P17, 1, 0, 1, &changes).await.unwrap();
    let keys: Vec<&[u8]> = changes.iter().map(|(key, _)| key.as_slice()).collect();
    let values = states.get_many(P17, &keys).await.unwrap();
    assert!(
        values
            .iter()
            .all(|value| value.as_deref() == Some(&[7; 200]))
    );
    let deletes: Vec<_> = (0..CHANGES_MAX)
        .map(|number| delete(&format!("k{number}")))
        .collect();
    states.commit(P17, 1, 1, 2, &deletes).await.unwrap();
    assert!(
        states
            .get_many(P17, &keys)
            .await
            .unwrap()
            .iter()
            .all(Option::is_none)
    );
}

/// Many owners of the same epoch, which leases forbid, still apply each offset once.
async fn concurrent_owners_lose_nothing(states: Subject) {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let states = Arc::clone(&states);
            tokio::spawn(async move {
                let mut done = 0;
                loop {
                    let at = states.position(P17).await?.offset;
                    if at == 100 {
                        return Ok::<i32, CommitError>(done);
                    }
                    let change = set(&format!("k{at}"), b"x");
                    match states.commit(P17, 1, at, at + 1, &[change]).await {
                        Ok(()) => done += 1,
                        Err(CommitError::OffsetMismatch { .. }) => {}
                        Err(why) => return Err(why),
                    }
                }
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap().unwrap();
    }
    assert_eq!(done, 100);
}

async fn partitions_projections_and_versions_are_apart(states: Subject) {
    let others = [
        PartitionId {
            partition: 18,
            ..P17
        },
        PartitionId { version: 2, ..P17 },
        PartitionId {
            projection: "segments",
            ..P17
        },
    ];
    states
        .commit(P17, 1, 0, 10, &[set("anna", b"1")])
        .await
        .unwrap();
    for other in others {
        assert_eq!(states.position(other).await.unwrap(), Position::default());
        assert_eq!(get(&states, other, "anna").await, None);
        states
            .commit(other, 1, 0, 5, &[set("anna", b"2")])
            .await
            .unwrap();
    }
    assert_eq!(get(&states, P17, "anna").await.unwrap(), b"1");
}

async fn a_cleared_partition_starts_again(states: Subject) {
    states
        .commit(P17, 5, 0, 10, &[set("anna", b"1")])
        .await
        .unwrap();
    states.clear(P17).await.unwrap();
    states.clear(P17).await.unwrap();
    assert_eq!(states.position(P17).await.unwrap(), Position::default());
    assert_eq!(get(&states, P17, "anna").await, None);
    // What a failover to an empty replica looks like to the owner.
    let lost = states
        .commit(P17, 5, 10, 11, &[set("anna", b"2")])
        .await
        .unwrap_err();
    assert!(
        matches!(lost, CommitError::OffsetMismatch { actual: 0 }),
        "{lost:?}"
    );
}

async fn a_reset_partition_is_empty_and_still_owned(states: Subject) {
    states
        .commit(P17, 5, 0, 10, &[set("anna", b"1")])
        .await
        .unwrap();
    let zombie = states.reset(P17, 4).await.unwrap_err();
    assert!(
        matches!(zombie, CommitError::Fenced { current: 5 }),
        "{zombie:?}"
    );
    states.reset(P17, 6).await.unwrap();
    let empty = Position {
        epoch: 6,
        offset: 0,
    };
    assert_eq!(states.position(P17).await.unwrap(), empty);
    assert_eq!(get(&states, P17, "anna").await, None);
    let zombie = states.commit(P17, 5, 0, 10, &[]).await.unwrap_err();
    assert!(
        matches!(zombie, CommitError::Fenced { current: 6 }),
        "{zombie:?}"
    );
}

async fn pages_have_every_key(states: Subject) {
    let many: Vec<Change> = (0..3_000).map(|n| set(&format!("k{n:04}"), b"v")).collect();
    states.commit(P17, 1, 0, 10, &many).await.unwrap();
    let (mut found, mut from) = (std::collections::BTreeSet::new(), Some(0));
    while let Some(begin) = from {
        let page = states.page(P17, begin).await.unwrap();
        found.extend(page.values);
        from = page.next;
    }
    let expected = many.into_iter().map(|(key, value)| (key, value.unwrap()));
    assert_eq!(found, expected.collect());
}

async fn bad_calls_are_refused(states: Subject) {
    let many = vec![delete("x"); CHANGES_MAX + 1];
    let long = "x".repeat(KEY_BYTES_MAX + 1);
    for (changes, new_offset, part) in [
        (many.as_slice(), 1, "changes"),
        (&[delete(&long)], 1, "changes"),
        (&[set("big", &vec![0; COMMIT_BYTES_MAX])], 1, "changes"),
        (&[], -1, "new_offset"),
    ] {
        let refused = states
            .commit(P17, 1, 0, new_offset, changes)
            .await
            .unwrap_err();
        let CommitError::Cache(CacheError::Invalid(named)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(named, part);
    }
    let brace = PartitionId {
        projection: "a{b}",
        ..P17
    };
    assert!(matches!(
        states.position(brace).await,
        Err(CacheError::Invalid("projection"))
    ));
}

/// The twin's snapshot is of one moment, sorted, and restores what it was.
#[tokio::test]
async fn a_snapshot_restores_the_partition() {
    let states = MemoryStates::default();
    let changes = [set("b", b"2"), set("c", b"3"), set("a", b"1")];
    states.commit(P17, 2, 0, 7, &changes).await.unwrap();
    let snapshot = states.snapshot(P17).unwrap();
    assert_eq!(
        snapshot.position,
        Position {
            epoch: 2,
            offset: 7
        }
    );
    let keys: Vec<_> = snapshot
        .values
        .iter()
        .map(|(key, _)| key.as_slice())
        .collect();
    assert_eq!(keys, [b"a", b"b", b"c"]);
    let other = MemoryStates::default();
    other
        .commit(P17, 1, 0, 1, &[set("rubbish", b"x")])
        .await
        .unwrap();
    other.restore(P17, snapshot.clone()).unwrap();
    assert_eq!(other.snapshot(P17).unwrap(), snapshot);
}
