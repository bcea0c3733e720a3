//! What the budget keeps for the blend and knows of eigenvectors, and who is tried and blended.

use rapport_math::Rng;
use recommend_domain::{
    EASE_RIDGE, GraphFilterOptions, ItemIdx, ItemItemModel, ItemItemOptions, UserUserOptions,
};

use super::*;

/// Sixty people who like one of two tastes.
fn training() -> Training {
    let mut rng = Rng::seeded(3);
    let mut likes = |user: u32| -> Vec<ItemIdx> {
        let own = 10 * (user % 2);
        let mut taste: Vec<ItemIdx> = (own..own + 10).map(ItemIdx).collect();
        rng.shuffle(&mut taste);
        taste.truncate(6);
        taste
    };
    Training {
        items: (0..20).map(|item| format!("i{item:02}")).collect(),
        histories: (0..60).map(&mut likes).collect(),
        ..Training::default()
    }
}

fn search(validation: &Validation, cpu_seconds: f64) -> Search<'_> {
    Search {
        validation,
        workshop: Workshop::default(),
        best: (f64::NEG_INFINITY, Spec::Popularity),
        budget: Budget::new(validation, cpu_seconds),
        tried: Vec::new(),
        skipped: 0,
    }
}

fn filter(factors: usize) -> Spec {
    let it = GraphFilterOptions::bspm();
    Spec::Filter("bspm", GraphFilterOptions { factors, ..it })
}

fn item_knn() -> Spec {
    Spec::ItemKnn(ItemItemOptions::default())
}

fn user_knn() -> Spec {
    Spec::UserKnn(UserUserOptions::default())
}

/// The fewest CPU-seconds that pay for a trial, found by halving.
fn price(validation: &Validation, spec: &Spec, tried: &[(Spec, f64)]) -> f64 {
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if Budget::new(validation, middle).pay(spec, tried) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

#[test]
fn a_filter_pays_for_its_eigenvectors_once_whatever_was_tried_between() {
    let validation = Validation::new(&training(), 5, 7);
    let alone = price(&validation, &filter(64), &[]);
    let after = |tried: &[Spec]| {
        let tried: Vec<(Spec, f64)> = tried.iter().map(|it| (it.clone(), 0.1)).collect();
        price(&validation, &filter(64), &tried)
    };
    let shared = after(&[filter(64)]);
    assert!(shared < 0.5 * alone, "{shared} {alone}");
    assert_eq!(after(&[filter(64), item_knn(), user_knn()]), shared);
    // Fewer factors are part of more, which the workshop keeps; more are not part of fewer.
    assert_eq!(after(&[filter(128), filter(32)]), shared);
    assert_eq!(after(&[filter(32), item_knn()]), alone);
    assert_eq!(after(&[item_knn()]), alone);
    let damped = GraphFilterOptions {
        activity_damping: 0.3,
        factors: 64,
        ..GraphFilterOptions::bspm()
    };
    assert_eq!(after(&[filter(64), Spec::Filter("bspm", damped)]), alone);
}

#[test]
fn what_is_set_aside_is_half_at_most_and_comes_back() {
    let validation = Validation::new(&training(), 5, 7);
    let parts = Spec::Blend(vec![(item_knn(), 0.0), (user_knn(), 0.0)]);
    let pays = |cpu_seconds: f64, kept: bool, released: bool| {
        let mut budget = Budget::new(&validation, cpu_seconds);
        if kept {
            budget.set_aside(&parts, 3);
        }
        if released {
            budget.release();
        }
        budget.pay_mixes(&parts, 3)
    };
    let enough = (1..60)
        .map(|power| 1e-9 * f64::from(power).exp2())
        .find(|seconds| pays(*seconds, false, false))
        .unwrap();
    assert!(pays(3.0 * enough, true, false), "only its price is kept");
    assert!(!pays(enough, true, false), "and half of too little");
    assert!(pays(enough, true, true));
}

#[test]
fn a_blend_that_is_too_dear_goes_without_its_weakest_part() {
    let validation = Validation::new(&training(), 5, 7);
    let scored = [(item_knn(), 0.9), (user_knn(), 0.85), (filter(64), 0.8)];
    let mixes_of = |cpu_seconds: f64| {
        let mut search = search(&validation, cpu_seconds);
        search.tried = scored.to_vec();
        search.blend().unwrap();
        (search.tried.len() - scored.len(), search.skipped)
    };
    assert_eq!(mixes_of(1.0), (9, 0));
    let two = Spec::Blend(vec![(item_knn(), 0.0), (user_knn(), 0.0)]);
    let enough_for_two = (1..80)
        .map(|power| 1e-6 * 1.2f64.powi(power))
        .find(|seconds| Budget::new(&validation, *seconds).pay_mixes(&two, 3))
        .unwrap();
    assert_eq!(mixes_of(enough_for_two), (3, 1));
    assert_eq!(mixes_of(1e-12), (0, 2));
}

#[test]
fn the_far_behind_join_no_blend_and_the_best_come_first() {
    let validation = Validation::new(&training(), 5, 7);
    let mut search = search(&validation, 1.0);
    search.tried = vec![
        (Spec::Popularity, 0.99),
        (item_knn(), 0.8),
        (Spec::Ease(EASE_RIDGE), 0.9),
        (Spec::Ease(1.0), 1.0),
        (user_knn(), 0.79),
        (Spec::Content, 0.81),
    ];
    let found = search.worth_blending();
    let expected = [
        (Spec::Ease(1.0), 1.0),
        (Spec::Content, 0.81),
        (item_knn(), 0.8),
    ];
    assert_eq!(found, expected);
}

#[test]
fn content_is_kept_for_too() {
    let mut whole = training();
    let parts = |whole: &Training| {
        let validation = Validation::new(whole, 5, 7);
        let search = search(&validation, 1.0);
        let parts = search.parts_of_largest_blend(Family::all(false), 20);
        (parts.len(), parts.last().map(|(it, _)| it.clone()))
    };
    let (without, _) = parts(&whole);
    whole.content = Some(std::sync::Arc::new(ItemItemModel::default()));
    assert_eq!(parts(&whole), (without + 1, Some(Spec::Content)));
}

#[test]
fn the_most_promising_family_is_refined_first() {
    let validation = Validation::new(&training(), 5, 7);
    let choice = choose(&validation, 600.0, false).unwrap();
    let tried = choice.explain["tried"].as_array().unwrap();
    let name = |at: usize| {
        let model = tried[at]["model"].as_str().unwrap();
        model.split('(').next().unwrap().to_owned()
    };
    let firsts: Vec<(String, f64)> = (1..6)
        .map(|at| (name(at), tried[at]["ndcg"].as_f64().unwrap()))
        .collect();
    let mut best = &firsts[0];
    for it in &firsts {
        if it.1 > best.1 {
            best = it;
        }
    }
    assert_eq!(name(6), best.0, "{firsts:?}");
}
