//! Starting a projection: who runs which partitions, and when to refuse.

use std::sync::Arc;
use std::time::Duration;

use rapport_store::Db;
use rapport_store::lease::{self, Lease, LeaseError};
use rapport_types::{Clock, PARTITIONS};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::progress::{Progress, Standing};
use super::read::States;
use super::snapshot::Snapshots;
use super::sql::SqlStates;
use super::table::Table;
use super::worker::{Ended, Worker};
use super::{Projection, StateError, StateStore};
use crate::Channel;
use crate::people::People;
use crate::tail::TailError;

/// How often a replica looks for partitions without an owner; it takes one group each time, so
/// that replicas which start together share them.
const ACQUIRE_EVERY: Duration = Duration::from_millis(250);

/// How a projection runs.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// Names this process: unique per boot. At most 256 bytes.
    pub owner: String,
    /// The clock of leases.
    pub clock: Arc<dyn Clock>,
    /// How long a dead owner's partitions stay without one.
    pub lease_ttl: Duration,
    /// How many leases share the 64 partitions, 1 to 64. In memory it is always 1.
    pub groups: u32,
    /// Events after which state and offset are written without waiting longer.
    pub flush_events_max: usize,
    /// How long a changed state waits to be written. When states are read from the store, this is
    /// how stale they are; in memory, how much is applied again after a crash.
    pub flush_after: Duration,
    /// States kept in memory between flushes when they live in a store.
    pub keys_max: usize,
    /// How long an older version's states stay after the new one was swapped in, counted from the
    /// start of this process or the swap, and anew while any process runs that version: so long a
    /// release can be rolled back without replaying the log.
    pub old_kept: Duration,
}

impl RunnerConfig {
    /// [`RunnerConfig::old_kept`] unless told otherwise.
    pub const OLD_KEPT: Duration = Duration::from_secs(3_600);

    /// Returns what suits states in memory: one lease, a state written once for three seconds of events.
    #[must_use]
    pub fn in_memory(owner: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self {
            owner: owner.into(),
            clock,
            lease_ttl: Duration::from_secs(3),
            groups: 1,
            flush_events_max: 500_000,
            flush_after: Duration::from_secs(3),
            keys_max: 0,
            old_kept: Self::OLD_KEPT,
        }
    }

    /// Returns what suits states in Postgres or Redis, read by all replicas: written within 25 ms.
    #[must_use]
    pub fn stored(owner: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self {
            owner: owner.into(),
            clock,
            lease_ttl: Duration::from_secs(10),
            groups: 16,
            flush_events_max: 2_000,
            flush_after: Duration::from_millis(25),
            keys_max: 100_000,
            old_kept: Self::OLD_KEPT,
        }
    }

    fn ttl_ms(&self) -> i64 {
        i64::try_from(self.lease_ttl.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Why a projection does not run (any more).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Another process has these states in memory: two would both serve, and only one could write.
    #[error("projection {projection} already runs in {owner}")]
    AlreadyRunning {
        /// The projection.
        projection: &'static str,
        /// The other process.
        owner: String,
    },
    /// Another process took over while this one was paused: its memory must not serve any longer.
    #[error("projection {0} was taken over by another process")]
    TakenOver(&'static str),
    /// The log no longer has what comes after the stored state, and no verified snapshot of it
    /// reaches further.
    #[error(
        "the log no longer has what projection {projection} must read next and no verified snapshot \
         reaches further: give it one, or a log that begins earlier"
    )]
    Log {
        /// The projection.
        projection: &'static str,
        /// Why.
        #[source]
        source: TailError,
    },
    /// A stored state cannot be read, or the store failed at the start.
    #[error("the states of projection {projection} cannot be used")]
    States {
        /// The projection.
        projection: &'static str,
        /// Why.
        #[source]
        source: StateError,
    },
}

/// What every worker of one projection shares.
#[derive(Debug)]
pub(super) struct Context<P: Projection> {
    pub(super) projection: P,
    pub(super) table: Arc<Table<P::State>>,
    pub(super) store: Arc<dyn StateStore>,
    pub(super) db: Db,
    pub(super) log: Channel,
    pub(super) config: RunnerConfig,
    pub(super) people: Option<People>,
    pub(super) progress: Progress,
    pub(super) snapshots: Option<Snapshots>,
    /// One partition at a time is copied for a snapshot: this is what bounds their memory.
    pub(super) copying: Arc<Semaphore>,
    /// Whether all states stay in memory and are read there.
    pub(super) resident: bool,
}

/// A projection about to run.
#[derive(Debug)]
pub struct ProjectionRunner<P: Projection>(Context<P>);

/// A projection that runs until the token given to [`ProjectionRunner::start`] is cancelled.
#[derive(Debug)]
pub struct Running<P: Projection> {
    states: States<P>,
    progress: Progress,
    task: JoinHandle<Result<(), RunError>>,
}

/// A projection that was started, with what its workers share.
#[derive(Debug)]
pub(super) struct Started<P: Projection> {
    pub(super) context: Arc<Context<P>>,
    pub(super) running: Running<P>,
}

impl<P: Projection> Running<P> {
    pub(super) fn new(
        states: States<P>,
        progress: Progress,
        task: JoinHandle<Result<(), RunError>>,
    ) -> Self {
        Self {
            states,
            progress,
            task,
        }
    }

    pub(super) fn into_task(self) -> JoinHandle<Result<(), RunError>> {
        self.task
    }

    /// Returns the states, for reading.
    #[must_use]
    pub fn states(&self) -> States<P> {
        self.states.clone()
    }

    /// Returns how far the states are.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Waits until it ended: after its token was cancelled, everything is written by then.
    ///
    /// # Errors
    /// [`RunError`] when it could not go on: the process should end.
    pub async fn stopped(self) -> Result<(), RunError> {
        ended(self.task.await)
    }

    /// Stops at once, as a crash would: what was not written is applied again at the next start.
    pub fn abort(&self) {
        self.task.abort();
    }
}

/// Returns how a task ended; a panic goes on in whoever waited.
pub(super) fn ended(task: Result<Result<(), RunError>, JoinError>) -> Result<(), RunError> {
    match task {
        Ok(ended) => ended,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_cancelled) => Ok(()),
        },
    }
}

impl<P: Projection> ProjectionRunner<P> {
    /// States in this process's memory, saved to `db` with their offsets. For one replica only.
    #[must_use]
    pub fn in_memory(projection: P, db: Db, log: Channel, mut config: RunnerConfig) -> Self {
        config.groups = 1;
        let store = Arc::new(SqlStates::new::<P>(db.clone()));
        Self::new(projection, store, db, log, config, true)
    }

    /// States in a store that every replica reads; `db` holds the leases.
    #[must_use]
    pub fn stored(
        projection: P,
        store: Arc<dyn StateStore>,
        db: Db,
        log: Channel,
        config: RunnerConfig,
    ) -> Self {
        Self::new(projection, store, db, log, config, false)
    }

    fn new(
        projection: P,
        store: Arc<dyn StateStore>,
        db: Db,
        log: Channel,
        mut config: RunnerConfig,
        resident: bool,
    ) -> Self {
        config.groups = config.groups.clamp(1, PARTITIONS);
        let table = Arc::new(Table::new());
        let progress = Progress::new();
        let people = None;
        Self(Context {
            projection,
            table,
            store,
            db,
            log,
            config,
            people,
            progress,
            snapshots: None,
            copying: Arc::new(Semaphore::new(1)),
            resident,
        })
    }

    /// Writes snapshots on a schedule and at the end, and starts from the newest where the store has
    /// nothing or the log no longer has what comes next.
    #[must_use]
    pub fn with_snapshots(mut self, snapshots: Snapshots) -> Self {
        self.0.snapshots = Some(snapshots);
        self
    }

    /// Drops states of erased subjects as soon as the view knows, and when states are loaded.
    #[must_use]
    pub fn with_people(mut self, people: People) -> Self {
        self.0.people = Some(people);
        self
    }

    /// Starts the projection. In memory it first takes the lease and loads the states, so that
    /// whoever reads afterwards reads at least what was saved.
    ///
    /// # Errors
    /// [`RunError::AlreadyRunning`] when another process has it in memory, [`RunError::States`]
    /// when what was saved cannot be read.
    pub async fn start(self, stop: CancellationToken) -> Result<Running<P>, RunError> {
        Ok(self.launch(stop).await?.running)
    }

    pub(super) async fn launch(self, stop: CancellationToken) -> Result<Started<P>, RunError> {
        let context = Arc::new(self.0);
        let states = match context.resident {
            true => States::memory(context.table.clone()),
            false => States::stored(context.store.clone()),
        };
        let progress = context.progress.clone();
        let reader = context.clone();
        // The log need not be there for a projection to start.
        tokio::spawn(async move { reader.register(None).await });
        let task = if context.resident {
            let lease = context.acquire_alone().await?;
            let all = (0..PARTITIONS).collect();
            let worker = Worker::load(context.clone(), lease, all).await;
            let worker = worker.map_err(|source| context.states_error(source))?;
            tokio::spawn(run_alone(context.clone(), worker, stop))
        } else {
            tokio::spawn(run_groups(context.clone(), stop))
        };
        let running = Running::new(states, progress, task);
        Ok(Started { context, running })
    }
}

impl<P: Projection> Context<P> {
    pub(super) fn states_error(&self, source: StateError) -> RunError {
        RunError::States {
            projection: P::NAME,
            source,
        }
    }

    pub(super) fn log_error(&self, source: TailError) -> RunError {
        RunError::Log {
            projection: P::NAME,
            source,
        }
    }

    pub(super) async fn acquire(&self, group: u32) -> Result<Option<Lease>, LeaseError> {
        let (config, now) = (&self.config, self.config.clock.now());
        lease::acquire(
            &self.db,
            &self.lease_name(group),
            &config.owner,
            now,
            config.ttl_ms(),
        )
        .await
    }

    pub(super) async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError> {
        let (config, now) = (&self.config, self.config.clock.now());
        lease::renew(&self.db, lease, now, config.ttl_ms()).await
    }

    fn lease_name(&self, group: u32) -> String {
        let groups = self.config.groups;
        format!("{}{group}-of-{groups}", self.lease_prefix())
    }

    /// Returns how the names of every lease of this version begin.
    pub(super) fn lease_prefix(&self) -> String {
        format!("projection/{}/v{}/", P::NAME, P::VERSION)
    }

    /// Takes the only lease, or waits until a dead owner's runs out. One that is renewed meanwhile
    /// belongs to a process that lives.
    async fn acquire_alone(&self) -> Result<Lease, RunError> {
        let failed = |error: LeaseError| self.states_error(error.into());
        let name = self.lease_name(0);
        let mut first_seen = None;
        loop {
            if let Some(lease) = self.acquire(0).await.map_err(failed)? {
                return Ok(lease);
            }
            let holders = lease::list(&self.db, &name).await.map_err(failed)?;
            if let Some(holder) = holders.into_iter().find(|holder| holder.name == name) {
                let seen = *first_seen.get_or_insert(holder.expires);
                if holder.expires != seen {
                    let (projection, owner) = (P::NAME, holder.owner);
                    return Err(RunError::AlreadyRunning { projection, owner });
                }
            }
            sleep(ACQUIRE_EVERY).await;
        }
    }
}

/// Runs all partitions in memory. Losing the lease ends it: another process serves now.
async fn run_alone<P: Projection>(
    context: Arc<Context<P>>,
    mut worker: Worker<P>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    loop {
        let lease = match worker.run(&stop).await? {
            Ended::Stopped => return Ok(()),
            Ended::Fenced => return Err(RunError::TakenOver(P::NAME)),
            Ended::Reload(lease) => lease,
            Ended::Expired(lease) => {
                context.recover(&lease, (0..PARTITIONS).collect()).await?;
                lease
            }
        };
        let all = (0..PARTITIONS).collect();
        worker = match Worker::load(context.clone(), lease, all).await {
            Ok(worker) => worker,
            Err(StateError::Fenced) => return Err(RunError::TakenOver(P::NAME)),
            Err(source) => return Err(context.states_error(source)),
        };
    }
}

/// Runs the groups of partitions that this replica can get, and gives up those it loses.
async fn run_groups<P: Projection>(
    context: Arc<Context<P>>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let groups = context.config.groups;
    let mut held = vec![false; groups as usize];
    let mut workers: JoinSet<(u32, Result<(), RunError>)> = JoinSet::new();
    let mut ticks = interval(ACQUIRE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = workers.join_next() => {
                let (group, ended) = joined(ended);
                held[group as usize] = false;
                ended?;
            }
            _ = ticks.tick() => {
                if let Some((group, lease)) = acquire_one(&context, &held).await {
                    held[group as usize] = true;
                    let (context, stop) = (context.clone(), stop.clone());
                    workers.spawn(async move { (group, run_group(context, group, lease, stop).await) });
                }
            }
        }
    }
    while let Some(ended) = workers.join_next().await {
        joined(ended).1?;
    }
    Ok(())
}

fn joined<T>(ended: Result<T, tokio::task::JoinError>) -> T {
    match ended {
        Ok(value) => value,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Takes the first group that is free.
async fn acquire_one<P: Projection>(context: &Context<P>, held: &[bool]) -> Option<(u32, Lease)> {
    for group in (0..context.config.groups).filter(|group| !held[*group as usize]) {
        match context.acquire(group).await {
            Ok(Some(lease)) => return Some((group, lease)),
            Ok(None) => {
                for partition in partitions_of(group, context.config.groups) {
                    context
                        .progress
                        .set_standing(partition, Standing::Elsewhere);
                }
                context.progress.announce();
            }
            Err(why) => {
                tracing::warn!(projection = P::NAME, %why, "a lease could not be taken");
                return None;
            }
        }
    }
    None
}

async fn run_group<P: Projection>(
    context: Arc<Context<P>>,
    group: u32,
    mut lease: Lease,
    stop: CancellationToken,
) -> Result<(), RunError> {
    loop {
        let partitions = partitions_of(group, context.config.groups).collect();
        let mut worker = match Worker::load(context.clone(), lease, partitions).await {
            Ok(worker) => worker,
            Err(source @ StateError::Decode { .. }) => return Err(context.states_error(source)),
            // Another replica has it, or the store is away: back to looking for a free group.
            Err(_) => return Ok(()),
        };
        lease = match worker.run(&stop).await? {
            Ended::Stopped | Ended::Fenced => return Ok(()),
            Ended::Reload(lease) => lease,
            Ended::Expired(lease) => {
                let partitions = partitions_of(group, context.config.groups).collect();
                context.recover(&lease, partitions).await?;
                lease
            }
        };
    }
}

fn partitions_of(group: u32, groups: u32) -> impl Iterator<Item = u32> {
    (0..PARTITIONS).filter(move |partition| partition % groups == group)
}
