//! What the tests of all tasks share: running the program, its rows, what every row holds.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Keys that every row of every task has.
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

/// Runs `rapport lab` with the flags, in the folder.
pub(crate) fn lab(folder: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rapport-lab"))
        .arg("lab")
        .args(flags)
        .current_dir(folder)
        .output()
        .unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The rows of a run that succeeded, of `--json`.
#[track_caller]
pub(crate) fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Rows without what may differ between two runs: times, and memory.
pub(crate) fn steady(mut rows: Vec<Value>) -> Vec<Value> {
    let measured = |key: &str| {
        let ends = ["_cpu_seconds", "_ms", "peak_rss_bytes", "us_per_text"];
        ends.iter().any(|end| key.ends_with(end)) || key.contains("_us_")
    };
    for row in &mut rows {
        let row = row.as_object_mut().unwrap();
        row.retain(|key, _| !measured(key));
    }
    rows
}

/// Runs on one thread, two and four: the answers must be the same bytes.
#[track_caller]
pub(crate) fn on_any_threads(folder: &Path, flags: &[&str]) -> Vec<Value> {
    let on = |threads| {
        let flags = [flags, &["--json", "--threads", threads]].concat();
        steady(rows(&lab(folder, &flags)))
    };
    let one = on("1");
    assert_eq!(on("2"), one);
    assert_eq!(on("4"), one);
    one
}

/// Holds rows against the contract: one per algorithm in this order, one of them chosen, each with the
/// keys of every row, its own, and its metrics with both ends of their intervals.
#[track_caller]
pub(crate) fn check(
    rows: &[Value],
    algorithms: &[&str],
    chosen: &str,
    keys: &[&str],
    metrics: &[&str],
) {
    let of = |row: &Value| row["algorithm"].as_str().unwrap().to_owned();
    assert_eq!(rows.iter().map(of).collect::<Vec<_>>(), algorithms);
    let winners = rows.iter().filter(|row| row["chosen"] == true);
    assert_eq!(winners.map(of).collect::<Vec<_>>(), [chosen]);
    for row in rows {
        let fields = row.as_object().unwrap();
        let plain = EVERY_ROW.iter().chain(keys).chain(metrics);
        let ends = metrics
            .iter()
            .flat_map(|metric| [format!("{metric}_low"), format!("{metric}_high")]);
        for key in plain.map(|key| (*key).to_owned()).chain(ends) {
            assert!(fields.contains_key(&key), "{key} is missing in {row}");
        }
        assert!(
            row["peak_rss_bytes"].as_u64().unwrap() > 1 << 20
                && row["train_cpu_seconds"].is_number()
        );
    }
}

/// Runs flags that end with exit code 2, no row, and `expected` in what is said.
#[track_caller]
pub(crate) fn refuses(folder: &Path, flags: &[&str], expected: &str) {
    let output = lab(folder, flags);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty());
    assert!(said.contains(expected), "{said}");
}
