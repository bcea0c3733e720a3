//! Applying control records, in the order of their sequence.

use std::sync::Arc;

use prost::Message as _;
use rapport_api::event::v1::{
    self as events, ConsentChanged, EventRecord, SubjectsErased, SubjectsLinked, SubjectsUnlinked,
};
use rapport_api::r#type::v1::ConsentState;
use rapport_types::{CONTROL_PARTITION, Purpose, SubjectId};

use super::{ControlChange, Entry, People, Person, World};

/// Why the view cannot go on from where it is. Load a snapshot; until then it ages and fails closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// A record is missing before this one.
    #[error("control record {found} does not continue {applied}")]
    Gap {
        /// The last sequence that was applied.
        applied: u64,
        /// The sequence that came.
        found: u64,
    },
    /// A record or part of a snapshot does not follow its contract.
    #[error("a control record is malformed: {0}")]
    Malformed(&'static str),
    /// The snapshot ended before its last part.
    #[error("the control snapshot is incomplete")]
    Incomplete,
    /// No snapshot was loaded yet.
    #[error("the view was not loaded")]
    NotLoaded,
}

impl People {
    /// Applies the next record of the control partition. One that was applied already is ignored;
    /// one of an unknown type only counts as seen.
    ///
    /// # Errors
    /// [`ControlError`]: nothing of the record was applied.
    pub fn apply_control(&self, event: &EventRecord) -> Result<(), ControlError> {
        let change = {
            let mut writer = self.writer();
            if !writer.loaded {
                return Err(ControlError::NotLoaded);
            }
            if event.partition != CONTROL_PARTITION {
                return Err(ControlError::Malformed("it is of another partition"));
            }
            let applied = writer.sequence;
            if event.sequence <= applied {
                return Ok(());
            }
            if event.sequence != applied + 1 {
                return Err(ControlError::Gap {
                    applied,
                    found: event.sequence,
                });
            }
            let change = apply(&self.world(), event)?;
            writer.sequence = event.sequence;
            change
        };
        if let Some(change) = change {
            self.announce(change);
        }
        Ok(())
    }
}

fn apply(world: &World, event: &EventRecord) -> Result<Option<ControlChange>, ControlError> {
    let payload = event.payload.as_ref();
    let undecodable = |_| ControlError::Malformed("the payload does not decode");
    match event.r#type.as_str() {
        "consent_changed" => consent(
            world,
            &ConsentChanged::decode(payload).map_err(undecodable)?,
        )
        .map(Some),
        "subjects_linked" => {
            let linked = SubjectsLinked::decode(payload).map_err(undecodable)?;
            let person = linked
                .person
                .ok_or(ControlError::Malformed("a link without a person"))?;
            persons(world, &[person], linked.graph_version).map(Some)
        }
        "subjects_unlinked" => {
            let unlinked = SubjectsUnlinked::decode(payload).map_err(undecodable)?;
            persons(world, &unlinked.persons, unlinked.graph_version).map(Some)
        }
        "subjects_erased" => erase(
            world,
            &SubjectsErased::decode(payload).map_err(undecodable)?,
        )
        .map(Some),
        // A newer profile may say more than this replica knows.
        _ => Ok(None),
    }
}

fn consent(world: &World, changed: &ConsentChanged) -> Result<ControlChange, ControlError> {
    let subjects = subjects_of(&changed.subject_ids)?;
    let mut writes = Vec::with_capacity(changed.registers.len());
    for register in &changed.registers {
        let state = ConsentState::try_from(register.state)
            .map_err(|_| ControlError::Malformed("a register has an unknown state"))?;
        // A purpose that this replica does not know is one that it cannot use.
        if let Some(purpose) = Purpose::from_wire(register.purpose) {
            writes.push((purpose, state));
        }
    }
    for subject in &subjects {
        world.change(*subject, |entry| {
            for (purpose, state) in &writes {
                write_register(entry, *purpose, *state);
            }
        });
    }
    Ok(ControlChange::Consent(subjects.into()))
}

fn write_register(entry: &mut Entry, purpose: Purpose, state: ConsentState) {
    let (granted, revoked) = (
        entry.granted.without(purpose),
        entry.revoked.without(purpose),
    );
    (entry.granted, entry.revoked) = match state {
        ConsentState::Unspecified => (granted, revoked),
        ConsentState::Granted => (granted.with(purpose), revoked),
        ConsentState::Revoked => (granted, revoked.with(purpose)),
    };
}

fn persons(
    world: &World,
    persons: &[events::Person],
    graph_version: u64,
) -> Result<ControlChange, ControlError> {
    let persons: Vec<Arc<Person>> = persons
        .iter()
        .map(|person| person_of(person).map(Arc::new))
        .collect::<Result<_, _>>()?;
    let mut touched = Vec::new();
    for person in persons {
        let linked = person.members.len() > 1;
        for member in &person.members {
            world.change(*member, |entry| {
                entry.person = linked.then(|| person.clone())
            });
            touched.push(*member);
        }
    }
    world.set_graph_version(graph_version);
    Ok(ControlChange::Persons(touched.into()))
}

fn erase(world: &World, erased: &SubjectsErased) -> Result<ControlChange, ControlError> {
    let subjects = subjects_of(&erased.subject_ids)?;
    for subject in &subjects {
        world.change(*subject, |entry| {
            *entry = Entry {
                erased: true,
                ..Entry::default()
            }
        });
    }
    world.set_graph_version(erased.graph_version);
    Ok(ControlChange::Erased(subjects.into()))
}

/// Parses a person, which has 1 to 64 members, one of them the anchor.
pub(super) fn person_of(person: &events::Person) -> Result<Person, ControlError> {
    let members = subjects_of(&person.members)?.into_boxed_slice();
    let anchor = subjects_of(std::slice::from_ref(&person.anchor))?[0];
    if !members.contains(&anchor) {
        return Err(ControlError::Malformed("the anchor is no member"));
    }
    Ok(Person { anchor, members })
}

pub(super) fn subjects_of(ids: &[Vec<u8>]) -> Result<Vec<SubjectId>, ControlError> {
    ids.iter()
        .map(|id| SubjectId::parse(id))
        .collect::<Result<_, _>>()
        .map_err(|_| ControlError::Malformed("a subject is not 16 bytes"))
}
