//! The compacted control partition: read part by part, then swapped in whole.

use std::sync::Arc;

use rapport_api::profile::v1::GetControlSnapshotResponse;
use rapport_types::PurposeSet;

use super::apply::{person_of, subjects_of};
use super::{ControlChange, ControlError, People, World};

/// A snapshot under construction. Nothing of it is visible before [`People::load`].
#[derive(Debug, Default)]
pub struct Snapshot {
    world: World,
    sequence: u64,
    complete: bool,
}

impl Snapshot {
    /// Adds one part. The part marked `last` completes the snapshot.
    ///
    /// # Errors
    /// [`ControlError::Malformed`] when an id is not 16 bytes.
    pub fn add(&mut self, part: &GetControlSnapshotResponse) -> Result<(), ControlError> {
        for person in &part.persons {
            let person = Arc::new(person_of(person)?);
            for member in &person.members {
                self.world
                    .change(*member, |entry| entry.person = Some(person.clone()));
            }
        }
        for consent in &part.consents {
            let subject = subjects_of(std::slice::from_ref(&consent.subject_id))?[0];
            // Bits above the seven purposes are of a newer contract: not ours to permit.
            let bits = |bits: u32| PurposeSet((bits & 0x7f) as u8);
            self.world.change(subject, |entry| {
                entry.granted = bits(consent.granted);
                entry.revoked = bits(consent.revoked);
            });
        }
        for subject in subjects_of(&part.erased)? {
            self.world.change(subject, |entry| entry.erased = true);
        }
        if part.last {
            self.sequence = part.control_sequence;
            self.world.set_graph_version(part.graph_version);
            self.complete = true;
        }
        Ok(())
    }
}

impl People {
    /// Replaces the whole view by a complete snapshot. It permits after the next heartbeat.
    ///
    /// # Errors
    /// [`ControlError::Incomplete`] when the last part is missing: the view stays as it is.
    pub fn load(&self, snapshot: Snapshot) -> Result<(), ControlError> {
        if !snapshot.complete {
            return Err(ControlError::Incomplete);
        }
        {
            let mut writer = self.writer();
            self.0.world.store(Arc::new(snapshot.world));
            writer.sequence = snapshot.sequence;
            writer.loaded = true;
        }
        self.announce(ControlChange::Reloaded);
        Ok(())
    }
}
