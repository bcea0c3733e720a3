//! What evaluation measured, beside the truth of the town, and the report.

use std::path::Path;

use rapport_api::evaluate::v1 as evaluate;
use rapport_api::evaluate::v1::experiment_service_client::ExperimentServiceClient;
use rapport_api::evaluate::v1::report_service_client::ReportServiceClient;
use rapport_town::Town;
use rapport_types::Micros;

use super::{failed, heading};
use crate::demo::setup::EXPERIMENT;
use crate::failure::Failure;
use crate::output::line;
use crate::peers::Peers;

pub(super) async fn show_measures(peers: &Peers, town: &Town) -> Result<(), Failure> {
    heading("What was measured, beside the truth that the town knows");
    let truth = town.truth();
    let request = evaluate::AnalyzeExperimentRequest {
        key: EXPERIMENT.to_owned(),
        metric: evaluate::Metric::Conversion as i32,
    };
    let mut client = ExperimentServiceClient::new(peers.evaluate.clone());
    let analysis = client
        .analyze_experiment(request)
        .await
        .map_err(failed("analysis"))?
        .into_inner();
    for arm in &analysis.arms {
        let effect = match (arm.effect, arm.ci_low, arm.ci_high) {
            (Some(effect), Some(low), Some(high)) => {
                format!("effect {effect:+.3} [{low:+.3}, {high:+.3}]")
            }
            _ => "control".to_owned(),
        };
        line(&format!(
            "  {:<10} {:>5} persons, {:>5.1} % bought, {effect}",
            arm.variant,
            arm.persons,
            arm.mean * 100.0
        ));
    }
    line(&format!(
        "  verdict {}, sample ratio p = {:.3}; truth: the treatment makes an order in a visit {:.2} times as likely",
        analysis.verdict, analysis.srm_p, truth.conversion_factor
    ));
    let request = evaluate::EvaluateCampaignsRequest { period: None };
    let mut client = ReportServiceClient::new(peers.evaluate.clone());
    let campaigns = client
        .evaluate_campaigns(request)
        .await
        .map_err(failed("campaigns"))?
        .into_inner();
    for one in &campaigns.campaigns {
        let own = town.line_items().iter().zip(&truth.line_items);
        let own = own
            .filter(|(item, _)| item.campaign_id == one.campaign_id)
            .map(|(_, truth)| truth);
        let (seen, expected) = own.fold((0, 0.0), |(seen, expected), item| {
            (seen + item.impressions, expected + item.expected_clicks)
        });
        let percent = |share: Option<f64>| {
            share.map_or("–".to_owned(), |share| format!("{:.2} %", share * 100.0))
        };
        line(&format!(
            "  {:<14} {:>6} impressions, click rate {} [{}, {}], truly {}; cost {} CNY, return {}",
            one.campaign_id,
            one.impressions,
            percent(one.ctr),
            percent(one.ctr_low),
            percent(one.ctr_high),
            percent((seen > 0).then(|| expected / seen as f64)),
            Micros(one.cost_micros),
            one.roi.map_or("–".to_owned(), |roi| format!("{roi:+.2}"))
        ));
    }
    line(&format!(
        "  decisions that never reached the log: {}",
        campaigns.decisions_missing
    ));
    Ok(())
}

pub(super) async fn write_reports(peers: &Peers, folder: &Path) -> Result<(), Failure> {
    heading("The report");
    std::fs::create_dir_all(folder)?;
    let mut client = ReportServiceClient::new(peers.evaluate.clone());
    for (language, name) in [
        (evaluate::ReportLanguage::En, "report-en.html"),
        (evaluate::ReportLanguage::Zh, "report-zh.html"),
    ] {
        let request = evaluate::RenderReportRequest {
            period: None,
            language: language as i32,
            ..Default::default()
        };
        let html = client
            .render_report(request)
            .await
            .map_err(failed("report"))?
            .into_inner()
            .html;
        let path = folder.join(name);
        std::fs::write(&path, html)?;
        line(&format!("written: {}", path.display()));
    }
    Ok(())
}
