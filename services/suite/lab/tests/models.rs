#![expect(clippy::unwrap_used, reason = "tests")]
//! The tasks about paths, queues and customers from outside: rows and their keys, exit codes.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn lab(folder: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rapport-lab"))
        .arg("lab")
        .args(flags)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

const EVERY_ROW: [&str; 9] = [
    "task",
    "algorithm",
    "chosen",
    "seed",
    "train_rows",
    "test_rows",
    "train_cpu_seconds",
    "score_cpu_seconds",
    "peak_rss_bytes",
];

#[track_caller]
fn check(rows: &[Value], algorithms: &[&str], chosen: &str, keys: &[&str]) {
    let of = |row: &Value| row["algorithm"].as_str().unwrap().to_owned();
    assert_eq!(rows.iter().map(of).collect::<Vec<_>>(), algorithms);
    let winners: Vec<String> = rows
        .iter()
        .filter(|row| row["chosen"] == true)
        .map(of)
        .collect();
    assert_eq!(winners, [chosen]);
    for row in rows {
        for key in EVERY_ROW.iter().chain(keys) {
            assert!(
                row.as_object().unwrap().contains_key(*key),
                "{key} is missing in {row}"
            );
        }
    }
}

/// Rows without what may differ between two runs: times and sizes.
fn steady(mut rows: Vec<Value>) -> Vec<Value> {
    for row in &mut rows {
        row.as_object_mut().unwrap().retain(|key, _| {
            !key.ends_with("_cpu_seconds") && !key.ends_with("_bytes") && !key.ends_with("_ms")
        });
    }
    rows
}

/// Runs on one thread, two and four: the answers must be the same bytes.
#[track_caller]
fn on_any_threads(folder: &Path, flags: &[&str]) -> Vec<Value> {
    let on = |threads| {
        steady(rows(&lab(
            folder,
            &[flags, &["--json", "--threads", threads]].concat(),
        )))
    };
    let one = on("1");
    assert_eq!(on("2"), one);
    assert_eq!(on("4"), one);
    one
}

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
    check(&found, &models, "markov", &keys);
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
    check(&found, &["fifo"], "fifo", &keys);
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
    let more = [
        "wait_p50",
        "wait_p95",
        "worst_class_service_level",
        "service_level_low",
        "service_level_high",
    ];
    let found = rows(&lab(folder.path(), &[&calls[..], &["--json"]].concat()));
    let policies = ["fifo", "static-priority", "longest-idle", "cost"];
    check(&found, &policies, "fifo", &[&keys[..], &more].concat());
    on_any_threads(folder.path(), &calls);
    let named = [&calls[..], &["--policy", "cost,fifo", "--json"]].concat();
    check(
        &rows(&lab(folder.path(), &named)),
        &["cost", "fifo"],
        "cost",
        &keys,
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
        "holdout_mae",
        "holdout_mae_low",
        "holdout_mae_high",
        "naive_mae",
        "naive_mae_low",
        "naive_mae_high",
        "fit_ms",
    ];
    let saved = [&flags[..], &["--json", "--save", "clv.model"]].concat();
    let found = rows(&lab(folder.path(), &saved));
    check(&found, &["bgnbd"], "bgnbd", &keys);
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
        let output = lab(folder.path(), flags);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(
            output.stdout.is_empty() && text(&output.stderr).contains(expected),
            "{}",
            text(&output.stderr)
        );
    }
}
