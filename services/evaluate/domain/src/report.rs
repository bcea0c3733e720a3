//! The report: one self-contained HTML page with inline SVG charts, no script, no font, no network.
//! Pure text out of numbers; what the numbers mean is computed in the other modules.

mod bars;
mod charts;
mod format;
mod page;
mod svg;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;

use rapport_types::Micros;

use crate::activity::{ActivePeople, Day};
use crate::attribution::Model;
use crate::campaign::CampaignReport;
use crate::experiment::ArmAnalysis;

/// Most days drawn; of more, the newest.
pub const REPORT_DAYS_MAX: usize = 400;
/// Most rows of the experiment, campaign and funnel sections; of more, the first.
pub const REPORT_ROWS_MAX: usize = 100;
/// Most channels drawn apart; the rest are one.
pub const REPORT_CHANNELS_MAX: usize = 8;

/// The language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// British English.
    English,
    /// Simplified Chinese.
    Chinese,
}

/// Everything a report shows. Empty parts are said to be empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Whose report it is.
    pub shop: String,
    /// First and last day, both included.
    pub period: (Day, Day),
    /// ISO 4217 code of all money.
    pub currency: String,
    /// Days in time order.
    pub daily: Vec<DailyPoint>,
    /// Active people up to the last day.
    pub active: ActivePeople,
    /// Steps towards a purchase, the widest first.
    pub funnel: Vec<FunnelStep>,
    /// Campaigns in the order to show.
    pub campaigns: Vec<CampaignRow>,
    /// What the orders behind the campaigns' revenue brought, each counted once: two campaigns may both
    /// be credited with one order.
    pub ad_revenue: Micros,
    /// Experiments in the order to show.
    pub experiments: Vec<ExperimentRow>,
    /// Credit per model, in the order to show.
    pub attribution: Vec<CreditRow>,
    /// Whether there is no attribution because there were too many channels or paths for it.
    pub attribution_refused: bool,
    /// Decisions that were made and never reached the log.
    pub decisions_missing: u64,
}

/// One day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DailyPoint {
    /// The day, in UTC.
    pub day: Day,
    /// Net revenue.
    pub revenue: Micros,
    /// People who did something.
    pub active_people: u64,
    /// Orders.
    pub orders: u64,
}

/// One step of the funnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunnelStep {
    /// Name; `visit, view, click, cart, checkout, purchase` are translated, others shown as given.
    pub name: String,
    /// People who got that far.
    pub people: u64,
}

/// One campaign.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignRow {
    /// Name.
    pub name: String,
    /// Its measures.
    pub report: CampaignReport,
}

/// One treated arm of one experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentRow {
    /// Key of the experiment.
    pub experiment: String,
    /// The metric it is judged by.
    pub metric: String,
    /// People in the control arm and in the treated one.
    pub people: (u64, u64),
    /// What was found.
    pub analysis: ArmAnalysis,
    /// The true effect, where a simulation knows it, in the metric's unit.
    pub truth: Option<f64>,
}

/// The credit that one model gives.
#[derive(Debug, Clone, PartialEq)]
pub struct CreditRow {
    /// The model.
    pub model: Model,
    /// Channel to conversions.
    pub credit: BTreeMap<String, f64>,
}

/// Renders the page. The same report gives the same bytes; every text of the caller is escaped.
/// Cost: linear in the rows, which are limited.
#[must_use]
pub fn render(report: &Report, language: Language) -> String {
    page::render(report, words::of(language), language)
}
