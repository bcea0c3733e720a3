//! Which variant a person gets: a pure function of experiment, anchor and allocation, for ever.
//! Nothing is stored, so every service and replica agrees without asking.

use rapport_math::stable_hash64;

/// Traffic is counted in ten-thousandths of all people.
pub const TRAFFIC_WHOLE: u32 = 10_000;
/// Most variants of one experiment.
pub const VARIANTS_MAX: usize = 16;
/// Most bytes of an experiment key or a variant name.
pub const KEY_BYTES_MAX: usize = 64;
/// Largest weight of one variant.
pub const WEIGHT_MAX: u32 = 10_000;

/// One arm of an experiment and its share of those enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Name, 1 to 64 bytes, unique within the experiment.
    pub name: String,
    /// Share relative to the other weights, 1 to 10,000.
    pub weight: u32,
}

/// How people are spread over the arms. The first variant is the control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    variants: Vec<Variant>,
    traffic: u32,
}

/// Why an allocation was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// An experiment compares, so it needs two arms.
    #[error("an experiment needs 2 to {VARIANTS_MAX} variants, not {0}")]
    VariantCount(usize),
    /// A name is empty or too long.
    #[error("variant name {0:?} is not 1 to {KEY_BYTES_MAX} bytes")]
    Name(String),
    /// Two arms have one name.
    #[error("variant {0:?} is named twice")]
    Duplicate(String),
    /// A weight is 0 or too large.
    #[error("weight of variant {0:?} is not 1 to {WEIGHT_MAX}")]
    Weight(String),
    /// More than everybody.
    #[error("traffic {0} is above {TRAFFIC_WHOLE} ten-thousandths")]
    Traffic(u32),
}

impl Allocation {
    /// Takes the arms, control first, and the traffic enrolled, in ten-thousandths of all people.
    ///
    /// # Errors
    /// Names the first rule that is broken.
    pub fn new(variants: Vec<Variant>, traffic: u32) -> Result<Self, AllocationError> {
        if !(2..=VARIANTS_MAX).contains(&variants.len()) {
            return Err(AllocationError::VariantCount(variants.len()));
        }
        if traffic > TRAFFIC_WHOLE {
            return Err(AllocationError::Traffic(traffic));
        }
        for (place, variant) in variants.iter().enumerate() {
            let name = || variant.name.clone();
            if !(1..=KEY_BYTES_MAX).contains(&variant.name.len()) {
                return Err(AllocationError::Name(name()));
            }
            if !(1..=WEIGHT_MAX).contains(&variant.weight) {
                return Err(AllocationError::Weight(name()));
            }
            if variants[..place]
                .iter()
                .any(|earlier| earlier.name == variant.name)
            {
                return Err(AllocationError::Duplicate(name()));
            }
        }
        Ok(Self { variants, traffic })
    }

    /// Returns the arms, control first.
    #[must_use]
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// Returns the name of the control arm, which also serves people who are not enrolled.
    #[must_use]
    pub fn control(&self) -> &str {
        &self.variants[0].name
    }

    /// Returns the traffic enrolled, in ten-thousandths.
    #[must_use]
    pub fn traffic(&self) -> u32 {
        self.traffic
    }
}

/// Returns the variant of a person, or `None` when the person is not enrolled.
///
/// * `experiment_key` salts the hash, so experiments do not share their luck. `anchor` is the
///   16 bytes of the subject that stands for the person.
/// * Enrolment and variant use separate hashes: raising the traffic enrols more people and moves
///   nobody. Changing a weight does move people: start a new experiment instead.
/// * Cost: two hashes, no allocation.
#[must_use]
pub fn assign<'a>(
    experiment_key: &str,
    anchor: &[u8],
    allocation: &'a Allocation,
) -> Option<&'a str> {
    let key = experiment_key.as_bytes();
    let enrolment = spread(
        stable_hash64(&[b"enrol", key, anchor]),
        u64::from(TRAFFIC_WHOLE),
    );
    if enrolment >= u64::from(allocation.traffic) {
        return None;
    }
    let whole = allocation
        .variants
        .iter()
        .map(|variant| u64::from(variant.weight))
        .sum();
    let mut place = spread(stable_hash64(&[b"variant", key, anchor]), whole);
    allocation.variants.iter().find_map(|variant| {
        let weight = u64::from(variant.weight);
        let found = place < weight;
        place = place.saturating_sub(weight);
        found.then_some(variant.name.as_str())
    })
}

/// Maps a hash to `[0, buckets)` by its high bits, every bucket equal to within 2^-50.
fn spread(hash: u64, buckets: u64) -> u64 {
    ((u128::from(hash) * u128::from(buckets)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(weights: &[u32], traffic: u32) -> Result<Allocation, AllocationError> {
        let arm = |(place, &weight): (usize, &u32)| Variant {
            name: format!("v{place}"),
            weight,
        };
        Allocation::new(weights.iter().enumerate().map(arm).collect(), traffic)
    }

    #[test]
    fn refuses_what_cannot_be_an_experiment() {
        assert_eq!(split(&[1], 1), Err(AllocationError::VariantCount(1)));
        assert_eq!(split(&[1; 17], 1), Err(AllocationError::VariantCount(17)));
        assert_eq!(
            split(&[1, 0], 1),
            Err(AllocationError::Weight("v1".to_owned()))
        );
        assert_eq!(
            split(&[1, 1], 10_001),
            Err(AllocationError::Traffic(10_001))
        );
        let twins = vec![
            Variant {
                name: "a".to_owned(),
                weight: 1
            };
            2
        ];
        assert_eq!(
            Allocation::new(twins, 1),
            Err(AllocationError::Duplicate("a".to_owned()))
        );
        let nameless = vec![
            Variant {
                name: String::new(),
                weight: 1
            };
            2
        ];
        assert_eq!(
            Allocation::new(nameless, 1),
            Err(AllocationError::Name(String::new()))
        );
    }

    #[test]
    fn never_changes() {
        let half = split(&[1, 1], TRAFFIC_WHOLE).unwrap();
        let drawn: Vec<&str> = (0..8)
            .filter_map(|id| assign("banner", &[id; 16], &half))
            .collect();
        assert_eq!(drawn, ["v1", "v0", "v1", "v0", "v1", "v0", "v0", "v0"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn shares_are_what_was_asked(key in "[a-z]{1,12}", weights in prop::collection::vec(1u32..6, 2..5)) {
            const PEOPLE: u64 = 20_000;
            let allocation = split(&weights, 5_000).unwrap();
            let mut counts = vec![0u64; weights.len()];
            for person in 0..PEOPLE {
                if let Some(name) = assign(&key, &person.to_le_bytes(), &allocation) {
                    counts[name[1..].parse::<usize>().unwrap()] += 1;
                }
            }
            let enrolled: u64 = counts.iter().sum();
            prop_assert!((enrolled as f64 - 10_000.0).abs() < 5.0 * 70.8, "{enrolled} of 20,000");
            let shares: Vec<f64> = weights.iter().map(|&weight| f64::from(weight)).collect();
            let ratio = crate::experiment::sample_ratio(&counts, &shares).unwrap();
            prop_assert!(ratio.p > 1e-6, "{counts:?} for {weights:?}");
        }

        #[test]
        fn more_traffic_moves_nobody(anchor in any::<[u8; 16]>(), low in 0u32..=10_000, high in 0u32..=10_000) {
            let (low, high) = (low.min(high), low.max(high));
            let (narrow, wide) = (split(&[3, 1], low).unwrap(), split(&[3, 1], high).unwrap());
            if let Some(variant) = assign("ramp", &anchor, &narrow) {
                prop_assert_eq!(assign("ramp", &anchor, &wide), Some(variant));
            }
        }

        #[test]
        fn experiments_do_not_share_their_luck(key in "[a-z]{4,8}") {
            let half = split(&[1, 1], TRAFFIC_WHOLE).unwrap();
            let other = format!("{key}2");
            let same = (0..4_000u64)
                .filter(|id| assign(&key, &id.to_le_bytes(), &half) == assign(&other, &id.to_le_bytes(), &half))
                .count();
            prop_assert!((same as f64 - 2_000.0).abs() < 5.0 * 31.7, "{same} of 4,000 agree");
        }
    }
}
