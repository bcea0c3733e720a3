//! The town: who comes when, and the books of what truly happened.

mod opening;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use rapport_math::Rng;
use rapport_types::UnixMillis;

use crate::advert::{LINE_ITEMS, LineItem};
use crate::catalogue::Catalogue;
use crate::event::{Body, Channel, TownEvent};
use crate::session::{Arm, Outcome, Served, SessionStart, Visit, follow_ups};
use crate::shopper::Shopper;
use crate::truth::{ArmTruth, ChannelTruth, LineItemTruth, LinkTruth, Truth};

/// Shoppers of a town.
pub const SHOPPERS_MAX: u32 = 1_000_000;
/// Days of a town.
const DAYS_MAX: u32 = 366;
/// Recommended items that a visit looks at.
pub const RECOMMENDED_MAX: usize = 20;
/// Bounds of the treatment's factor: above, the chance of an order could pass 1 and the true effect
/// would no longer be the factor. 0.2 x 1.3 (channel) x 1.3 (ad) x 1.25 (recommendation) x 2 < 1.
const FACTOR_BOUNDS: std::ops::RangeInclusive<f64> = 0.2..=2.0;
/// Milliseconds in a day and an hour.
const DAY_MS: f64 = 86_400_000.0;
const HOUR_MS: f64 = 3_600_000.0;
/// Shoppers' clocks are ahead of UTC by this.
const LOCAL_HOURS: f64 = 8.0;
/// No visit begins sooner after the last one began; a visit never lasts as long.
const SESSION_GAP_MS: f64 = 2.0 * HOUR_MS;
/// Streams of the town's generator. The numbers decide the draws: append only.
const STREAM_CATALOGUE: u64 = 1 << 40;
const STREAM_CHARACTER: u64 = 1 << 41;
const STREAM_SCHEDULE: u64 = 1 << 42;
const STREAM_AFTERMATH: u64 = 1 << 43;

/// What town to build.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TownConfig {
    /// The same seed gives the same town.
    pub seed: u64,
    /// Shoppers, 1 to [`SHOPPERS_MAX`].
    pub shoppers: u32,
    /// Days it lives, 1 to 366.
    pub days: u32,
    /// When it begins.
    pub start: UnixMillis,
    /// Truth: the factor that the experiment's treatment puts on orders, 0.2 to 2; 1 does nothing.
    pub conversion_factor: f64,
}

impl Default for TownConfig {
    /// 300 shoppers for 30 days from 1 March 2026 (UTC+8), and a treatment that sells a quarter more.
    fn default() -> Self {
        let start = UnixMillis(1_772_294_400_000);
        Self {
            seed: 7,
            shoppers: 300,
            days: 30,
            start,
            conversion_factor: 1.25,
        }
    }
}

/// Why a town cannot be built.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TownError {
    /// Shoppers must be 1 to [`SHOPPERS_MAX`].
    Shoppers(u32),
    /// Days must be 1 to 366.
    Days(u32),
    /// The factor must be 0.2 to 2.
    ConversionFactor(f64),
}

impl std::fmt::Display for TownError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shoppers(n) => write!(f, "shoppers must be 1 to {SHOPPERS_MAX}, is {n}"),
            Self::Days(n) => write!(f, "days must be 1 to {DAYS_MAX}, is {n}"),
            Self::ConversionFactor(n) => write!(f, "conversion factor must be 0.2 to 2, is {n}"),
        }
    }
}

impl std::error::Error for TownError {}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// Somebody visits: ask the services, then [`Town::respond`].
    Session(SessionStart),
    /// Something happens by itself: a refund, a review, a message.
    Event(TownEvent),
}

impl Moment {
    /// Returns when.
    #[must_use]
    pub fn at(&self) -> UnixMillis {
        match self {
            Self::Session(start) => start.at,
            Self::Event(event) => event.at,
        }
    }
}

/// What is due: a visit of the shopper, or an event that a visit led to.
#[derive(Debug, Clone)]
enum Due {
    Session,
    Event(Box<TownEvent>),
}

/// How far a shopper has come.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    sessions: u32,
    /// Bits of devices that were used and that were signed in on.
    used: u8,
    signed_in: u8,
    signed_up: bool,
    revoked: bool,
}

/// A town. Costs about 400 bytes per shopper; a visit costs a few microseconds.
#[derive(Debug, Clone)]
pub struct Town {
    config: TownConfig,
    rng: Rng,
    catalogue: Catalogue,
    shoppers: Vec<Shopper>,
    progress: Vec<Progress>,
    /// By time, shopper, and a number that is unique for the shopper: a total order.
    due: BTreeMap<(UnixMillis, u32, u64), Due>,
    truth: Truth,
    links: BTreeSet<LinkTruth>,
}

impl Town {
    /// Builds a town and draws everybody in it.
    ///
    /// # Errors
    /// [`TownError`] for a number out of range.
    pub fn new(config: TownConfig) -> Result<Self, TownError> {
        check(&config)?;
        let rng = Rng::seeded(config.seed);
        let catalogue = Catalogue::new(&mut rng.fork(STREAM_CATALOGUE));
        let characters = rng.fork(STREAM_CHARACTER);
        let shoppers: Vec<Shopper> = (0..config.shoppers)
            .map(|index| Shopper::draw(index, config.days, &mut characters.fork(u64::from(index))))
            .collect();
        let mut town = Self {
            progress: vec![Progress::default(); shoppers.len()],
            truth: empty_truth(config.conversion_factor),
            due: BTreeMap::new(),
            links: BTreeSet::new(),
            config,
            rng,
            catalogue,
            shoppers,
        };
        for index in 0..town.config.shoppers {
            let arrives = town.shoppers[index as usize].arrives_on_day * DAY_MS;
            town.schedule(index, 0, town.config.start.plus(arrives as i64));
        }
        Ok(town)
    }

    /// Returns what the town was built from.
    #[must_use]
    pub fn config(&self) -> &TownConfig {
        &self.config
    }

    /// Returns the catalogue.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Returns the ads that the driver sets up.
    #[must_use]
    pub fn line_items(&self) -> &'static [LineItem] {
        &LINE_ITEMS
    }

    /// Returns who lives here: truth.
    #[must_use]
    pub fn shoppers(&self) -> &[Shopper] {
        &self.shoppers
    }

    /// Returns the identifier of one of a shopper's devices, 0 or 1.
    #[must_use]
    pub fn device(&self, shopper: u32, device: u8) -> String {
        format!("town-{:x}-d{shopper:x}-{device}", self.config.seed)
    }

    /// Returns the log-in name of a shopper, whether it ever signs in or not.
    #[must_use]
    pub fn login(&self, shopper: u32) -> String {
        format!("town-{:x}-u{shopper:x}", self.config.seed)
    }

    /// Returns what comes next, in order of time, or `None` when the last day is over.
    pub fn next_moment(&mut self) -> Option<Moment> {
        let end = self
            .config
            .start
            .plus((f64::from(self.config.days) * DAY_MS) as i64);
        let ((at, shopper, _), due) = self.due.pop_first()?;
        if at >= end {
            self.due.clear();
            return None;
        }
        match due {
            Due::Event(event) => {
                self.count(&event);
                Some(Moment::Event(*event))
            }
            Due::Session => {
                let start = self.open(shopper, at);
                self.truth.sessions += 1;
                start.opening.iter().for_each(|event| self.count(event));
                Some(Moment::Session(start))
            }
        }
    }

    /// Returns what the shopper does with what it was shown, in order of time. Call once per visit.
    ///
    /// What follows days later comes out of [`Self::next_moment`] when it is due.
    pub fn respond(&mut self, start: &SessionStart, served: &Served) -> Vec<TownEvent> {
        let shopper = &self.shoppers[start.shopper as usize];
        let ids = served.recommended.iter().take(RECOMMENDED_MAX);
        let recommended: Vec<usize> = ids.filter_map(|id| self.catalogue.find(id)).collect();
        let ad = LINE_ITEMS
            .iter()
            .position(|line| served.line_item_id.as_deref() == Some(line.id));
        let factor = match served.arm {
            Some(Arm::Treatment) => self.config.conversion_factor,
            Some(Arm::Control) | None => 1.0,
        };
        let rng = self
            .rng
            .fork(u64::from(start.shopper))
            .fork(u64::from(start.number));
        let visit = Visit::new(&self.catalogue, shopper, start, rng, self.config.seed);
        let (events, outcome) =
            visit.live(&recommended, ad.map(|place| &LINE_ITEMS[place]), factor);
        if let Some(order) = events
            .iter()
            .find(|event| matches!(event.body, Body::Purchase { .. }))
        {
            let rng = self.stream(STREAM_AFTERMATH, start);
            let later = follow_ups(
                &self.catalogue,
                shopper,
                start,
                (self.config.seed, rng),
                order,
            );
            for (place, event) in (1u64..).zip(later) {
                let unique = u64::from(start.number) * 8 + place;
                self.due.insert(
                    (event.at, start.shopper, unique),
                    Due::Event(Box::new(event)),
                );
            }
        }
        events.iter().for_each(|event| self.count(event));
        self.tally(start, served.arm, ad, &outcome);
        events
    }

    /// Returns the truth so far.
    #[must_use]
    pub fn truth(&self) -> Truth {
        Truth {
            links: self.links.iter().cloned().collect(),
            ..self.truth.clone()
        }
    }

    fn stream(&self, stream: u64, start: &SessionStart) -> Rng {
        self.rng
            .fork(stream)
            .fork(u64::from(start.shopper))
            .fork(u64::from(start.number))
    }

    /// Decides when a shopper's visit happens, if it has not left by then.
    fn schedule(&mut self, index: u32, number: u32, after: UnixMillis) {
        let shopper = &self.shoppers[index as usize];
        let mut rng = self
            .rng
            .fork(STREAM_SCHEDULE)
            .fork(u64::from(index))
            .fork(u64::from(number));
        let gap_days = rng.exponential(shopper.sessions_per_day);
        if number > 0 && rng.chance(1.0 - libm::exp(-shopper.churn_per_day * gap_days)) {
            return;
        }
        let wished = after.0 as f64 + gap_days * DAY_MS + LOCAL_HOURS * HOUR_MS;
        let hour = (shopper.peak_hour + 2.5 * rng.normal()).rem_euclid(24.0);
        let local = (wished / DAY_MS).floor() * DAY_MS + hour * HOUR_MS + rng.range(0.0, 60_000.0);
        // Moving to the usual hour may fall before the last visit: then it is simply a bit later.
        let soonest = after.0 as f64 + if number > 0 { SESSION_GAP_MS } else { 0.0 };
        let at = (local - LOCAL_HOURS * HOUR_MS).max(soonest + rng.range(0.0, HOUR_MS));
        self.due
            .insert((UnixMillis(at as i64), index, 0), Due::Session);
    }

    fn count(&mut self, event: &TownEvent) {
        *self
            .truth
            .events
            .entry(event.body.event_type())
            .or_default() += 1;
        if let Body::SignIn { login } = &event.body {
            self.links.insert(LinkTruth {
                login: login.clone(),
                device: event.device.clone(),
            });
        }
    }

    fn tally(
        &mut self,
        start: &SessionStart,
        arm: Option<Arm>,
        ad: Option<usize>,
        outcome: &Outcome,
    ) {
        let ordered = u64::from(outcome.ordered);
        if let Some(arm) = arm {
            let truth = match arm {
                Arm::Control => &mut self.truth.control,
                Arm::Treatment => &mut self.truth.treatment,
            };
            truth.sessions += 1;
            truth.orders += ordered;
            truth.expected_orders += outcome.order_probability;
        }
        if let Some(place) = ad {
            let (line_item, shopper) = (&LINE_ITEMS[place], &self.shoppers[start.shopper as usize]);
            let truth = &mut self.truth.line_items[place];
            truth.impressions += 1;
            truth.clicks += u64::from(outcome.clicked_ad);
            truth.expected_clicks += line_item.click_probability(shopper);
            truth.orders += ordered;
            truth.incremental_orders +=
                outcome.order_probability * (1.0 - 1.0 / line_item.conversion_factor);
        }
        if let Some(truth) = self
            .truth
            .channels
            .iter_mut()
            .find(|truth| truth.channel == start.channel)
        {
            truth.sessions += 1;
            truth.orders += ordered;
        }
        self.truth.recommended += outcome.recommended;
        self.truth.recommended_clicks += outcome.recommended_clicks;
    }
}

fn check(config: &TownConfig) -> Result<(), TownError> {
    if !(1..=SHOPPERS_MAX).contains(&config.shoppers) {
        return Err(TownError::Shoppers(config.shoppers));
    }
    if !(1..=DAYS_MAX).contains(&config.days) {
        return Err(TownError::Days(config.days));
    }
    if !FACTOR_BOUNDS.contains(&config.conversion_factor) {
        return Err(TownError::ConversionFactor(config.conversion_factor));
    }
    Ok(())
}

fn empty_truth(conversion_factor: f64) -> Truth {
    let line_item = |line: &LineItem| LineItemTruth {
        id: line.id,
        base_ctr: line.base_ctr,
        conversion_factor: line.conversion_factor,
        impressions: 0,
        clicks: 0,
        expected_clicks: 0.0,
        orders: 0,
        incremental_orders: 0.0,
    };
    let channel = |channel: Channel| ChannelTruth {
        channel,
        conversion_factor: channel.conversion_factor(),
        sessions: 0,
        orders: 0,
    };
    Truth {
        conversion_factor,
        control: ArmTruth::default(),
        treatment: ArmTruth::default(),
        line_items: LINE_ITEMS.iter().map(line_item).collect(),
        channels: Channel::ALL.into_iter().map(channel).collect(),
        links: Vec::new(),
        sessions: 0,
        recommended: 0,
        recommended_clicks: 0,
        events: BTreeMap::new(),
    }
}
