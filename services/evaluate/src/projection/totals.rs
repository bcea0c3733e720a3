//! What is counted without any person: money, ads, decisions. Bounded, and mergeable over partitions.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut as _, Bytes, BytesMut};
use evaluate_domain::attribution::CHANNEL_BYTES_MAX;
use evaluate_domain::fold::Merge;
use rapport_math::stable_hash64;
use rapport_types::Currency;
use serde::{Deserialize, Serialize};

/// Hashes of orders kept per day, currency and partition. Up to here the count is exact; beyond, the
/// k-th smallest hash gives it within some 3 % (Bar-Yossef et al., "Counting distinct elements in a
/// data stream", RANDOM 2002, algorithm 1).
pub(super) const ORDERS_MAX: usize = 1_024;
/// Days in one state of a campaign.
const DAYS_PER_KEY: i32 = 32;

/// Returns a campaign's id, `None` for one that no report can name.
pub(super) fn campaign_id(id: &str) -> Option<&str> {
    (1..=CHANNEL_BYTES_MAX).contains(&id.len()).then_some(id)
}

/// What a state of totals is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The money of one day since 1970 in one currency.
    Money(i32, Currency),
    /// The ads of a campaign, 32 days to a state.
    Campaign(i32, String),
    /// The decisions of one boot of one replica of one service: a hash of the names, and the boot.
    Decisions(u64, i64),
}

impl Key {
    /// Returns the key of a campaign's day.
    #[must_use]
    pub fn campaign(day: i32, campaign: &str) -> Self {
        Self::Campaign(day.div_euclid(DAYS_PER_KEY), campaign.to_owned())
    }

    /// Returns the key of a replica's decisions.
    #[must_use]
    pub fn decisions(service: &str, replica: &str, boot_ms: i64) -> Self {
        let names = stable_hash64(&[service.as_bytes(), replica.as_bytes()]);
        Self::Decisions(names, boot_ms)
    }

    /// Returns the stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Money(day, currency) => {
                bytes.put_u8(b'm');
                bytes.put_i32(*day);
                bytes.put_slice(currency.as_str().as_bytes());
            }
            Self::Campaign(month, campaign) => {
                bytes.put_u8(b'c');
                bytes.put_i32(*month);
                bytes.put_slice(campaign.as_bytes());
            }
            Self::Decisions(names, boot_ms) => {
                bytes.put_u8(b'd');
                bytes.put_u64(*names);
                bytes.put_i64(*boot_ms);
            }
        }
        bytes.freeze()
    }

    /// Returns the key of a stored form, `None` for bytes that are none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match kind {
            b'm' => {
                let (day, code) = rest.split_first_chunk()?;
                let code = Currency::parse(std::str::from_utf8(code).ok()?)?;
                Some(Self::Money(i32::from_be_bytes(*day), code))
            }
            b'c' => {
                let (month, campaign) = rest.split_first_chunk()?;
                let campaign = std::str::from_utf8(campaign).ok()?;
                Some(Self::Campaign(
                    i32::from_be_bytes(*month),
                    campaign.to_owned(),
                ))
            }
            b'd' => {
                let (names, boot) = rest.split_first_chunk()?;
                let boot = i64::from_be_bytes(boot.try_into().ok()?);
                Some(Self::Decisions(u64::from_be_bytes(*names), boot))
            }
            _ => None,
        }
    }
}

/// Money of one day, in millionths. Wider than money is, so that sums never saturate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayMoney {
    /// Purchases.
    pub purchases: i128,
    /// Refunds, positive.
    pub refunds: i128,
    /// Ledger adjustments, signed.
    pub adjustments: i128,
    /// The smallest hashes of orders.
    pub(super) orders: BTreeSet<u64>,
}

impl DayMoney {
    pub(super) fn order(&mut self, hash: u64) {
        self.orders.insert(hash);
        self.forget_largest();
    }

    /// Returns purchases less refunds and with adjustments.
    #[must_use]
    pub fn net(&self) -> i128 {
        self.purchases - self.refunds + self.adjustments
    }

    /// Returns how many orders there were: exact below 1,024, an estimate from there on.
    #[must_use]
    pub fn orders(&self) -> u64 {
        match self.orders.last() {
            Some(largest) if self.orders.len() == ORDERS_MAX => {
                // The k smallest of n even draws reach to k / n of the range.
                let reach = (*largest as f64 + 1.0) / (u64::MAX as f64 + 1.0);
                ((ORDERS_MAX - 1) as f64 / reach)
                    .round()
                    .max(ORDERS_MAX as f64) as u64
            }
            Some(_) | None => self.orders.len() as u64,
        }
    }

    fn forget_largest(&mut self) {
        while self.orders.len() > ORDERS_MAX {
            self.orders.pop_last();
        }
    }
}

impl Merge for DayMoney {
    fn merge(&mut self, other: &Self) {
        self.purchases += other.purchases;
        self.refunds += other.refunds;
        self.adjustments += other.adjustments;
        self.orders.extend(&other.orders);
        self.forget_largest();
    }
}

/// A campaign on one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Times seen.
    pub impressions: u64,
    /// Times clicked.
    pub clicks: u64,
    /// What both cost, in millionths.
    pub cost: i128,
}

impl Merge for Shown {
    fn merge(&mut self, other: &Self) {
        self.impressions += other.impressions;
        self.clicks += other.clicks;
        self.cost += other.cost;
    }
}

/// The decisions of one boot of one replica. Numbers are 1, 2, 3 … without gaps and the log keeps each
/// decision once, so a count and a maximum tell what is missing, and partitions add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Decisions in the log.
    pub seen: u64,
    /// The largest number known: of a decision or of a checkpoint.
    pub last: u64,
}

impl Numbers {
    /// Returns the numbers that were given out and never came. Those on their way count until they
    /// arrive.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.last.saturating_sub(self.seen)
    }
}

impl Merge for Numbers {
    fn merge(&mut self, other: &Self) {
        self.seen += other.seen;
        self.last = self.last.max(other.last);
    }
}

/// One state: only the part that its key names is in use, the others are empty and cost a byte each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Of [`Key::Money`].
    pub money: DayMoney,
    /// Of [`Key::Campaign`], by day: at most 32.
    pub shown: BTreeMap<i32, Shown>,
    /// Of [`Key::Decisions`].
    pub numbers: Numbers,
}

impl Merge for Totals {
    fn merge(&mut self, other: &Self) {
        self.money.merge(&other.money);
        for (day, shown) in &other.shown {
            self.shown.entry(*day).or_default().merge(shown);
        }
        self.numbers.merge(&other.numbers);
    }
}
