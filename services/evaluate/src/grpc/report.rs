//! `ReportService`: campaigns, attribution, the days, the page.

use std::sync::Arc;

use evaluate_domain::activity::Day;
use evaluate_domain::attribution::Model;
use evaluate_domain::report::{Language, REPORT_DAYS_MAX, render};
use rapport_api::evaluate::v1 as pb;
use rapport_api::evaluate::v1::report_service_server::ReportService;
use rapport_rpc::Fields;
use rapport_types::{Clock, Currency};
use tonic::{Request, Response, Status};

use super::parse::period;
use crate::directory::Directory;
use crate::error::Error;
use crate::report::DAY_MS;
use crate::report::campaigns::{CampaignResult, Campaigns};
use crate::report::credit::{Credit, Credits};
use crate::report::daily::{Activity, DayResult, saturated};
use crate::report::page::{Heading, Page};
use crate::store::experiment::{self as store, Experiment, RUNNING, STOPPED};
use crate::view::{Reader, ShopTotals};

/// Longest heading, in characters.
const TITLE_CHARS_MAX: usize = 64;
/// The heading unless one is asked for.
const TITLE: &str = "Rapport";
/// Experiments read for one page, of each state.
const EXPERIMENTS_MAX: u32 = 100;

/// The service.
#[derive(Debug, Clone)]
pub struct ReportApi {
    /// What happened.
    pub reader: Reader,
    /// The experiments.
    pub directory: Directory,
    /// Ends open periods.
    pub clock: Arc<dyn Clock>,
}

#[tonic::async_trait]
impl ReportService for ReportApi {
    async fn evaluate_campaigns(
        &self,
        request: Request<pb::EvaluateCampaignsRequest>,
    ) -> Result<Response<pb::EvaluateCampaignsResponse>, Status> {
        Ok(Response::new(self.campaigns(request.into_inner()).await?))
    }

    async fn attribute_conversions(
        &self,
        request: Request<pb::AttributeConversionsRequest>,
    ) -> Result<Response<pb::AttributeConversionsResponse>, Status> {
        Ok(Response::new(self.credits(request.into_inner()).await?))
    }

    async fn get_daily_series(
        &self,
        request: Request<pb::GetDailySeriesRequest>,
    ) -> Result<Response<pb::GetDailySeriesResponse>, Status> {
        Ok(Response::new(self.series(request.into_inner()).await?))
    }

    async fn render_report(
        &self,
        request: Request<pb::RenderReportRequest>,
    ) -> Result<Response<pb::RenderReportResponse>, Status> {
        Ok(Response::new(self.page(request.into_inner()).await?))
    }
}

impl ReportApi {
    async fn campaigns(
        &self,
        raw: pb::EvaluateCampaignsRequest,
    ) -> Result<pb::EvaluateCampaignsResponse, Error> {
        let mut fields = Fields::default();
        let days = period(&mut fields, raw.period, self.clock.now());
        let days = fields.finish(days)?;
        let counted = self.reader.run(move |view| async move {
            let totals = view.totals(days).await?;
            let currency = totals.main_currency();
            let (found, version) = view.people(|| Campaigns::new(days, currency)).await?;
            let found = found.finish_whole(&totals.campaigns)?;
            Ok((found, totals.decisions_missing, currency, version))
        });
        let (found, decisions_missing, currency, graph_version) = counted.await?;
        Ok(pb::EvaluateCampaignsResponse {
            campaigns: found.into_iter().map(to_campaign).collect(),
            decisions_missing,
            graph_version,
            events_behind: self.reader.events_behind(),
            currency: to_code(currency),
        })
    }

    async fn credits(
        &self,
        raw: pb::AttributeConversionsRequest,
    ) -> Result<pb::AttributeConversionsResponse, Error> {
        let mut fields = Fields::default();
        let days = period(&mut fields, raw.period, self.clock.now());
        let model = match raw.model() {
            pb::AttributionModel::First => Model::First,
            pb::AttributionModel::Last => Model::Last,
            pb::AttributionModel::Linear => Model::Linear,
            pb::AttributionModel::Unspecified => {
                fields.refuse("model", "is required");
                Model::Last
            }
        };
        let (days, model) = fields.finish((days, model))?;
        let counted = self.reader.run(move |view| async move {
            let currency = view.totals(days).await?.main_currency();
            let (found, version) = view.people(|| Credits::new(days, currency)).await?;
            Ok((found.by(model)?, found.unattributed(), currency, version))
        });
        let (credits, unattributed, currency, graph_version) = counted.await?;
        Ok(pb::AttributeConversionsResponse {
            credits: credits.into_iter().map(to_credit).collect(),
            unattributed,
            graph_version,
            events_behind: self.reader.events_behind(),
            currency: to_code(currency),
        })
    }

    async fn series(
        &self,
        raw: pb::GetDailySeriesRequest,
    ) -> Result<pb::GetDailySeriesResponse, Error> {
        let mut fields = Fields::default();
        let days = period(&mut fields, raw.period, self.clock.now());
        let days = fields.finish(days)?;
        let counted = self.reader.run(move |view| async move {
            let totals = view.totals(days).await?;
            let (found, version) = view.people(|| Activity::new(days)).await?;
            let series = found.series(&totals, totals.main_currency());
            Ok((series, to_totals(&totals), version))
        });
        let (series, totals, graph_version) = counted.await?;
        Ok(pb::GetDailySeriesResponse {
            days: series.into_iter().map(to_day).collect(),
            totals,
            graph_version,
            events_behind: self.reader.events_behind(),
        })
    }

    async fn page(&self, raw: pb::RenderReportRequest) -> Result<pb::RenderReportResponse, Error> {
        let mut fields = Fields::default();
        let now = self.clock.now();
        let days = period(&mut fields, raw.period, now);
        fields.optional_text("title", &raw.title, TITLE_CHARS_MAX);
        let language = match pb::ReportLanguage::try_from(raw.language) {
            Ok(pb::ReportLanguage::Unspecified | pb::ReportLanguage::En) => Language::English,
            Ok(pb::ReportLanguage::Zh) => Language::Chinese,
            Err(_) => {
                fields.refuse("language", "is not known");
                Language::English
            }
        };
        let (days, language) = fields.finish((days, language))?;
        let experiments = self.experiments().await?;
        let shop = match raw.title.as_str() {
            "" => TITLE.to_owned(),
            title => title.to_owned(),
        };
        let today = Day::of(now);
        let metric = match language {
            Language::English => "conversion",
            Language::Chinese => "转化",
        };
        let html = self.reader.run(move |view| async move {
            let mut totals = view.totals(days).await?;
            // Active people are those up to the last day with money: an import may end long ago.
            let newest = totals.money.last_key_value().map(|(day, _)| Day(*day));
            let as_of = newest.unwrap_or(days.last.min(today));
            // No more days are drawn: every other figure is of the same ones.
            let drawn = newest.map_or(days, |newest| days.newest(newest, REPORT_DAYS_MAX));
            if drawn != days {
                totals = view.totals(drawn).await?;
            }
            let days = drawn;
            let currency = totals.main_currency();
            let heading = Heading {
                shop,
                today,
                currency,
                metric,
            };
            let page = || Page::new(days, as_of, currency, &experiments);
            let (page, _) = view.people(page).await?;
            Ok(render(&page.finish(&totals, heading)?, language))
        });
        Ok(pb::RenderReportResponse { html: html.await? })
    }

    /// Returns the experiments that have something to show.
    async fn experiments(&self) -> Result<Vec<Experiment>, Error> {
        let db = self.directory.db();
        let mut found = store::list(db, RUNNING, "", EXPERIMENTS_MAX).await?;
        found.extend(store::list(db, STOPPED, "", EXPERIMENTS_MAX).await?);
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

fn to_campaign(found: CampaignResult) -> pb::CampaignResult {
    let CampaignResult {
        campaign_id,
        report,
        measured_clicks,
    } = found;
    let totals = report.totals;
    pb::CampaignResult {
        campaign_id,
        impressions: totals.impressions,
        clicks: totals.clicks,
        conversions: totals.conversions,
        cost_micros: totals.cost.0,
        revenue_micros: totals.revenue.0,
        ctr: report.ctr.map(|rate| rate.value),
        cvr: report.cvr.map(|rate| rate.value),
        roi: report.roi_ppm.map(|millionths| millionths as f64 / 1e6),
        ctr_low: report.ctr.map(|rate| rate.interval.low),
        ctr_high: report.ctr.map(|rate| rate.interval.high),
        measured_clicks,
        people_reached: report.people_reached,
        cvr_low: report.cvr.map(|rate| rate.interval.low),
        cvr_high: report.cvr.map(|rate| rate.interval.high),
    }
}

fn to_credit(credit: Credit) -> pb::Credit {
    pb::Credit {
        touch: credit.channel,
        conversions: credit.conversions,
        value_micros: credit.value.0,
    }
}

fn to_day(day: DayResult) -> pb::Day {
    pb::Day {
        starts_at_ms: i64::from(day.day.0) * DAY_MS,
        active: day.active,
        orders: day.orders,
        revenue_micros: day.revenue.0,
    }
}

fn to_totals(totals: &ShopTotals) -> Vec<pb::CurrencyTotal> {
    let sums = totals.by_currency().into_iter();
    let total = |(code, money): (Currency, crate::projection::DayMoney)| pb::CurrencyTotal {
        currency: code.as_str().to_owned(),
        purchases_micros: saturated(money.purchases).0,
        refunds_micros: saturated(money.refunds).0,
        adjustments_micros: saturated(money.adjustments).0,
    };
    sums.map(total).collect()
}

fn to_code(currency: Option<Currency>) -> String {
    currency.map_or_else(String::new, |code| code.as_str().to_owned())
}
