//! The command line from outside: rows and their keys, exit codes, warnings, files.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{check, lab, on_any_threads, refuses, rows, text};

/// Small files of every shape.
fn files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let (mut train, mut test) = ("user,item\n".to_owned(), "user,item\nu0,i1\n".to_owned());
    for user in 0..20 {
        for place in 0..6 {
            let row = format!("u{user},i{}\n", (user % 2) * 10 + (user + place) % 10);
            if place < 5 {
                train += &row
            } else {
                test += &row
            }
        }
    }
    put("pairs.csv", &train);
    put("asked.csv", &test);
    put("bad.csv", "user,item\nu,a\nu,\n");
    let mut texts = "text,label\n".to_owned();
    for row in 0..40 {
        writeln!(texts, "where is my parcel number {row},delivery").unwrap();
        writeln!(texts, "i want my money back for order {row},refund").unwrap();
        writeln!(texts, "does the red shoe number {row} come in blue,product").unwrap();
    }
    put("texts.csv", &texts);
    put(
        "said.csv",
        "text,label\nwhere is my parcel,delivery\nmy money back please,refund\nsing me a song,none\nis the shoe blue,product\n",
    );
    let mut arms = "arm,spend,before\n".to_owned();
    for unit in 0..300 {
        writeln!(
            arms,
            "{},{},{}",
            ["a", "b", "c"][unit % 3],
            unit % 7,
            unit % 11
        )
        .unwrap();
    }
    put("arms.csv", &arms);
    folder
}

#[test]
fn recommend_keeps_the_contract() {
    let folder = files();
    let flags = [
        "recommend",
        "--train",
        "pairs.csv",
        "--test",
        "asked.csv",
        "--k",
        "3",
        "--json",
    ];
    let output = lab(folder.path(), &flags);
    let keys = ["k", "users", "coverage", "serve_us_p50", "serve_us_p99"];
    let metrics = ["recall", "ndcg", "hit_rate", "diversity", "novelty"];
    let found = rows(&output);
    check(
        &found,
        &[
            "popularity",
            "user-knn",
            "item-knn",
            "ease",
            "ials",
            "gf-cf",
            "auto",
        ],
        "auto",
        &keys,
        &metrics,
    );
    assert!(found[6]["select_cpu_seconds"].is_number() && found[6]["explain"]["model"].is_string());
    assert!(
        text(&output.stderr)
            .contains("warning: 1 of 21 test pairs stand in the training file too (kept")
    );
    let dropped = lab(
        folder.path(),
        &[
            &flags[..],
            &["--drop-overlap", "--algorithm", "item-knn,popularity"],
        ]
        .concat(),
    );
    assert!(text(&dropped.stderr).contains("(dropped)"));
    let found = rows(&dropped);
    assert!(
        found
            .iter()
            .all(|row| row["test_rows"] == 20 && row["users"] == 20)
    );
    check(
        &found,
        &["item-knn", "popularity"],
        "item-knn",
        &keys,
        &metrics,
    );
    let limited = lab(
        folder.path(),
        &[&flags[..], &["--limit", "2", "--algorithm", "popularity"]].concat(),
    );
    assert_eq!(rows(&limited)[0]["users"], 2);
}

#[test]
fn classify_keeps_the_contract() {
    let folder = files();
    let flags = [
        "classify",
        "--train",
        "texts.csv",
        "--test",
        "said.csv",
        "--json",
        "--budget-cpu-seconds",
        "5",
    ];
    let keys = ["us_per_text", "model_bytes", "recall_by_label"];
    let all = ["majority", "naive-bayes", "linear", "auto"];
    let found = rows(&lab(folder.path(), &flags));
    check(&found, &all, "auto", &keys, &["accuracy", "macro_f1"]);
    let select = found[3]["select_cpu_seconds"].as_f64().unwrap();
    assert!(select > 0.0, "what choosing cost is told apart");
    let scope = [
        "in_scope_accuracy",
        "oos_recall",
        "oos_precision",
        "oos_auroc",
    ];
    let metrics = [&["accuracy", "macro_f1"][..], &scope].concat();
    let outside = lab(
        folder.path(),
        &[
            &flags[..],
            &["--out-of-scope", "none", "--algorithm", "linear"],
        ]
        .concat(),
    );
    check(&rows(&outside), &["linear"], "linear", &keys, &metrics);
    let held = lab(
        folder.path(),
        &[
            &flags[..],
            &["--hold-out-labels", "1", "--algorithm", "naive-bayes"],
        ]
        .concat(),
    );
    let held = rows(&held);
    check(&held, &["naive-bayes"], "naive-bayes", &keys, &metrics);
    assert_eq!(held[0]["train_rows"], 80);
    assert!(held[0]["recall_by_label"]["out_of_scope"].is_number());
}

#[test]
fn experiment_keeps_the_contract() {
    let folder = files();
    let flags = [
        "experiment",
        "--data",
        "arms.csv",
        "--variant",
        "arm",
        "--metric",
        "spend",
        "--json",
        "--control",
        "a",
    ];
    let keys = [
        "variant",
        "control_mean",
        "treated_mean",
        "effect",
        "relative_effect",
        "se",
        "p",
        "ci_low",
        "ci_high",
        "sequential_low",
        "sequential_high",
        "cuped_effect",
        "cuped_se",
        "srm_p",
        "verdict",
        "warnings",
    ];
    let found = rows(&lab(folder.path(), &flags));
    check(
        &found,
        &["welch", "welch", "bayes", "bayes"],
        "welch",
        &keys,
        &[],
    );
    assert_eq!(
        (&found[0]["variant"], &found[0]["chosen"]),
        (&Value::from("b"), &Value::from(true))
    );
    let more = [
        "--covariate",
        "before",
        "--treated",
        "c",
        "--algorithm",
        "cuped,welch",
        "--null-runs",
        "20",
    ];
    let found = rows(&lab(folder.path(), &[&flags[..], &more].concat()));
    let errors = ["sequential_type_1_error", "naive_type_1_error"];
    check(
        &found,
        &["cuped", "cuped", "welch", "welch"],
        "cuped",
        &keys,
        &errors,
    );
    assert_eq!(found[1]["chosen"], true, "arm c");
}

#[test]
fn the_same_bytes_come_out_for_any_number_of_threads() {
    let folder = files();
    let tasks: [&[&str]; 3] = [
        &[
            "recommend",
            "--train",
            "pairs.csv",
            "--test",
            "asked.csv",
            "--k",
            "3",
        ],
        &[
            "classify",
            "--train",
            "texts.csv",
            "--test",
            "said.csv",
            "--budget-cpu-seconds",
            "5",
            "--out-of-scope",
            "none",
        ],
        &[
            "experiment",
            "--data",
            "arms.csv",
            "--variant",
            "arm",
            "--metric",
            "spend",
            "--control",
            "a",
            "--null-runs",
            "20",
        ],
    ];
    for task in tasks {
        on_any_threads(folder.path(), &[task, &["--seed", "5"]].concat());
    }
}

#[track_caller]
fn refuses_with(folder: &Path, flags: &[&str], line: &str) {
    refuses(folder, flags, &format!("error: {line}\n"));
}

#[test]
fn bad_input_exits_with_two_and_names_the_place() {
    let folder = files();
    let folder = folder.path();
    let recommend = |train, more: &[&'static str]| {
        [
            &["recommend", "--train", train, "--test", "asked.csv"],
            more,
        ]
        .concat()
    };
    refuses_with(
        folder,
        &recommend("bad.csv", &[]),
        "bad.csv, line 3, column 2 (item): is empty",
    );
    refuses_with(
        folder,
        &recommend("pairs.csv", &["--algorithm", "magic"]),
        "--algorithm magic: unknown here; there are popularity, user-knn, item-knn, ease, slim, ials, gf-cf, bspm, auto, and `all`",
    );
    refuses(
        folder,
        &recommend("pairs.csv", &["--algorithm", "all,magic"]),
        "--algorithm magic: unknown here",
    );
    refuses_with(
        folder,
        &recommend("pairs.csv", &["--budget-cpu-seconds", "0"]),
        "--budget-cpu-seconds must be above 0",
    );
    let output = lab(folder, &recommend("none.csv", &[]));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("error: none.csv: cannot be read: "));
    let flags = [
        "classify",
        "--train",
        "texts.csv",
        "--test",
        "said.csv",
        "--hold-out-labels",
        "2",
    ];
    refuses_with(
        folder,
        &flags,
        "--hold-out-labels 2: of 3 labels two must stay",
    );
    let flags = [
        "experiment",
        "--data",
        "arms.csv",
        "--variant",
        "arm",
        "--metric",
        "spend",
    ];
    refuses_with(
        folder,
        &flags,
        "--control is required above two arms; there are a, b, c",
    );
    let cuped = [&flags[..], &["--control", "a", "--algorithm", "cuped"]].concat();
    refuses_with(folder, &cuped, "--algorithm cuped needs --covariate");
}

#[test]
fn the_chosen_model_is_saved_and_no_other_file_stays() {
    let folder = files();
    let before = std::fs::read_dir(folder.path()).unwrap().count();
    let flags = [
        "recommend",
        "--train",
        "pairs.csv",
        "--test",
        "asked.csv",
        "--save",
        "model",
        "--algorithm",
        "popularity,item-knn",
    ];
    let output = lab(folder.path(), &flags);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(folder.path().join("model").metadata().unwrap().len() > 100);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        before + 1
    );
    let table = text(&output.stdout);
    assert!(
        table.contains("item-knn *") && table.contains("recall"),
        "{table}"
    );
}
