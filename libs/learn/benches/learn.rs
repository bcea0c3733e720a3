//! One number per hot function: a table of 20 columns and 5,000 rows, the size of a churn file. Target:
//! one answer below 20 µs and its reasons below 1 ms on one core, which leaves a service's 5 ms to the
//! rest of the call.

#![expect(clippy::unwrap_used, reason = "benches")]

use criterion::{Criterion, criterion_group, criterion_main};
use rapport_learn::{Algorithm, Model, Table, TrainOptions};
use rapport_math::Rng;
use std::hint::black_box;

const ROWS: usize = 5_000;
const NUMBERS: usize = 8;
const CATEGORIES: usize = 12;

fn made() -> (Table, Vec<bool>) {
    let names: Vec<String> = (0..NUMBERS + CATEGORIES)
        .map(|at| format!("c{at}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut table = Table::new(&names).unwrap();
    let mut rng = Rng::seeded(1);
    let mut labels = Vec::new();
    for _ in 0..ROWS {
        let numbers: Vec<f64> = (0..NUMBERS).map(|_| rng.normal()).collect();
        let codes: Vec<u64> = (0..CATEGORIES).map(|at| rng.below(2 + at as u64)).collect();
        let cells = numbers
            .iter()
            .map(f64::to_string)
            .chain(codes.iter().map(|code| format!("l{code}")));
        table.push(&cells.collect::<Vec<_>>()).unwrap();
        let logit = numbers[0] * numbers[1] + numbers[2] - 1.5 + codes[1] as f64;
        labels.push(rng.chance(1.0 / (1.0 + (-logit).exp())));
    }
    (table, labels)
}

fn predict(criterion: &mut Criterion) {
    let (table, labels) = made();
    for algorithm in [Algorithm::Logistic, Algorithm::Trees] {
        let options = TrainOptions {
            algorithm,
            budget_cpu_seconds: 20.0,
            ..TrainOptions::default()
        };
        let (model, report) = Model::train(&table, &labels, &options).unwrap();
        let row = model.schema().encode(&table).row(17);
        let name = format!("{}_20_columns_{}_trees", algorithm.name(), report.trees);
        criterion.bench_function(&format!("predict_{name}"), |bench| {
            bench.iter(|| model.logit(black_box(&row)));
        });
        criterion.bench_function(&format!("reasons_{name}"), |bench| {
            bench.iter(|| model.reasons(black_box(&row)));
        });
    }
}

criterion_group!(benches, predict);
criterion_main!(benches);
