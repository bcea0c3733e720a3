//! `rapport lab churn` from outside: rows and their keys, any threads, odd files, refusals.

use std::fmt::Write as _;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{check, lab, on_any_threads, refuses, rows, steady, text};

/// People with an age, a plan that may be missing and a number; those of the basic plan leave.
fn people(from: u32, to: u32) -> String {
    let mut file = "id,age,plan,since,country,left\n".to_owned();
    for person in from..to {
        let (age, plan) = (
            person * 37 % 60 + 18,
            ["basic", "pro", ""][person as usize % 3],
        );
        let leaves = (plan == "basic" && person % 5 > 0) || person % 11 == 0;
        let left = if leaves { "Yes" } else { "no" };
        let day = person % 28 + 1;
        writeln!(file, "p{person},{age},{plan},2024-02-{day:02},NZ,{left}").unwrap();
    }
    file
}

fn files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put("train.csv", &people(0, 300));
    put("test.csv", &people(300, 420));
    put("loyal.csv", "age,left\n1,0\n2,0\n3,0\n");
    put("odd.csv", "age,left\n1,0\n2,perhaps\n");
    folder
}

#[test]
fn held_out_rows_keep_the_contract_on_any_threads() {
    let folder = files();
    let flags = [
        "churn",
        "--train",
        "train.csv",
        "--test",
        "test.csv",
        "--label",
        "left",
    ];
    let output = lab(folder.path(), &[&flags[..], &["--json"]].concat());
    let warnings = text(&output.stderr);
    assert!(warnings.contains("column id names rows"), "{warnings}");
    assert!(
        warnings.contains("column country says the same"),
        "{warnings}"
    );
    let found = rows(&output);
    let models = ["constant", "logistic", "trees", "auto"];
    let metrics = ["auc", "brier", "calibration_slope", "ece"];
    check(&found, &models, "auto", &[], &metrics);
    assert_eq!(found[0]["auc"], 0.5);
    assert_eq!(found[3]["top_reasons"][0], "plan");
    assert!(found[3]["auc"].as_f64().unwrap() > 0.8);
    assert!(
        found[3]
            .as_object()
            .unwrap()
            .contains_key("select_cpu_seconds")
    );
    assert_eq!(on_any_threads(folder.path(), &flags), steady(found));
}

#[test]
fn folds_cover_every_row_and_the_winner_is_saved() {
    let folder = files();
    let flags = [
        "churn",
        "--json",
        "--data",
        "train.csv",
        "--label",
        "left",
        "--cv",
        "3x2",
        "--ignore",
        "id,since",
        "--algorithm",
        "constant,logistic",
        "--save",
        "churn.model",
    ];
    let found = rows(&lab(folder.path(), &flags));
    assert_eq!(found.len(), 2);
    assert_eq!(
        (&found[0]["chosen"], &found[1]["chosen"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    assert_eq!(
        (&found[1]["test_rows"], &found[1]["train_rows"]),
        (&Value::from(300), &Value::from(300))
    );
    let model = rapport_learn::Model::load(&folder.path().join("churn.model")).unwrap();
    assert_eq!(model.schema().names(), ["age", "plan"]);
    let leaves = |plan: &str| model.probability(&model.schema().encode_row(&["30", plan]));
    assert!(leaves("basic") > 0.5 && leaves("pro") < 0.5);
}

#[test]
fn a_limit_cuts_what_is_measured_and_never_what_is_learned_from() {
    let folder = files();
    let flags = [
        "churn",
        "--json",
        "--data",
        "train.csv",
        "--label",
        "left",
        "--cv",
        "3x1",
        "--algorithm",
        "logistic",
        "--save",
        "churn.model",
    ];
    let model = || std::fs::read(folder.path().join("churn.model")).unwrap();
    let all = rows(&lab(folder.path(), &flags));
    let whole = model();
    // Dates are the model's own to read: a service hands them over as they are written.
    let kept = rapport_learn::Model::from_bytes(&whole).unwrap();
    assert_eq!(kept.schema().names(), ["age", "plan", "since"]);
    assert_eq!(
        kept.schema().encode_row(&["30", "pro", "2024-02-01"])[2],
        19_754.0
    );
    let few = rows(&lab(
        folder.path(),
        &[&flags[..], &["--limit", "50"]].concat(),
    ));
    assert_eq!(
        (&few[0]["train_rows"], &few[0]["test_rows"]),
        (&Value::from(300), &Value::from(50))
    );
    assert_ne!(few[0]["auc"], all[0]["auc"]);
    assert_eq!(model(), whole);
}

#[test]
fn the_test_file_need_not_have_what_is_ignored() {
    let folder = files();
    let bare: String = people(300, 420)
        .lines()
        .map(|line| format!("{}\n", line.split_once(',').unwrap().1))
        .collect();
    std::fs::write(folder.path().join("bare.csv"), bare).unwrap();
    let answer = |test| {
        let trained = ["--train", "train.csv", "--label", "left", "--ignore", "id"];
        let tested = ["--test", test, "--algorithm", "logistic"];
        let flags = [&["churn", "--json"], &trained[..], &tested].concat();
        steady(rows(&lab(folder.path(), &flags)))
    };
    assert_eq!(answer("bare.csv"), answer("test.csv"));
}

#[test]
fn numbers_with_a_minus_are_no_dates() {
    let folder = tempfile::tempdir().unwrap();
    let file = |size: [&str; 3]| {
        let leaves = |row: u32| row % 3 * 3 > row % 10;
        let line = |row: u32| format!("{},{}\n", size[row as usize % 3], leaves(row));
        let lines: String = (0..90).map(line).collect();
        std::fs::write(folder.path().join("t.csv"), format!("size,left\n{lines}")).unwrap();
        let flags = ["churn", "--json", "--data", "t.csv", "--label", "left"];
        let asked = ["--cv", "2x1", "--algorithm", "logistic"];
        steady(rows(&lab(folder.path(), &[&flags[..], &asked].concat())))
    };
    // 1.5e-05 has its minus where a date has one.
    assert_eq!(
        file(["1e-05", "1.5e-05", "2e-05"]),
        file(["0.00001", "0.000015", "0.00002"])
    );
}

#[test]
fn refusals_are_sentences() {
    let folder = files();
    let refused = |flags: &[&str], why: &str| {
        refuses(folder.path(), &[&["churn"], flags].concat(), why);
    };
    let hold_out = |file: &'static str| ["--train", file, "--test", "test.csv", "--label", "left"];
    refused(
        &hold_out("loyal.csv"),
        "the label is no in every training row",
    );
    refused(
        &hold_out("odd.csv"),
        "odd.csv, line 3, column 2 (left): \"perhaps\" is no truth value",
    );
    refused(
        &["--data", "loyal.csv", "--label", "left", "--cv", "2x1"],
        "0 say yes",
    );
    refused(
        &["--data", "train.csv", "--label", "gone", "--cv", "2x1"],
        "there is no column gone",
    );
    // A second column of the label's name would answer for the model.
    let twice = people(0, 60).replace("country,left", "left,left");
    std::fs::write(folder.path().join("twice.csv"), twice).unwrap();
    refused(
        &["--data", "twice.csv", "--label", "left", "--cv", "2x1"],
        "twice.csv, line 1, column 6 (left): another column has this name",
    );
    refused(
        &[
            "--data",
            "train.csv",
            "--label",
            "left",
            "--cv",
            "2x1",
            "--ignore",
            "gone",
        ],
        "there is no column gone",
    );
}
