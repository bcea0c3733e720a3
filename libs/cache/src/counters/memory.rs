//! The twin in memory: the same promises for one process, nothing to install.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use rapport_types::{PARTITIONS, UnixMillis, partition_of};

use super::{
    COUNTERS_MAX, Cap, Counter, Counters, Reservation, check, checked, checked_read,
    checked_rebuild, window,
};
use crate::CacheError;

/// Locks, so that requests for different keys hardly ever meet.
const SHARDS: usize = 64;
const SHARD_COUNTERS_MAX: usize = COUNTERS_MAX / SHARDS;

/// [`Counters`] in memory. All counters of a key are under one lock, held for no longer than a few
/// map look-ups.
#[derive(Debug)]
pub struct MemoryCounters {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    /// Read while counting, so that no partition becomes complete in the middle of a rebuild's write.
    marks: RwLock<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    complete: HashSet<u32>,
    /// Who rebuilds which partition.
    tokens: HashMap<u32, String>,
}

#[derive(Debug, Default)]
struct Shard {
    counts: HashMap<(Vec<u8>, String, i64), Held>,
    /// Expired counters are looked for when there are this many, doubled from what stayed.
    sweep_at: usize,
}

/// The count of the latest window that was written.
#[derive(Debug, Clone, Copy)]
struct Held {
    window: i64,
    count: u32,
    ends: UnixMillis,
}

impl Default for MemoryCounters {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            marks: RwLock::default(),
        }
    }
}

impl MemoryCounters {
    /// Returns how many counters are held, ended ones that were not dropped yet among them.
    #[must_use]
    pub fn len(&self) -> usize {
        let held = |shard: &Mutex<Shard>| {
            shard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .counts
                .len()
        };
        self.shards.iter().map(held).sum()
    }

    /// Returns whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn marks(&self) -> RwLockReadGuard<'_, Marks> {
        self.marks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn marks_mut(&self) -> RwLockWriteGuard<'_, Marks> {
        self.marks.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        // Nothing panics half way through a change, so a poisoned shard is still whole.
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marks {
    fn check(&self, key: &[u8]) -> Result<(), CacheError> {
        match self.complete.contains(&partition_of(key)) {
            true => Ok(()),
            false => Err(CacheError::Incomplete),
        }
    }
}

impl Shard {
    fn get(&self, counter: &Counter<'_>, at: UnixMillis) -> u32 {
        let number = window(counter.window_ms, at).number;
        self.counts
            .get(&(
                counter.key.to_vec(),
                counter.name.to_owned(),
                counter.window_ms,
            ))
            .filter(|held| held.window == number)
            .map_or(0, |held| held.count)
    }

    fn set(&mut self, counter: &Counter<'_>, at: UnixMillis, count: u32) {
        let present = window(counter.window_ms, at);
        let name = (
            counter.key.to_vec(),
            counter.name.to_owned(),
            counter.window_ms,
        );
        let ends = at.plus(present.left_ms);
        self.counts.insert(
            name,
            Held {
                window: present.number,
                count,
                ends,
            },
        );
    }

    /// Makes room for `more` counters, or refuses.
    fn reserve(&mut self, more: usize, now: UnixMillis) -> Result<(), CacheError> {
        if self.counts.len() + more > self.sweep_at.clamp(1_024, SHARD_COUNTERS_MAX) {
            self.counts.retain(|_, held| held.ends > now);
            self.sweep_at = self.counts.len() * 2;
        }
        if self.counts.len() + more > SHARD_COUNTERS_MAX {
            return Err(CacheError::Full);
        }
        Ok(())
    }
}

#[async_trait]
impl Counters for MemoryCounters {
    async fn reserve(
        &self,
        key: &[u8],
        now: UnixMillis,
        caps: &[Cap<'_>],
    ) -> Result<Reservation, CacheError> {
        let counters = checked(key, caps)?;
        if counters.is_empty() {
            return Ok(Reservation::Reserved);
        }
        let marks = self.marks();
        marks.check(key)?;
        let mut shard = self.shard(key);
        let here: Vec<u32> = counters
            .iter()
            .map(|counter| shard.get(counter, now))
            .collect();
        for (index, (cap, here)) in caps.iter().zip(&here).enumerate() {
            let count = here.saturating_add(cap.elsewhere);
            if count >= cap.max {
                return Ok(Reservation::Refused { cap: index, count });
            }
        }
        shard.reserve(counters.len(), now)?;
        for (counter, here) in counters.iter().zip(here) {
            shard.set(counter, now, here + 1);
        }
        Ok(Reservation::Reserved)
    }

    async fn add(
        &self,
        counter: Counter<'_>,
        at: UnixMillis,
        now: UnixMillis,
        delta: i32,
    ) -> Result<u32, CacheError> {
        check(&counter)?;
        if window(counter.window_ms, at).number != window(counter.window_ms, now).number {
            return Ok(0);
        }
        let marks = self.marks();
        if marks.check(counter.key).is_err() {
            return Ok(0);
        }
        let mut shard = self.shard(counter.key);
        let count = shard.get(&counter, at).saturating_add_signed(delta);
        shard.reserve(1, now)?;
        shard.set(&counter, at, count);
        Ok(count)
    }

    async fn read(
        &self,
        counters: &[Counter<'_>],
        now: UnixMillis,
    ) -> Result<Vec<u32>, CacheError> {
        checked_read(counters)?;
        let marks = self.marks();
        for counter in counters {
            marks.check(counter.key)?;
        }
        Ok(counters
            .iter()
            .map(|counter| self.shard(counter.key).get(counter, now))
            .collect())
    }

    async fn incomplete(&self) -> Result<Vec<u32>, CacheError> {
        let marks = self.marks();
        let absent = |partition: &u32| !marks.complete.contains(partition);
        Ok((0..PARTITIONS).filter(absent).collect())
    }

    async fn begin_rebuild(&self, partition: u32, token: &str) -> Result<bool, CacheError> {
        let mut marks = self.marks_mut();
        if marks.complete.contains(&partition) {
            return Ok(false);
        }
        // One process, which dies with its counters: the latest rebuild is the one.
        marks.tokens.insert(partition, token.to_owned());
        Ok(true)
    }

    async fn rebuild(
        &self,
        partition: u32,
        token: &str,
        now: UnixMillis,
        counts: &[(Counter<'_>, u32)],
    ) -> Result<bool, CacheError> {
        checked_rebuild(partition, counts)?;
        let marks = self.marks_mut();
        if marks.tokens.get(&partition).map(String::as_str) != Some(token) {
            return Ok(false);
        }
        for (counter, count) in counts {
            let mut shard = self.shard(counter.key);
            shard.reserve(1, now)?;
            shard.set(counter, now, *count);
        }
        Ok(true)
    }

    async fn end_rebuild(&self, partition: u32, token: &str) -> Result<bool, CacheError> {
        let mut marks = self.marks_mut();
        if marks.tokens.get(&partition).map(String::as_str) != Some(token) {
            return Ok(false);
        }
        marks.tokens.remove(&partition);
        marks.complete.insert(partition);
        Ok(true)
    }
}
