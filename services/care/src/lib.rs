//! Care: cases from the first message to the end, the agents who take them, and the queue between.
//!
//! `grpc` parses and encodes, `desk` gives cases to agents, `store` holds the SQL; the rules are in
//! `care-domain`. Profile is the one neighbour: consent, keys, and the log that hears what happened.

pub mod background;
pub mod config;
pub mod desk;
pub mod error;
pub mod events;
pub mod grpc;
pub mod keys;
pub mod models;
pub mod relay;
pub mod store;
pub mod write;

use std::sync::Arc;
use std::time::Duration;

use rapport_api::care::v1::agent_service_server::AgentServiceServer;
use rapport_api::care::v1::case_service_server::CaseServiceServer;
use rapport_flow::{Channel, Delivery, Outbox, OutboxConfig, People};
use rapport_math::Rng;
use rapport_store::{Db, StoreError};
use rapport_types::Clock;
use sqlx::migrate::Migrator;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::RoutesBuilder;

use config::Config;
use desk::Desk;
use grpc::agent::AgentApi;
use grpc::case::CaseApi;
use keys::Keys;
use models::{Loader, Models};

/// Care's schema on Postgres.
pub static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
/// Care's schema on SQLite.
pub static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");

/// Longest wait for the log to take the last events.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// Where the neighbours are.
#[derive(Debug, Clone)]
pub struct Peers {
    /// The log, people and their consent, keys.
    pub profile: Channel,
}

/// Why care cannot start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error("care's database cannot be used: {0}; check CARE_DATABASE_URL")]
    Store(#[from] StoreError),
}

impl StartError {
    /// Returns whether the operator's settings are at fault, rather than something that may pass.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Store(StoreError::BadUrl(_)))
    }
}

/// Care, running: mount it on a server, then flush and drain it.
#[derive(Debug)]
pub struct Care {
    desk: Desk,
    delivery: Delivery,
    stop: CancellationToken,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Care {
    /// Full names of the services, for health. The first stands for the whole.
    pub const SERVICES: [&'static str; 2] = [
        "rapport.care.v1.CaseService",
        "rapport.care.v1.AgentService",
    ];

    /// Opens the database, loads the models and starts what runs in the background. Waits for no
    /// neighbour: until profile answers, texts cannot be sealed and calls that need it fail.
    ///
    /// # Errors
    /// [`StartError`], with what to do.
    pub async fn start(
        config: &Config,
        peers: Peers,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
            AbortOnDropHandle::new(tokio::spawn(task))
        }
        let db = Db::open(&config.database.store()).await?;
        db.migrate(&POSTGRES, &SQLITE).await?;
        let stop = CancellationToken::new();
        let people = People::follow(peers.profile.clone(), stop.clone());
        let keys = Keys::new(peers.profile.clone(), people.clone());
        let models = Models::default();
        let loader = Loader::open(&config.data, models.clone());
        let outbox = OutboxConfig {
            service: "care",
            replica: format!("care-{}", uuid::Uuid::new_v4()),
            clock: Arc::clone(&clock),
            rng: Rng::seeded(uuid::Uuid::new_v4().as_u64_pair().0),
            queue_max: OutboxConfig::QUEUE_MAX,
        };
        let desk = Desk {
            db,
            people,
            keys: keys.clone(),
            models,
            outbox: Outbox::spawn(peers.profile.clone(), outbox),
            clock,
            kick: Arc::new(Notify::new()),
            told: Arc::new(Notify::new()),
            durable: config.protections.hold("durable-outbox"),
            guarded: config.protections.hold("claim-guard"),
        };
        let delivery = Delivery::new(peers.profile);
        let tasks = vec![
            spawn(relay::relay_for_ever(desk.clone(), delivery.clone())),
            spawn(keys.forget_as_people_change()),
            spawn(loader.run()),
            spawn(background::sweep_for_ever(desk.clone())),
            spawn(background::forget_for_ever(desk.clone())),
        ];
        Ok(Self {
            desk,
            delivery,
            stop,
            _tasks: tasks,
        })
    }

    /// Adds care's services to a server's routes.
    pub fn mount(&self, routes: &mut RoutesBuilder) {
        let desk = || self.desk.clone();
        routes
            .add_service(CaseServiceServer::new(CaseApi { desk: desk() }))
            .add_service(AgentServiceServer::new(AgentApi { desk: desk() }));
    }

    /// Returns the methods that take larger messages than the server's default: none.
    #[must_use]
    pub fn request_limits() -> [(&'static str, usize); 0] {
        []
    }

    /// Returns this process's view of people.
    #[must_use]
    pub fn people(&self) -> &People {
        &self.desk.people
    }

    /// Waits until the log took everything that was told before: for tests and tools.
    ///
    /// # Errors
    /// [`error::Error`] when the database or profile's keys are away.
    pub async fn told(&self) -> Result<(), error::Error> {
        relay::relay(&self.desk, &mut self.delivery.clone()).await?;
        self.desk.outbox.flushed().await;
        Ok(())
    }

    /// Gives waiting cases to agents with room now, and returns how many: for tools and tests that
    /// cannot wait for the sweeper.
    ///
    /// # Errors
    /// [`error::Error::Store`].
    pub async fn sweep(&self) -> Result<usize, error::Error> {
        background::sweep(&self.desk).await
    }

    /// Sends what waits to the log, three seconds at most: decisions that it does not take are lost,
    /// everything else stays for the next start. Where profile lives in the same process, call it while
    /// that still answers.
    pub async fn flush(&self) {
        let mut delivery = self.delivery.clone();
        let relayed = timeout(FLUSH_MAX, relay::relay(&self.desk, &mut delivery)).await;
        if !matches!(relayed, Ok(Ok(()))) {
            tracing::warn!("events stay in the outbox");
        }
        if let Err(error) = self.desk.outbox.drain(FLUSH_MAX).await {
            tracing::warn!(waiting = error.waiting, "events did not reach the log");
        }
    }

    /// Flushes and closes the database: after the last call.
    pub async fn drain(&self) {
        self.flush().await;
        self.stop.cancel();
        self.desk.db.close().await;
    }
}

impl Drop for Care {
    /// Ends the view of people of a service that nobody drained.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
