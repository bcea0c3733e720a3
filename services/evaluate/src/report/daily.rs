//! The shop day by day, and how far people came.

use std::collections::BTreeMap;

use evaluate_domain::activity::{ActiveDays, ActivePeople, Day, active_people};
use rapport_types::{Currency, Micros, UnixMillis};

use super::{Collect, DAY_MS, Days};
use crate::error::Error;
use crate::projection::{DayMoney, Journey, Stage};
use crate::view::ShopTotals;

/// Days in one series; of more, the newest.
pub const DAYS_MAX: usize = 4_000;

/// Active people per day, and people per stage, over a period.
#[derive(Debug, Clone)]
pub struct Activity {
    days: Days,
    active: BTreeMap<i32, u64>,
    stages: [u64; Stage::ALL.len()],
}

/// One day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayResult {
    /// The day.
    pub day: Day,
    /// Measured people who did something.
    pub active: u64,
    /// Orders in every currency.
    pub orders: u64,
    /// Net revenue in one currency.
    pub revenue: Micros,
}

impl Activity {
    /// Returns nobody yet.
    #[must_use]
    pub fn new(days: Days) -> Self {
        let (active, stages) = (BTreeMap::new(), [0; Stage::ALL.len()]);
        Self {
            days,
            active,
            stages,
        }
    }

    /// Returns the stages, the widest first, with the people who got that far in the period.
    pub fn funnel(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Stage::ALL.iter().map(|(_, name)| *name).zip(self.stages)
    }

    /// Returns the first and the last day with anything in the period; `None` without any.
    #[must_use]
    pub fn extent(&self, totals: &ShopTotals) -> Option<Days> {
        let (active, money) = (self.active.keys(), totals.money.keys());
        let first = active.clone().chain(money.clone()).min()?;
        let last = active.chain(money).max()?;
        let oldest = last.saturating_sub(DAYS_MAX as i32 - 1);
        Some(Days {
            first: Day(*first.max(&oldest)),
            last: Day(*last),
        })
    }

    /// Returns every day of [`Activity::extent`], revenue in `currency`.
    #[must_use]
    pub fn series(&self, totals: &ShopTotals, currency: Option<Currency>) -> Vec<DayResult> {
        let Some(days) = self.extent(totals) else {
            return Vec::new();
        };
        let day = |day: i32| {
            let money = totals.money.get(&day);
            let orders = money.map_or(0, |by| by.values().map(DayMoney::orders).sum());
            let own = money.zip(currency).and_then(|(by, code)| by.get(&code));
            DayResult {
                day: Day(day),
                active: self.active.get(&day).copied().unwrap_or(0),
                orders,
                revenue: own.map_or(Micros::ZERO, |money| saturated(money.net())),
            }
        };
        (days.first.0..=days.last.0).map(day).collect()
    }
}

impl Collect for Activity {
    fn take(&mut self, person: &Journey) -> Result<(), Error> {
        let mut met = 0;
        for (day, stages) in person.days().filter(|(day, _)| self.days.has(*day)) {
            *self.active.entry(day).or_default() += 1;
            met |= stages;
        }
        for ((stage, _), people) in Stage::ALL.iter().zip(&mut self.stages) {
            *people += u64::from(met & *stage as u8 != 0);
        }
        Ok(())
    }
}

/// Active people up to a day.
#[derive(Debug, Clone, Copy)]
pub struct Active {
    /// The day.
    pub as_of: Day,
    /// The people.
    pub people: ActivePeople,
}

impl Collect for Active {
    fn take(&mut self, person: &Journey) -> Result<(), Error> {
        let mut days = ActiveDays::default();
        for (day, _) in person.days() {
            days.record(UnixMillis(i64::from(day) * DAY_MS));
        }
        let one = active_people([&days], self.as_of);
        self.people.daily += one.daily;
        self.people.weekly += one.weekly;
        self.people.monthly += one.monthly;
        Ok(())
    }
}

/// Returns money, at the end of its range if it is beyond.
#[must_use]
pub fn saturated(sum: i128) -> Micros {
    Micros(sum.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
}
