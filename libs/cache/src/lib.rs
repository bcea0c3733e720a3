//! Fast copies that may be lost: small traits, each with Redis behind it and a twin in memory.
//!
//! [`Counters`] reserve frequency under caps; [`PartitionStates`] keep a projection's state and its
//! offset together. One contract suite runs on the twin, on Redis and on Redis Cluster.
//!
//! Nothing here is the truth: money, consent and assignment are decided in SQL (`rapport-store`),
//! because a Redis failover forgets acknowledged writes.

mod connection;
mod counters;
mod error;
mod states;
#[cfg(feature = "testing")]
pub mod testing;

pub use connection::{Redis, RedisConfig};
pub use counters::{
    CAPS_MAX, COUNTERS_MAX, Cap, Counter, Counters, MemoryCounters, READ_MAX, REBUILD_MAX,
    RedisCounters, Reservation,
};
pub use error::CacheError;
pub use states::{
    CHANGES_MAX, COMMIT_BYTES_MAX, Change, CommitError, KEY_BYTES_MAX, KEYS_MAX, MemoryStates,
    Page, PartitionId, PartitionSnapshot, PartitionStates, Position, RedisStates,
};
