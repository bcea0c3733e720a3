//! The seeded generator of the simulator, the models and every resample. Not for secrets or keys.
//! Distributions live in `rng/distributions.rs`.

mod distributions;
#[cfg(test)]
mod tests;

/// A seeded pseudo-random generator: xoshiro256++ with a splitmix64 seed.
///
/// The same seed gives the same numbers on every platform, for ever; a golden test holds it.
/// * Period `2^256 - 1`; a draw is a few additions and rotations, no allocation, no locking.
/// * Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators", ACM TOMS 2021.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng {
    state: [u64; 4],
    /// What the generator was seeded with, so that a fork does not depend on the draws made so far.
    key: u64,
}

impl Rng {
    /// Returns the generator of a seed. Nearby seeds give unrelated sequences.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let mut counter = seed;
        let state = std::array::from_fn(|_| splitmix64(&mut counter));
        Self { state, key: seed }
    }

    /// Returns an independent generator for a numbered stream (a person, a fold, a resample).
    ///
    /// It depends only on this generator's seed and on `stream`, never on how many numbers were
    /// drawn, so work may be split over threads in any order and give the same bytes.
    #[must_use]
    pub fn fork(&self, stream: u64) -> Self {
        let parts = [&self.key.to_le_bytes()[..], &stream.to_le_bytes()[..]];
        Self::seeded(crate::stable_hash64(&parts))
    }

    /// Draws 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Draws `N` random bytes: an id or a nonce of a simulation, never a key.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
        bytes
    }

    /// Draws a number in `[0, 1)`: the 53 high bits, so every value is a multiple of `2^-53`.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Draws a number in `[low, high)`; `low <= high`, both finite.
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        debug_assert!(low <= high && low.is_finite() && high.is_finite());
        let value = low + (high - low) * self.uniform();
        // Rounding may reach `high` itself; stepping back keeps the interval half open.
        if value < high || low == high {
            value
        } else {
            high.next_down().max(low)
        }
    }

    /// Draws a whole number in `[0, n)` without bias; `n` must be at least 1 (0 gives 0).
    ///
    /// Source: Lemire, "Fast random integer generation in an interval", ACM TOMACS 2019.
    pub fn below(&mut self, n: u64) -> u64 {
        debug_assert!(n > 0, "an empty range has no number to draw");
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            let reject_below = n.wrapping_neg().checked_rem(n).unwrap_or(0);
            while (product as u64) < reject_below {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// Returns true with the given probability; below 0 is never, above 1 always.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Puts a slice in random order, every order with equal likelihood (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let chosen = self.below(last as u64 + 1) as usize;
            items.swap(last, chosen);
        }
    }

    /// Draws an index with likelihood in proportion to its weight.
    ///
    /// * `weights`, shape `[n]`, `n >= 1`: finite, `>= 0`. When all are 0 every index is as likely.
    /// * Cost: `O(n)`; for many draws from one long list, keep cumulative sums instead.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        debug_assert!(!weights.is_empty() && weights.iter().all(|w| w.is_finite() && *w >= 0.0));
        let total: f64 = weights.iter().sum();
        if total <= 0.0 {
            return self.below(weights.len().max(1) as u64) as usize;
        }
        let mut left = self.uniform() * total;
        let mut last_positive = 0;
        for (index, &weight) in weights.iter().enumerate() {
            if weight > 0.0 {
                last_positive = index;
                if left < weight {
                    return index;
                }
            }
            left -= weight;
        }
        last_positive // Only rounding of the sum leads here.
    }
}

/// One step of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), the seeding its authors advise.
fn splitmix64(counter: &mut u64) -> u64 {
    *counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *counter;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
