//! Reading a projection's states, in memory or from the store that other replicas write.

use std::sync::Arc;

use bytes::Bytes;
use rapport_types::{PARTITIONS, SubjectId};

use super::table::Table;
use super::{KEYS_MAX, Projection, StateError, StateStore, decode};

/// States read from the store in one page of an iteration.
const PAGE_MAX: u32 = 1_000;

/// The states of one projection, for reading. Cloning shares them.
#[derive(Debug)]
pub struct States<P: Projection>(Source<P>);

#[derive(Debug)]
enum Source<P: Projection> {
    Memory(Arc<Table<P::State>>),
    Stored(Arc<dyn StateStore>),
}

impl<P: Projection> Clone for States<P> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Source::Memory(table) => Source::Memory(table.clone()),
            Source::Stored(store) => Source::Stored(store.clone()),
        })
    }
}

impl<P: Projection> States<P> {
    pub(super) fn memory(table: Arc<Table<P::State>>) -> Self {
        Self(Source::Memory(table))
    }

    pub(super) fn stored(store: Arc<dyn StateStore>) -> Self {
        Self(Source::Stored(store))
    }

    /// Returns a subject's state, the default one if nothing happened yet. In memory it does not
    /// wait and copies nothing.
    ///
    /// # Errors
    /// [`StateError`] when a store cannot be read; never in memory.
    pub async fn get(&self, subject: SubjectId) -> Result<Arc<P::State>, StateError> {
        let state = self
            .get_key(subject.partition(), subject.as_bytes())
            .await?;
        Ok(state.unwrap_or_default())
    }

    /// Returns the states of subjects, in their order: a person's members, for folding.
    ///
    /// # Errors
    /// [`StateError`] when a store cannot be read; never in memory.
    pub async fn get_many(&self, subjects: &[SubjectId]) -> Result<Vec<Arc<P::State>>, StateError> {
        let mut states = Vec::with_capacity(subjects.len());
        for subject in subjects {
            states.push(self.get(*subject).await?);
        }
        Ok(states)
    }

    /// Returns the state of any key in one partition, `None` if there is none.
    ///
    /// # Errors
    /// [`StateError`] when a store cannot be read; never in memory.
    pub async fn get_key(
        &self,
        partition: u32,
        key: &[u8],
    ) -> Result<Option<Arc<P::State>>, StateError> {
        match &self.0 {
            Source::Memory(table) => Ok(table.get(partition, key)),
            Source::Stored(store) => {
                let found = store
                    .load(partition, &[Bytes::copy_from_slice(key)])
                    .await?;
                let Some(bytes) = found.into_iter().next().flatten() else {
                    return Ok(None);
                };
                Ok(Some(Arc::new(decode::<P>(&bytes)?)))
            }
        }
    }

    /// Returns the partial states of a key that belongs to no subject, at most one per partition,
    /// in partition order: fold them.
    ///
    /// # Errors
    /// [`StateError`] when a store cannot be read; never in memory.
    pub async fn partials(&self, key: &[u8]) -> Result<Vec<Arc<P::State>>, StateError> {
        let mut partials = Vec::new();
        for partition in 0..PARTITIONS {
            partials.extend(self.get_key(partition, key).await?);
        }
        Ok(partials)
    }

    /// Returns a subject's state without waiting: `None` when the states are not in memory.
    #[must_use]
    pub fn get_in_memory(&self, subject: SubjectId) -> Option<Arc<P::State>> {
        match &self.0 {
            Source::Memory(table) => Some(
                table
                    .get(subject.partition(), subject.as_bytes())
                    .unwrap_or_default(),
            ),
            Source::Stored(_) => None,
        }
    }

    /// Visits every state of a partition, sorted by key: for training and reports. In memory the
    /// writer is held back only while pointers are copied; from a store it reads pages.
    ///
    /// # Errors
    /// [`StateError`] when a store cannot be read; never in memory.
    pub async fn for_each(
        &self,
        partition: u32,
        mut visit: impl FnMut(&[u8], &P::State) + Send,
    ) -> Result<(), StateError> {
        match &self.0 {
            Source::Memory(table) => {
                let mut states = table.all(partition);
                states.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                states.iter().for_each(|(key, state)| visit(key, state));
            }
            Source::Stored(store) => {
                let mut after: Option<Vec<u8>> = None;
                loop {
                    let page = store.scan(partition, after.as_deref(), PAGE_MAX).await?;
                    for (key, bytes) in &page {
                        visit(key, &decode::<P>(bytes)?);
                    }
                    let full = page.len() == PAGE_MAX as usize;
                    after = page.into_iter().next_back().map(|(key, _)| key);
                    if !full {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Reads absent keys of a partition into the table, in pages of [`KEYS_MAX`].
pub(super) async fn prefetch<P: Projection>(
    store: &dyn StateStore,
    table: &Table<P::State>,
    partition: u32,
    mut keys: Vec<Bytes>,
) -> Result<(), StateError> {
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| !table.holds(partition, key));
    for keys in keys.chunks(KEYS_MAX) {
        let found = store.load(partition, keys).await?;
        for (key, bytes) in keys.iter().zip(found) {
            let state = bytes.as_deref().map(decode::<P>).transpose()?;
            table.put(partition, key.as_ref().into(), state);
        }
    }
    Ok(())
}
