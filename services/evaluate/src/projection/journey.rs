//! What one subject did, as far as reports ask: bounded, and mergeable over a person's subjects.

use std::collections::{BTreeMap, BTreeSet};

use evaluate_domain::fold::Merge;
use rapport_types::{Currency, Micros, UnixMillis};
use serde::{Deserialize, Serialize};

/// Exposures kept: the pairs of experiment and variant that sort first.
pub(super) const EXPOSURES_MAX: usize = 512;
/// Sights of and clicks on ads kept: the newest.
pub(super) const ADS_MAX: usize = 512;
/// Events that carried a decision kept: the newest.
pub(super) const ANSWERS_MAX: usize = 256;
/// Recommendations kept: the newest, as their ids begin with the time.
pub(super) const RECOMMENDED_MAX: usize = 256;
/// Movements of money kept: the newest.
pub(super) const MONEY_MAX: usize = 1_000;
/// Days kept: the newest, as many as the domain remembers.
pub(super) const DAYS_MAX: usize = evaluate_domain::activity::ACTIVE_DAYS_MAX;

/// What was done on a day, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Anything at all.
    Visit = 1,
    /// Looked at an item.
    View = 2,
    /// Chose an item or an ad.
    Click = 4,
    /// Put an item into the cart.
    Cart = 8,
    /// Bought.
    Purchase = 16,
}

impl Stage {
    /// Every stage from the widest, with the name that the report translates.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Visit, "visit"),
        (Self::View, "view"),
        (Self::Click, "click"),
        (Self::Cart, "cart"),
        (Self::Purchase, "purchase"),
    ];
}

/// When a variant was first met: as it happened, and in imported history.
///
/// The two are apart because an import may tell of a time before the experiment was set up here,
/// while a live exposure outside its run is a mistake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstSeen {
    /// First live exposure, in milliseconds since 1970.
    pub live: Option<i64>,
    /// First imported exposure.
    pub imported: Option<i64>,
}

impl FirstSeen {
    fn merge(&mut self, other: Self) {
        // `None` is smaller than any time, and here it means never.
        let earlier = |a: Option<i64>, b: Option<i64>| a.into_iter().chain(b).min();
        self.live = earlier(self.live, other.live);
        self.imported = earlier(self.imported, other.imported);
    }
}

/// The sight of an ad, or a click on one. Ordered by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AdTouch {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The campaign.
    pub campaign: String,
    /// Whether it was a click.
    pub clicked: bool,
    /// A hash of the event's id: two in one millisecond are two.
    pub event: u64,
}

/// An event that carried the decision that led to it. Ordered by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Answer {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// The decision.
    pub decision: [u8; 16],
}

/// Where money moved. Ordered by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct MoneyKey {
    pub at: i64,
    /// What the order is known by: a hash of its id, or of its event's.
    pub order: u64,
    pub currency: Currency,
}

/// What moved, in millionths. Wider than money is, so that sums never saturate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moved {
    pub bought: i128,
    pub refunded: i128,
}

/// One order of a person: everything that has its id, or a credit note without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// When it was first bought; when money first went back, if nothing was bought.
    pub at: UnixMillis,
    /// Whether anything was bought.
    pub is_purchase: bool,
    /// The currency of `net`.
    pub currency: Currency,
    /// Purchases less refunds.
    pub net: Micros,
}

/// What one subject, or one person, did.
///
/// Every part is a map or a set that is cut at one end of its order, and values are sums or minima:
/// a key that is kept in a union was kept in every part of it, so the fold is exact for what is
/// kept, associative and commutative. An event is counted once by the projection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journey {
    exposures: BTreeMap<(String, String), FirstSeen>,
    ads: BTreeSet<AdTouch>,
    answers: BTreeSet<Answer>,
    recommended: BTreeSet<[u8; 16]>,
    money: BTreeMap<MoneyKey, Moved>,
    /// Day since 1970 to bits of [`Stage`].
    days: BTreeMap<i32, u8>,
}

impl Journey {
    pub(super) fn expose(&mut self, experiment: String, variant: String, seen: FirstSeen) {
        let first = self.exposures.entry((experiment, variant)).or_default();
        first.merge(seen);
        while self.exposures.len() > EXPOSURES_MAX {
            self.exposures.pop_last();
        }
    }

    pub(super) fn touch(&mut self, touch: AdTouch) {
        self.ads.insert(touch);
        newest(&mut self.ads, ADS_MAX);
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        self.answers.insert(answer);
        newest(&mut self.answers, ANSWERS_MAX);
    }

    pub(super) fn recommend(&mut self, decision: [u8; 16]) {
        self.recommended.insert(decision);
        newest(&mut self.recommended, RECOMMENDED_MAX);
    }

    pub(super) fn pay(&mut self, key: MoneyKey, moved: Moved) {
        let sum = self.money.entry(key).or_default();
        sum.bought += moved.bought;
        sum.refunded += moved.refunded;
        newest_keys(&mut self.money, MONEY_MAX);
    }

    pub(super) fn act(&mut self, day: i32, stage: Stage) {
        *self.days.entry(day).or_default() |= stage as u8 | Stage::Visit as u8;
        newest_keys(&mut self.days, DAYS_MAX);
    }

    /// Returns the variants of an experiment that were met, each with its first time.
    pub fn variants(&self, experiment: &str) -> impl Iterator<Item = (&str, FirstSeen)> {
        let from = (experiment.to_owned(), String::new());
        let own = self.exposures.range(from..);
        own.take_while(move |((key, _), _)| key == experiment)
            .map(|((_, variant), seen)| (variant.as_str(), *seen))
    }

    /// Returns ads seen and clicked, oldest first.
    pub fn ads(&self) -> impl Iterator<Item = &AdTouch> {
        self.ads.iter()
    }

    /// Returns when something recommended was chosen, looked at or bought, oldest first. Who decided
    /// is looked up here and not at apply: the answer may be on another device than the question, or
    /// reach the log before it.
    pub fn recommendation_clicks(&self) -> impl Iterator<Item = UnixMillis> {
        let own = self.answers.iter();
        own.filter(|answer| self.recommended.contains(&answer.decision))
            .map(|answer| UnixMillis(answer.at))
    }

    /// Returns the orders in time order; of two at once, the one with the lesser hash first.
    #[must_use]
    pub fn orders(&self) -> Vec<Order> {
        let mut orders: BTreeMap<(u64, Currency), (Order, i128)> = BTreeMap::new();
        for (key, moved) in &self.money {
            let order = Order {
                at: UnixMillis(key.at),
                is_purchase: false,
                currency: key.currency,
                net: Micros::ZERO,
            };
            let (order, net) = orders
                .entry((key.order, key.currency))
                .or_insert((order, 0));
            *net += moved.bought - moved.refunded;
            if moved.bought != 0 && !order.is_purchase {
                (order.is_purchase, order.at) = (true, UnixMillis(key.at));
            }
        }
        let settled = orders.into_values().map(|(order, net)| Order {
            net: to_micros(net),
            ..order
        });
        let mut orders: Vec<Order> = settled.collect();
        orders.sort_by_key(|order| order.at);
        orders
    }

    /// Returns the days with anything, oldest first, each with its bits of [`Stage`].
    pub fn days(&self) -> impl Iterator<Item = (i32, u8)> {
        self.days.iter().map(|(day, stages)| (*day, *stages))
    }
}

impl Merge for Journey {
    fn merge(&mut self, other: &Self) {
        for ((experiment, variant), seen) in &other.exposures {
            self.expose(experiment.clone(), variant.clone(), *seen);
        }
        self.ads.extend(other.ads.iter().cloned());
        newest(&mut self.ads, ADS_MAX);
        self.answers.extend(&other.answers);
        newest(&mut self.answers, ANSWERS_MAX);
        self.recommended.extend(&other.recommended);
        newest(&mut self.recommended, RECOMMENDED_MAX);
        for (key, moved) in &other.money {
            self.pay(*key, *moved);
        }
        for (day, stages) in &other.days {
            *self.days.entry(*day).or_default() |= stages;
        }
        newest_keys(&mut self.days, DAYS_MAX);
    }
}

/// Returns money, at the end of its range if it is beyond.
pub(super) fn to_micros(sum: i128) -> Micros {
    Micros(sum.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
}

fn newest<T: Ord>(set: &mut BTreeSet<T>, max: usize) {
    while set.len() > max {
        set.pop_first();
    }
}

fn newest_keys<K: Ord, V>(map: &mut BTreeMap<K, V>, max: usize) {
    while map.len() > max {
        map.pop_first();
    }
}
