//! Projections: state computed from the log, exactly once, wherever it lives.
//!
//! A [`ProjectionRunner`] leases partitions, tails them, applies a pure [`Projection`] and writes
//! state and offset in one transaction fenced by the lease. What an event means is the service's.

mod cache;
mod progress;
mod read;
mod readers;
mod replay;
mod runner;
mod snapshot;
mod sql;
mod table;
#[cfg(test)]
mod tests;
mod upgrade;
mod worker;

use async_trait::async_trait;
use bytes::Bytes;
use rapport_api::event::v1::EventRecord;
use rapport_store::StoreError;
use rapport_store::lease::{Lease, LeaseError};
use rapport_types::SubjectId;

pub use cache::CacheStates;
pub use progress::Progress;
pub use read::States;
pub use replay::replay;
pub use runner::{ProjectionRunner, RunError, RunnerConfig, Running};
pub use snapshot::{Snapshots, WrittenSnapshot};
pub use sql::{SqlStates, TABLES_POSTGRES, TABLES_SQLITE};

/// Stored bytes that are no state: they were written by another version under the same number.
pub type DecodeError = Box<dyn std::error::Error + Send + Sync>;

/// How events become state. Pure: no clock, no randomness, no I/O, so that a replay gives the same.
///
/// State lives per partition and key. A subject's events are all in one partition; another key's
/// may be in several, and its reader folds up to 64 partial states: they must be mergeable.
pub trait Projection: Send + Sync + 'static {
    /// The name: fixed in the source, part of stored keys and metrics. At most 64 bytes.
    const NAME: &'static str;
    /// Raise it when `apply`, `encode` or `TYPES` change: the new state is built beside the old.
    const VERSION: u32;
    /// The event types to apply, at most 63; empty takes all.
    const TYPES: &'static [&'static str];
    /// The state of one key. Its default is the state before any event.
    type State: Clone + Default + Send + Sync + std::fmt::Debug + 'static;

    /// Adds the keys whose state the event changes, 1 to 512 bytes each, at most 20 per event. By
    /// default the event's subject, if it has one.
    fn keys(&self, event: &EventRecord, keys: &mut Vec<Bytes>) {
        if !event.subject_id.is_empty() {
            keys.push(event.subject_id.clone());
        }
    }

    /// Applies one event to the state of one of its keys.
    fn apply(&self, key: &[u8], state: &mut Self::State, event: &EventRecord);

    /// Encodes a state for storage; the same state gives the same bytes.
    fn encode(state: &Self::State) -> Vec<u8>;

    /// Decodes what [`Projection::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`]: the projection stops rather than lose state.
    fn decode(bytes: &[u8]) -> Result<Self::State, DecodeError>;

    /// Returns the key to drop when a subject is erased. By default the subject's; `None` when no
    /// key belongs to a subject.
    fn erased(&self, subject: SubjectId) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(subject.as_bytes()))
    }
}

/// The new state of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The key.
    pub key: Box<[u8]>,
    /// The encoded state; `None` deletes it.
    pub state: Option<Vec<u8>>,
}

/// What one flush writes into one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionChange {
    /// The partition.
    pub partition: u32,
    /// The offset that the changes start from; another one stored means they must not be written.
    pub expected: u64,
    /// The offset after them.
    pub next: u64,
    /// The changed keys, each once.
    pub changes: Vec<StateChange>,
}

/// Why a store of states refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Somebody else owns the partitions now: drop everything held of them.
    #[error("the partition was taken over")]
    Fenced,
    /// The stored offset is not the expected one: reload.
    #[error("partition {partition} is not at the expected offset")]
    OffsetMoved {
        /// The partition.
        partition: u32,
    },
    /// Stored bytes do not decode.
    #[error("a stored state of {projection} does not decode")]
    Decode {
        /// The projection.
        projection: &'static str,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// The store cannot list its keys: train from the log or the lake instead.
    #[error("the states cannot be listed")]
    NotIterable,
    /// The store failed. The write may or may not have happened.
    #[error("the store failed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for StateError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<LeaseError> for StateError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "LeaseError is non_exhaustive"
    )]
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Fenced { .. } => Self::Fenced,
            other => Self::Store(Box::new(other)),
        }
    }
}

/// Where states and offsets of one projection version are kept, written together.
#[async_trait]
pub trait StateStore: std::fmt::Debug + Send + Sync + 'static {
    /// Makes `lease` the only one that may write these partitions, and returns their offsets in
    /// the same order, 0 for a new one.
    async fn claim(&self, lease: &Lease, partitions: &[u32]) -> Result<Vec<u64>, StateError>;

    /// Returns the states of keys, in their order; `None` where there is none. At most
    /// [`KEYS_MAX`] keys.
    async fn load(
        &self,
        partition: u32,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Vec<u8>>>, StateError>;

    /// Returns up to `limit` keys after `after` in byte order, with their states. A cache answers
    /// [`StateError::NotIterable`].
    async fn scan(
        &self,
        partition: u32,
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError>;

    /// Writes changes and offsets of some partitions: per partition all or nothing, and nothing
    /// unless `lease` is still the one and the partition's offset is as expected.
    async fn commit(&self, lease: &Lease, changes: &[PartitionChange]) -> Result<(), StateError>;

    /// Returns how far partitions are, in the order asked for, 0 for what is not there. Needs no
    /// lease: for those who read, and to notice a loss.
    async fn offsets(&self, partitions: &[u32]) -> Result<Vec<u64>, StateError>;

    /// Returns some states, in no order, after what an earlier page named; `None` begins. What is
    /// written meanwhile may be on a page or not; a key that is there all along is on at least one.
    async fn page(&self, partition: u32, from: Option<&[u8]>) -> Result<StatePage, StateError>;

    /// Empties a partition: no state, offset 0. Nothing unless `lease` is still the one.
    async fn reset(&self, lease: &Lease, partition: u32) -> Result<(), StateError>;

    /// Deletes every state and offset of this version and returns how many states went, as far as
    /// that is known: after a newer one was swapped in, and nobody reads this one.
    async fn drop_all(&self) -> Result<u64, StateError>;

    /// Returns whether the store may lose everything by itself, as a cache does.
    fn is_volatile(&self) -> bool {
        false
    }
}

/// Some of the states of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatePage {
    /// Keys with their encoded states.
    pub states: Vec<(Vec<u8>, Vec<u8>)>,
    /// What the next page begins after; `None` at the end.
    pub next: Option<Vec<u8>>,
}

/// Keys in one [`StateStore::load`].
pub const KEYS_MAX: usize = 1_000;

fn decode<P: Projection>(bytes: &[u8]) -> Result<P::State, StateError> {
    P::decode(bytes).map_err(|source| StateError::Decode {
        projection: P::NAME,
        source,
    })
}
