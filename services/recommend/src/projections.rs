//! Where the projections keep their states, and who notices when one cannot go on.

use std::sync::Arc;

use rapport_cache::{Redis, RedisConfig, RedisStates};
use rapport_flow::{
    CacheStates, Channel, People, Projection, ProjectionRunner, RunError, RunnerConfig, Running,
    SqlStates, StateStore,
};
use rapport_store::Db;
use rapport_types::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::StartError;
use crate::projection::{ItemPopularity, Timelines};

/// Starts every key in Redis.
const NAMESPACE: &str = "recommend";

/// What every projection runs with.
#[derive(Debug)]
pub(crate) struct Projections<'a> {
    pub(crate) db: &'a Db,
    pub(crate) log: &'a Channel,
    pub(crate) people: &'a People,
    pub(crate) owner: &'a str,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) stop: &'a CancellationToken,
}

impl Projections<'_> {
    /// Starts the timelines: in Redis when there is one, else beside the catalogue.
    pub(crate) async fn timelines(
        &self,
        redis: Option<&str>,
    ) -> Result<Running<Timelines>, StartError> {
        let Some(url) = redis else {
            return Ok(self.beside_the_catalogue(Timelines).await?);
        };
        let redis = Redis::open(&RedisConfig::new(url, NAMESPACE))?;
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
        let runner = runner.with_people(self.people.clone());
        runner.start(self.stop.clone()).await
    }
}

/// Waits until a projection ended, and says so when it should not have.
pub(crate) async fn watch_over<P: Projection>(running: Running<P>, breaks: watch::Sender<bool>) {
    if let Err(error) = running.stopped().await {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "a projection cannot go on");
        breaks.send_replace(true);
    }
}
