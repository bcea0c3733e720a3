//! Which model says what goes with an item: judged on what people did, inside what training knows.

mod size;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};

use rapport_math::Moments;
use rayon::prelude::*;

use self::size::Size;
use crate::ease::{EASE_RIDGE, EaseModel};
use crate::graph_filter::{GraphFilter, GraphFilterOptions};
use crate::hold_out::{HeldOut, discount, hold_out, ideal_gain};
use crate::item_item::{ItemItemModel, ItemItemOptions};
use crate::items::ItemIdx;
use crate::rank::SOURCES_MAX;
use crate::slim::{SlimOptions, train_slim};

/// Most persons that a trial is judged by.
const JUDGED_PERSONS_MAX: usize = 2_000;
/// Fewer persons than this with two items judge nothing, and the plain model serves.
const JUDGED_PERSONS_MIN: usize = 50;
/// Neighbours that every model keeps of each item: whoever keeps more has an easier trial, and costs
/// serving more.
const NEIGHBOURS_KEPT: usize = 200;
/// One of so many of a person's items is held out, at least one.
const HELD_OUT_ONE_IN: usize = 10;
/// Places that are judged.
const JUDGED_PLACES: usize = 20;
/// A model must be better than the plain one by so many standard errors of the difference.
const SURE: f64 = 2.0;

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

    /// Fits; `None` as soon as `stop` is seen to be set.
    fn fit(
        self,
        histories: &[Vec<ItemIdx>],
        seed: u64,
        stop: &AtomicBool,
    ) -> Option<ItemItemModel> {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let slices = || histories.iter().map(Vec::as_slice);
        let options = ItemItemOptions {
            neighbours: NEIGHBOURS_KEPT,
            ..ItemItemOptions::default()
        };
        let plain = || ItemItemModel::train(slices(), &options);
        Some(match self {
            Self::ItemKnn => plain(),
            Self::Ease => EaseModel::train(slices(), EASE_RIDGE)
                .map_or_else(plain, |model| model.distil(NEIGHBOURS_KEPT)),
            Self::Slim => train_slim(slices(), &SlimOptions::default()).cut(NEIGHBOURS_KEPT),
            Self::Bspm => GraphFilter::train(slices(), &GraphFilterOptions::bspm(), seed)
                .distil_unless(NEIGHBOURS_KEPT, stop)?,
        })
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
/// * Whoever wins has its scores scaled so that the best neighbours of all items have the mean that the
///   plain model's have: what ranking adds to them (baskets, popularity, live pairs) has weights on that
///   scale. No order within the model changes.
/// * `None` if `stop` is set meanwhile: it is looked at between algorithms, and between blocks of the
///   dearest step.
/// * Cost: every algorithm is fitted once, the winner and the plain one once more. Same histories and seed
///   give the same model for any number of threads.
/// * Source: Dacrema, Cremonesi and Jannach, "Are We Really Making Much Progress?", RecSys 2019, for
///   always judging beside well-set neighbours.
#[must_use]
pub fn select_similar(
    histories: &[Vec<ItemIdx>],
    seed: u64,
    stop: &AtomicBool,
) -> Option<Selection> {
    let size = Size::of(histories);
    let cut = Cut::new(histories, seed);
    let mut best = (f64::NEG_INFINITY, SimilarAlgorithm::ItemKnn);
    let mut trials = Vec::new();
    if cut.judges.len() >= JUDGED_PERSONS_MIN {
        let plain = cut.gains(SimilarAlgorithm::ItemKnn, size.items, seed, stop)?;
        for algorithm in SimilarAlgorithm::ALL {
            if !size.suits(algorithm) {
                continue;
            }
            let gains = if algorithm == SimilarAlgorithm::ItemKnn {
                plain.clone()
            } else {
                cut.gains(algorithm, size.items, seed, stop)?
            };
            let trial = compare(algorithm, &gains, &plain);
            let is_sure = algorithm == SimilarAlgorithm::ItemKnn || trial.gain_in_errors > SURE;
            if is_sure && trial.ndcg > best.0 {
                best = (trial.ndcg, algorithm);
            }
            trials.push(trial);
        }
    }
    let persons = if trials.is_empty() {
        0
    } else {
        cut.judges.len()
    };
    drop(cut);
    let mut model = SimilarAlgorithm::ItemKnn.fit(histories, seed, stop)?;
    if best.1 != SimilarAlgorithm::ItemKnn {
        let scale = model.mean_best();
        model = best.1.fit(histories, seed, stop)?;
        if let Some(scale) = scale {
            model.scale_to(scale);
        }
    }
    Some(Selection {
        model,
        algorithm: best.1,
        persons,
        trials,
    })
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
    judges: Vec<HeldOut>,
}

impl Cut {
    fn new(histories: &[Vec<ItemIdx>], seed: u64) -> Self {
        let mut known = histories.to_vec();
        let judges = hold_out(&mut known, HELD_OUT_ONE_IN, JUDGED_PERSONS_MAX, seed);
        Self { known, judges }
    }

    /// Returns each judge's normalised discounted gain; `None` if fitting was stopped.
    fn gains(
        &self,
        algorithm: SimilarAlgorithm,
        items: usize,
        seed: u64,
        stop: &AtomicBool,
    ) -> Option<Vec<f64>> {
        let model = algorithm.fit(&self.known, seed, stop)?;
        let gains = self.judges.par_iter().map_init(Vec::new, |scores, judge| {
            let history = &self.known[judge.person];
            gain(&model, history, &judge.items, items, scores)
        });
        Some(gains.collect())
    }
}

/// Discounted gain of the held-out items over that of the best list. Half of the equal ones stand before
/// an item, for serving puts them in some order: against the model, they would speak against whole counts.
/// An item without a score is not shown. As in serving, only the newest [`SOURCES_MAX`] suggest.
fn gain(
    model: &ItemItemModel,
    history: &[ItemIdx],
    held: &[ItemIdx],
    items: usize,
    scores: &mut Vec<f32>,
) -> f64 {
    scores.clear();
    scores.resize(items, 0.0);
    let newest = &history[history.len().saturating_sub(SOURCES_MAX)..];
    let weighted: Vec<(ItemIdx, f32)> = newest.iter().map(|item| (*item, 1.0)).collect();
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
    let mut others: Vec<usize> = above
        .iter()
        .zip(&wanted)
        .filter(|(_, wanted)| **wanted > 0.0)
        .map(|(above, _)| above / 2)
        .collect();
    others.sort_unstable();
    let shown = others
        .iter()
        .enumerate()
        .map(|(before, above)| before + above + 1);
    let gained: f64 = shown
        .filter(|rank| *rank <= JUDGED_PLACES)
        .map(discount)
        .sum();
    gained / ideal_gain(held.len(), JUDGED_PLACES)
}
