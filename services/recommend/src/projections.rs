//! Where the projections keep their states, who notices when one cannot go on, and the hourly sweep.

use std::sync::Arc;
use std::time::Duration;

use rapport_cache::{Redis, RedisConfig, RedisStates};
use rapport_flow::{
    CacheStates, Channel, People, Projection, ProjectionRunner, RunError, RunnerConfig, Running,
    Snapshots, SqlStates, StateStore,
};
use rapport_store::objects::ObjectStore;
use rapport_store::{Db, idempotency};
use rapport_types::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::StartError;
use crate::projection::{ItemPopularity, Timelines};

/// How often old idempotency records are deleted.
const SWEEP: Duration = Duration::from_secs(3_600);

/// Returns where the projections' snapshots are kept: for who writes them and for who learns from them.
pub(crate) fn snapshots(objects: &ObjectStore) -> Snapshots {
    Snapshots::new(objects.clone(), "recommend")
}

/// What every projection runs with.
#[derive(Debug)]
pub(crate) struct Projections<'a> {
    pub(crate) db: &'a Db,
    pub(crate) log: &'a Channel,
    pub(crate) people: &'a People,
    pub(crate) owner: &'a str,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) stop: &'a CancellationToken,
    /// Where snapshots are kept.
    pub(crate) objects: &'a ObjectStore,
}

impl Projections<'_> {
    /// Starts the timelines: in Redis when there is one, else beside the catalogue.
    pub(crate) async fn timelines(
        &self,
        redis: Option<RedisConfig>,
    ) -> Result<Running<Timelines>, StartError> {
        let Some(redis) = redis else {
            return Ok(self.beside_the_catalogue(Timelines).await?);
        };
        let redis = Redis::open(&redis)?;
        let states = CacheStates::new::<Timelines>(Arc::new(RedisStates::new(redis)));
        Ok(self.stored(Timelines, Arc::new(states)).await?)
    }

    /// Starts the counts, never in Redis: they are read whole, and a cache cannot list its keys.
    pub(crate) async fn popularity(&self) -> Result<Running<ItemPopularity>, StartError> {
        Ok(self.beside_the_catalogue(ItemPopularity).await?)
    }

    /// In memory on SQLite, which one replica has for itself; in the database on Postgres.
    async fn beside_the_catalogue<P: Projection>(
        &self,
        projection: P,
    ) -> Result<Running<P>, RunError> {
        match self.db {
            Db::Sqlite(_) => {
                let config = RunnerConfig::in_memory(self.owner, Arc::clone(self.clock));
                let (db, log) = (self.db.clone(), self.log.clone());
                let runner = ProjectionRunner::in_memory(projection, db, log, config);
                self.start(runner).await
            }
            Db::Postgres(_) => {
                let states = Arc::new(SqlStates::new::<P>(self.db.clone()));
                self.stored(projection, states).await
            }
        }
    }

    async fn stored<P: Projection>(
        &self,
        projection: P,
        states: Arc<dyn StateStore>,
    ) -> Result<Running<P>, RunError> {
        let config = RunnerConfig::stored(self.owner, Arc::clone(self.clock));
        let (db, log) = (self.db.clone(), self.log.clone());
        self.start(ProjectionRunner::stored(
            projection, states, db, log, config,
        ))
        .await
    }

    async fn start<P: Projection>(
        &self,
        runner: ProjectionRunner<P>,
    ) -> Result<Running<P>, RunError> {
        let runner = runner
            .with_people(self.people.clone())
            .with_snapshots(snapshots(self.objects));
        runner.start(self.stop.clone()).await
    }
}

/// Waits until a projection ended, and says so when it should not have.
pub(crate) async fn watch_over<P: Projection>(running: Running<P>, breaks: watch::Sender<bool>) {
    // A panic of the projection comes through here as well.
    let mut breaks = Breaks(Some(breaks));
    match running.stopped().await {
        Ok(()) => breaks.0 = None,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "a projection cannot go on");
        }
    }
}

/// Says that something is broken when it is dropped, unless it was emptied.
struct Breaks(Option<watch::Sender<bool>>);

impl Drop for Breaks {
    fn drop(&mut self) {
        if let Some(breaks) = &self.0 {
            breaks.send_replace(true);
        }
    }
}

/// Deletes idempotency records that need not be remembered any longer, each hour.
pub(crate) async fn sweep(db: Db, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let swept = idempotency::sweep_all(&db, clock.now(), idempotency::KEEP_MIN_MS).await;
        if let Err(error) = swept {
            tracing::warn!(error = &error as &dyn std::error::Error, "sweep failed");
        }
    }
}
