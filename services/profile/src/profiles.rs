//! Reading profiles: who is asked for, what consent lets out, and how it is folded over a person.

mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use profile_domain::{Behaviour, LifecycleStage, ProfileEvent, ProfileState, ViewOptions};
use prost::Message as _;
use rapport_api::event::v1::{EmotionObservedPersonal, SearchPersonal};
use rapport_api::profile::v1 as pb;
use rapport_flow::{People, Progress, States};
use rapport_store::Db;
use rapport_types::{Clock, PARTITIONS, Purpose, SubjectId, UnixMillis};

use crate::error::Error;
use crate::projection::{Profiles, SealedEvent, SealedKind, SubjectState};
use crate::seal::SubjectKeys;
use crate::store::subject;
use crate::subjects::Subjects;
use crate::value::Models;

pub use view::stage_name;

/// The reader. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct ProfileReader {
    /// The states.
    pub states: States<Profiles>,
    /// How far they are.
    pub progress: Progress,
    /// Who is whom and allows what.
    pub people: People,
    /// What foretells.
    pub models: Models,
    /// The keys of sealed events.
    pub subjects: Subjects,
    /// Whether a subject exists.
    pub db: Db,
    /// What `now` is.
    pub clock: Arc<dyn Clock>,
}

/// How a population stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Persons by stage.
    pub stages: BTreeMap<&'static str, u64>,
    /// Subjects left out.
    pub without_consent: u64,
}

impl ProfileReader {
    /// Returns a person's profile as of an instant; `None` is now.
    ///
    /// # Errors
    /// [`Error::SubjectNotFound`], [`Error::ConsentMissing`], [`Error::States`], [`Error::Store`].
    pub async fn profile(
        &self,
        subject_id: SubjectId,
        as_of: Option<UnixMillis>,
    ) -> Result<pb::Profile, Error> {
        if !self
            .people
            .consent(subject_id, Purpose::Personalise)
            .is_granted()
        {
            return Err(self.refusal(subject_id).await?);
        }
        let person = self.people.person_view(subject_id);
        let states = self.states.get_many(&person.members).await?;
        let may_feel = self
            .people
            .consent(subject_id, Purpose::Emotion)
            .is_granted();
        let opened = self.opened(&person.members, &states, may_feel).await?;
        let mut whole = ProfileState::folded(states.iter().map(|state| &state.profile));
        whole.merge(&opened.learned);
        let as_of = as_of.unwrap_or_else(|| self.clock.now());
        let read = view::Read {
            person: &person,
            state: &whole,
            counted_twice: &opened.counts,
            may_feel,
            served: self.models.served(),
        };
        Ok(view::profile(&read, &ViewOptions::at(as_of)))
    }

    /// Returns how many persons stand in each lifecycle stage, of those who granted `personalise`.
    /// Lets others run between partitions.
    ///
    /// # Errors
    /// [`Error::States`].
    pub async fn summary(&self, as_of: Option<UnixMillis>) -> Result<Summary, Error> {
        let options = ViewOptions {
            tags_per_kind: 0,
            ..ViewOptions::at(as_of.unwrap_or_else(|| self.clock.now()))
        };
        let mut summary = Summary::default();
        for partition in 0..PARTITIONS {
            let count = |_anchor: SubjectId, state: &ProfileState| {
                summary.count(state.view(&options).lifecycle.stage);
            };
            let left_out = self.persons(partition, count).await?;
            summary.without_consent += left_out;
            tokio::task::yield_now().await;
        }
        Ok(summary)
    }

    /// Visits, by their anchors, the persons of a partition who granted `personalise`: each person once,
    /// at its first member that has done anything. Returns how many subjects were left out for want of
    /// consent. Holds no lock while it visits.
    ///
    /// # Errors
    /// [`Error::States`].
    pub(crate) async fn persons(
        &self,
        partition: u32,
        mut visit: impl FnMut(SubjectId, &ProfileState) + Send,
    ) -> Result<u64, Error> {
        let (mut linked, mut without_consent) = (Vec::new(), 0);
        let look = |key: &[u8], state: &SubjectState| {
            let Ok(subject) = SubjectId::parse(key) else {
                return;
            };
            if state.erased || self.people.is_erased(subject) {
                return;
            }
            let consent = self.people.consent(subject, Purpose::Personalise);
            if !consent.is_granted() {
                without_consent += 1;
            } else if self.people.members(subject).len() > 1 {
                linked.push(subject);
            } else {
                visit(subject, &state.profile);
            }
        };
        self.states.for_each(partition, look).await?;
        for subject in linked {
            let person = self.people.person_view(subject);
            let states = self.states.get_many(&person.members).await?;
            let mut active = person.members.iter().zip(&states);
            let first = active.find(|(_, state)| state.profile.last_seen().is_some());
            if first.is_some_and(|(member, _)| *member == subject) {
                let whole = ProfileState::folded(states.iter().map(|state| &state.profile));
                visit(person.anchor, &whole);
            }
        }
        Ok(without_consent)
    }

    /// Fails when the view of people is stale: whoever looks at everybody would take it for a shop in
    /// which nobody allows anything.
    ///
    /// # Errors
    /// [`Error::ConsentViewStale`].
    pub(crate) fn fresh(&self) -> Result<(), Error> {
        match self.people.is_stale() {
            true => Err(Error::ConsentViewStale),
            false => Ok(()),
        }
    }

    /// Returns why a profile without consent is refused: a subject that does not exist has none.
    async fn refusal(&self, subject_id: SubjectId) -> Result<Error, Error> {
        let rows = subject::rows(&self.db, &[subject_id]).await?;
        Ok(match rows.iter().any(|row| row.wrapped_key.is_some()) {
            true => Error::ConsentMissing(Purpose::Personalise),
            false => Error::SubjectNotFound(subject_id),
        })
    }

    /// Opens what the person lets us read of its sealed events and learns from it.
    async fn opened(
        &self,
        members: &[SubjectId],
        states: &[Arc<SubjectState>],
        may_feel: bool,
    ) -> Result<Opened, Error> {
        let mut opened = Opened::default();
        let sealed = |state: &SubjectState| !state.sealed.is_empty();
        if !states.iter().any(|state| sealed(state)) {
            return Ok(opened);
        }
        let keys = self.subjects.keys(members).await?;
        for (member, state) in members.iter().zip(states) {
            let Some(keys) = keys.get(member) else {
                continue;
            };
            for event in &state.sealed {
                if event.kind() == SealedKind::Emotion && !may_feel {
                    continue;
                }
                opened.learn(member, keys, event);
            }
        }
        Ok(opened)
    }
}

impl Summary {
    fn count(&mut self, stage: LifecycleStage) {
        *self.stages.entry(stage_name(stage)).or_default() += 1;
    }

    /// Returns how many persons were counted.
    #[must_use]
    pub fn persons(&self) -> u64 {
        self.stages.values().sum()
    }
}

/// What sealed events said, apart from the stored state: it is never stored itself.
#[derive(Debug, Default)]
struct Opened {
    learned: ProfileState,
    /// Events by type that both this and the stored state count.
    counts: HashMap<&'static str, u64>,
}

impl Opened {
    fn learn(&mut self, member: &SubjectId, keys: &SubjectKeys, sealed: &SealedEvent) {
        let Ok(plain) = keys.open(member, &sealed.event_id, &sealed.sealed) else {
            tracing::warn!(kind = sealed.kind, "a sealed event cannot be opened");
            return;
        };
        let kind = sealed.kind();
        let event = |behaviour| ProfileEvent {
            event_id: &sealed.event_id,
            event_type: kind.event_type(),
            occurred_at: UnixMillis(sealed.occurred_at_ms),
            channel: 0,
            device: "",
            behaviour,
        };
        match kind {
            SealedKind::Search => {
                let Ok(search) = SearchPersonal::decode(plain.as_slice()) else {
                    return;
                };
                let words = rapport_text::words(&search.query);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                self.learned.apply(&event(Behaviour::Search(&words)));
            }
            SealedKind::Emotion => {
                let Ok(felt) = EmotionObservedPersonal::decode(plain.as_slice()) else {
                    return;
                };
                self.learned.apply(&event(Behaviour::Emotion {
                    label: &felt.label,
                    valence: felt.valence,
                    arousal: felt.arousal,
                }));
            }
        }
        *self.counts.entry(kind.event_type()).or_default() += 1;
    }
}
