//! EASE: the best linear item-item weights with nothing on the diagonal, in closed form; dense, so only
//! for as many items as fit.

use rapport_math::dense::{LANES, Lanes};
use rapport_math::invert_positive;
use rayon::prelude::*;

use crate::bounds::bounded;
use crate::distil::{best_of, model_of};
use crate::incidence::{Incidence, Rows};
use crate::item_item::{HISTORY_ITEMS_MAX, ItemItemModel, NEIGHBOURS_MAX, Neighbour};
use crate::items::ItemIdx;

/// People that a weight must be worth, where nothing was chosen.
pub const EASE_RIDGE: f32 = 100.0;

/// Most items: 2.7 GB of weights.
pub const EASE_ITEMS_MAX: usize = 26_000;

/// Weights of every item for every other.
///
/// * Memory: `4 * items²` bytes, and `1,024 * items` while training.
#[derive(Debug)]
pub struct EaseModel {
    /// Panels of `side` rows: `weights[source][candidate]`.
    weights: Vec<Lanes>,
    items: usize,
    side: usize,
    counts: Vec<u32>,
}

impl EaseModel {
    /// Trains from histories folded by person; duplicates in one count once, the newest
    /// [`HISTORY_ITEMS_MAX`] of each are read. `None` above [`EASE_ITEMS_MAX`] items.
    ///
    /// * `regularisation`, clamped to `[1e-3, 1e6]`: people that a weight must be worth.
    /// * `B = 1 - P / diag(P)` with `P = (XᵀX + regularisation)^-1`: Steck, "Embarrassingly shallow
    ///   autoencoders for sparse data", WWW 2019, equation 8.
    /// * Cost: the sum of squared history lengths and `items³ / 2` products. The same bytes for any number of threads.
    #[must_use]
    pub fn train<'a>(
        histories: impl Iterator<Item = &'a [ItemIdx]>,
        regularisation: f32,
    ) -> Option<Self> {
        let incidence = Incidence::new(histories, HISTORY_ITEMS_MAX);
        let items = incidence.items();
        if items > EASE_ITEMS_MAX {
            return None;
        }
        let side = items.next_multiple_of(LANES);
        let ridge = bounded(regularisation, 1e-3, 1e6);
        let mut weights = vec![[0.0; LANES]; side / LANES * side];
        weights
            .par_chunks_mut(side.max(1))
            .enumerate()
            .for_each(|(panel, rows)| {
                for (lane, column) in (panel * LANES..).enumerate().take(LANES) {
                    rows[column][lane] = ridge;
                    if column < items {
                        let people = incidence.item_groups(column).iter();
                        for other in people.flat_map(|user| incidence.group(*user as usize)) {
                            rows[*other as usize][lane] += 1.0;
                        }
                    }
                }
            });
        // The ridge keeps the Gram matrix positive far above what single precision loses.
        if !invert_positive(&mut weights, side) {
            return None;
        }
        weights
            .par_chunks_mut(side.max(1))
            .enumerate()
            .for_each(|(panel, rows)| {
                for lane in 0..LANES {
                    let own = panel * LANES + lane;
                    let by = -1.0 / rows[own][lane];
                    rows.iter_mut().for_each(|row| row[lane] *= by);
                    rows[own][lane] = 0.0;
                }
            });
        Some(Self {
            weights,
            items,
            side,
            counts: (0..items).map(|item| incidence.item_count(item)).collect(),
        })
    }

    /// Returns how many items training saw.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items
    }

    /// Returns how much an item of a history adds to the score of `candidate`; may be negative.
    #[must_use]
    pub fn weight(&self, source: ItemIdx, candidate: ItemIdx) -> f32 {
        if source.at().max(candidate.at()) >= self.items {
            return 0.0;
        }
        let panel = candidate.at() / LANES * self.side;
        self.weights[panel + source.at()][candidate.at() % LANES]
    }

    /// Adds to `scores` (by item index) the weights of a history's items. Items beyond either are
    /// skipped. Cost: `items` per item of the history.
    pub fn score_into(&self, history: &[ItemIdx], scores: &mut [f32]) {
        let shown = scores.len().min(self.items);
        for source in history.iter().filter(|item| item.at() < self.items) {
            let rows = self.weights[source.at()..].iter().step_by(self.side.max(1));
            for (row, scores) in rows.zip(scores[..shown].chunks_mut(LANES)) {
                for (score, weight) in scores.iter_mut().zip(row) {
                    *score += weight;
                }
            }
        }
    }

    /// Returns the largest positive weights of each item as neighbours, at most `neighbours`, clamped to
    /// [`NEIGHBOURS_MAX`]: what the service loads.
    #[must_use]
    pub fn distil(&self, neighbours: usize) -> ItemItemModel {
        let keep = neighbours.clamp(1, NEIGHBOURS_MAX);
        let row = |item: usize| {
            let source = ItemIdx(item as u32);
            let weights = (0..self.items).map(|other| self.weight(source, ItemIdx(other as u32)));
            best_of(item, weights, keep)
        };
        let rows: Vec<Vec<Neighbour>> = (0..self.items).into_par_iter().map(row).collect();
        model_of(rows.into_iter().collect::<Rows<_>>(), self.counts.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn train(rows: &[Vec<u32>], ridge: f32) -> EaseModel {
        let rows: Vec<Vec<ItemIdx>> = rows
            .iter()
            .map(|row| row.iter().map(|item| ItemIdx(*item)).collect())
            .collect();
        EaseModel::train(rows.iter().map(Vec::as_slice), ridge).unwrap()
    }

    #[test]
    fn weights_match_values_worked_by_hand() {
        // Gram [[2, 1], [1, 2]] + 1: inverse [[3, -1], [-1, 3]] / 8, so each weighs the other 1/3.
        let model = train(&[vec![0, 1], vec![0], vec![1]], 1.0);
        let weight = |a, b| model.weight(ItemIdx(a), ItemIdx(b));
        assert!((weight(0, 1) - 1.0 / 3.0).abs() < 1e-6 && (weight(1, 0) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!((weight(0, 0), weight(0, 7)), (0.0, 0.0));
        let mut scores = [0.0; 2];
        model.score_into(&[ItemIdx(0), ItemIdx(9)], &mut scores);
        assert!(scores[0] == 0.0 && (scores[1] - 1.0 / 3.0).abs() < 1e-6);
        let rows = model.distil(5);
        assert_eq!(rows.neighbours(ItemIdx(0))[0].item, ItemIdx(1));
        assert_eq!(train(&[], 1.0).items(), 0);
    }

    proptest! {
        /// What each candidate's weights solve: ridge regression of its column on all others.
        #[test]
        fn weights_solve_the_normal_equations(
            rows in prop::collection::vec(prop::collection::vec(0u32..40, 1..6), 1..30),
        ) {
            let model = train(&rows, 2.0);
            let sets: Vec<std::collections::BTreeSet<u32>> =
                rows.iter().map(|row| row.iter().copied().collect()).collect();
            let together = |a: u32, b: u32| {
                sets.iter().filter(|set| set.contains(&a) && set.contains(&b)).count() as f32
            };
            let items = model.items() as u32;
            let (candidate, other) = (items / 3, items / 2);
            prop_assume!(candidate != other);
            let left: f32 = (0..items)
                .map(|k| {
                    let gram = together(other, k) + if k == other { 2.0 } else { 0.0 };
                    gram * model.weight(ItemIdx(k), ItemIdx(candidate))
                })
                .sum();
            prop_assert!((left - together(other, candidate)).abs() < 1e-3, "{}", left);
        }
    }
}
