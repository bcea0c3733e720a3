//! The chance to drop out after a purchase, which differs between customers by a Beta distribution, as
//! a finite list of chances with weights.
//!
//! Expected purchases are usually written with the Gauss hypergeometric function, which overflows for
//! eager customers and loses its digits near `a = 1`. As a weighted mean of positive terms they do
//! neither, and lie between their bounds and grow with time to the last bit.

/// Distance of neighbouring points on the log-odds scale. The trapezoid rule there misses by about
/// `exp(-π² / step)`, below one unit in the last place (the integrand is analytic and bounded while the
/// imaginary part of the log-odds is below π/2; Trefethen and Weideman, SIAM Review 56(3), 2014).
const STEP: f64 = 0.25;
/// Points on one side of the middle that no distribution needs.
const POINTS_MAX: usize = 4_096;
/// A weight or a change this small beside the whole is nothing.
const NOTHING: f64 = 1e-17;

/// Chances in `(0, 1)` with weights that sum to 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chances(Vec<(f64, f64)>);

impl Chances {
    /// Spreads `Beta(a, b)` over points; `steepness` bounds how fast what will be averaged changes with
    /// the chance, relative to itself.
    pub(super) fn of_beta(a: f64, b: f64, steepness: f64) -> Self {
        // A narrow distribution needs a narrow step: its deviation on the scale is sqrt(1/a + 1/b).
        let step = STEP * f64::min(1.0, 2.0 * libm::sqrt(1.0 / a + 1.0 / b));
        let (middle, steepness) = (libm::log(a / b), 1.0 + a + b + steepness);
        let (ln_low, ln_high) = Odds::at(middle).logarithms();
        let weight = |odds: Odds| {
            let (low, high) = odds.logarithms();
            libm::exp(a * (low - ln_low) + b * (high - ln_high))
        };
        let mut points = Vec::with_capacity(256);
        let mut total = 0.0;
        for (direction, decay, from) in [(1.0, b, 0), (-1.0, a, 1)] {
            for n in from..POINTS_MAX {
                let odds = Odds::at(middle + direction * step * n as f64);
                let mut mass = weight(odds);
                let end = if direction > 0.0 { odds.high } else { odds.low };
                // So near the end nothing changes any more but the weight, which falls as a geometric
                // series: its sum closes the side.
                let closes = end * steepness < NOTHING;
                if closes {
                    mass /= -libm::expm1(-decay * step);
                }
                points.push((odds.low, mass));
                total += mass;
                if closes || mass < NOTHING * total {
                    break;
                }
            }
        }
        points.iter_mut().for_each(|(_, mass)| *mass /= total);
        Self(points)
    }

    /// Returns the mean of a function of the chance.
    pub(super) fn mean(&self, of: impl Fn(f64) -> f64) -> f64 {
        self.0.iter().map(|(chance, mass)| mass * of(*chance)).sum()
    }
}

/// A chance, its complement and their log-odds; both are exact near their ends.
#[derive(Debug, Clone, Copy)]
struct Odds {
    log: f64,
    low: f64,
    high: f64,
    small: f64,
}

impl Odds {
    fn at(log: f64) -> Self {
        let small = libm::exp(-log.abs());
        let (less, more) = (small / (1.0 + small), 1.0 / (1.0 + small));
        let (low, high) = if log < 0.0 {
            (less, more)
        } else {
            (more, less)
        };
        Self {
            log,
            low,
            high,
            small,
        }
    }

    /// Logarithms of the chance and of its complement.
    fn logarithms(self) -> (f64, f64) {
        let rest = libm::log1p(self.small);
        (self.log.min(0.0) - rest, -self.log.max(0.0) - rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn moments_are_those_of_the_distribution(ln_a in -11.0..11.0f64, ln_b in -11.0..11.0f64) {
            let (a, b) = (ln_a.exp(), ln_b.exp());
            let chances = Chances::of_beta(a, b, 10.0);
            let mean = a / (a + b);
            let square = mean * (a + 1.0) / (a + b + 1.0);
            prop_assert!((chances.mean(|_| 1.0) - 1.0).abs() < 1e-12);
            prop_assert!((chances.mean(|p| p) / mean - 1.0).abs() < 1e-9);
            prop_assert!((chances.mean(|p| p * p) / square - 1.0).abs() < 1e-9);
            prop_assert!(chances.0.len() < 1_000, "{} points", chances.0.len());
        }
    }
}
