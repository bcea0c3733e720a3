//! Learning BG/NBD: the likelihood of all customers with its gradient, and where to begin.

use super::{BgNbd, logistic, softplus};
use crate::clv::likelihood::{mean_over, search};
use crate::clv::{ClvError, History};

/// Names of the parameters, in their order.
const NAMES: [&str; 4] = ["r", "alpha", "a", "b"];
/// `(r, a, b)` to begin at: customers who differ much or little, leave early or late. Rates follow from
/// the data.
const STARTS: [(f64, f64, f64); 4] = [
    (0.5, 1.0, 3.0),
    (0.5, 0.3, 6.0),
    (2.0, 1.0, 3.0),
    (2.0, 0.3, 6.0),
];
/// Range searched for `r`, `a` and `b`. Beyond it customers differ by nothing, or by all there is: the
/// likelihood is flat.
const RANGE: (f64, f64) = (1e-5, 1e5);
/// Range of `alpha`, in mean ages.
const ALPHA_RANGE: (f64, f64) = (1e-6, 1e9);

/// A learned model and what it was learned from.
#[derive(Debug, Clone, PartialEq)]
pub struct PurchaseFit {
    /// The model.
    pub model: BgNbd,
    /// Log-likelihood of all customers.
    pub log_likelihood: f64,
    /// Customers learned from.
    pub customers: u64,
    /// Those who bought again.
    pub repeaters: u64,
    /// Parameters at the end of the range searched: the data do not tell them.
    pub at_bound: Vec<&'static str>,
    /// Whether the search ended at a maximum; if not, another set of parameters may be likelier.
    pub converged: bool,
}

impl PurchaseFit {
    /// Learns by maximum likelihood: four searches over the logarithms of the parameters, the best wins,
    /// the earlier of equals.
    ///
    /// # Errors
    /// [`ClvError::NoCustomers`], [`ClvError::NoRepeats`].
    pub fn learn(histories: impl Iterator<Item = History>) -> Result<Self, ClvError> {
        let evidence = Evidence::gather(histories)?;
        let starts = STARTS.iter();
        let starts = starts.map(|(r, a, b)| [*r, r / evidence.rate(), *a, *b]);
        let mean_loss = |at: &[f64; 4]| evidence.mean_loss(at);
        let best = search(NAMES, starts, evidence.ranges(), mean_loss);
        let best = best.expect("histories are bounded, and so is their likelihood at every start");
        let [r, alpha, a, b] = best.parameters;
        Ok(Self {
            model: BgNbd { r, alpha, a, b },
            log_likelihood: -best.mean_loss * evidence.customers,
            customers: evidence.customers as u64,
            repeaters: evidence.repeaters as u64,
            at_bound: best.at_bound,
            converged: best.converged,
        })
    }
}

/// All customers, equal ones counted together, so that a pass costs what the differences cost. Sorted:
/// the sums do not depend on the order of customers.
#[derive(Debug)]
struct Evidence {
    customers: f64,
    repeaters: f64,
    /// Repeat purchases of all.
    purchases: f64,
    /// Ages of all, in weeks.
    age: f64,
    /// Number of customers with more than `j` repeat purchases, by `j`.
    above: Vec<f64>,
    /// Age, customers of this age, their repeat purchases.
    ages: Vec<(f64, f64, f64)>,
    /// Those who bought again, with how many they are.
    repeating: Vec<(History, f64)>,
}

impl Evidence {
    fn gather(histories: impl Iterator<Item = History>) -> Result<Self, ClvError> {
        let mut all: Vec<History> = histories.collect();
        if all.is_empty() {
            return Err(ClvError::NoCustomers);
        }
        all.sort_unstable_by(|a, b| {
            let times = a
                .age
                .total_cmp(&b.age)
                .then(a.recency.total_cmp(&b.recency));
            times.then(a.frequency.cmp(&b.frequency))
        });
        let most = all.iter().map(|it| it.frequency).max().unwrap_or(0) as usize;
        let mut evidence = Self {
            customers: all.len() as f64,
            repeaters: 0.0,
            purchases: 0.0,
            age: all.iter().map(|it| it.age).sum(),
            above: vec![0.0; most],
            ages: Vec::new(),
            repeating: Vec::new(),
        };
        for history in all {
            evidence.add(history);
        }
        if evidence.purchases == 0.0 {
            return Err(ClvError::NoRepeats);
        }
        // Exactly as many purchases were counted: now all with more are counted too.
        for j in (1..most).rev() {
            evidence.above[j - 1] += evidence.above[j];
        }
        Ok(evidence)
    }

    fn add(&mut self, history: History) {
        let x = f64::from(history.frequency);
        self.purchases += x;
        match self.ages.last_mut() {
            Some((age, customers, purchases)) if *age == history.age => {
                *customers += 1.0;
                *purchases += x;
            }
            Some(_) | None => self.ages.push((history.age, 1.0, x)),
        }
        if history.frequency == 0 {
            return;
        }
        self.repeaters += 1.0;
        self.above[history.frequency as usize - 1] += 1.0;
        match self.repeating.last_mut() {
            Some((known, count)) if *known == history => *count += 1.0,
            Some(_) | None => self.repeating.push((history, 1.0)),
        }
    }

    /// Repeat purchases per week of age.
    fn rate(&self) -> f64 {
        self.purchases / self.age
    }

    fn ranges(&self) -> [(f64, f64); 4] {
        let age = self.age / self.customers;
        let alpha = (ALPHA_RANGE.0 * age, ALPHA_RANGE.1 * age);
        [RANGE, alpha, RANGE, RANGE]
    }

    /// Minus the mean log-likelihood of a customer, with its slopes by the log-parameters.
    fn mean_loss(&self, at: &[f64; 4]) -> (f64, [f64; 4]) {
        let [r, alpha, a, b] = at.map(libm::exp);
        let (mut sum, mut slopes) = (0.0, [0.0; 4]);
        // ln(gamma(r + x) / gamma(r)) and ln(B(a, b + x) / B(a, b)), as sums over purchases.
        for (j, customers) in self.above.iter().enumerate() {
            let (next_r, next_b) = (r + j as f64, b + j as f64);
            sum += customers * (libm::log(next_r) - libm::log1p(a / next_b));
            slopes[0] += customers / next_r;
            slopes[2] -= customers / (next_b + a);
            slopes[3] += customers * a / (next_b * (next_b + a));
        }
        sum -= self.purchases * libm::log(alpha);
        for (age, customers, purchases) in &self.ages {
            let waited = libm::log1p(age / alpha);
            sum -= (r * customers + purchases) * waited;
            slopes[0] -= customers * waited;
            slopes[1] += (r * customers * age / alpha - purchases) / (alpha + age);
        }
        for (history, customers) in &self.repeating {
            let x = f64::from(history.frequency);
            let silence = history.age - history.recency;
            let quiet = libm::log1p(silence / (alpha + history.recency));
            let before = b + (x - 1.0);
            let odds = libm::log(a / before) + (r + x) * quiet;
            let gone = customers * logistic(odds);
            sum += customers * softplus(odds);
            slopes[0] += gone * quiet;
            slopes[1] -=
                gone * (r + x) * silence / ((alpha + history.age) * (alpha + history.recency));
            slopes[2] += gone / a;
            slopes[3] -= gone / before;
        }
        mean_over(self.customers, [r, alpha, a, b], sum, slopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clv::likelihood::assert_slopes;
    use proptest::prelude::*;

    fn history() -> impl Strategy<Value = History> {
        (0u32..40, 0.1..50.0f64, 0.0..30.0f64).prop_map(|(frequency, recency, silence)| {
            let recency = if frequency == 0 { 0.0 } else { recency };
            History::new(frequency, recency, recency + silence).unwrap()
        })
    }

    proptest! {
        #[test]
        fn all_customers_are_the_sum_of_each(
            mut customers in prop::collection::vec(history(), 1..20),
            at in prop::array::uniform4(-3.0..3.0f64),
        ) {
            customers.push(History::new(2, 1.0, 3.0).unwrap());
            customers.push(customers[0]);
            let [r, alpha, a, b] = at.map(f64::exp);
            let model = BgNbd::new(r, alpha, a, b).unwrap();
            let each: f64 = customers.iter().map(|it| model.log_likelihood(it)).sum();
            let evidence = Evidence::gather(customers.iter().copied()).unwrap();
            let (loss, _) = evidence.mean_loss(&at);
            prop_assert!((loss * -evidence.customers - each).abs() <= 1e-10 * each.abs().max(1.0));
            assert_slopes(|at| evidence.mean_loss(at), at, 1e-6);
        }
    }
}
