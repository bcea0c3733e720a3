//! Windowed counters for frequency caps: how often somebody saw something in the present window.

mod memory;
mod redis;

use async_trait::async_trait;
use rapport_types::{UnixMillis, partition_of};

pub use self::memory::MemoryCounters;
pub use self::redis::RedisCounters;
use crate::CacheError;

/// Most caps in one reservation.
pub const CAPS_MAX: usize = 32;
/// Most counters in one read.
pub const READ_MAX: usize = 1_000;
/// Most counters that the twin in memory holds.
pub const COUNTERS_MAX: usize = 4_000_000;
/// Most counters in one [`Counters::rebuild`].
pub const REBUILD_MAX: usize = 500;
/// How long a rebuild that says nothing keeps others from beginning one.
const REBUILD_TTL_MS: i64 = 30_000;
/// Longest key or counter name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// One counter of one key (an anchor's 16 bytes, say), in fixed windows since the epoch.
///
/// The window of an instant is `instant / window_ms`, so every replica agrees on it, and a cap may
/// be met twice around the turn of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter<'a> {
    /// Whose it is. Counters of one key live together, so that caps on several are atomic.
    pub key: &'a [u8],
    /// What is counted, e.g. `campaign/42`.
    pub name: &'a str,
    /// The window's length, above 0.
    pub window_ms: i64,
}

/// One cap on one counter of the key being reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap<'a> {
    /// What is counted, e.g. `campaign/42`. Each `(name, window_ms)` at most once per reservation.
    pub name: &'a str,
    /// The window's length, above 0.
    pub window_ms: i64,
    /// Most per window. 0 refuses always.
    pub max: u32,
    /// What is already counted elsewhere, on the person's other subjects: added before the test.
    pub elsewhere: u32,
}

/// What a reservation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// One was added to every counter.
    Reserved,
    /// Nothing was added to any.
    Refused {
        /// The index of the first cap that is reached.
        cap: usize,
        /// What was counted for it, elsewhere included.
        count: u32,
    },
}

/// Counters that reserve atomically under several caps.
///
/// They are fast copies, and their store may lose them all. So each of the 64 partitions of keys
/// carries a mark that it is complete, kept beside the counters and lost with them: without it
/// nothing is reserved or read ([`CacheError::Incomplete`]), and what is capped counts as at its cap.
/// Who knows the truth then counts again: [`Counters::begin_rebuild`], [`Counters::rebuild`] as often
/// as it takes, [`Counters::end_rebuild`]. A new store is incomplete.
#[async_trait]
pub trait Counters: Send + Sync + std::fmt::Debug {
    /// Adds one to the counter of every cap, or, if that would pass one of them, to none.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unavailable`]: the reservation may or may not have happened; treat it as
    /// refused. [`CacheError::Incomplete`]. [`CacheError::Invalid`] for more than [`CAPS_MAX`] caps or a bad name or window.
    async fn reserve(
        &self,
        key: &[u8],
        now: UnixMillis,
        caps: &[Cap<'_>],
    ) -> Result<Reservation, CacheError>;

    /// Adds `delta` to the counter's window at `at` and returns the new count, never below 0: gives a
    /// reservation back. A window that has ended, and one that is incomplete, is left alone and
    /// counts 0; `now` says which have ended.
    ///
    /// # Errors
    ///
    /// As [`Counters::reserve`].
    async fn add(
        &self,
        counter: Counter<'_>,
        at: UnixMillis,
        now: UnixMillis,
        delta: i32,
    ) -> Result<u32, CacheError>;

    /// Returns the counts of the present windows, in the order asked for.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unavailable`]; [`CacheError::Incomplete`] when any of them is;
    /// [`CacheError::Invalid`] for more than [`READ_MAX`] counters.
    async fn read(&self, counters: &[Counter<'_>], now: UnixMillis)
    -> Result<Vec<u32>, CacheError>;

    /// Returns the partitions of keys that are incomplete, in order.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unavailable`].
    async fn incomplete(&self) -> Result<Vec<u32>, CacheError>;

    /// Begins to rebuild an incomplete partition under a token that nobody used before. Returns
    /// whether: not while it is complete, nor while somebody else is at it.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unavailable`].
    async fn begin_rebuild(&self, partition: u32, token: &str) -> Result<bool, CacheError>;

    /// Sets counts of the partition's present windows. Returns whether the rebuild is still this
    /// token's; nothing is set otherwise.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unavailable`]; [`CacheError::Invalid`] for more than [`REBUILD_MAX`] counts or
    /// a key of another partition.
    async fn rebuild(
        &self,
        partition: u32,
        token: &str,
        now: UnixMillis,
        counts: &[(Counter<'_>, u32)],
    ) -> Result<bool, CacheError>;

    /// Marks the partition as complete, if the rebuild is still this token's. Returns whether.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unavailable`].
    async fn end_rebuild(&self, partition: u32, token: &str) -> Result<bool, CacheError>;
}

/// A counter's window at an instant.
struct Window {
    number: i64,
    /// How long it still lasts, at least 1 ms.
    left_ms: i64,
}

fn window(window_ms: i64, at: UnixMillis) -> Window {
    Window {
        number: at.0.div_euclid(window_ms),
        left_ms: window_ms - at.0.rem_euclid(window_ms),
    }
}

fn check(counter: &Counter<'_>) -> Result<(), CacheError> {
    if counter.key.is_empty() || counter.key.len() > NAME_BYTES_MAX {
        Err(CacheError::Invalid("key"))
    } else if counter.name.is_empty() || counter.name.len() > NAME_BYTES_MAX {
        Err(CacheError::Invalid("name"))
    } else if counter.window_ms <= 0 {
        Err(CacheError::Invalid("window_ms"))
    } else {
        Ok(())
    }
}

/// Checks a reservation and returns its caps' counters.
fn checked<'a>(key: &'a [u8], caps: &[Cap<'a>]) -> Result<Vec<Counter<'a>>, CacheError> {
    if caps.len() > CAPS_MAX {
        return Err(CacheError::Invalid("caps"));
    }
    let counters: Vec<_> = caps
        .iter()
        .map(|cap| Counter {
            key,
            name: cap.name,
            window_ms: cap.window_ms,
        })
        .collect();
    for (index, counter) in counters.iter().enumerate() {
        check(counter)?;
        if counters[..index].contains(counter) {
            // The second would be tested before the first was counted.
            return Err(CacheError::Invalid("caps"));
        }
    }
    Ok(counters)
}

fn checked_read(counters: &[Counter<'_>]) -> Result<(), CacheError> {
    if counters.len() > READ_MAX {
        return Err(CacheError::Invalid("counters"));
    }
    counters.iter().try_for_each(check)
}

fn checked_rebuild(partition: u32, counts: &[(Counter<'_>, u32)]) -> Result<(), CacheError> {
    if counts.len() > REBUILD_MAX {
        return Err(CacheError::Invalid("counts"));
    }
    for (counter, _count) in counts {
        check(counter)?;
        if partition_of(counter.key) != partition {
            return Err(CacheError::Invalid("partition"));
        }
    }
    Ok(())
}
