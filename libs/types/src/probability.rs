//! A probability that cannot be out of range.

use std::fmt;

/// A probability in `[0, 1]`; [`Probability::new`] is the only way in.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct Probability(f64);

/// The number was not a probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbabilityError(pub f64);

impl fmt::Display for ProbabilityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be between 0 and 1, is {}", self.0)
    }
}

impl std::error::Error for ProbabilityError {}

impl Probability {
    /// Certainty.
    pub const ONE: Self = Self(1.0);
    /// Impossibility.
    pub const ZERO: Self = Self(0.0);

    /// Accepts `value` in `[0, 1]`.
    ///
    /// # Errors
    /// [`ProbabilityError`] for anything else, NaN included.
    pub fn new(value: f64) -> Result<Self, ProbabilityError> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(ProbabilityError(value))
        }
    }

    /// Returns the nearest probability; NaN becomes 0, the cautious end.
    #[must_use]
    pub fn saturating(value: f64) -> Self {
        if value.is_nan() {
            Self::ZERO
        } else {
            Self(value.clamp(0.0, 1.0))
        }
    }

    /// Returns the value in `[0, 1]`.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// Returns `1 - p`.
    #[must_use]
    pub fn complement(self) -> Self {
        Self(1.0 - self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_probability() {
        assert!(Probability::new(f64::NAN).is_err());
        assert!(Probability::new(1.000_001).is_err());
        assert_eq!(Probability::new(-0.5), Err(ProbabilityError(-0.5)));
        assert_eq!(Probability::saturating(f64::NAN), Probability::ZERO);
        assert_eq!(Probability::saturating(7.0), Probability::ONE);
    }
}
