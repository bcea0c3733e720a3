//! Starting profile: open what it stands on, then set its parts to work, in an order that matters.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rapport_flow::{
    Channel, People, ProjectionRunner, RunError, RunnerConfig, Running, Snapshots, SqlStates,
};
use rapport_store::objects::{ObjectError, ObjectStore};
use rapport_store::{Db, StoreConfig, StoreError};
use rapport_types::Clock;
use sqlx::migrate::Migrator;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::collector::Collector;
use crate::config::Config;
use crate::error::Error;
use crate::grpc::consent;
use crate::grpc::event::EventApi;
use crate::identity::Identity;
use crate::keyring::{Keyring, KeyringError};
use crate::log::{
    Committer, CommitterOptions, Disk, Hub, Keeper, KeeperOptions, Protection, Segments,
};
use crate::profiles::ProfileReader;
use crate::projection::Profiles;
use crate::subjects::Subjects;
use crate::value::{Models, Trainer, train_for_ever};
use crate::{Profile, background, store};

/// Profile's schema on Postgres.
pub static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
/// Profile's schema on SQLite.
pub static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
/// The schema of the projection's own file on SQLite.
pub static PROJECTION_SQLITE: Migrator = sqlx::migrate!("migrations/sqlite-projection");

/// Why profile cannot start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The keyring.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The database.
    #[error("profile's database cannot be used: {0}; check PROFILE_DATABASE_URL")]
    Store(#[from] StoreError),
    /// The directory.
    #[error("profile's directory {0} cannot be used: {1}; check PROFILE_DATA")]
    Data(PathBuf, #[source] std::io::Error),
    /// Another process.
    #[error(
        "profile already runs on the directory {0}: stop the other process or set PROFILE_DATA"
    )]
    Running(PathBuf),
    /// The directory of segments.
    #[error("profile's segments in {0} cannot be used: {1}; check PROFILE_SEGMENTS")]
    Segments(PathBuf, #[source] ObjectError),
    /// The directory of snapshots.
    #[error("profile's snapshots in {0} cannot be used: {1}; check PROFILE_DATA")]
    Snapshots(PathBuf, #[source] ObjectError),
    /// Segments that are recorded and not there.
    #[error(
        "part of the event log lies in sealed segments, such as {0}, which cannot be found: set \
         PROFILE_SEGMENTS to their directory"
    )]
    SegmentsMissing(String),
    /// The log.
    #[error("profile's event log cannot be read: {0}")]
    Log(#[from] Error),
    /// The projection.
    #[error(
        "profile's projection cannot run: {0}; moving its files in PROFILE_DATA away rebuilds it"
    )]
    Projection(#[from] RunError),
}

impl StartError {
    /// Returns whether the operator's settings are at fault, rather than something that may pass.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Keyring(_)
            | Self::Data(..)
            | Self::Store(StoreError::BadUrl(_))
            | Self::Segments(..)
            | Self::Snapshots(..)
            | Self::SegmentsMissing(_) => true,
            Self::Store(_) | Self::Running(_) | Self::Log(_) | Self::Projection(_) => false,
        }
    }
}

/// What runs beside the requests. Dropping it stops all of it.
#[derive(Debug)]
pub(crate) struct Background {
    stop: CancellationToken,
    projection: Mutex<Option<AbortOnDropHandle<()>>>,
    /// The projection's own file on SQLite.
    projected: Option<Db>,
    /// Held as long as the process uses the directory; the kernel lets go of it however that ends.
    _lock: Option<File>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Background {
    /// Stops the projection once it has written everything.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        if let Some(projection) = self.projection.lock().await.take() {
            // It reports its own failure.
            let _ = projection.await;
        }
        if let Some(db) = &self.projected {
            db.close().await;
        }
    }
}

/// Where the projection's states are kept.
struct Projected {
    db: Db,
    /// Whether `db` is a file of its own, with the states in memory.
    resident: bool,
    lock: Option<File>,
}

impl Profile {
    /// Opens the database and the keyring and starts what runs in the background.
    ///
    /// `own` leads to the very server that this will be mounted on: the projection tails the log as
    /// every other service does. The server may start later.
    ///
    /// # Errors
    /// [`StartError`], with what to do.
    pub async fn start(
        config: &Config,
        clock: Arc<dyn Clock>,
        own: Channel,
    ) -> Result<Self, StartError> {
        let keyring = Arc::new(Keyring::open(&config.keyring)?);
        let db = Db::open(&config.database.store()).await?;
        db.migrate(&POSTGRES, &SQLITE).await?;
        let projected = open_projected(config, &db).await?;
        let segments = open_segments(config, &db).await?;
        let disk = Disk::new(db.clone(), segments.clone());
        let hub = Arc::new(Hub::default());
        for end in store::log::ends(&db).await? {
            hub.observe(end.partition, end.last_sequence);
        }
        let people = People::new();
        let identity = Identity {
            db: db.clone(),
            hub: Arc::clone(&hub),
            people: people.clone(),
            subjects: Subjects::new(
                db.clone(),
                Arc::clone(&keyring),
                Arc::clone(&clock),
                people.clone(),
            ),
            keyring,
            clock,
        };
        people
            .load(consent::load(&identity).await?)
            .map_err(|_incomplete| Error::Internal("the control snapshot is incomplete"))?;
        let collector = collector(config, &identity);
        let mut tasks = background(&identity, &collector, &disk);
        tasks.extend(keeper(config, &identity, segments).map(|keeper| {
            let every = config.segments.seal_every;
            AbortOnDropHandle::new(tokio::spawn(background::keep(keeper, every)))
        }));
        people.wait_ready().await;
        let snapshots = ObjectStore::open(&config.data)
            .map_err(|error| StartError::Snapshots(config.data.clone(), error))?;
        let snapshots = Snapshots::new(snapshots, "profile").every(config.snapshot_every);
        let (reader, mut background) = project(&identity, projected, own, snapshots, tasks).await?;
        let trainer = Trainer::new(reader.clone());
        // A model that was trained before serves from the first answer on.
        trainer.load().await?;
        let training = train_for_ever(trainer.clone(), config.train_every);
        let training = AbortOnDropHandle::new(tokio::spawn(training));
        background.tasks.push(training);
        Ok(Self {
            events: EventApi {
                collector,
                hub,
                disk,
            },
            identity,
            reader,
            trainer,
            background,
        })
    }
}

fn collector(config: &Config, identity: &Identity) -> Collector {
    let options = CommitterOptions {
        writers: config.log_writers.get(),
        protection: Protection {
            ack_after_commit: config.protections.hold("ack-after-commit"),
            dedup: config.protections.hold("dedup"),
        },
    };
    Collector {
        subjects: identity.subjects.clone(),
        people: identity.people.clone(),
        committer: Committer::start(&identity.db, &identity.hub, &identity.clock, options),
        keyring: Arc::clone(&identity.keyring),
        clock: Arc::clone(&identity.clock),
        backfills: Arc::new(Semaphore::new(config.backfill_calls_max.get().into())),
        sealing: config.protections.hold("sealing"),
    }
}

/// Opens where sealed segments lie; `None` when nothing is sealed and nothing is to be.
async fn open_segments(config: &Config, db: &Db) -> Result<Option<Segments>, StartError> {
    let newest = store::segment::received_before(db, i64::MAX).await?;
    let first = newest.into_iter().next();
    let beside = config.database.store().sqlite_file().map(|file| {
        let mut folder = file.into_os_string();
        folder.push("-segments");
        PathBuf::from(folder)
    });
    let Some(folder) = config.segments.folder.clone().or(beside) else {
        return match first {
            Some(row) => Err(StartError::SegmentsMissing(row.name)),
            None => Ok(None),
        };
    };
    let objects = ObjectStore::open(&folder);
    let objects = objects.map_err(|error| StartError::Segments(folder, error))?;
    let new = uuid::Uuid::new_v4().simple().to_string();
    let segments = Segments::new(objects, &store::segment::identity(db, &new).await?);
    if let Some(row) = first {
        // One is enough to tell another directory from a file that is damaged, which reading it finds.
        let found = segments.block(&row, row.first_sequence).await;
        if matches!(found, Ok(None)) {
            return Err(StartError::SegmentsMissing(row.name));
        }
    }
    Ok(Some(segments))
}

fn keeper(config: &Config, identity: &Identity, segments: Option<Segments>) -> Option<Keeper> {
    let given = &config.segments;
    if given.seal_every.is_zero() {
        return None;
    }
    let options = KeeperOptions {
        segment_bytes: given.segment_bytes,
        segment_age: given.segment_age,
        erase_every: given.erase_every,
        retention: given.log_retention,
        record_first: config.protections.hold("record-first"),
    };
    let (db, clock) = (identity.db.clone(), Arc::clone(&identity.clock));
    let erasures = Arc::new(background::Erased(identity.db.clone()));
    Some(Keeper::new(db, segments?, erasures, clock, options))
}

fn background(
    identity: &Identity,
    collector: &Collector,
    disk: &Disk,
) -> Vec<AbortOnDropHandle<()>> {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
        AbortOnDropHandle::new(tokio::spawn(task))
    }
    let (db, hub) = (|| identity.db.clone(), || Arc::clone(&identity.hub));
    let (people, subjects) = (identity.people.clone(), identity.subjects.clone());
    vec![
        spawn(background::ring(hub(), db())),
        spawn(background::observe(hub(), db())),
        spawn(background::follow_people(
            people,
            hub(),
            disk.clone(),
            subjects,
        )),
        spawn(background::relay(collector.clone(), hub(), disk.clone())),
        spawn(background::sweep(db(), Arc::clone(&identity.clock))),
    ]
}

/// Opens where the projection lives: on Postgres beside the log, read by all replicas; on SQLite in a
/// file of its own, whose writes never wait for the log's and never hold them up.
async fn open_projected(config: &Config, db: &Db) -> Result<Projected, StartError> {
    match db {
        Db::Postgres(_) => Ok(Projected {
            db: db.clone(),
            resident: false,
            lock: None,
        }),
        Db::Sqlite(_) => {
            let lock = lock(&config.data)?;
            let file = config.data.join("projection.db");
            let own = Db::open(&StoreConfig::new(format!("sqlite://{}", file.display()))).await?;
            own.migrate(&POSTGRES, &PROJECTION_SQLITE).await?;
            Ok(Projected {
                db: own,
                resident: true,
                lock: Some(lock),
            })
        }
    }
}

/// Takes the directory for this process alone: a second one would project into the same file.
fn lock(data: &Path) -> Result<File, StartError> {
    let failed = |error| StartError::Data(data.to_path_buf(), error);
    std::fs::create_dir_all(data).map_err(failed)?;
    let lock = File::create(data.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StartError::Running(data.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

async fn project(
    identity: &Identity,
    projected: Projected,
    own: Channel,
    snapshots: Snapshots,
    tasks: Vec<AbortOnDropHandle<()>>,
) -> Result<(ProfileReader, Background), StartError> {
    let Projected { db, resident, lock } = projected;
    let clock = Arc::clone(&identity.clock);
    let runner = if resident {
        // The lock says that this process is the only one: it need not wait for a dead one's lease.
        let config = RunnerConfig::in_memory("only", clock);
        ProjectionRunner::in_memory(Profiles, db.clone(), own, config)
    } else {
        let config = RunnerConfig::stored(uuid::Uuid::now_v7().to_string(), clock);
        let states = Arc::new(SqlStates::new::<Profiles>(db.clone()));
        ProjectionRunner::stored(Profiles, states, db.clone(), own, config)
    };
    let stop = CancellationToken::new();
    let people = identity.people.clone();
    let runner = runner.with_people(people).with_snapshots(snapshots);
    let running = runner.start(stop.clone()).await?;
    let reader = ProfileReader {
        states: running.states(),
        progress: running.progress(),
        people: identity.people.clone(),
        models: Models::default(),
        subjects: identity.subjects.clone(),
        db: identity.db.clone(),
        clock: Arc::clone(&identity.clock),
    };
    let background = Background {
        stop,
        projection: Mutex::new(Some(AbortOnDropHandle::new(tokio::spawn(watch(running))))),
        projected: resident.then_some(db),
        _lock: lock,
        tasks,
    };
    Ok((reader, background))
}

/// Says so when the projection cannot go on: the log still works, profiles stand still.
async fn watch(running: Running<Profiles>) {
    if let Err(error) = running.stopped().await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "profiles stand still"
        );
    }
}
