//! Identifiers that cross service borders, one type each so that they cannot be swapped.

use std::fmt;

/// Data partitions of the event log. Fixed for ever: a subject's partition must never change.
pub const PARTITIONS: u32 = 64;

/// The partition of consent, links, unlinks and erasures, which every replica tails.
pub const CONTROL_PARTITION: u32 = 64;

/// Bytes of a [`SubjectId`] and of a [`DecisionId`].
const ID_BYTES: usize = 16;

/// Why bytes are not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdError {
    /// The field is empty although it is required.
    Missing,
    /// The field has this many bytes instead of 16.
    Length(usize),
    /// The text form is not 32 hexadecimal digits.
    NotHex,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is required"),
            Self::Length(bytes) => write!(f, "must have {ID_BYTES} bytes, has {bytes}"),
            Self::NotHex => f.write_str("must be 32 hexadecimal digits"),
        }
    }
}

impl std::error::Error for IdError {}

macro_rules! id16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_BYTES]);

        impl $name {
            /// Wraps 16 bytes that are known to be an identifier.
            #[must_use]
            pub const fn new(bytes: [u8; ID_BYTES]) -> Self {
                Self(bytes)
            }

            /// Parses the wire form: exactly 16 bytes.
            ///
            /// # Errors
            /// [`IdError::Missing`] when empty, [`IdError::Length`] for any other length.
            pub fn parse(bytes: &[u8]) -> Result<Self, IdError> {
                match bytes.len() {
                    0 => Err(IdError::Missing),
                    ID_BYTES => {
                        let mut id = [0; ID_BYTES];
                        id.copy_from_slice(bytes);
                        Ok(Self(id))
                    }
                    other => Err(IdError::Length(other)),
                }
            }

            /// Parses the text form that [`fmt::Display`] prints: 32 hexadecimal digits.
            ///
            /// # Errors
            /// [`IdError::NotHex`] for anything else.
            pub fn parse_hex(text: &str) -> Result<Self, IdError> {
                let digits = text.as_bytes();
                if digits.len() != 2 * ID_BYTES {
                    return Err(IdError::NotHex);
                }
                let nibble = |digit: u8| (digit as char).to_digit(16).ok_or(IdError::NotHex);
                let mut id = [0; ID_BYTES];
                for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
                    *byte = (nibble(pair[0])? * 16 + nibble(pair[1])?) as u8;
                }
                Ok(Self(id))
            }

            /// Returns the 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
                &self.0
            }

            /// Returns the 16 bytes as an owned vector, as protobuf fields want them.
            #[must_use]
            pub fn to_vec(self) -> Vec<u8> {
                self.0.to_vec()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

id16! {
    /// The atom of Rapport: a random identifier that a subject gets at first sight and keeps for ever.
    SubjectId
}

id16! {
    /// The UUIDv7 of one decision: a recommendation, an ad, a coupon, a push or a route.
    DecisionId
}

impl SubjectId {
    /// Returns the data partition of this subject, in `0..PARTITIONS`.
    ///
    /// FNV-1a over the 16 bytes, folded once: fixed for ever, because sequences and snapshots are
    /// named by partition. Subject ids are random, so any fixed hash spreads them evenly.
    #[must_use]
    pub fn partition(&self) -> u32 {
        partition_of(&self.0)
    }
}

/// Returns the data partition of arbitrary bytes: for events that have no subject.
#[must_use]
pub fn partition_of(bytes: &[u8]) -> u32 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = bytes.iter().fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    });
    ((hash ^ (hash >> 32)) % u64::from(PARTITIONS)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parsing_names_what_is_wrong() {
        assert_eq!(SubjectId::parse(&[]), Err(IdError::Missing));
        assert_eq!(SubjectId::parse(&[0; 15]), Err(IdError::Length(15)));
        assert_eq!(SubjectId::parse_hex("xyz"), Err(IdError::NotHex));
    }

    #[test]
    fn the_partition_of_known_subjects_never_changes() {
        // Golden values, computed apart: a change here would orphan every stored event.
        assert_eq!(SubjectId::new([0; 16]).partition(), 28);
        assert_eq!(SubjectId::new([1; 16]).partition(), 30);
        assert_eq!(SubjectId::new(*b"0123456789abcdef").partition(), 46);
    }

    proptest! {
        #[test]
        fn text_form_round_trips(bytes in any::<[u8; 16]>()) {
            let id = SubjectId::new(bytes);
            prop_assert_eq!(SubjectId::parse_hex(&id.to_string()), Ok(id));
            prop_assert!(id.partition() < PARTITIONS);
        }
    }
}
