//! Decisions go to the database in groups: whatever came while the last group was being written is
//! the next one, so a lone request waits for nobody and many share one commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use rapport_store::{Db, StoreError};
use rapport_types::Clock;
use tokio::sync::{mpsc, oneshot};

use crate::error::Error;
use crate::store::decision::{self, NewDecision};
use crate::store::ledger;

/// Most decisions in one transaction.
const GROUP_MAX: usize = 128;
/// Most decisions that wait for a group; beyond it requests wait to wait.
const QUEUE_MAX: usize = 1_024;
/// How often a group is tried when another transaction is in its way.
const TRIES_MAX: usize = 3;

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Committed {
    /// It is on disk.
    Stored,
    /// The request had been answered before: this is that answer.
    Earlier(Vec<u8>),
    /// The request id had been used with another body.
    Reused,
    /// The lease that its money was promised from is not open: it was not stored.
    Fenced,
}

struct Job {
    decision: NewDecision,
    answer: oneshot::Sender<Result<Committed, Error>>,
}

/// Writes decisions. Cloning shares the queue.
#[derive(Debug, Clone)]
pub struct Committer {
    queue: mpsc::Sender<Job>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Job")
            .field("id", &self.decision.id)
            .finish_non_exhaustive()
    }
}

impl Committer {
    /// Starts the task that writes; it ends with the last clone. `is_fenced` is off only in the
    /// negative control of a test.
    #[must_use]
    pub fn start(db: Db, clock: Arc<dyn Clock>, is_fenced: bool) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(db, clock, is_fenced, jobs));
        Self { queue }
    }

    /// Waits for a place among the decisions that wait: whoever gives up here has stored nothing.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub async fn place(&self) -> Result<Place, Error> {
        let place = self.queue.clone().reserve_owned().await;
        place.map(Place).map_err(|_closed| Error::ShuttingDown)
    }

    /// Stores a decision as [`Place::commit`] does, once there is a place.
    ///
    /// # Errors
    /// As [`Place::commit`].
    pub async fn commit(&self, decision: NewDecision) -> Result<Committed, Error> {
        self.place().await?.commit(decision).await
    }
}

/// A place in the queue of a [`Committer`].
#[derive(Debug)]
pub struct Place(mpsc::OwnedPermit<Job>);

impl Place {
    /// Stores a decision and returns once it is on disk, or why it is not. It is stored even if
    /// nobody waits for the answer.
    ///
    /// # Errors
    /// [`Error::Store`]: it may be on disk all the same; the same request finds out.
    pub async fn commit(self, decision: NewDecision) -> Result<Committed, Error> {
        let (answer, answered) = oneshot::channel();
        drop(self.0.send(Job { decision, answer }));
        answered.await.map_err(|_closed| Error::ShuttingDown)?
    }
}

async fn run(db: Db, clock: Arc<dyn Clock>, is_fenced: bool, mut jobs: mpsc::Receiver<Job>) {
    let mut group = Vec::new();
    while jobs.recv_many(&mut group, GROUP_MAX).await > 0 {
        // One order in every group of every replica: two groups cannot wait for each other.
        group.sort_by(|a: &Job, b: &Job| key(&a.decision).cmp(&key(&b.decision)));
        match try_write(&db, &*clock, is_fenced, &group).await {
            // One decision that the database refuses for what it is fails alone.
            Err(error) if group.len() > 1 && !error.is_retryable() => {
                for job in group.drain(..) {
                    let outcome = try_write(&db, &*clock, is_fenced, std::slice::from_ref(&job));
                    let outcome = outcome.await;
                    answer(std::iter::once(job), outcome);
                }
            }
            outcome => answer(group.drain(..), outcome),
        }
    }
}

/// Writes a group, again while another transaction is in its way, [`TRIES_MAX`] times in all.
async fn try_write(
    db: &Db,
    clock: &dyn Clock,
    is_fenced: bool,
    group: &[Job],
) -> Result<Vec<Committed>, StoreError> {
    let mut outcome = write(db, clock, is_fenced, group).await;
    for _again in 1..TRIES_MAX {
        if !matches!(outcome, Err(StoreError::Conflict(_))) {
            break;
        }
        outcome = write(db, clock, is_fenced, group).await;
    }
    outcome
}

/// Tells everybody of a group what became of it. Nobody waits when the service ends.
fn answer(group: impl Iterator<Item = Job>, outcome: Result<Vec<Committed>, StoreError>) {
    match outcome {
        Ok(committed) => {
            for (job, committed) in group.zip(committed) {
                let _ = job.answer.send(Ok(committed));
            }
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "decisions not stored"
            );
            for job in group {
                let _ = job.answer.send(Err(share(&error)));
            }
        }
    }
}

/// A store's error cannot be cloned; each waiter learns what it may do about it.
fn share(cause: &StoreError) -> Error {
    let shared = || sqlx::Error::PoolClosed;
    Error::Store(match cause {
        StoreError::Conflict(_) => StoreError::Conflict(shared()),
        StoreError::Unavailable(_) => StoreError::Unavailable(shared()),
        StoreError::Constraint { .. } | StoreError::Query(_) | StoreError::Migration(_) | _ => {
            StoreError::Query(shared())
        }
    })
}

fn key(decision: &NewDecision) -> (&str, &str) {
    (&decision.caller, &decision.request_id)
}

async fn write(
    db: &Db,
    clock: &dyn Clock,
    is_fenced: bool,
    group: &[Job],
) -> Result<Vec<Committed>, StoreError> {
    let mut tx = db.begin().await?;
    let now = clock.now();
    let shown = group.iter().filter_map(|job| job.decision.shown.as_ref());
    let mut open: BTreeMap<(&str, &str, u64), bool> = shown
        .map(|shown| {
            (
                (&*shown.line_item_id, &*shown.replica, shown.epoch),
                !is_fenced,
            )
        })
        .collect();
    for ((line_item, replica, epoch), is_open) in open.iter_mut().filter(|_| is_fenced) {
        *is_open = ledger::fence(&mut tx, line_item, replica, *epoch, now).await?;
    }
    let mut committed = Vec::with_capacity(group.len());
    for Job { decision, .. } in group {
        let covered = decision.shown.as_ref().is_none_or(|shown| {
            let lease = (&*shown.line_item_id, &*shown.replica, shown.epoch);
            open.get(&lease).is_some_and(|is_open| *is_open)
        });
        committed.push(if !covered {
            Committed::Fenced
        } else if decision::insert(&mut tx, decision).await? {
            Committed::Stored
        } else {
            let earlier = decision::earlier(&mut tx, &decision.caller, &decision.request_id);
            let (body_hash, response) = earlier.await?;
            match body_hash == decision.body_hash {
                true => Committed::Earlier(response),
                false => Committed::Reused,
            }
        });
    }
    tx.commit().await?;
    Ok(committed)
}
