//! The model as a whole: what it learns, that it is the same for any number of threads, its reasons.

use super::super::sessions::tests::{prefix, sessions};
use super::*;
use proptest::prelude::*;

fn small() -> AttentionOptions {
    AttentionOptions {
        width: 16,
        epochs: 30,
        batch: 8,
        learning_rate: 0.02,
        dropout: 0.1,
        ..AttentionOptions::default()
    }
}

/// Two worlds that never meet; in each, items follow each other in a circle.
fn worlds() -> Sessions {
    let rows: Vec<Vec<u32>> = (0..80)
        .map(|at| {
            let world = at % 2 * 10;
            (0..4).map(|step| world + (at / 2 + step) % 10).collect()
        })
        .collect();
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    sessions(&rows, 20)
}

fn top(model: &AttentionModel, visit: &[u32], count: usize) -> Vec<u32> {
    let mut scores = SessionScores::default();
    model.score(&prefix(visit), &mut SessionScratch::default(), &mut scores);
    let mut found: Vec<(u32, f32)> = scores.iter().collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.iter().take(count).map(|(item, _)| *item).collect()
}

#[test]
fn it_learns_which_items_go_together() {
    let model = AttentionModel::train(&worlds(), &small()).unwrap();
    let next = top(&model, &[3, 4, 5], 6);
    assert!(
        next.iter().all(|item| *item < 10) && next.contains(&6),
        "{next:?}"
    );
    let next = top(&model, &[13, 14, 15], 6);
    assert!(
        next.iter().all(|item| *item >= 10) && next.contains(&16),
        "{next:?}"
    );
    let mut scratch = SessionScratch::default();
    let why = model
        .why(&prefix(&[13, 14, 15]), ItemIdx(16), &mut scratch)
        .unwrap();
    assert!(why.share > 0.0 && why.share <= 1.0 && why.because_of.is_some());
    assert_eq!(model.why(&prefix(&[99]), ItemIdx(16), &mut scratch), None);
    assert!(top(&model, &[], 3).is_empty() && top(&model, &[77], 3).is_empty());
}

#[test]
fn the_same_seed_gives_the_same_model_for_any_number_of_threads() {
    let options = AttentionOptions {
        epochs: 2,
        batch: 200,
        ..small()
    };
    let train = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| AttentionModel::train(&worlds(), &AttentionOptions { seed, ..options }))
    };
    assert_eq!(train(1, 5), train(3, 5));
    assert_ne!(train(1, 5), train(1, 6));
}

#[test]
fn what_cannot_be_learned_is_none() {
    assert_eq!(
        AttentionModel::train(&sessions(&[&[0], &[1]], 2), &small()),
        None
    );
    assert_eq!(AttentionModel::train(&sessions(&[], 2), &small()), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn every_item_has_a_positive_score_whatever_was_asked_before(
        visits in prop::collection::vec(prop::collection::vec(0u32..25, 1..40), 1..4),
    ) {
        let options = AttentionOptions { epochs: 1, ..small() };
        let model = AttentionModel::train(&worlds(), &options).unwrap();
        let (mut scratch, mut used) = (SessionScratch::default(), SessionScores::default());
        for visit in &visits {
            model.score(&prefix(visit), &mut scratch, &mut used);
            let found: Vec<(u32, f32)> = used.iter().collect();
            let mut fresh = SessionScores::default();
            model.score(&prefix(visit), &mut SessionScratch::default(), &mut fresh);
            prop_assert_eq!(&found, &fresh.iter().collect::<Vec<_>>());
            prop_assert!(found.iter().all(|(_, score)| *score > 0.0 && *score <= 1.001));
        }
    }
}
