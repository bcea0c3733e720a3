//! Starting partitions from snapshots: where the store has nothing, and where the log has moved on.

use std::time::Duration;

use rapport_store::lease::Lease;
use tokio::time::timeout;

use super::Context;
use crate::projection::runner::RunError;
use crate::projection::snapshot::States;
use crate::projection::{PartitionChange, Projection, StateChange, StateError};
use crate::tail::TailError;

/// States in one write, and their bytes.
const STATES_MAX: usize = 1_000;
const BYTES_MAX: usize = 4 << 20;
/// How long to wait to know who is erased; the tail brings erasures in any case.
const PEOPLE_MAX: Duration = Duration::from_secs(5);

impl<P: Projection> Context<P> {
    /// Brings a partition to its newest verified snapshot beyond `after`, without those who were
    /// erased since. Returns its sequence, `None` when no snapshot reaches further.
    ///
    /// What is there is deleted first, and the offset moves with the last write: killed in between,
    /// the next one begins anew.
    pub(super) async fn restore(
        &self,
        lease: &Lease,
        partition: u32,
        after: u64,
    ) -> Result<Option<u64>, StateError> {
        let Some(snapshots) = &self.snapshots else {
            return Ok(None);
        };
        let newest = snapshots.newest::<P>(partition, after).await;
        let newest = newest.map_err(|why| StateError::Store(Box::new(why)))?;
        let Some((header, mut states)) = newest else {
            return Ok(None);
        };
        self.leave_out_erased(&mut states).await;
        self.store.reset(lease, partition).await?;
        let count = states.len();
        let mut chunk = Vec::new();
        let mut bytes = 0;
        for (key, state) in states {
            bytes += key.len() + state.len();
            chunk.push(StateChange {
                key,
                state: Some(state),
            });
            if chunk.len() >= STATES_MAX || bytes >= BYTES_MAX {
                self.put(lease, partition, 0, std::mem::take(&mut chunk))
                    .await?;
                bytes = 0;
            }
        }
        self.put(lease, partition, header.sequence, chunk).await?;
        tracing::info!(
            projection = P::NAME,
            partition,
            sequence = header.sequence,
            states = count,
            "started from a snapshot"
        );
        Ok(Some(header.sequence))
    }

    async fn put(
        &self,
        lease: &Lease,
        partition: u32,
        next: u64,
        changes: Vec<StateChange>,
    ) -> Result<(), StateError> {
        let change = PartitionChange {
            partition,
            expected: 0,
            next,
            changes,
        };
        self.store.commit(lease, &[change]).await
    }

    async fn leave_out_erased(&self, states: &mut States) {
        let Some(people) = &self.people else { return };
        if timeout(PEOPLE_MAX, people.wait_ready()).await.is_err() {
            tracing::warn!(projection = P::NAME, "who is erased is learnt from the log");
        }
        states.retain(|(key, _state)| {
            let subject = rapport_types::SubjectId::parse(key);
            !subject.is_ok_and(|subject| people.is_erased(subject))
        });
    }

    /// Prepares a partition whose store has nothing: from a snapshot, or empty for the log from its
    /// beginning. Returns where it stands.
    pub(super) async fn begin(&self, lease: &Lease, partition: u32) -> Result<u64, StateError> {
        if let Some(sequence) = self.restore(lease, partition, 0).await? {
            // Others may come first, and each takes a while.
            let _renewed = self.renew(lease).await;
            return Ok(sequence);
        }
        // What a restore left that was killed half way.
        if !self.store.page(partition, None).await?.states.is_empty() {
            self.store.reset(lease, partition).await?;
        }
        Ok(0)
    }

    /// Moves partitions on to snapshots: the log no longer has what comes next.
    ///
    /// # Errors
    /// [`RunError::Log`] when no snapshot of any of them reaches further.
    pub(in crate::projection) async fn recover(
        &self,
        lease: &Lease,
        partitions: Vec<u32>,
    ) -> Result<(), RunError> {
        let failed = |source| self.states_error(source);
        let offsets = self.store.claim(lease, &partitions).await.map_err(failed)?;
        let mut moved = false;
        for (partition, after) in partitions.into_iter().zip(offsets) {
            let restored = self.restore(lease, partition, after).await;
            moved |= restored.map_err(failed)?.is_some();
            let _renewed = self.renew(lease).await;
        }
        match moved {
            true => Ok(()),
            false => Err(self.log_error(TailError::Expired)),
        }
    }
}
