//! Scores worked by hand and against the definition in double precision; laws.

use super::*;
use proptest::prelude::*;

fn histories(rows: &[Vec<u32>]) -> Vec<Vec<ItemIdx>> {
    let row = |row: &Vec<u32>| row.iter().map(|item| ItemIdx(*item)).collect();
    rows.iter().map(row).collect()
}

fn train(rows: &[Vec<u32>], options: &GraphFilterOptions) -> GraphFilter {
    let rows = histories(rows);
    GraphFilter::train(rows.iter().map(Vec::as_slice), options, 1)
}

fn scores(filter: &GraphFilter, history: &[u32]) -> Vec<f32> {
    let history: Vec<(ItemIdx, f32)> = history.iter().map(|item| (ItemIdx(*item), 1.0)).collect();
    let mut scratch = GraphFilterScratch::default();
    let panel = filter.score_block(&[&history], &mut scratch);
    panel.iter().map(|row| row[0]).collect()
}

const BLUR: GraphFilterOptions = GraphFilterOptions {
    ideal_weight: 0.0,
    ..GraphFilterOptions::gf_cf()
};

#[track_caller]
fn check(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < 1e-4,
            "{found} instead of {expected}"
        );
    }
}

#[test]
fn scores_match_values_worked_by_hand() {
    // Two people: one with items 0 and 1, one with 1 alone. Item 0 has one of them, item 1 both.
    let rows = [vec![0, 1], vec![1]];
    // P = [[1/2, 1/(2 sqrt 2)], [1/(2 sqrt 2), 1/4 + 1/2]]: eigenvalues 1 and 1/4.
    let blurred = train(&rows, &BLUR);
    check(&scores(&blurred, &[0]), &[0.5, 0.353_553]);
    check(&scores(&blurred, &[1]), &[0.353_553, 0.75]);
    // The leading vector is (1, sqrt 2) / sqrt 3: D^-1/2 v vᵀ D^1/2 = [[1/3, 2/3], [1/3, 2/3]].
    let one = GraphFilterOptions {
        factors: 1,
        ideal_weight: 0.3,
        ..BLUR
    };
    let merged = train(&rows, &one);
    check(&scores(&merged, &[0]), &[0.6, 0.553_553]);
    check(&scores(&merged, &[1]), &[0.453_553, 0.95]);
    // Sharpening: 1 - h + h²/2 - h³/6 + h⁴/24 at h = 1 and h = 1/4: 0.375 and 0.778808.
    let sharp = train(
        &rows,
        &GraphFilterOptions {
            sharpening: 1.0,
            ..BLUR
        },
    );
    // (1, 0) = v1 / sqrt 3 + u * sqrt(2/3) with u = (sqrt 2, -1) / sqrt 3; each times its eigenvalue.
    let (a, b) = (0.375 / 3.0, 0.25 * 0.778_808 / 3.0);
    check(
        &scores(&sharp, &[0]),
        &[a + 2.0 * b, 2.0f32.sqrt() * (a - b)],
    );
}

#[test]
fn a_lean_moves_damping_from_the_candidate_to_the_source() {
    let rows = [vec![0, 1], vec![1]];
    let leaning = train(&rows, &GraphFilterOptions { lean: 0.5, ..BLUR });
    // P_ij (n_j / n_i)^(1/2).
    check(&scores(&leaning, &[0]), &[0.5, 0.5]);
    check(&scores(&leaning, &[1]), &[0.25, 0.75]);
}

#[test]
fn a_block_answers_each_history_as_if_alone() {
    let rows: Vec<Vec<u32>> = (0..200)
        .map(|user| vec![user % 50, user * 7 % 50])
        .collect();
    let filter = train(
        &rows,
        &GraphFilterOptions {
            factors: 8,
            ..GraphFilterOptions::bspm()
        },
    );
    let histories: Vec<Vec<(ItemIdx, f32)>> = (0..70)
        .map(|at| vec![(ItemIdx(at % 50), 1.0), (ItemIdx(99), 1.0)])
        .collect();
    let slices: Vec<&[(ItemIdx, f32)]> = histories.iter().map(Vec::as_slice).collect();
    let mut scratch = GraphFilterScratch::default();
    let block = filter.score_block(&slices, &mut scratch).to_vec();
    assert_eq!(block.len(), 3 * filter.items());
    for at in [0, 31, 32, 69] {
        let panel = &block[at / LANES * 50..(at / LANES + 1) * 50];
        let own: Vec<f32> = panel.iter().map(|row| row[at % LANES]).collect();
        assert_eq!(own, scores(&filter, &[at as u32 % 50]), "history {at}");
    }
    assert!(scores(&filter, &[]).iter().all(|score| *score == 0.0));
    let nothing = train(&[], &GraphFilterOptions::bspm());
    assert!(scores(&nothing, &[3]).is_empty());
}

#[test]
fn options_name_every_bad_field() {
    let options = GraphFilterOptions {
        factors: 0,
        ideal_weight: f32::NAN,
        sharpening: 4.0,
        activity_damping: -0.1,
        popularity_damping: 2.0,
        lean: 0.6,
        ideal_lean: -0.6,
    };
    let bad = options.validate().unwrap_err();
    assert_eq!(bad.len(), 7, "{bad:?}");
    assert_eq!(options.clamped().validate(), Ok(()));
    assert_eq!(GraphFilterOptions::bspm().validate(), Ok(()));
}

proptest! {
    #[test]
    fn scores_add_up_over_a_history_and_threads_change_nothing(
        rows in prop::collection::vec(prop::collection::vec(0u32..12, 1..6), 2..20),
        a in 0u32..12,
        b in 0u32..12,
    ) {
        prop_assume!(a != b);
        let options = GraphFilterOptions { factors: 4, ..GraphFilterOptions::bspm() };
        let filter = train(&rows, &options);
        let both = scores(&filter, &[a, b]);
        let apart = scores(&filter, &[a]).into_iter().zip(scores(&filter, &[b]));
        for (both, (a, b)) in both.iter().zip(apart) {
            prop_assert!((both - a - b).abs() < 1e-4);
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let alone = pool.install(|| train(&rows, &options));
        prop_assert_eq!(scores(&alone, &[a, b]), both);
    }

    #[test]
    fn blurring_alone_is_symmetric_and_never_negative(
        rows in prop::collection::vec(prop::collection::vec(0u32..8, 1..6), 1..20),
    ) {
        let filter = train(&rows, &BLUR);
        let items = filter.items() as u32;
        let all: Vec<Vec<f32>> = (0..items).map(|item| scores(&filter, &[item])).collect();
        for (a, row) in all.iter().enumerate() {
            for (b, score) in row.iter().enumerate() {
                prop_assert!(*score >= 0.0 && (score - all[b][a]).abs() < 1e-5);
            }
        }
    }
}
