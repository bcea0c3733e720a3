//! The guided tour and the town.

use std::path::Path;

use crate::support::{Served, json, rapport, text};

/// The namespace of drawings.
const SVG: &str = "http://www.w3.org/2000/svg";

/// The headings of the tour, in the order in which a newcomer reads them.
const STATIONS: [&str; 8] = [
    "A town of shoppers lives through a month",
    "One person: what is known, and the events behind it",
    "What to show this person now, and why",
    "Which ad won, at what price, and why the others lost",
    "An angry message finds the right agent",
    "Consent withdrawn on one device: everything turns non-personal on the other",
    "What was measured, beside the truth that the town knows",
    "The report",
];

#[test]
fn the_demo_shows_every_station_and_leaves_a_report_in_two_languages() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mut command = rapport();
    command.args(["demo", "--shoppers", "300", "--days", "12"]);
    command
        .args(["--listen", "127.0.0.1:0", "--report"])
        .arg(&report);
    let output = command.output().unwrap();
    let said = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{said}\n{}",
        text(&output.stderr)
    );
    let mut rest = said.as_str();
    for station in STATIONS {
        let (_, after) = rest.split_once(station).unwrap_or_else(|| {
            panic!("the tour does not come to `{station}`: {said}");
        });
        assert!(
            after.trim_start_matches([' ', '─']).starts_with('\n'),
            "{station}"
        );
        rest = after;
    }
    // What each station is for, in its own words.
    for told in [
        "300 shoppers, 12 days",
        "lifecycle `",
        "because of ",
        "decision ",
        "verdict ",
        "decisions that never reached the log: 0",
    ] {
        assert!(said.contains(told), "no `{told}` in: {said}");
    }
    assert_every_service_turned_non_personal(&said);
    let charts = charts_of(&report.join("report-en.html"), "en");
    assert_eq!(charts, charts_of(&report.join("report-zh.html"), "zh"));
    assert!(charts > 2, "{charts} charts");
}

/// The tour looks at each service until it answers without personal data, and says how long that took.
fn assert_every_service_turned_non_personal(said: &str) {
    for service in ["profile", "recommend", "ads", "care", "evaluate"] {
        let turned = said.lines().filter(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ["non-personal", "after", taken, "ms"] = words.get(1..).unwrap_or_default() else {
                return false;
            };
            words[0] == service && taken.parse::<u64>().is_ok()
        });
        assert_eq!(turned.count(), 1, "{service} in: {said}");
    }
    assert!(!said.contains("still personal"), "{said}");
}

/// Returns how many charts a report shows, after reading its body as XML (the head has HTML's own void
/// elements); each chart has something drawn in it.
fn charts_of(path: &Path, language: &str) -> usize {
    let html = std::fs::read_to_string(path).unwrap();
    assert!(
        html.contains(&format!("<html lang=\"{language}")),
        "{language}"
    );
    let (_, body) = html.split_once("</head>").unwrap();
    let body = body.trim().strip_suffix("</html>").unwrap();
    let document = roxmltree::Document::parse(body).unwrap();
    let is_chinese = |letter: char| ('\u{4e00}'..='\u{9fff}').contains(&letter);
    let texts = document.descendants().filter_map(|node| node.text());
    let headings = document
        .descendants()
        .filter(|node| node.has_tag_name("h1") || node.has_tag_name("h2"))
        .filter_map(|node| node.text());
    assert_eq!(
        headings.flat_map(str::chars).any(is_chinese),
        language == "zh",
        "the headings of the report in {language}"
    );
    assert!(
        texts
            .flat_map(str::chars)
            .any(|letter| letter.is_ascii_digit())
    );
    let shapes = ["rect", "path", "polyline", "circle", "line"];
    let mut charts = 0;
    for chart in document
        .descendants()
        .filter(|node| node.has_tag_name((SVG, "svg")))
    {
        let marks = chart
            .descendants()
            .filter(|node| shapes.contains(&node.tag_name().name()));
        assert!(marks.count() > 1, "an empty chart in {}", path.display());
        charts += 1;
    }
    charts
}

#[test]
fn a_town_lives_against_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path());
    let arguments = ["simulate", "--shoppers", "40", "--days", "3", "--json"];
    let lived = json(&served.run(&arguments));
    for figure in ["visits", "events", "ads_shown"] {
        assert!(lived[figure].as_u64().unwrap() > 0, "{figure}: {lived}");
    }
    // Another town lives beside the first. Without `--json` the same figures stand below each other.
    let again = served.run(&["simulate", "--seed", "8", "--shoppers", "40", "--days", "1"]);
    let table = text(&again.stdout);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(
        table.lines().any(|line| line.starts_with("visits")),
        "{table}"
    );
}
