//! What a customer will buy and be worth: BG/NBD for how often, Gamma-Gamma for how much a purchase
//! brings. Time is in weeks. Money is an estimate in the unit of the amounts that were learned from:
//! it is shown and ranked by, never booked.

mod bgnbd;
mod dropout;
mod file;
mod likelihood;
mod record;
mod spend;
#[cfg(test)]
mod tests;

pub use bgnbd::{BgNbd, PurchaseFit};
pub use file::MODEL_BYTES_MAX;
pub use record::{Learned, Learners, PurchaseRecord, REPEATERS_MIN, TooFewRepeaters};
pub use spend::{GammaGamma, SPENDERS_MIN, SpendFit};

use rapport_types::Probability;

/// Most purchase days of one customer: 270 years without a day off.
pub const FREQUENCY_MAX: u32 = 100_000;
/// Longest time that a customer may be known: 2,000 years hold every mistyped date.
pub const AGE_WEEKS_MAX: f64 = 104_400.0;
/// Largest discount rate of [`ClvModel::forecast`] per year: 10 is 1,000 %.
pub const DISCOUNT_MAX: f64 = 10.0;
/// Most periods into which discounting cuts a horizon: a week each up to two years.
const PERIODS_MAX: f64 = 104.0;
/// Weeks of a mean year.
const WEEKS_PER_YEAR: f64 = 365.25 / 7.0;
/// Days in the unit of every rate and age here.
pub const DAYS_PER_WEEK: f64 = 7.0;

/// When a customer bought, up to the moment from which the future is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct History {
    frequency: u32,
    recency: f64,
    age: f64,
}

/// Why there is no model, or no history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClvError {
    /// Numbers that no customer can have.
    #[error(
        "a history needs 0 <= recency <= age, and recency 0 without a repeat purchase and only then"
    )]
    ImpossibleHistory,
    /// Nobody to learn from.
    #[error("there is no customer")]
    NoCustomers,
    /// Sums of money that no currency has.
    #[error(
        "a customer's mean spend is not between {:e} and {:e}",
        spend::MONEY_RANGE.0,
        spend::MONEY_RANGE.1
    )]
    SpendOutOfRange,
    /// Everybody bought once: no rhythm of buying can be told.
    #[error("no customer bought again: there is no rhythm to learn")]
    NoRepeats,
}

/// One customer to learn from, or to foretell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Customer {
    /// When.
    pub history: History,
    /// Mean spend of the repeat purchases, the first left out; not above 0, or without a repeat
    /// purchase, it says nothing.
    pub mean_spend: f64,
}

/// Both models, and what they were learned from.
#[derive(Debug, Clone, PartialEq)]
pub struct ClvModel {
    /// How often.
    pub purchases: PurchaseFit,
    /// How much; `None` with fewer than [`SPENDERS_MIN`] customers to learn it from.
    pub spend: Option<SpendFit>,
}

/// What is expected of a customer, and why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Repeat purchase days seen.
    pub frequency: u32,
    /// Weeks from the first purchase to the last.
    pub recency_weeks: f64,
    /// Weeks from the first purchase until now.
    pub age_weeks: f64,
    /// That the customer will ever buy again without being won anew.
    pub alive: Probability,
    /// Purchases expected within the horizon, `>= 0`.
    pub purchases: f64,
    /// Spend expected of each, between the customer's own mean and everybody's; `None` where no model
    /// of spend was learned, or its mean is infinite.
    pub spend: Option<f64>,
    /// The spend of all of them, each discounted from the middle of its period; `None` with `spend`.
    pub value: Option<f64>,
}

impl History {
    /// Accepts the three numbers of a customer.
    ///
    /// * `frequency`: repeat purchases, to [`FREQUENCY_MAX`].
    /// * `recency`: weeks from the first purchase to the last; `age`: weeks from the first until now,
    ///   to [`AGE_WEEKS_MAX`].
    ///
    /// # Errors
    /// [`ClvError::ImpossibleHistory`].
    pub fn new(frequency: u32, recency: f64, age: f64) -> Result<Self, ClvError> {
        let ordered = 0.0 <= recency && recency <= age && age <= AGE_WEEKS_MAX;
        if ordered && frequency <= FREQUENCY_MAX && (frequency > 0) == (recency > 0.0) {
            Ok(Self {
                frequency,
                recency,
                age,
            })
        } else {
            Err(ClvError::ImpossibleHistory)
        }
    }

    /// Reads a history off the days with a purchase, distinct and rising, of which those after
    /// `as_of_day` are ignored; `None` without a day, or beyond what [`History::new`] accepts.
    #[must_use]
    pub fn of_days(days: &[i64], as_of_day: i64) -> Option<Self> {
        let known = &days[..days.partition_point(|day| *day <= as_of_day)];
        let (first, last) = (*known.first()?, *known.last()?);
        let weeks = |to: i64| {
            to.checked_sub(first)
                .map(|days| days as f64 / DAYS_PER_WEEK)
        };
        let frequency = u32::try_from(known.len() - 1).ok()?;
        Self::new(frequency, weeks(last)?, weeks(as_of_day)?).ok()
    }

    /// Returns the repeat purchases.
    #[must_use]
    pub fn frequency(&self) -> u32 {
        self.frequency
    }

    /// Returns the weeks from the first purchase to the last.
    #[must_use]
    pub fn recency(&self) -> f64 {
        self.recency
    }

    /// Returns the weeks from the first purchase until now.
    #[must_use]
    pub fn age(&self) -> f64 {
        self.age
    }
}

impl ClvModel {
    /// Learns both models by maximum likelihood.
    ///
    /// * Same customers in any order give the same bytes.
    /// * Cost: `O(n log n)` and about a hundred passes over the customers that differ; memory 64 bytes
    ///   for each customer.
    ///
    /// # Errors
    /// [`ClvError::NoCustomers`], [`ClvError::NoRepeats`], [`ClvError::SpendOutOfRange`].
    pub fn fit(customers: &[Customer]) -> Result<Self, ClvError> {
        let histories = customers.iter().map(|customer| customer.history);
        Ok(Self {
            purchases: PurchaseFit::learn(histories)?,
            spend: SpendFit::learn(customers)?,
        })
    }

    /// Foretells a customer.
    ///
    /// * `horizon`: weeks ahead, `>= 0`, finite. `discount`: what a year takes off, 0 to
    ///   [`DISCOUNT_MAX`]; 0.1 makes 110 in a year worth 100 now.
    /// * Cost: about 15 µs and, where spend is known, 5 µs for each week up to 104.
    #[must_use]
    pub fn forecast(&self, customer: &Customer, horizon: f64, discount: f64) -> Forecast {
        debug_assert!(horizon >= 0.0 && horizon.is_finite());
        debug_assert!((0.0..=DISCOUNT_MAX).contains(&discount));
        let model = &self.purchases.model;
        let history = &customer.history;
        let spend = self.expected_spend(customer);
        Forecast {
            frequency: history.frequency,
            recency_weeks: history.recency,
            age_weeks: history.age,
            alive: model.alive(history),
            purchases: model.expected_purchases(history, horizon),
            spend,
            value: spend.map(|spend| spend * discounted(model, history, horizon, discount)),
        }
    }

    /// Returns the spend expected of each further purchase; see [`GammaGamma::expected_spend`].
    #[must_use]
    pub fn expected_spend(&self, customer: &Customer) -> Option<f64> {
        let model = &self.spend.as_ref()?.model;
        let told = customer.history.frequency > 0 && customer.mean_spend > 0.0;
        let purchases = if told { customer.history.frequency } else { 0 };
        model.expected_spend(purchases, customer.mean_spend)
    }
}

/// Purchases of a horizon, each counted less the later it comes.
fn discounted(model: &BgNbd, history: &History, horizon: f64, discount: f64) -> f64 {
    let periods = horizon.ceil().clamp(1.0, PERIODS_MAX);
    let period = horizon / periods;
    let a_week = libm::log1p(discount) / WEEKS_PER_YEAR;
    let ends: Vec<f64> = (1..=periods as usize).map(|n| n as f64 * period).collect();
    let mut before = 0.0;
    let until = model.expected_purchases_until(history, &ends);
    let terms = ends.iter().zip(until).map(|(end, until)| {
        let bought = until - before;
        before = until;
        bought * libm::exp(-a_week * (end - 0.5 * period))
    });
    terms.sum()
}
