//! Projections from a real log: exactly once under crashes, fenced, erased, one process in memory.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rapport_api::profile::v1::GetControlSnapshotResponse;
use rapport_cache::MemoryStates;
use rapport_flow::testing::erasure_of;
use rapport_flow::{
    CacheStates, Channel, People, ProjectionRunner, RunError, RunnerConfig, Running, Snapshot,
    SqlStates, StateStore,
};
use rapport_math::Rng;
use rapport_store::Db;
use rapport_store::testing::Engine;
use rapport_types::{ManualClock, SubjectId, SystemClock, UnixMillis};
use support::projected::{Crash, CrashingStore, Digest, open, read_all, truth};
use support::{Log, serve};
use tokio_util::sync::CancellationToken;

const SUBJECTS: u64 = 40;

fn subject(n: u64) -> SubjectId {
    SubjectId::new([n as u8 + 1; 16])
}

fn append(log: &Log, rng: &mut Rng, events: usize) {
    for _ in 0..events {
        let kind = if rng.chance(0.8) {
            "view_item"
        } else {
            "search"
        };
        log.touch(subject(rng.below(SUBJECTS)), kind);
    }
}

/// A lease that only the same owner can take within the test; writes after 5 ms or 16 events.
fn config(in_memory: bool) -> RunnerConfig {
    let clock = Arc::new(ManualClock::at(UnixMillis(1)));
    let config = match in_memory {
        true => RunnerConfig::in_memory("process", clock),
        false => RunnerConfig {
            groups: 1,
            ..RunnerConfig::stored("process", clock)
        },
    };
    RunnerConfig {
        flush_after: Duration::from_millis(5),
        flush_events_max: 16,
        ..config
    }
}

async fn start_in_memory(db: &Db, log: &Channel) -> Running<Digest<1>> {
    let runner = ProjectionRunner::in_memory(Digest, db.clone(), log.clone(), config(true));
    runner.start(CancellationToken::new()).await.unwrap()
}

async fn start_stored(
    store: Arc<dyn StateStore>,
    db: &Db,
    log: &Channel,
    config: RunnerConfig,
) -> Running<Digest<1>> {
    let runner = ProjectionRunner::stored(Digest, store, db.clone(), log.clone(), config);
    runner.start(CancellationToken::new()).await.unwrap()
}

/// Waits until everything in the log can be read.
async fn read_to_end(running: &Running<Digest<1>>, log: &Log) {
    for event in log.all() {
        running
            .progress()
            .wait_for(event.partition, event.sequence)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_crashes_at_random_points_lose_and_repeat_nothing() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let (log, channel) = serve().await;
        let (_test, db) = open(engine).await;
        let mut rng = Rng::seeded(11);
        for _crash in 0..10 {
            append(&log, &mut rng, 60);
            let running = start_in_memory(&db, &channel).await;
            let upto = rng.below(log.all().len() as u64) as usize;
            let event = log.all().swap_remove(upto);
            running
                .progress()
                .wait_for(event.partition, event.sequence)
                .await;
            for _ in 0..rng.below(200) {
                tokio::task::yield_now().await;
            }
            running.abort();
        }
        let running = start_in_memory(&db, &channel).await;
        running.progress().wait_caught_up().await;
        assert_eq!(
            read_all(&running.states()).await,
            truth(&log.all()),
            "{engine:?}"
        );
        assert_eq!(running.progress().lag_events(), 0);
    }
}

/// Lets the process die in its `at`th write, starts it again, and returns whether the states equal
/// a serial replay.
async fn survives(crash: Crash, at: usize, store: Arc<dyn StateStore>, db: &Db) -> bool {
    let (log, channel) = serve().await;
    // Enough for the negative control to die where partitions have been written before.
    let events = if crash == Crash::Between { 2_000 } else { 200 };
    append(&log, &mut Rng::seeded(at as u64), events);
    let crashing = CrashingStore::new(store.clone(), crash, at);
    let running = start_stored(crashing.clone(), db, &channel, config(false)).await;
    let mut crashed = crashing.crashed.subscribe();
    tokio::select! {
        _ = crashed.wait_for(|crashed| *crashed) => {}
        () = read_to_end(&running, &log) => panic!("it never wrote {at} times"),
    }
    running.abort();
    let running = start_stored(store, db, &channel, config(false)).await;
    read_to_end(&running, &log).await;
    let mut equal = true;
    for (partition, key, expected) in truth(&log.all()) {
        let found = running.states().get_key(partition, &key).await.unwrap();
        equal &= found.as_deref() == Some(&expected);
    }
    running.abort();
    equal
}

#[tokio::test(flavor = "multi_thread")]
async fn in_sql_a_crash_before_or_after_a_write_loses_and_repeats_nothing() {
    for (engine, at) in [
        (Engine::Sqlite, 1),
        (Engine::Sqlite, 4),
        (Engine::Postgres, 3),
    ] {
        for crash in [Crash::Before, Crash::After] {
            let (_test, db) = open(engine).await;
            let store = Arc::new(SqlStates::new::<Digest<1>>(db.clone()));
            assert!(
                survives(crash, at, store, &db).await,
                "{engine:?} {crash:?} {at}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cache_a_crash_before_or_after_a_write_loses_and_repeats_nothing() {
    for crash in [Crash::Before, Crash::After] {
        let (_test, db) = open(Engine::Sqlite).await;
        let cache = Arc::new(MemoryStates::default());
        let store = Arc::new(CacheStates::new::<Digest<1>>(cache));
        assert!(survives(crash, 2, store, &db).await, "{crash:?}");
    }
}

/// The negative control: with two writes instead of one, the same crash is seen by the same check.
#[tokio::test(flavor = "multi_thread")]
async fn state_and_offset_in_two_writes_would_repeat_events() {
    let (_test, db) = open(Engine::Sqlite).await;
    let store = Arc::new(SqlStates::new::<Digest<1>>(db.clone()));
    assert!(!survives(Crash::Between, 30, store, &db).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_of_partitions_together_cover_all() {
    let (log, channel) = serve().await;
    append(&log, &mut Rng::seeded(3), 300);
    let (_test, db) = open(Engine::Sqlite).await;
    let store = Arc::new(SqlStates::new::<Digest<1>>(db.clone()));
    let config = RunnerConfig {
        groups: 3,
        ..config(false)
    };
    let running = start_stored(store, &db, &channel, config).await;
    running.progress().wait_caught_up().await;
    read_to_end(&running, &log).await;
    assert_eq!(read_all(&running.states()).await, truth(&log.all()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_event_can_be_read_and_a_clean_stop_writes_everything() {
    let (log, channel) = serve().await;
    let (_test, db) = open(Engine::Sqlite).await;
    let slow = RunnerConfig {
        flush_after: Duration::from_secs(3_600),
        ..config(true)
    };
    let runner = ProjectionRunner::in_memory(Digest::<1>, db.clone(), channel, slow);
    let stop = CancellationToken::new();
    let running = runner.start(stop.clone()).await.unwrap();
    let (_, sequence) = log.touch(subject(1), "view_item");
    running
        .progress()
        .wait_for(subject(1).partition(), sequence)
        .await;
    assert_eq!(running.states().get(subject(1)).await.unwrap().0, 1);
    assert_eq!(
        running.states().get_in_memory(subject(2)).unwrap().0,
        0,
        "nothing happened yet"
    );
    stop.cancel();
    running.stopped().await.unwrap();
    let stored: i64 = rapport_store::on_db!(&db, |pool| sqlx::query_scalar(
        "select count(*) from projection_state"
    )
    .fetch_one(pool)
    .await)
    .unwrap();
    assert_eq!(stored, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_in_memory_refuses_to_start_while_the_first_lives() {
    let (_log, channel) = serve().await;
    let (_test, db) = open(Engine::Sqlite).await;
    let clock = Arc::new(SystemClock);
    let runner = |owner: &str| {
        let config = RunnerConfig::in_memory(owner, clock.clone());
        ProjectionRunner::in_memory(Digest::<1>, db.clone(), channel.clone(), config)
    };
    let stop = CancellationToken::new();
    let _first = runner("first").start(stop).await.unwrap();
    match runner("second").start(CancellationToken::new()).await {
        Err(RunError::AlreadyRunning { owner, .. }) => assert_eq!(owner, "first"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_owners_lease_runs_out_and_a_zombie_stops() {
    let (log, channel) = serve().await;
    let (_test, db) = open(Engine::Sqlite).await;
    let clock = Arc::new(ManualClock::at(UnixMillis(1)));
    let runner = |owner: &str| {
        let config = RunnerConfig {
            clock: clock.clone(),
            ..config(true)
        };
        let config = RunnerConfig {
            owner: owner.to_owned(),
            ..config
        };
        ProjectionRunner::in_memory(Digest::<1>, db.clone(), channel.clone(), config)
    };
    let zombie = runner("zombie")
        .start(CancellationToken::new())
        .await
        .unwrap();
    // To everybody else the first one looks dead: its clock stood still while it was paused.
    clock.advance(3_001);
    let owner = runner("owner")
        .start(CancellationToken::new())
        .await
        .unwrap();
    let (_, sequence) = log.touch(subject(1), "view_item");
    assert!(matches!(
        zombie.stopped().await,
        Err(RunError::TakenOver("digest"))
    ));
    owner
        .progress()
        .wait_for(subject(1).partition(), sequence)
        .await;
    assert_eq!(owner.states().get(subject(1)).await.unwrap().0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasures_copy_drops_the_state_in_memory_and_on_disk() {
    let (log, channel) = serve().await;
    let (_test, db) = open(Engine::Sqlite).await;
    log.touch(subject(1), "view_item");
    log.touch(subject(2), "view_item");
    let running = start_in_memory(&db, &channel).await;
    read_to_end(&running, &log).await;
    log.did(subject(1), "subjects_erased", 0, &erasure_of(&[subject(1)]));
    read_to_end(&running, &log).await;
    assert_eq!(running.states().get(subject(1)).await.unwrap().0, 0);
    running.abort();
    let again = start_in_memory(&db, &channel).await;
    read_to_end(&again, &log).await;
    assert_eq!(read_all(&again.states()).await, truth(&log.all()));
    assert_eq!(again.states().get(subject(2)).await.unwrap().0, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_taken_beside_an_erasure_brings_nobody_back() {
    let (log, channel) = serve().await;
    let (_test, db) = open(Engine::Sqlite).await;
    let runner = ProjectionRunner::in_memory(Digest::<1>, db.clone(), channel, config(true));
    let running = runner
        .with_people(people_without(subject(1)))
        .start(CancellationToken::new())
        .await
        .unwrap();
    log.did(subject(1), "subjects_erased", 0, &erasure_of(&[subject(1)]));
    log.touch(subject(1), "view_item");
    log.touch(subject(2), "view_item");
    read_to_end(&running, &log).await;
    let kept: Vec<_> = read_all(&running.states()).await;
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(running.states().get(subject(2)).await.unwrap().0, 1);
}

/// A view in which one subject is erased.
fn people_without(erased: SubjectId) -> People {
    let people = People::new();
    let mut snapshot = Snapshot::default();
    let part = GetControlSnapshotResponse {
        erased: vec![erased.to_vec()],
        last: true,
        ..Default::default()
    };
    snapshot.add(&part).unwrap();
    people.load(snapshot).unwrap();
    people
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_state_of_an_erased_subject_is_not_loaded() {
    let (log, channel) = serve().await;
    let (_test, db) = open(Engine::Sqlite).await;
    log.touch(subject(1), "view_item");
    let stop = CancellationToken::new();
    let runner =
        ProjectionRunner::in_memory(Digest::<1>, db.clone(), channel.clone(), config(true));
    let running = runner.start(stop.clone()).await.unwrap();
    read_to_end(&running, &log).await;
    stop.cancel();
    running.stopped().await.unwrap();
    let runner = ProjectionRunner::in_memory(Digest::<1>, db.clone(), channel, config(true));
    let running = runner
        .with_people(people_without(subject(1)))
        .start(CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(read_all(&running.states()).await, []);
}
