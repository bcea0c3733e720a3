//! The report page: everything else, counted in one pass.

use evaluate_domain::activity::{ActivePeople, Day};
use evaluate_domain::attribution::Model;
use evaluate_domain::report::{
    CampaignRow, CreditRow, DailyPoint, ExperimentRow, FunnelStep, REPORT_DAYS_MAX,
    REPORT_ROWS_MAX, Report,
};
use rapport_types::Currency;

use super::campaigns::Campaigns;
use super::credit::Credits;
use super::daily::{Active, Activity};
use super::trial::{Metric, Trial};
use super::{Collect, Days};
use crate::error::Error;
use crate::projection::Journey;
use crate::store::experiment::Experiment;
use crate::view::ShopTotals;

/// The models that are drawn side by side.
const MODELS: [Model; 5] = [
    Model::First,
    Model::Last,
    Model::Linear,
    Model::Markov { order: 1 },
    Model::Shapley,
];

/// A page being counted.
#[derive(Debug, Clone)]
pub struct Page {
    activity: Activity,
    active: Active,
    campaigns: Campaigns,
    /// `None` once there were more channels or paths than are told apart: the page goes without.
    credits: Option<Credits>,
    trials: Vec<(String, Trial)>,
}

/// What a page says beside its numbers.
#[derive(Debug, Clone)]
pub struct Heading {
    /// Whose report it is.
    pub shop: String,
    /// The day to show when nothing happened.
    pub today: Day,
    /// The currency of all money.
    pub currency: Option<Currency>,
    /// What the experiments are judged by, in the page's language.
    pub metric: &'static str,
}

impl Page {
    /// Returns a page without people. `as_of` is the day up to which people are active.
    #[must_use]
    pub fn new(
        days: Days,
        as_of: Day,
        currency: Option<Currency>,
        experiments: &[Experiment],
    ) -> Self {
        let trial = |experiment: &Experiment| {
            let trial = Trial::new(experiment.clone(), Metric::Conversion, currency);
            (experiment.key.clone(), trial)
        };
        Self {
            activity: Activity::new(days),
            active: Active {
                as_of,
                people: ActivePeople::default(),
            },
            campaigns: Campaigns::new(days, currency),
            credits: Some(Credits::new(days, currency)),
            trials: experiments
                .iter()
                .take(REPORT_ROWS_MAX)
                .map(trial)
                .collect(),
        }
    }

    /// Joins people and totals.
    ///
    /// # Errors
    /// [`Error::Internal`] for an experiment that cannot be analysed.
    pub fn finish(self, totals: &ShopTotals, heading: Heading) -> Result<Report, Error> {
        let mut daily = self.activity.series(totals, heading.currency);
        daily.drain(..daily.len().saturating_sub(REPORT_DAYS_MAX));
        let today = (heading.today, heading.today);
        let period = daily.first().zip(daily.last());
        let point = |day: &super::daily::DayResult| DailyPoint {
            day: day.day,
            revenue: day.revenue,
            active_people: day.active,
            orders: day.orders,
        };
        let mut experiments = Vec::new();
        for (key, trial) in self.trials {
            experiments.extend(experiment_rows(&key, heading.metric, trial)?);
        }
        let ad_revenue = self.campaigns.earned();
        let campaigns = self.campaigns.finish(&totals.campaigns).into_iter();
        let mut attribution = Vec::new();
        for model in MODELS {
            // Markov and Shapley have limits of their own; the page goes without what they refuse.
            let credit = self.credits.as_ref().map(|found| found.conversions(model));
            if let Some(Ok(credit)) = credit {
                attribution.push(CreditRow { model, credit });
            }
        }
        Ok(Report {
            shop: heading.shop,
            period: period.map_or(today, |(first, last)| (first.day, last.day)),
            currency: heading
                .currency
                .map_or_else(String::new, |code| code.as_str().to_owned()),
            daily: daily.iter().map(point).collect(),
            active: self.active.people,
            funnel: self
                .activity
                .funnel()
                .map(|(name, people)| FunnelStep {
                    name: name.to_owned(),
                    people,
                })
                .collect(),
            campaigns: campaigns
                .map(|found| CampaignRow {
                    name: found.campaign_id,
                    report: found.report,
                })
                .collect(),
            ad_revenue,
            experiments,
            attribution,
            attribution_refused: self.credits.is_none(),
            decisions_missing: totals.decisions_missing,
        })
    }
}

impl Collect for Page {
    fn take(&mut self, person: &Journey) -> Result<(), Error> {
        self.activity.take(person)?;
        self.active.take(person)?;
        self.campaigns.take(person)?;
        if let Some(credits) = &mut self.credits {
            match credits.take(person) {
                Err(Error::ReportTooLarge(_)) => self.credits = None,
                taken => taken?,
            }
        }
        for (_, trial) in &mut self.trials {
            trial.take(person)?;
        }
        Ok(())
    }
}

fn experiment_rows(key: &str, metric: &str, trial: Trial) -> Result<Vec<ExperimentRow>, Error> {
    let found = trial.finish()?;
    let sizes: Vec<u64> = found.arms.iter().map(|arm| arm.units.x().count()).collect();
    let control = sizes.first().copied().unwrap_or(0);
    let treated = found.treated.into_iter().zip(sizes.into_iter().skip(1));
    let rows = treated.map(|(analysis, size)| ExperimentRow {
        experiment: key.to_owned(),
        metric: metric.to_owned(),
        people: (control, size),
        analysis,
        truth: None,
    });
    Ok(rows.collect())
}
