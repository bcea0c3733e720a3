//! From identifiers to subjects and from subjects to keys, remembered in bounded caches.

use std::collections::HashMap;
use std::sync::Arc;

use moka::sync::Cache;
use profile_domain::Identifier;
use rapport_flow::People;
use rapport_store::{Db, StoreError};
use rapport_types::{Clock, SubjectId};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::keyring::Keyring;
use crate::seal::SubjectKeys;
use crate::store::subject::{self, INDEX_BYTES, NewSubject};

/// Identifiers remembered: 48 bytes each.
const INDEXES_MAX: u64 = 500_000;
/// Subjects whose keys are remembered, about 1 KiB each.
const KEYS_MAX: u64 = 65_536;
/// Subjects made in one transaction.
const CREATE_MAX: usize = 500;

/// The subjects of this deployment. Cloning shares the caches.
#[derive(Debug, Clone)]
pub struct Subjects {
    db: Db,
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    people: People,
    by_index: Cache<[u8; INDEX_BYTES], SubjectId>,
    keys: Cache<SubjectId, Arc<SubjectKeys>>,
}

/// The answer for one identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// The subject.
    pub subject_id: SubjectId,
    /// Whether it was made just now.
    pub created: bool,
}

impl Subjects {
    /// Returns the subjects of `db`, whose keys `keyring` wraps; `people` knows who was erased.
    #[must_use]
    pub fn new(db: Db, keyring: Arc<Keyring>, clock: Arc<dyn Clock>, people: People) -> Self {
        Self {
            db,
            keyring,
            clock,
            people,
            by_index: Cache::new(INDEXES_MAX),
            keys: Cache::new(KEYS_MAX),
        }
    }

    /// Returns the subject of each identifier, in order, made at first sight.
    ///
    /// # Errors
    /// [`StoreError`]: none or some were made; asking again gives the same subjects.
    /// [`StoreError::Conflict`] where one was erased while it was looked for.
    pub async fn resolve(&self, identifiers: &[Identifier]) -> Result<Vec<Resolved>, StoreError> {
        let indexes: Vec<[u8; INDEX_BYTES]> =
            identifiers.iter().map(|one| self.index(one)).collect();
        let mut found: HashMap<[u8; INDEX_BYTES], Resolved> = HashMap::new();
        let mut missing = Vec::new();
        for index in &indexes {
            // Whoever looked somebody up during an erasure may have remembered a subject that is gone.
            let cached = self.by_index.get(index);
            match cached.filter(|subject| !self.people.is_erased(*subject)) {
                Some(subject_id) => {
                    _ = found.insert(
                        *index,
                        Resolved {
                            subject_id,
                            created: false,
                        },
                    )
                }
                None => missing.push(*index),
            }
        }
        missing.sort_unstable();
        missing.dedup();
        for page in missing.chunks(CREATE_MAX) {
            for (index, resolved) in self.find_or_create(page).await? {
                self.by_index.insert(index, resolved.subject_id);
                found.insert(index, resolved);
            }
        }
        let answers = indexes.iter().map(|index| found.get(index).copied());
        let answers: Option<Vec<Resolved>> = answers.collect();
        // Somebody made and erased one meanwhile. Answers are told apart by their place alone.
        answers.ok_or(StoreError::Conflict(sqlx::Error::RowNotFound))
    }

    async fn find_or_create(
        &self,
        indexes: &[[u8; INDEX_BYTES]],
    ) -> Result<Vec<([u8; INDEX_BYTES], Resolved)>, StoreError> {
        let known = subject::find(&self.db, indexes).await?;
        let mut answers = Vec::with_capacity(indexes.len());
        let mut new = Vec::new();
        for (index, known) in indexes.iter().zip(known) {
            match known {
                Some(subject_id) => answers.push((
                    *index,
                    Resolved {
                        subject_id,
                        created: false,
                    },
                )),
                None => new.push(self.new_subject(*index)),
            }
        }
        if new.is_empty() {
            return Ok(answers);
        }
        let rows: Vec<NewSubject> = new.iter().map(|(row, _)| row.clone()).collect();
        let mut tx = self.db.begin().await?;
        let after = subject::create(&mut tx, &rows, self.clock.now()).await?;
        tx.commit().await?;
        for ((row, keys), subject_id) in new.into_iter().zip(after) {
            let Some(subject_id) = subject_id else {
                continue;
            };
            let created = subject_id == row.subject_id;
            if created {
                self.keys.insert(subject_id, keys);
            }
            answers.push((
                row.blind_index,
                Resolved {
                    subject_id,
                    created,
                },
            ));
        }
        Ok(answers)
    }

    fn new_subject(&self, blind_index: [u8; INDEX_BYTES]) -> (NewSubject, Arc<SubjectKeys>) {
        let mut id = [0; 16];
        SystemRandom::new()
            .fill(&mut id)
            .expect("the machine gives random bytes");
        let subject_id = SubjectId::new(id);
        let (data_key, wrapped_key) = self.keyring.new_data_key(&subject_id);
        let keys = Arc::new(SubjectKeys::new(&data_key));
        (
            NewSubject {
                subject_id,
                wrapped_key,
                blind_index,
            },
            keys,
        )
    }

    /// Returns the keys of those `subjects` that exist and are not erased.
    ///
    /// # Errors
    /// [`StoreError`]. A key that the keyring cannot unwrap is logged and left out.
    pub async fn keys(
        &self,
        subjects: &[SubjectId],
    ) -> Result<HashMap<SubjectId, Arc<SubjectKeys>>, StoreError> {
        let mut found = HashMap::with_capacity(subjects.len());
        let mut missing = Vec::new();
        let living = |subject: &&SubjectId| !self.people.is_erased(**subject);
        for subject in subjects.iter().filter(living) {
            match self.keys.get(subject) {
                Some(keys) => _ = found.insert(*subject, keys),
                None => missing.push(*subject),
            }
        }
        missing.sort_unstable();
        missing.dedup();
        for page in missing.chunks(CREATE_MAX) {
            for row in subject::rows(&self.db, page).await? {
                let Some(wrapped) = &row.wrapped_key else {
                    continue;
                };
                match self.keyring.unwrap(&row.subject_id, wrapped) {
                    Ok(data_key) => {
                        let keys = Arc::new(SubjectKeys::new(&data_key));
                        self.keys.insert(row.subject_id, Arc::clone(&keys));
                        found.insert(row.subject_id, keys);
                    }
                    Err(error) => {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "key not unwrapped"
                        );
                    }
                }
            }
        }
        Ok(found)
    }

    /// Forgets erased subjects: their keys, and every identifier that led to them. Looks through all
    /// that is remembered, once.
    pub fn forget(&self, subjects: &[SubjectId]) {
        subjects
            .iter()
            .for_each(|subject| self.keys.invalidate(subject));
        let stale: Vec<[u8; INDEX_BYTES]> = self
            .by_index
            .iter()
            .filter(|(_, owner)| subjects.contains(owner))
            .map(|(index, _)| *index)
            .collect();
        stale
            .iter()
            .for_each(|index| self.by_index.invalidate(index));
    }

    fn index(&self, identifier: &Identifier) -> [u8; INDEX_BYTES] {
        self.keyring
            .blind_index(identifier.kind().name(), identifier.text())
    }
}
