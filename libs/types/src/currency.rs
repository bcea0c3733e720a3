//! Currencies by their ISO 4217 codes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An ISO 4217 code: three ASCII capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The code that the standard gives to "no currency".
    pub const NONE: Self = Self([b'X'; 3]);

    /// Parses three ASCII capital letters, `None` for anything else.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        let letters: [u8; 3] = code.as_bytes().try_into().ok()?;
        letters
            .iter()
            .all(u8::is_ascii_uppercase)
            .then_some(Self(letters))
    }

    /// Returns the code, [`NONE`](Self::NONE) for anything that is none.
    #[must_use]
    pub fn of(code: &str) -> Self {
        Self::parse(code).unwrap_or(Self::NONE)
    }

    /// Returns the code.
    ///
    /// # Panics
    /// If the value was deserialised from bytes that no `Currency` was written as.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("capital letters are UTF-8")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_capital_letters_are_a_code() {
        let code = Currency::parse("CNY").unwrap();
        assert_eq!((code.as_str(), code.to_string()), ("CNY", "CNY".to_owned()));
        assert_eq!(format!("{code:?}"), "CNY");
        for bad in ["", "CN", "CNYY", "cny", "C1Y", "元", "C元"] {
            assert_eq!(Currency::parse(bad), None, "{bad}");
            assert_eq!(Currency::of(bad), Currency::NONE, "{bad}");
        }
    }

    #[test]
    fn no_currency_is_a_code_of_its_own() {
        assert_eq!(
            Currency::parse(Currency::NONE.as_str()),
            Some(Currency::NONE)
        );
    }
}
