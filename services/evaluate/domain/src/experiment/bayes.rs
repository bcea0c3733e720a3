//! The Bayesian view: how likely is it that the treated arm is better?

use rapport_math::{ln_gamma, normal_cdf};

/// Most terms of the exact sum; beyond it both posteriors are normal to within 1e-4.
const EXACT_TERMS_MAX: u64 = 100_000;

/// Returns the probability that the true effect is above 0, given a normal estimate and no prior
/// opinion; `None` unless `se > 0`.
#[must_use]
pub fn normal_beats(effect: f64, se: f64) -> Option<f64> {
    (se > 0.0 && se.is_finite()).then(|| normal_cdf(effect / se))
}

/// Returns the probability that the treated rate is above the control's.
///
/// * Each arm is `(successes, trials)`, successes capped at trials; the prior of both is uniform.
/// * Exact: a finite sum of beta functions, run over whichever of the four counts is smallest.
///   Above 100,000 terms, the normal limit of the two posteriors.
/// * Source: Miller, "Formulas for Bayesian A/B testing", 2015, equation 6.
#[must_use]
pub fn beta_binomial_beats(control: (u64, u64), treated: (u64, u64)) -> f64 {
    let posterior = |(successes, trials): (u64, u64)| {
        let successes = successes.min(trials);
        (successes + 1, trials - successes + 1)
    };
    let (a, b) = (posterior(control), posterior(treated));
    let terms = b.0.min(a.0).min(a.1).min(b.1);
    if terms > EXACT_TERMS_MAX {
        let (mean_a, variance_a) = beta_moments(a);
        let (mean_b, variance_b) = beta_moments(b);
        return normal_cdf((mean_b - mean_a) / (variance_a + variance_b).sqrt());
    }
    let swap = |(successes, failures): (u64, u64)| (failures, successes);
    // "B beats A" is "1 - A beats 1 - B", and the complement of "A beats B".
    let probability = if terms == b.0 {
        beats(a, b)
    } else if terms == a.0 {
        1.0 - beats(b, a)
    } else if terms == a.1 {
        beats(swap(b), swap(a))
    } else {
        1.0 - beats(swap(a), swap(b))
    };
    probability.clamp(0.0, 1.0)
}

fn beta_moments((a, b): (u64, u64)) -> (f64, f64) {
    let (a, b) = (a as f64, b as f64);
    let sum = a + b;
    (a / sum, a * b / (sum * sum * (sum + 1.0)))
}

/// Sums P(B > A) for A of shape `(a1, a2)`, B of shape `(b1, b2)`: `b1` terms.
fn beats((a1, a2): (u64, u64), (b1, b2): (u64, u64)) -> f64 {
    let (alpha, beta, other) = (a1 as f64, a2 as f64, b2 as f64);
    let ln_beta = |x: f64, y: f64| ln_gamma(x) + ln_gamma(y) - ln_gamma(x + y);
    let mut ln_term = ln_beta(alpha, beta + other) - ln_beta(alpha, beta);
    let mut sum = 0.0;
    for i in 0..b1 {
        sum += libm::exp(ln_term);
        let i = i as f64;
        // The ratio of neighbouring terms, from the recurrences of the beta function.
        ln_term += libm::log((alpha + i) / (alpha + beta + other + i) * ((other + i) / (1.0 + i)));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_worked_by_hand() {
        assert_eq!(normal_beats(0.0, 1.0), Some(0.5));
        assert_eq!(normal_beats(1.0, 0.0), None);
        // Uniform against Beta(2, 1): the integral of x * 2x... P(B > A) = E[B] = 2/3.
        assert!((beta_binomial_beats((0, 0), (1, 1)) - 2.0 / 3.0).abs() < 1e-14);
    }

    proptest! {
        #[test]
        fn is_a_probability_and_fair(a in 0u64..300, more_a in 0u64..300, b in 0u64..300, more_b in 0u64..300) {
            let (control, treated) = ((a, a + more_a), (b, b + more_b));
            let (there, back) = (beta_binomial_beats(control, treated), beta_binomial_beats(treated, control));
            prop_assert!((0.0..=1.0).contains(&there));
            prop_assert!((there + back - 1.0).abs() < 1e-9);
            let better = beta_binomial_beats(control, (b + 1, b + more_b + 1));
            prop_assert!(better >= there - 1e-12);
        }
    }

    #[test]
    fn the_exact_sum_meets_its_normal_limit() {
        let exact = beta_binomial_beats((90_000, 200_000), (90_300, 200_000));
        let limit = beta_binomial_beats((110_000, 220_000), (110_315, 220_000));
        assert!(
            (exact - 0.8293).abs() < 2e-3 && (limit - 0.829).abs() < 3e-3,
            "{exact} {limit}"
        );
    }
}
