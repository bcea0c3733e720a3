#![expect(clippy::unwrap_used, reason = "tests")]
//! What any model promises, whatever the columns: reasons that sum, the same bytes on any threads,
//! sensible choices, clear refusals.

use proptest::prelude::*;
use rapport_learn::{
    Algorithm, Model, Table, TableError, TrainError, TrainOptions, TrainReport, deal_folds,
};
use rapport_math::Rng;

fn options(algorithm: Algorithm) -> TrainOptions {
    TrainOptions {
        algorithm,
        ..TrainOptions::default()
    }
}

fn train(data: &(Table, Vec<bool>), algorithm: Algorithm) -> (Model, TrainReport) {
    Model::train(&data.0, &data.1, &options(algorithm)).unwrap()
}

/// Rows of two numbers, a category and noise; `logit` says how likely a yes is.
fn made(rows: usize, seed: u64, logit: impl Fn(f64, f64, usize) -> f64) -> (Table, Vec<bool>) {
    let mut rng = Rng::seeded(seed);
    let mut table = Table::new(&["x", "y", "plan", "noise"]).unwrap();
    let mut labels = Vec::new();
    for _ in 0..rows {
        let (x, y, plan) = (rng.normal(), rng.normal(), rng.below(3) as usize);
        let said = |value: f64, rng: &mut Rng| match rng.chance(0.05) {
            true => String::new(),
            false => format!("{value:.4}"),
        };
        let cells = [
            said(x, &mut rng),
            said(y, &mut rng),
            ["basic", "pro", "max"][plan].to_owned(),
            format!("{:.4}", rng.normal()),
        ];
        table.push(&cells).unwrap();
        labels.push(rng.chance(1.0 / (1.0 + (-logit(x, y, plan)).exp())));
    }
    (table, labels)
}

fn linear(x: f64, y: f64, plan: usize) -> f64 {
    1.2 * x - 0.7 * y + [-1.0, 0.0, 1.0][plan]
}

/// Which side of the diagonal: no straight line tells it.
fn crossed(x: f64, y: f64, _: usize) -> f64 {
    if x * y > 0.0 { 2.5 } else { -2.5 }
}

#[test]
fn auto_takes_the_simple_model_where_the_truth_is_simple() {
    let (_, report) = train(&made(1_500, 1, linear), Algorithm::Auto);
    assert!(
        report.trees_share < 0.5 && report.penalty.is_some(),
        "{report:?}"
    );
    let (_, report) = train(&made(1_500, 2, |_, _, _| -1.0), Algorithm::Auto);
    assert_eq!((report.penalty, report.trees), (None, 0), "{report:?}");
}

#[test]
fn auto_takes_trees_where_lines_fail() {
    let data = made(1_500, 3, crossed);
    let (model, report) = train(&data, Algorithm::Auto);
    assert!(report.trees_share > 0.5 && report.leaves >= 4, "{report:?}");
    let (_, line) = train(&data, Algorithm::Logistic);
    assert!(report.log_loss.unwrap() < line.log_loss.unwrap() - 0.1);
    let logit = |cells: [&str; 4]| model.logit(&model.schema().encode_row(&cells));
    assert!(logit(["1", "1", "pro", "0"]) > 1.0 && logit(["1", "-1", "pro", "0"]) < -1.0);
}

#[test]
fn answers_are_calibrated_on_rows_never_seen() {
    let data = made(2_000, 4, linear);
    let fresh = made(4_000, 5, linear);
    for algorithm in [Algorithm::Logistic, Algorithm::Trees] {
        let (model, _) = train(&data, algorithm);
        let logits = model.logits(&model.schema().encode(&fresh.0));
        let slope = rapport_learn::logit_slope(&logits, &fresh.1, |_| 1.0).unwrap();
        assert!((0.85..1.2).contains(&slope), "{algorithm:?} {slope}");
    }
}

#[test]
fn the_same_bytes_on_any_number_of_threads() {
    let data = made(700, 6, crossed);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| train(&data, Algorithm::Auto).0.to_bytes())
    };
    let one = on(1);
    assert_eq!(on(3), one);
    let other = TrainOptions {
        seed: 1,
        ..options(Algorithm::Trees)
    };
    let trees = train(&data, Algorithm::Trees).0;
    assert_ne!(Model::train(&data.0, &data.1, &other).unwrap().0, trees);
}

#[test]
fn a_small_budget_costs_quality_and_nothing_else() {
    let data = made(600, 7, linear);
    let small = TrainOptions {
        budget_cpu_seconds: 1e-3,
        ..options(Algorithm::Auto)
    };
    let (model, report) = Model::train(&data.0, &data.1, &small).unwrap();
    assert!(report.tried.len() < train(&data, Algorithm::Auto).1.tried.len());
    assert!(
        model
            .logit(&model.schema().encode_row(&["1", "1", "pro", "0"]))
            .is_finite()
    );
}

#[test]
fn refusals_say_why() {
    let mut table = Table::new(&["x"]).unwrap();
    let refused = |table: &Table, labels: &[bool]| {
        Model::train(table, labels, &TrainOptions::default()).unwrap_err()
    };
    assert_eq!(refused(&table, &[]), TrainError::NoRows);
    table.push(&["1"]).unwrap();
    table.push(&["2"]).unwrap();
    assert_eq!(
        refused(&table, &[true]),
        TrainError::Labels { rows: 2, labels: 1 }
    );
    assert_eq!(refused(&table, &[true, true]), TrainError::OneLabel(true));
    let why = refused(&table, &[false, false]).to_string();
    assert_eq!(
        why,
        "the label is no in every training row, training needs both"
    );
    assert!(matches!(
        Table::new(&["a", "a"]),
        Err(TableError::SameName(_))
    ));
}

#[test]
fn odd_tables_are_learned_from() {
    let columns: [fn(usize) -> String; 5] = [
        |_| String::new(),
        |_| "same".to_owned(),
        |row| format!("id{row}"),
        |row| ["", "7"][row % 2].to_owned(),
        |row| format!("word{}", row % 40),
    ];
    for rows in [2, 3, 9, 60] {
        let mut table = Table::new(&["a", "b", "c", "d", "e"]).unwrap();
        let labels: Vec<bool> = (0..rows).map(|row| row == 0 || row == 7).collect();
        for row in 0..rows {
            table.push(&columns.map(|cell| cell(row))).unwrap();
        }
        for algorithm in Algorithm::ALL {
            let (model, _) = Model::train(&table, &labels, &options(algorithm)).unwrap();
            let logits = model.logits(&model.schema().encode(&table));
            assert!(
                logits.iter().all(|logit| logit.is_finite()),
                "{rows} {algorithm:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn reasons_sum_to_the_logit(seed in 0u64..1_000, x in -9.0..9.0f64, plan in 0usize..4) {
        let data = made(150, seed, linear);
        for algorithm in Algorithm::ALL {
            let (model, _) = train(&data, algorithm);
            let cells = [format!("{x}"), String::new(), ["basic", "pro", "max", "new"][plan].to_owned()];
            let names = model.schema().names();
            let at = |name: &str| ["x", "y", "plan"].iter().position(|known| *known == name);
            let row: Vec<&str> = names.iter().map(|name| at(name).map_or("0", |at| &cells[at])).collect();
            let row = model.schema().encode_row(&row);
            let reasons = model.reasons(&row);
            let sum = reasons.base + reasons.contributions.iter().sum::<f64>();
            prop_assert!((sum - model.logit(&row)).abs() < 1e-9);
            let strongest = reasons.strongest(2);
            prop_assert!(strongest.len() <= 2 && strongest.is_sorted_by(|a, b| a.1.abs() >= b.1.abs()));
        }
    }

    #[test]
    fn every_fold_holds_its_share_of_both_kinds(
        labels in prop::collection::vec(any::<bool>(), 0..60),
        folds in 1usize..8,
        seed: u64,
    ) {
        let place = deal_folds(&labels, folds, &Rng::seeded(seed));
        prop_assert_eq!(place.len(), labels.len());
        for kind in [false, true] {
            let mut held = vec![0usize; folds];
            for (fold, label) in place.iter().zip(&labels) {
                held[usize::from(*fold)] += usize::from(*label == kind);
            }
            let (least, most) = (held.iter().min().unwrap(), held.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{held:?}");
        }
    }

    #[test]
    fn trees_see_only_the_order_of_numbers(seed in 0u64..1_000) {
        let mut rng = Rng::seeded(seed);
        let (mut table, mut bent) = (Table::new(&["x"]).unwrap(), Table::new(&["x"]).unwrap());
        let mut labels = Vec::new();
        for row in 0..120 {
            let x = rng.range(-3.0, 3.0);
            table.push(&[x.to_string()]).unwrap();
            bent.push(&[x.exp().to_string()]).unwrap();
            labels.push(row < 2 || rng.chance(if x > 0.5 { 0.8 } else { 0.3 }));
        }
        let answers = |table: &Table| {
            let (model, _) = Model::train(table, &labels, &options(Algorithm::Trees)).unwrap();
            model.logits(&model.schema().encode(table))
        };
        prop_assert_eq!(answers(&table), answers(&bent));
    }
}
