//! The map behind the view: sharded, so that a writer holds one shard for one entry at a time.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rapport_types::{PurposeSet, SubjectId};

use super::Person;

/// A growing shard is re-hashed under its lock: with a million subjects that is 4,000 entries.
const SHARDS: usize = 256;

/// What is known of one subject. Subjects without link, register or erasure have no entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) granted: PurposeSet,
    pub(super) revoked: PurposeSet,
    pub(super) erased: bool,
    pub(super) person: Option<Arc<Person>>,
}

type Shard = HashMap<SubjectId, Entry, BuildHasherDefault<SubjectHasher>>;

#[derive(Debug)]
pub(super) struct World {
    shards: Box<[RwLock<Shard>]>,
    graph_version: AtomicU64,
}

impl Default for World {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self {
            shards,
            graph_version: AtomicU64::new(0),
        }
    }
}

impl World {
    pub(super) fn get(&self, subject: SubjectId) -> Option<Entry> {
        let shard = self
            .shard(subject)
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        shard.get(&subject).cloned()
    }

    /// Changes one subject's entry; an entry that says nothing is removed.
    pub(super) fn change(&self, subject: SubjectId, change: impl FnOnce(&mut Entry)) {
        let mut shard = self
            .shard(subject)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let entry = shard.entry(subject).or_default();
        change(entry);
        if *entry == Entry::default() {
            shard.remove(&subject);
        }
    }

    /// Returns what the subject's person permits: granted somewhere, revoked nowhere.
    pub(super) fn permitted(&self, subject: SubjectId) -> PurposeSet {
        let Some(own) = self.get(subject) else {
            return PurposeSet::default();
        };
        if own.erased {
            return PurposeSet::default();
        }
        let (mut granted, mut revoked) = (own.granted.0, own.revoked.0);
        let members = own.person.iter().flat_map(|person| person.members.iter());
        for entry in members.filter_map(|member| self.get(*member)) {
            granted |= entry.granted.0;
            revoked |= entry.revoked.0;
        }
        PurposeSet(granted & !revoked)
    }

    pub(super) fn graph_version(&self) -> u64 {
        self.graph_version.load(Ordering::Acquire)
    }

    pub(super) fn set_graph_version(&self, version: u64) {
        self.graph_version.store(version, Ordering::Release);
    }

    fn shard(&self, subject: SubjectId) -> &RwLock<Shard> {
        // Another byte than those that lead the hash within the shard.
        &self.shards[usize::from(subject.as_bytes()[15]) % SHARDS]
    }
}

/// Hashes subject ids, which profile draws at random: one multiplication spreads them well enough,
/// and callers cannot insert ids of their choice.
#[derive(Debug, Default)]
pub(super) struct SubjectHasher(u64);

impl Hasher for SubjectHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let mixed = self.0.rotate_left(5) ^ u64::from_le_bytes(word);
            self.0 = mixed.wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
