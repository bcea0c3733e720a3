//! The experiments: each change one transaction with its idempotency record, and the running ones in
//! memory, so that an assignment reads no table.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use evaluate_domain::experiment::{Allocation, State};
use prost::Message;
use rapport_rpc::write::{self, Asked, Begun};
use rapport_store::idempotency::{self, Slot};
use rapport_store::{Db, Tx};
use rapport_types::Clock;

use crate::error::Error;
use crate::store::experiment::{self, Experiment, RUNNING};

/// Experiments that run at once: what other services read in a page, and assign on every decision.
pub const RUNNING_MAX: u32 = 500;
/// How often another replica's changes are looked for.
const REFRESH: Duration = Duration::from_secs(1);
/// How often old idempotency records are deleted.
const SWEEP: Duration = Duration::from_secs(600);

/// The experiments. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct Directory {
    db: Db,
    clock: Arc<dyn Clock>,
    running: Arc<ArcSwap<Vec<Experiment>>>,
}

/// Which way an experiment is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// From draft to running.
    Start,
    /// From running to stopped.
    Stop,
}

impl Directory {
    /// Returns the experiments of a database, the running ones read.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn open(db: Db, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let running = Arc::default();
        let directory = Self { db, clock, running };
        directory.refresh().await?;
        Ok(directory)
    }

    /// Returns the running experiments in the order of their keys, as this replica knows them: at most
    /// a second behind another replica.
    #[must_use]
    pub fn running(&self) -> Arc<Vec<Experiment>> {
        self.running.load_full()
    }

    /// Returns the database.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Begins an idempotent write.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Store`].
    pub async fn begin<T: Message + Default>(&self, asked: &Asked) -> Result<Begun<T>, Error> {
        Ok(write::begin(&self.db, asked, self.clock.now()).await?)
    }

    /// Records the response, commits, and returns it once this replica assigns by the change.
    ///
    /// # Errors
    /// [`Error::Store`]: unknown whether it happened; the same request id finds out.
    pub async fn finish<T: Message>(&self, tx: Tx, slot: Slot, response: T) -> Result<T, Error> {
        write::finish(tx, slot, &response).await?;
        self.refresh().await?;
        Ok(response)
    }

    /// Writes an experiment in draft and returns it.
    ///
    /// # Errors
    /// [`Error::StateForbids`] once it ran, [`Error::Store`].
    pub async fn upsert(
        &self,
        tx: &mut Tx,
        key: &str,
        hypothesis: &str,
        allocation: Allocation,
    ) -> Result<Experiment, Error> {
        if !experiment::upsert(tx, key, hypothesis, &allocation).await? {
            let why = format!("experiment {key:?} is no draft any more");
            return Err(Error::StateForbids(why));
        }
        Ok(Experiment {
            key: key.to_owned(),
            hypothesis: hypothesis.to_owned(),
            allocation,
            state: State::Draft,
        })
    }

    /// Starts or stops an experiment and returns it.
    ///
    /// # Errors
    /// [`Error::ExperimentNotFound`], [`Error::StateForbids`], [`Error::TooManyExperiments`],
    /// [`Error::Store`].
    pub async fn change(&self, tx: &mut Tx, key: &str, to: Change) -> Result<Experiment, Error> {
        let found = experiment::find(tx, key).await?;
        let mut found = found.ok_or_else(|| Error::ExperimentNotFound(key.to_owned()))?;
        let before = found.state;
        let now = self.clock.now();
        let after = match to {
            Change::Start => before.start(now),
            Change::Stop => before.stop(now),
        };
        found.state = after.map_err(|why| Error::StateForbids(why.to_string()))?;
        if to == Change::Start && experiment::count(tx, RUNNING).await? >= u64::from(RUNNING_MAX) {
            return Err(Error::TooManyExperiments(RUNNING_MAX));
        }
        if !experiment::set_state(tx, key, before, found.state).await? {
            let why = format!("experiment {key:?} was changed by somebody else");
            return Err(Error::StateForbids(why));
        }
        Ok(found)
    }

    /// Reads the running experiments again.
    ///
    /// # Errors
    /// [`Error::Store`]: the last ones stay.
    pub async fn refresh(&self) -> Result<(), Error> {
        // More may run for an instant when two replicas start the last ones together.
        let running = experiment::list(&self.db, RUNNING, "", RUNNING_MAX).await?;
        self.running.store(Arc::new(running));
        Ok(())
    }

    /// Keeps the running experiments fresh and the idempotency records few, for ever.
    pub async fn keep(self) {
        let mut ticks = tokio::time::interval(REFRESH);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut swept = tokio::time::Instant::now();
        loop {
            ticks.tick().await;
            if let Err(error) = self.refresh().await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "experiments cannot be read");
            }
            if swept.elapsed() >= SWEEP {
                swept = tokio::time::Instant::now();
                let now = self.clock.now();
                let sweep = idempotency::sweep(&self.db, now, idempotency::KEEP_MIN_MS);
                if let Err(error) = sweep.await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "old idempotency records stay");
                }
            }
        }
    }
}
