//! What preceded conversions.

use std::collections::BTreeMap;

use evaluate_domain::attribution::{
    self, Attribution, JourneyError, Journeys as Paths, Model, Touch, journeys_of,
};
use rapport_types::{Currency, Micros, UnixMillis};

use super::{CLICK_WINDOW_MS, Collect, Days, VIEW_WINDOW_MS};
use crate::error::Error;
use crate::projection::{Journey, Order};

/// The channel of recommendations. Ads go by their campaign.
pub const RECOMMEND: &str = "recommend";

/// Journeys of measured people that ended in a period.
#[derive(Debug, Clone)]
pub struct Credits {
    days: Days,
    currency: Option<Currency>,
    paths: Paths,
    unattributed: u64,
}

/// What one channel is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Credit {
    /// The campaign, or [`RECOMMEND`].
    pub channel: String,
    /// Conversions.
    pub conversions: f64,
    /// Money. Credits add up to what the credited orders brought, to the millionth.
    pub value: Micros,
}

impl Credits {
    /// Returns no journeys yet. Orders in another currency than `currency` are worth nothing here.
    #[must_use]
    pub fn new(days: Days, currency: Option<Currency>) -> Self {
        Self {
            days,
            currency,
            paths: Paths::default(),
            unattributed: 0,
        }
    }

    /// Returns the conversions without any touch.
    #[must_use]
    pub fn unattributed(&self) -> u64 {
        self.unattributed
    }

    /// Returns the credit of every channel, in the order of their names.
    ///
    /// # Errors
    /// [`Error::ReportTooLarge`] when the model cannot solve that many channels.
    pub fn by(&self, model: Model) -> Result<Vec<Credit>, Error> {
        let given = self.attribution(model)?;
        let mut credits: Vec<Credit> = given
            .credit
            .iter()
            .map(|(channel, conversions)| Credit {
                channel: channel.clone(),
                conversions: *conversions,
                value: Micros(micros(
                    given.value_credit.get(channel).copied().unwrap_or(0.0),
                )),
            })
            .collect();
        // Shares are rounded one by one; the largest takes what that left over.
        let given: i64 = credits.iter().map(|credit| credit.value.0).sum();
        let left = micros(self.paths.value()).saturating_sub(given);
        let largest = credits
            .iter_mut()
            .min_by_key(|credit| std::cmp::Reverse(credit.value));
        if let Some(largest) = largest {
            largest.value.0 = largest.value.0.saturating_add(left);
        }
        Ok(credits)
    }

    /// Returns the conversions of every channel, as the report draws them.
    ///
    /// # Errors
    /// As [`Credits::by`].
    pub fn conversions(&self, model: Model) -> Result<BTreeMap<String, f64>, Error> {
        Ok(self.attribution(model)?.credit)
    }

    fn attribution(&self, model: Model) -> Result<Attribution, Error> {
        attribution::attribute(&self.paths, model).map_err(too_large)
    }
}

impl Collect for Credits {
    fn take(&mut self, person: &Journey) -> Result<(), Error> {
        let orders: Vec<Order> = person.orders();
        let bought = || orders.iter().filter(|order| order.is_purchase);
        // What an order before the period used up, what was too old for any order in it, and what came
        // after it, is not asked for.
        let used = bought()
            .map(|order| order.at)
            .rfind(|at| at.0 < start_of(self.days));
        let oldest = start_of(self.days).saturating_sub(CLICK_WINDOW_MS);
        let asked = |at: UnixMillis| {
            used.is_none_or(|used| at > used) && at.0 >= oldest && !self.is_after(at)
        };
        let led_to_order = |at: i64| {
            let within = |order: &Order| (0..=VIEW_WINDOW_MS).contains(&(order.at.0 - at));
            bought().any(within)
        };
        let ads = person
            .ads()
            .filter(|touch| touch.clicked || led_to_order(touch.at))
            .map(|touch| (UnixMillis(touch.at), touch.campaign.as_str()));
        let chosen = person.recommendation_clicks().map(|at| (at, RECOMMEND));
        let touches = ads.chain(chosen).filter(|(at, _)| asked(*at));
        let touches = touches.map(|(at, channel)| Touch {
            at,
            channel: channel.to_owned(),
        });
        let conversions = bought().filter(|order| self.days.covers(order.at));
        let conversions = conversions.map(|order| match Some(order.currency) == self.currency {
            true => (order.at, order.net),
            false => (order.at, Micros::ZERO),
        });
        let (touches, conversions) = (touches.collect(), conversions.collect());
        self.unattributed += journeys_of(&mut self.paths, touches, conversions, CLICK_WINDOW_MS)
            .map_err(too_large)?;
        Ok(())
    }
}

impl Credits {
    fn is_after(&self, at: UnixMillis) -> bool {
        evaluate_domain::activity::Day::of(at) > self.days.last
    }
}

fn start_of(days: Days) -> i64 {
    i64::from(days.first.0).saturating_mul(super::DAY_MS)
}

fn micros(units: f64) -> i64 {
    (units * 1e6).round() as i64
}

fn too_large(error: JourneyError) -> Error {
    match error {
        JourneyError::TooManyChannels => Error::ReportTooLarge("campaigns"),
        JourneyError::TooManyPaths => Error::ReportTooLarge("paths"),
        JourneyError::TooManyStates { .. } => Error::ReportTooLarge("states"),
        JourneyError::Steps(_)
        | JourneyError::Channel(_)
        | JourneyError::Value
        | JourneyError::Order(_) => Error::Internal("a journey was refused"),
    }
}
