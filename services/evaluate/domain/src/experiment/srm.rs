//! Sample ratio mismatch: did the arms get the shares they were promised? If not, something in
//! assignment or logging is broken and no effect can be believed.

use rapport_math::ChiSquared;

use super::SRM_ALARM;

/// With fewer people promised to an arm the chi-squared distribution does not hold: a share of 1 %
/// with one person among the first seven would be an alarm. Source: Cochran, "Some methods for
/// strengthening the common chi-squared tests", Biometrics 1954.
const EXPECTED_MIN: f64 = 5.0;

/// The chi-squared test of the arms' sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRatio {
    /// Sum of squared distances over expectation.
    pub chi_squared: f64,
    /// Probability of a distance at least as large if all is well, in `[0, 1]`.
    pub p: f64,
    /// People that the arm with the smallest share should have, `> 0`.
    pub expected_min: f64,
}

impl SampleRatio {
    /// Returns whether the sizes say that something is broken: `p` is below [`SRM_ALARM`], and every
    /// arm should have enough people for `p` to be believed.
    #[must_use]
    pub fn is_mismatch(&self) -> bool {
        self.p < SRM_ALARM && self.expected_min >= EXPECTED_MIN
    }
}

/// Tests observed sizes against the shares that were promised.
///
/// * `observed` and `shares`, shape `[arms]`: people, and relative shares `> 0` of any sum.
/// * Returns `None` for fewer than two arms, unequal shapes, a share that is not `> 0`, or nobody.
/// * Source: Pearson 1900; Fabijan et al., "Diagnosing sample ratio mismatch", KDD 2019.
#[must_use]
pub fn sample_ratio(observed: &[u64], shares: &[f64]) -> Option<SampleRatio> {
    let valid = observed.len() == shares.len() && shares.iter().all(|s| s.is_finite() && *s > 0.0);
    let people: u64 = observed.iter().sum();
    if !valid || people == 0 {
        return None;
    }
    let whole: f64 = shares.iter().sum();
    let expected = |share: f64| people as f64 * share / whole;
    let distance = |(&seen, share): (&u64, &f64)| {
        let expected = expected(*share);
        (seen as f64 - expected) * (seen as f64 - expected) / expected
    };
    let chi_squared = observed.iter().zip(shares).map(distance).sum();
    let df = observed.len().checked_sub(1)? as f64;
    Some(SampleRatio {
        chi_squared,
        p: ChiSquared::new(df)?.sf(chi_squared),
        expected_min: expected(shares.iter().copied().fold(f64::INFINITY, f64::min)),
    })
}
