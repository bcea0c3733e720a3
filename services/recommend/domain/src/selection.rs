//! Which model says what goes with an item: judged on what people did, inside what training knows.

use rapport_math::{Moments, Rng};
use rayon::prelude::*;

use crate::ease::EaseModel;
use crate::graph_filter::{GraphFilter, GraphFilterOptions};
use crate::item_item::{ItemItemModel, ItemItemOptions};
use crate::items::ItemIdx;
use crate::slim::{SlimOptions, train_slim};

/// Most persons that a trial is judged by.
pub const JUDGED_PERSONS_MAX: usize = 2_000;
/// Fewer persons than this with two items judge nothing, and the plain model serves.
pub const JUDGED_PERSONS_MIN: usize = 50;
/// Up to so many items EASE is a matter of seconds; above, SLIM and the graph filter take its place.
const EASE_SERVED_ITEMS_MAX: usize = 4_000;
/// The largest catalogue whose graph filter is cut down to neighbours: that costs its square.
const FILTER_SERVED_ITEMS_MAX: usize = 60_000;
/// Weight of EASE's squared weights, in people.
const EASE_RIDGE: f32 = 100.0;
/// Neighbours that a model keeps of each item.
const NEIGHBOURS_KEPT: usize = 200;
/// One of so many of a person's items is held out, at least one.
const HELD_OUT_ONE_IN: usize = 10;
/// Places that are judged.
const JUDGED_PLACES: usize = 20;
/// A model must be better than the plain one by so many standard errors of the difference.
const SURE: f64 = 2.0;
/// Streams of the seed.
const STREAM_ITEMS: u64 = 1;
const STREAM_PERSONS: u64 = 2;

/// A way to find what goes with an item. Fitted, all have one shape: neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SimilarAlgorithm {
    /// Cosines of items by the people they share: [`ItemItemModel::train`].
    ItemKnn,
    /// A ridge regression of every item on all others: [`EaseModel`].
    Ease,
    /// The same on the nearest few: [`train_slim`].
    Slim,
    /// A graph filter, blurred and sharpened: [`GraphFilter`].
    Bspm,
}

impl SimilarAlgorithm {
    const ALL: [Self; 4] = [Self::ItemKnn, Self::Ease, Self::Slim, Self::Bspm];

    /// Returns the name, as `rapport lab recommend` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ItemKnn => "item-knn",
            Self::Ease => "ease",
            Self::Slim => "slim",
            Self::Bspm => "bspm",
        }
    }

    /// Returns the algorithm of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Whether a catalogue of so many items suits the algorithm.
    fn suits(self, items: usize) -> bool {
        match self {
            Self::ItemKnn => true,
            Self::Ease => items <= EASE_SERVED_ITEMS_MAX,
            Self::Slim => items > EASE_SERVED_ITEMS_MAX,
            Self::Bspm => items > EASE_SERVED_ITEMS_MAX && items <= FILTER_SERVED_ITEMS_MAX,
        }
    }

    fn fit(self, histories: &[Vec<ItemIdx>], seed: u64) -> ItemItemModel {
        let slices = || histories.iter().map(Vec::as_slice);
        let plain = || ItemItemModel::train(slices(), &ItemItemOptions::default());
        match self {
            Self::ItemKnn => plain(),
            Self::Ease => EaseModel::train(slices(), EASE_RIDGE)
                .map_or_else(plain, |model| model.distil(NEIGHBOURS_KEPT)),
            Self::Slim => train_slim(slices(), &SlimOptions::default()),
            Self::Bspm => GraphFilter::train(slices(), &GraphFilterOptions::bspm(), seed)
                .distil(NEIGHBOURS_KEPT),
        }
    }
}

/// What one algorithm was worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// The algorithm.
    pub algorithm: SimilarAlgorithm,
    /// Mean normalised discounted gain of the first 20 places, `[0, 1]`.
    pub ndcg: f64,
    /// What it gained over the plain model, in standard errors of the difference; 0 for that itself.
    pub gain_in_errors: f64,
}

/// The model that serves, and what it was compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Fitted on all histories.
    pub model: ItemItemModel,
    /// How.
    pub algorithm: SimilarAlgorithm,
    /// Every algorithm that was tried, the plain one first; empty with too few persons to judge by.
    pub trials: Vec<Trial>,
    /// Persons that the trials were judged by.
    pub persons: usize,
}

impl Selection {
    /// Returns what an algorithm was worth, `None` if it was not tried.
    #[must_use]
    pub fn trial(&self, algorithm: SimilarAlgorithm) -> Option<&Trial> {
        self.trials.iter().find(|it| it.algorithm == algorithm)
    }
}

/// Fits what serves best: each algorithm that suits the catalogue learns from nine tenths of every
/// person's items and is judged by how high it puts the rest.
///
/// * `histories`: by person, distinct items, oldest first; any length, empty ones allowed.
/// * The plain neighbours win unless another is better by two standard errors of the paired difference:
///   a nightly training must not change models for luck.
/// * Cost: every algorithm is fitted once, the winner and the plain one once more. Same histories and seed
///   give the same model for any number of threads.
/// * Source: Dacrema, Cremonesi and Jannach, "Are We Really Making Much Progress?", RecSys 2019, for
///   always judging beside well-set neighbours.
#[must_use]
pub fn select_similar(histories: &[Vec<ItemIdx>], seed: u64) -> Selection {
    let items = histories.iter().flatten().map(|item| item.at() + 1);
    let items = items.max().unwrap_or(0);
    let cut = Cut::new(histories, seed);
    let mut best = (f64::NEG_INFINITY, SimilarAlgorithm::ItemKnn);
    let mut trials = Vec::new();
    if cut.judges.len() >= JUDGED_PERSONS_MIN {
        let plain = cut.gains(SimilarAlgorithm::ItemKnn, items, seed);
        for algorithm in SimilarAlgorithm::ALL {
            if !algorithm.suits(items) {
                continue;
            }
            let gains = if algorithm == SimilarAlgorithm::ItemKnn {
                plain.clone()
            } else {
                cut.gains(algorithm, items, seed)
            };
            let trial = compare(algorithm, &gains, &plain);
            let is_sure = algorithm == SimilarAlgorithm::ItemKnn || trial.gain_in_errors > SURE;
            if is_sure && trial.ndcg > best.0 {
                best = (trial.ndcg, algorithm);
            }
            trials.push(trial);
        }
    }
    Selection {
        model: best.1.fit(histories, seed),
        algorithm: best.1,
        persons: if trials.is_empty() {
            0
        } else {
            cut.judges.len()
        },
        trials,
    }
}

fn compare(algorithm: SimilarAlgorithm, gains: &[f64], plain: &[f64]) -> Trial {
    let mut difference = Moments::default();
    for (gain, plain) in gains.iter().zip(plain) {
        difference.push(gain - plain);
    }
    let mean = difference.mean().unwrap_or(0.0);
    let error = difference.standard_error().unwrap_or(0.0);
    Trial {
        algorithm,
        ndcg: gains.iter().sum::<f64>() / gains.len() as f64,
        gain_in_errors: if error > 0.0 { mean / error } else { 0.0 },
    }
}

/// Histories cut in two: what a trial learns from, and what it is judged by.
struct Cut {
    known: Vec<Vec<ItemIdx>>,
    /// Places of histories, with the items held out of them, ascending.
    judges: Vec<(usize, Vec<ItemIdx>)>,
}

impl Cut {
    fn new(histories: &[Vec<ItemIdx>], seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        let mut known = histories.to_vec();
        let mut judges = Vec::new();
        for (person, history) in known.iter_mut().enumerate() {
            if history.len() < 2 {
                continue;
            }
            let mut places: Vec<usize> = (0..history.len()).collect();
            let mut own = rng.fork(STREAM_ITEMS).fork(person as u64);
            own.shuffle(&mut places);
            places.truncate((history.len() / HELD_OUT_ONE_IN).max(1));
            let mut held: Vec<ItemIdx> = places.iter().map(|place| history[*place]).collect();
            held.sort_unstable();
            history.retain(|item| held.binary_search(item).is_err());
            judges.push((person, held));
        }
        rng.fork(STREAM_PERSONS).shuffle(&mut judges);
        judges.truncate(JUDGED_PERSONS_MAX);
        judges.sort_unstable_by_key(|(person, _)| *person);
        Self { known, judges }
    }

    /// Returns each judge's normalised discounted gain.
    fn gains(&self, algorithm: SimilarAlgorithm, items: usize, seed: u64) -> Vec<f64> {
        let model = algorithm.fit(&self.known, seed);
        self.judges
            .par_iter()
            .map_init(Vec::new, |scores, (person, held)| {
                gain(&model, &self.known[*person], held, items, scores)
            })
            .collect()
    }
}

/// Discounted gain of the held-out items over that of the best list. Half of the equal ones stand before
/// an item, for serving puts them in some order: against the model, they would speak against whole counts.
/// An item without a score is not shown.
fn gain(
    model: &ItemItemModel,
    history: &[ItemIdx],
    held: &[ItemIdx],
    items: usize,
    scores: &mut Vec<f32>,
) -> f64 {
    scores.clear();
    scores.resize(items, 0.0);
    let weighted: Vec<(ItemIdx, f32)> = history.iter().map(|item| (*item, 1.0)).collect();
    model.score_into(&weighted, scores);
    history.iter().for_each(|item| scores[item.at()] = 0.0);
    let wanted: Vec<f32> = held.iter().map(|item| scores[item.at()]).collect();
    let is_held = |item: usize| held.binary_search(&ItemIdx(item as u32)).is_ok();
    // Twice the others that stand before each: two for a better one, one for an equal one.
    let mut above = vec![0usize; wanted.len()];
    for (item, score) in scores.iter().enumerate() {
        if *score > 0.0 && !is_held(item) {
            for (above, wanted) in above.iter_mut().zip(&wanted) {
                *above += usize::from(score >= wanted) + usize::from(score > wanted);
            }
        }
    }
    let mut ranks: Vec<usize> = above
        .iter()
        .zip(&wanted)
        .filter(|(_, wanted)| **wanted > 0.0)
        .map(|(above, _)| above / 2)
        .collect();
    ranks.sort_unstable();
    let discount = |place: usize| 1.0 / libm::log2(place as f64 + 2.0);
    let shown = ranks
        .iter()
        .enumerate()
        .map(|(before, above)| before + above);
    let gained: f64 = shown
        .filter(|place| *place < JUDGED_PLACES)
        .map(discount)
        .sum();
    let ideal: f64 = (0..held.len().min(JUDGED_PLACES)).map(discount).sum();
    gained / ideal
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

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
        let found = select_similar(&histories, 1);
        assert_eq!(found.algorithm, SimilarAlgorithm::Ease);
        assert_eq!(found.persons, 1_200);
        let (plain, ease) = (&found.trials[0], &found.trials[1]);
        assert_eq!(plain.algorithm, SimilarAlgorithm::ItemKnn);
        assert!(
            ease.ndcg > plain.ndcg && ease.gain_in_errors > SURE,
            "{found:?}"
        );
        assert_eq!(found.trial(SimilarAlgorithm::Slim), None);
        assert_eq!(found.model, SimilarAlgorithm::Ease.fit(&histories, 1));
    }

    #[test]
    fn luck_and_handfuls_keep_the_plain_model() {
        let few = select_similar(&pairs(JUDGED_PERSONS_MIN - 1, 5), 1);
        assert_eq!(few.algorithm, SimilarAlgorithm::ItemKnn);
        assert!(few.trials.is_empty() && few.persons == 0 && !few.model.is_empty());
        let mut rng = Rng::seeded(9);
        let mut any = || {
            let row: BTreeSet<u64> = (0..4).map(|_| rng.below(500)).collect();
            row.into_iter().map(|item| ItemIdx(item as u32)).collect()
        };
        let noise: Vec<Vec<ItemIdx>> = (0..300).map(|_| any()).collect();
        let found = select_similar(&noise, 1);
        assert_eq!(found.algorithm, SimilarAlgorithm::ItemKnn);
        assert!(select_similar(&[], 1).model.is_empty());
    }

    #[test]
    fn threads_change_nothing() {
        let histories = pairs(300, 2);
        let one = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let alone = one.install(|| select_similar(&histories, 3));
        assert_eq!(alone, select_similar(&histories, 3));
        for it in SimilarAlgorithm::ALL {
            assert_eq!(SimilarAlgorithm::parse(it.name()), Some(it));
        }
        assert_eq!(SimilarAlgorithm::parse("oracle"), None);
    }
}
