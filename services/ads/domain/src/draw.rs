//! Deterministic chance: the same key and name draw the same number on every machine, for ever.

/// Returns a number in `[0, 1)` drawn from `key` and `name`.
///
/// FNV-1a over the name, then the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub(crate) fn unit(key: u64, name: &str) -> f64 {
    let seed = name
        .bytes()
        .fold(key ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_spread_evenly_over_keys_and_over_names() {
        let evenly = |draw: &dyn Fn(u32) -> f64| {
            let mut tenths = [0u32; 10];
            (0..10_000).for_each(|at| tenths[(draw(at) * 10.0) as usize] += 1);
            // Binomial(10,000, 0.1): five standard deviations are 150.
            assert!(
                tenths.iter().all(|count| count.abs_diff(1_000) < 150),
                "{tenths:?}"
            );
        };
        evenly(&|at| unit(u64::from(at), "li-1"));
        evenly(&|at| unit(7, &format!("li-{at}")));
    }
}
