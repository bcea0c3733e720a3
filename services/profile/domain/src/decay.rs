//! Sums that fade with time, kept so that adding and merging are exact.
//!
//! A float that is rescaled at every event would depend on the order of events in its last bits.
//! Here each amount is written once, relative to the start of the half-life it fell into, as an
//! integer: integers add up the same in any order, and only a read computes powers.

use rapport_types::UnixMillis;
use serde::{Deserialize, Serialize};

/// Half-lives that are kept. What is older than 24 of them weighs less than a ten-millionth.
const EPOCHS_MAX: usize = 24;
/// Fixed-point steps of one unit of weight: a millionth is fine enough for any tag.
const UNIT: f64 = 1_048_576.0;
/// Amounts are clamped to this, so that a sum of `2^20` events still fits an `i64`.
const AMOUNT_MAX: f64 = 1_000_000.0;

/// A sum of amounts that halve every half-life. The half-life is the caller's and must not change.
///
/// * Size: at most [`EPOCHS_MAX`] pairs.
/// * `merge` is associative and commutative to the bit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decayed(Vec<(i64, i64)>);

impl Decayed {
    /// Adds `amount` (finite, else ignored) at instant `at`.
    pub(crate) fn add(&mut self, at: UnixMillis, amount: f64, half_life_ms: i64) {
        if !amount.is_finite() {
            return;
        }
        let epoch = at.0.div_euclid(half_life_ms);
        let into_epoch = at.0.rem_euclid(half_life_ms) as f64 / half_life_ms as f64;
        let scaled = amount.clamp(-AMOUNT_MAX, AMOUNT_MAX) * libm::exp2(into_epoch) * UNIT;
        self.put(epoch, libm::round(scaled) as i64);
        self.drop_old();
    }

    /// Adds every amount of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        for &(epoch, amount) in &other.0 {
            self.put(epoch, amount);
        }
        self.drop_old();
    }

    /// Returns the sum as it weighs at `as_of`, which should not precede the last amount added.
    pub(crate) fn value(&self, as_of: UnixMillis, half_life_ms: i64) -> f64 {
        let now = as_of.0 as f64 / half_life_ms as f64;
        let weighed =
            |&(epoch, amount): &(i64, i64)| amount as f64 / UNIT * libm::exp2(epoch as f64 - now);
        self.0.iter().map(weighed).sum()
    }

    fn put(&mut self, epoch: i64, amount: i64) {
        match self.0.binary_search_by_key(&epoch, |entry| entry.0) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(amount),
            Err(at) => self.0.insert(at, (epoch, amount)),
        }
    }

    /// Keeps the epochs near the newest one: a rule on the newest alone, so merging stays exact.
    fn drop_old(&mut self) {
        let Some(&(newest, _)) = self.0.last() else {
            return;
        };
        self.0
            .retain(|&(epoch, _)| newest.saturating_sub(epoch) < EPOCHS_MAX as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 86_400_000;

    #[test]
    fn halves_every_half_life() {
        let mut sum = Decayed::default();
        sum.add(UnixMillis(3 * DAY), 8.0, 10 * DAY);
        assert!((sum.value(UnixMillis(3 * DAY), 10 * DAY) - 8.0).abs() < 1e-5);
        assert!((sum.value(UnixMillis(13 * DAY), 10 * DAY) - 4.0).abs() < 1e-5);
        sum.add(UnixMillis(13 * DAY), 1.0, 10 * DAY);
        assert!((sum.value(UnixMillis(23 * DAY), 10 * DAY) - 2.5).abs() < 1e-5);
    }

    #[test]
    fn what_is_no_number_is_ignored() {
        let mut sum = Decayed::default();
        sum.add(UnixMillis(0), f64::NAN, DAY);
        sum.add(UnixMillis(0), f64::INFINITY, DAY);
        assert_eq!(sum, Decayed::default());
    }

    proptest! {
        #[test]
        fn order_and_grouping_do_not_matter(
            amounts in prop::collection::vec((0i64..400 * DAY, -5.0..5.0f64), 0..40),
            cut in 0usize..40,
        ) {
            let sum_of = |part: &[(i64, f64)]| {
                let mut sum = Decayed::default();
                part.iter().for_each(|&(at, amount)| sum.add(UnixMillis(at), amount, 7 * DAY));
                sum
            };
            let (left, right) = amounts.split_at(cut.min(amounts.len()));
            let (mut forwards, mut backwards) = (sum_of(left), sum_of(right));
            forwards.merge(&sum_of(right));
            backwards.merge(&sum_of(left));
            prop_assert_eq!(&forwards, &backwards);
            prop_assert_eq!(&forwards, &sum_of(&amounts));
        }
    }
}
