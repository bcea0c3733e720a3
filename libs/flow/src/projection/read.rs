//! Reading a projection's states, in memory or from the store that other replicas write.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use rapport_types::{PARTITIONS, SubjectId};

use super::table::Table;
use super::{KEYS_MAX, Projection, StateError, StateStore, decode};

/// States read from the store in one page of an iteration.
const PAGE_MAX: u32 = 1_000;

/// The states of one projection, for reading. Cloning shares them.
///
/// While a new version is built beside an old one, reads are the old one's; then all of them, of every
/// clone, are the new one's at once. One call reads one version.
#[derive(Debug)]
pub struct States<P: Projection> {
    own: Source<P>,
    /// The version before, as long as it is read.
    before: Arc<ArcSwapOption<Before<P>>>,
}

#[derive(Debug)]
enum Source<P: Projection> {
    Memory(Arc<Table<P::State>>),
    Stored(Arc<dyn StateStore>),
}

/// The states of an older version as the newer one's.
#[derive(Debug)]
pub(super) struct Before<P: Projection>(pub(super) Box<dyn OldStates<P::State>>);

/// What is called with each key and its state.
type Visit<'v, S> = dyn FnMut(&[u8], &S) + Send + 'v;

/// What a newer version reads of an older one.
#[async_trait]
pub(super) trait OldStates<S>: std::fmt::Debug + Send + Sync {
    async fn get_key(&self, partition: u32, key: &[u8]) -> Result<Option<Arc<S>>, StateError>;

    /// As [`States::get_in_memory`].
    fn get_in_memory(&self, subject: SubjectId) -> Option<Arc<S>>;

    async fn for_each(&self, partition: u32, visit: &mut Visit<'_, S>) -> Result<(), StateError>;
}

/// States of `O`, read as those of a newer version.
pub(super) struct Converted<O: Projection, S> {
    pub(super) old: States<O>,
    pub(super) convert: fn(&O::State) -> S,
}

impl<O: Projection, S> std::fmt::Debug for Converted<O, S> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Converted")
            .field("version", &O::VERSION)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<O: Projection, S: Send + Sync + 'static> OldStates<S> for Converted<O, S> {
    async fn get_key(&self, partition: u32, key: &[u8]) -> Result<Option<Arc<S>>, StateError> {
        let state = self.old.get_key(partition, key).await?;
        Ok(state.map(|state| Arc::new((self.convert)(&state))))
    }

    fn get_in_memory(&self, subject: SubjectId) -> Option<Arc<S>> {
        let state = self.old.get_in_memory(subject)?;
        Some(Arc::new((self.convert)(&state)))
    }

    async fn for_each(&self, partition: u32, visit: &mut Visit<'_, S>) -> Result<(), StateError> {
        let convert = self.convert;
        let visit = |key: &[u8], state: &O::State| visit(key, &convert(state));
        self.old.for_each(partition, visit).await
    }
}

impl<P: Projection> Clone for Source<P> {
    fn clone(&self) -> Self {
        match self {
            Self::Memory(table) => Self::Memory(table.clone()),
            Self::Stored(store) => Self::Stored(store.clone()),
        }
    }
}

impl<P: Projection> Clone for States<P> {
    fn clone(&self) -> Self {
        Self {
            own: self.own.clone(),
            before: self.before.clone(),
        }
    }
}

impl<P: Projection> States<P> {
    pub(super) fn memory(table: Arc<Table<P::State>>) -> Self {
        Self::of(Source::Memory(table))
    }

    pub(super) fn stored(store: Arc<dyn StateStore>) -> Self {
        Self::of(Source::Stored(store))
    }

    fn of(own: Source<P>) -> Self {
        Self {
            own,
            before: Arc::default(),
        }
    }

    /// Reads an older version from now on, in every clone, or with `None` the own one.
    pub(super) fn read_before(&self, before: Option<Before<P>>) {
        self.before.store(before.map(Arc::new));
    }

    /// Returns the version that is read now: the projection's own, unless an older one still serves.
    #[must_use]
    pub fn is_own_version(&self) -> bool {
        self.before.load().is_none()
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
        let before = self.before.load_full();
        let mut states = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let (partition, key) = (subject.partition(), subject.as_bytes());
            let state = self.key_of(before.as_deref(), partition, key).await?;
            states.push(state.unwrap_or_default());
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
        let before = self.before.load_full();
        self.key_of(before.as_deref(), partition, key).await
    }

    async fn key_of(
        &self,
        before: Option<&Before<P>>,
        partition: u32,
        key: &[u8],
    ) -> Result<Option<Arc<P::State>>, StateError> {
        if let Some(before) = before {
            return before.0.get_key(partition, key).await;
        }
        match &self.own {
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
        let before = self.before.load_full();
        let mut partials = Vec::new();
        for partition in 0..PARTITIONS {
            partials.extend(self.key_of(before.as_deref(), partition, key).await?);
        }
        Ok(partials)
    }

    /// Returns a subject's state without waiting: `None` when the states are not in memory.
    #[must_use]
    pub fn get_in_memory(&self, subject: SubjectId) -> Option<Arc<P::State>> {
        if let Some(before) = &*self.before.load() {
            return before.0.get_in_memory(subject);
        }
        match &self.own {
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
        if let Some(before) = self.before.load_full() {
            return before.0.for_each(partition, &mut visit).await;
        }
        match &self.own {
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
