//! Consent registers: one per subject and purpose, the last write wins; a person's answer is the
//! maximum over its members. When and where to write is the service's.

#[cfg(test)]
mod tests;

use rapport_types::{ConsentState, Purpose, PurposeSet, SubjectId, UnixMillis};

/// Who wrote a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentSource {
    /// The person, through the shop.
    Person,
    /// A human operator on the person's word.
    Operator,
    /// An import. Never overturns a revocation.
    Import,
}

/// What a subject said about one purpose, and what shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// The answer.
    pub state: ConsentState,
    /// When the log took it: `received_at_ms`, never the caller's claim.
    pub received_at: UnixMillis,
    /// Its sequence in the control partition; breaks ties in time.
    pub sequence: u64,
    /// What shows that the subject said so, such as a form's version.
    pub evidence_id: String,
    /// Who wrote it.
    pub source: ConsentSource,
}

/// The registers of one subject. A purpose without a register is `UNSET`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsentRegisters {
    by_purpose: [Option<Register>; Purpose::ALL.len()],
}

impl ConsentRegisters {
    /// Returns the register of `purpose`, `None` if it was never written.
    #[must_use]
    pub fn get(&self, purpose: Purpose) -> Option<&Register> {
        self.by_purpose[index(purpose)].as_ref()
    }

    /// Returns the state of `purpose`; `service` is always granted.
    #[must_use]
    pub fn state(&self, purpose: Purpose) -> ConsentState {
        match purpose {
            Purpose::Service => ConsentState::Granted,
            Purpose::Personalise
            | Purpose::Advertise
            | Purpose::Message
            | Purpose::Emotion
            | Purpose::Measure
            | Purpose::Share => self
                .get(purpose)
                .map_or(ConsentState::Unset, |register| register.state),
        }
    }

    /// Writes a register; returns whether anything changed.
    ///
    /// Refused without change: a write not later than the present one by `(received_at, sequence)`
    /// (a replay), a write to `service`, and an import over `REVOKED`.
    pub fn write(&mut self, purpose: Purpose, register: Register) -> bool {
        let present = &mut self.by_purpose[index(purpose)];
        let permitted = match present {
            _ if purpose == Purpose::Service => false,
            None => true,
            Some(old) => {
                let later =
                    (register.received_at, register.sequence) > (old.received_at, old.sequence);
                let overturns =
                    old.state == ConsentState::Revoked && register.source == ConsentSource::Import;
                later && !overturns
            }
        };
        if permitted {
            *present = Some(register);
        }
        permitted
    }
}

/// Computes a person's answer for one purpose: the maximum over its members, so that a revocation
/// anywhere outweighs a grant elsewhere. No members is `UNSET` (except `service`).
pub fn folded<'a>(
    members: impl IntoIterator<Item = &'a ConsentRegisters>,
    purpose: Purpose,
) -> ConsentState {
    let least = ConsentRegisters::default().state(purpose);
    members
        .into_iter()
        .map(|registers| registers.state(purpose))
        .fold(least, Ord::max)
}

/// Computes the purposes that a person's members grant together: what a record's `admitted` holds.
pub fn admitted<'a>(members: impl IntoIterator<Item = &'a ConsentRegisters>) -> PurposeSet {
    let mut highest = Purpose::ALL.map(|purpose| ConsentRegisters::default().state(purpose));
    for registers in members {
        for (state, purpose) in highest.iter_mut().zip(Purpose::ALL) {
            *state = (*state).max(registers.state(purpose));
        }
    }
    let granted = highest
        .into_iter()
        .zip(Purpose::ALL)
        .filter(|(state, _)| *state == ConsentState::Granted);
    granted.map(|(_, purpose)| purpose).collect()
}

/// Writes one register to every current member of a person, as a grant or revocation must.
///
/// * Returns the members whose register changed, in the order given.
pub fn write_members(
    members: &mut [(SubjectId, ConsentRegisters)],
    purpose: Purpose,
    register: &Register,
) -> Vec<SubjectId> {
    let changed = members.iter_mut().filter_map(|(subject, registers)| {
        registers
            .write(purpose, register.clone())
            .then_some(*subject)
    });
    changed.collect()
}

fn index(purpose: Purpose) -> usize {
    purpose as usize - 1 // wire numbers start at 1
}
