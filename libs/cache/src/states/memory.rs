//! The twin in memory: for one replica, which snapshots it to its own SQL.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;

use super::{
    Change, CommitError, Page, PartitionId, PartitionStates, Position, check_commit, check_id,
    check_keys,
};
use crate::CacheError;

/// [`PartitionStates`] in memory. One lock per partition, so a writer of one never holds up a
/// reader of another.
#[derive(Debug, Default)]
pub struct MemoryStates {
    partitions: RwLock<HashMap<Name, Partition>>,
}

/// Projection, version, partition.
type Name = (String, u32, u16);
type Partition = Arc<Mutex<Held>>;

#[derive(Debug, Default)]
struct Held {
    position: Position,
    values: HashMap<Vec<u8>, Vec<u8>>,
}

/// A partition as it was at one offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionSnapshot {
    /// Where it stood.
    pub position: Position,
    /// Every key and value, sorted by key: the same state gives the same bytes.
    pub values: Vec<(Vec<u8>, Vec<u8>)>,
}

impl MemoryStates {
    /// Copies a partition, state and offset of the same moment. Cost: `O(n log n)` under its lock.
    ///
    /// # Errors
    ///
    /// [`CacheError::Invalid`] for a bad projection name.
    pub fn snapshot(&self, id: PartitionId<'_>) -> Result<PartitionSnapshot, CacheError> {
        let partition = self.partition(id)?;
        let held = lock(&partition);
        let mut values: Vec<_> = held
            .values
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        values.sort_unstable();
        Ok(PartitionSnapshot {
            position: held.position,
            values,
        })
    }

    /// Replaces a partition by a snapshot.
    ///
    /// # Errors
    ///
    /// [`CacheError::Invalid`] for a bad projection name.
    pub fn restore(
        &self,
        id: PartitionId<'_>,
        snapshot: PartitionSnapshot,
    ) -> Result<(), CacheError> {
        let partition = self.partition(id)?;
        let mut held = lock(&partition);
        held.position = snapshot.position;
        held.values = snapshot.values.into_iter().collect();
        Ok(())
    }

    /// Returns the partition, empty if it is new.
    fn partition(&self, id: PartitionId<'_>) -> Result<Partition, CacheError> {
        check_id(id)?;
        let name = (id.projection.to_owned(), id.version, id.partition);
        {
            let known = self
                .partitions
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = known.get(&name) {
                return Ok(Arc::clone(found));
            }
        }
        let mut known = self
            .partitions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(known.entry(name).or_default()))
    }
}

// Nothing panics half way through a change, so a poisoned partition is still whole.
fn lock(partition: &Mutex<Held>) -> MutexGuard<'_, Held> {
    partition.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl PartitionStates for MemoryStates {
    async fn claim(&self, id: PartitionId<'_>, epoch: i64) -> Result<Position, CommitError> {
        let partition = self.partition(id)?;
        let mut held = lock(&partition);
        if held.position.epoch > epoch {
            return Err(CommitError::Fenced {
                current: held.position.epoch,
            });
        }
        held.position.epoch = epoch;
        Ok(held.position)
    }

    async fn position(&self, id: PartitionId<'_>) -> Result<Position, CacheError> {
        Ok(lock(&*self.partition(id)?).position)
    }

    async fn get_many(
        &self,
        id: PartitionId<'_>,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Vec<u8>>>, CacheError> {
        check_keys(keys)?;
        let partition = self.partition(id)?;
        let held = lock(&partition);
        Ok(keys
            .iter()
            .map(|key| held.values.get(*key).cloned())
            .collect())
    }

    async fn commit(
        &self,
        id: PartitionId<'_>,
        epoch: i64,
        expected_offset: i64,
        new_offset: i64,
        changes: &[Change],
    ) -> Result<(), CommitError> {
        check_commit(id, expected_offset, new_offset, changes)?;
        let partition = self.partition(id)?;
        let mut held = lock(&partition);
        let Position {
            epoch: current,
            offset: actual,
        } = held.position;
        if current > epoch {
            return Err(CommitError::Fenced { current });
        }
        if actual != expected_offset {
            return Err(CommitError::OffsetMismatch { actual });
        }
        for (key, value) in changes {
            match value {
                Some(value) => held.values.insert(key.clone(), value.clone()),
                None => held.values.remove(key),
            };
        }
        held.position = Position {
            epoch,
            offset: new_offset,
        };
        Ok(())
    }

    /// One page: the twin is as large as its process holds anyway.
    async fn page(&self, id: PartitionId<'_>, _from: u64) -> Result<Page, CacheError> {
        let partition = self.partition(id)?;
        let held = lock(&partition);
        let values = held.values.iter();
        Ok(Page {
            values: values
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            next: None,
        })
    }

    async fn reset(&self, id: PartitionId<'_>, epoch: i64) -> Result<(), CommitError> {
        let partition = self.partition(id)?;
        let mut held = lock(&partition);
        if held.position.epoch > epoch {
            return Err(CommitError::Fenced {
                current: held.position.epoch,
            });
        }
        *held = Held {
            position: Position { epoch, offset: 0 },
            values: HashMap::new(),
        };
        Ok(())
    }

    async fn clear(&self, id: PartitionId<'_>) -> Result<(), CacheError> {
        *lock(&*self.partition(id)?) = Held::default();
        Ok(())
    }
}
