//! Credits worked by hand, through files.

use tempfile::TempDir;

use super::*;
use crate::args::Task;
use crate::support::{common, job, put};

fn args(folder: &TempDir, file: &str, order: u64) -> AttributionArgs {
    AttributionArgs {
        paths: put(folder, "paths.csv", file),
        order,
        common: common(),
    }
}

fn run(file: &str, algorithm: &str, order: u64) -> Result<Row, LabError> {
    let folder = tempfile::tempdir().unwrap();
    let args = args(&folder, file, order);
    let job = job(Task::Attribution(args.clone()), algorithm);
    measure(&args, &job).map(|mut answer| answer.rows.remove(0))
}

#[track_caller]
fn check(row: &Row, key: &str, channel: &str, expected: f64) {
    let found = row.get(key).unwrap()[channel].as_f64().unwrap();
    assert!(
        (found - expected).abs() < 1e-12,
        "{key} of {channel} is {found}"
    );
}

const FILE: &str = "path,conversions,value,null\na > b,2,16,2\nc,1,1.0,0\n";

#[test]
fn models_credit_as_worked_by_hand() {
    let last = run(FILE, "last", 1).unwrap();
    check(&last, "credit", "b", 2.0);
    check(&last, "value_credit", "b", 16.0);
    assert_eq!(last.get("removal_effects"), Some(&Value::Null));
    // Start: a 4/5, c 1/5; b converts half: .4 + .2. Without a or b .2 is left, without c .4.
    let markov = run(FILE, "markov", 1).unwrap();
    check(&markov, "removal_effects", "a", 2.0 / 3.0);
    check(&markov, "removal_effects", "c", 1.0 / 3.0);
    check(&markov, "credit", "a", 1.2);
    check(&markov, "credit", "c", 0.6);
    // a and b always meet, c meets nobody: no pair has all four groups.
    assert_eq!(markov.get("synergy").unwrap()["a + b"], Value::Null);
    assert_eq!(
        run(FILE, "markov", 2).unwrap().get("credit"),
        markov.get("credit")
    );
}

#[test]
fn value_and_null_may_be_absent_and_columns_may_have_other_names() {
    let row = run("journey,sales\nx > y,3\ny,1\n", "linear", 1).unwrap();
    check(&row, "credit", "x", 1.5);
    check(&row, "value_credit", "y", 0.0);
    let counted = run("null,conversions,path\n4,1.0,p\n0,1,q\n", "markov", 1).unwrap();
    // p converts 1 of 5 of its 5 of 6 journeys, q its one: 1/6 and 1/6.
    check(&counted, "removal_effects", "p", 0.5);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (file, expected) in [
        (
            "path,conversions\na,1\nb,-1\n",
            "line 3, column 2 (conversions): must be a whole number, 0 or above",
        ),
        (
            "path,conversions\na,.5\n",
            "line 2, column 2 (conversions): must be a whole number, 0 or above",
        ),
        (
            "path,conversions\na,1\na >  > b,1\n",
            "line 3, column 1: channel name \"\" is not 1 to 128 bytes",
        ),
        ("path,conversions\n", "there is no path"),
    ] {
        let error = run(file, "first", 1).unwrap_err();
        assert!(error.to_string().ends_with(expected), "{error}");
    }
}

#[test]
fn markov_is_chosen_unless_another_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut args = args(&folder, FILE, 1);
    assert_eq!(plan(&args).unwrap().rule, Rule::Known(5));
    args.common.algorithm = vec!["shapley".to_owned(), "markov".to_owned()];
    let chosen = plan(&args).unwrap();
    assert_eq!(
        (chosen.algorithms[0], chosen.rule),
        ("shapley", Rule::Known(0))
    );
}
