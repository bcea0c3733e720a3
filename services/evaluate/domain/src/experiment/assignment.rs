//! Which variant a person gets: a pure function of experiment, anchor and allocation, for ever.
//! The hash is `rapport_math`'s, so every service and replica agrees without asking.

use rapport_math::{BUCKETS, assigned_arm};

/// Most variants of one experiment.
pub const VARIANTS_MAX: usize = 10;
/// Most characters of an experiment key or a variant key.
pub const KEY_CHARS_MAX: usize = 64;

/// One arm of an experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Key, 1 to 64 characters, unique within the experiment.
    pub key: String,
    /// Share of people in ten-thousandths. 0 closes the arm to everybody.
    pub share: u32,
}

/// How people are spread over the arms. The first variant is the control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    variants: Vec<Variant>,
}

/// Why an allocation was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// An experiment compares, so it needs two arms.
    #[error("an experiment needs 2 to {VARIANTS_MAX} variants, not {0}")]
    VariantCount(usize),
    /// A key is empty or too long.
    #[error("variant key {0:?} is not 1 to {KEY_CHARS_MAX} characters")]
    Key(String),
    /// Two arms have one key.
    #[error("variant {0:?} is named twice")]
    Duplicate(String),
    /// The shares are not everybody.
    #[error("shares sum to {0}, not to {BUCKETS}")]
    Shares(u64),
}

impl Allocation {
    /// Takes the arms, control first.
    ///
    /// # Errors
    /// Names the first rule that is broken.
    pub fn new(variants: Vec<Variant>) -> Result<Self, AllocationError> {
        if !(2..=VARIANTS_MAX).contains(&variants.len()) {
            return Err(AllocationError::VariantCount(variants.len()));
        }
        for (place, variant) in variants.iter().enumerate() {
            if !(1..=KEY_CHARS_MAX).contains(&variant.key.chars().count()) {
                return Err(AllocationError::Key(variant.key.clone()));
            }
            if variants[..place]
                .iter()
                .any(|earlier| earlier.key == variant.key)
            {
                return Err(AllocationError::Duplicate(variant.key.clone()));
            }
        }
        let sum = variants
            .iter()
            .map(|variant| u64::from(variant.share))
            .sum();
        if sum != u64::from(BUCKETS) {
            return Err(AllocationError::Shares(sum));
        }
        Ok(Self { variants })
    }

    /// Returns the arms, control first.
    #[must_use]
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// Returns the key of the control arm, which also serves people who may not be measured.
    #[must_use]
    pub fn control(&self) -> &str {
        &self.variants[0].key
    }

    /// Returns the promised share of a variant, in `[0, 1]`; `None` for an unknown one.
    #[must_use]
    pub fn share(&self, key: &str) -> Option<f64> {
        let found = self.variants.iter().find(|variant| variant.key == key)?;
        Some(f64::from(found.share) / f64::from(BUCKETS))
    }
}

/// Returns the variant of a person.
///
/// * `experiment_key` salts the hash, so experiments do not share their luck. `anchor` is the
///   16 bytes of the subject that stands for the person.
/// * Cost: one hash, no allocation.
#[must_use]
pub fn assign<'a>(experiment_key: &str, anchor: &[u8], allocation: &'a Allocation) -> &'a str {
    let shares = allocation.variants.iter().map(|variant| variant.share);
    &allocation.variants[assigned_arm(experiment_key, anchor, shares)].key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(shares: &[u32]) -> Result<Allocation, AllocationError> {
        let arm = |(place, &share): (usize, &u32)| Variant {
            key: format!("v{place}"),
            share,
        };
        Allocation::new(shares.iter().enumerate().map(arm).collect())
    }

    #[test]
    fn refuses_what_cannot_be_an_experiment() {
        assert_eq!(split(&[10_000]), Err(AllocationError::VariantCount(1)));
        assert_eq!(split(&[1_000; 11]), Err(AllocationError::VariantCount(11)));
        assert_eq!(split(&[5_000, 4_000]), Err(AllocationError::Shares(9_000)));
        assert_eq!(
            split(&[u32::MAX, 2]),
            Err(AllocationError::Shares(4_294_967_297))
        );
        let twins = vec![
            Variant {
                key: "a".to_owned(),
                share: 5_000
            };
            2
        ];
        assert_eq!(
            Allocation::new(twins),
            Err(AllocationError::Duplicate("a".to_owned()))
        );
        let nameless = vec![
            Variant {
                key: String::new(),
                share: 5_000
            };
            2
        ];
        assert_eq!(
            Allocation::new(nameless),
            Err(AllocationError::Key(String::new()))
        );
        let uneven = split(&[2_500, 7_500]).unwrap();
        assert_eq!(
            (uneven.control(), uneven.share("v1"), uneven.share("v2")),
            ("v0", Some(0.75), None)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn shares_are_what_was_asked(key in "[a-z]{1,12}", cut in 1_000u32..9_000) {
            let allocation = split(&[cut, 10_000 - cut]).unwrap();
            let mut counts = [0u64; 2];
            for person in 0..20_000u64 {
                counts[usize::from(assign(&key, &person.to_le_bytes(), &allocation) == "v1")] += 1;
            }
            let shares = [f64::from(cut), f64::from(10_000 - cut)];
            let ratio = crate::experiment::sample_ratio(&counts, &shares).unwrap();
            prop_assert!(ratio.p > 1e-6, "{counts:?} for {shares:?}");
        }

        #[test]
        fn growing_an_arm_moves_people_into_it_only(anchor in any::<[u8; 16]>(), cut in 0u32..=9_000) {
            let before = split(&[10_000 - cut, cut]).unwrap();
            let after = split(&[9_000 - cut, cut + 1_000]).unwrap();
            let (then, now) = (assign("ramp", &anchor, &before), assign("ramp", &anchor, &after));
            prop_assert!(then == now || now == "v1");
        }

        #[test]
        fn experiments_do_not_share_their_luck(key in "[a-z]{4,8}") {
            let half = split(&[5_000, 5_000]).unwrap();
            let other = format!("{key}2");
            let same = (0..4_000u64)
                .map(u64::to_le_bytes)
                .filter(|id| assign(&key, id, &half) == assign(&other, id, &half))
                .count();
            prop_assert!((same as f64 - 2_000.0).abs() < 5.0 * 31.7, "{same} of 4,000 agree");
        }
    }
}
