//! A new version built beside the old one in running processes: what is read meanwhile, when reads move,
//! what a kill leaves, and when the old version goes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rapport_cache::{MemoryStates, PartitionStates, RedisStates, testing};
use rapport_flow::{
    CacheStates, Channel, Projection, ProjectionRunner, RunnerConfig, Running, SqlStates,
    StateStore,
};
use rapport_math::Rng;
use rapport_store::Db;
use rapport_store::testing::{Engine, TestDb};
use rapport_types::{SubjectId, SystemClock};
use support::projected::{Crash, CrashingStore, Digest, open, truth_of};
use support::{Log, serve};
use tokio_util::sync::CancellationToken;

const SUBJECTS: u64 = 30;

/// Where states live.
#[derive(Debug, Clone)]
enum Home {
    /// In each process's memory, saved in SQL.
    Resident,
    Sql,
    Cache(Arc<dyn PartitionStates>),
}

struct World {
    log: Log,
    channel: Channel,
    db: Db,
    home: Home,
    _test: TestDb,
}

fn subject(n: u64) -> SubjectId {
    SubjectId::new([n as u8 + 1; 16])
}

fn config(owner: &str) -> RunnerConfig {
    RunnerConfig {
        groups: 4,
        lease_ttl: Duration::from_millis(600),
        flush_after: Duration::from_millis(5),
        old_kept: Duration::from_millis(100),
        ..RunnerConfig::stored(owner, Arc::new(SystemClock))
    }
}

impl World {
    async fn new(engine: Engine, home: Home) -> Self {
        let (log, channel) = serve().await;
        let (test, db) = open(engine).await;
        let world = Self {
            log,
            channel,
            db,
            home,
            _test: test,
        };
        world.append(&mut Rng::seeded(5), 400);
        world
    }

    fn append(&self, rng: &mut Rng, events: usize) {
        for _ in 0..events {
            self.log.touch(subject(rng.below(SUBJECTS)), "view_item");
        }
    }

    fn store<P: Projection>(&self) -> Arc<dyn StateStore> {
        match &self.home {
            Home::Resident | Home::Sql => Arc::new(SqlStates::new::<P>(self.db.clone())),
            Home::Cache(states) => Arc::new(CacheStates::new::<P>(states.clone())),
        }
    }

    fn runner<P: Projection>(&self, projection: P, owner: &str) -> ProjectionRunner<P> {
        self.runner_on(projection, owner, self.store::<P>())
    }

    fn runner_on<P: Projection>(
        &self,
        projection: P,
        owner: &str,
        store: Arc<dyn StateStore>,
    ) -> ProjectionRunner<P> {
        let (db, log, config) = (self.db.clone(), self.channel.clone(), config(owner));
        match self.home {
            Home::Resident => ProjectionRunner::in_memory(projection, db, log, config),
            Home::Sql | Home::Cache(_) => {
                ProjectionRunner::stored(projection, store, db, log, config)
            }
        }
    }

    /// Starts a process of the older release.
    async fn start_old(&self, owner: &str) -> (Running<Digest<1>>, CancellationToken) {
        let stop = CancellationToken::new();
        let running = self.runner(Digest::<1>, owner).start(stop.clone()).await;
        (running.unwrap(), stop)
    }

    /// Starts a process of the newer release, whose new version is kept in `store`.
    async fn start_new_on(
        &self,
        owner: &str,
        store: Arc<dyn StateStore>,
    ) -> (Running<Digest<2>>, CancellationToken) {
        let stop = CancellationToken::new();
        let new = self.runner_on(Digest::<2>, owner, store);
        let old = self.runner(Digest::<1>, owner);
        let running = new.start_beside(old, |state| *state, stop.clone()).await;
        (running.unwrap(), stop)
    }

    async fn start_new(&self, owner: &str) -> (Running<Digest<2>>, CancellationToken) {
        self.start_new_on(owner, self.store::<Digest<2>>()).await
    }

    /// Waits until all of a version that can be read in the store or in memory is the truth.
    async fn reads<P: Projection<State = (u64, u64)>, const V: u32>(&self, running: &Running<P>) {
        loop {
            let mut equal = true;
            for (partition, key, expected) in truth_of::<V>(&self.log.all()) {
                let found = running.states().get_key(partition, &key).await.unwrap();
                equal &= found.as_deref() == Some(&expected);
            }
            if equal {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads everything and says of which version it is; a state of neither is wrong.
    async fn version_read(&self, running: &Running<Digest<2>>) -> u32 {
        let subjects: Vec<SubjectId> = (0..SUBJECTS).map(subject).collect();
        let read = running.states().get_many(&subjects).await.unwrap();
        let of = |truth: Vec<(u32, Vec<u8>, (u64, u64))>| {
            let state = |subject: &SubjectId| {
                let found = truth.iter().find(|(_, key, _)| key == subject.as_bytes());
                found.map_or((0, 0), |(_, _, state)| *state)
            };
            subjects.iter().map(state).collect::<Vec<_>>()
        };
        let read: Vec<(u64, u64)> = read.iter().map(|state| **state).collect();
        match read {
            read if read == of(truth_of::<1>(&self.log.all())) => 1,
            read if read == of(truth_of::<2>(&self.log.all())) => 2,
            other => panic!("neither version: {other:?}"),
        }
    }
}

/// Waits until reads are the new version's.
async fn swapped(running: &Running<Digest<2>>) {
    while !running.states().is_own_version() {
        tokio::task::yield_now().await;
    }
}

fn everywhere() -> Vec<(Engine, Home)> {
    let redis = RedisStates::new(testing::open(&testing::redis_url()));
    vec![
        (Engine::Sqlite, Home::Resident),
        (Engine::Sqlite, Home::Sql),
        (Engine::Postgres, Home::Sql),
        (
            Engine::Sqlite,
            Home::Cache(Arc::new(MemoryStates::default())),
        ),
        (Engine::Postgres, Home::Cache(Arc::new(redis))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_version_is_read_until_the_new_one_has_caught_up() {
    for (engine, home) in everywhere() {
        let world = World::new(engine, home).await;
        let (old, stop) = world.start_old("old").await;
        world.reads::<_, 1>(&old).await;
        stop.cancel();
        old.stopped().await.unwrap();
        // The new version's first write never returns: it cannot catch up.
        let stuck = CrashingStore::new(world.store::<Digest<2>>(), Crash::Before, 1);
        let is_resident = matches!(world.home, Home::Resident);
        if !is_resident {
            let (running, stop) = world.start_new_on("new", stuck.clone()).await;
            let mut crashed = stuck.crashed.subscribe();
            crashed.wait_for(|crashed| *crashed).await.unwrap();
            assert_eq!(world.version_read(&running).await, 1, "{engine:?}");
            // What happens meanwhile is read as well: the old version is kept fresh.
            world.log.touch(subject(3), "view_item");
            world.reads::<_, 1>(&running).await;
            assert!(!running.states().is_own_version());
            // Killed in the middle of the rebuild.
            running.abort();
            drop(stop);
        }
        let (running, stop) = world.start_new("new").await;
        swapped(&running).await;
        world.reads::<_, 2>(&running).await;
        world.log.touch(subject(4), "view_item");
        world.reads::<_, 2>(&running).await;
        stop.cancel();
        running.stopped().await.unwrap();
    }
}

/// The negative control: reads that move at once are of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_wait_a_new_version_would_be_read_half_built() {
    let world = World::new(Engine::Sqlite, Home::Sql).await;
    let (old, _stop) = world.start_old("old").await;
    world.reads::<_, 1>(&old).await;
    let stuck = CrashingStore::new(world.store::<Digest<2>>(), Crash::Before, 1);
    // Started alone, as a release without `start_beside` would.
    let runner = world.runner_on(Digest::<2>, "new", stuck.clone());
    let running = runner.start(CancellationToken::new()).await.unwrap();
    let mut crashed = stuck.crashed.subscribe();
    crashed.wait_for(|crashed| *crashed).await.unwrap();
    let lost = running.states().get(subject(0)).await.unwrap();
    assert_ne!(old.states().get(subject(0)).await.unwrap().0, 0);
    assert_eq!(lost.0, 0, "everybody would be a stranger");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_both_releases_work_side_by_side_until_the_last_old_one_is_gone() {
    for (engine, home) in everywhere().into_iter().skip(1) {
        let world = World::new(engine, home).await;
        let (old, old_stop) = world.start_old("old").await;
        world.reads::<_, 1>(&old).await;
        let (first, first_stop) = world.start_new("first").await;
        let (second, second_stop) = world.start_new("second").await;
        for new in [&first, &second] {
            swapped(new).await;
            world.reads::<_, 2>(new).await;
        }
        // After the swap the old release reads on, fresh, for as long as one of it runs.
        for n in 0..3 {
            world.log.touch(subject(n), "view_item");
            world.reads::<_, 1>(&old).await;
            world.reads::<_, 2>(&first).await;
            world.reads::<_, 2>(&second).await;
        }
        old_stop.cancel();
        old.stopped().await.unwrap();
        let store = world.store::<Digest<1>>();
        while store.offsets(&(0..64).collect::<Vec<_>>()).await.unwrap() != [0; 64] {
            tokio::task::yield_now().await;
        }
        world.reads::<_, 2>(&first).await;
        for (running, stop) in [(first, first_stop), (second, second_stop)] {
            stop.cancel();
            running.stopped().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_the_old_version_is_dropped_leaves_the_new_one_serving() {
    for (engine, home) in everywhere().into_iter().skip(1) {
        for crash in [Crash::Before, Crash::After] {
            let world = World::new(engine, home.clone()).await;
            let (old, stop) = world.start_old("old").await;
            world.reads::<_, 1>(&old).await;
            stop.cancel();
            old.stopped().await.unwrap();
            let dying = CrashingStore::new(world.store::<Digest<1>>(), crash, 0);
            let stop = CancellationToken::new();
            let old = world.runner_on(Digest::<1>, "new", dying.clone());
            let new = world.runner(Digest::<2>, "new");
            let running = new.start_beside(old, |state| *state, stop.clone()).await;
            let running = running.unwrap();
            let mut crashed = dying.crashed.subscribe();
            crashed.wait_for(|crashed| *crashed).await.unwrap();
            running.abort();
            let (again, stop) = world.start_new("new").await;
            swapped(&again).await;
            world.reads::<_, 2>(&again).await;
            stop.cancel();
            again.stopped().await.unwrap();
            world.store::<Digest<2>>().drop_all().await.unwrap();
            world.store::<Digest<1>>().drop_all().await.unwrap();
        }
    }
}
