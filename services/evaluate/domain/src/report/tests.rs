//! The page by its properties: well-formed drawings, escaped text, all numbers, both languages.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rapport_math::PairMoments;
use rapport_types::Micros;

use super::format::{compact, decimal, escape, label, measure, money, percent};
use super::svg::Axis;
use super::*;
use crate::campaign::{CampaignActivity, report as measure_campaign};
use crate::experiment::{Arm, MetricKind, Question, analyse};

fn experiment(name: &str, control: (u64, u64), treated: (u64, u64), truth: f64) -> ExperimentRow {
    let arm = |variant: &str, (successes, trials): (u64, u64)| {
        let unit = |place| (f64::from(u8::from(place < successes)), 0.0);
        let units: PairMoments = (0..trials).map(unit).collect();
        Arm {
            variant: variant.to_owned(),
            units,
        }
    };
    let arms = [arm("control", control), arm("bold", treated)];
    let kind = MetricKind::TwoValued {
        low: 0.0,
        high: 1.0,
    };
    let question = Question {
        arms: &arms,
        control: "control",
        shares: None,
        kind,
        covariate: false,
        confidence: 0.95,
    };
    let analysis = analyse(&question).unwrap().remove(0);
    let (experiment, metric) = (name.to_owned(), "purchase rate".to_owned());
    let people = (control.1, treated.1);
    ExperimentRow {
        experiment,
        metric,
        people,
        analysis,
        truth: Some(truth),
    }
}

fn campaign(
    name: &str,
    impressions: u64,
    clicks: u64,
    conversions: u64,
    revenue: i64,
) -> CampaignRow {
    let person = CampaignActivity {
        impressions,
        clicks,
        conversions,
        revenue: Micros::from_units(revenue),
        cost: Micros(impressions as i64 * 4_100),
    };
    CampaignRow {
        name: name.to_owned(),
        report: measure_campaign(&[person]),
    }
}

fn campaigns() -> Vec<CampaignRow> {
    vec![
        campaign("Spring comfort <b>sale</b>", 184_220, 4_310, 402, 21_400),
        campaign("新客专享券", 96_400, 1_980, 231, 9_870),
        campaign("KOL live 直播", 51_090, 2_240, 96, 3_120),
        campaign("Paused before its first impression", 0, 0, 0, 0),
    ]
}

/// A month of a shop, with names that try to break out of the page.
fn sample() -> Report {
    let day = |place: i32| {
        let wave = libm::sin(f64::from(place) * 0.9) * 900.0;
        DailyPoint {
            day: Day(20_393 + place),
            revenue: Micros((9_000.0 + 140.0 * f64::from(place) + wave).round() as i64 * 1_000_000),
            active_people: (1_800.0 + 22.0 * f64::from(place) + wave / 4.0) as u64,
            orders: 300 + place as u64,
        }
    };
    let step = |(name, people): (&str, u64)| FunnelStep {
        name: name.to_owned(),
        people,
    };
    let credit = |model, values: [f64; 5]| CreditRow {
        model,
        credit: ["social", "search", "e-mail", "KOL 直播", "banner"]
            .map(str::to_owned)
            .into_iter()
            .zip(values)
            .collect(),
    };
    Report {
        shop: "Willow & Pine 柳松 <shop>".to_owned(),
        period: (Day(20_393), Day(20_422)),
        currency: "GBP".to_owned(),
        daily: (0..30).map(day).collect(),
        active: ActivePeople {
            daily: 2_391,
            weekly: 5_120,
            monthly: 9_874,
        },
        funnel: [
            ("visit", 9_874),
            ("view", 8_120),
            ("cart", 2_904),
            ("checkout", 1_702),
            ("purchase", 1_388),
        ]
        .map(step)
        .to_vec(),
        campaigns: campaigns(),
        ad_revenue: Micros::from_units(30_000),
        experiments: vec![
            experiment(
                "bundle-on-item-page",
                (1_010, 20_110),
                (1_242, 19_950),
                0.0105,
            ),
            experiment("calm-colours", (998, 20_020), (1_011, 20_004), 0.0),
            experiment("push-at-20h", (820, 9_980), (741, 10_020), -0.009),
            experiment("search-rerank", (640, 10_000), (702, 9_000), 0.004),
        ],
        attribution: vec![
            credit(Model::First, [420.0, 310.0, 140.0, 288.0, 230.0]),
            credit(Model::Last, [250.0, 520.0, 310.0, 150.0, 158.0]),
            credit(Model::Linear, [330.0, 415.0, 230.0, 215.0, 198.0]),
            credit(
                Model::Markov { order: 1 },
                [352.0, 398.0, 214.0, 240.0, 184.0],
            ),
            credit(Model::Shapley, [340.0, 405.0, 222.0, 228.0, 193.0]),
        ],
        attribution_refused: false,
        decisions_missing: 3,
    }
}

fn drawings(page: &str) -> Vec<&str> {
    page.match_indices("<svg")
        .map(|(start, _)| {
            let end = page[start..].find("</svg>").unwrap() + "</svg>".len();
            &page[start..start + end]
        })
        .collect()
}

#[test]
fn every_drawing_is_well_formed_and_says_what_it_is() {
    for language in [Language::English, Language::Chinese] {
        let page = render(&sample(), language);
        let drawings = drawings(&page);
        assert_eq!(drawings.len(), 5);
        let mut ids = Vec::new();
        for drawing in drawings {
            let tree = roxmltree::Document::parse(drawing).unwrap();
            let root = tree.root_element();
            assert_eq!(root.attribute("role"), Some("img"));
            for (child, id) in root
                .children()
                .zip(root.attribute("aria-labelledby").unwrap().split(' '))
            {
                assert_eq!(child.attribute("id"), Some(id));
                assert!(child.text().is_some_and(|text| !text.is_empty()));
                ids.push(id.to_owned());
            }
            assert!(
                !drawing.contains("NaN") && !drawing.contains("inf"),
                "{drawing}"
            );
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!((ids.len(), count), (10, 10), "ids are unique on the page");
    }
}

#[test]
fn the_whole_body_is_well_formed() {
    for language in [Language::English, Language::Chinese] {
        let page = render(&sample(), language);
        let body = &page[page.find("<main>").unwrap()..page.find("</body>").unwrap()];
        roxmltree::Document::parse(body).unwrap();
    }
}

#[test]
fn text_from_outside_is_escaped_and_nothing_is_loaded() {
    let page = render(&sample(), Language::English);
    assert!(!page.contains("<b>sale") && !page.contains("<shop>"));
    assert!(page.contains("Willow &amp; Pine 柳松 &lt;shop&gt;"));
    let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
    for loader in ["<script", "http", "url(", "@import", "<link", "<img"] {
        assert!(!without_namespace.contains(loader), "{loader}");
    }
}

#[test]
fn numbers_are_in_the_tables_and_undefined_is_a_dash() {
    let page = render(&sample(), Language::English);
    // Cost is 4.1 per thousand impressions: 21,400 / 755.302 = 28.33.
    // All campaigns: 30,000 / 1,360.011 = 22.06.
    for text in [
        "GBP 331,671",
        "24.2%",
        ">22.06×<",
        "28.33×",
        "+2,733.3%",
        "0.012032 (+24.0%)",
        "&lt; 0.0001",
    ] {
        assert!(page.contains(text), "{text}");
    }
    for verdict in [
        "up\">Increase",
        "flat\">Undecided",
        "down\">Decrease",
        "bad\">Invalid",
    ] {
        assert!(page.contains(verdict), "{verdict}");
    }
    assert!(page.contains("<td>–</td>"));
    assert!(page.contains("3 decisions were made"));
    assert!(render(&sample(), Language::Chinese).contains("3 个决策已作出"));
}

#[test]
fn an_empty_report_says_so() {
    let empty = Report {
        daily: Vec::new(),
        active: ActivePeople::default(),
        funnel: Vec::new(),
        campaigns: Vec::new(),
        experiments: Vec::new(),
        attribution: Vec::new(),
        decisions_missing: 0,
        ..sample()
    };
    let page = render(&empty, Language::English);
    assert_eq!(page.matches("Nothing to show").count(), 5);
    assert_eq!(drawings(&page).len(), 0);
    let refused = Report {
        attribution_refused: true,
        ..empty.clone()
    };
    let page = render(&refused, Language::English);
    assert_eq!(page.matches("Nothing to show").count(), 4);
    assert!(page.contains("Ask for a shorter period"));
    assert!(render(&refused, Language::Chinese).contains("请选择更短的时段"));
    let one = Report {
        daily: sample().daily[..1].to_vec(),
        ..empty
    };
    assert_eq!(drawings(&render(&one, Language::Chinese)).len(), 2);
}

#[test]
fn numbers_read_as_people_write_them() {
    assert_eq!(decimal(-1_234_567.891, 2), "−1,234,567.89");
    assert_eq!(decimal(-0.001, 2), "0.00");
    assert_eq!(money(Micros(12_345_678_900), "CNY"), "CNY 12,346");
    assert_eq!(money(Micros(999_500_000), "CNY"), "CNY 999.50");
    assert_eq!(money(Micros(-5_250_000), "GBP"), "GBP −5.25");
    assert_eq!(
        (percent(0.5), percent(0.01234)),
        ("50.0%".to_owned(), "1.23%".to_owned())
    );
    assert_eq!(compact(12_500.0, Language::English), "12.5k");
    assert_eq!(compact(12_000.0, Language::Chinese), "1.2万");
    assert_eq!(compact(250_000_000.0, Language::Chinese), "2.5亿");
    assert_eq!(
        (measure(0.0123), measure(0.0)),
        ("0.012300".to_owned(), "0".to_owned())
    );
    assert_eq!(
        label("a name that is far too long for it"),
        "a name that is far too lon…"
    );
    assert_eq!(
        label("十三个汉字正好放得下的名字吧"),
        "十三个汉字正好放得下的名字…"
    );
    assert_eq!(
        escape("a\u{0}<b>&\"'"),
        "a\u{fffd}&lt;b&gt;&amp;&quot;&#39;"
    );
}

#[test]
fn axes_end_on_round_numbers() {
    assert_eq!(
        Axis::covering(0.0, 95.0, 4).ticks,
        [0.0, 25.0, 50.0, 75.0, 100.0]
    );
    assert_eq!(Axis::covering(-3.0, 8.0, 4).ticks, [-5.0, 0.0, 5.0, 10.0]);
    assert_eq!(Axis::covering(0.0, 0.0, 4).ticks.first(), Some(&0.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_text_and_any_numbers_stay_well_formed(
        name in any::<String>(),
        values in prop::collection::vec((-1e15..1e15f64, any::<u32>()), 0..20),
        credit in prop::collection::btree_map(any::<String>(), 0.0..1e12f64, 0..12),
    ) {
        let daily = values.iter().enumerate().map(|(place, (revenue, people))| DailyPoint {
            day: Day(place as i32),
            revenue: Micros(*revenue as i64),
            active_people: u64::from(*people),
            orders: 1,
        });
        let report = Report {
            shop: name.clone(),
            currency: name.clone(),
            daily: daily.collect(),
            funnel: vec![FunnelStep { name: name.clone(), people: 0 }],
            attribution: vec![CreditRow { model: Model::First, credit: BTreeMap::clone(&credit) }],
            experiments: vec![experiment(&name, (3, 50), (4, 60), 0.1)],
            campaigns: vec![campaign(&name, 5, 9, 20, -4)],
            ..sample()
        };
        for language in [Language::English, Language::Chinese] {
            let page = render(&report, language);
            let body = &page[page.find("<main>").unwrap()..page.rfind("</body>").unwrap()];
            prop_assert!(roxmltree::Document::parse(body).is_ok(), "{body}");
        }
    }
}
