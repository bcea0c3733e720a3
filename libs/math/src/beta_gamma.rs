//! What likelihoods with gamma and beta functions need beyond `ln_gamma`: the logarithm of the beta
//! function without cancellation, and the digamma function for gradients.

use crate::special::ln_binomial_term;

/// From here on the asymptotic series of digamma is exact to the last bits.
const ASYMPTOTIC_FROM: f64 = 10.0;

/// Computes `ln B(a, b)`, the logarithm of the beta function.
///
/// * `a > 0`, `b > 0`, finite; anything else, and NaN, gives NaN.
/// * Error below `1e-13` of `min(a, b)` or of the value, whichever is larger: the plain sum of three
///   `ln_gamma` has an error of `max(a, b)` units in the last place instead.
#[must_use]
pub fn ln_beta(a: f64, b: f64) -> f64 {
    if !(a > 0.0 && b > 0.0 && a.is_finite() && b.is_finite()) {
        return f64::NAN;
    }
    let (a, b) = (a.min(b), a.max(b));
    let sum = a + b;
    // The binomial term at its own mean holds no deviance: only Stirling's errors are left.
    let term = ln_binomial_term(a, b, a / sum, b / sum);
    let powers = a * libm::log1p(b / a) + b * libm::log1p(a / b);
    libm::log1p(a / b) - libm::log(a) - (term + powers)
}

/// Computes the digamma function, the derivative of `ln_gamma`.
///
/// * `x > 0`; anything else, and NaN, gives NaN. Error below `1e-14` of the value or of 1, whichever is
///   larger (it passes through 0 at 1.4616).
/// * Source: recurrence DLMF 5.5.2 up to 10, then the asymptotic series 5.11.2.
#[must_use]
pub fn digamma(x: f64) -> f64 {
    if x.is_nan() || x <= 0.0 {
        return f64::NAN;
    }
    // Bernoulli numbers over 2k, as they stand in the series.
    const SERIES: [f64; 8] = [
        1.0 / 12.0,
        -1.0 / 120.0,
        1.0 / 252.0,
        -1.0 / 240.0,
        1.0 / 132.0,
        -691.0 / 32_760.0,
        1.0 / 12.0,
        -3_617.0 / 8_160.0,
    ];
    let (mut x, mut below) = (x, 0.0);
    while x < ASYMPTOTIC_FROM {
        below += 1.0 / x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let tail = SERIES
        .iter()
        .rev()
        .fold(0.0, |sum, coefficient| (sum + coefficient) * square);
    libm::log(x) - 0.5 / x - tail - below
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ln_gamma;

    #[track_caller]
    fn close(ours: f64, expected: f64, error: f64) {
        assert!(
            (ours - expected).abs() <= error * expected.abs().max(1.0),
            "{ours:e}, not {expected:e}"
        );
    }

    #[test]
    fn digamma_at_its_known_places() {
        const EULER: f64 = 0.577_215_664_901_532_9;
        let ln_two = std::f64::consts::LN_2;
        close(digamma(1.0), -EULER, 1e-14);
        close(digamma(2.0), 1.0 - EULER, 1e-14);
        close(digamma(0.5), -EULER - 2.0 * ln_two, 1e-14);
        close(
            digamma(0.25),
            -EULER - std::f64::consts::FRAC_PI_2 - 3.0 * ln_two,
            1e-14,
        );
        close(digamma(1.461_632_144_968_362_3), 0.0, 1e-14);
        close(digamma(1e-8), -1e8 - EULER, 1e-14);
        close(digamma(1e9), 1e9f64.ln() - 0.5e-9, 1e-14);
        assert!(digamma(0.0).is_nan() && digamma(-1.5).is_nan() && digamma(f64::NAN).is_nan());
    }

    #[test]
    fn ln_beta_where_it_is_known() {
        close(ln_beta(1.0, 1.0), 0.0, 1e-14);
        close(ln_beta(2.0, 3.0), -(12.0f64.ln()), 1e-14);
        close(ln_beta(0.5, 0.5), std::f64::consts::PI.ln(), 1e-14);
        // B(1, b) = 1 / b and B(2, b) = 1 / (b (b + 1)): the largest numbers keep every digit.
        for b in [1e-6, 0.3, 7.0, 1e5, 1e10] {
            close(ln_beta(1.0, b), -f64::ln(b), 1e-13);
            close(ln_beta(b, 2.0), -f64::ln(b) - f64::ln_1p(b), 1e-13);
        }
        assert!(ln_beta(0.0, 1.0).is_nan() && ln_beta(1.0, f64::INFINITY).is_nan());
    }

    proptest::proptest! {
        #[test]
        fn digamma_is_the_slope_of_ln_gamma(x in 0.05..200.0f64) {
            let step = 1e-4 * x;
            let slope = (ln_gamma(x + step) - ln_gamma(x - step)) / (2.0 * step);
            close(digamma(x), slope, 1e-6);
            close(digamma(x + 1.0), digamma(x) + 1.0 / x, 1e-13);
        }

        #[test]
        fn ln_beta_is_symmetric_and_made_of_gammas(a in 0.01..50.0f64, b in 0.01..50.0f64) {
            close(ln_beta(a, b), ln_beta(b, a), 1e-13);
            close(ln_beta(a, b), ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b), 1e-12);
        }
    }
}
