//! Student's t, chi-squared, Fisher's F and beta: probability below, above, and the inverse.
//! The normal distribution lives in `normal.rs`, the functions underneath in `special.rs`.

use crate::special::{beta_inc_pair, gamma_p, gamma_q, ln_binomial_term, ln_poisson_term};

/// Most steps of an inversion. Each halves the bracket at worst and doubles the digits at best;
/// measured need is under 20.
const INVERSION_STEPS_MAX: usize = 400;

/// Student's t distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StudentT {
    df: f64,
}

impl StudentT {
    /// Takes the degrees of freedom, which need not be whole; `None` unless finite and `> 0`.
    #[must_use]
    pub fn new(df: f64) -> Option<Self> {
        positive(df).then_some(Self { df })
    }

    /// Computes the probability of at most `t`.
    #[must_use]
    pub fn cdf(&self, t: f64) -> f64 {
        if t <= 0.0 {
            self.tail(t)
        } else {
            1.0 - self.tail(t)
        }
    }

    /// Computes the probability of more than `t`, without losing a small tail.
    #[must_use]
    pub fn sf(&self, t: f64) -> f64 {
        self.cdf(-t)
    }

    /// Computes the probability of a value as far from 0 as `t`, either side: a p-value.
    #[must_use]
    pub fn two_sided(&self, t: f64) -> f64 {
        2.0 * self.tail(t)
    }

    /// Computes the inverse of [`Self::cdf`]: infinite at 0 and 1, NaN outside `[0, 1]`.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        if p == 0.5 {
            return 0.0;
        }
        let tail = p.min(1.0 - p);
        let size = invert_tail(tail, 1.0, f64::INFINITY, |t| self.tail(t), |t| self.pdf(t));
        size.copysign(p - 0.5)
    }

    /// Computes the density.
    #[must_use]
    pub fn pdf(&self, t: f64) -> f64 {
        let sum = self.df + t * t;
        // The density of the beta variate `y = t^2 / (df + t^2)`, carried over to `t`.
        let (a, b) = (0.5 * self.df, 0.5);
        let (x, y) = (self.df / sum, (t * t / sum).max(f64::MIN_POSITIVE));
        let term = libm::exp(ln_binomial_term(a, b, x, y)) * a * b / (a + b);
        term / libm::sqrt(y) / libm::sqrt(sum)
    }

    /// Computes the probability beyond `|t|` on one side.
    fn tail(&self, t: f64) -> f64 {
        if t.is_infinite() {
            return 0.0;
        }
        let square = t * t;
        let sum = self.df + square;
        0.5 * beta_inc_pair(0.5 * self.df, 0.5, self.df / sum, square / sum).0
    }
}

/// The chi-squared distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquared {
    df: f64,
}

impl ChiSquared {
    /// Takes the degrees of freedom; `None` unless finite and `> 0`.
    #[must_use]
    pub fn new(df: f64) -> Option<Self> {
        positive(df).then_some(Self { df })
    }

    /// Computes the probability of at most `x`; 0 for negative `x`.
    #[must_use]
    pub fn cdf(&self, x: f64) -> f64 {
        gamma_p(0.5 * self.df, 0.5 * x.max(0.0))
    }

    /// Computes the probability of more than `x`, without losing a small tail.
    #[must_use]
    pub fn sf(&self, x: f64) -> f64 {
        gamma_q(0.5 * self.df, 0.5 * x.max(0.0))
    }

    /// Computes the inverse of [`Self::cdf`]: 0 at 0, infinity at 1, NaN outside `[0, 1]`.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        let shape = 0.5 * self.df;
        let density = |x: f64| 0.5 * shape / (0.5 * x) * libm::exp(ln_poisson_term(shape, 0.5 * x));
        invert(
            p,
            self.df,
            f64::INFINITY,
            |x| (self.cdf(x), self.sf(x)),
            density,
        )
    }
}

/// Fisher's F distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FisherF {
    numerator_df: f64,
    denominator_df: f64,
}

impl FisherF {
    /// Takes both degrees of freedom; `None` unless finite and `> 0`.
    #[must_use]
    pub fn new(numerator_df: f64, denominator_df: f64) -> Option<Self> {
        let valid = positive(numerator_df) && positive(denominator_df);
        valid.then_some(Self {
            numerator_df,
            denominator_df,
        })
    }

    /// Computes the probability of at most `f`; 0 for negative `f`.
    #[must_use]
    pub fn cdf(&self, f: f64) -> f64 {
        self.both(f).0
    }

    /// Computes the probability of more than `f`, without losing a small tail.
    #[must_use]
    pub fn sf(&self, f: f64) -> f64 {
        self.both(f).1
    }

    /// Computes the inverse of [`Self::cdf`]: 0 at 0, infinity at 1, NaN outside `[0, 1]`.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        let (a, b) = (0.5 * self.numerator_df, 0.5 * self.denominator_df);
        let density = |f: f64| {
            let sum = self.numerator_df * f + self.denominator_df;
            let (x, y) = (self.numerator_df * f / sum, self.denominator_df / sum);
            libm::exp(ln_binomial_term(a, b, x, y)) * a * b / (a + b) / f
        };
        invert(p, 1.0, f64::INFINITY, |f| self.both(f), density)
    }

    fn both(&self, f: f64) -> (f64, f64) {
        if f == f64::INFINITY {
            return (1.0, 0.0);
        }
        let scaled = self.numerator_df * f.max(0.0);
        let sum = scaled + self.denominator_df;
        let (a, b) = (0.5 * self.numerator_df, 0.5 * self.denominator_df);
        beta_inc_pair(a, b, scaled / sum, self.denominator_df / sum)
    }
}

/// The beta distribution on `[0, 1]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beta {
    a: f64,
    b: f64,
}

impl Beta {
    /// Takes both shapes; `None` unless finite and `> 0`.
    #[must_use]
    pub fn new(a: f64, b: f64) -> Option<Self> {
        (positive(a) && positive(b)).then_some(Self { a, b })
    }

    /// Computes the probability of at most `x`; `x` is clamped to `[0, 1]`.
    #[must_use]
    pub fn cdf(&self, x: f64) -> f64 {
        self.both(x).0
    }

    /// Computes the probability of more than `x`, without losing a small tail.
    #[must_use]
    pub fn sf(&self, x: f64) -> f64 {
        self.both(x).1
    }

    /// Computes the density; at the ends, where it may be infinite or 0, the limit from inside is
    /// not taken: the answer there is 0.
    #[must_use]
    pub fn pdf(&self, x: f64) -> f64 {
        if !(x > 0.0 && x < 1.0) {
            return 0.0;
        }
        let (a, b) = (self.a, self.b);
        let term = libm::exp(ln_binomial_term(a, b, x, 1.0 - x));
        term * a * b / (a + b) / (x * (1.0 - x))
    }

    /// Computes the inverse of [`Self::cdf`], in `[0, 1]`; NaN for `p` outside `[0, 1]`.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        let start = self.a / (self.a + self.b);
        invert(p, start, 1.0, |x| self.both(x), |x| self.pdf(x))
    }

    fn both(&self, x: f64) -> (f64, f64) {
        let x = x.clamp(0.0, 1.0);
        beta_inc_pair(self.a, self.b, x, 1.0 - x)
    }
}

fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

/// Inverts a distribution on `[0, high]` whose `(cdf, sf)` is `both`: the smaller of the two
/// probabilities is matched, so that neither tail loses digits.
fn invert(
    p: f64,
    start: f64,
    high: f64,
    both: impl Fn(f64) -> (f64, f64),
    density: impl Fn(f64) -> f64,
) -> f64 {
    if p == 0.0 || p == 1.0 {
        return if p == 0.0 { 0.0 } else { high };
    }
    if p <= 0.5 {
        return solve(start, high, |x| both(x).0 - p, density, p);
    }
    let upper = 1.0 - p;
    solve(start, high, |x| upper - both(x).1, density, upper)
}

/// Finds `t >= 0` whose upper tail is `tail`.
fn invert_tail(
    tail: f64,
    start: f64,
    high: f64,
    sf: impl Fn(f64) -> f64,
    density: impl Fn(f64) -> f64,
) -> f64 {
    if tail == 0.0 {
        return high;
    }
    solve(start, high, |t| tail - sf(t), density, tail)
}

/// Finds the root of an increasing function on `[0, high]` by Newton's method held in a bracket.
///
/// `target` is the probability sought, at most a half; NaN or negative gives NaN.
fn solve(
    start: f64,
    high: f64,
    residual: impl Fn(f64) -> f64,
    slope: impl Fn(f64) -> f64,
    target: f64,
) -> f64 {
    if !(0.0..=0.5).contains(&target) {
        return f64::NAN;
    }
    let (mut below, mut above, mut x) = (0.0, high, start);
    for _ in 0..INVERSION_STEPS_MAX {
        let error = residual(x);
        if error == 0.0 {
            return x;
        }
        if error < 0.0 {
            below = x;
        } else {
            above = x;
        }
        let newton = x - error / slope(x);
        let next = if newton > below && newton < above {
            newton
        } else {
            middle(below, above)
        };
        if (next - x).abs() <= f64::EPSILON * x.abs() || next == below || next == above {
            return next;
        }
        x = next;
    }
    x
}

/// Splits a bracket: by the factor when its ends differ much, so that 1e-200 is found as fast as 0.5.
fn middle(below: f64, above: f64) -> f64 {
    if above == f64::INFINITY {
        return (below * 16.0).max(1.0);
    }
    if below == 0.0 {
        return above / 1024.0;
    }
    if above / below > 4.0 {
        libm::sqrt(below) * libm::sqrt(above)
    } else {
        0.5 * (below + above)
    }
}
