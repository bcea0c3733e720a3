//! States in Redis (or its twin in memory), by way of `rapport-cache`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rapport_cache::{CacheError, Change, CommitError, PartitionId, PartitionStates};
use rapport_store::lease::Lease;
use rapport_types::PARTITIONS;

use super::{PartitionChange, Projection, StateError, StatePage, StateStore};

/// The states of one projection version in a cache: lost with it, and rebuilt from the log.
#[derive(Debug, Clone)]
pub struct CacheStates {
    states: Arc<dyn PartitionStates>,
    projection: &'static str,
    version: u32,
}

impl CacheStates {
    /// Returns the states of `P` in a cache.
    #[must_use]
    pub fn new<P: Projection>(states: Arc<dyn PartitionStates>) -> Self {
        Self {
            states,
            projection: P::NAME,
            version: P::VERSION,
        }
    }

    fn id(&self, partition: u32) -> PartitionId<'static> {
        let (projection, version) = (self.projection, self.version);
        // Data partitions are below 64.
        PartitionId {
            projection,
            version,
            partition: partition as u16,
        }
    }
}

#[async_trait]
impl StateStore for CacheStates {
    async fn claim(&self, lease: &Lease, partitions: &[u32]) -> Result<Vec<u64>, StateError> {
        let mut offsets = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let claimed = self.states.claim(self.id(*partition), lease.epoch).await;
            let position = claimed.map_err(|error| state_error(*partition, error))?;
            offsets.push(position.offset as u64);
        }
        Ok(offsets)
    }

    async fn load(
        &self,
        partition: u32,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let found = self.states.get_many(self.id(partition), &keys).await;
        found.map_err(failed)
    }

    async fn scan(
        &self,
        _partition: u32,
        _after: Option<&[u8]>,
        _limit: u32,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        Err(StateError::NotIterable)
    }

    async fn commit(&self, lease: &Lease, changes: &[PartitionChange]) -> Result<(), StateError> {
        for change in changes {
            let pair = |change: &super::StateChange| (change.key.to_vec(), change.state.clone());
            let pairs: Vec<Change> = change.changes.iter().map(pair).collect();
            let (expected, next) = (change.expected as i64, change.next as i64);
            let id = self.id(change.partition);
            let committed = self
                .states
                .commit(id, lease.epoch, expected, next, &pairs)
                .await;
            committed.map_err(|error| state_error(change.partition, error))?;
        }
        Ok(())
    }

    async fn offsets(&self, partitions: &[u32]) -> Result<Vec<u64>, StateError> {
        let mut offsets = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let position = self.states.position(self.id(*partition)).await;
            offsets.push(position.map_err(failed)?.offset as u64);
        }
        Ok(offsets)
    }

    async fn page(&self, partition: u32, from: Option<&[u8]>) -> Result<StatePage, StateError> {
        let from = from.and_then(|from| from.try_into().ok());
        let from = from.map_or(0, u64::from_be_bytes);
        let page = self.states.page(self.id(partition), from).await;
        let page = page.map_err(failed)?;
        Ok(StatePage {
            states: page.values,
            next: page.next.map(|next| next.to_be_bytes().to_vec()),
        })
    }

    async fn reset(&self, lease: &Lease, partition: u32) -> Result<(), StateError> {
        let reset = self.states.reset(self.id(partition), lease.epoch).await;
        reset.map_err(|error| state_error(partition, error))
    }

    async fn drop_all(&self) -> Result<u64, StateError> {
        for partition in 0..PARTITIONS {
            let cleared = self.states.clear(self.id(partition)).await;
            cleared.map_err(failed)?;
        }
        Ok(0)
    }

    fn is_volatile(&self) -> bool {
        true
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "CommitError is non_exhaustive"
)]
fn state_error(partition: u32, error: CommitError) -> StateError {
    match error {
        CommitError::Fenced { .. } => StateError::Fenced,
        CommitError::OffsetMismatch { .. } => StateError::OffsetMoved { partition },
        other => StateError::Store(Box::new(other)),
    }
}

fn failed(error: CacheError) -> StateError {
    StateError::Store(Box::new(error))
}
