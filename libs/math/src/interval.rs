//! Intervals: the type, Wilson's interval of a proportion, and the percentile bootstrap.

use crate::{Rng, normal_quantile};

/// Most resamples of one bootstrap; more buys no digit that anybody reads.
pub const RESAMPLES_MAX: usize = 100_000;

/// A closed interval, `low <= high`, in the unit of what it bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Returns the interval `centre - reach ..= centre + reach`.
    #[must_use]
    pub fn around(centre: f64, reach: f64) -> Self {
        Self {
            low: centre - reach,
            high: centre + reach,
        }
    }

    /// Returns whether the value lies inside, ends included.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Returns `high - low`.
    #[must_use]
    pub fn width(&self) -> f64 {
        self.high - self.low
    }
}

/// Returns the normal quantile that leaves `1 - confidence` outside, both sides together:
/// 1.959964 for 0.95. `confidence` in `(0, 1)`, else NaN or infinite.
#[must_use]
pub fn two_sided_z(confidence: f64) -> f64 {
    -normal_quantile(0.5 * (1.0 - confidence))
}

/// Computes Wilson's score interval of a proportion, inside `[0, 1]`.
///
/// * Returns `None` without trials: an unseen proportion has no estimate. `successes` above
///   `trials` is capped, `confidence` is in `(0, 1)`.
/// * Source: Wilson, JASA 1927; Brown, Cai and DasGupta, "Interval estimation for a binomial
///   proportion", 2001, for why not the textbook interval.
#[must_use]
pub fn wilson(successes: u64, trials: u64, confidence: f64) -> Option<Interval> {
    if trials == 0 {
        return None;
    }
    let (n, k) = (trials as f64, successes.min(trials) as f64);
    let z = two_sided_z(confidence);
    let square = z * z;
    let centre = (k + 0.5 * square) / (n + square);
    let reach = z / (n + square) * libm::sqrt(k * (n - k) / n + 0.25 * square);
    // The ends are exactly 0 and 1 when nothing, or everything, succeeded; rounding says otherwise.
    let low = if k == 0.0 {
        0.0
    } else {
        (centre - reach).max(0.0)
    };
    let high = if k == n {
        1.0
    } else {
        (centre + reach).min(1.0)
    };
    Some(Interval { low, high })
}

/// Computes a quantile of sorted values by linear interpolation (type 7 of Hyndman and Fan, the
/// default of NumPy and R). `None` when there are no values; `q` is clamped to `[0, 1]`.
#[must_use]
pub fn quantile_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    debug_assert!(sorted.is_sorted());
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = libm::floor(place) as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    Some(low + (high - low) * (place - below as f64))
}

/// Computes a percentile bootstrap interval of any statistic.
///
/// * `units`: how many things are resampled. `statistic` takes the drawn indices, shape `[units]`,
///   with repeats, and answers `None` where it is undefined; such resamples are left out.
/// * Resample `r` uses `rng.fork(r)`, so the answer does not depend on the order of the work.
/// * Returns `None` when there are no units or no resample had a value.
/// * Cost: `resamples` calls of the statistic; `resamples` is capped at [`RESAMPLES_MAX`].
/// * Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
pub fn bootstrap(
    units: usize,
    resamples: usize,
    confidence: f64,
    rng: &Rng,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<Interval> {
    if units == 0 {
        return None;
    }
    let mut drawn = vec![0; units];
    let mut values: Vec<f64> = (0..resamples.min(RESAMPLES_MAX))
        .filter_map(|resample| {
            let mut stream = rng.fork(resample as u64);
            drawn.fill_with(|| stream.below(units as u64) as usize);
            statistic(&drawn)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let outside = 0.5 * (1.0 - confidence);
    Some(Interval {
        low: quantile_sorted(&values, outside)?,
        high: quantile_sorted(&values, 1.0 - outside)?,
    })
}

/// Computes a percentile bootstrap interval of the mean of finite values; see [`bootstrap`].
#[must_use]
pub fn bootstrap_mean(
    values: &[f64],
    resamples: usize,
    confidence: f64,
    rng: &Rng,
) -> Option<Interval> {
    bootstrap(values.len(), resamples, confidence, rng, |drawn| {
        Some(drawn.iter().map(|&index| values[index]).sum::<f64>() / drawn.len() as f64)
    })
}

#[cfg(test)]
mod tests {
    use super::{Interval, bootstrap, bootstrap_mean, quantile_sorted, wilson};
    use proptest::prelude::*;

    #[track_caller]
    fn check(successes: u64, trials: u64, low: f64, high: f64) {
        let interval = wilson(successes, trials, 0.95).unwrap();
        assert!((interval.low - low).abs() < 1e-12, "{interval:?}");
        assert!((interval.high - high).abs() < 1e-12, "{interval:?}");
    }

    #[test]
    fn wilson_matches_statsmodels() {
        // statsmodels.stats.proportion.proportion_confint(k, n, method="wilson")
        check(1, 10, 0.017876213095072924, 0.40415002679523854);
        check(50, 100, 0.4038315303659956, 0.5961684696340044);
        check(37, 12000, 0.002237880441087333, 0.004246831897686057);
        check(9, 9, 0.7008549515804557, 0.9999999999999999);
        check(0, 40, 0.0, 0.08762160119728668);
        assert_eq!(wilson(0, 0, 0.95), None);
        assert_eq!(wilson(0, 5, 0.95).map(|i| i.low), Some(0.0));
        assert_eq!(wilson(5, 5, 0.95).map(|i| i.high), Some(1.0));
    }

    #[test]
    fn quantiles_worked_by_hand() {
        assert_eq!(quantile_sorted(&[], 0.5), None);
        assert_eq!(quantile_sorted(&[7.0], 0.9), Some(7.0));
        assert_eq!(quantile_sorted(&[1.0, 2.0, 4.0], 0.25), Some(1.5));
        assert_eq!(quantile_sorted(&[1.0, 2.0, 4.0], 1.0), Some(4.0));
    }

    #[test]
    fn the_bootstrap_agrees_with_the_normal_interval_of_a_mean() {
        let mut rng = crate::Rng::seeded(3);
        let values: Vec<f64> = (0..2_000).map(|_| 5.0 + rng.normal()).collect();
        let interval = bootstrap_mean(&values, 2_000, 0.95, &crate::Rng::seeded(1)).unwrap();
        let mean = values.iter().sum::<f64>() / 2_000.0;
        assert!(interval.contains(mean));
        let textbook = 2.0 * 1.96 / 2_000f64.sqrt(); // sigma is 1
        assert!(
            (interval.width() / textbook - 1.0).abs() < 0.1,
            "{interval:?}"
        );
    }

    #[test]
    fn undefined_resamples_are_left_out() {
        let rng = crate::Rng::seeded(0);
        assert_eq!(bootstrap(0, 10, 0.95, &rng, |_| Some(1.0)), None);
        assert_eq!(bootstrap(5, 10, 0.95, &rng, |_| None), None);
        let expected = Some(Interval {
            low: 1.0,
            high: 1.0,
        });
        assert_eq!(bootstrap(5, 10, 0.95, &rng, |_| Some(1.0)), expected);
    }

    proptest! {
        #[test]
        fn wilson_holds_the_estimate_and_narrows_with_trials(k in 0u64..500, more in 0u64..500) {
            let n = k + more + 1;
            let interval = wilson(k, n, 0.95).unwrap();
            prop_assert!(0.0 <= interval.low && interval.high <= 1.0);
            prop_assert!(interval.contains(k as f64 / n as f64));
            let wider = wilson(k, n, 0.99).unwrap();
            prop_assert!(wider.low <= interval.low && interval.high <= wider.high);
            let tenfold = wilson(10 * k, 10 * n, 0.95).unwrap();
            prop_assert!(tenfold.width() < interval.width());
        }
    }
}
