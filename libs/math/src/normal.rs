//! The standard normal distribution. Other distributions live in `distributions.rs`.

use std::f64::consts::FRAC_1_SQRT_2;

/// `1 / sqrt(2 pi)`.
const INV_SQRT_TWO_PI: f64 = 0.398_942_280_401_432_7;

/// Computes the density of the standard normal distribution.
#[must_use]
pub fn normal_pdf(x: f64) -> f64 {
    INV_SQRT_TWO_PI * libm::exp(-0.5 * x * x)
}

/// Computes the probability that a standard normal is at most `x`; both tails keep their digits.
#[must_use]
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// Computes the probability that a standard normal exceeds `x`.
#[must_use]
pub fn normal_sf(x: f64) -> f64 {
    normal_cdf(-x)
}

/// Computes the probability of a standard normal as far from 0 as `z`, either side: a p-value.
#[must_use]
pub fn normal_two_sided(z: f64) -> f64 {
    libm::erfc(z.abs() * FRAC_1_SQRT_2)
}

/// Computes the inverse of [`normal_cdf`]: -infinity at 0, infinity at 1, NaN outside `[0, 1]`.
///
/// Relative error about `1e-15`. Source: Wichura, algorithm AS 241 (PPND16), Applied Statistics 1988.
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p == 0.0 || p == 1.0 {
        return if p == 0.0 {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
    }
    let from_middle = p - 0.5;
    if from_middle.abs() <= 0.425 {
        let r = 0.180_625 - from_middle * from_middle;
        return from_middle * ratio(r, &CENTRE);
    }
    let tail = if from_middle < 0.0 { p } else { 1.0 - p };
    let r = libm::sqrt(-libm::log(tail));
    let size = if r <= 5.0 {
        ratio(r - 1.6, &TAIL)
    } else {
        ratio(r - 5.0, &FAR_TAIL)
    };
    size.copysign(from_middle)
}

/// Numerator and denominator of a rational approximation, constant term first.
type Rational = ([f64; 8], [f64; 8]);

fn ratio(r: f64, (numerator, denominator): &Rational) -> f64 {
    let polynomial = |terms: &[f64; 8]| terms.iter().rev().fold(0.0, |sum, term| sum * r + term);
    polynomial(numerator) / polynomial(denominator)
}

#[rustfmt::skip] // Four powers a line, as the paper prints them.
#[expect(clippy::excessive_precision, reason = "the digits of the paper, to be compared with it")]
const CENTRE: Rational = (
    [3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3],
    [1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3],
);
#[rustfmt::skip] // Four powers a line, as the paper prints them.
#[expect(clippy::excessive_precision, reason = "the digits of the paper, to be compared with it")]
const TAIL: Rational = (
    [1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4],
    [1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9],
);
#[rustfmt::skip] // Four powers a line, as the paper prints them.
#[expect(clippy::excessive_precision, reason = "the digits of the paper, to be compared with it")]
const FAR_TAIL: Rational = (
    [6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7],
    [1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15],
);
