//! Which arm of an experiment a unit gets. One implementation: every service that assigns must agree
//! with the one that analyses. Who may be assigned at all (consent, state) is the caller's rule.

use crate::stable_hash64;

/// Buckets of an experiment: shares are in ten-thousandths.
pub const BUCKETS: u32 = 10_000;

/// Returns the bucket of a unit (a person's anchor) in an experiment, in `0..`[`BUCKETS`].
///
/// A hash of the experiment's key and the unit, so that experiments are independent of each other
/// and nothing needs to be stored. The modulus of a 64-bit hash is uneven by less than `1e-15`.
#[must_use]
pub fn bucket(experiment: &str, unit: &[u8]) -> u32 {
    let hash = stable_hash64(&[b"rapport.experiment", experiment.as_bytes(), unit]);
    (hash % u64::from(BUCKETS)) as u32
}

/// Returns the index of the arm that a unit gets: the first whose cumulated share passes its bucket.
///
/// * `shares`, shape `[arms]`: ten-thousandths that sum to [`BUCKETS`]; the control first. When they
///   sum to less, the rest gets arm 0, the control.
/// * Growing one share at the cost of its neighbour moves only units between those two.
#[must_use]
pub fn assigned_arm(experiment: &str, unit: &[u8], shares: impl IntoIterator<Item = u32>) -> usize {
    let bucket = u64::from(bucket(experiment, unit));
    let mut passed = 0u64;
    for (arm, share) in shares.into_iter().enumerate() {
        passed += u64::from(share);
        if bucket < passed {
            return arm;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bucket_of_known_units_never_changes() {
        // Golden values: a change would move people between arms of running experiments.
        assert_eq!(bucket("checkout", &[7; 16]), 4_082);
        assert_eq!(bucket("checkout", &[8; 16]), 4_755);
        assert_eq!(bucket("search", &[7; 16]), 6_938);
    }

    #[test]
    fn shares_are_walked_in_order_and_an_unshared_rest_is_control() {
        let unit = [7; 16];
        let at = bucket("checkout", &unit);
        assert_eq!(assigned_arm("checkout", &unit, [at, BUCKETS - at]), 1);
        assert_eq!(
            assigned_arm("checkout", &unit, [at + 1, BUCKETS - at - 1]),
            0
        );
        assert_eq!(assigned_arm("checkout", &unit, [0, 0]), 0);
        assert_eq!(assigned_arm("checkout", &unit, []), 0);
    }

    #[test]
    fn arms_get_their_shares() {
        let mut counts = [0u32; 3];
        for unit in 0u64..30_000 {
            counts[assigned_arm("checkout", &unit.to_le_bytes(), [5_000, 3_000, 2_000])] += 1;
        }
        // Expected 15,000, 9,000 and 6,000; four standard deviations are below 350.
        for (count, expected) in counts.into_iter().zip([15_000u32, 9_000, 6_000]) {
            assert!(count.abs_diff(expected) < 350, "{counts:?}");
        }
    }

    proptest! {
        #[test]
        fn an_arm_exists(unit in any::<[u8; 16]>(), shares in prop::collection::vec(0u32..4_000, 1..10)) {
            let arms = shares.len();
            prop_assert!(assigned_arm("e", &unit, shares) < arms);
        }
    }
}
