//! Money as integer millionths: it must add up exactly, so it is never a float.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// Money in millionths of the account currency. `1_000_000` is one euro, pound or yuan.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Micros(pub i64);

/// Millionths in one unit of currency.
const PER_UNIT: i64 = 1_000_000;

impl Micros {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Returns whole units of currency as micros, saturating.
    #[must_use]
    pub const fn from_units(units: i64) -> Self {
        Self(units.saturating_mul(PER_UNIT))
    }

    /// Returns the sum, or `None` when it does not fit.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Returns the amount in units of currency, for charts and reports only: a float does not add up.
    #[must_use]
    pub fn to_units_f64(self) -> f64 {
        self.0 as f64 / PER_UNIT as f64
    }
}

impl Add for Micros {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Micros {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl AddAssign for Micros {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl SubAssign for Micros {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}

impl Neg for Micros {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Sum for Micros {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Micros {
    /// Prints units with two decimals, or all six when the amount needs them: `12.50`, `-0.000001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        let (units, micros) = (magnitude / PER_UNIT as u64, magnitude % PER_UNIT as u64);
        if micros.is_multiple_of(10_000) {
            write!(f, "{sign}{units}.{:02}", micros / 10_000)
        } else {
            write!(f, "{sign}{units}.{micros:06}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_a_person_would_write() {
        assert_eq!(Micros(12_500_000).to_string(), "12.50");
        assert_eq!(Micros(-1).to_string(), "-0.000001");
        assert_eq!(Micros::ZERO.to_string(), "0.00");
        assert_eq!(Micros(i64::MIN).to_string(), "-9223372036854.775808");
    }
}
