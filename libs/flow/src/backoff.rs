//! How long to wait before trying again. Nothing here decides whether to.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use rapport_math::Rng;

/// Waits that double from a first one up to a maximum, each drawn from its upper half: replicas
/// that lost the same neighbour do not come back in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    attempt: u32,
    rng: Rng,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        // The keys of a fresh `RandomState` are the process's randomness, which is all that
        // spreading needs.
        let rng = Rng::seeded(RandomState::new().build_hasher().finish());
        Self {
            first,
            max,
            attempt: 0,
            rng,
        }
    }

    /// Returns the next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.attempt.min(20));
        self.attempt = self.attempt.saturating_add(1);
        doubled.min(self.max).mul_f64(self.rng.range(0.5, 1.0))
    }

    /// Returns whether the last thing tried failed.
    pub(crate) fn is_waiting(&self) -> bool {
        self.attempt > 0
    }

    /// Starts again from the first wait: something worked.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_maximum_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<u128> = (0..6).map(|_| backoff.next().as_millis()).collect();
        for (wait, whole) in waits.iter().zip([100, 200, 400, 800, 1_000, 1_000]) {
            assert!((whole / 2..=whole).contains(wait), "{wait} of {whole}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
