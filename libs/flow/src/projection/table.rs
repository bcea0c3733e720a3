//! States in memory, by partition and key, with what changed since the last flush.
//!
//! Readers take a clone of an `Arc` under a read lock; the writer holds a partition's lock for a
//! few events at a time, and copies a state only while a reader still holds the old one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use prost::Message as _;
use rapport_api::event::v1::{EventRecord, SubjectsErased};
use rapport_types::{PARTITIONS, SubjectId};

use super::{Projection, StateChange};

/// Events applied under one lock, and keys encoded under one: some tens of microseconds.
const LOCKED_MAX: usize = 64;
/// The type whose copies in a partition erase subjects.
pub(super) const ERASED_TYPE: &str = "subjects_erased";

#[derive(Debug)]
struct Slot<S> {
    /// `None` is known to be absent: erased, or looked up in the store and not there.
    state: Option<Arc<S>>,
    dirty: bool,
}

type Map<S> = HashMap<Box<[u8]>, Slot<S>>;

/// Keys that changed since the last flush, each once.
pub(super) type Dirty = Vec<Box<[u8]>>;

#[derive(Debug)]
pub(super) struct Table<S> {
    partitions: Box<[RwLock<Map<S>>]>,
}

impl<S: Clone + Default> Table<S> {
    pub(super) fn new() -> Self {
        Self {
            partitions: (0..PARTITIONS).map(|_| RwLock::default()).collect(),
        }
    }

    /// Returns the state of a key; `None` when it is absent or not held.
    pub(super) fn get(&self, partition: u32, key: &[u8]) -> Option<Arc<S>> {
        self.read(partition)
            .get(key)
            .and_then(|slot| slot.state.clone())
    }

    /// Returns whether a key's state, or its absence, is held.
    pub(super) fn holds(&self, partition: u32, key: &[u8]) -> bool {
        self.read(partition).contains_key(key)
    }

    /// Returns every state of a partition, in no order. The lock is held to clone pointers only.
    pub(super) fn all(&self, partition: u32) -> Vec<(Box<[u8]>, Arc<S>)> {
        let map = self.read(partition);
        map.iter()
            .filter_map(|(key, slot)| Some((key.clone(), slot.state.clone()?)))
            .collect()
    }

    pub(super) fn len(&self, partition: u32) -> usize {
        self.read(partition).len()
    }

    /// Puts a clean state or absence in, as the store has it.
    pub(super) fn put(&self, partition: u32, key: Box<[u8]>, state: Option<S>) {
        let state = state.map(Arc::new);
        self.write(partition).insert(
            key,
            Slot {
                state,
                dirty: false,
            },
        );
    }

    /// Replaces a whole partition by clean states.
    pub(super) fn replace(&self, partition: u32, states: impl IntoIterator<Item = (Box<[u8]>, S)>) {
        let clean = |(key, state)| {
            (
                key,
                Slot {
                    state: Some(Arc::new(state)),
                    dirty: false,
                },
            )
        };
        let map: Map<S> = states.into_iter().map(clean).collect();
        // Dropped after the lock: freeing a large map takes a while.
        let _old = std::mem::replace(&mut *self.write(partition), map);
    }

    /// Applies events of one partition in order and notes the keys that changed.
    pub(super) fn apply<P: Projection<State = S>>(
        &self,
        projection: &P,
        partition: u32,
        events: &[EventRecord],
        dirty: &mut Dirty,
    ) {
        let wanted =
            |event: &EventRecord| P::TYPES.is_empty() || P::TYPES.contains(&&*event.r#type);
        let mut keys = Vec::new();
        for events in events.chunks(LOCKED_MAX) {
            let mut map = self.write(partition);
            for event in events {
                if event.r#type == ERASED_TYPE {
                    for subject in erased_subjects(event) {
                        erase_in(&mut map, projection, subject, dirty);
                    }
                }
                if !wanted(event) {
                    continue;
                }
                keys.clear();
                projection.keys(event, &mut keys);
                for key in &keys {
                    let slot = touch(&mut map, key, dirty);
                    let state = slot.state.get_or_insert_with(Arc::default);
                    projection.apply(key, Arc::make_mut(state), event);
                }
            }
        }
    }

    /// Drops a subject's state.
    pub(super) fn erase<P: Projection<State = S>>(
        &self,
        projection: &P,
        partition: u32,
        subject: SubjectId,
        dirty: &mut Dirty,
    ) {
        erase_in(&mut self.write(partition), projection, subject, dirty);
    }

    /// Encodes what changed and marks it clean.
    pub(super) fn changes<P: Projection<State = S>>(
        &self,
        partition: u32,
        dirty: &[Box<[u8]>],
    ) -> Vec<StateChange> {
        let mut changes = Vec::with_capacity(dirty.len());
        for keys in dirty.chunks(LOCKED_MAX) {
            let mut map = self.write(partition);
            for key in keys {
                let Some(slot) = map.get_mut(key) else {
                    continue;
                };
                slot.dirty = false;
                let state = slot.state.as_deref().map(P::encode);
                changes.push(StateChange {
                    key: key.clone(),
                    state,
                });
            }
        }
        changes
    }

    /// Marks keys as changed again: their flush failed.
    pub(super) fn restore(&self, partition: u32, keys: Dirty, dirty: &mut Dirty) {
        let mut map = self.write(partition);
        for key in keys {
            if let Some(slot) = map.get_mut(&key)
                && !std::mem::replace(&mut slot.dirty, true)
            {
                dirty.push(key);
            }
        }
    }

    /// Forgets clean entries: absent ones after a flush, or all to make room.
    pub(super) fn forget(&self, partition: u32, all: bool) {
        self.write(partition)
            .retain(|_, slot| slot.dirty || (!all && slot.state.is_some()));
    }

    fn read(&self, partition: u32) -> RwLockReadGuard<'_, Map<S>> {
        let map = self.partitions[partition as usize].read();
        map.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, partition: u32) -> RwLockWriteGuard<'_, Map<S>> {
        let map = self.partitions[partition as usize].write();
        map.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the keys that applying the events will touch.
pub(super) fn keys_of<P: Projection>(
    projection: &P,
    events: &[EventRecord],
    keys: &mut Vec<Bytes>,
) {
    for event in events {
        if P::TYPES.is_empty() || P::TYPES.contains(&&*event.r#type) {
            projection.keys(event, keys);
        }
    }
}

/// Returns the subjects of an erasure's copy, as far as they can be read.
fn erased_subjects(event: &EventRecord) -> Vec<SubjectId> {
    let Ok(erased) = SubjectsErased::decode(event.payload.as_ref()) else {
        tracing::error!(sequence = event.sequence, "an erasure does not decode");
        return Vec::new();
    };
    erased
        .subject_ids
        .iter()
        .filter_map(|id| SubjectId::parse(id).ok())
        .collect()
}

fn erase_in<P: Projection>(
    map: &mut Map<P::State>,
    projection: &P,
    subject: SubjectId,
    dirty: &mut Dirty,
) {
    if let Some(key) = projection.erased(subject) {
        touch(map, &key, dirty).state = None;
    }
}

/// Returns a key's slot, marked as changed.
fn touch<'a, S>(map: &'a mut Map<S>, key: &[u8], dirty: &mut Dirty) -> &'a mut Slot<S> {
    if !map.contains_key(key) {
        map.insert(
            key.into(),
            Slot {
                state: None,
                dirty: false,
            },
        );
    }
    let slot = map.get_mut(key).expect("it was inserted above");
    if !std::mem::replace(&mut slot.dirty, true) {
        dirty.push(key.into());
    }
    slot
}
