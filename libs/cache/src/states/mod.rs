//! A projection's state per partition: key to bytes, moved forward together with its offset.

mod memory;
mod redis;

use async_trait::async_trait;

pub use self::memory::{MemoryStates, PartitionSnapshot};
pub use self::redis::RedisStates;
use crate::CacheError;

/// Most keys in one [`PartitionStates::get_many`].
pub const KEYS_MAX: usize = 10_000;
/// Most changes in one [`PartitionStates::commit`].
pub const CHANGES_MAX: usize = 10_000;
/// Most bytes of keys and values in one [`PartitionStates::commit`].
pub const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// Longest projection name, in bytes.
const PROJECTION_BYTES_MAX: usize = 64;

/// One partition of one version of one projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PartitionId<'a> {
    /// The projection's name: `a-z 0-9 - _ .`.
    pub projection: &'a str,
    /// Its version. A new one is built beside the old.
    pub version: u32,
    /// The log's partition.
    pub partition: u16,
}

/// Who moved a partition last, and how far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The highest lease epoch seen; 0 if nobody ever claimed it.
    pub epoch: i64,
    /// The sequence of the last event that is in the state; 0 for none.
    pub offset: i64,
}

/// A key and its new value; `None` deletes it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A part of a partition's keys and values, in no order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys with their values. A key that is there all along is on at least one page.
    pub values: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<u64>,
}

/// Why a partition was not claimed or moved. In every case the state is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// A higher epoch was here: another replica owns the partition now. Drop it and stop.
    #[error("the partition was claimed at epoch {current}")]
    Fenced {
        /// The epoch that was found.
        current: i64,
    },
    /// The state is at another offset than the caller thinks: a failover rolled it back, or an
    /// earlier commit's answer was lost. Reload and go on from `actual`.
    #[error("the partition is at offset {actual}")]
    OffsetMismatch {
        /// The offset that was found.
        actual: i64,
    },
    /// The cache failed; after [`CacheError::Unavailable`] the commit may have happened, which the
    /// next one learns by [`CommitError::OffsetMismatch`].
    #[error("cache failed")]
    Cache(#[from] CacheError),
}

/// Where projections keep what they know: in Redis, in memory or in SQL.
///
/// Effects are exactly once because the state, the offset and the owner's epoch are checked and
/// changed in one step. Epochs come from the lease of the partition (`rapport-store`) and never
/// repeat; offsets and epochs are below 2^53.
#[async_trait]
pub trait PartitionStates: Send + Sync + std::fmt::Debug {
    /// Takes a partition over: from now on smaller epochs are refused. Returns where it stands.
    ///
    /// # Errors
    ///
    /// [`CommitError::Fenced`] when a higher epoch did so before.
    async fn claim(&self, id: PartitionId<'_>, epoch: i64) -> Result<Position, CommitError>;

    /// Returns where a partition stands, for readers and for lag.
    ///
    /// # Errors
    ///
    /// When the cache fails.
    async fn position(&self, id: PartitionId<'_>) -> Result<Position, CacheError>;

    /// Returns the values of up to [`KEYS_MAX`] keys, in the order asked for, `None` for no value.
    ///
    /// # Errors
    ///
    /// When the cache fails, [`CacheError::Invalid`] for too many or too long keys.
    async fn get_many(
        &self,
        id: PartitionId<'_>,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Vec<u8>>>, CacheError>;

    /// Applies `changes` and moves the offset from `expected_offset` to `new_offset`, all or
    /// nothing, as the owner of `epoch`. `new_offset` is not below `expected_offset`.
    ///
    /// # Errors
    ///
    /// [`CommitError::Fenced`], [`CommitError::OffsetMismatch`], [`CommitError::Cache`], the last
    /// also for more than [`CHANGES_MAX`] changes or [`COMMIT_BYTES_MAX`] bytes.
    async fn commit(
        &self,
        id: PartitionId<'_>,
        epoch: i64,
        expected_offset: i64,
        new_offset: i64,
        changes: &[Change],
    ) -> Result<(), CommitError>;

    /// Returns one page of a partition; 0 begins. What changes meanwhile may be on it or not: whoever
    /// needs one moment's state notes the changes beside.
    ///
    /// # Errors
    ///
    /// When the cache fails.
    async fn page(&self, id: PartitionId<'_>, from: u64) -> Result<Page, CacheError>;

    /// Empties a partition that `epoch` owns: no state, offset 0, still claimed. Before a restore,
    /// which must not mix with what an interrupted one left.
    ///
    /// # Errors
    ///
    /// [`CommitError::Fenced`], [`CommitError::Cache`].
    async fn reset(&self, id: PartitionId<'_>, epoch: i64) -> Result<(), CommitError>;

    /// Forgets a partition's state, offset and epoch: an old version after the swap.
    ///
    /// # Errors
    ///
    /// When the cache fails.
    async fn clear(&self, id: PartitionId<'_>) -> Result<(), CacheError>;
}

fn check_id(id: PartitionId<'_>) -> Result<(), CacheError> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let name = id.projection;
    if name.is_empty() || name.len() > PROJECTION_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(CacheError::Invalid("projection"));
    }
    Ok(())
}

fn check_keys(keys: &[&[u8]]) -> Result<(), CacheError> {
    if keys.len() > KEYS_MAX || keys.iter().any(|key| key.len() > KEY_BYTES_MAX) {
        return Err(CacheError::Invalid("keys"));
    }
    Ok(())
}

fn check_commit(
    id: PartitionId<'_>,
    expected_offset: i64,
    new_offset: i64,
    changes: &[Change],
) -> Result<(), CacheError> {
    check_id(id)?;
    if new_offset < expected_offset {
        return Err(CacheError::Invalid("new_offset"));
    }
    let bytes: usize = changes
        .iter()
        .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len))
        .sum();
    if changes.len() > CHANGES_MAX
        || bytes > COMMIT_BYTES_MAX
        || changes.iter().any(|(key, _)| key.len() > KEY_BYTES_MAX)
    {
        return Err(CacheError::Invalid("changes"));
    }
    Ok(())
}
