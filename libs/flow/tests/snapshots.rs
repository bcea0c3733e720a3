//! Starting from snapshots: after a cache lost everything, after the log forgot what comes next, past a
//! damaged one, and after a kill half way.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rapport_cache::{MemoryStates, PartitionStates, RedisStates, testing};
use rapport_flow::testing::erasure_of;
use rapport_flow::{
    CacheStates, Channel, People, ProjectionRunner, RunError, RunnerConfig, Running, Snapshot,
    Snapshots, SqlStates, StateStore, TailError,
};
use rapport_math::Rng;
use rapport_store::Db;
use rapport_store::objects::ObjectStore;
use rapport_store::testing::{Engine, TestDb};
use rapport_types::{ManualClock, SubjectId, UnixMillis};
use support::projected::{Crash, CrashingStore, Digest, open, truth};
use support::{Log, serve};
use tokio_util::sync::CancellationToken;

type D = Digest<1>;

const SUBJECTS: u64 = 12;
/// Never within a test: only the end writes snapshots.
const NEVER: Duration = Duration::from_secs(3_600);
/// As often as the worker comes round.
const ALWAYS: Duration = Duration::from_millis(1);

struct World {
    log: Log,
    channel: Channel,
    db: Db,
    objects: ObjectStore,
    /// `None` keeps states in the process's memory.
    store: Option<Arc<dyn StateStore>>,
    _test: TestDb,
    _folder: tempfile::TempDir,
}

fn subject(n: u64) -> SubjectId {
    SubjectId::new([n as u8 + 1; 16])
}

async fn world(engine: Engine, store: impl FnOnce(&Db) -> Option<Arc<dyn StateStore>>) -> World {
    let (log, channel) = serve().await;
    let (test, db) = open(engine).await;
    let folder = tempfile::tempdir().unwrap();
    World {
        log,
        channel,
        store: store(&db),
        db,
        objects: ObjectStore::open(folder.path()).unwrap(),
        _test: test,
        _folder: folder,
    }
}

fn in_cache(states: impl PartitionStates + 'static) -> Option<Arc<dyn StateStore>> {
    Some(Arc::new(CacheStates::new::<D>(Arc::new(states))))
}

async fn everywhere() -> Vec<World> {
    let redis = RedisStates::new(testing::open(&testing::redis_url()));
    let in_sql = |db: &Db| -> Option<Arc<dyn StateStore>> {
        Some(Arc::new(SqlStates::new::<D>(db.clone())))
    };
    vec![
        world(Engine::Sqlite, |_| None).await,
        world(Engine::Sqlite, in_sql).await,
        world(Engine::Postgres, in_sql).await,
        world(Engine::Sqlite, |_| in_cache(MemoryStates::default())).await,
        world(Engine::Postgres, |_| in_cache(redis)).await,
    ]
}

impl World {
    fn append(&self, rng: &mut Rng, events: usize) {
        for _ in 0..events {
            self.log.touch(subject(rng.below(SUBJECTS)), "view_item");
        }
    }

    fn runner(&self, every: Duration, store: Option<Arc<dyn StateStore>>) -> ProjectionRunner<D> {
        let clock = Arc::new(ManualClock::at(UnixMillis(1)));
        let config = RunnerConfig {
            groups: 3,
            flush_after: Duration::from_millis(2),
            flush_events_max: 16,
            ..RunnerConfig::stored("process", clock)
        };
        let (db, log) = (self.db.clone(), self.channel.clone());
        let runner = match store {
            None => ProjectionRunner::in_memory(Digest, db, log, config),
            Some(store) => ProjectionRunner::stored(Digest, store, db, log, config),
        };
        let snapshots = Snapshots::new(self.objects.clone(), "test");
        let patient = snapshots.stop_within(NEVER);
        runner.with_snapshots(patient.every(every))
    }

    async fn start(&self, every: Duration) -> (Running<D>, CancellationToken) {
        let stop = CancellationToken::new();
        let runner = self.runner(every, self.store.clone());
        (runner.start(stop.clone()).await.unwrap(), stop)
    }

    /// Deletes what the projection's own store has.
    async fn lose_everything(&self) {
        let in_sql: Arc<dyn StateStore> = Arc::new(SqlStates::new::<D>(self.db.clone()));
        let store = self.store.clone().unwrap_or(in_sql);
        store.drop_all().await.unwrap();
    }

    /// Waits until everything in the log can be read.
    async fn is_read(&self, running: &Running<D>) {
        loop {
            let mut equal = true;
            for (partition, key, expected) in truth(&self.log.all()) {
                let found = running.states().get_key(partition, &key).await.unwrap();
                equal &= found.as_deref() == Some(&expected);
            }
            if equal {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn names(&self) -> Vec<String> {
        self.objects.list("test/digest/v1/", None).await.unwrap()
    }
}

async fn stop_cleanly(running: Running<D>, stop: CancellationToken) {
    stop.cancel();
    running.stopped().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_at_the_end_is_all_that_a_new_start_needs() {
    for world in everywhere().await {
        world.append(&mut Rng::seeded(1), 500);
        let (running, stop) = world.start(NEVER).await;
        world.is_read(&running).await;
        stop_cleanly(running, stop).await;
        world.lose_everything().await;
        // The log has forgotten all of it: only the snapshots know.
        world.log.expire_all();
        let (running, stop) = world.start(NEVER).await;
        world.is_read(&running).await;
        world.append(&mut Rng::seeded(2), 50);
        world.is_read(&running).await;
        stop_cleanly(running, stop).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_while_states_are_written_is_of_one_moment() {
    for world in everywhere().await {
        let mut rng = Rng::seeded(3);
        for _kill in 0..4 {
            let (running, _stop) = world.start(ALWAYS).await;
            let before = world.names().await;
            while world.names().await == before {
                let one = subject(rng.below(SUBJECTS));
                let (partition, sequence) = world.log.touch(one, "view_item");
                running.progress().wait_for(partition, sequence).await;
            }
            world.append(&mut rng, 100);
            for _ in 0..rng.below(400) {
                tokio::task::yield_now().await;
            }
            running.abort();
            world.lose_everything().await;
        }
        // Snapshots of as many moments as there are partitions, and the rest from the log.
        let (running, stop) = world.start(NEVER).await;
        world.is_read(&running).await;
        stop_cleanly(running, stop).await;
        let kept = world.names().await;
        let of = |name: &String| name.rsplit_once('/').unwrap().0.to_owned();
        for folder in kept.iter().map(of) {
            assert!(kept.iter().filter(|name| of(name) == folder).count() <= Snapshots::KEPT);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_gives_way_to_the_older_one_and_the_log() {
    let world = world(Engine::Sqlite, |_| in_cache(MemoryStates::default())).await;
    for seed in 1..=2 {
        world.append(&mut Rng::seeded(seed), 300);
        let (running, stop) = world.start(NEVER).await;
        world.is_read(&running).await;
        stop_cleanly(running, stop).await;
    }
    let names = world.names().await;
    let newest = names
        .windows(2)
        .filter(|pair| pair[0][..20] == pair[1][..20]);
    let mut damaged = 0;
    for name in newest.map(|pair| &pair[1]) {
        let mut bytes = world.objects.get(name, 1 << 20).await.unwrap().unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        world.objects.put(name, bytes).await.unwrap();
        damaged += 1;
    }
    assert!(damaged > 5, "most partitions moved twice");
    world.lose_everything().await;
    let (running, _stop) = world.start(NEVER).await;
    world.is_read(&running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_the_log_outran_goes_on_from_its_snapshot_or_says_that_it_cannot() {
    let world = world(Engine::Sqlite, |db| {
        Some(Arc::new(SqlStates::new::<D>(db.clone())))
    })
    .await;
    world.append(&mut Rng::seeded(1), 100);
    let (running, _stop) = world.start(NEVER).await;
    world.is_read(&running).await;
    // Killed: its states stay in SQL, and another one goes further and leaves snapshots.
    running.abort();
    let mut other = World {
        store: in_cache(MemoryStates::default()),
        ..world
    };
    other.append(&mut Rng::seeded(2), 300);
    let (running, stop) = other.start(NEVER).await;
    other.is_read(&running).await;
    stop_cleanly(running, stop).await;
    other.log.expire_all();
    other.store = Some(Arc::new(SqlStates::new::<D>(other.db.clone())));
    let (running, stop) = other.start(NEVER).await;
    other.is_read(&running).await;
    stop_cleanly(running, stop).await;
    // Without any snapshot there is nothing to go on from.
    for name in other.names().await {
        other.objects.delete(&name).await.unwrap();
    }
    other.lose_everything().await;
    let (running, _stop) = other.start(NEVER).await;
    let error = running.stopped().await.unwrap_err();
    let expired = matches!(
        &error,
        RunError::Log {
            source: TailError::Expired,
            ..
        }
    );
    assert!(expired, "{error:?}");
    let said = error.to_string();
    assert!(
        said.contains("digest") && said.contains("no verified snapshot"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_told_how_far_verified_snapshots_reach() {
    let world = world(Engine::Sqlite, |_| in_cache(MemoryStates::default())).await;
    world.append(&mut Rng::seeded(1), 100);
    let (running, stop) = world.start(NEVER).await;
    world.is_read(&running).await;
    stop_cleanly(running, stop).await;
    let ends = (0..).zip(world.log.ends());
    let moved = ends.filter(|(_, end)| *end > 0).collect();
    assert_eq!(world.log.readers()["test/digest/v1"], moved);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_was_erased_comes_back_from_a_snapshot() {
    let world = world(Engine::Sqlite, |_| in_cache(MemoryStates::default())).await;
    world.append(&mut Rng::seeded(1), 300);
    let (running, stop) = world.start(NEVER).await;
    world.is_read(&running).await;
    stop_cleanly(running, stop).await;
    world.lose_everything().await;
    let people = People::new();
    let mut snapshot = Snapshot::default();
    let part = rapport_api::profile::v1::GetControlSnapshotResponse {
        erased: erasure_of(&[subject(1)]).subject_ids,
        last: true,
        ..Default::default()
    };
    snapshot.add(&part).unwrap();
    people.load(snapshot).unwrap();
    people.heartbeat();
    world.log.expire_all();
    let runner = world.runner(NEVER, world.store.clone()).with_people(people);
    let running = runner.start(CancellationToken::new()).await.unwrap();
    while running.states().get(subject(2)).await.unwrap().0 == 0
        || running.states().get(subject(3)).await.unwrap().0 == 0
    {
        tokio::task::yield_now().await;
    }
    running.progress().wait_caught_up().await;
    assert_eq!(running.states().get(subject(1)).await.unwrap().0, 0);
}

/// How a restore was interrupted.
#[derive(Debug, Clone, Copy)]
enum Interrupted {
    /// The process died before or after its `n`th write.
    In(Crash, usize),
    /// States were written and the offset was not, and the next start does or does not empty them.
    HalfWay { emptied: bool },
}

/// Interrupts a restore, damages every snapshot so that the next start has only the log, and returns
/// whether the states equal a serial replay.
async fn survives(interrupted: Interrupted) -> bool {
    let world = world(Engine::Sqlite, |_| in_cache(MemoryStates::default())).await;
    world.append(&mut Rng::seeded(9), 300);
    let (running, stop) = world.start(NEVER).await;
    world.is_read(&running).await;
    stop_cleanly(running, stop).await;
    world.lose_everything().await;
    let mut store = world.store.clone().unwrap();
    match interrupted {
        Interrupted::In(crash, at) => {
            let dying = CrashingStore::new(store.clone(), crash, at);
            let runner = world.runner(NEVER, Some(dying.clone()));
            let running = runner.start(CancellationToken::new()).await.unwrap();
            let mut crashed = dying.crashed.subscribe();
            crashed.wait_for(|crashed| *crashed).await.unwrap();
            running.abort();
        }
        Interrupted::HalfWay { emptied } => {
            leave_half_a_restore(&world, &*store).await;
            if !emptied {
                store = CrashingStore::new(store, Crash::Between, usize::MAX);
            }
        }
    }
    for name in world.names().await {
        world.objects.put(&name, b"damaged".to_vec()).await.unwrap();
    }
    let runner = world.runner(NEVER, Some(store));
    let running = runner.start(CancellationToken::new()).await.unwrap();
    for event in world.log.all() {
        running
            .progress()
            .wait_for(event.partition, event.sequence)
            .await;
    }
    let mut equal = true;
    for (partition, key, expected) in truth(&world.log.all()) {
        let found = running.states().get_key(partition, &key).await.unwrap();
        equal &= found.as_deref() == Some(&expected);
    }
    equal
}

async fn leave_half_a_restore(world: &World, store: &dyn StateStore) {
    let lease = support::projected::take_lease(&world.db).await;
    let partition = subject(1).partition();
    store.claim(&lease, &[partition]).await.unwrap();
    let state = [7_u64.to_le_bytes(), 7_u64.to_le_bytes()].concat();
    let change = rapport_flow::StateChange {
        key: subject(1).as_bytes()[..].into(),
        state: Some(state),
    };
    let half = rapport_flow::PartitionChange {
        partition,
        expected: 0,
        next: 0,
        changes: vec![change],
    };
    store.commit(&lease, &[half]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_a_restore_leaves_nothing_that_is_counted_twice() {
    for at in [1, 7] {
        for crash in [Crash::Before, Crash::After] {
            assert!(survives(Interrupted::In(crash, at)).await, "{crash:?} {at}");
        }
    }
    assert!(survives(Interrupted::HalfWay { emptied: true }).await);
}

/// The negative control: without emptying the partition first, half a restore is counted on.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_restore_that_is_not_emptied_would_be_counted_twice() {
    assert!(!survives(Interrupted::HalfWay { emptied: false }).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_redis_is_filled_again_although_nothing_new_happens() {
    for every in [NEVER, ALWAYS] {
        let server = testing::OwnRedis::start();
        let redis = RedisStates::new(testing::open(&server.url()));
        let world = world(Engine::Sqlite, |_| in_cache(redis)).await;
        world.append(&mut Rng::seeded(1), 300);
        let (running, _stop) = world.start(every).await;
        world.is_read(&running).await;
        for _ in 0..2 {
            server.flush_all();
            world.is_read(&running).await;
        }
    }
}
