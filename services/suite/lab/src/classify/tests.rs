//! Metrics worked by hand.

use super::metrics::{Said, auroc_of, put_metrics};
use crate::row::Row;

fn said(label: &str, rejects: bool, confidence: f64) -> Said<'_> {
    Said {
        label,
        rejects,
        confidence,
    }
}

fn labelled(labels: &[&str]) -> Vec<(String, String)> {
    labels
        .iter()
        .map(|label| ("text".to_owned(), (*label).to_owned()))
        .collect()
}

#[track_caller]
fn check(row: &Row, key: &str, expected: f64) {
    let found = row.get(key).and_then(serde_json::Value::as_f64).unwrap();
    assert!(
        (found - expected).abs() < 1e-12,
        "{key} is {found}, not {expected}"
    );
}

#[test]
fn accuracy_f1_and_recall() {
    let test = labelled(&["a", "a", "a", "b", "b", "c"]);
    let answers = ["a", "a", "b", "b", "d", "c"].map(|label| said(label, true, 1.0));
    let mut row = Row::default();
    put_metrics(&mut row, &test, &answers, None, 0); // a rejection without a rejected label is none
    check(&row, "accuracy", 4.0 / 6.0);
    // F1: a 2·2/(3+2), b 2·1/(2+2), c 1, d 0.
    check(&row, "macro_f1", (0.8 + 0.5 + 1.0 + 0.0) / 4.0);
    let recall = row.get("recall_by_label").unwrap();
    assert_eq!(recall.as_object().unwrap().len(), 3);
    assert_eq!(
        (recall["b"].as_f64(), recall["c"].as_f64()),
        (Some(0.5), Some(1.0))
    );
    assert!(row.get("accuracy_low").unwrap().as_f64() < Some(4.0 / 6.0));
    assert!(row.get("oos_recall").is_none());
}

#[test]
fn rejections_are_one_more_class() {
    let test = labelled(&["a", "a", "b", "none", "none", "none"]);
    let answers = [
        said("a", false, 3.0),
        said("a", true, 0.5), // right label, but thrown out: an error
        said("a", false, 2.0),
        said("a", true, 0.1),
        said("b", true, 0.5),
        said("b", false, 2.0),
    ];
    let mut row = Row::default();
    put_metrics(&mut row, &test, &answers, Some("none"), 0);
    check(&row, "accuracy", 3.0 / 6.0);
    check(&row, "in_scope_accuracy", 1.0 / 3.0);
    check(&row, "oos_recall", 2.0 / 3.0);
    check(&row, "oos_precision", 2.0 / 3.0);
    // In scope 3.0, 0.5, 2.0 against 0.1, 0.5, 2.0: wins 3 + (1 + .5) + (2 + .5) of 9.
    check(&row, "oos_auroc", 7.0 / 9.0);
}

#[test]
fn without_outsiders_the_area_is_undefined() {
    let answers = [said("a", false, 1.0), said("b", false, 2.0)];
    assert!(auroc_of(&answers, &[false, false]).is_nan());
    assert_eq!(
        auroc_of(&answers, &[true, false]).to_bits(),
        1.0f64.to_bits()
    );
    let mut row = Row::default();
    put_metrics(&mut row, &labelled(&["a", "b"]), &answers, Some("none"), 0);
    assert_eq!(row.get("oos_recall"), Some(&serde_json::Value::Null));
    check(&row, "in_scope_accuracy", 1.0);
}
