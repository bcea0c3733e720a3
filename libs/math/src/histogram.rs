//! A quantile sketch that merges exactly: counts in buckets of constant relative width.

use std::collections::BTreeMap;

/// Each bucket spans this ratio, so a quantile is off by at most 1 % of its value.
const GROWTH: f64 = 1.01 / 0.99;
/// Magnitudes below this count as 0.
const SMALLEST: f64 = 1e-9;
/// Magnitudes above this count as this. Together the two limit a histogram to 4,830 buckets.
const LARGEST: f64 = 1e12;

/// A histogram with logarithmic buckets over negative, zero and positive numbers.
///
/// Merging adds counts, so it is exactly associative and commutative: the answer is the same for
/// any split of the values. Source: Masson, Rim and Lee, "DDSketch", VLDB 2019, with fixed limits
/// in place of collapsing buckets (collapsing would make merges depend on their order).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogHistogram {
    /// Signed bucket number to count: 0 holds zeros, `k > 0` magnitudes up to `SMALLEST * GROWTH^k`,
    /// `-k` the same magnitudes below zero. Ascending keys are ascending values.
    counts: BTreeMap<i32, u64>,
    total: u64,
}

impl LogHistogram {
    /// Counts one value; NaN is ignored, infinities count as the largest magnitude.
    pub fn push(&mut self, value: f64) {
        if !value.is_nan() {
            *self.counts.entry(bucket_of(value)).or_default() += 1;
            self.total += 1;
        }
    }

    /// Takes all that another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (&bucket, &count) in &other.counts {
            *self.counts.entry(bucket).or_default() += count;
        }
        self.total += other.total;
    }

    /// Returns how many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Returns the value of rank `ceil(q n)`, within 1 % of its size; `q` is clamped to `[0, 1]`.
    /// `None` when nothing was counted. Cost: `O(buckets)`.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (libm::ceil(q.clamp(0.0, 1.0) * self.total as f64) as u64).max(1);
        let mut seen = 0;
        self.counts.iter().find_map(|(&bucket, &count)| {
            seen += count;
            (seen >= rank).then(|| value_of(bucket))
        })
    }
}

fn bucket_of(value: f64) -> i32 {
    let magnitude = value.abs().min(LARGEST);
    if magnitude < SMALLEST {
        return 0;
    }
    let steps = libm::log(magnitude / SMALLEST) / libm::log(GROWTH);
    let bucket = (libm::ceil(steps) as i32).max(1);
    if value < 0.0 { -bucket } else { bucket }
}

/// Returns the point of a bucket that is off by the same ratio at both ends.
fn value_of(bucket: i32) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let upper = SMALLEST * libm::pow(GROWTH, f64::from(bucket.abs()));
    (upper * 2.0 / (1.0 + GROWTH)).copysign(f64::from(bucket))
}

#[cfg(test)]
mod tests {
    use super::LogHistogram;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> LogHistogram {
        let mut histogram = LogHistogram::default();
        values.iter().for_each(|&value| histogram.push(value));
        histogram
    }

    #[test]
    fn empty_and_odd_values() {
        assert_eq!(of(&[]).quantile(0.5), None);
        assert_eq!(of(&[f64::NAN]).count(), 0);
        assert_eq!(of(&[0.0, 1e-12]).quantile(1.0), Some(0.0));
        let huge = of(&[f64::INFINITY]).quantile(0.5).unwrap();
        assert!((huge / 1e12 - 1.0).abs() <= 0.0101, "{huge}");
    }

    proptest! {
        #[test]
        fn quantiles_are_within_one_percent(
            mut values in prop::collection::vec(-1e6..1e6f64, 1..200), q in 0.0..=1.0f64,
        ) {
            let estimate = of(&values).quantile(q).unwrap();
            values.sort_by(f64::total_cmp);
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1];
            prop_assert!((estimate - exact).abs() <= 0.010_001 * exact.abs() + 1e-9);
        }

        #[test]
        fn merging_equals_counting_all_in_any_order(
            a in prop::collection::vec(-1e6..1e6f64, 0..50),
            b in prop::collection::vec(-1e6..1e6f64, 0..50),
        ) {
            let all = of(&[a.clone(), b.clone()].concat());
            let (mut one, mut two) = (of(&a), of(&b));
            one.merge(&of(&b));
            two.merge(&of(&a));
            prop_assert_eq!(&one, &all);
            prop_assert_eq!(&two, &all);
        }
    }
}
