//! What every campaign did.

use std::collections::{BTreeMap, BTreeSet};

use evaluate_domain::campaign::{CampaignActivity, CampaignReport, Tally};
use rapport_types::{Currency, Micros};

use super::daily::saturated;
use super::{CLICK_WINDOW_MS, Collect, Days};
use crate::error::Error;
use crate::projection::{Journey, Order, Shown};

/// Campaigns in one answer, and that measured people meet in one report.
pub const CAMPAIGNS_MAX: usize = 10_000;

/// Campaigns over measured people.
#[derive(Debug, Clone)]
pub struct Campaigns {
    days: Days,
    currency: Option<Currency>,
    tallies: BTreeMap<String, Tally>,
    earned: i128,
}

/// One campaign: impressions, clicks, cost and what follows from them over everybody; conversions,
/// revenue and people over those who may be measured.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignResult {
    /// The campaign.
    pub campaign_id: String,
    /// Its measures.
    pub report: CampaignReport,
    /// Clicks by measured people: what `report.cvr` is a share of.
    pub measured_clicks: u64,
}

impl Campaigns {
    /// Returns no campaigns yet. Revenue in another currency than `currency` is not added up.
    #[must_use]
    pub fn new(days: Days, currency: Option<Currency>) -> Self {
        let tallies = BTreeMap::new();
        Self {
            days,
            currency,
            tallies,
            earned: 0,
        }
    }

    /// Returns what the orders after a click on any campaign brought. Every campaign that was clicked
    /// is credited with all of an order; here the order counts once.
    #[must_use]
    pub fn earned(&self) -> Micros {
        saturated(self.earned)
    }

    /// Returns what a person did with every campaign, and what the credited orders brought.
    fn activity<'a>(&self, person: &'a Journey) -> (BTreeMap<&'a str, CampaignActivity>, i128) {
        let mut earned = 0;
        let mut own: BTreeMap<&str, CampaignActivity> = BTreeMap::new();
        for touch in person.ads() {
            if self.days.covers(rapport_types::UnixMillis(touch.at)) {
                let campaign = own.entry(&touch.campaign).or_default();
                campaign.clicks += u64::from(touch.clicked);
                campaign.impressions += u64::from(!touch.clicked);
            }
        }
        if own.is_empty() && person.ads().next().is_none() {
            return (own, earned);
        }
        let bought = |order: &Order| order.is_purchase && self.days.covers(order.at);
        for order in person.orders().into_iter().filter(bought) {
            let window = order.at.plus(-CLICK_WINDOW_MS).0..=order.at.0;
            let clicks = person.ads().filter(|touch| touch.clicked);
            let clicked: BTreeSet<&str> = clicks
                .filter(|touch| window.contains(&touch.at))
                .map(|touch| touch.campaign.as_str())
                .collect();
            let is_counted = Some(order.currency) == self.currency;
            if is_counted && !clicked.is_empty() {
                earned += i128::from(order.net.0);
            }
            for campaign in clicked {
                let campaign = own.entry(campaign).or_default();
                campaign.conversions += 1;
                if is_counted {
                    campaign.revenue = Micros(campaign.revenue.0.saturating_add(order.net.0));
                }
            }
        }
        (own, earned)
    }

    /// As [`Campaigns::finish`], for an answer that has no pages.
    ///
    /// # Errors
    /// [`Error::ReportTooLarge`] for more than [`CAMPAIGNS_MAX`].
    pub fn finish_whole(
        self,
        shown: &BTreeMap<String, Shown>,
    ) -> Result<Vec<CampaignResult>, Error> {
        let found = self.finish(shown);
        match found.len() > CAMPAIGNS_MAX {
            true => Err(Error::ReportTooLarge("campaigns")),
            false => Ok(found),
        }
    }

    /// Joins what everybody saw with what measured people did, in the order of the ids: as many as
    /// there are in `shown`, and those that measured people met.
    #[must_use]
    pub fn finish(mut self, shown: &BTreeMap<String, Shown>) -> Vec<CampaignResult> {
        for campaign in shown.keys() {
            self.tallies.entry(campaign.clone()).or_default();
        }
        let joined = self.tallies.into_iter().map(|(campaign_id, tally)| {
            let all = shown.get(&campaign_id).copied().unwrap_or_default();
            join(campaign_id, &tally.report(), all)
        });
        joined.collect()
    }
}

impl Collect for Campaigns {
    fn take(&mut self, person: &Journey) -> Result<(), Error> {
        let (own, earned) = self.activity(person);
        self.earned += earned;
        for (campaign, activity) in own {
            if !self.tallies.contains_key(campaign) {
                if self.tallies.len() == CAMPAIGNS_MAX {
                    return Err(Error::ReportTooLarge("campaigns"));
                }
                self.tallies.insert(campaign.to_owned(), Tally::default());
            }
            if let Some(tally) = self.tallies.get_mut(campaign) {
                tally.push(&activity);
            }
        }
        Ok(())
    }
}

fn join(campaign_id: String, people: &CampaignReport, all: Shown) -> CampaignResult {
    let mut everybody = Tally::default();
    everybody.push(&CampaignActivity {
        impressions: all.impressions,
        clicks: all.clicks,
        cost: Micros(all.cost.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64),
        ..people.totals
    });
    CampaignResult {
        campaign_id,
        measured_clicks: people.totals.clicks,
        report: CampaignReport {
            people_reached: people.people_reached,
            people_clicked: people.people_clicked,
            people_converted: people.people_converted,
            people_ctr: people.people_ctr,
            people_cvr: people.people_cvr,
            // Of everybody's clicks it would fall with every person who may not be measured.
            cvr: people.cvr,
            ..everybody.report()
        },
    }
}
