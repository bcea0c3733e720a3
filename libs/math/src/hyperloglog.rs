//! A distinct counter of fixed size that merges exactly: HyperLogLog.

use crate::stable_hash64;

/// Bits of the hash that choose the register: 2^12 registers, standard error 1.04 / 64 = 1.6 %.
const INDEX_BITS: u32 = 12;
/// Registers, and bytes, of a counter.
const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits left to count leading zeros in.
const RANK_BITS: u32 = 64 - INDEX_BITS;

/// Counts distinct byte strings in 4 KiB, whatever their number, with a standard error of 1.6 %.
///
/// Merging takes the greater of each pair of registers: associative, commutative and idempotent,
/// so a day counted twice is counted once. Sources: Flajolet et al., AofA 2007; the estimator is
/// Ertl, "New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6,
/// which needs no table of corrections at either end.
#[derive(Clone, PartialEq, Eq)]
pub struct HyperLogLog {
    registers: Vec<u8>,
}

impl Default for HyperLogLog {
    fn default() -> Self {
        Self {
            registers: vec![0; REGISTERS],
        }
    }
}

impl std::fmt::Debug for HyperLogLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HyperLogLog")
            .field("estimate", &self.estimate())
            .finish()
    }
}

impl HyperLogLog {
    /// Counts one key; the same key again changes nothing.
    pub fn insert(&mut self, key: &[u8]) {
        let hash = stable_hash64(&[key]);
        let register = (hash >> RANK_BITS) as usize;
        // The sentinel bit stops the count at RANK_BITS + 1 when all remaining bits are zero.
        let rank = ((hash << INDEX_BITS) | (1 << (INDEX_BITS - 1))).leading_zeros() as u8 + 1;
        self.registers[register] = self.registers[register].max(rank);
    }

    /// Takes all keys that another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.registers.iter_mut().zip(&other.registers) {
            *mine = (*mine).max(*theirs);
        }
    }

    /// Estimates the number of distinct keys; exactly 0 for an empty counter.
    #[must_use]
    pub fn estimate(&self) -> f64 {
        let mut counts = [0u32; RANK_BITS as usize + 2];
        for &rank in &self.registers {
            counts[usize::from(rank)] += 1;
        }
        let m = REGISTERS as f64;
        let full = f64::from(counts[RANK_BITS as usize + 1]);
        let mut sum = m * tau(1.0 - full / m);
        for &count in counts[1..=RANK_BITS as usize].iter().rev() {
            sum = 0.5 * (sum + f64::from(count));
        }
        sum += m * sigma(f64::from(counts[0]) / m);
        m * m / (2.0 * std::f64::consts::LN_2 * sum)
    }

    /// Returns the registers, 4,096 bytes, for storage.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.registers
    }

    /// Restores a counter from [`Self::as_bytes`]; `None` for a wrong length or an impossible rank.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let valid =
            bytes.len() == REGISTERS && bytes.iter().all(|&r| u32::from(r) <= RANK_BITS + 1);
        valid.then(|| Self {
            registers: bytes.to_vec(),
        })
    }
}

/// `x + sum of x^(2^k) 2^(k - 1)`: what the empty registers tell (Ertl, equation 20).
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut weight, mut sum) = (1.0, x);
    loop {
        x *= x;
        let next = sum + x * weight;
        if next == sum {
            return sum;
        }
        sum = next;
        weight += weight;
    }
}

/// What the saturated registers tell (Ertl, equation 22).
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut weight, mut sum) = (1.0, 1.0 - x);
    loop {
        x = libm::sqrt(x);
        weight *= 0.5;
        let next = sum - (1.0 - x) * (1.0 - x) * weight;
        if next == sum {
            return sum / 3.0;
        }
        sum = next;
    }
}

#[cfg(test)]
mod tests {
    use super::HyperLogLog;
    use proptest::prelude::*;

    fn of(keys: impl IntoIterator<Item = u64>) -> HyperLogLog {
        let mut counter = HyperLogLog::default();
        keys.into_iter()
            .for_each(|key| counter.insert(&key.to_le_bytes()));
        counter
    }

    #[test]
    fn estimates_within_four_standard_errors_at_every_scale() {
        assert_eq!(of([]).estimate(), 0.0);
        for n in [1u64, 10, 100, 3_000, 10_000, 40_000, 500_000] {
            let error = (of(0..n).estimate() / n as f64 - 1.0).abs();
            assert!(error < 4.0 * 0.0163, "{n}: {error}");
        }
    }

    #[test]
    fn bytes_come_back_and_wrong_ones_do_not() {
        let counter = of(0..1_000);
        assert_eq!(HyperLogLog::from_bytes(counter.as_bytes()), Some(counter));
        assert_eq!(HyperLogLog::from_bytes(&[0; 10]), None);
        assert_eq!(HyperLogLog::from_bytes(&[60; 4096]), None);
    }

    proptest! {
        #[test]
        fn merge_is_the_union(
            a in prop::collection::vec(any::<u64>(), 0..100),
            b in prop::collection::vec(any::<u64>(), 0..100),
        ) {
            let union = of(a.iter().chain(&b).copied());
            let (mut one, mut two) = (of(a.clone()), of(b.clone()));
            one.merge(&of(b));
            two.merge(&of(a));
            prop_assert_eq!(&one, &union);
            prop_assert_eq!(&two, &union);
            one.merge(&union);
            prop_assert_eq!(&one, &union);
        }
    }
}
