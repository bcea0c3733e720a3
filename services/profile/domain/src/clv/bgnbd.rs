//! BG/NBD: customers buy at a rate of their own until, after some purchase, they drop out unseen.
//!
//! Source: Fader, Hardie and Lee, "Counting Your Customers the Easy Way", Marketing Science 24(2), 2005.

mod fit;

pub use fit::PurchaseFit;

use rapport_types::Probability;

use super::History;
use super::dropout::Chances;

/// The model: rates are `Gamma(r, alpha)` over customers, purchases per week; chances to drop out after
/// a purchase are `Beta(a, b)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BgNbd {
    r: f64,
    alpha: f64,
    a: f64,
    b: f64,
}

impl BgNbd {
    /// Accepts four numbers above 0, finite; `alpha` is in weeks. `None` for others.
    #[must_use]
    pub fn new(r: f64, alpha: f64, a: f64, b: f64) -> Option<Self> {
        let valid = [r, alpha, a, b]
            .iter()
            .all(|it| it.is_finite() && *it > 0.0);
        valid.then_some(Self { r, alpha, a, b })
    }

    /// Returns `[r, alpha, a, b]`.
    #[must_use]
    pub fn parameters(&self) -> [f64; 4] {
        [self.r, self.alpha, self.a, self.b]
    }

    /// Computes the log-likelihood of one customer (the paper's equation 6), without overflow for any
    /// history. Cost: `O(frequency)`.
    #[must_use]
    pub fn log_likelihood(&self, history: &History) -> f64 {
        let Self { r, alpha, a, b } = *self;
        let x = f64::from(history.frequency);
        let spread: f64 = (0..history.frequency)
            .map(|j| libm::log(r + f64::from(j)) - libm::log1p(a / (b + f64::from(j))))
            .sum();
        let waiting = -(r + x) * libm::log1p(history.age / alpha) - x * libm::log(alpha);
        let gone = self.gone_odds(history).map_or(0.0, softplus);
        spread + waiting + gone
    }

    /// Computes the chance that the customer has not dropped out.
    ///
    /// It is 1 without a repeat purchase: the model has customers drop out after a purchase that was
    /// seen, and only the first was. With one it falls as the last purchase lies further back.
    /// Source: Fader, Hardie and Lee, "Computing P(alive) Using the BG/NBD Model", 2008.
    #[must_use]
    pub fn alive(&self, history: &History) -> Probability {
        Probability::saturating(self.alive_chance(history))
    }

    fn alive_chance(&self, history: &History) -> f64 {
        self.gone_odds(history).map_or(1.0, |odds| logistic(-odds))
    }

    /// Returns the purchases expected within `horizon` weeks (the paper's equation 10), between 0 and
    /// those of a customer who cannot drop out; grows with the horizon.
    ///
    /// * `horizon >= 0`, finite.
    /// * Relative error below `1e-12`. Cost: about 15 µs.
    #[must_use]
    pub fn expected_purchases(&self, history: &History, horizon: f64) -> f64 {
        self.expected_purchases_until(history, &[horizon])[0]
    }

    /// Returns the purchases expected until each of some horizons, shape `[horizons]`, dearer than one
    /// by about 5 µs for each.
    #[must_use]
    pub fn expected_purchases_until(&self, history: &History, horizons: &[f64]) -> Vec<f64> {
        let Self { r, alpha, a, b } = *self;
        let x = f64::from(history.frequency);
        // Who is alive has survived x chances and bought x times: rate Gamma(r + x, alpha + age), chance
        // Beta(a, b + x). At a given chance p the mean over rates is (1 - (1 + p t)^-(r + x)) / p with t in
        // units of alpha + age: the paper's equation 9.
        let (bought, waited) = (r + x, alpha + history.age);
        let longest = horizons.iter().copied().fold(0.0, f64::max) / waited;
        let chances = Chances::of_beta(a, b + x, (bought + 1.0) * (longest + 1.0));
        let alive = self.alive_chance(history);
        let until = |horizon: &f64| {
            let ahead = horizon / waited;
            let of = |chance: f64| -libm::expm1(-bought * libm::log1p(chance * ahead)) / chance;
            alive * chances.mean(of)
        };
        horizons.iter().map(until).collect()
    }

    /// Logarithm of the odds that the customer dropped out after the last purchase; `None` without a
    /// repeat purchase.
    fn gone_odds(&self, history: &History) -> Option<f64> {
        let Self { r, alpha, a, b } = *self;
        (history.frequency > 0).then(|| {
            let x = f64::from(history.frequency);
            let silence = (history.age - history.recency) / (alpha + history.recency);
            libm::log(a / (b + (x - 1.0))) + (r + x) * libm::log1p(silence)
        })
    }
}

/// `ln(1 + e^x)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

/// `1 / (1 + e^-x)` without overflow.
fn logistic(x: f64) -> f64 {
    let small = libm::exp(-x.abs());
    if x < 0.0 {
        small / (1.0 + small)
    } else {
        1.0 / (1.0 + small)
    }
}
