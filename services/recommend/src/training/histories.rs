//! Reading the histories of those who permit it, folded by person at one graph version.

use std::collections::{BTreeMap, HashMap};

use rapport_flow::{
    Consent, LogReader, People, Projection as _, StateError, TailError, TailOptions,
};
use rapport_types::{PARTITIONS, Purpose, SubjectId, UnixMillis};
use recommend_domain::{Items, Timeline};

use super::Trainer;
use crate::error::Error;
use crate::projection::{SubjectTimeline, Timelines};
use crate::projections;

const READER: &str = "recommend_training";
/// How often reading begins again because the log forgot what was about to be read.
const ATTEMPTS_MAX: usize = 2;

/// Timelines by subject.
type States = HashMap<SubjectId, SubjectTimeline>;
/// The last sequence of every partition that is in the states.
type Cursors = BTreeMap<u32, u64>;

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
    /// Reads the histories from the timelines, or from snapshots and the log where those cannot be
    /// listed.
    pub(super) async fn histories(&self) -> Result<Histories, Error> {
        if self.people.is_stale() {
            return Err(Error::ConsentViewStale);
        }
        let listed = self.read_timelines().await;
        let histories = match listed {
            Err(StateError::NotIterable) => self.read_log().await?,
            listed => listed.map_err(away)?,
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

    /// Reads from snapshots, and from the log what came after them: the log may have forgotten the rest.
    async fn read_log(&self) -> Result<Histories, Error> {
        let mut attempts = 1;
        let states = loop {
            let (mut states, cursors) = self.read_snapshots().await.map_err(away)?;
            match self.read_tail(&mut states, cursors).await {
                // A newer snapshot was written meanwhile, and the log forgot what that one has.
                Err(TailError::Expired) if attempts < ATTEMPTS_MAX => attempts += 1,
                read => break read.map(|()| states).map_err(away)?,
            }
        };
        let mut histories = Histories::new(&self.people);
        for (subject, timeline) in &states {
            histories.add(&self.people, *subject, timeline);
        }
        Ok(histories)
    }

    /// Returns what the newest snapshots have, and for every partition where the log goes on.
    async fn read_snapshots(&self) -> Result<(States, Cursors), StateError> {
        let snapshots = projections::snapshots(&self.objects);
        let (mut states, mut cursors) = (States::new(), Cursors::new());
        for partition in 0..PARTITIONS {
            let add = |key: &[u8], timeline: SubjectTimeline| {
                if let Ok(subject) = SubjectId::parse(key) {
                    states.insert(subject, timeline);
                }
            };
            let sequence = snapshots.for_each::<Timelines>(partition, add).await?;
            cursors.insert(partition, sequence);
        }
        Ok((states, cursors))
    }

    async fn read_tail(&self, states: &mut States, cursors: Cursors) -> Result<(), TailError> {
        let options = TailOptions {
            name: READER,
            cursors,
            types: Timelines::TYPES
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            follow: false,
        };
        let mut reader = LogReader::spawn(self.profile.clone(), options);
        while let Some(tailed) = reader.next().await? {
            for event in tailed.batch.iter().flat_map(|batch| &batch.events) {
                if let Ok(subject) = SubjectId::parse(&event.subject_id) {
                    let state = states.entry(subject).or_default();
                    Timelines.apply(subject.as_bytes(), state, event);
                }
            }
        }
        Ok(())
    }
}

fn away(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Away(Box::new(error))
}
