//! The ads of the town, with what they truly do.

use rapport_types::Micros;

use crate::shopper::{Language, Shopper};

/// No ad is clicked more often than this, whoever sees it.
const CLICK_PROBABILITY_MAX: f64 = 0.5;
/// The part of a line item's click rate that does not depend on interest.
const CLICK_FLOOR: f64 = 0.25;

/// One line item, as the driver sets it up, and its truth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LineItem {
    /// The id.
    pub id: &'static str,
    /// Its campaign's id.
    pub campaign_id: &'static str,
    /// The category it advertises, `0..CATEGORIES`.
    pub category: usize,
    /// What it offers per click, in CNY.
    pub bid_per_click: Micros,
    /// What it may spend in a day, in CNY.
    pub daily_budget: Micros,
    /// The creative's Chinese headline.
    pub zh: &'static str,
    /// The creative's English headline.
    pub en: &'static str,
    /// Truth: the click rate of a shopper of average interest, in `(0, 1)`.
    pub base_ctr: f64,
    /// Truth: the factor on the chance of an order in the visit that saw it; 1 does nothing.
    pub conversion_factor: f64,
}

impl LineItem {
    /// Returns the headline in a language.
    #[must_use]
    pub fn headline(&self, language: Language) -> &'static str {
        match language {
            Language::Chinese => self.zh,
            Language::English => self.en,
        }
    }

    /// Returns the true chance that this shopper clicks when it sees the ad, in `[0, 0.5]`.
    #[must_use]
    pub fn click_probability(&self, shopper: &Shopper) -> f64 {
        let liking = CLICK_FLOOR + (1.0 - CLICK_FLOOR) * shopper.liking(self.category);
        (self.base_ctr * liking).min(CLICK_PROBABILITY_MAX)
    }
}

/// Short for the table below: bids and budgets in whole yuan cents keep the rows on one line.
const fn line(
    (id, campaign_id, category): (&'static str, &'static str, usize),
    (bid_fen, budget_yuan): (i64, i64),
    (base_ctr, conversion_factor): (f64, f64),
    (zh, en): (&'static str, &'static str),
) -> LineItem {
    let (bid_per_click, daily_budget) = (Micros(bid_fen * 10_000), Micros::from_units(budget_yuan));
    LineItem {
        id,
        campaign_id,
        category,
        bid_per_click,
        daily_budget,
        zh,
        en,
        base_ctr,
        conversion_factor,
    }
}

/// Every line item. `digital-brand` is clicked most and sells nothing: who optimises clicks buys it.
pub(crate) const LINE_ITEMS: [LineItem; 8] = [
    line(
        ("tea-spring", "spring", 0),
        (80, 300),
        (0.030, 1.20),
        ("春茶上新，第二件半价", "Spring tea, second at half price"),
    ),
    line(
        ("digital-brand", "brand", 1),
        (150, 500),
        (0.060, 1.00),
        ("未来已来", "The future is here"),
    ),
    line(
        ("clothing-sale", "season", 2),
        (90, 300),
        (0.035, 1.15),
        ("换季服饰三折起", "End of season, up to 70 % off"),
    ),
    line(
        ("shoes-run", "season", 3),
        (100, 250),
        (0.025, 1.25),
        ("跑出新纪录", "Run your record"),
    ),
    line(
        ("beauty-sun", "spring", 4),
        (120, 400),
        (0.045, 1.10),
        ("防晒节限时特惠", "Sun care week"),
    ),
    line(
        ("snacks-new", "spring", 5),
        (40, 150),
        (0.050, 1.05),
        ("零食盲盒，惊喜开箱", "Snack surprise box"),
    ),
    line(
        ("books-week", "brand", 6),
        (50, 120),
        (0.020, 1.30),
        ("读书周满百减三十", "Book week: 30 off 100"),
    ),
    line(
        ("home-nest", "season", 7),
        (110, 300),
        (0.022, 1.18),
        ("把家变成喜欢的样子", "Make home yours"),
    ),
];
