//! A new version built beside the old one in a running process, and the moment reads move over.
//!
//! Both versions tail the log, each under leases, states and offsets of its own, so replicas of the
//! older release go on reading and writing theirs. Reads here are the old version's, kept fresh, until
//! the new one has everything that the old one had: then they move in one step, the old version stops
//! here, and its states go once no process has held it for a stated time. Nothing about the move is
//! stored: a process that is killed anywhere finds where it was by the offsets of both.

use std::time::Duration;

use rapport_store::lease;
use rapport_types::PARTITIONS;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::read::{Before, Converted};
use super::runner::{Context, Started, ended};
use super::{Projection, ProjectionRunner, RunError, Running, StateError};

/// How often the two versions are compared. Reads may go back by about so much when they move.
const COMPARE_EVERY: Duration = Duration::from_millis(50);

impl<P: Projection> ProjectionRunner<P> {
    /// Starts the projection beside an older version of it, which serves until this one has caught up:
    /// `convert` gives an old state as the new version's readers see it. The older version's code has to
    /// stay for as long as replicas may upgrade from it: one release.
    ///
    /// # Errors
    /// As [`ProjectionRunner::start`], for either version.
    pub async fn start_beside<O: Projection>(
        self,
        old: ProjectionRunner<O>,
        convert: fn(&O::State) -> P::State,
        stop: CancellationToken,
    ) -> Result<Running<P>, RunError> {
        const {
            assert!(
                O::VERSION < P::VERSION,
                "the older version is the smaller number"
            );
        }
        let old_stop = stop.child_token();
        let old = old.launch(old_stop.clone()).await?;
        let new = self.launch(stop.clone()).await?;
        let old_states = old.running.states();
        let before = Before(Box::new(Converted {
            old: old_states,
            convert,
        }));
        new.running.states().read_before(Some(before));
        let (states, progress) = (new.running.states(), new.running.progress());
        let task = tokio::spawn(upgrade(old, new, old_stop, stop));
        Ok(Running::new(states, progress, task))
    }
}

/// Runs both until the new one serves, then the new one alone.
async fn upgrade<O: Projection, P: Projection>(
    old: Started<O>,
    new: Started<P>,
    old_stop: CancellationToken,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let states = new.running.states();
    // Whatever ends this task ends both.
    let mut new_task = AbortOnDropHandle::new(new.running.into_task());
    let mut old_task = AbortOnDropHandle::new(old.running.into_task());
    tokio::select! {
        done = &mut new_task => {
            old_stop.cancel();
            return ended(old_task.await).and(ended(done));
        }
        // Told to stop, or what still serves is broken.
        done = &mut old_task => {
            ended(done)?;
            return ended(new_task.await);
        }
        () = overtaken(&old.context, &new.context) => {}
    }
    states.read_before(None);
    tracing::info!(
        projection = P::NAME,
        version = P::VERSION,
        "the new version serves"
    );
    old_stop.cancel();
    ended(old_task.await)?;
    tokio::select! {
        done = &mut new_task => return ended(done),
        () = drop_old(&old.context) => {}
        () = stop.cancelled() => {}
    }
    ended(new_task.await)
}

/// Waits until the new version has what the old one had a moment ago.
async fn overtaken<O: Projection, P: Projection>(old: &Context<O>, new: &Context<P>) {
    let mut ticks = interval(COMPARE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut target = None;
    loop {
        ticks.tick().await;
        match compare(old, new, &mut target).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(why) => tracing::warn!(projection = P::NAME, %why, "versions cannot be compared"),
        }
    }
}

/// Looks whether the new version has reached where the old one was at the last look. Only when it had
/// already been there at the look after is the old one no more than that ahead.
async fn compare<O: Projection, P: Projection>(
    old: &Context<O>,
    new: &Context<P>,
    target: &mut Option<Vec<u64>>,
) -> Result<bool, StateError> {
    let wanted = match target.take() {
        Some(wanted) => wanted,
        None => old.offsets().await?,
    };
    let reached = new.offsets().await?;
    if wanted
        .iter()
        .zip(&reached)
        .any(|(wanted, reached)| reached < wanted)
    {
        *target = Some(wanted);
        return Ok(false);
    }
    let now = old.offsets().await?;
    let is_level = now.iter().zip(&reached).all(|(now, reached)| {
        // What came since is on its way to both.
        now <= reached || now - reached <= LEVEL_EVENTS
    });
    if !is_level {
        *target = Some(now);
    }
    Ok(is_level)
}

/// Events of one partition by which the old version may be ahead when reads move: what a busy partition
/// takes within [`COMPARE_EVERY`].
const LEVEL_EVENTS: u64 = 64;

/// Deletes the old version once nobody has held it for the configured time.
async fn drop_old<O: Projection>(old: &Context<O>) {
    let mut ticks = interval(old.config.old_kept.max(COMPARE_EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        match old.try_drop().await {
            Ok(None) => {}
            Ok(Some(states)) => {
                let version = O::VERSION;
                tracing::info!(
                    projection = O::NAME,
                    version,
                    states,
                    "the old version is gone"
                );
                return;
            }
            Err(why) => {
                tracing::warn!(projection = O::NAME, %why, "the old version stays for now");
            }
        }
    }
}

impl<P: Projection> Context<P> {
    /// Returns how far what can be read is, for every partition.
    async fn offsets(&self) -> Result<Vec<u64>, StateError> {
        if self.resident {
            return Ok((0..PARTITIONS)
                .map(|at| self.progress.sequence(at))
                .collect());
        }
        let all: Vec<u32> = (0..PARTITIONS).collect();
        self.store.offsets(&all).await
    }

    /// Deletes this version unless a process runs it. Returns how many states went.
    async fn try_drop(&self) -> Result<Option<u64>, StateError> {
        let now = self.config.clock.now();
        let held = lease::list(&self.db, &self.lease_prefix()).await?;
        if held.iter().any(|lease| lease.expires > now) {
            return Ok(None);
        }
        let states = self.store.drop_all().await?;
        if let Some(snapshots) = &self.snapshots {
            let dropped = snapshots.drop_version::<P>().await;
            dropped.map_err(|why| StateError::Store(Box::new(why)))?;
            self.remove_reader().await;
        }
        Ok(Some(states))
    }
}
