//! The tasks about paths, queues and customers from outside: rows and their keys, exit codes.

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{check, lab, on_any_threads, refuses, rows, steady};

fn files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put(
        "paths.csv",
        "path,conversions,value,null\na > b,2,16,2\nc,1,1.0,0\na > c > b,1,3,9\n",
    );
    let mut calls =
        "arrival,service_seconds,priority,type,wait_seconds,outcome,patience_seconds\n".to_owned();
    for call in 0..400u32 {
        let (second, kind) = (call * 700, ["PS", "NE"][call as usize % 2]);
        calls += &if call % 9 == 0 {
            format!(
                "{second},,{},{kind},{},hang,{}\n",
                call % 3,
                call % 50,
                call % 50
            )
        } else {
            format!(
                "{second},{},{},{kind},{},agent,\n",
                900 + call % 700,
                call % 3,
                call % 80
            )
        };
    }
    put("calls.csv", &calls);
    put(
        "texts.csv",
        "text,label\nsend it back,return\nwhere is it,status\n",
    );
    let mut sales = "customer,date,amount\n".to_owned();
    for customer in 0..80u32 {
        for order in 0..=customer * customer % 4 {
            let (month, day) = (1 + order, 1 + (customer * 5 + order * 11) % 28);
            sales += &format!("{customer},20200{month}{day:02},{}\n", 3 + customer % 11);
        }
    }
    put("sales.csv", &sales);
    folder
}

#[test]
fn attribution_keeps_the_contract() {
    let folder = files();
    let flags = ["attribution", "--paths", "paths.csv", "--order", "2"];
    let models = [
        "first",
        "last",
        "linear",
        "position",
        "time-decay",
        "markov",
        "shapley",
    ];
    let keys = [
        "credit",
        "value_credit",
        "removal_effects",
        "synergy",
        "fit_ms",
    ];
    let found = rows(&lab(folder.path(), &[&flags[..], &["--json"]].concat()));
    check(&found, &models, "markov", &keys, &[]);
    for row in &found {
        let credit: f64 = row["credit"]
            .as_object()
            .unwrap()
            .values()
            .filter_map(Value::as_f64)
            .sum();
        assert!((credit - 4.0).abs() < 1e-12, "{row}");
    }
    on_any_threads(folder.path(), &flags);
}

#[test]
fn queue_keeps_the_contract() {
    let folder = files();
    let keys = [
        "erlang_b",
        "erlang_c",
        "service_level",
        "asa_seconds",
        "occupancy",
        "abandoned",
    ];
    let theory = [
        "queue",
        "--per-hour",
        "200",
        "--handle-seconds",
        "180",
        "--agents",
        "14",
        "--target-seconds",
        "20",
        "--simulate",
    ];
    let found = rows(&lab(folder.path(), &[&theory[..], &["--json"]].concat()));
    check(&found, &["fifo"], "fifo", &keys, &[]);
    on_any_threads(folder.path(), &theory);
    let calls = [
        "queue",
        "--calls",
        "calls.csv",
        "--agents",
        "2",
        "--target-seconds",
        "30",
    ];
    let more = ["wait_p50", "wait_p95", "worst_class_service_level"];
    let found = rows(&lab(folder.path(), &[&calls[..], &["--json"]].concat()));
    let policies = ["fifo", "static-priority", "longest-idle", "cost"];
    let keys = [&keys[..], &more].concat();
    check(&found, &policies, "fifo", &keys, &["service_level"]);
    on_any_threads(folder.path(), &calls);
    let named = [&calls[..], &["--policy", "cost,fifo", "--json"]].concat();
    check(
        &rows(&lab(folder.path(), &named)),
        &["cost", "fifo"],
        "cost",
        &keys,
        &["service_level"],
    );
}

#[test]
fn clv_keeps_the_contract() {
    let folder = files();
    let flags = [
        "clv",
        "--transactions",
        "sales.csv",
        "--calibration-end",
        "2020-02-20",
    ];
    let keys = [
        "r",
        "alpha",
        "a",
        "b",
        "log_likelihood",
        "gg_p",
        "gg_q",
        "gg_v",
        "fit_ms",
    ];
    let saved = [&flags[..], &["--json", "--save", "clv.model"]].concat();
    let found = rows(&lab(folder.path(), &saved));
    let metrics = ["holdout_mae", "naive_mae"];
    check(&found, &["bgnbd"], "bgnbd", &keys, &metrics);
    assert!(folder.path().join("clv.model").exists());
    assert_eq!(on_any_threads(folder.path(), &flags), steady(found));
}

#[test]
fn auto_is_the_default_where_nothing_is_validated() {
    let folder = files();
    let queue = ["queue", "--agents", "2", "--target-seconds", "30"];
    let theory = ["--per-hour", "20", "--handle-seconds", "180"];
    let clv = ["clv", "--transactions", "sales.csv", "--calibration-end"];
    for (flags, expected) in [
        ([&queue[..], &theory].concat(), "fifo"),
        ([&queue[..], &["--calls", "calls.csv"]].concat(), "fifo"),
        ([&clv[..], &["2020-02-20"]].concat(), "bgnbd"),
        (vec!["attribution", "--paths", "paths.csv"], "markov"),
    ] {
        let asked = [&flags[..], &["--algorithm", "auto", "--json"]].concat();
        check(
            &rows(&lab(folder.path(), &asked)),
            &[expected],
            expected,
            &[],
            &[],
        );
    }
}

#[test]
fn bad_input_exits_with_two() {
    let folder = files();
    for (flags, expected) in [
        (
            &[
                "classify",
                "--train",
                "texts.csv",
                "--test",
                "texts.csv",
                "--drop-overlap",
            ][..],
            "--drop-overlap leaves no test row",
        ),
        (
            &[
                "queue",
                "--per-hour",
                "200",
                "--handle-seconds",
                "180",
                "--agents",
                "1000000",
                "--target-seconds",
                "1",
                "--simulate",
            ],
            "--agents must be at most 100000",
        ),
        (
            &["attribution", "--paths", "calls.csv"],
            "calls.csv, line 2, column 2 (service_seconds): is empty",
        ),
        (
            &[
                "clv",
                "--transactions",
                "sales.csv",
                "--calibration-end",
                "now",
            ],
            "--calibration-end now: is no date",
        ),
        (
            &["queue", "--agents", "2", "--target-seconds", "1"],
            "--per-hour",
        ),
        (
            &[
                "queue",
                "--calls",
                "paths.csv",
                "--agents",
                "2",
                "--target-seconds",
                "1",
            ],
            "are needed",
        ),
    ] {
        refuses(folder.path(), flags, expected);
    }
}
