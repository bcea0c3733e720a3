//! Customer value against the papers' formulas with 60 digits and scipy's fits (`golden/golden.py`).
#![expect(clippy::unwrap_used, reason = "tests")]

use profile_domain::clv::{BgNbd, ClvModel, Customer, GammaGamma, History};

fn golden(wanted: &'static str) -> impl Iterator<Item = (Vec<f64>, Vec<f64>)> {
    let numbers = |text: &str| -> Vec<f64> {
        text.split(' ')
            .map(|number| number.parse().unwrap())
            .collect()
    };
    let rows = include_str!("../golden/models.csv").lines().skip(1);
    rows.filter_map(move |row| {
        let fields: Vec<&str> = row.split(',').collect();
        (fields[0] == wanted).then(|| (numbers(fields[1]), numbers(fields[2])))
    })
}

#[track_caller]
fn check(inputs: &[f64], ours: f64, golden: f64, relative: f64, absolute: f64) {
    let error = (ours - golden).abs();
    assert!(
        error <= (relative * golden.abs()).max(absolute),
        "{inputs:?}: {ours:e}, not {golden:e}"
    );
}

fn purchases(inputs: &[f64]) -> (BgNbd, History) {
    let model = BgNbd::new(inputs[0], inputs[1], inputs[2], inputs[3]).unwrap();
    (
        model,
        History::new(inputs[4] as u32, inputs[5], inputs[6]).unwrap(),
    )
}

#[test]
fn likelihood_and_life() {
    let mut checked = 0;
    for (inputs, values) in golden("purchases") {
        let (model, history) = purchases(&inputs);
        check(
            &inputs,
            model.log_likelihood(&history),
            values[0],
            1e-12,
            1e-13,
        );
        check(&inputs, model.alive(&history).get(), values[1], 1e-10, 0.0);
        checked += 1;
    }
    assert_eq!(checked, 30);
}

#[test]
fn expected_purchases() {
    let mut checked = 0;
    for (inputs, values) in golden("expected") {
        let (model, history) = purchases(&inputs);
        let ours = model.expected_purchases(&history, inputs[7]);
        check(&inputs, ours, values[0], 1e-12, 0.0);
        checked += 1;
    }
    assert_eq!(checked, 90);
}

#[test]
fn likelihood_of_spend() {
    let mut checked = 0;
    for (inputs, values) in golden("spend") {
        let model = GammaGamma::new(inputs[0], inputs[1], inputs[2]).unwrap();
        let ours = model.log_likelihood(inputs[3] as u32, inputs[4]);
        check(&inputs, ours, values[0], 1e-12, 1e-13);
        checked += 1;
    }
    assert_eq!(checked, 12);
}

/// The same customers as `golden.py` makes, from the same small generator.
fn customers(count: u64) -> Vec<Customer> {
    let mut state = count;
    let mut wait = |mean: f64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        -mean * (((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64).ln()
    };
    let one = |n: u64| {
        let age = 20.0 + (n % 20) as f64;
        let gap = [2.0, 9.0, 40.0, 150.0][n as usize % 4];
        let stays = [0.4, 1.5, 6.0][n as usize % 3];
        let worth = [8.0, 20.0, 30.0, 90.0, 25.0][n as usize % 5];
        let (mut spent, mut frequency, mut recency) = (0.0, 0, 0.0);
        loop {
            let at = recency + wait(gap);
            if at >= age {
                break;
            }
            (frequency, recency) = (frequency + 1, at);
            spent = spent + wait(worth) + wait(worth);
            if wait(stays) < 1.0 {
                break;
            }
        }
        Customer {
            history: History::new(frequency, recency, age).unwrap(),
            mean_spend: spent / f64::from(frequency.max(1)),
        }
    };
    (0..count).map(one).collect()
}

#[test]
fn fits() {
    for count in [400, 3_000] {
        let model = ClvModel::fit(&customers(count)).unwrap();
        let spend = model.spend.clone().unwrap();
        let ours = |wanted| {
            let (_, values) = golden(wanted)
                .find(|(inputs, _)| inputs[0] == count as f64)
                .unwrap();
            values
        };
        let expected = ours("fit_purchases");
        for (found, golden) in model.purchases.model.parameters().iter().zip(&expected) {
            check(&expected, *found, *golden, 1e-4, 0.0);
        }
        check(
            &expected,
            model.purchases.log_likelihood,
            expected[4],
            1e-10,
            0.0,
        );
        let expected = ours("fit_spend");
        for (found, golden) in spend.model.parameters().iter().zip(&expected) {
            check(&expected, *found, *golden, 1e-4, 0.0);
        }
        check(&expected, spend.log_likelihood, expected[3], 1e-10, 0.0);
        assert!(model.purchases.at_bound.is_empty() && spend.at_bound.is_empty());
    }
}
