//! The token of a page of churners: the list that it belongs to, and where its page ended.

use rapport_types::{SubjectId, UnixMillis};

use crate::value::Rank;

/// Starts every token, so that one of another kind or day is not misread.
const KIND: [u8; 2] = *b"c1";
/// Five numbers of eight bytes and a subject.
const BYTES: usize = KIND.len() + 5 * 8 + 16;

/// What a token says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Token {
    /// The version of the model that ranked.
    pub(super) version: i64,
    /// The instant of the list.
    pub(super) as_of: UnixMillis,
    /// The bar of the list.
    pub(super) alive_max: f64,
    /// The last of the page.
    pub(super) after: Rank,
}

impl Token {
    pub(super) fn write(&self) -> String {
        let Self {
            version,
            as_of,
            alive_max,
            after,
        } = self;
        let floats = [*alive_max, after.value, after.purchases].map(f64::to_be_bytes);
        let integers = [*version, as_of.0].map(i64::to_be_bytes);
        let numbers = [integers.as_flattened(), floats.as_flattened()].concat();
        let bytes = [&KIND[..], &numbers, after.anchor.as_bytes()].concat();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// # Errors
    /// For a text that no page gave.
    pub(super) fn read(token: &str) -> Result<Self, &'static str> {
        Self::parse(token).ok_or("must come from the page before")
    }

    fn parse(token: &str) -> Option<Self> {
        if token.len() != 2 * BYTES {
            return None;
        }
        let nibble = |digit: u8| char::from(digit).to_digit(16);
        let byte = |pair: &[u8]| Some((nibble(pair[0])? * 16 + nibble(pair[1])?) as u8);
        let pairs = token.as_bytes().chunks_exact(2);
        let bytes: Vec<u8> = pairs.map(byte).collect::<Option<_>>()?;
        let rest = bytes.strip_prefix(&KIND)?;
        let (numbers, anchor) = rest.split_at_checked(5 * 8)?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let float = |at: usize| Some(f64::from_be_bytes(numbers[at])).filter(|it| it.is_finite());
        Some(Self {
            version: i64::from_be_bytes(numbers[0]),
            as_of: UnixMillis(i64::from_be_bytes(numbers[1])),
            alive_max: float(2).filter(|bar| (0.0..=1.0).contains(bar))?,
            after: Rank {
                value: float(3)?,
                purchases: float(4)?,
                anchor: SubjectId::parse(anchor).ok()?,
            },
        })
    }

    /// Returns the token if it goes on with the list that is asked for; what is not asked for is its own.
    ///
    /// # Errors
    /// For another list, and for one of a model that serves no more: its order was another.
    pub(super) fn continues(
        self,
        version: i64,
        as_of: Option<UnixMillis>,
        alive_max: Option<f64>,
    ) -> Result<Self, &'static str> {
        if as_of.is_some_and(|it| it != self.as_of)
            || alive_max.is_some_and(|it| it != self.alive_max)
        {
            Err("belongs to a list of another instant or bar")
        } else if version != self.version {
            Err("belongs to a model that was replaced: begin the list again")
        } else {
            Ok(self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_foreign_ones_are_refused() {
        let token = Token {
            version: 12,
            as_of: UnixMillis(1_760_000_000_000),
            alive_max: 0.5,
            after: Rank {
                value: 17.25,
                purchases: 0.1,
                anchor: SubjectId::new([7; 16]),
            },
        };
        let text = token.write();
        assert_eq!(Token::read(&text), Ok(token));
        let nan = text.replace(&format!("{:016x}", 17.25_f64.to_bits()), "7ff8000000000000");
        let other = text.replace("6331", "6931");
        for foreign in [
            "",
            "c",
            &text[2..],
            &text.replace('0', "g"),
            &nan,
            &other,
            &"茶".repeat(39),
        ] {
            assert!(Token::read(foreign).is_err(), "{foreign}");
        }
        let is_of = |version, as_of, bar| token.continues(version, as_of, bar).is_ok();
        assert!(is_of(12, None, None) && is_of(12, Some(token.as_of), Some(0.5)));
        assert!(!is_of(13, None, None) && !is_of(12, Some(UnixMillis(1)), None));
        assert!(!is_of(12, None, Some(0.4)));
    }
}
