//! Vectors worked by hand and against the normal equations; laws.

use super::*;
use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};
use rapport_math::Rng;

fn histories(rows: &[Vec<u32>]) -> Vec<Vec<ItemIdx>> {
    let row = |row: &Vec<u32>| row.iter().map(|item| ItemIdx(*item)).collect();
    rows.iter().map(row).collect()
}

fn train(rows: &[Vec<u32>], options: &IalsOptions) -> IalsModel {
    let rows = histories(rows);
    IalsModel::train(rows.iter().map(Vec::as_slice), options, 3)
}

fn scores(model: &IalsModel, history: &[u32]) -> Vec<f32> {
    let history: Vec<ItemIdx> = history.iter().map(|item| ItemIdx(*item)).collect();
    let mut scratch = IalsScratch::default();
    let panel = model.score_block(&[&history], &mut scratch);
    panel.iter().map(|row| row[0]).collect()
}

const SMALL: IalsOptions = IalsOptions {
    factors: 32,
    unobserved_weight: 0.1,
    regularisation: 0.05,
    frequency_exponent: 1.0,
    epochs: 12,
};

/// A solver whose first two axes carry all vectors.
fn solver(vectors: &[[f32; 2]], spectrum: [f32; 2], options: &IalsOptions) -> Solver {
    let rows = vectors.iter().flat_map(|row| {
        let mut whole = [0.0; 32];
        whole[..2].copy_from_slice(row);
        whole
    });
    let mut solver = Solver::new(rows.collect(), options);
    solver.spectrum[..2].copy_from_slice(&spectrum);
    solver
}

#[test]
fn one_pair_matches_the_vector_worked_by_hand() {
    // Ridge: 0.05 * (1 + 0.1 * 1) = 0.055. One known vector (2, 1), spectrum (0.4, 0.1):
    // (diag(0.455, 0.155) + h hᵀ) w = h, so w = M^-1 h / (1 + hᵀ M^-1 h).
    let known = solver(&[[2.0, 1.0]], [0.4, 0.1], &SMALL);
    let mut vector = vec![0.0; 32];
    known.solve(&[0], &mut vector, &mut SolveScratch::default());
    let (a, b) = (2.0 / 0.455, 1.0 / 0.155);
    let scale = 1.0 + 2.0 * a + b;
    assert!((vector[0] - a / scale).abs() < 1e-5 && (vector[1] - b / scale).abs() < 1e-5);
    assert!(vector[2..].iter().all(|value| *value == 0.0));
    known.solve(&[], &mut vector, &mut SolveScratch::default());
    assert!(vector.iter().all(|value| *value == 0.0));
}

#[test]
fn steps_end_where_the_exact_solve_does() {
    let mut rng = Rng::seeded(4);
    let options = IalsOptions {
        factors: 128,
        ..SMALL
    };
    let vectors = (0..60 * 128).map(|_| rng.range(-0.5, 0.5) as f32).collect();
    let mut known = Solver::new(vectors, &options);
    known.spectrum.fill(0.3);
    let all: Vec<u32> = (0..60).collect();
    let scratch = &mut SolveScratch::default();
    let (mut exact, mut steps) = (vec![0.0; 128], vec![0.0; 128]);
    known.solve(&all, &mut exact, scratch);
    known.descend(&all, &mut steps, 100, scratch);
    for (exact, steps) in exact.iter().zip(&steps) {
        assert!((exact - steps).abs() < 1e-4, "{exact} {steps}");
    }
    // What is missing at each pair comes out beside the vector.
    for (at, missing) in scratch.errors.iter().enumerate() {
        let products = known.vector(at).iter().zip(&exact).map(|(a, b)| a * b);
        assert!((1.0 - products.sum::<f32>() - missing).abs() < 1e-4);
    }
}

#[test]
fn steps_match_the_vector_worked_by_hand() {
    let known = solver(&[[2.0, 1.0]], [0.4, 0.1], &SMALL);
    let scratch = &mut SolveScratch::default();
    let mut vector = vec![0.0; 32];
    known.descend(&[0], &mut vector, 1, scratch);
    // One pair: M^-1 h is the direction of the solution itself, so one step is enough.
    let (a, b) = (2.0 / 0.455, 1.0 / 0.155);
    let scale = 1.0 + 2.0 * a + b;
    assert!((vector[0] - a / scale).abs() < 1e-5 && (vector[1] - b / scale).abs() < 1e-5);
    let mut wrong_start = vec![1.0; 32];
    known.descend(&[0], &mut wrong_start, 3, scratch);
    assert!((wrong_start[0] - a / scale).abs() < 1e-4);
}

#[test]
fn two_tastes_are_told_apart_and_explained() {
    let rows: Vec<Vec<u32>> = (0..40)
        .map(|user| {
            (0..5)
                .map(|at| user % 2 * 8 + (user / 2 + at) % 8)
                .collect()
        })
        .collect();
    let model = train(&rows, &SMALL);
    let found = scores(&model, &[0, 1, 2]);
    let (own, other) = found.split_at(8);
    let least = own.iter().copied().fold(f32::INFINITY, f32::min);
    assert!(other.iter().all(|score| *score < least), "{found:?}");
    let history: Vec<ItemIdx> = [0, 1, 2].map(ItemIdx).to_vec();
    let why = model.contributions(&history, ItemIdx(4));
    let sum: f32 = why.iter().map(|(_, part)| part).sum();
    assert!((sum - found[4]).abs() < 1e-4 && why.len() == 3);
    assert!(model.contributions(&history, ItemIdx(99)).is_empty());
    let loss = model.epochs_loss();
    assert!(loss.len() == 12 && loss.windows(2).all(|pair| pair[1] <= 1.0001 * pair[0]));
}

/// One person with one item, one dimension that matters: by symmetry w h = x with (1 + a) x + l = 1,
/// and the loss is (1 - x)² + a x² + 2 l x.
#[test]
fn the_loss_settles_where_it_was_worked_out_to() {
    let options = IalsOptions {
        frequency_exponent: 0.0,
        epochs: 100,
        ..SMALL
    };
    let model = train(&[vec![0]], &options);
    let (a, l) = (0.1f64, 0.05);
    let x = (1.0 - l) / (1.0 + a);
    let expected = (1.0 - x).powi(2) + a * x * x + 2.0 * l * x;
    let found = model.epochs_loss()[99];
    assert!(
        (found - expected).abs() < 1e-3,
        "{found} instead of {expected}"
    );
    assert!((f64::from(scores(&model, &[0])[0]) - x).abs() < 1e-2);
}

#[test]
fn options_name_every_bad_field() {
    let options = IalsOptions {
        factors: 0,
        unobserved_weight: 0.0,
        regularisation: f32::NAN,
        frequency_exponent: 1.5,
        epochs: 0,
    };
    let bad = options.validate().unwrap_err();
    let fields: Vec<_> = bad.iter().map(|it| it.field.as_str()).collect();
    let expected = [
        "factors",
        "unobserved_weight",
        "regularisation",
        "frequency_exponent",
        "epochs",
    ];
    assert_eq!(fields, expected);
    assert_eq!(options.clamped().validate(), Ok(()));
    assert_eq!(IalsOptions::default().validate(), Ok(()));
}

proptest! {
    #[test]
    fn threads_change_nothing_and_every_number_is_finite(
        rows in prop::collection::vec(prop::collection::vec(0u32..9, 0..6), 0..12),
    ) {
        let options = IalsOptions { epochs: 3, ..SMALL };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let alone = pool.install(|| scores(&train(&rows, &options), &[0, 5]));
        let found = scores(&train(&rows, &options), &[0, 5]);
        prop_assert!(found.iter().all(|score| score.is_finite()));
        prop_assert_eq!(found, alone);
    }
}
