//! Training: one at a time across replicas, from the purchases of those who permit it, into a row that
//! every replica loads.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use profile_domain::clv::{ClvModel, Learned, Learners};
use rapport_api::profile::v1::TrainModelResponse;
use rapport_rpc::write::{self, Asked, Begun};
use rapport_store::StoreError;
use rapport_store::lease::{self, Lease};
use rapport_telemetry::names::{PROFILE_MODEL_AGE, PROFILE_TRAINING_DURATION};
use rapport_types::{Currency, PARTITIONS, UnixMillis};
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Served;
use crate::error::Error;
use crate::profiles::ProfileReader;
use crate::store::model::{self, ModelRow};

/// Persons learned from; of more, a sample by hash. Seven parameters are told by far fewer.
const PERSONS_MAX: usize = 100_000;
/// Longest training.
const TRAINING_MAX: Duration = Duration::from_secs(300);
/// The name of the lease.
const LEASE: &str = "training";
/// How long a dead trainer blocks the others.
const LEASE_TTL_MS: i64 = 60_000;
/// Events before the first model is trained without being asked: fewer say nothing.
const FIRST_EVENTS: u64 = 1_000;
/// How often it is looked for a model of another replica, and whether one is due.
const CHECK: Duration = Duration::from_secs(1);
/// The pause after a training that did not come about.
const PAUSE: Duration = Duration::from_secs(60);

/// The trainer. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Trainer {
    reader: ProfileReader,
    /// Names this process in the lease.
    owner: String,
    /// Versions that cannot be read: each is complained of once. Held while models are loaded, so that an
    /// older one never replaces a newer.
    refused: Arc<Mutex<BTreeSet<i64>>>,
}

impl Trainer {
    /// Returns a trainer of the model that a reader serves.
    #[must_use]
    pub fn new(reader: ProfileReader) -> Self {
        Self {
            reader,
            owner: format!("profile-{}", uuid::Uuid::new_v4()),
            refused: Arc::default(),
        }
    }

    /// Trains, saves and serves a model; a repeated request gets the answer of the first.
    ///
    /// # Errors
    /// [`Error::TrainingRunning`], [`Error::TrainingEmpty`], [`Error::ConsentViewStale`],
    /// [`Error::States`], [`Error::Write`], [`Error::Store`]: the served model stays.
    pub async fn train(&self, asked: Option<&Asked>) -> Result<TrainModelResponse, Error> {
        let (db, now) = (&self.reader.db, || self.reader.clock.now());
        if let Some(asked) = asked
            && let Some(done) = write::finished(db, asked, now()).await?
        {
            return Ok(done);
        }
        // The owner's name alone would let this process take its own lease twice.
        let owner = format!("{}/{}", self.owner, uuid::Uuid::new_v4());
        let trained = lease::alone(db, LEASE, &owner, LEASE_TTL_MS, now, |lease| async move {
            let trained = timeout(TRAINING_MAX, self.train_alone(asked, &lease)).await;
            trained.unwrap_or(Err(Error::Internal("a training took too long")))
        });
        trained.await?.ok_or(Error::TrainingRunning)?
    }

    async fn train_alone(
        &self,
        asked: Option<&Asked>,
        lease: &Lease,
    ) -> Result<TrainModelResponse, Error> {
        let started = Instant::now();
        let graph_version = self.reader.people.graph_version();
        let learners = self.learners().await?;
        let learned = tokio::task::spawn_blocking(move || learners.fit()).await;
        let learned = learned.map_err(|_panicked| Error::Internal("a training failed"))??;
        let newest = model::newest(&self.reader.db).await?;
        let row = ModelRow {
            version: newest.first().map_or(0, |row| row.version) + 1,
            trained_at: self.reader.clock.now(),
            as_of: learned.as_of,
            persons: learned.model.purchases.customers as i64,
            graph_version: graph_version as i64,
            currency: learned
                .currency
                .map_or_else(String::new, |it| it.to_string()),
            model: learned.model.to_bytes(),
        };
        let response = self.save(asked, lease, row, learned).await?;
        PROFILE_TRAINING_DURATION.observe(started.elapsed().as_secs_f64(), &[]);
        Ok(response)
    }

    /// Reads the purchases of those who granted `personalise`.
    async fn learners(&self) -> Result<Learners, Error> {
        self.reader.fresh()?;
        let now = self.reader.clock.now();
        let mut learners = Learners::new(PERSONS_MAX);
        for partition in 0..PARTITIONS {
            let learn = |anchor, state: &profile_domain::ProfileState| {
                if let Some(record) = state.purchase_record(now) {
                    learners.add(anchor, record);
                }
            };
            self.reader.persons(partition, learn).await?;
            // A partition of states in memory is read without a pause.
            tokio::task::yield_now().await;
        }
        // Had the view gone stale meanwhile, whoever came later would be missing.
        self.reader.fresh()?;
        Ok(learners)
    }

    /// Writes the row with the idempotency record, and serves it.
    async fn save(
        &self,
        asked: Option<&Asked>,
        lease: &Lease,
        row: ModelRow,
        learned: Learned,
    ) -> Result<TrainModelResponse, Error> {
        let db = &self.reader.db;
        let response = TrainModelResponse {
            model: Some(
                Served {
                    row: row.clone(),
                    model: learned.model,
                    currency: learned.currency,
                }
                .to_wire(),
            ),
        };
        let (mut tx, slot) = match asked {
            Some(asked) => match write::begin(db, asked, self.reader.clock.now()).await? {
                Begun::New(tx, slot) => (tx, Some(slot)),
                Begun::Done(response) => return Ok(response),
            },
            None => (db.begin().await?, None),
        };
        lease::fence(&mut tx, lease).await?;
        model::insert(&mut tx, &row).await?;
        match slot {
            Some(slot) => write::finish(tx, slot, &response).await?,
            None => tx.commit().await?,
        }
        tracing::info!(
            model = row.name(),
            persons = row.persons,
            currency = row.currency,
            as_of_ms = row.as_of.0,
            "trained"
        );
        self.load().await?;
        Ok(response)
    }

    /// Serves the newest model that can be read, if it is newer than the served one. Returns when the
    /// newest of all was trained.
    ///
    /// # Errors
    /// [`StoreError`]: the served model stays.
    pub async fn load(&self) -> Result<Option<UnixMillis>, StoreError> {
        let mut refused = self.refused.lock().await;
        let rows = model::newest(&self.reader.db).await?;
        refused.retain(|version| rows.iter().any(|row| row.version == *version));
        let newest = rows.first().map(|row| row.trained_at);
        let served = self.reader.models.served();
        let version = served.map_or(0, |served| served.row.version);
        for row in rows.into_iter().take_while(|row| row.version > version) {
            if refused.contains(&row.version) {
                continue;
            }
            match ClvModel::from_bytes(&row.model) {
                Ok(model) => {
                    tracing::info!(model = row.name(), "model loaded");
                    let currency = Currency::parse(&row.currency);
                    self.reader.models.0.store(Some(Arc::new(Served {
                        row,
                        model,
                        currency,
                    })));
                    break;
                }
                Err(why) => {
                    tracing::error!(model = row.name(), %why, "a model is not served");
                    refused.insert(row.version);
                }
            }
        }
        Ok(newest)
    }
}

/// Loads what other replicas trained, and trains when the newest model is as old as `every` and events
/// came since this process last trained; the first time after a thousand events. For ever.
pub async fn train_for_ever(trainer: Trainer, every: Duration) {
    let every_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
    let mut ticks = interval(CHECK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut tried_at_event, mut not_before) = (0, Instant::now());
    loop {
        ticks.tick().await;
        let newest = match trainer.load().await {
            Ok(newest) => newest,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "models cannot be read");
                continue;
            }
        };
        let (reader, now) = (&trainer.reader, trainer.reader.clock.now());
        let served = reader.models.served();
        if let Some(served) = &served {
            let age_ms = now.since(served.row.trained_at);
            PROFILE_MODEL_AGE.set(age_ms as f64 / 1_000.0, &[]);
        }
        let events = (0..PARTITIONS).map(|at| reader.progress.sequence(at)).sum();
        let due = match (served, newest) {
            (Some(_), Some(at)) => now.since(at) >= every_ms,
            (None, _) | (_, None) => events >= FIRST_EVENTS,
        };
        if !due || events <= tried_at_event || Instant::now() < not_before {
            continue;
        }
        let trained = trainer.train(None).await;
        if matches!(trained, Ok(_) | Err(Error::TrainingEmpty(_))) {
            tried_at_event = events;
        }
        if let Err(error) = trained {
            not_before = Instant::now() + PAUSE;
            // Another replica may be at it, or too few bought again yet: that is not worth a warning.
            let quiet = matches!(
                error,
                Error::TrainingRunning | Error::TrainingEmpty(_) | Error::ConsentViewStale
            );
            let error = &error as &dyn std::error::Error;
            if quiet {
                tracing::debug!(error, "no model was trained");
            } else {
                tracing::warn!(error, "no model was trained");
            }
        }
    }
}
