//! Sample ratio mismatch: did the arms get the shares they were promised? If not, something in
//! assignment or logging is broken and no effect can be believed.

use rapport_math::ChiSquared;

/// The chi-squared test of the arms' sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRatio {
    /// Sum of squared distances over expectation.
    pub chi_squared: f64,
    /// Probability of a distance at least as large if all is well, in `[0, 1]`.
    pub p: f64,
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
    let distance = |(&seen, share): (&u64, &f64)| {
        let expected = people as f64 * share / whole;
        (seen as f64 - expected) * (seen as f64 - expected) / expected
    };
    let chi_squared = observed.iter().zip(shares).map(distance).sum();
    let df = observed.len().checked_sub(1)? as f64;
    Some(SampleRatio {
        chi_squared,
        p: ChiSquared::new(df)?.sf(chi_squared),
    })
}
