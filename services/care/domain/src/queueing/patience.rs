//! How long people wait before they give up, estimated from waits most of which ended with an answer:
//! the patience of the answered is known to be longer than their wait, and no more.

use rapport_math::Rng;

/// Most steps of an estimate: distinct waits that ended in giving up.
pub const PATIENCE_STEPS_MAX: usize = 10_000_000;

/// One wait of the past.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wait {
    /// How long it was, in seconds; finite, `>= 0`.
    pub seconds: f64,
    /// Whether it ended because the person gave up; otherwise an agent answered.
    pub gave_up: bool,
}

/// One step of the survival curve.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    seconds: f64,
    /// Share still patient after this moment, in `[0, 1)`.
    survival: f64,
}

/// The distribution of patience, by the product-limit estimate.
///
/// * Memory: 16 bytes per distinct wait that ended in giving up, at most [`PATIENCE_STEPS_MAX`].
/// * Beyond the last of them the curve knows nothing; it goes on falling at the mean rate of the whole
///   file, so that patience is always finite, unless nobody gave up at all.
/// * Source: Kaplan and Meier, "Nonparametric estimation from incomplete observations", JASA 1958;
///   for call centres Brown et al., JASA 2005, section 5.
#[derive(Debug, Clone, PartialEq)]
pub struct Patience {
    steps: Vec<Step>,
    /// People who give up per second of waiting; 0 if nobody did.
    rate: f64,
}

impl Patience {
    /// Estimates from waits in any order. `None` without waits, with more than
    /// [`PATIENCE_STEPS_MAX`] steps, or where a wait is not a number of seconds.
    ///
    /// Of equal waits giving up comes before the answer, as usual. Cost: `O(n log n)`.
    #[must_use]
    pub fn estimate(waits: &[Wait]) -> Option<Self> {
        let sound = |wait: &Wait| wait.seconds.is_finite() && wait.seconds >= 0.0;
        if waits.is_empty() || !waits.iter().all(sound) {
            return None;
        }
        let mut sorted = waits.to_vec();
        sorted.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let (mut steps, mut survival, mut seen) = (Vec::new(), 1.0, 0usize);
        for group in sorted.chunk_by(|a, b| a.seconds == b.seconds) {
            let at_risk = sorted.len() - seen;
            let gave_up = group.iter().filter(|wait| wait.gave_up).count();
            if gave_up > 0 {
                survival *= 1.0 - gave_up as f64 / at_risk as f64;
                steps.push(Step {
                    seconds: group[0].seconds,
                    survival,
                });
            }
            seen += group.len();
        }
        if steps.len() > PATIENCE_STEPS_MAX {
            return None;
        }
        let waited: f64 = sorted.iter().map(|wait| wait.seconds).sum();
        let gave_up = sorted.iter().filter(|wait| wait.gave_up).count() as f64;
        let rate = if gave_up > 0.0 && waited > 0.0 {
            gave_up / waited
        } else {
            0.0
        };
        Some(Self { steps, rate })
    }

    /// Returns the share of people still patient after waiting so long, in `[0, 1]`.
    #[must_use]
    pub fn survival(&self, seconds: f64) -> f64 {
        let passed = self.steps.partition_point(|step| step.seconds <= seconds);
        let Some(step) = passed.checked_sub(1).map(|at| self.steps[at]) else {
            return 1.0;
        };
        if passed < self.steps.len() {
            return step.survival;
        }
        step.survival * libm::exp(-self.rate * (seconds - step.seconds))
    }

    /// Returns the mean time until a person gives up if waits were endless and giving up had no
    /// memory: total waiting over people who gave up, the estimate that Erlang A wants.
    ///
    /// `None` if nobody gave up, or everybody at once.
    #[must_use]
    pub fn mean_seconds(&self) -> Option<f64> {
        (self.rate > 0.0).then(|| 1.0 / self.rate)
    }

    /// Draws the patience of a person who is known to have waited so long without giving up:
    /// above `waited_seconds`, infinite if nobody ever gave up.
    ///
    /// Cost: `O(log steps)`, one random number, or two beyond the last step.
    pub fn draw_beyond(&self, waited_seconds: f64, rng: &mut Rng) -> f64 {
        let left = self.survival(waited_seconds) * rng.uniform();
        let later = self.steps.partition_point(|step| step.survival > left);
        let passed = self
            .steps
            .partition_point(|step| step.seconds <= waited_seconds);
        match self.steps.get(later.max(passed)) {
            Some(step) => step.seconds,
            None if self.rate > 0.0 => {
                let last = self.steps.last().map_or(0.0, |step| step.seconds);
                last.max(waited_seconds) + rng.exponential(self.rate)
            }
            None => f64::INFINITY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Patience, Wait};
    use proptest::prelude::*;
    use rapport_math::Rng;

    fn waits(rows: &[(f64, bool)]) -> Vec<Wait> {
        let wait = |&(seconds, gave_up)| Wait { seconds, gave_up };
        rows.iter().map(wait).collect()
    }

    #[test]
    fn the_curve_matches_the_one_worked_by_hand() {
        // At 2: 1 of 5 leaves. 3 is answered. At 4: 1 of 3. 4 answered too. At 7: the last one leaves.
        let rows = [
            (2.0, true),
            (3.0, false),
            (4.0, true),
            (4.0, false),
            (7.0, true),
        ];
        let found = Patience::estimate(&waits(&rows)).unwrap();
        for (seconds, survival) in [
            (0.0, 1.0),
            (1.9, 1.0),
            (2.0, 0.8),
            (3.5, 0.8),
            (4.0, 0.8 * 2.0 / 3.0),
            (7.0, 0.0),
        ] {
            assert!(
                (found.survival(seconds) - survival).abs() < 1e-15,
                "{seconds}"
            );
        }
        assert!((found.mean_seconds().unwrap() - 20.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn nobody_giving_up_is_endless_patience() {
        let found = Patience::estimate(&waits(&[(5.0, false), (0.0, false)])).unwrap();
        assert_eq!((found.survival(1e9), found.mean_seconds()), (1.0, None));
        assert_eq!(found.draw_beyond(3.0, &mut Rng::seeded(1)), f64::INFINITY);
        assert_eq!(Patience::estimate(&[]), None);
        assert_eq!(Patience::estimate(&waits(&[(f64::NAN, true)])), None);
    }

    #[test]
    fn censored_exponential_patience_is_found_again() {
        let mut rng = Rng::seeded(4);
        let rows: Vec<Wait> = (0..40_000)
            .map(|_| {
                let (patience, offered) =
                    (rng.exponential(1.0 / 100.0), rng.exponential(1.0 / 50.0));
                Wait {
                    seconds: patience.min(offered),
                    gave_up: patience < offered,
                }
            })
            .collect();
        let found = Patience::estimate(&rows).unwrap();
        assert!((found.mean_seconds().unwrap() - 100.0).abs() < 2.0);
        for seconds in [20.0, 100.0, 150.0] {
            let truth = libm::exp(-seconds / 100.0);
            assert!((found.survival(seconds) - truth).abs() < 0.02, "{seconds}");
        }
        // Memory-free: who waited 80 s has 100 s left on average.
        let mean = (0..20_000)
            .map(|_| found.draw_beyond(80.0, &mut rng))
            .sum::<f64>()
            / 20_000.0;
        assert!((mean - 180.0).abs() < 8.0, "{mean}");
    }

    proptest! {
        #[test]
        fn survival_falls_and_draws_lie_beyond(
            rows in prop::collection::vec((0u32..50, any::<bool>()), 1..60), waited in 0.0..60.0f64, seed in any::<u64>(),
        ) {
            let rows: Vec<Wait> =
                rows.iter().map(|&(seconds, gave_up)| Wait { seconds: f64::from(seconds), gave_up }).collect();
            let found = Patience::estimate(&rows).unwrap();
            let curve: Vec<f64> = (0..80).map(|seconds| found.survival(f64::from(seconds))).collect();
            prop_assert!(curve.windows(2).all(|pair| pair[0] >= pair[1] && (0.0..=1.0).contains(&pair[1])));
            let mut rng = Rng::seeded(seed);
            prop_assert!(found.draw_beyond(waited, &mut rng) > waited);
        }
    }
}
