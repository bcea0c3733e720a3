//! Ads: which ad fills a placement, at what price, and why not the others; budgets to the micro.
//!
//! `grpc` parses and encodes, `decide` and `record` are the two hot paths, `wallet` holds what this
//! replica may promise, `store` holds the SQL; the rules are in `ads-domain`. Ads calls profile (the
//! log, consent) and evaluate (experiments), and works without either, degraded.

pub mod active;
pub mod audience;
pub mod background;
pub mod committer;
pub mod config;
pub mod decide;
pub mod erasure;
pub mod error;
pub mod frequency;
pub mod grpc;
pub mod record;
pub mod store;
pub mod wallet;
pub mod write;

use std::sync::Arc;
use std::time::Duration;

use rapport_api::ads::v1::campaign_service_server::CampaignServiceServer;
use rapport_api::ads::v1::decision_service_server::DecisionServiceServer;
use rapport_cache::{
    CacheError, Counters, MemoryCounters, Redis, RedisConfig, RedisCounters, RedisStates,
};
use rapport_flow::{
    CacheStates, Channel, Experiments, Outbox, OutboxConfig, People, Progress, ProjectionRunner,
    RunError, RunnerConfig, Running, Snapshots,
};
use rapport_math::Rng;
use rapport_store::objects::{ObjectError, ObjectStore};
use rapport_store::{Db, StoreError};
use rapport_types::Clock;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tonic::service::RoutesBuilder;

use active::Active;
use audience::AudienceProjection;
use committer::Committer;
use config::Config;
use decide::Decider;
use frequency::Frequency;
use grpc::campaign::CampaignApi;
use grpc::decision::DecisionApi;
use record::Recorder;
use wallet::{Terms, Wallet};
use write::Writer;

static POSTGRES: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");
static SQLITE: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// Longest wait for the outbox when the service ends; the server's hook has ten seconds in all.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Starts every key in Redis.
const NAMESPACE: &str = "ads";

/// Why ads cannot start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error("ads' database cannot be used: {0}; check ADS_DATABASE_URL")]
    Store(#[from] StoreError),
    /// The counters.
    #[error("ads' Redis cannot be used: {0}; check ADS_REDIS_URL")]
    Cache(#[from] CacheError),
    /// The data directory.
    #[error("ads' data directory cannot be used: {0}; check ADS_DATA")]
    Objects(#[from] ObjectError),
    /// The projection.
    #[error("{0}; without ADS_REDIS_URL only one replica may run")]
    Projection(#[from] RunError),
    /// What is stored cannot be read.
    #[error("ads' campaigns cannot be read: {0}")]
    Load(#[from] error::Error),
    /// The name of the replica cannot be used.
    #[error("ADS_REPLICA must have 1 to 64 characters, no white space and no `:`")]
    Replica,
}

impl StartError {
    /// Returns whether the operator's settings are at fault, rather than something that may pass.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Store(StoreError::BadUrl(_))
            | Self::Cache(CacheError::Invalid(_))
            | Self::Replica => true,
            Self::Store(_)
            | Self::Cache(_)
            | Self::Objects(_)
            | Self::Projection(_)
            | Self::Load(_) => false,
        }
    }
}

/// The services that ads calls.
#[derive(Debug, Clone)]
pub struct Peers {
    /// The log, consent, and who is whom.
    pub profile: Channel,
    /// Experiments. Without it none runs.
    pub evaluate: Option<Channel>,
}

/// Ads, running: mount it on a server, then drain it.
#[derive(Debug)]
pub struct Ads {
    decider: Decider,
    recorder: Recorder,
    writer: Writer,
    progress: Progress,
    broken: CancellationToken,
    /// Ends what follows the log, before the database is closed.
    following: CancellationToken,
    projection: tokio::sync::Mutex<Option<AbortOnDropHandle<()>>>,
    background: Vec<AbortOnDropHandle<()>>,
    _stop: DropGuard,
}

impl Ads {
    /// Full names of the services, for health. The first stands for the whole.
    pub const SERVICES: [&'static str; 2] = [
        "rapport.ads.v1.DecisionService",
        "rapport.ads.v1.CampaignService",
    ];

    /// Opens the database and starts what runs in the background. Does not wait for the peers: until
    /// they answer, decisions are contextual.
    ///
    /// # Errors
    /// [`StartError`], with what to do.
    pub async fn start(
        config: &Config,
        peers: Peers,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let replica = replica_name(config)?;
        let db = Db::open(&config.database.store()).await?;
        db.migrate(&POSTGRES, &SQLITE).await?;
        let following = CancellationToken::new();
        let people = People::follow(peers.profile.clone(), following.clone());
        let experiments = match peers.evaluate {
            Some(evaluate) => Experiments::follow(evaluate, following.clone()),
            None => Experiments::default(),
        };
        let redis = open_redis(config)?;
        let runner = projection(&redis, &db, &peers.profile, &replica, &clock);
        let snapshots = Snapshots::new(ObjectStore::open(&config.data)?, "ads");
        let runner = runner.with_people(people.clone()).with_snapshots(snapshots);
        let running = runner.start(following.clone()).await?;
        let active = Active::load(db.clone()).await?;
        let frequency = counters(&redis, &db, &active, &*clock).await?;
        let wallet = open_wallet(config, &replica, &db, &clock).await?;
        let outbox = open_outbox(peers.profile, replica, &clock);
        let (states, progress) = (running.states(), running.progress());
        let broken = CancellationToken::new();
        let projection = AbortOnDropHandle::new(tokio::spawn(watch(running, broken.clone())));
        let lease = Duration::from_millis(wallet.ttl_ms().unsigned_abs());
        let background = vec![
            spawn(background::keep_leases(wallet.clone(), lease)),
            spawn(background::refresh(active.clone())),
            spawn(background::sweep(db.clone(), Arc::clone(&clock))),
            spawn(erasure::forget_for_ever(db.clone(), people.clone())),
            spawn(frequency::keep_complete(
                frequency.clone(),
                active.clone(),
                db.clone(),
                Arc::clone(&clock),
                config.protections.hold("frequency-rebuild"),
            )),
        ];
        Ok(Self {
            recorder: Recorder {
                db: db.clone(),
                wallet: wallet.clone(),
                people: people.clone(),
                outbox: outbox.clone(),
                clock: Arc::clone(&clock),
            },
            writer: Writer {
                db: db.clone(),
                active: active.clone(),
                clock: Arc::clone(&clock),
            },
            decider: Decider {
                committer: Committer::start(db, Arc::clone(&clock), wallet.is_fenced()),
                audience: states,
                active,
                people,
                wallet,
                frequency,
                experiments,
                outbox,
                clock,
            },
            progress,
            broken,
            projection: tokio::sync::Mutex::new(Some(projection)),
            background,
            _stop: following.clone().drop_guard(),
            following,
        })
    }

    /// Adds ads' services to a server's routes.
    pub fn mount(&self, routes: &mut RoutesBuilder) {
        routes
            .add_service(DecisionServiceServer::new(DecisionApi {
                decider: self.decider.clone(),
                recorder: self.recorder.clone(),
            }))
            .add_service(CampaignServiceServer::new(CampaignApi {
                writer: self.writer.clone(),
            }));
    }

    /// Returns the methods that take larger messages than the server's default: none.
    #[must_use]
    pub fn request_limits() -> [(&'static str, usize); 0] {
        []
    }

    /// Returns this process's view of people.
    #[must_use]
    pub fn people(&self) -> &People {
        &self.decider.people
    }

    /// Returns the experiments that run, as far as evaluate said.
    #[must_use]
    pub fn experiments(&self) -> &Experiments {
        &self.decider.experiments
    }

    /// Returns how far what is known of people follows the log.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Returns what is cancelled when the service cannot go on and the process should end.
    #[must_use]
    pub fn broken(&self) -> CancellationToken {
        self.broken.clone()
    }

    /// Takes erased people out of the decisions now, and returns out of how many: for tools and tests
    /// that cannot wait for the background.
    ///
    /// # Errors
    /// [`error::Error::Store`].
    pub async fn forget_erased(&self) -> Result<u64, error::Error> {
        Ok(erasure::forget_all(&self.recorder.db, self.people()).await?)
    }

    /// Hands every lease back, sends what waits for the log, and closes the database. After the last
    /// call.
    pub async fn drain(&self) {
        self.background.iter().for_each(|task| task.abort());
        if let Err(error) = self.decider.wallet.hand_back_all().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "leases end by themselves"
            );
        }
        if let Err(error) = self.decider.outbox.drain(DRAIN_MAX).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the log misses events"
            );
        }
        self.following.cancel();
        if let Some(projection) = self.projection.lock().await.take() {
            // It writes its last state; a panic there was logged.
            let _ = projection.await;
        }
        self.recorder.db.close().await;
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

fn replica_name(config: &Config) -> Result<String, StartError> {
    match &config.replica {
        Some(name) if ads_domain::is_id(name) => Ok(name.clone()),
        Some(_) => Err(StartError::Replica),
        None => Ok(format!("ads-{}", uuid::Uuid::new_v4().simple())),
    }
}

/// Opens the wallet and closes what an earlier life under this name left open.
async fn open_wallet(
    config: &Config,
    replica: &str,
    db: &Db,
    clock: &Arc<dyn Clock>,
) -> Result<Wallet, StartError> {
    let terms = Terms {
        replica: replica.to_owned(),
        ttl_ms: config.lease_seconds * 1_000,
        size: config.lease(),
        fenced: config.protections.hold("lease-fence"),
    };
    let wallet = Wallet::new(db.clone(), Arc::clone(clock), terms);
    wallet.close_former().await?;
    Ok(wallet)
}

fn open_outbox(profile: Channel, replica: String, clock: &Arc<dyn Clock>) -> Outbox {
    let config = OutboxConfig {
        service: "ads",
        replica,
        clock: Arc::clone(clock),
        rng: Rng::seeded(uuid::Uuid::new_v4().as_u64_pair().0),
        queue_max: OutboxConfig::QUEUE_MAX,
    };
    Outbox::spawn(profile, config)
}

fn open_redis(config: &Config) -> Result<Option<Redis>, CacheError> {
    let url = config.redis_url.as_ref();
    let url = url.filter(|url| !url.expose().is_empty());
    url.map(|url| Redis::open(&RedisConfig::new(url.expose(), NAMESPACE)))
        .transpose()
}

/// Returns the projection: shared in Redis, or in memory, where a second replica refuses to start.
fn projection(
    redis: &Option<Redis>,
    db: &Db,
    profile: &Channel,
    replica: &str,
    clock: &Arc<dyn Clock>,
) -> ProjectionRunner<AudienceProjection> {
    // A name per boot: a restart under the same name is another owner.
    let owner = format!("{replica}/{}", uuid::Uuid::new_v4().simple());
    let (db, profile, clock) = (db.clone(), profile.clone(), Arc::clone(clock));
    match redis {
        Some(redis) => {
            let states = Arc::new(RedisStates::new(redis.clone()));
            let store = Arc::new(CacheStates::new::<AudienceProjection>(states));
            let config = RunnerConfig::stored(owner, clock);
            ProjectionRunner::stored(AudienceProjection, store, db, profile, config)
        }
        None => {
            let config = RunnerConfig::in_memory(owner, clock);
            ProjectionRunner::in_memory(AudienceProjection, db, profile, config)
        }
    }
}

async fn counters(
    redis: &Option<Redis>,
    db: &Db,
    active: &Active,
    clock: &dyn Clock,
) -> Result<Frequency, StartError> {
    let shared: Arc<dyn Counters> = match redis {
        Some(redis) => Arc::new(RedisCounters::new(redis.clone())),
        None => Arc::new(MemoryCounters::default()),
    };
    let frequency = Frequency::new(shared);
    // In memory this process lost them itself, and nobody else's decisions are on their way.
    if redis.is_none() {
        let rebuilt = frequency.rebuild(db, active, clock.now()).await?;
        tracing::info!(rebuilt, "frequency counters rebuilt");
    }
    Ok(frequency)
}

/// Waits for the projection to end; if it could not go on, neither can the service.
async fn watch(running: Running<AudienceProjection>, broken: CancellationToken) {
    if let Err(error) = running.stopped().await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the projection ended"
        );
        broken.cancel();
    }
}
