//! Open-loop load: every scenario against a served house.

use crate::support::{Served, json};

#[test]
fn every_scenario_counts_grpc_statuses_and_prints_one_object() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path());
    for scenario in ["collect", "profile", "recommend", "decide", "mixed"] {
        let arguments = [
            "load",
            scenario,
            "--json",
            "--rate",
            "40",
            "--duration",
            "1s",
            "--warm-up",
            "200ms",
            "--subjects",
            "20",
            "--batch",
            "10",
        ];
        let measured = json(&served.run(&arguments));
        assert_eq!(measured["scenario"], scenario);
        let statuses = measured["statuses"].as_object().unwrap();
        let counted: u64 = statuses
            .values()
            .filter_map(serde_json::Value::as_u64)
            .sum();
        assert!(counted > 0, "{measured}");
        assert_eq!(measured["calls"].as_u64(), Some(counted), "{measured}");
        // Names as gRPC has them; a healthy server answers all of so few.
        let names: Vec<_> = statuses.keys().map(String::as_str).collect();
        assert_eq!(names, ["OK"], "{measured}");
        let events = measured["events"].as_u64().unwrap();
        assert_eq!(
            events > 0,
            ["collect", "mixed"].contains(&scenario),
            "{measured}"
        );
        let quantile = |name: &str| measured[name].as_f64().unwrap();
        assert!(quantile("p50_ms") > 0.0, "{measured}");
        assert!(quantile("p50_ms") <= quantile("p99_ms"), "{measured}");
        assert!(quantile("p99_ms") <= quantile("max_ms"), "{measured}");
    }
}

/// A refusal is counted under its own name: the people of this load granted nothing.
#[test]
fn refusals_are_counted_by_their_own_status() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path());
    let mut arguments = vec!["load", "profile", "--grant", "false", "--json"];
    arguments.extend(["--rate", "40", "--duration", "1s", "--warm-up", "0s"]);
    arguments.extend(["--subjects", "20"]);
    let measured = json(&served.run(&arguments));
    let statuses = measured["statuses"].as_object().unwrap();
    let names: Vec<_> = statuses.keys().map(String::as_str).collect();
    assert_eq!(names, ["PERMISSION_DENIED"], "{measured}");
}
