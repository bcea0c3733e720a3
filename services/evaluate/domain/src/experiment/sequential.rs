//! An interval that stays valid however often one looks and whenever one stops.

use rapport_math::Interval;

/// The sample size, in units of both arms together, at which the sequence is tightest.
pub const SEQUENTIAL_TUNED_AT: f64 = 5_000.0;

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

#[cfg(test)]
mod tests {
    use super::confidence_sequence;
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

    proptest! {
        #[test]
        fn is_wider_than_the_fixed_interval(se in 1e-6..10.0f64, units in 2u64..10_000_000) {
            let interval = confidence_sequence(0.0, se, units, 0.05).unwrap();
            prop_assert!(interval.high > 1.96 * se);
            prop_assert_eq!(-interval.low, interval.high);
        }
    }
}
