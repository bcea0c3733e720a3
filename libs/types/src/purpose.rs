//! What personal data may be used for, and what a subject said about it.

use std::fmt;

/// A use of personal data that a subject grants or refuses. The numbers are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Running the service itself: always permitted.
    Service = 1,
    /// Choosing what to show.
    Personalise = 2,
    /// Choosing ads, coupons and partners.
    Advertise = 3,
    /// Sending messages.
    Message = 4,
    /// Inferring emotion.
    Emotion = 5,
    /// Measuring what worked.
    Measure = 6,
    /// Sharing with a third party.
    Share = 7,
}

impl Purpose {
    /// Every purpose, in wire order.
    pub const ALL: [Self; 7] = [
        Self::Service,
        Self::Personalise,
        Self::Advertise,
        Self::Message,
        Self::Emotion,
        Self::Measure,
        Self::Share,
    ];

    /// Returns the purpose of a wire number, `None` for unspecified or unknown.
    #[must_use]
    pub fn from_wire(number: i32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|purpose| i32::from(*purpose as u8) == number)
    }

    /// Returns the lower-case name: what command lines and documents write.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Personalise => "personalise",
            Self::Advertise => "advertise",
            Self::Message => "message",
            Self::Emotion => "emotion",
            Self::Measure => "measure",
            Self::Share => "share",
        }
    }

    /// Parses the lower-case name, `None` for any other text.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One register of a subject's consent. The order matters: a person's answer is the maximum over
/// its members, so a revocation anywhere outweighs a grant elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ConsentState {
    /// Never asked: not permitted.
    #[default]
    Unset = 0,
    /// Permitted.
    Granted = 1,
    /// Withdrawn: not permitted, and stronger than a grant.
    Revoked = 2,
}

/// A set of purposes as one byte: bit `purpose - 1`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PurposeSet(pub u8);

impl PurposeSet {
    /// Returns the set with `purpose` in it.
    #[must_use]
    pub const fn with(self, purpose: Purpose) -> Self {
        Self(self.0 | 1 << (purpose as u8 - 1))
    }

    /// Returns the set without `purpose`.
    #[must_use]
    pub const fn without(self, purpose: Purpose) -> Self {
        Self(self.0 & !(1 << (purpose as u8 - 1)))
    }

    /// Returns whether `purpose` is in the set.
    #[must_use]
    pub const fn contains(self, purpose: Purpose) -> bool {
        self.0 & (1 << (purpose as u8 - 1)) != 0
    }

    /// Returns the members in wire order.
    pub fn iter(self) -> impl Iterator<Item = Purpose> {
        Purpose::ALL
            .into_iter()
            .filter(move |purpose| self.contains(*purpose))
    }
}

impl FromIterator<Purpose> for PurposeSet {
    fn from_iter<I: IntoIterator<Item = Purpose>>(purposes: I) -> Self {
        purposes.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_exactly_what_was_put_in() {
        let set: PurposeSet = [Purpose::Measure, Purpose::Service].into_iter().collect();
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [Purpose::Service, Purpose::Measure]
        );
        assert!(!set.without(Purpose::Measure).contains(Purpose::Measure));
        assert!(!set.contains(Purpose::Share));
    }

    #[test]
    fn names_and_numbers_round_trip() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::parse(purpose.name()), Some(purpose));
            assert_eq!(Purpose::from_wire(i32::from(purpose as u8)), Some(purpose));
        }
        assert_eq!(Purpose::from_wire(0), None);
    }

    #[test]
    fn revocation_outweighs_a_grant() {
        assert!(ConsentState::Revoked > ConsentState::Granted);
        assert!(ConsentState::Granted > ConsentState::Unset);
    }
}
