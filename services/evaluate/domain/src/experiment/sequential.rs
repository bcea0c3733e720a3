//! An interval that stays valid however often one looks and whenever one stops.

use rapport_math::Interval;

use super::effect::Estimate;

/// The sample size, in units of both arms together, at which the sequence is tightest.
pub const SEQUENTIAL_TUNED_AT: f64 = 5_000.0;

/// Fewest units of each arm before the sequence is looked at: with ten and ten the boundary stands at
/// fourteen standard errors, far beyond what Student's tails reach.
const SEQUENTIAL_ARM_MIN: u64 = 10;

/// Computes the asymptotic confidence sequence of an effect.
///
/// * `se` is the effect's standard error after `units` units of both arms together; the interval
///   covers the truth at all sample sizes at once with probability `1 - alpha`, `alpha` in `(0, 1)`.
/// * Returns `None` without units or with a standard error that is not finite.
/// * Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory
///   and asymptotic confidence sequences", Annals of Statistics 2024 (arXiv 2103.06476):
///   the boundary of Theorem 2.2, with rho tuned for one time as in their appendix B.2.
#[must_use]
pub fn confidence_sequence(effect: f64, se: f64, units: u64, alpha: f64) -> Option<Interval> {
    if units == 0 || !se.is_finite() || !(alpha > 0.0 && alpha < 1.0) {
        return None;
    }
    let n = units as f64;
    let tail = -2.0 * libm::log(alpha);
    let rho_squared = (tail + libm::log(tail + 1.0)) / SEQUENTIAL_TUNED_AT;
    let grown = n * rho_squared + 1.0;
    let boundary = 2.0 * grown / (n * n * rho_squared) * libm::log(grown.sqrt() / alpha);
    // `se * sqrt(n)` is the standard deviation of one unit's contribution to the effect.
    Some(Interval::around(effect, se * n.sqrt() * boundary.sqrt()))
}

/// Returns the interval of an effect that may be looked at any time, from the units of both arms.
///
/// * `None` where the standard error cannot be trusted yet: an arm has fewer than
///   ten units, or what was seen does not vary. An asymptotic sequence says nothing of
///   its first steps, and looked at after every unit a handful of equal values would pass for certainty.
#[must_use]
pub fn anytime_interval(
    found: &Estimate,
    (control, treated): (u64, u64),
    alpha: f64,
) -> Option<Interval> {
    let is_trusted = control.min(treated) >= SEQUENTIAL_ARM_MIN && found.se > 0.0;
    is_trusted
        .then(|| confidence_sequence(found.effect, found.se, control + treated, alpha))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::proportions;
    use proptest::prelude::*;
    use rapport_math::{Moments, Rng};

    /// Looks after every 50 units at a mean that is truly 0; the sequence must miss it at most
    /// 5 % of the time, where the fixed interval, looked at as often, misses far more.
    #[test]
    fn stays_valid_under_constant_peeking() {
        const RUNS: u64 = 400;
        let (mut sequence_misses, mut fixed_misses) = (0u32, 0u32);
        for run in 0..RUNS {
            let mut rng = Rng::seeded(11).fork(run);
            let mut seen = Moments::default();
            let (mut sequence_missed, mut fixed_missed) = (false, false);
            for unit in 1..=3_000u64 {
                seen.push(rng.normal());
                if unit.is_multiple_of(50) {
                    let (mean, se) = (seen.mean().unwrap(), seen.standard_error().unwrap());
                    let interval = confidence_sequence(mean, se, unit, 0.05).unwrap();
                    sequence_missed |= !interval.contains(0.0);
                    fixed_missed |= mean.abs() > 1.96 * se;
                }
            }
            sequence_misses += u32::from(sequence_missed);
            fixed_misses += u32::from(fixed_missed);
        }
        assert!(sequence_misses <= 20, "{sequence_misses} of {RUNS}");
        assert!(
            fixed_misses >= 80,
            "{fixed_misses} of {RUNS}: the control of this test"
        );
    }

    #[test]
    fn a_handful_of_equal_values_is_no_certainty() {
        let one = proportions((0, 1), (1, 1), 0.95).unwrap();
        assert_eq!((one.effect, one.se), (1.0, 0.0));
        assert_eq!(anytime_interval(&one, (1, 1), 0.05), None);
        let all = proportions((0, 40), (40, 40), 0.95).unwrap();
        assert_eq!(anytime_interval(&all, (40, 40), 0.05), None);
        let found = proportions((3, 10), (6, 10), 0.95).unwrap();
        assert_eq!(anytime_interval(&found, (9, 11), 0.05), None);
        assert_eq!(
            anytime_interval(&found, (10, 10), 0.05),
            confidence_sequence(found.effect, found.se, 20, 0.05)
        );
    }

    proptest! {
        #[test]
        fn is_wider_than_the_fixed_interval(se in 1e-6..10.0f64, units in 2u64..10_000_000) {
            let interval = confidence_sequence(0.0, se, units, 0.05).unwrap();
            prop_assert!(interval.high > 1.96 * se);
            prop_assert_eq!(-interval.low, interval.high);
        }
    }
}
