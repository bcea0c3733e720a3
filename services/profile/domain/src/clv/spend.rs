//! Gamma-Gamma: what a purchase brings. Purchases of a customer scatter about a mean of the customer's
//! own, means differ between customers, and neither depends on how often somebody buys.
//!
//! Source: Fader and Hardie, "The Gamma-Gamma Model of Monetary Value", 2013.

use rapport_math::{digamma, ln_beta};

use super::likelihood::{mean_over, search};
use super::{ClvError, Customer};

/// Fewest customers with a spend above 0 from which three parameters can be told.
pub const SPENDERS_MIN: usize = 10;
/// Names of the parameters, in their order.
const NAMES: [&str; 3] = ["p", "q", "v"];
/// `(p, q)` to begin at: purchases and customers that differ much or little.
const STARTS: [(f64, f64); 4] = [(1.0, 2.0), (6.0, 2.0), (1.0, 10.0), (6.0, 10.0)];
/// Range searched for `p` and `q`: beyond it all purchases, or all customers, are alike.
const RANGE: (f64, f64) = (1e-4, 1e6);
/// Range of a customer's mean spend: what is summed, or searched a factor of `1e9` beyond, stays a number.
pub(super) const MONEY_RANGE: (f64, f64) = (1e-100, 1e100);
/// Range of `v`, in mean spends.
const V_RANGE: (f64, f64) = (1e-9, 1e9);

/// The model: a purchase is `Gamma(p, nu)`, and `nu` is `Gamma(q, v)` over customers; `v` is money.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GammaGamma {
    p: f64,
    q: f64,
    v: f64,
}

/// A learned model and what it was learned from.
#[derive(Debug, Clone, PartialEq)]
pub struct SpendFit {
    /// The model.
    pub model: GammaGamma,
    /// Log-likelihood of all spenders.
    pub log_likelihood: f64,
    /// Customers learned from: a repeat purchase and a mean spend above 0.
    pub spenders: u64,
    /// Parameters at the end of the range searched: the data do not tell them.
    pub at_bound: Vec<&'static str>,
    /// Whether the search ended at a maximum; if not, another set of parameters may be likelier.
    pub converged: bool,
}

impl GammaGamma {
    /// Accepts three numbers above 0, finite. `None` for others.
    #[must_use]
    pub fn new(p: f64, q: f64, v: f64) -> Option<Self> {
        let valid = [p, q, v].iter().all(|it| it.is_finite() && *it > 0.0);
        valid.then_some(Self { p, q, v })
    }

    /// Returns `[p, q, v]`.
    #[must_use]
    pub fn parameters(&self) -> [f64; 3] {
        [self.p, self.q, self.v]
    }

    /// Computes the log-likelihood of a customer's mean spend (the source's equation 1a).
    ///
    /// * `purchases >= 1`, `mean > 0`, finite.
    #[must_use]
    pub fn log_likelihood(&self, purchases: u32, mean: f64) -> f64 {
        debug_assert!(purchases > 0 && mean > 0.0);
        let Self { p, q, v } = *self;
        let (shape, sum) = (p * f64::from(purchases), f64::from(purchases) * mean);
        let (share, rest) = (-libm::log1p(v / sum), -libm::log1p(sum / v));
        shape * share + q * rest - ln_beta(shape, q) - libm::log(mean)
    }

    /// Returns the mean spend that a customer's further purchases are expected to have (the source's
    /// equation 5): between the customer's own mean and everybody's, nearer to the own one the more
    /// purchases stand behind it.
    ///
    /// * `purchases`: behind `mean`; 0 gives everybody's mean. `mean > 0` where there are purchases.
    /// * `None` where the mean is infinite: everybody's is with `q <= 1`.
    #[must_use]
    pub fn expected_spend(&self, purchases: u32, mean: f64) -> Option<f64> {
        let Self { p, q, v } = *self;
        let x = f64::from(purchases);
        let sum = if purchases == 0 { 0.0 } else { x * mean };
        let weight = p * x + (q - 1.0);
        (weight > 0.0).then(|| p * (v + sum) / weight)
    }
}

impl SpendFit {
    /// Learns by maximum likelihood: four searches over the logarithms of the parameters, the best wins,
    /// the earlier of equals. Customers without a repeat purchase or with a mean that is not above 0 are
    /// left out; `None` if fewer than [`SPENDERS_MIN`] are left.
    ///
    /// # Errors
    /// [`ClvError::SpendOutOfRange`].
    pub fn learn(customers: &[Customer]) -> Result<Option<Self>, ClvError> {
        let Some(evidence) = Evidence::gather(customers)? else {
            return Ok(None);
        };
        let v_range = (V_RANGE.0 * evidence.mean, V_RANGE.1 * evidence.mean);
        let starts = STARTS.iter();
        let starts = starts.map(|(p, q)| [*p, *q, evidence.mean * (q - 1.0) / p]);
        let mean_loss = |at: &[f64; 3]| evidence.mean_loss(at);
        let best = search(NAMES, starts, [RANGE, RANGE, v_range], mean_loss);
        let best = best.expect("spend is bounded, and so is its likelihood at every start");
        let [p, q, v] = best.parameters;
        Ok(Some(Self {
            model: GammaGamma { p, q, v },
            log_likelihood: -best.mean_loss * evidence.spenders.len() as f64,
            spenders: evidence.spenders.len() as u64,
            at_bound: best.at_bound,
            converged: best.converged,
        }))
    }
}

/// The spenders, sorted, so that the sums do not depend on their order and equal frequencies lie
/// together.
#[derive(Debug)]
struct Evidence {
    /// Repeat purchases and their sum of money.
    spenders: Vec<(u32, f64)>,
    /// Mean of the customers' means.
    mean: f64,
    /// Sum of the logarithms of the means, which no parameter changes.
    ln_means: f64,
}

impl Evidence {
    /// `None` with too few spenders.
    fn gather(customers: &[Customer]) -> Result<Option<Self>, ClvError> {
        let spends = |it: &&Customer| it.history.frequency > 0 && it.mean_spend > 0.0;
        let told = customers.iter().filter(spends);
        let range = MONEY_RANGE.0..=MONEY_RANGE.1;
        if !told.clone().all(|it| range.contains(&it.mean_spend)) {
            return Err(ClvError::SpendOutOfRange);
        }
        let mut means: Vec<(u32, f64)> = told
            .map(|it| (it.history.frequency, it.mean_spend))
            .collect();
        if means.len() < SPENDERS_MIN {
            return Ok(None);
        }
        means.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let total: f64 = means.iter().map(|(_, mean)| mean).sum();
        Ok(Some(Self {
            mean: total / means.len() as f64,
            ln_means: means.iter().map(|(_, mean)| libm::log(*mean)).sum(),
            spenders: means
                .into_iter()
                .map(|(x, mean)| (x, f64::from(x) * mean))
                .collect(),
        }))
    }

    /// Minus the mean log-likelihood of a spender, with its slopes by the log-parameters.
    fn mean_loss(&self, at: &[f64; 3]) -> (f64, [f64; 3]) {
        let [p, q, v] = at.map(libm::exp);
        let (mut sum, mut slopes) = (-self.ln_means, [0.0; 3]);
        for group in self.spenders.chunk_by(|a, b| a.0 == b.0) {
            let (x, members) = (f64::from(group[0].0), group.len() as f64);
            let shape = p * x;
            let all = digamma(shape + q);
            let (mut shares, mut rests) = (0.0, 0.0);
            for (_, money) in group {
                shares -= libm::log1p(v / money);
                rests -= libm::log1p(money / v);
                slopes[2] += q / v - (shape + q) / (v + money);
            }
            sum += shape * shares + q * rests - members * ln_beta(shape, q);
            slopes[0] += x * (shares + members * (all - digamma(shape)));
            slopes[1] += rests + members * (all - digamma(q));
        }
        mean_over(self.spenders.len() as f64, [p, q, v], sum, slopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clv::History;
    use crate::clv::likelihood::assert_slopes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_spenders_are_the_sum_of_each(
            spenders in prop::collection::vec((1u32..30, 0.01..500.0f64), SPENDERS_MIN..30),
            at in prop::array::uniform3(-2.0..4.0f64),
        ) {
            let customers: Vec<Customer> = spenders
                .iter()
                .map(|(x, mean_spend)| Customer {
                    history: History::new(*x, 1.0, 2.0).unwrap(),
                    mean_spend: *mean_spend,
                })
                .collect();
            let [p, q, v] = at.map(f64::exp);
            let model = GammaGamma::new(p, q, v).unwrap();
            let each: f64 = spenders.iter().map(|(x, mean)| model.log_likelihood(*x, *mean)).sum();
            let evidence = Evidence::gather(&customers).unwrap().unwrap();
            let (loss, _) = evidence.mean_loss(&at);
            prop_assert!((loss * -(spenders.len() as f64) - each).abs() <= 1e-10 * each.abs().max(1.0));
            assert_slopes(|at| evidence.mean_loss(at), at, 1e-5);
        }
    }
}
