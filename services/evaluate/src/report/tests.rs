//! What is counted, by tables worked by hand.

use std::collections::BTreeMap;

use evaluate_domain::activity::Day;
use evaluate_domain::attribution::{CHANNELS_MAX, Model};
use evaluate_domain::experiment::{self, Allocation, State, Variant};
use evaluate_domain::report::{Language, render};
use rapport_api::event::v1::{EventRecord, Lane};
use rapport_types::{Currency, Micros, UnixMillis};

use super::campaigns::{CAMPAIGNS_MAX, Campaigns};
use super::credit::{Credits, RECOMMEND};
use super::daily::Activity;
use super::page::{Heading, Page};
use super::trial::{Metric, Trial, Verdict};
use super::*;
use crate::projection::Shown;
use crate::projection::tests::{
    click, exposure, impression, journey_of, purchase, recommendation, refund, selection,
};
use crate::store::experiment::Experiment;
use crate::view::ShopTotals;

const HOUR_MS: i64 = 3_600_000;

fn pounds() -> Option<Currency> {
    Some(Currency::of("GBP"))
}

fn collected<C: Collect>(mut collect: C, people: &[&[EventRecord]]) -> C {
    for person in people {
        collect.take(&journey_of(person)).unwrap();
    }
    collect
}

#[test]
fn a_campaign_is_credited_within_seven_days_of_a_click() {
    let day = |n: i64| n * DAY_MS;
    let people: [&[EventRecord]; 4] = [
        // Both clicked campaigns are credited once, however often they were clicked.
        &[
            click(day(1), "a"),
            click(day(2), "a"),
            click(day(3), "b"),
            purchase(day(8), "o1", 9_000_000),
        ],
        // A millisecond too late.
        &[click(day(1), "a"), purchase(day(8) + 1, "o2", 1_000_000)],
        // Seen only, and bought before the click.
        &[
            impression(day(1), "a"),
            purchase(day(2), "o3", 1_000_000),
            click(day(3), "a"),
        ],
        &[
            click(day(4), "b"),
            purchase(day(4), "o4", 5_000_000),
            refund(day(9), "o4", 2_000_000),
        ],
    ];
    let found = collected(Campaigns::new(Days::ALL, pounds()), &people);
    let shown = Shown {
        impressions: 10,
        clicks: 6,
        cost: 4_000_000,
    };
    let unseen = Shown {
        impressions: 5,
        clicks: 0,
        cost: 0,
    };
    let found = found.finish(&[("a".to_owned(), shown), ("c".to_owned(), unseen)].into());
    let row = |place: usize| {
        let totals = found[place].report.totals;
        (
            totals.conversions,
            totals.revenue.0,
            totals.clicks,
            found[place].measured_clicks,
        )
    };
    let ids: Vec<&str> = found.iter().map(|row| row.campaign_id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(row(0), (1, 9_000_000, 6, 4));
    assert_eq!(row(1), (2, 12_000_000, 0, 2));
    assert_eq!(row(2), (0, 0, 0, 0));
    let a = &found[0].report;
    assert_eq!(a.ctr.unwrap().value, 0.6);
    assert_eq!(a.cvr.unwrap().value, 0.25, "one of four measured clicks");
    assert_eq!(a.roi_ppm, Some(1_250_000), "(9 - 4) / 4");
    assert_eq!(a.people_reached, 3);
    assert_eq!(found[2].report.cvr, None);
}

#[test]
fn an_answer_has_no_more_campaigns_than_it_may() {
    let of = |count: usize| -> BTreeMap<String, Shown> {
        let names = (0..count).map(|n| format!("c{n}"));
        names.map(|name| (name, Shown::default())).collect()
    };
    let campaigns = Campaigns::new(Days::ALL, pounds());
    let found = campaigns.clone().finish_whole(&of(CAMPAIGNS_MAX));
    assert_eq!(found.unwrap().len(), CAMPAIGNS_MAX);
    let found = campaigns.finish_whole(&of(CAMPAIGNS_MAX + 1));
    assert!(matches!(found, Err(Error::ReportTooLarge("campaigns"))));
}

#[test]
fn an_order_after_two_campaigns_is_earned_once() {
    let person: &[EventRecord] = &[
        click(1, "a"),
        click(2, "b"),
        purchase(3, "o1", 10_000_000),
        // Nobody clicked in the week before it.
        purchase(9 * DAY_MS, "o2", 7_000_000),
    ];
    let shown = Shown {
        impressions: 0,
        clicks: 1,
        cost: 1_000_000,
    };
    let totals = ShopTotals {
        campaigns: [("a".to_owned(), shown), ("b".to_owned(), shown)].into(),
        ..ShopTotals::default()
    };
    let page = collected(Page::new(Days::ALL, Day(9), pounds(), &[]), &[person]);
    let report = page.finish(&totals, heading()).unwrap();
    assert_eq!(report.ad_revenue, Micros(10_000_000));
    let roas = report.campaigns.iter().map(|row| row.report.roas_ppm);
    assert_eq!(roas.collect::<Vec<_>>(), [Some(10_000_000); 2]);
    assert!(render(&report, Language::English).contains(">5.00×<"));
}

#[test]
fn the_page_goes_without_an_attribution_that_is_too_large() {
    let campaigns = CHANNELS_MAX as i64 + 1;
    let clicks = (0..campaigns).map(|at| click(at, &format!("c{at}")));
    let bought = purchase(campaigns, "o1", 10_000_000);
    let person: Vec<EventRecord> = clicks.chain([bought]).collect();
    let other: &[EventRecord] = &[click(1, "c1"), purchase(2, "o2", 1_000_000)];
    let page = Page::new(Days::ALL, Day(0), pounds(), &[]);
    let page = collected(page, &[person.as_slice(), other]);
    let report = page.finish(&ShopTotals::default(), heading()).unwrap();
    assert!(report.attribution.is_empty() && report.attribution_refused);
    assert_eq!(report.campaigns.len(), CHANNELS_MAX + 1);
    assert_eq!(report.ad_revenue, Micros(11_000_000));
}

#[test]
fn touches_are_clicks_of_a_week_and_sights_of_a_day() {
    let person: &[EventRecord] = &[
        recommendation(0, 1),
        click(DAY_MS, "a"),
        selection(2 * DAY_MS, 1),
        impression(2 * DAY_MS, "old-sight"),
        impression(5 * DAY_MS - HOUR_MS, "b"),
        purchase(5 * DAY_MS, "o1", 9_000_000),
        // What the first order used up does not count for the second.
        purchase(6 * DAY_MS, "o2", 4_000_000),
    ];
    let found = collected(Credits::new(Days::ALL, pounds()), &[person]);
    assert_eq!(found.unattributed(), 1);
    let by = |model: Model| -> BTreeMap<String, (f64, i64)> {
        let credits = found.by(model).unwrap().into_iter();
        credits
            .map(|credit| (credit.channel, (credit.conversions, credit.value.0)))
            .collect()
    };
    assert_eq!(by(Model::First)["a"], (1.0, 9_000_000));
    assert_eq!(by(Model::Last)["b"], (1.0, 9_000_000));
    let linear = by(Model::Linear);
    assert_eq!(linear.keys().collect::<Vec<_>>(), ["a", "b", RECOMMEND]);
    assert!(
        linear
            .values()
            .all(|(share, value)| (share - 1.0 / 3.0).abs() < 1e-12 && *value == 3_000_000)
    );
}

#[test]
fn rounded_credits_still_add_up() {
    let person: &[EventRecord] = &[
        click(1, "a"),
        click(2, "b"),
        click(3, "c"),
        purchase(5, "o1", 1_000_000),
    ];
    let found = collected(Credits::new(Days::ALL, pounds()), &[person]);
    let values: Vec<i64> = found
        .by(Model::Linear)
        .unwrap()
        .iter()
        .map(|credit| credit.value.0)
        .collect();
    assert_eq!(values, [333_334, 333_333, 333_333]);
}

#[test]
fn a_period_takes_its_own_orders_and_what_earlier_ones_left() {
    let person: &[EventRecord] = &[
        click(DAY_MS, "used"),
        purchase(2 * DAY_MS, "o1", 1_000_000),
        click(3 * DAY_MS, "a"),
        purchase(4 * DAY_MS, "o2", 2_000_000),
        click(5 * DAY_MS, "later"),
        purchase(6 * DAY_MS, "o3", 3_000_000),
    ];
    let days = Days {
        first: Day(3),
        last: Day(4),
    };
    let found = collected(Credits::new(days, pounds()), &[person]);
    let credits = found.by(Model::First).unwrap();
    assert_eq!(credits.len(), 1);
    assert_eq!(
        (credits[0].channel.as_str(), credits[0].value),
        ("a", Micros(2_000_000))
    );
    assert_eq!(found.unattributed(), 0);
    // A click of the week before may still lead to an order in the period, an older one cannot.
    let person: &[EventRecord] = &[click(-5 * DAY_MS, "too-old"), click(-4 * DAY_MS, "open")];
    let found = collected(Credits::new(days, pounds()), &[person]);
    let known: Vec<String> = found
        .conversions(Model::First)
        .unwrap()
        .into_keys()
        .collect();
    assert_eq!(known, ["open"]);
}

#[test]
fn what_was_paid_in_another_currency_is_worth_nothing_here() {
    let person: &[EventRecord] = &[click(DAY_MS, "a"), purchase(DAY_MS, "o1", 1_000_000)];
    let days = Days::ALL;
    let dollars = collected(Credits::new(days, Some(Currency::of("USD"))), &[person]);
    assert_eq!(dollars.by(Model::First).unwrap()[0].value, Micros::ZERO);
}

#[test]
fn the_series_has_no_gaps_and_the_funnel_counts_people_once() {
    let people: [&[EventRecord]; 2] = [
        &[click(DAY_MS, "a"), purchase(3 * DAY_MS, "o1", 1)],
        &[selection(3 * DAY_MS, 1), selection(3 * DAY_MS + 5, 1)],
    ];
    let found = collected(Activity::new(Days::ALL), &people);
    let totals = ShopTotals::default();
    let series: Vec<(i32, u64)> = found
        .series(&totals, pounds())
        .iter()
        .map(|day| (day.day.0, day.active))
        .collect();
    assert_eq!(series, [(1, 1), (2, 0), (3, 2)]);
    let funnel: Vec<(&str, u64)> = found.funnel().collect();
    let expected = [
        ("visit", 2),
        ("view", 0),
        ("click", 2),
        ("cart", 0),
        ("purchase", 1),
    ];
    assert_eq!(funnel, expected);
    assert!(Activity::new(Days::ALL).series(&totals, None).is_empty());
}

fn experiment(state: State) -> Experiment {
    experiment_of(&["control", "bold"], state)
}

/// An experiment whose variants have equal shares, but for what the first has over.
fn experiment_of(keys: &[&str], state: State) -> Experiment {
    let each = 10_000 / keys.len() as u32;
    let variant = |(place, key): (usize, &&str)| Variant {
        key: (*key).to_owned(),
        share: match place {
            0 => 10_000 - each * (keys.len() as u32 - 1),
            _ => each,
        },
    };
    let variants = keys.iter().enumerate().map(variant).collect();
    Experiment {
        key: "checkout".to_owned(),
        hypothesis: "h".to_owned(),
        allocation: Allocation::new(variants).unwrap(),
        state,
    }
}

/// People of an arm, of whom some buy an hour after the exposure.
fn arm(variant: &str, people: u32, buyers: u32) -> Vec<Vec<EventRecord>> {
    let person = |n: u32| {
        let mut events = vec![exposure(DAY_MS, variant)];
        if n < buyers {
            events.push(purchase(DAY_MS + HOUR_MS, "o", 2_500_000));
        }
        events
    };
    (0..people).map(person).collect()
}

fn tried(state: State, arms: &[(&str, u32, u32)], metric: Metric) -> super::trial::TrialResult {
    let people: Vec<_> = arms.iter().flat_map(|(v, n, b)| arm(v, *n, *b)).collect();
    let people: Vec<&[EventRecord]> = people.iter().map(Vec::as_slice).collect();
    let keys: Vec<&str> = arms.iter().map(|(variant, ..)| *variant).collect();
    let asked = match keys.is_empty() {
        true => experiment(state),
        false => experiment_of(&keys, state),
    };
    let trial = Trial::new(asked, metric, pounds());
    collected(trial, &people).finish().unwrap()
}

#[test]
fn verdicts() {
    let running = State::Running {
        started_at: UnixMillis(DAY_MS),
    };
    let stopped = State::Stopped {
        started_at: UnixMillis(DAY_MS),
        stopped_at: UnixMillis(2 * DAY_MS),
    };
    let check = |state, bold: (u32, u32), expected| {
        let arms = [("control", 1_000, 100), ("bold", bold.0, bold.1)];
        assert_eq!(
            tried(state, &arms, Metric::Conversion).verdict,
            expected,
            "{bold:?}"
        );
    };
    check(running, (1_000, 200), Verdict::Better);
    check(running, (1_000, 20), Verdict::Worse);
    check(running, (1_000, 130), Verdict::Wait); // p = 0.035: not while somebody may peek
    check(stopped, (1_000, 130), Verdict::Better);
    check(stopped, (1_000, 105), Verdict::NoDifference);
    check(running, (700, 140), Verdict::Broken);
    let nobody = tried(running, &[], Metric::Conversion);
    assert_eq!((nobody.verdict, nobody.srm_p), (Verdict::Wait, 1.0));
}

#[test]
fn while_it_runs_one_arm_of_several_must_be_surer() {
    let running = State::Running {
        started_at: UnixMillis(DAY_MS),
    };
    let check = |arms: &[(&str, u32, u32)], expected| {
        let found = tried(running, arms, Metric::Conversion);
        assert_eq!(found.verdict, expected, "{arms:?}");
        let warned = found.warnings.join(" ").contains("all variants");
        assert_eq!(warned, arms.len() > 2 && expected == Verdict::Wait);
    };
    // The sequence of 95 % begins at 0.002, that of 97.5 % at -0.001.
    let (control, calm) = (("control", 1_000, 100), ("calm", 1_000, 100));
    check(&[control, ("bold", 1_000, 148)], Verdict::Better);
    check(&[control, ("bold", 1_000, 148), calm], Verdict::Wait);
    check(&[control, ("bold", 1_000, 154), calm], Verdict::Better);
}

#[test]
fn the_page_says_what_the_analysis_says() {
    let started_at = UnixMillis(DAY_MS);
    let running = State::Running { started_at };
    let stopped = State::Stopped {
        started_at,
        stopped_at: UnixMillis(2 * DAY_MS),
    };
    // p = 0.037: a result of a fixed size, and none while somebody may peek.
    let people = [arm("control", 100, 20), arm("bold", 100, 33)].concat();
    let people: Vec<&[EventRecord]> = people.iter().map(Vec::as_slice).collect();
    for (state, expected, decided) in [
        (running, experiment::Verdict::Inconclusive, "0 / 1"),
        (stopped, experiment::Verdict::Increase, "1 / 1"),
    ] {
        let page = Page::new(Days::ALL, Day(1), pounds(), &[experiment(state)]);
        let report = collected(page, &people)
            .finish(&ShopTotals::default(), heading())
            .unwrap();
        let said = report.experiments.iter().map(|row| row.analysis.verdict);
        assert_eq!(said.collect::<Vec<_>>(), [expected], "{state:?}");
        assert!(render(&report, Language::English).contains(&format!(">{decided}<")));
    }
}

fn heading() -> Heading {
    Heading {
        shop: "shop".to_owned(),
        today: Day(1),
        currency: pounds(),
        metric: "conversion",
    }
}

#[test]
fn revenue_is_per_person_in_units() {
    let running = State::Running {
        started_at: UnixMillis(0),
    };
    let arms = [("control", 100, 20), ("bold", 100, 40)];
    let found = tried(running, &arms, Metric::Revenue);
    let mean = found.arms[0].units.x().mean().unwrap();
    assert!((mean - 0.5).abs() < 1e-12, "{mean}");
    let effect = found.treated[0].estimate.unwrap().effect;
    assert!((effect - 0.5).abs() < 1e-12, "{effect}");
}

#[test]
fn exposures_outside_the_run_do_not_count_unless_imported() {
    let started_at = UnixMillis(10 * DAY_MS);
    let running = State::Running { started_at };
    let mut imported = exposure(DAY_MS, "bold");
    imported.lane = Lane::Backfill.into();
    let skewed = exposure(10 * DAY_MS - 1_000, "control");
    // The first exposure counts, also where another one was in the run.
    let early = [
        exposure(9 * DAY_MS, "control"),
        exposure(11 * DAY_MS, "control"),
    ];
    let strange = exposure(11 * DAY_MS, "unheard");
    let people: [&[EventRecord]; 4] = [&[imported], &[skewed], &early, &[strange]];
    let trial = Trial::new(experiment(running), Metric::Conversion, None);
    let found = collected(trial, &people).finish().unwrap();
    let sizes: Vec<u64> = found.arms.iter().map(|arm| arm.units.x().count()).collect();
    assert_eq!(sizes, [1, 1]);
    let warnings = found.warnings.join(" ");
    assert!(
        warnings.contains("1 persons were first exposed outside the run"),
        "{warnings}"
    );
    assert!(
        warnings.contains("1 persons met a variant that"),
        "{warnings}"
    );
}

#[test]
fn what_was_bought_before_the_exposure_or_after_the_stop_is_no_outcome() {
    let stopped = State::Stopped {
        started_at: UnixMillis(0),
        stopped_at: UnixMillis(5 * DAY_MS),
    };
    let people: [&[EventRecord]; 3] = [
        &[purchase(DAY_MS - 1, "o", 1), exposure(DAY_MS, "bold")],
        &[exposure(DAY_MS, "bold"), purchase(5 * DAY_MS, "o", 1)],
        &[
            exposure(DAY_MS, "bold"),
            exposure(2 * DAY_MS, "control"),
            purchase(DAY_MS, "o", 1),
        ],
    ];
    let trial = Trial::new(experiment(stopped), Metric::Conversion, None);
    let found = collected(trial, &people).finish().unwrap();
    assert_eq!(found.arms[1].units.x().sum(), 1.0);
    assert_eq!(found.arms[0].units.x().count(), 0);
    assert_eq!(found.crossovers, 1);
}
