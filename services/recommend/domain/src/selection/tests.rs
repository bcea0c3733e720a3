//! Gains worked by hand, what suits which catalogue, luck, and one scale.

use std::collections::BTreeSet;

use super::*;
use crate::distil::model_of;
use crate::item_item::Neighbour;
use rapport_math::Rng;

/// People who own eight of twenty pairs of one taste, now and then without the other half. What
/// predicts the missing half is its pair, not the fifteen other things of the same taste.
fn pairs(people: usize, seed: u64) -> Vec<Vec<ItemIdx>> {
    let mut rng = Rng::seeded(seed);
    let mut owns = |person: usize| -> Vec<ItemIdx> {
        let mut pairs: Vec<u32> = (0..20).collect();
        rng.shuffle(&mut pairs);
        let both = pairs
            .iter()
            .take(8)
            .flat_map(|pair| [2 * pair, 2 * pair + 1]);
        let taste = 40 * (person % 2) as u32;
        both.map(|item| ItemIdx(taste + item))
            .filter(|_| rng.chance(0.9))
            .collect()
    };
    (0..people).map(&mut owns).collect()
}

fn choose(histories: &[Vec<ItemIdx>], seed: u64) -> Selection {
    select_similar(histories, seed, &AtomicBool::new(false)).unwrap()
}

/// A model in which item 0 suggests others with the given scores, best first.
fn suggests(scores: &[(u32, f32)]) -> ItemItemModel {
    let row = scores.iter().map(|(item, score)| Neighbour {
        item: ItemIdx(*item),
        score: *score,
    });
    model_of([row.collect::<Vec<_>>()].into_iter().collect(), vec![1])
}

#[test]
fn gains_match_values_worked_by_hand() {
    let rows: Vec<Vec<ItemIdx>> = [vec![0, 1], vec![0, 1], vec![0, 2], vec![3, 4]]
        .into_iter()
        .map(|row| row.into_iter().map(ItemIdx).collect())
        .collect();
    let model = ItemItemModel::train(
        rows.iter().map(Vec::as_slice),
        &ItemItemOptions {
            shrinkage: 0.0,
            ..ItemItemOptions::default()
        },
    );
    let mut scores = Vec::new();
    let mut of = |history: &[u32], held: &[u32]| {
        let items = |list: &[u32]| list.iter().map(|it| ItemIdx(*it)).collect::<Vec<_>>();
        gain(&model, &items(history), &items(held), 5, &mut scores)
    };
    // Item 0 suggests 1, then 2, and nothing else.
    assert_eq!(of(&[0], &[1]), 1.0);
    assert!((of(&[0], &[2]) - 1.0 / libm::log2(3.0)).abs() < 1e-12);
    assert_eq!(of(&[0], &[4]), 0.0);
    assert_eq!(of(&[0], &[1, 2]), 1.0);
    let half = 1.0 / (1.0 + 1.0 / libm::log2(3.0));
    assert!((of(&[0], &[1, 4]) - half).abs() < 1e-12);
}

#[test]
fn the_better_model_serves_and_says_what_it_gained() {
    let histories = pairs(1_200, 5);
    let found = choose(&histories, 1);
    assert_eq!(found.algorithm, SimilarAlgorithm::Ease);
    assert_eq!(found.persons, 1_200);
    let (plain, ease) = (&found.trials[0], &found.trials[1]);
    assert_eq!(plain.algorithm, SimilarAlgorithm::ItemKnn);
    assert!(
        ease.ndcg > plain.ndcg && ease.gain_in_errors > SURE,
        "{found:?}"
    );
    assert_eq!(found.trial(SimilarAlgorithm::Slim), None);
    // It serves on the plain model's scale: the order is EASE's own, the size is not.
    let stop = AtomicBool::new(false);
    let own = SimilarAlgorithm::Ease.fit(&histories, 1, &stop).unwrap();
    let plain = SimilarAlgorithm::ItemKnn.fit(&histories, 1, &stop).unwrap();
    let (is, was) = (found.model.mean_best().unwrap(), own.mean_best().unwrap());
    let scale = plain.mean_best().unwrap();
    assert!((is - scale).abs() < 1e-6 * scale && (was / scale - 1.0).abs() > 0.05);
    for item in (0..80).map(ItemIdx) {
        let order = |model: &ItemItemModel| -> Vec<ItemIdx> {
            model.neighbours(item).iter().map(|it| it.item).collect()
        };
        assert_eq!(order(&found.model), order(&own));
    }
}

#[test]
fn equals_share_the_places_and_the_list_ends_at_twenty() {
    let mut scores = Vec::new();
    let mut of = |model: &ItemItemModel, held: &[u32]| {
        let held: Vec<ItemIdx> = held.iter().map(|it| ItemIdx(*it)).collect();
        gain(model, &[ItemIdx(0)], &held, 40, &mut scores)
    };
    // Half of the equal ones stand before: of one none, of two one, of four two.
    assert_eq!(of(&suggests(&[(1, 0.5), (2, 0.5)]), &[2]), 1.0);
    let equal = |others: u32| suggests(&(1..=others + 1).map(|it| (it, 0.5)).collect::<Vec<_>>());
    assert!((of(&equal(2), &[3]) - discount(2)).abs() < 1e-12);
    assert!((of(&equal(4), &[1]) - discount(3)).abs() < 1e-12);
    let long: Vec<_> = (1..40).map(|it| (it, 1.0 / it as f32)).collect();
    let long = suggests(&long);
    assert!((of(&long, &[20]) - discount(20)).abs() < 1e-12);
    assert_eq!(of(&long, &[21]), 0.0);
    // Of thirty held out the best list shows twenty.
    let held: Vec<u32> = (1..=30).collect();
    assert!((of(&long, &held) - 1.0).abs() < 1e-12);
}

#[test]
fn only_what_serving_reads_suggests() {
    let model = suggests(&[(1, 0.5)]);
    let mut scores = Vec::new();
    // Item 0 is the oldest of as many as serving reads, then of one more.
    let mut of = |length: u32| {
        let history: Vec<ItemIdx> = [0].into_iter().chain(2..=length).map(ItemIdx).collect();
        assert_eq!(history.len(), length as usize);
        gain(&model, &history, &[ItemIdx(1)], 200, &mut scores)
    };
    assert_eq!(
        (of(SOURCES_MAX as u32), of(SOURCES_MAX as u32 + 1)),
        (1.0, 0.0)
    );
}

#[test]
fn a_large_catalogue_tries_the_sparse_ones_and_all_keep_as_many_neighbours() {
    use SimilarAlgorithm::{Bspm, ItemKnn, Slim};
    let mut histories = pairs(120, 4);
    // One item of somebody else makes the catalogue large. A crowd around item 0 would fill any row.
    histories.push(vec![ItemIdx(4_000), ItemIdx(3_999)]);
    histories.push((0..1).chain(100..500).map(ItemIdx).collect());
    let found = choose(&histories, 1);
    let tried: Vec<_> = found.trials.iter().map(|it| it.algorithm).collect();
    assert_eq!(tried, [ItemKnn, Slim, Bspm]);
    assert_eq!(found.model.len(), 4_001);
    assert!(found.trial(Slim).unwrap().ndcg > 0.0 && found.trial(Bspm).unwrap().ndcg > 0.0);
    let stop = AtomicBool::new(false);
    for algorithm in [ItemKnn, Slim, Bspm] {
        let model = algorithm.fit(&histories, 1, &stop).unwrap();
        let longest = (0..4_001).map(|item| model.neighbours(ItemIdx(item)).len());
        assert_eq!(longest.max(), Some(NEIGHBOURS_KEPT), "{algorithm:?}");
    }
}

#[test]
fn a_crowd_is_judged_by_a_sample() {
    let crowd: Vec<Vec<ItemIdx>> = (0..JUDGED_PERSONS_MAX as u32 + 1)
        .map(|person| vec![ItemIdx(person % 2), ItemIdx(2 + person % 3)])
        .collect();
    assert_eq!(choose(&crowd, 1).persons, JUDGED_PERSONS_MAX);
}

#[test]
fn whoever_is_stopped_selects_nothing() {
    let histories = pairs(60, 2);
    assert_eq!(select_similar(&histories, 1, &AtomicBool::new(true)), None);
    let slices = histories.iter().map(Vec::as_slice);
    let filter = GraphFilter::train(slices, &GraphFilterOptions::bspm(), 1);
    assert_eq!(filter.distil_unless(5, &AtomicBool::new(true)), None);
    let whole = filter.distil_unless(5, &AtomicBool::new(false));
    assert_eq!(whole, Some(filter.distil(5)));
}

#[test]
fn luck_and_handfuls_keep_the_plain_model() {
    let few = choose(&pairs(JUDGED_PERSONS_MIN - 1, 5), 1);
    assert_eq!(few.algorithm, SimilarAlgorithm::ItemKnn);
    assert!(few.trials.is_empty() && few.persons == 0 && !few.model.is_empty());
    // Of thirty draws of noise one in forty should look surely better; without the margin half would.
    let any = |rng: &mut Rng| {
        let row: BTreeSet<u64> = (0..4).map(|_| rng.below(120)).collect();
        row.into_iter().map(|item| ItemIdx(item as u32)).collect()
    };
    let is_fooled = |seed: &u64| {
        let mut rng = Rng::seeded(*seed);
        let noise: Vec<Vec<ItemIdx>> = (0..300).map(|_| any(&mut rng)).collect();
        choose(&noise, 1).algorithm != SimilarAlgorithm::ItemKnn
    };
    let fooled = (0..30).filter(is_fooled).count();
    assert!(fooled <= 6, "{fooled} of 30");
    assert!(choose(&[], 1).model.is_empty());
}

#[test]
fn threads_change_nothing() {
    let histories = pairs(300, 2);
    let one = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let alone = one.install(|| choose(&histories, 3));
    assert_eq!(alone, choose(&histories, 3));
}
