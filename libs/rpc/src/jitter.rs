//! Random spread for timers, so that many machines do not act in step. Not for anything that must be
//! repeatable: timing is outside of what a seed decides.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Returns a fraction in `[0, 1)`, another one at each call.
pub(crate) fn fraction() -> f64 {
    // The standard library seeds each `RandomState` differently per process; that is random enough here.
    let bits = RandomState::new().hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Returns a duration within `spread` (a share, `0..=1`) of `middle`, on either side.
pub(crate) fn around(middle: Duration, spread: f64) -> Duration {
    middle.mul_f64(1.0 + spread * (2.0 * fraction() - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_spread_and_varies() {
        let middle = Duration::from_secs(100);
        let drawn: Vec<_> = (0..100).map(|_| around(middle, 0.1)).collect();
        let range = Duration::from_secs(90)..=Duration::from_secs(110);
        assert!(drawn.iter().all(|duration| range.contains(duration)));
        assert!(drawn.iter().any(|duration| *duration != drawn[0]));
    }
}
