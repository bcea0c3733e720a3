//! Training: one at a time across replicas, from histories folded by person, into a file and a row.

mod automatic;
mod fit;
mod histories;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rapport_api::recommend::v1::{Model, TrainModelResponse};
use rapport_flow::{Channel, People, States};
use rapport_rpc::write::{self, Asked, Begun};
use rapport_store::Db;
use rapport_store::lease::{self, Lease};
use rapport_store::objects::ObjectStore;
use rapport_telemetry::names::RECOMMEND_TRAINING_DURATION;
use rapport_types::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use automatic::train_for_ever;

use crate::error::Error;
use crate::projection::Timelines;
use crate::refresh::{MODELS_KEPT, Refresh};
use crate::store::model::{self, ModelRow};
use fit::Fitted;

/// The name of the lease.
const LEASE: &str = "training";
/// How long a dead trainer blocks the others.
const LEASE_TTL_MS: i64 = 60_000;

const STOPPED: Error = Error::Internal("a training was stopped");

/// Tells a computation, when dropped, that nobody waits for it any more: dropping the future of a blocking
/// task does not end the task, and without its lease another training would begin beside it.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The trainer. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Trainer {
    /// Rows, leases and idempotency records.
    pub db: Db,
    /// The model directory, where the timelines' snapshots are as well.
    pub objects: ObjectStore,
    /// What people did.
    pub timelines: States<Timelines>,
    /// The log, for timelines in a store that cannot list them.
    pub profile: Channel,
    /// Who is whom and who permits it.
    pub people: People,
    /// The time of models and leases.
    pub clock: Arc<dyn Clock>,
    /// Names this process in the lease.
    pub owner: String,
    /// Serves what was trained.
    pub refresh: Refresh,
    /// Ends a training: it gives up and lets its lease go.
    pub stop: CancellationToken,
}

impl Trainer {
    /// Trains, saves and serves a model; a repeated request gets the answer of the first.
    ///
    /// # Errors
    /// [`Error::TrainingRunning`], [`Error::TrainingEmpty`], [`Error::ConsentViewStale`],
    /// [`Error::Write`], [`Error::Store`], [`Error::Away`], [`Error::Internal`] when stopped: the served
    /// model stays.
    pub async fn train(&self, asked: Option<&Asked>) -> Result<TrainModelResponse, Error> {
        if let Some(asked) = asked
            && let Some(done) = write::finished(&self.db, asked, self.clock.now()).await?
        {
            return Ok(done);
        }
        // The owner's name alone would let this process take its own lease twice.
        let owner = format!("{}/{}", self.owner, uuid::Uuid::new_v4());
        let now = || self.clock.now();
        let trained = lease::alone(
            &self.db,
            LEASE,
            &owner,
            LEASE_TTL_MS,
            now,
            |lease| async move {
                tokio::select! {
                    trained = self.train_alone(asked, &lease) => trained,
                    () = self.stop.cancelled() => Err(STOPPED),
                }
            },
        );
        trained.await?.ok_or(Error::TrainingRunning)?
    }

    async fn train_alone(
        &self,
        asked: Option<&Asked>,
        lease: &Lease,
    ) -> Result<TrainModelResponse, Error> {
        let started = Instant::now();
        let histories = self.histories().await?;
        let graph_version = histories.graph_version;
        let given_up = Arc::new(AtomicBool::new(false));
        let _guard = GiveUp(Arc::clone(&given_up));
        let fitted = tokio::task::spawn_blocking(move || fit::fit(histories, &given_up)).await;
        let fitted = fitted.map_err(|_panicked| Error::Internal("a training failed"))?;
        let fitted = fitted.ok_or(STOPPED)?;
        if fitted.persons == 0 {
            return Err(Error::TrainingEmpty);
        }
        let newest = model::newest(&self.db, 1).await?;
        let row = ModelRow {
            version: newest.first().map_or(0, |row| row.version) + 1,
            trained_at: self.clock.now(),
            persons: fitted.persons as i64,
            items: fitted.items as i64,
            graph_version: graph_version as i64,
            size_bytes: fitted.file.len() as i64,
            algorithm: fitted.algorithm.name().to_owned(),
            choice: fitted.choice,
        };
        let response = self.save(asked, row, fitted, lease).await?;
        RECOMMEND_TRAINING_DURATION.observe(started.elapsed().as_secs_f64(), &[]);
        Ok(response)
    }

    /// Writes the file, then the row with the idempotency record; a file without row is overwritten.
    async fn save(
        &self,
        asked: Option<&Asked>,
        row: ModelRow,
        fitted: Fitted,
        lease: &Lease,
    ) -> Result<TrainModelResponse, Error> {
        self.objects.put(&row.object(), fitted.file).await?;
        let response = TrainModelResponse {
            model: Some(to_wire(&row)),
        };
        let forget = row.version - i64::from(MODELS_KEPT);
        let (mut tx, slot) = match asked {
            Some(asked) => match write::begin(&self.db, asked, self.clock.now()).await? {
                Begun::New(tx, slot) => (tx, Some(slot)),
                Begun::Done(response) => return Ok(response),
            },
            None => (self.db.begin().await?, None),
        };
        lease::fence(&mut tx, lease).await?;
        model::insert(&mut tx, &row, forget).await?;
        match slot {
            Some(slot) => write::finish(tx, slot, &response).await?,
            None => tx.commit().await?,
        }
        tracing::info!(
            model = row.name(),
            persons = row.persons,
            items = row.items,
            algorithm = row.algorithm,
            ndcg = row.choice.ndcg,
            plain_ndcg = row.choice.plain_ndcg,
            "trained"
        );
        let is_served = |version: i64| version >= row.version;
        if forget > 0 {
            self.forget(&model::object(forget)).await;
        }
        self.refresh
            .until(|served| {
                served
                    .newest_model
                    .is_some_and(|(version, _)| is_served(version))
            })
            .await;
        Ok(response)
    }

    async fn forget(&self, object: &str) {
        if let Err(error) = self.objects.delete(object).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "an old model's file stays");
        }
    }
}

/// Encodes what is known of a model.
#[must_use]
pub fn to_wire(row: &ModelRow) -> Model {
    Model {
        version: row.name(),
        trained_at_ms: row.trained_at.0,
        persons: row.persons as u64,
        items: row.items as u64,
        graph_version: row.graph_version as u64,
        size_bytes: row.size_bytes as u64,
        algorithm: row.algorithm.clone(),
        judged_persons: row.choice.judged_persons as u64,
        ndcg: row.choice.ndcg,
        plain_ndcg: row.choice.plain_ndcg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_computation_learns_that_nobody_waits() {
        let given_up = Arc::new(AtomicBool::new(false));
        let guard = GiveUp(Arc::clone(&given_up));
        assert!(!given_up.load(Ordering::Relaxed));
        drop(guard);
        assert!(given_up.load(Ordering::Relaxed));
    }
}
