//! Deterministic chance: the same key and salt draw the same number on every machine, for ever.

/// Returns a number in `[0, 1)` drawn from `key` and `salt`.
///
/// The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) over both words.
pub(crate) fn unit(key: u64, salt: u64) -> f64 {
    let mut bits = key.wrapping_add(salt.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_generator() {
        // SplitMix64 seeded with 0 gives 0xe220a8397b1dcdaf first, 0x6e789e6aa1b965f4 second.
        let as_unit = |bits: u64| (bits >> 11) as f64 / (1u64 << 53) as f64;
        assert_eq!(unit(0, 0), as_unit(0xe220_a839_7b1d_cdaf));
        assert_eq!(unit(0, 1), as_unit(0x6e78_9e6a_a1b9_65f4));
    }

    #[test]
    fn draws_spread_evenly() {
        let mut tenths = [0u32; 10];
        for key in 0..10_000 {
            tenths[(unit(key, 7) * 10.0) as usize] += 1;
        }
        // Binomial(10,000, 0.1): five standard deviations are 150.
        assert!(
            tenths.iter().all(|count| count.abs_diff(1_000) < 150),
            "{tenths:?}"
        );
    }
}
