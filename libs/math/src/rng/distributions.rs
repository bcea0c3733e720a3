//! Draws from named distributions. Every method uses `libm`, so the draws are the same everywhere.

use super::Rng;

/// Below this mean a Poisson draw multiplies uniforms; above it the rejection method is faster
/// and is valid (Hoermann gives it for means of at least 10).
const POISSON_DIRECT_MAX: f64 = 10.0;
/// Means above this lose whole numbers in an `f64`; a draw is then the rounded normal.
const POISSON_REJECTION_MAX: f64 = 1e9;

impl Rng {
    /// Draws from the standard normal distribution (Marsaglia's polar method, 1964).
    ///
    /// The second number of each pair is thrown away: a generator without a hidden spare is
    /// easier to reason about, clone and compare.
    pub fn normal(&mut self) -> f64 {
        loop {
            let x = 2.0 * self.uniform() - 1.0;
            let y = 2.0 * self.uniform() - 1.0;
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * libm::sqrt(-2.0 * libm::log(square) / square);
            }
        }
    }

    /// Draws a waiting time of mean `1 / rate`; `rate > 0`.
    pub fn exponential(&mut self, rate: f64) -> f64 {
        debug_assert!(rate > 0.0);
        -libm::log(1.0 - self.uniform()) / rate // 1 - u is in (0, 1]: never the logarithm of 0.
    }

    /// Draws a count of the given mean; a mean of 0 or less gives 0.
    ///
    /// Multiplies uniforms up to a mean of 10 (Knuth), then transformed rejection: Hoermann, "The
    /// transformed rejection method for generating Poisson random variables", 1993, algorithm PTRS.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        debug_assert!(mean.is_finite());
        if mean <= 0.0 {
            return 0;
        }
        if mean >= POISSON_REJECTION_MAX {
            let value = libm::round(mean + libm::sqrt(mean) * self.normal());
            return value.max(0.0) as u64;
        }
        if mean >= POISSON_DIRECT_MAX {
            return self.poisson_by_rejection(mean);
        }
        let floor = libm::exp(-mean);
        let (mut count, mut product) = (0, self.uniform());
        while product > floor {
            product *= self.uniform();
            count += 1;
        }
        count
    }

    fn poisson_by_rejection(&mut self, mean: f64) -> u64 {
        let root = libm::sqrt(mean);
        let b = 0.931 + 2.53 * root;
        let a = -0.059 + 0.02483 * b;
        let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
        let accept_at_once = 0.9277 - 3.6224 / (b - 2.0);
        let log_mean = libm::log(mean);
        loop {
            let u = self.uniform() - 0.5;
            let v = self.uniform();
            let edge = 0.5 - u.abs();
            let k = libm::floor((2.0 * a / edge + b) * u + mean + 0.43);
            if edge >= 0.07 && v <= accept_at_once {
                return k as u64;
            }
            if k < 0.0 || (edge < 0.013 && v > edge) {
                continue;
            }
            let height = libm::log(v * inverse_alpha / (a / (edge * edge) + b));
            if height <= k * log_mean - mean - libm::lgamma(k + 1.0) {
                return k as u64;
            }
        }
    }

    /// Draws from the gamma distribution of mean `shape * scale`; both `> 0`.
    pub fn gamma(&mut self, shape: f64, scale: f64) -> f64 {
        debug_assert!(shape > 0.0 && scale > 0.0);
        libm::exp(self.log_gamma_draw(shape)) * scale
    }

    /// Draws from the beta distribution of mean `a / (a + b)`; both `> 0`. Lies in `[0, 1]`.
    ///
    /// Works on logarithms, so tiny shapes do not end in 0 / 0.
    pub fn beta(&mut self, a: f64, b: f64) -> f64 {
        let log_x = self.log_gamma_draw(a);
        let log_y = self.log_gamma_draw(b);
        1.0 / (1.0 + libm::exp(log_y - log_x))
    }

    /// Draws the logarithm of a gamma variate of scale 1: Marsaglia and Tsang, "A simple method
    /// for generating gamma variables", ACM TOMS 2000, with their boost for shapes below 1.
    fn log_gamma_draw(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = -self.exponential(1.0) / shape;
            return self.log_gamma_draw(shape + 1.0) + boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let x = self.normal();
            let root = 1.0 + c * x;
            if root <= 0.0 {
                continue;
            }
            let v = root * root * root;
            let log_v = libm::log(v);
            if libm::log(1.0 - self.uniform()) < 0.5 * x * x + d * (1.0 - v + log_v) {
                return libm::log(d) + log_v;
            }
        }
    }
}
