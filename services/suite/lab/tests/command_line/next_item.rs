//! `lab next-item` from outside: rows and their keys, bytes, exit codes.

use std::fmt::Write as _;

use tempfile::TempDir;

use crate::support::{check, lab, on_any_threads, refuses, rows, text};

const TRAINED: [&str; 5] = ["next-item", "--train", "train.csv", "--k", "5"];

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

#[test]
fn the_contract_is_kept() {
    let folder = files();
    let flags = [&TRAINED[..], &["--test", "test.csv", "--json"]].concat();
    let output = lab(folder.path(), &flags);
    let found = rows(&output);
    check(
        &found,
        &["popularity", "item-knn", "markov", "vmis", "v-stan", "auto"],
        "auto",
        &["serve_us_p50", "serve_us_p99"],
        &["hit_rate", "mrr"],
    );
    for row in &found {
        assert_eq!(
            (&row["train_rows"], &row["test_rows"]),
            (&360.into(), &121.into())
        );
        assert_eq!((&row["k"], &row["queries"]), (&5.into(), &90.into()));
        for key in ["hit_rate", "hit_rate_low", "mrr_high", "serve_us_p99"] {
            assert!(row[key].is_number(), "{key} in {row}");
        }
    }
    assert!(found[5]["select_cpu_seconds"].is_number() && found[5]["explain"]["model"].is_string());
    let errors = text(&output.stderr);
    assert!(errors.contains("warning: 1 of 121 test pairs"), "{errors}");
}

#[test]
fn the_answers_do_not_depend_on_threads() {
    let folder = files();
    let flags = ["--test", "test.csv", "--algorithm", "auto,attention"];
    let one = on_any_threads(folder.path(), &[&TRAINED[..], &flags].concat());
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
        refuses(folder.path(), &[&TRAINED[..], flags].concat(), why);
    }
}
