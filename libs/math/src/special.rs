//! Special functions: gamma, error function, and the regularised incomplete gamma and beta.
//! Distributions built on them live in `normal.rs` and `distributions.rs`.

/// Most terms of a series or continued fraction. Both need `O(sqrt(a))` terms, so this covers
/// parameters beyond `1e9`; the last iterate is returned should a caller go further.
const TERMS_MAX: usize = 200_000;
/// A term this small beside the sum changes nothing any more.
const EPSILON: f64 = 1e-16;
/// Stands in for a zero denominator in Lentz's method.
const TINY: f64 = 1e-300;
/// `0.5 * ln(2 * pi)`.
const HALF_LN_TWO_PI: f64 = 0.918_938_533_204_672_8;

/// Computes `ln |gamma(x)|`. Poles (0, -1, -2, ..) give infinity. Error below 2 ulp for `x > 0`.
#[must_use]
pub fn ln_gamma(x: f64) -> f64 {
    libm::lgamma(x)
}

/// Computes the error function, in `[-1, 1]`.
#[must_use]
pub fn erf(x: f64) -> f64 {
    libm::erf(x)
}

/// Computes `1 - erf(x)` without losing the small tail, in `[0, 2]`.
#[must_use]
pub fn erfc(x: f64) -> f64 {
    libm::erfc(x)
}

/// Computes the regularised lower incomplete gamma function `P(a, x)`, in `[0, 1]`.
///
/// * `a > 0`, `x >= 0`; anything else, and NaN, gives NaN. Relative error about `1e-13`.
/// * Cost: `O(sqrt(a))` terms. Source: DLMF 8.11.4 (series) and 8.9.2 (continued fraction).
#[must_use]
pub fn gamma_p(a: f64, x: f64) -> f64 {
    incomplete_gamma(a, x).0
}

/// Computes `1 - P(a, x)` without losing the small tail; see [`gamma_p`].
#[must_use]
pub fn gamma_q(a: f64, x: f64) -> f64 {
    incomplete_gamma(a, x).1
}

/// Computes the regularised incomplete beta function `I_x(a, b)`, in `[0, 1]`.
///
/// * `a > 0`, `b > 0`, `x` in `[0, 1]`; anything else, and NaN, gives NaN. Relative error about `1e-13`.
/// * Cost: `O(sqrt(max(a, b)))` terms. Source: DLMF 8.17.22 by Lentz's method.
#[must_use]
pub fn beta_inc(a: f64, b: f64, x: f64) -> f64 {
    beta_inc_pair(a, b, x, 1.0 - x).0
}

/// Computes `(I_x(a, b), 1 - I_x(a, b))` from `x` and `y = 1 - x`, both given by the caller: near
/// the ends one of them is known far better than the subtraction would tell.
pub(crate) fn beta_inc_pair(a: f64, b: f64, x: f64, y: f64) -> (f64, f64) {
    let valid = a > 0.0 && b > 0.0 && (0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y);
    if !valid {
        return (f64::NAN, f64::NAN);
    }
    if x == 0.0 || y == 0.0 {
        return if x == 0.0 { (0.0, 1.0) } else { (1.0, 0.0) };
    }
    // x^a y^b / B(a, b) by way of the binomial probability of a successes in a + b trials.
    let front = libm::exp(ln_binomial_term(a, b, x, y)) * a * b / (a + b);
    // The fraction converges fast only on its own side of the mean.
    if x * (a + b + 2.0) < a + 1.0 {
        let lower = (front * beta_fraction(a, b, x) / a).min(1.0);
        (lower, 1.0 - lower)
    } else {
        let upper = (front * beta_fraction(b, a, y) / b).min(1.0);
        (1.0 - upper, upper)
    }
}

/// Computes `ln(C(a + b, a) x^a y^b)` for real `a, b > 0`.
///
/// The plain sum of three `ln_gamma` loses ten digits at `a = 1e6`; the saddle-point form does not.
/// Source: Loader, "Fast and accurate computation of binomial probabilities", 2000.
pub(crate) fn ln_binomial_term(a: f64, b: f64, x: f64, y: f64) -> f64 {
    let n = a + b;
    let stirling = stirling_error(n) - stirling_error(a) - stirling_error(b);
    let scale = 0.5 * libm::log(n / (a * b)) - HALF_LN_TWO_PI;
    stirling - deviance(a, n * x) - deviance(b, n * y) + scale
}

/// Computes `ln(mean^x e^-mean / gamma(x + 1))` for real `x > 0`, by the same saddle-point form.
pub(crate) fn ln_poisson_term(x: f64, mean: f64) -> f64 {
    -stirling_error(x) - deviance(x, mean) - HALF_LN_TWO_PI - 0.5 * libm::log(x)
}

fn incomplete_gamma(a: f64, x: f64) -> (f64, f64) {
    if !(a > 0.0 && x >= 0.0) {
        return (f64::NAN, f64::NAN);
    }
    if x == 0.0 {
        return (0.0, 1.0);
    }
    if x == f64::INFINITY {
        return (1.0, 0.0);
    }
    let front = libm::exp(ln_poisson_term(a, x));
    if x < a + 1.0 {
        let lower = (front * gamma_series(a, x)).min(1.0);
        (lower, 1.0 - lower)
    } else {
        let upper = (front * a * gamma_fraction(a, x)).min(1.0);
        (1.0 - upper, upper)
    }
}

/// Sums `1 + x/(a+1) + x^2/((a+1)(a+2)) + ..`.
fn gamma_series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..TERMS_MAX {
        term *= x / (a + n as f64);
        sum += term;
        if term < sum * EPSILON {
            break;
        }
    }
    sum
}

/// Evaluates `1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ..))` by Lentz's method.
fn gamma_fraction(a: f64, x: f64) -> f64 {
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut value = d;
    for n in 1..TERMS_MAX {
        let n = n as f64;
        let numerator = -n * (n - a);
        b += 2.0;
        d = 1.0 / away_from_zero(numerator * d + b);
        c = away_from_zero(b + numerator / c);
        let factor = d * c;
        value *= factor;
        if (factor - 1.0).abs() <= EPSILON {
            break;
        }
    }
    value
}

/// Evaluates the continued fraction of the incomplete beta function by Lentz's method.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    for m in 1..TERMS_MAX {
        let m = m as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        value *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        let factor = d * c;
        value *= factor;
        if (factor - 1.0).abs() <= EPSILON {
            break;
        }
    }
    value
}

fn away_from_zero(value: f64) -> f64 {
    if value.abs() < TINY { TINY } else { value }
}

/// Computes `ln gamma(n + 1) - (n + 1/2) ln n + n - ln(2 pi) / 2`, the error of Stirling's formula.
fn stirling_error(n: f64) -> f64 {
    // Below 16 the direct form loses nothing that matters; above it seven terms of the asymptotic
    // series (Bernoulli numbers over 2k (2k - 1)) are exact to the last bit.
    if n < 16.0 {
        return libm::lgamma(n + 1.0) - (n + 0.5) * libm::log(n) + n - HALF_LN_TWO_PI;
    }
    const SERIES: [f64; 7] = [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1260.0,
        -1.0 / 1680.0,
        1.0 / 1188.0,
        -691.0 / 360_360.0,
        1.0 / 156.0,
    ];
    let square = n * n;
    SERIES
        .iter()
        .rev()
        .fold(0.0, |sum, coefficient| sum / square + coefficient)
        / n
}

/// Computes `x ln(x / mean) + mean - x` without cancellation when the two are close.
fn deviance(x: f64, mean: f64) -> f64 {
    let difference = x - mean;
    if difference.abs() >= 0.1 * (x + mean) {
        return x * libm::log(x / mean) - difference;
    }
    let ratio = difference / (x + mean);
    let square = ratio * ratio;
    let (mut sum, mut power) = (difference * ratio, 2.0 * x * ratio);
    for k in 1..1_000 {
        power *= square;
        let next = sum + power / f64::from(2 * k + 1);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}
