//! Who lives in the town: what each shopper truly is, drawn once from the seed.

use rapport_math::Rng;
use rapport_types::{Purpose, PurposeSet};

use crate::catalogue::{CATEGORIES, Item};
use crate::event::Channel;

/// The language a shopper reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// Chinese, `zh`.
    Chinese,
    /// English, `en`.
    English,
}

impl Language {
    /// Returns the BCP 47 code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Chinese => "zh",
            Self::English => "en",
        }
    }
}

/// How old a shopper says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgeBand {
    /// Never said.
    Unknown,
    /// Under age.
    Minor,
    /// Of age.
    Adult,
}

/// Regions shoppers live in.
const REGIONS: [&str; 6] = ["CN-31", "CN-11", "CN-44", "CN-33", "CN-51", "CN-61"];
/// The part of shoppers that grant each purpose that can be refused, in the order of the wire.
const GRANT_RATES: [(Purpose, f64); 6] = [
    (Purpose::Personalise, 0.80),
    (Purpose::Advertise, 0.60),
    (Purpose::Message, 0.50),
    (Purpose::Emotion, 0.50),
    (Purpose::Measure, 0.85),
    (Purpose::Share, 0.20),
];
/// The highest chance of an order in a plain visit: times every factor of the town it stays below 1.
pub(crate) const PURCHASE_RATE_MAX: f64 = 0.2;

/// One shopper. Everything here is truth that no service may see.
#[derive(Debug, Clone, PartialEq)]
pub struct Shopper {
    /// Its place in the town.
    pub index: u32,
    /// Interest by category, `>= 0`, sums to 1.
    pub interests: [f64; CATEGORIES],
    /// Which of each category's four brands it prefers, `0..4`.
    pub favourite_brand: usize,
    /// How much a high price puts it off, in `[0, 1]`.
    pub price_sensitivity: f64,
    /// Its language.
    pub language: Language,
    /// Its age band.
    pub age_band: AgeBand,
    /// Its region code.
    pub region: &'static str,
    /// What it grants when asked; it refuses the rest.
    pub grants: PurposeSet,
    /// A grant that it takes back, and on which day.
    pub revokes: Option<(Purpose, f64)>,
    /// Visits per day while it stays, above 0.
    pub sessions_per_day: f64,
    /// The chance that a plain visit ends in an order, in `(0, 0.2]`.
    pub purchase_rate: f64,
    /// The chance per day that it leaves for good.
    pub churn_per_day: f64,
    /// The hour of day (UTC+8) around which it visits, in `[0, 24)`.
    pub peak_hour: f64,
    /// The day before which it does not come, counted from the start.
    pub arrives_on_day: f64,
    /// Devices, 1 or 2.
    pub devices: u8,
    /// The chance that a visit happens on the second device.
    pub second_device_rate: f64,
    /// The visit (from 0) from which on it signs in, `None` if it never does.
    pub signs_in_from: Option<u32>,
    /// Weights of the channels it comes through, in the order of [`Channel::ALL`].
    pub channel_weights: [f64; Channel::ALL.len()],
}

impl Shopper {
    pub(crate) fn draw(index: u32, days: u32, rng: &mut Rng) -> Self {
        let interests = simplex(rng, 0.4);
        let arrives_on_day = if rng.chance(0.7) {
            0.0
        } else {
            rng.range(0.0, f64::from(days) * 0.8)
        };
        let grants: PurposeSet = GRANT_RATES
            .iter()
            .filter(|(_, rate)| rng.chance(*rate))
            .map(|(purpose, _)| *purpose)
            .collect();
        let revokes = rng
            .chance(0.06)
            .then(|| rng.range(0.3, 0.9) * f64::from(days));
        let revokes = revokes
            .zip(grants.iter().next())
            .map(|(day, purpose)| (purpose, day));
        let devices = if rng.chance(0.45) { 2 } else { 1 };
        Self {
            index,
            interests,
            favourite_brand: rng.below(4) as usize,
            price_sensitivity: rng.beta(2.0, 2.0),
            language: if rng.chance(0.75) {
                Language::Chinese
            } else {
                Language::English
            },
            age_band: [AgeBand::Adult, AgeBand::Unknown, AgeBand::Minor]
                [rng.weighted(&[0.8, 0.14, 0.06])],
            region: REGIONS[rng.below(REGIONS.len() as u64) as usize],
            grants,
            revokes,
            sessions_per_day: 0.1 + rng.gamma(2.0, 0.2),
            purchase_rate: (0.02 + 0.5 * rng.beta(2.0, 10.0)).min(PURCHASE_RATE_MAX),
            churn_per_day: rng.beta(1.0, 80.0),
            peak_hour: [8.0, 12.5, 20.5][rng.weighted(&[0.2, 0.25, 0.55])],
            arrives_on_day,
            devices,
            second_device_rate: if devices == 2 {
                rng.range(0.15, 0.5)
            } else {
                0.0
            },
            signs_in_from: rng.chance(0.6).then(|| rng.below(4) as u32),
            channel_weights: simplex(rng, 1.0),
        }
    }

    /// Returns interest in a category relative to the average of 1.
    #[must_use]
    pub fn liking(&self, category: usize) -> f64 {
        self.interests[category] * CATEGORIES as f64
    }

    /// Returns the category it likes most, ties to the first.
    #[must_use]
    pub fn favourite_category(&self) -> usize {
        let best = |a: &usize, b: &usize| {
            self.interests[*a]
                .total_cmp(&self.interests[*b])
                .then(b.cmp(a))
        };
        (0..CATEGORIES).max_by(best).unwrap_or(0)
    }

    /// Returns how much it truly likes an item: interest, brand, price and the item's own appeal.
    /// Above 0, about 1 for an average item.
    #[must_use]
    pub fn affinity(&self, item: &Item) -> f64 {
        let brand = if item.brand_index == self.favourite_brand {
            1.5
        } else {
            1.0
        };
        let price = libm::exp(-self.price_sensitivity * (item.relative_price - 1.0));
        self.liking(item.category) * item.appeal * brand * price
    }

    /// Returns the true chance that it clicks an item shown at a place, in `[0, 0.6]`.
    ///
    /// * `position` from 1; attention falls with `1 / log2(position + 1)`, as DCG assumes.
    #[must_use]
    pub fn click_probability(&self, item: &Item, position: u32) -> f64 {
        const RATE: f64 = 0.05;
        const MAX: f64 = 0.6;
        (RATE * self.affinity(item)).min(MAX) / libm::log2(f64::from(position.max(1)) + 1.0)
    }

    /// Returns the class of one of its devices, 0 or 1.
    #[must_use]
    pub fn device_class(&self, device: u8) -> &'static str {
        match (device, self.index % 4) {
            (0, 0) | (1, 1 | 3) => "desktop",
            (0, _) | (1, 0) => "phone",
            _ => "tablet",
        }
    }
}

/// Draws weights that sum to 1 (a Dirichlet): the smaller `shape`, the fewer of them matter.
fn simplex<const N: usize>(rng: &mut Rng, shape: f64) -> [f64; N] {
    let raw: [f64; N] = std::array::from_fn(|_| rng.gamma(shape, 1.0) + 1e-6);
    let whole: f64 = raw.iter().sum();
    raw.map(|weight| weight / whole)
}
