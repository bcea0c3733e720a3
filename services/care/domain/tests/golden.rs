//! Queues and patience against chains solved with 40 digits and statsmodels (`golden/golden.py`).
#![expect(clippy::unwrap_used, reason = "tests")]

use care_domain::queueing::{Patience, Traffic, Wait, erlang_a, erlang_b, erlang_c};

fn golden() -> impl Iterator<Item = (&'static str, &'static str, f64)> {
    let rows = include_str!("../golden/queueing.csv").lines().skip(1);
    rows.map(|row| {
        let fields: Vec<&str> = row.split(',').collect();
        (fields[0], fields[1], fields[2].parse().unwrap())
    })
}

#[track_caller]
fn check(case: &str, key: &str, ours: f64, golden: f64) {
    let error = (ours - golden).abs();
    assert!(
        error <= 1e-9 * golden.abs().max(1e-3),
        "{case} {key}: {ours:e}, not {golden:e}"
    );
}

#[test]
fn waiting_without_end() {
    let mut checked = 0;
    for (case, key, golden) in golden().filter(|(case, ..)| case.starts_with("c_")) {
        let (per_hour, service, agents) = match case {
            "c_small" => (200.0, 180.0, 14),
            "c_middle" => (1_000.0, 300.0, 91),
            "c_one" => (30.0, 60.0, 1),
            "c_large" => (10_000.0, 300.0, 848),
            unknown => panic!("no case {unknown}"),
        };
        let traffic = Traffic::per_hour(per_hour, service);
        let found = erlang_c(agents, traffic, 20.0).unwrap();
        let ours = match key {
            "erlang_b" => erlang_b(agents, traffic.erlangs()),
            "wait_probability" => found.wait_probability,
            "mean_wait" => found.mean_wait_seconds,
            "service_level" => found.service_level,
            unknown => panic!("no key {unknown}"),
        };
        check(case, key, ours, golden);
        checked += 1;
    }
    assert_eq!(checked, 16);
}

#[test]
fn waiting_and_giving_up() {
    let mut checked = 0;
    for (case, key, golden) in golden().filter(|(case, ..)| case.starts_with("a_")) {
        let (per_hour, service, agents, patience) = match case {
            "a_light" => (200.0, 180.0, 14, 90.0),
            "a_over" => (200.0, 180.0, 8, 60.0),
            "a_long" => (360.0, 240.0, 26, 600.0),
            "a_single" => (60.0, 90.0, 1, 30.0),
            unknown => panic!("no case {unknown}"),
        };
        let traffic = Traffic::per_hour(per_hour, service);
        let found = erlang_a(agents, traffic, patience, 20.0).unwrap();
        let ours = match key {
            "wait_probability" => found.wait_probability,
            "mean_wait" => found.mean_wait_seconds,
            "abandoned" => found.abandoned,
            "occupancy" => found.occupancy,
            unknown => panic!("no key {unknown}"),
        };
        check(case, key, ours, golden);
        checked += 1;
    }
    assert_eq!(checked, 16);
}

#[test]
fn patience_by_product_limit() {
    let seconds = [3, 5, 5, 8, 8, 8, 12, 20, 21, 21, 40, 41];
    let gave_up = [1, 0, 1, 1, 1, 0, 0, 1, 0, 1, 0, 1];
    let waits: Vec<Wait> = seconds
        .iter()
        .zip(gave_up)
        .map(|(&seconds, gave_up)| Wait {
            seconds: f64::from(seconds),
            gave_up: gave_up == 1,
        })
        .collect();
    let found = Patience::estimate(&waits).unwrap();
    let mut checked = 0;
    for (case, key, golden) in golden().filter(|(case, ..)| *case == "patience") {
        check(case, key, found.survival(key.parse().unwrap()), golden);
        checked += 1;
    }
    assert_eq!(checked, 6);
}
