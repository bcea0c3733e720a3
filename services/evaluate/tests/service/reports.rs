//! Reports from a live log, by numbers worked by hand.

use rapport_api::evaluate::v1::{
    AttributeConversionsRequest, AttributionModel, EvaluateCampaignsRequest,
    EvaluateCampaignsResponse, GetDailySeriesRequest, GetDailySeriesResponse, Period,
    RenderReportRequest, ReportLanguage,
};
use rapport_api::event::v1::{
    AdDecided, DecisionCheckpoint, DecisionHeader, LedgerAdjustment, StockAdjustment,
};
use rapport_api::r#type::v1::ConsentState::{Granted, Revoked};
use rapport_store::testing::Engine;
use tonic::Code;

use crate::support::{
    DAY_MS, Ground, NOW, World, click, event, fields, impression, purchase, purchase_in, reason,
    recommendation, refund, selection, subject,
};

/// The first instant of the day on which the tests stand.
const TODAY: i64 = 20_000 * DAY_MS;

async fn series(world: &mut World, period: Option<Period>) -> GetDailySeriesResponse {
    world.settle().await;
    let request = GetDailySeriesRequest { period };
    world
        .reports
        .get_daily_series(request)
        .await
        .unwrap()
        .into_inner()
}

async fn campaigns(world: &mut World) -> EvaluateCampaignsResponse {
    world.settle().await;
    let request = EvaluateCampaignsRequest::default();
    world
        .reports
        .evaluate_campaigns(request)
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn money_is_counted_over_everybody_and_activity_over_the_measured() {
    let mut world = World::embedded().await;
    let (measured, private) = (subject(1), subject(2));
    world.consent(&[measured], Granted);
    world.event(Some(measured), purchase(NOW, "a", 1_000));
    world.event(Some(measured), purchase(NOW, "a", 250));
    world.event(Some(private), purchase(NOW - 2 * DAY_MS, "b", 3_000));
    world.event(None, purchase(NOW, "c", 499));
    world.event(Some(private), refund(NOW, "b", 1_000));
    world.event(None, purchase_in("USD", NOW, "d", 100));
    let adjustment = LedgerAdjustment {
        amount_micros: -1_230_000,
        currency: "GBP".to_owned(),
        ..LedgerAdjustment::default()
    };
    world.event(None, event("ledger_adjustment", NOW, &adjustment));
    let stock = StockAdjustment {
        quantity: -5,
        ..StockAdjustment::default()
    };
    world.event(None, event("stock_adjustment", NOW, &stock));
    let found = series(&mut world, None).await;
    let days: Vec<_> = found
        .days
        .iter()
        .map(|day| (day.starts_at_ms, day.active, day.orders, day.revenue_micros))
        .collect();
    let expected = [
        (TODAY - 2 * DAY_MS, 0, 1, 30_000_000),
        (TODAY - DAY_MS, 0, 0, 0),
        (TODAY, 1, 3, 17_490_000 - 10_000_000 - 1_230_000),
    ];
    assert_eq!(days, expected);
    let totals: Vec<_> = found
        .totals
        .iter()
        .map(|sum| {
            (
                sum.currency.as_str(),
                sum.purchases_micros,
                sum.refunds_micros,
                sum.adjustments_micros,
            )
        })
        .collect();
    let expected = [
        ("GBP", 47_490_000, 10_000_000, -1_230_000),
        ("USD", 1_000_000, 0, 0),
    ];
    assert_eq!(totals, expected);
    world.consent(&[measured], Revoked);
    let after = series(&mut world, None).await;
    assert_eq!(after.totals, found.totals, "money needs nobody's consent");
    assert!(after.days.iter().all(|day| day.active == 0));
    let period = Some(Period {
        from_ms: TODAY - 3 * DAY_MS,
        to_ms: TODAY - 2 * DAY_MS + 1,
    });
    let past = series(&mut world, period).await;
    assert_eq!(
        (past.days.len(), past.totals[0].purchases_micros),
        (1, 30_000_000)
    );
}

/// On both engines, as the ways of reading states differ.
async fn a_campaign_by_hand(engine: Engine) {
    let mut world = Ground::new(engine).await.start().await;
    let (phone, laptop, private) = (subject(1), subject(2), subject(3));
    world.consent(&[phone, laptop], Granted);
    world.link(&[phone, laptop], 1);
    for _ in 0..4 {
        world.event(Some(phone), impression(NOW - 6 * DAY_MS, "spring"));
        world.event(None, impression(NOW - 6 * DAY_MS, "spring"));
    }
    world.event(Some(phone), click(NOW - 6 * DAY_MS, "spring"));
    world.event(Some(private), click(NOW - 6 * DAY_MS, "spring"));
    // Clicked on the phone, bought on the laptop; the private person's order is nobody's.
    world.event(Some(laptop), purchase(NOW, "a", 1_800));
    world.event(Some(laptop), refund(NOW + 1, "a", 300));
    world.event(Some(private), purchase(NOW, "b", 9_900));
    let decided = |number: u64| {
        let header = DecisionHeader {
            replica: "ads-1".to_owned(),
            number,
            ..Default::default()
        };
        let decided = AdDecided {
            header: Some(header),
            ..Default::default()
        };
        event("ad_decided", NOW, &decided)
    };
    let told = DecisionCheckpoint {
        service: "ads".to_owned(),
        replica: "ads-1".to_owned(),
        number: 5,
        ..DecisionCheckpoint::default()
    };
    world.event(Some(phone), decided(1));
    world.event(None, decided(3));
    world.event(None, event("decision_checkpoint", NOW, &told));
    let found = campaigns(&mut world).await;
    assert_eq!(found.decisions_missing, 3);
    assert_eq!((found.graph_version, found.currency.as_str()), (1, "GBP"));
    assert_eq!(found.campaigns.len(), 1);
    let spring = &found.campaigns[0];
    assert_eq!(
        (spring.impressions, spring.clicks, spring.measured_clicks),
        (8, 2, 1)
    );
    assert_eq!((spring.conversions, spring.people_reached), (1, 1));
    assert_eq!(
        (spring.cost_micros, spring.revenue_micros),
        (1_800_000, 15_000_000)
    );
    assert_eq!((spring.ctr, spring.cvr), (Some(0.25), Some(1.0)));
    assert_eq!(spring.roi, Some(7.333_333), "(15 - 1.8) / 1.8");
    // Wilson's interval of 2 of 8: (0.25 + z²/16 ± z √(0.1875/8 + z²/256)) / (1 + z²/8), z = 1.959964.
    let (low, high) = (spring.ctr_low.unwrap(), spring.ctr_high.unwrap());
    assert!(
        (low - 0.0715).abs() < 1e-4 && (high - 0.5907).abs() < 1e-4,
        "{low} {high}"
    );
    // A month later nobody had clicked within a week.
    let period = Some(Period {
        from_ms: NOW + 30 * DAY_MS,
        to_ms: NOW + 31 * DAY_MS,
    });
    let later = EvaluateCampaignsRequest { period };
    let later = world
        .reports
        .evaluate_campaigns(later)
        .await
        .unwrap()
        .into_inner();
    assert!(later.campaigns.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn a_campaign_by_hand_on_sqlite() {
    a_campaign_by_hand(Engine::Sqlite).await;
}

#[tokio::test]
async fn a_campaign_by_hand_on_postgres() {
    a_campaign_by_hand(Engine::Postgres).await;
}

#[tokio::test]
async fn conversions_are_shared_by_the_model_asked_for() {
    let mut world = World::embedded().await;
    let (phone, laptop, other) = (subject(1), subject(2), subject(3));
    world.consent(&[phone, laptop, other], Granted);
    world.link(&[phone, laptop], 1);
    world.event(Some(phone), recommendation(NOW - 3 * DAY_MS, 9, None));
    world.event(Some(laptop), click(NOW - 2 * DAY_MS, "spring"));
    world.event(Some(phone), selection(NOW - DAY_MS, 9));
    world.event(Some(laptop), purchase(NOW, "a", 2_000));
    world.event(Some(other), purchase(NOW, "b", 2_000));
    world.settle().await;
    let credits = async |world: &mut World, model: AttributionModel| {
        let request = AttributeConversionsRequest {
            model: model.into(),
            period: None,
        };
        let found = world
            .reports
            .attribute_conversions(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!((found.unattributed, found.currency.as_str()), (1, "GBP"));
        let credits = found.credits.into_iter();
        credits
            .map(|credit| (credit.touch, credit.conversions, credit.value_micros))
            .collect::<Vec<_>>()
    };
    let row = |touch: &str, conversions: f64, value: i64| (touch.to_owned(), conversions, value);
    let first = [row("recommend", 0.0, 0), row("spring", 1.0, 20_000_000)];
    assert_eq!(credits(&mut world, AttributionModel::First).await, first);
    let last = [row("recommend", 1.0, 20_000_000), row("spring", 0.0, 0)];
    assert_eq!(credits(&mut world, AttributionModel::Last).await, last);
    let linear = [
        row("recommend", 0.5, 10_000_000),
        row("spring", 0.5, 10_000_000),
    ];
    assert_eq!(credits(&mut world, AttributionModel::Linear).await, linear);
}

#[tokio::test]
async fn malformed_requests_name_every_bad_field() {
    let mut world = World::embedded().await;
    let period = Some(Period {
        from_ms: 10,
        to_ms: 10,
    });
    let request = AttributeConversionsRequest { model: 0, period };
    let status = world
        .reports
        .attribute_conversions(request)
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "INVALID_REQUEST");
    assert_eq!(fields(&status), ["period.to_ms", "model"]);
    let request = RenderReportRequest {
        period,
        language: 7,
        title: "t".repeat(65),
    };
    let status = world.reports.render_report(request).await.unwrap_err();
    assert_eq!(fields(&status), ["period.to_ms", "title", "language"]);
    for status in [
        world
            .reports
            .get_daily_series(GetDailySeriesRequest { period })
            .await
            .unwrap_err(),
        world
            .reports
            .evaluate_campaigns(EvaluateCampaignsRequest { period })
            .await
            .unwrap_err(),
    ] {
        assert_eq!(fields(&status), ["period.to_ms"]);
    }
}

#[tokio::test]
async fn while_consent_is_unknown_nobody_is_counted() {
    let ground = Ground::new(Engine::Sqlite).await;
    ground.log.hold_snapshot();
    let mut world = ground.start().await;
    world.event(Some(subject(1)), purchase(NOW, "a", 100));
    for progress in world.evaluate.progress() {
        progress.wait_for(subject(1).partition(), 1).await;
    }
    let request = GetDailySeriesRequest::default();
    let status = world.reports.get_daily_series(request).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "CONSENT_VIEW_STALE")
    );
}

#[tokio::test]
async fn the_page_is_well_formed_in_both_languages() {
    let mut world = World::embedded().await;
    world.running("checkout").await;
    for n in 0..30 {
        let person = subject(n);
        world.consent(&[person], Granted);
        let variant = if n % 2 == 0 { "control" } else { "bold" };
        world.event(
            Some(person),
            recommendation(NOW, u64::from(n) + 1, Some(variant)),
        );
        world.event(Some(person), impression(NOW, "Spring <sale> & more"));
        world.event(Some(person), click(NOW, "Spring <sale> & more"));
        if n % 3 == 0 {
            world.event(
                Some(person),
                purchase(NOW + 60_000, &format!("o{n}"), 1_000),
            );
        }
    }
    world.settle().await;
    let page = async |world: &mut World, language: ReportLanguage| {
        let request = RenderReportRequest {
            language: language.into(),
            title: "Willow & Pine".to_owned(),
            period: None,
        };
        let html = world
            .reports
            .render_report(request)
            .await
            .unwrap()
            .into_inner()
            .html;
        let body = &html[html.find("<main>").unwrap()..html.rfind("</body>").unwrap()];
        roxmltree::Document::parse(body).unwrap();
        assert!(
            html.contains("Willow &amp; Pine") && html.contains("Spring &lt;sale&gt; &amp; more")
        );
        assert!(html.contains("GBP 100.00"), "ten orders of ten pounds");
        assert!(html.contains("checkout"));
        html
    };
    let english = page(&mut world, ReportLanguage::En).await;
    let chinese = page(&mut world, ReportLanguage::Zh).await;
    assert!(english.contains("<html lang=\"en") && english.contains("conversion"));
    assert!(chinese.contains("<html lang=\"zh") && chinese.contains("转化"));
    let again = page(&mut world, ReportLanguage::Unspecified).await;
    assert_eq!(again, english, "the same state gives the same bytes");
}

#[tokio::test]
async fn every_figure_of_the_page_is_of_the_days_that_are_drawn() {
    let mut world = World::embedded().await;
    let (before, now) = (subject(1), subject(2));
    world.consent(&[before, now], Granted);
    // 400 days are drawn, so the first of them is 399 days ago.
    for (person, at, campaign) in [
        (before, NOW - 400 * DAY_MS, "bygone"),
        (now, NOW - 399 * DAY_MS, "oldest"),
        (now, NOW, "newest"),
    ] {
        world.event(Some(person), click(at, campaign));
        world.event(Some(person), purchase(at, campaign, 100));
    }
    world.settle().await;
    let request = RenderReportRequest::default();
    let html = world.reports.render_report(request).await.unwrap();
    let html = html.into_inner().html;
    assert!(html.contains("newest") && html.contains("oldest"));
    assert!(!html.contains("bygone"));
}

#[tokio::test]
async fn an_empty_log_gives_empty_reports() {
    let mut world = World::embedded().await;
    let found = series(&mut world, None).await;
    assert!(found.days.is_empty() && found.totals.is_empty());
    let found = campaigns(&mut world).await;
    assert!(found.campaigns.is_empty() && found.currency.is_empty());
    let request = RenderReportRequest::default();
    let html = world
        .reports
        .render_report(request)
        .await
        .unwrap()
        .into_inner()
        .html;
    assert!(html.contains("<h1>Rapport</h1>"));
}
