//! Evaluate: did it work, by how much, how sure are we.
//!
//! `projection` says what events mean, `view` folds by person whom a report may count, `report`
//! computes, `directory` and `store` keep the experiments, `grpc` is the wire. Statistics are in
//! `evaluate-domain`.

pub mod config;
pub mod directory;
pub mod error;
pub mod grpc;
pub mod projection;
pub mod report;
pub mod store;
pub mod view;

use std::sync::{Arc, Mutex, PoisonError};

use rapport_api::evaluate::v1::experiment_service_server::ExperimentServiceServer;
use rapport_api::evaluate::v1::report_service_server::ReportServiceServer;
use rapport_flow::{
    Channel, People, Progress, Projection, ProjectionRunner, RunError, RunnerConfig, Running,
    Snapshots, SqlStates,
};
use rapport_store::objects::{ObjectError, ObjectStore};
use rapport_store::{Db, StoreError};
use rapport_types::Clock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::RoutesBuilder;

use config::Config;
use directory::Directory;
use grpc::experiment::ExperimentApi;
use grpc::report::ReportApi;
use projection::{Journeys, Shop};
use view::Reader;

static POSTGRES: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");
static SQLITE: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// Why evaluate cannot start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error("evaluate's database cannot be used: {0}; check EVALUATE_DATABASE_URL")]
    Store(#[from] StoreError),
    /// The folder of snapshots and, on SQLite, of the projections' file.
    #[error("evaluate's folder cannot be used: {0}; check EVALUATE_DATA")]
    Objects(#[from] ObjectError),
    /// A projection.
    #[error("evaluate cannot follow the log: {0}")]
    Projection(#[from] RunError),
    /// The experiments.
    #[error("evaluate's experiments cannot be read: {0}")]
    Experiments(#[from] error::Error),
}

impl StartError {
    /// Returns whether the operator's settings are at fault, rather than something that may pass.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Store(StoreError::BadUrl(_)) | Self::Objects(_) => true,
            Self::Store(_) | Self::Projection(_) | Self::Experiments(_) => false,
        }
    }
}

/// Evaluate, running: mount it on a server, then drain it.
#[derive(Debug)]
pub struct Evaluate {
    experiments: ExperimentApi,
    reports: ReportApi,
    people: People,
    databases: Vec<Db>,
    stop: CancellationToken,
    broken: CancellationToken,
    projections: Mutex<Vec<JoinHandle<()>>>,
    _keeper: AbortOnDropHandle<()>,
}

/// What every projection here is started with.
struct Follow<'a> {
    profile: &'a Channel,
    people: &'a People,
    clock: &'a Arc<dyn Clock>,
    /// Where states are saved: on SQLite they stay in memory besides.
    db: &'a Db,
    /// What they start from when `db` has lost them.
    snapshots: Snapshots,
    stop: &'a CancellationToken,
}

impl Evaluate {
    /// Full names of the services, for health. The first stands for the whole.
    pub const SERVICES: [&'static str; 2] = [
        "rapport.evaluate.v1.ReportService",
        "rapport.evaluate.v1.ExperimentService",
    ];

    /// Opens the databases and starts to follow the log by `profile`, which need not answer yet.
    ///
    /// On SQLite states are in memory and saved to a file of their own; on Postgres they are rows that
    /// every replica reads.
    ///
    /// # Errors
    /// [`StartError`], with what to do.
    pub async fn start(
        config: &Config,
        profile: Channel,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let db = Db::open(&config.database.store()).await?;
        db.migrate(&POSTGRES, &SQLITE).await?;
        let snapshots = Snapshots::new(ObjectStore::open(&config.data)?, "evaluate");
        let mut databases = vec![db.clone()];
        let states = match db {
            Db::Sqlite(_) => {
                let file = Db::open(&config.projections()).await?;
                file.migrate(&POSTGRES, &SQLITE).await?;
                databases.push(file.clone());
                file
            }
            Db::Postgres(_) => db.clone(),
        };
        let (stop, broken) = (CancellationToken::new(), CancellationToken::new());
        let people = People::follow(profile.clone(), stop.clone());
        let follow = Follow {
            profile: &profile,
            people: &people,
            clock: &clock,
            db: &states,
            snapshots,
            stop: &stop,
        };
        let journeys = follow.start(Journeys).await?;
        let shop = follow.start(Shop).await?;
        let reader = Reader::new(
            journeys.states(),
            shop.states(),
            [journeys.progress(), shop.progress()],
            people.clone(),
            broken.clone(),
        );
        let projections = vec![watch(journeys, &broken), watch(shop, &broken)];
        let directory = Directory::open(db, Arc::clone(&clock)).await?;
        let keeper = AbortOnDropHandle::new(tokio::spawn(directory.clone().keep()));
        Ok(Self {
            experiments: ExperimentApi {
                directory: directory.clone(),
                people: people.clone(),
                reader: reader.clone(),
            },
            reports: ReportApi {
                reader,
                directory,
                clock,
            },
            people,
            databases,
            stop,
            broken,
            projections: Mutex::new(projections),
            _keeper: keeper,
        })
    }

    /// Adds evaluate's services to a server's routes.
    pub fn mount(&self, routes: &mut RoutesBuilder) {
        routes
            .add_service(ReportServiceServer::new(self.reports.clone()))
            .add_service(ExperimentServiceServer::new(self.experiments.clone()));
    }

    /// Returns the methods that take larger messages than the server's default: none.
    #[must_use]
    pub fn request_limits() -> [(&'static str, usize); 0] {
        []
    }

    /// Returns this process's view of people.
    #[must_use]
    pub fn people(&self) -> &People {
        &self.people
    }

    /// Returns how far reports are behind the log: one for journeys, one for totals.
    #[must_use]
    pub fn progress(&self) -> &[Progress; 2] {
        self.reports.reader.progress()
    }

    /// Waits until a projection cannot go on: the process should end, and another begin.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Returns whether a projection could not go on.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.is_cancelled()
    }

    /// Writes what the projections know and closes the databases, after the last call.
    pub async fn drain(&self) {
        self.stop.cancel();
        let projections = std::mem::take(
            &mut *self
                .projections
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for projection in projections {
            // A panic was printed where it happened; what is left is closing the files.
            let _ = projection.await;
        }
        for database in &self.databases {
            database.close().await;
        }
    }
}

impl Drop for Evaluate {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Follow<'_> {
    async fn start<P: Projection>(&self, projection: P) -> Result<Running<P>, RunError> {
        // Names this boot, so that a restart is told from its former self.
        let owner = format!("evaluate/{}", uuid::Uuid::now_v7());
        let (db, log) = (self.db.clone(), self.profile.clone());
        let clock = Arc::clone(self.clock);
        let runner = match db {
            Db::Sqlite(_) => {
                let config = RunnerConfig::in_memory(owner, clock);
                ProjectionRunner::in_memory(projection, db, log, config)
            }
            Db::Postgres(_) => {
                let config = RunnerConfig::stored(owner, clock);
                let states = Arc::new(SqlStates::new::<P>(db.clone()));
                ProjectionRunner::stored(projection, states, db, log, config)
            }
        };
        let runner = runner
            .with_people(self.people.clone())
            .with_snapshots(self.snapshots.clone());
        runner.start(self.stop.clone()).await
    }
}

/// Waits for the end of a projection and says so when it was not asked for.
fn watch<P: Projection>(running: Running<P>, broken: &CancellationToken) -> JoinHandle<()> {
    let broken = broken.clone();
    tokio::spawn(async move {
        if let Err(error) = running.stopped().await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, projection = P::NAME, "a projection cannot go on");
            broken.cancel();
        }
    })
}
