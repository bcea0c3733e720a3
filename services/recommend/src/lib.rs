//! Recommend: the catalogue, what people did with it, and what to show them now, with reasons.
//!
//! `grpc` parses and encodes, `projection` reads the log, `training` makes models, `refresh` keeps the
//! one snapshot that answers read; the rules are in `recommend-domain`. It calls profile (the log, who
//! is whom, who permits what) and evaluate (experiments), and answers without them, degraded.

pub mod config;
pub mod error;
pub mod grpc;
pub mod projection;
mod projections;
pub mod refresh;
pub mod serving;
pub mod store;
pub mod training;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rapport_api::recommend::v1::catalog_service_server::CatalogServiceServer;
use rapport_api::recommend::v1::model_service_server::ModelServiceServer;
use rapport_api::recommend::v1::recommend_service_server::RecommendServiceServer;
use rapport_cache::CacheError;
use rapport_flow::{Channel, Experiments, Outbox, OutboxConfig, People, Progress, RunError};
use rapport_math::Rng;
use rapport_store::objects::{ObjectError, ObjectStore};
use rapport_store::{Db, StoreError};
use rapport_types::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::RoutesBuilder;

use config::Config;
use grpc::catalog::{CatalogApi, UPSERT_BYTES_MAX};
use grpc::model::ModelApi;
use grpc::recommend::RecommendApi;
use projections::Projections;
use refresh::Refresher;
use serving::Serving;
use training::Trainer;

static POSTGRES: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");
static SQLITE: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// Longest wait for the log to take the last decisions.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// Where the neighbours are.
#[derive(Debug, Clone)]
pub struct Peers {
    /// The log, people and their consent.
    pub profile: Channel,
    /// Experiments; without it nobody is in any.
    pub evaluate: Option<Channel>,
}

/// Why recommend cannot start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error("recommend's database cannot be used: {0}; check RECOMMEND_DATABASE_URL")]
    Store(#[from] StoreError),
    /// Redis.
    #[error("recommend's Redis cannot be used: {0}; check RECOMMEND_REDIS_URL")]
    Cache(#[from] CacheError),
    /// The model directory.
    #[error("recommend's model directory cannot be used: {0}; check RECOMMEND_DATA")]
    Objects(#[from] ObjectError),
    /// A projection: another process has it, or what it saved is damaged.
    #[error(transparent)]
    Projection(#[from] RunError),
    /// The first snapshot.
    #[error("recommend cannot read what it serves: {0}")]
    Serving(#[from] error::Error),
}

impl StartError {
    /// Returns whether the operator's settings are at fault, rather than something that may pass.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Store(StoreError::BadUrl(_)) | Self::Cache(CacheError::Invalid(_)) => true,
            Self::Store(_)
            | Self::Cache(_)
            | Self::Objects(_)
            | Self::Projection(_)
            | Self::Serving(_) => false,
        }
    }
}

/// Recommend, running: mount it on a server, then flush and drain it.
#[derive(Debug)]
pub struct Recommend {
    recommend: RecommendApi,
    catalog: CatalogApi,
    model: ModelApi,
    progress: Progress,
    stop: CancellationToken,
    background: TaskTracker,
    broken: watch::Receiver<bool>,
}

impl Recommend {
    /// Full names of the services, for health. The first stands for the whole.
    pub const SERVICES: [&'static str; 3] = [
        "rapport.recommend.v1.RecommendService",
        "rapport.recommend.v1.CatalogService",
        "rapport.recommend.v1.ModelService",
    ];

    /// Opens the database and the model directory, loads what was saved and starts what runs in the
    /// background. Waits for no neighbour: until profile answers, answers are popular items.
    ///
    /// # Errors
    /// [`StartError`], with what to do.
    pub async fn start(
        config: &Config,
        peers: Peers,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let db = Db::open(&config.database.store()).await?;
        db.migrate(&POSTGRES, &SQLITE).await?;
        let objects = ObjectStore::open(&config.data)?;
        let owner = format!("recommend-{}", uuid::Uuid::new_v4());
        let stop = CancellationToken::new();
        // Whatever fails below ends what was started above.
        let guard = stop.clone().drop_guard();
        let people = People::follow(peers.profile.clone(), stop.clone());
        let background = TaskTracker::new();
        let projections = Projections {
            db: &db,
            log: &peers.profile,
            people: &people,
            owner: &owner,
            clock: &clock,
            stop: &stop,
            objects: &objects,
        };
        let timelines = projections.timelines(config.redis()).await?;
        let popularity = projections.popularity().await?;
        let (states, progress) = (timelines.states(), timelines.progress());
        let serving = Arc::new(ArcSwap::from_pointee(Serving::default()));
        let (mut refresher, refresh) = Refresher::new(&db, &objects, &popularity, &serving);
        refresher.refresh().await?;
        let (breaks, broken) = watch::channel(false);
        background.spawn(projections::watch_over(timelines, breaks.clone()));
        background.spawn(projections::watch_over(popularity, breaks));
        background.spawn(refresher.run(stop.clone()));
        let recommend = RecommendApi {
            serving: Arc::clone(&serving),
            timelines: states.clone(),
            people: people.clone(),
            experiments: follow_experiments(peers.evaluate, &stop),
            outbox: spawn_outbox(config, &peers.profile, &owner, &clock),
            clock: Arc::clone(&clock),
        };
        let trainer = Trainer {
            db: db.clone(),
            objects,
            timelines: states,
            profile: peers.profile,
            people,
            clock: Arc::clone(&clock),
            owner,
            refresh: refresh.clone(),
            stop: stop.clone(),
        };
        spawn_jobs(&background, &trainer, &progress, config);
        Ok(Self {
            recommend,
            catalog: CatalogApi {
                db,
                serving: Arc::clone(&serving),
                refresh,
                clock,
            },
            model: ModelApi { trainer, serving },
            progress,
            stop: guard.disarm(),
            background,
            broken,
        })
    }

    /// Adds recommend's services to a server's routes.
    pub fn mount(&self, routes: &mut RoutesBuilder) {
        let catalog = CatalogServiceServer::new(self.catalog.clone());
        routes
            .add_service(RecommendServiceServer::new(self.recommend.clone()))
            .add_service(catalog.max_decoding_message_size(UPSERT_BYTES_MAX + 64 * 1024))
            .add_service(ModelServiceServer::new(self.model.clone()));
    }

    /// Returns the methods that take larger messages than the server's default.
    #[must_use]
    pub fn request_limits() -> [(&'static str, usize); 1] {
        let path = "/rapport.recommend.v1.CatalogService/UpsertItems";
        [(path, UPSERT_BYTES_MAX)]
    }

    /// Returns how far the timelines are, for readiness and for tests that wait for an event.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Returns this process's view of people.
    #[must_use]
    pub fn people(&self) -> &People {
        &self.recommend.people
    }

    /// Resolves when a projection cannot go on: the process should end, and another one take over.
    pub async fn broken(&self) {
        let mut broken = self.broken.clone();
        if broken.wait_for(|broken| *broken).await.is_err() {
            // Both projections were told to stop: nothing is broken.
            std::future::pending::<()>().await;
        }
    }

    /// Returns whether a projection could not go on.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        *self.broken.borrow()
    }

    /// Sends the decisions that wait to the log, three seconds at most; later answers have no
    /// decision. Where profile lives in the same process, call it while that still answers.
    pub async fn flush(&self) {
        if let Err(error) = self.recommend.outbox.drain(FLUSH_MAX).await {
            tracing::warn!(waiting = error.waiting, "decisions did not reach the log");
        }
    }

    /// Flushes, writes the projections' states, gives their leases back and closes the database:
    /// after the last call.
    pub async fn drain(&self) {
        self.flush().await;
        self.stop.cancel();
        self.background.wait().await;
        self.catalog.db.close().await;
    }
}

impl Drop for Recommend {
    /// Ends the background of a service that nobody drained: what was not written is read again.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts what happens by itself from time to time: training, and forgetting old requests.
fn spawn_jobs(background: &TaskTracker, trainer: &Trainer, progress: &Progress, config: &Config) {
    let (db, clock) = (trainer.db.clone(), Arc::clone(&trainer.clock));
    background.spawn(projections::sweep(db, clock, trainer.stop.clone()));
    background.spawn(training::train_for_ever(
        trainer.clone(),
        progress.clone(),
        config.train_every,
    ));
    background.close();
}

fn follow_experiments(evaluate: Option<Channel>, stop: &CancellationToken) -> Experiments {
    match evaluate {
        Some(evaluate) => Experiments::follow(evaluate, stop.clone()),
        None => Experiments::default(),
    }
}

fn spawn_outbox(config: &Config, profile: &Channel, owner: &str, clock: &Arc<dyn Clock>) -> Outbox {
    let seed = config
        .seed
        .unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let config = OutboxConfig {
        service: "recommend",
        replica: owner.to_owned(),
        clock: Arc::clone(clock),
        rng: Rng::seeded(seed),
        queue_max: OutboxConfig::QUEUE_MAX,
    };
    Outbox::spawn(profile.clone(), config)
}
