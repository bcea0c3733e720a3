//! Any linear model as item-item neighbours: what the service loads, and answers from in microseconds.

use std::sync::atomic::{AtomicBool, Ordering};

use rapport_math::dense::{LANES, Lanes};
use rayon::prelude::*;

use crate::graph_filter::{BLOCK_HISTORIES, GraphFilter, GraphFilterScratch};
use crate::incidence::{Rows, keep_first};
use crate::item_item::{ItemItemModel, NEIGHBOURS_MAX, Neighbour};
use crate::items::ItemIdx;

/// The neighbours of each item by descending score, the lower index first where equal; only positive
/// ones and at most `keep`, without the item itself.
pub(crate) fn best_of(
    item: usize,
    scores: impl Iterator<Item = f32>,
    keep: usize,
) -> Vec<Neighbour> {
    let mut row: Vec<Neighbour> = scores
        .enumerate()
        .filter(|(other, score)| *other != item && *score > 0.0)
        .map(|(other, score)| Neighbour {
            item: ItemIdx(other as u32),
            score,
        })
        .collect();
    keep_first(&mut row, keep, |a, b| {
        b.score
            .total_cmp(&a.score)
            .then_with(|| a.item.cmp(&b.item))
    });
    row
}

/// A model of given rows. What live pairs count for is set as in a plain model of the same people.
pub(crate) fn model_of(rows: Rows<Neighbour>, counts: Vec<u32>) -> ItemItemModel {
    ItemItemModel {
        rows,
        counts,
        shrinkage: 1.0,
        popularity_damping: 0.3,
    }
}

impl GraphFilter {
    /// Returns the filter as item-item neighbours, at most `neighbours` of each item, clamped to
    /// [`NEIGHBOURS_MAX`]: a history scores the sum of its items' rows, as it does by the filter but for
    /// what was cut off. Scores are scaled so that the best neighbours of all items add up to as many
    /// halves: on a scale with live pairs.
    ///
    /// Cost: that of scoring every item's own history of one. Same bytes for any number of threads.
    #[must_use]
    pub fn distil(&self, neighbours: usize) -> ItemItemModel {
        self.distil_unless(neighbours, &AtomicBool::new(false))
            .expect("nobody else knows the flag")
    }

    /// The same; `None` if `stop` is set before all blocks of items are done.
    pub(crate) fn distil_unless(
        &self,
        neighbours: usize,
        stop: &AtomicBool,
    ) -> Option<ItemItemModel> {
        let (items, keep) = (self.items(), neighbours.clamp(1, NEIGHBOURS_MAX));
        let blocks = items.div_ceil(BLOCK_HISTORIES);
        let parts: Option<Vec<Vec<Vec<Neighbour>>>> = (0..blocks)
            .into_par_iter()
            .map_init(GraphFilterScratch::default, |scratch, block| {
                if stop.load(Ordering::Relaxed) {
                    return None;
                }
                let first = block * BLOCK_HISTORIES;
                let last = (first + BLOCK_HISTORIES).min(items);
                let own: Vec<[(ItemIdx, f32); 1]> = (first..last)
                    .map(|item| [(ItemIdx(item as u32), 1.0)])
                    .collect();
                let histories: Vec<&[(ItemIdx, f32)]> = own.iter().map(|it| &it[..]).collect();
                let scores = self.score_block(&histories, scratch);
                let rows = (first..last)
                    .map(|item| best_of(item, lane(scores, items, item - first), keep))
                    .collect();
                Some(rows)
            })
            .collect();
        let rows: Rows<Neighbour> = parts?.into_iter().flatten().collect();
        let mut model = model_of(rows, self.people_per_item());
        model.scale_to(BEST_OF_A_FILTER);
        Some(model)
    }
}

/// Mean score of the best neighbours of a filter's items.
const BEST_OF_A_FILTER: f64 = 0.5;

impl ItemItemModel {
    /// Returns the mean score of the best neighbours of all items that have any; `None` if none has.
    pub(crate) fn mean_best(&self) -> Option<f64> {
        let best = |item: usize| self.rows.row(ItemIdx(item as u32)).first();
        let best = (0..self.len()).filter_map(|item| Some(f64::from(best(item)?.score)));
        let (sum, count) = best.fold((0.0, 0.0), |(sum, count), it| (sum + it, count + 1.0));
        (count > 0.0).then(|| sum / count)
    }

    /// Scales all scores so that [`Self::mean_best`] is `mean`, which is positive.
    pub(crate) fn scale_to(&mut self, mean: f64) {
        if let Some(own) = self.mean_best().filter(|own| *own > 0.0) {
            let by = (mean / own) as f32;
            self.rows.entries.iter_mut().for_each(|it| it.score *= by);
        }
    }

    /// Keeps the best `neighbours` of each item.
    pub(crate) fn cut(mut self, neighbours: usize) -> Self {
        let mut rows = Rows::default();
        for item in 0..self.len() {
            let row = self.rows.row(ItemIdx(item as u32));
            rows.push(row.iter().take(neighbours).copied());
        }
        self.rows = rows;
        self
    }
}

/// One history's scores in the answer of a block.
pub fn lane(panels: &[Lanes], items: usize, at: usize) -> impl Iterator<Item = f32> + '_ {
    let own = at / LANES * items;
    panels[own..own + items]
        .iter()
        .map(move |row| row[at % LANES])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GraphFilterOptions;

    #[test]
    fn rows_hold_what_the_filter_scores() {
        let rows: Vec<Vec<ItemIdx>> = (0..300u32)
            .map(|user| [user % 70, user * 7 % 70, user / 5].map(ItemIdx).to_vec())
            .collect();
        let options = GraphFilterOptions {
            factors: 16,
            ..GraphFilterOptions::bspm()
        };
        let filter = GraphFilter::train(rows.iter().map(Vec::as_slice), &options, 1);
        let model = filter.distil(5);
        assert_eq!(model.len(), filter.items());
        let mut scratch = GraphFilterScratch::default();
        let mut sum = 0.0;
        for item in 0..filter.items() {
            let own = [(ItemIdx(item as u32), 1.0)];
            let scores: Vec<f32> =
                lane(filter.score_block(&[&own], &mut scratch), filter.items(), 0).collect();
            let row = model.neighbours(ItemIdx(item as u32));
            assert!(row.len() <= 5 && row.iter().all(|it| it.item.at() != item));
            for pair in row.windows(2) {
                let ratio = scores[pair[1].item.at()] / scores[pair[0].item.at()];
                assert!((pair[1].score / pair[0].score - ratio).abs() < 1e-4 && ratio <= 1.0);
            }
            sum += row.first().map_or(0.5, |it| it.score);
        }
        assert!((sum / filter.items() as f32 - 0.5).abs() < 1e-3);
    }
}
