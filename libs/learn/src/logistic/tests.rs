//! Against scikit-learn on the same table, and against closed forms.

use super::*;
use crate::table::Table;

/// Written by golden/golden.py.
const GOLDEN: &str = include_str!("../../golden/logistic.csv");

#[test]
fn coefficients_are_those_of_scikit_learn() {
    let mut table = Table::new(&["x1", "x2", "group"]).unwrap();
    let (mut labels, mut fits) = (Vec::new(), Vec::new());
    for line in GOLDEN.lines() {
        let cells: Vec<&str> = line.split(',').collect();
        match cells[0] {
            "row" => {
                table.push(&cells[1..4]).unwrap();
                labels.push(cells[4] == "1");
            }
            "fit" => fits.push(
                cells[1..]
                    .iter()
                    .map(|cell| cell.parse::<f64>().unwrap())
                    .collect::<Vec<_>>(),
            ),
            _ => {}
        }
    }
    let schema = Schema::learn(&table);
    let frame = schema.encode(&table);
    let rows: Vec<u32> = (0..labels.len() as u32).collect();
    let design = Design::new(&schema, &frame, &rows, &labels);
    assert_eq!((rows.len(), fits.len()), (60, 3));
    for fit in fits {
        let (weights, _) = design.fit(1.0 / (fit[0] * 60.0), None, 1e-10);
        // Bias; x1 and its missing weight; x2 and its; missing, a, b, c, others.
        let expected = [
            fit[1], fit[2], 0.0, fit[3], 0.0, 0.0, fit[4], fit[5], fit[6], 0.0,
        ];
        for (found, expected) in weights.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-7, "{weights:?} {fit:?}");
        }
        let model = design.model(&weights);
        let logits = design.logits(&weights, &rows);
        for (row, logit) in logits.iter().enumerate() {
            assert!((model.logit(&frame.row(row)) - logit).abs() < 1e-12);
        }
    }
}

#[test]
fn without_penalty_two_groups_have_their_own_log_odds() {
    let mut table = Table::new(&["group"]).unwrap();
    let mut labels = Vec::new();
    for row in 0..40 {
        table.push(&[if row % 2 == 0 { "a" } else { "b" }]).unwrap();
        labels.push(if row % 2 == 0 { row < 10 } else { row < 30 });
    }
    let schema = Schema::learn(&table);
    let frame = schema.encode(&table);
    let rows: Vec<u32> = (0..40).collect();
    let design = Design::new(&schema, &frame, &rows, &labels);
    let (weights, _) = design.fit(1e-9, None, 1e-12);
    let model = design.model(&weights);
    // Of "a" 5 of 20 say yes, of "b" 15 of 20.
    assert!((model.logit(&[1.0]) + 3f64.ln()).abs() < 1e-6);
    assert!((model.logit(&[2.0]) - 3f64.ln()).abs() < 1e-6);
    assert!(model.base.abs() < 1e-6);
}

#[test]
fn wild_numbers_stay_finite() {
    let mut table = Table::new(&["x"]).unwrap();
    let mut labels = Vec::new();
    for row in 0..30 {
        table
            .push(&[["1e300", "-1e300", "5", ""][row % 4]])
            .unwrap();
        labels.push(row % 3 == 0);
    }
    let schema = Schema::learn(&table);
    let frame = schema.encode(&table);
    let rows: Vec<u32> = (0..30).collect();
    let design = Design::new(&schema, &frame, &rows, &labels);
    let (weights, _) = design.fit(0.01, None, 1e-9);
    assert!(weights.iter().all(|weight| weight.is_finite()));
    assert!(design.model(&weights).logit(&[f64::MAX]).is_finite());
}
