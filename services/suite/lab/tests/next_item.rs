#![expect(clippy::unwrap_used, reason = "tests")]
//! `lab next-item` from outside: rows and their keys, bytes, exit codes.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// Sessions that go round in circles of ten items, three circles apart.
fn files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rows = |from: usize, to: usize| {
        let mut text = "session,item,timestamp\n".to_owned();
        for session in from..to {
            for step in 0..4 {
                let item = session % 3 * 10 + (session / 3 + step) % 10;
                writeln!(text, "s{session},i{item},{step}").unwrap();
            }
        }
        text
    };
    std::fs::write(folder.path().join("train.csv"), rows(0, 90)).unwrap();
    std::fs::write(folder.path().join("test.csv"), rows(90, 120) + "s1,i10,9\n").unwrap();
    std::fs::write(
        folder.path().join("bad.csv"),
        "session,item,timestamp\ns,a,soon\n",
    )
    .unwrap();
    folder
}

fn lab(folder: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rapport-lab"))
        .args(["lab", "next-item", "--train", "train.csv", "--k", "5"])
        .args(flags)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn rows(output: &Output) -> Vec<Value> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_contract_is_kept() {
    let folder = files();
    let output = lab(folder.path(), &["--test", "test.csv", "--json"]);
    let found = rows(&output);
    let names: Vec<&str> = found
        .iter()
        .map(|row| row["algorithm"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["popularity", "item-knn", "markov", "vmis", "v-stan", "auto"]
    );
    for row in &found {
        assert_eq!(row["chosen"], row["algorithm"] == "auto");
        assert_eq!(
            (&row["train_rows"], &row["test_rows"]),
            (&360.into(), &121.into())
        );
        assert_eq!((&row["k"], &row["queries"]), (&5.into(), &90.into()));
        for key in [
            "hit_rate",
            "hit_rate_low",
            "hit_rate_high",
            "mrr",
            "mrr_low",
            "mrr_high",
            "seed",
            "train_cpu_seconds",
            "score_cpu_seconds",
            "peak_rss_bytes",
            "serve_us_p50",
            "serve_us_p99",
        ] {
            assert!(row[key].is_number(), "{key} in {row}");
        }
    }
    assert!(found[5]["select_cpu_seconds"].is_number() && found[5]["explain"]["model"].is_string());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("warning: 1 of 121 test rows"), "{errors}");
}

#[test]
fn the_answers_do_not_depend_on_threads() {
    let folder = files();
    let run = |threads: &str| {
        let flags = [
            "--test",
            "test.csv",
            "--json",
            "--algorithm",
            "auto,attention",
        ];
        let mut found = rows(&lab(
            folder.path(),
            &[&flags[..], &["--threads", threads]].concat(),
        ));
        for row in &mut found {
            let row = row.as_object_mut().unwrap();
            row.retain(|key, _| {
                !key.contains("seconds") && !key.contains("_us_") && key != "peak_rss_bytes"
            });
        }
        found
    };
    let one = run("1");
    assert_eq!(one, run("3"));
    assert_eq!(
        (&one[0]["chosen"], &one[1]["chosen"]),
        (&true.into(), &false.into())
    );
}

#[test]
fn wrong_files_and_flags_exit_with_2() {
    let folder = files();
    for (flags, why) in [
        (
            &["--test", "bad.csv"][..],
            "bad.csv, line 2, column 3 (timestamp)",
        ),
        (
            &["--test", "test.csv", "--algorithm", "oracle"],
            "unknown here",
        ),
        (
            &["--test", "test.csv", "--save", "model"],
            "do not load session models",
        ),
    ] {
        let output = lab(folder.path(), flags);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(why) && output.stdout.is_empty());
    }
}
