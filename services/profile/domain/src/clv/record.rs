//! From what is kept of a person to what the models need: the days with a purchase, and what they brought.
//!
//! A state keeps the days of [`PURCHASE_DAYS_MAX`](crate::PURCHASE_DAYS_MAX) back from its newest, so whoever
//! bought for longer is told from those alone: the first day that is kept counts as the first purchase. The
//! model asks nothing of the time before it, for after any purchase it is at the same point. States of a
//! person's members fold into exactly the days that one subject would have kept.

use std::collections::BTreeMap;

use rapport_types::{Currency, SubjectId, UnixMillis};

use super::{ClvModel, Customer, DAYS_PER_WEEK, History};
use crate::state::{ProfileState, day_of};

/// Currencies of one person that are told apart: those of most repeat days.
const SPEND_CURRENCIES_MAX: usize = 4;
/// Persons who bought again below which nothing is learned: fewer show no rhythm but their own.
pub const REPEATERS_MIN: u64 = 30;

const MICROS: f64 = 1e6;
const DAY_MS: i64 = 86_400_000;

/// The purchases of a person until an instant.
#[derive(Debug, Clone, PartialEq)]
pub struct PurchaseRecord {
    /// Days since 1970 (UTC) of the first and the last purchase.
    first: i64,
    last: i64,
    /// Distinct days with a purchase, at least 1.
    days: u32,
    /// What a repeat day brought, by currency: most days first, ties by code.
    spend: Vec<Spend>,
}

/// What the repeat days of one currency brought.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spend {
    currency: Currency,
    days: u32,
    /// Units of currency, refunds left out.
    mean: f64,
}

impl ProfileState {
    /// Returns the purchases until the end of a day, `None` without one. Cost: `O(days kept)`.
    #[must_use]
    pub fn purchase_record(&self, as_of: UnixMillis) -> Option<PurchaseRecord> {
        let today = day_of(as_of);
        let bought = || {
            let kept = self.purchases.days.iter();
            kept.filter(|((day, _), bought)| *day <= today && !bought.orders.is_empty())
        };
        let first = bought().next().map(|((day, _), _)| *day)?;
        let (mut last, mut days) = (first, 1);
        let mut sums: BTreeMap<Currency, (u32, i128)> = BTreeMap::new();
        for ((day, currency), bought) in bought() {
            days += u32::from(*day > last);
            last = *day;
            if let Some(currency) = currency
                && *day > first
            {
                let (days, sum) = sums.entry(*currency).or_default();
                *days += 1;
                *sum += i128::from(bought.totals.bought.0);
            }
        }
        let mean = |(currency, (days, sum)): (Currency, (u32, i128))| Spend {
            currency,
            days,
            mean: sum as f64 / MICROS / f64::from(days),
        };
        let mut spend: Vec<Spend> = sums.into_iter().map(mean).collect();
        spend.sort_by_key(|spend| std::cmp::Reverse(spend.days)); // stable: codes stay in their order
        spend.truncate(SPEND_CURRENCIES_MAX);
        Some(PurchaseRecord {
            first,
            last,
            days,
            spend,
        })
    }
}

impl PurchaseRecord {
    /// Returns the repeat days.
    #[must_use]
    pub fn repeats(&self) -> u32 {
        self.days - 1
    }

    /// Returns the days from the first purchase to the last.
    #[must_use]
    pub fn span_days(&self) -> u32 {
        u32::try_from(self.last - self.first).unwrap_or(u32::MAX)
    }

    /// Returns what the models are asked with; `None` when `as_of` is before the last purchase or beyond
    /// what [`History::new`] accepts.
    ///
    /// * `currency`: that of the model. Repeat days in others count as purchases and tell no spend.
    #[must_use]
    pub fn customer(&self, as_of: UnixMillis, currency: Option<Currency>) -> Option<Customer> {
        let weeks = |until: i64| (until - self.first) as f64 / DAYS_PER_WEEK;
        let age = weeks(day_of(as_of));
        let history = History::new(self.repeats(), weeks(self.last), age).ok()?;
        let mean_spend = currency.and_then(|currency| self.mean_spend(currency));
        Some(Customer {
            history,
            mean_spend: mean_spend.unwrap_or(0.0),
        })
    }

    /// Returns the mean spend of the repeat days with a purchase in a currency, in its units.
    #[must_use]
    pub fn mean_spend(&self, currency: Currency) -> Option<f64> {
        let told = self.spend.iter().find(|spend| spend.currency == currency);
        told.map(|spend| spend.mean)
    }
}

/// Persons to learn from.
#[derive(Debug)]
pub struct Learners {
    max: usize,
    /// By the hash of the anchor: above the maximum the smallest stay, whatever order they come in.
    kept: BTreeMap<(u64, SubjectId), PurchaseRecord>,
}

/// A model of a population.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// The model.
    pub model: ClvModel,
    /// The currency of spend, in which most persons buy again, ties to the first in alphabet; `None`
    /// where the model has no spend.
    pub currency: Option<Currency>,
    /// The end of the day of the newest purchase: until when nobody is known to be silent.
    pub as_of: UnixMillis,
}

/// Fewer than [`REPEATERS_MIN`] persons bought again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} person(s) bought again, {REPEATERS_MIN} are needed to learn from")]
pub struct TooFewRepeaters(pub u64);

impl Learners {
    /// Returns room for `max` persons.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            max,
            kept: BTreeMap::new(),
        }
    }

    /// Adds a person, who may push another one out.
    pub fn add(&mut self, anchor: SubjectId, record: PurchaseRecord) {
        let hash = rapport_math::stable_hash64(&[b"clv", anchor.as_bytes()]);
        self.kept.insert((hash, anchor), record);
        if self.kept.len() > self.max {
            self.kept.pop_last();
        }
    }

    /// Learns from everybody who was kept. Same persons in any order give the same bytes.
    ///
    /// * Cost: that of [`ClvModel::fit`]. Reads no clock: an import that ends long ago is learned from as
    ///   it stood when it ended.
    ///
    /// # Errors
    /// [`TooFewRepeaters`].
    pub fn fit(&self) -> Result<Learned, TooFewRepeaters> {
        let records = || self.kept.values();
        let repeaters = records().filter(|record| record.repeats() > 0).count() as u64;
        if repeaters < REPEATERS_MIN {
            return Err(TooFewRepeaters(repeaters));
        }
        let newest = records().map(|record| record.last).max().unwrap_or(0);
        let as_of = UnixMillis((newest + 1) * DAY_MS - 1);
        let currency = self.currency();
        let asked = |record: &PurchaseRecord| record.customer(as_of, currency);
        let customers: Vec<Customer> = records().filter_map(asked).collect();
        // Micros keep what is spent in range: too few histories are all that can be wrong.
        let model = ClvModel::fit(&customers).map_err(|_none| TooFewRepeaters(repeaters))?;
        Ok(Learned {
            currency: currency.filter(|_| model.spend.is_some()),
            model,
            as_of,
        })
    }

    fn currency(&self) -> Option<Currency> {
        let mut persons: BTreeMap<Currency, u64> = BTreeMap::new();
        for first in self.kept.values().filter_map(|record| record.spend.first()) {
            *persons.entry(first.currency).or_default() += 1;
        }
        let most = persons
            .into_iter()
            .max_by_key(|(currency, persons)| (*persons, std::cmp::Reverse(*currency)));
        most.map(|(currency, _)| currency)
    }
}

#[cfg(test)]
mod tests;
