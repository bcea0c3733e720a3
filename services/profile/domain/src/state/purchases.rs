//! Purchases and refunds: lifetime totals, and days for everything that asks "in the last year".

use std::collections::{BTreeMap, BTreeSet};

use rapport_types::{Currency, Micros, UnixMillis};
use serde::{Deserialize, Serialize};

use super::earliest;

/// Days of purchases that are kept, counted back from the newest: a year and some, so that "last
/// year's Singles' Day" is still there on this year's.
pub const PURCHASE_DAYS_MAX: i64 = 400;
/// Orders told apart within a day and currency; a busier day counts as this many.
const ORDERS_PER_DAY_MAX: usize = 64;
/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;

/// Lifetime money of one currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchaseTotals {
    /// Paid, `>= 0`.
    pub bought: Micros,
    /// Returned, `>= 0`.
    pub refunded: Micros,
}

impl PurchaseTotals {
    fn add(&mut self, other: Self) {
        self.bought = saturating(self.bought, other.bought);
        self.refunded = saturating(self.refunded, other.refunded);
    }

    /// Returns what was paid and not returned.
    #[must_use]
    pub fn net(self) -> Micros {
        self.bought - self.refunded
    }
}

/// One day in one currency. The smallest hashes of orders: a rule that merging cannot disturb.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Day {
    pub(crate) orders: BTreeSet<u64>,
    pub(crate) totals: PurchaseTotals,
}

/// All purchases of a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Purchases {
    pub(crate) purchase_events: u64,
    pub(crate) refund_events: u64,
    pub(crate) totals: BTreeMap<Currency, PurchaseTotals>,
    pub(crate) first: Option<UnixMillis>,
    pub(crate) last: Option<UnixMillis>,
    /// By day since 1970 (UTC) and currency; `None` is a malformed code, counted without money.
    pub(crate) days: BTreeMap<(i64, Option<Currency>), Day>,
}

/// Returns the day since 1970, UTC.
pub(crate) fn day_of(at: UnixMillis) -> i64 {
    at.0.div_euclid(DAY_MS)
}

impl Purchases {
    pub(super) fn buy(
        &mut self,
        at: UnixMillis,
        order: u64,
        currency: Option<Currency>,
        amount: Micros,
    ) {
        self.purchase_events = self.purchase_events.saturating_add(1);
        self.first = earliest(self.first, Some(at));
        self.last = self.last.max(Some(at));
        let bought = PurchaseTotals {
            bought: amount.max(Micros::ZERO),
            refunded: Micros::ZERO,
        };
        let day = self.money(at, currency, bought);
        day.orders.insert(order);
        keep_smallest(&mut day.orders);
        self.drop_old();
    }

    pub(super) fn refund(&mut self, at: UnixMillis, currency: Option<Currency>, amount: Micros) {
        self.refund_events = self.refund_events.saturating_add(1);
        let refunded = PurchaseTotals {
            bought: Micros::ZERO,
            refunded: amount.max(Micros::ZERO),
        };
        self.money(at, currency, refunded);
        self.drop_old();
    }

    /// Adds money to the lifetime totals and to the day, which it returns.
    fn money(
        &mut self,
        at: UnixMillis,
        currency: Option<Currency>,
        totals: PurchaseTotals,
    ) -> &mut Day {
        let day = self.days.entry((day_of(at), currency)).or_default();
        if let Some(currency) = currency {
            self.totals.entry(currency).or_default().add(totals);
            day.totals.add(totals);
        }
        day
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.purchase_events = self.purchase_events.saturating_add(other.purchase_events);
        self.refund_events = self.refund_events.saturating_add(other.refund_events);
        self.first = earliest(self.first, other.first);
        self.last = self.last.max(other.last);
        for (currency, totals) in &other.totals {
            self.totals.entry(*currency).or_default().add(*totals);
        }
        for (key, theirs) in &other.days {
            let day = self.days.entry(*key).or_default();
            day.totals.add(theirs.totals);
            day.orders.extend(&theirs.orders);
            keep_smallest(&mut day.orders);
        }
        self.drop_old();
    }

    /// Keeps the days near the newest: a rule on the newest alone, so merging stays exact.
    fn drop_old(&mut self) {
        let Some(&(newest, _)) = self.days.keys().next_back() else {
            return;
        };
        let oldest = newest.saturating_sub(PURCHASE_DAYS_MAX - 1);
        if self
            .days
            .keys()
            .next()
            .is_some_and(|(day, _)| *day < oldest)
        {
            self.days = self.days.split_off(&(oldest, None)); // `None` orders before every currency
        }
    }
}

/// Adds amounts that are never negative, so that saturating keeps addition associative.
fn saturating(left: Micros, right: Micros) -> Micros {
    Micros(left.0.saturating_add(right.0))
}

fn keep_smallest(orders: &mut BTreeSet<u64>) {
    while orders.len() > ORDERS_PER_DAY_MAX {
        orders.pop_last();
    }
}
