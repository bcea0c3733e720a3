//! Metrics and folds worked by hand.

use super::deal;
use super::metrics::Scored;
use crate::error::LabError;

fn scored(rows: &[(f64, bool)]) -> Scored {
    let logit = |p: f64| (p / (1.0 - p)).ln();
    let logits = rows.iter().map(|(p, _)| logit(*p)).collect();
    Scored::new(logits, rows.iter().map(|(_, label)| *label).collect())
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
}

#[test]
fn metrics_worked_by_hand() {
    let rows = [
        (0.25, false),
        (0.25, false),
        (0.25, true),
        (0.25, false),
        (0.75, true),
        (0.75, true),
        (0.75, false),
        (0.75, true),
    ];
    let [auc, brier, slope, _] = scored(&rows).metrics(&[1; 8]);
    // Leavers .25, .75 ×3 against stayers .25 ×3, .75: wins (1.5) + 3·(3 + .5) of 16.
    close(auc, 12.0 / 16.0);
    close(brier, (6.0 * 0.0625 + 2.0 * 0.5625) / 8.0);
    close(slope, 1.0);
    // One row counted twice is two rows.
    let [twice, ..] = scored(&rows[1..]).metrics(&[2, 1, 1, 1, 1, 1, 1]);
    close(twice, auc);
}

#[test]
fn calibration_error_is_over_tenths() {
    // Twenty rows, two a bin; each bin's leavers are one of two: .5 against p.
    let rows: Vec<(f64, bool)> = (0..20)
        .map(|row| (0.04 + 0.045 * f64::from(row / 2), row % 2 == 0))
        .collect();
    let expected: f64 = (0..10)
        .map(|bin| (0.5 - (0.04 + 0.045 * f64::from(bin))).abs())
        .sum::<f64>()
        / 10.0;
    close(scored(&rows).metrics(&[1; 20])[3], expected);
    close(scored(&rows).metrics(&[3; 20])[3], expected);
    // Five rows: each straddles two bins and counts as two halves.
    let rows = [
        (0.5, true),
        (0.6, false),
        (0.7, true),
        (0.8, true),
        (0.9, false),
    ];
    close(
        scored(&rows).metrics(&[1; 5])[3],
        (0.5 + 0.6 + 0.3 + 0.2 + 0.9) / 5.0,
    );
}

#[test]
fn calibration_error_does_not_hang_on_the_order_of_equals() {
    // Two probabilities over 200 rows: .3 with 36 leavers of 100, .6 with 52 of 100.
    let row = |at: usize| match at {
        ..100 => (0.3, at < 36),
        _ => (0.6, at < 152),
    };
    let sorted: Vec<(f64, bool)> = (0..200).map(row).collect();
    let mixed: Vec<(f64, bool)> = (0..200).map(|at| row(at * 77 % 200)).collect();
    let expected = (0.06 + 0.08) / 2.0;
    for rows in [&sorted, &mixed] {
        close(scored(rows).metrics(&[1; 200])[3], expected);
        close(scored(rows).metrics(&[2; 200])[3], expected);
    }
    // A group that nobody drew is not there.
    let drawn: Vec<u32> = (0..200).map(|at| u32::from(at < 100)).collect();
    close(scored(&sorted).metrics(&drawn)[3], 0.06);
}

#[test]
fn undefined_metrics_are_not_zero() {
    let [auc, brier, slope, ece] = scored(&[(0.5, true), (0.5, true)]).metrics(&[1, 1]);
    assert!(auc.is_nan() && slope.is_nan());
    close(brier, 0.25);
    close(ece, 0.5);
}

#[test]
fn folds_are_stratified_and_drawn_by_seed() {
    let labels: Vec<bool> = (0..103).map(|row| row % 10 == 0).collect();
    let place = deal(&labels, 5, 7, 0).unwrap();
    for fold in 0..5 {
        let rows: Vec<usize> = (0..103).filter(|row| place[*row] == fold).collect();
        let left = rows.iter().filter(|row| labels[**row]).count();
        assert!(
            (20..=22).contains(&rows.len()) && (2..=3).contains(&left),
            "{fold}"
        );
    }
    assert_eq!(deal(&labels, 5, 7, 0).unwrap(), place);
    assert_ne!(deal(&labels, 5, 7, 1).unwrap(), place);
    assert_ne!(deal(&labels, 5, 8, 0).unwrap(), place);
    let why = deal(&labels, 12, 7, 0).unwrap_err();
    assert_eq!(
        why,
        LabError::input("--cv: 12 folds need as many rows of each label, 11 say yes")
    );
}
