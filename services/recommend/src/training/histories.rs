//! Reading the histories of those who permit it, folded by person at one graph version.

use std::collections::{BTreeMap, HashMap};

use rapport_flow::{Consent, LogReader, People, Projection as _, StateError, TailOptions};
use rapport_types::{PARTITIONS, Purpose, SubjectId, UnixMillis};
use recommend_domain::{Items, Timeline};

use super::Trainer;
use crate::error::Error;
use crate::projection::{SubjectTimeline, Timelines};

const READER: &str = "recommend_training";

/// Histories by person.
#[derive(Debug)]
pub(super) struct Histories {
    /// The numbering of the timelines.
    pub(super) items: Items,
    /// Timelines by the person's anchor.
    pub(super) persons: BTreeMap<SubjectId, Timeline>,
    /// The newest interaction of all.
    pub(super) newest: UnixMillis,
    /// The version of the identity graph when reading began.
    pub(super) graph_version: u64,
}

impl Histories {
    fn new(people: &People) -> Self {
        Self {
            items: Items::default(),
            persons: BTreeMap::new(),
            newest: UnixMillis(0),
            graph_version: people.graph_version(),
        }
    }

    fn add(&mut self, people: &People, subject: SubjectId, timeline: &SubjectTimeline) {
        if people.consent(subject, Purpose::Personalise) != Consent::Granted || timeline.is_empty()
        {
            return;
        }
        let Self {
            items,
            persons,
            newest,
            ..
        } = self;
        let person = persons.entry(people.anchor(subject)).or_default();
        // A full table learns no new items.
        timeline.add_to(person, |id| items.intern(id).ok());
        let times = timeline.interactions().map(|done| done.occurred_at);
        *newest = times.max().unwrap_or(*newest).max(*newest);
    }
}

impl Trainer {
    /// Reads the histories from the timelines, or from the log where those cannot be listed.
    pub(super) async fn histories(&self) -> Result<Histories, Error> {
        if self.people.is_stale() {
            return Err(Error::ConsentViewStale);
        }
        let listed = self.read_timelines().await;
        let histories = match listed {
            Err(StateError::NotIterable) => self.read_log().await?,
            listed => listed.map_err(|error| Error::Away(Box::new(error)))?,
        };
        // Had the view gone stale meanwhile, whoever came later would be missing.
        if self.people.is_stale() {
            return Err(Error::ConsentViewStale);
        }
        Ok(histories)
    }

    async fn read_timelines(&self) -> Result<Histories, StateError> {
        let mut histories = Histories::new(&self.people);
        for partition in 0..PARTITIONS {
            let add = |key: &[u8], timeline: &SubjectTimeline| {
                if let Ok(subject) = SubjectId::parse(key) {
                    histories.add(&self.people, subject, timeline);
                }
            };
            self.timelines.for_each(partition, add).await?;
            // A partition of states in memory is read without a pause.
            tokio::task::yield_now().await;
        }
        Ok(histories)
    }

    async fn read_log(&self) -> Result<Histories, Error> {
        let options = TailOptions {
            name: READER,
            cursors: (0..PARTITIONS).map(|partition| (partition, 0)).collect(),
            types: Timelines::TYPES
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            follow: false,
        };
        let mut reader = LogReader::spawn(self.profile.clone(), options);
        let mut states: HashMap<SubjectId, SubjectTimeline> = HashMap::new();
        let lost = |error| Error::Away(Box::new(error));
        while let Some(tailed) = reader.next().await.map_err(lost)? {
            for event in tailed.batch.iter().flat_map(|batch| &batch.events) {
                if let Ok(subject) = SubjectId::parse(&event.subject_id) {
                    let state = states.entry(subject).or_default();
                    Timelines.apply(subject.as_bytes(), state, event);
                }
            }
        }
        let mut histories = Histories::new(&self.people);
        for (subject, timeline) in &states {
            histories.add(&self.people, *subject, timeline);
        }
        Ok(histories)
    }
}
