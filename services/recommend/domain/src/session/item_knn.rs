//! Items that share visits with those of the visit at hand.

use super::index::WINDOW_MAX;
use super::markov::main_source;
use super::sessions::Sessions;
use super::{SessionModel, SessionScores, SessionScratch, SessionWhy, recent_distinct};
use crate::item_item::{ItemItemModel, ItemItemOptions};
use crate::items::ItemIdx;

/// How items are compared and what each item of the visit says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SessionItemKnnOptions {
    /// How items are compared.
    pub similarity: ItemItemOptions,
    /// Weight of an item of the visit per distinct item after it, `[0, 1]`; 0 reads the last one only.
    pub position_decay: f32,
}

/// The cosine and the last item only, as the baseline of the literature.
impl Default for SessionItemKnnOptions {
    fn default() -> Self {
        Self {
            similarity: ItemItemOptions {
                shrinkage: 0.0,
                popularity_damping: 0.5,
                activity_damping: 0.0,
                ..ItemItemOptions::default()
            },
            position_decay: 0.0,
        }
    }
}

/// For every item the items that share most visits with it.
///
/// `score(j) = sum over items i of the visit of position^r(i) * similarity(i, j)`, with `r` the distinct
/// items after `i`. An item is no neighbour of itself.
///
/// * Cost: training the sum of squared visit lengths, an answer the neighbours of what is read.
/// * Memory: 8 bytes a neighbour.
/// * Source: Hidasi, Karatzoglou, Baltrunas and Tikk, "Session-based recommendations with recurrent
///   neural networks", ICLR 2016, section 4.1 (item-KNN); the similarity is [`ItemItemModel`]'s.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionItemKnn {
    similar: ItemItemModel,
    items: usize,
    position_decay: f32,
}

impl SessionItemKnn {
    /// Compares items; options out of range are clamped. Same model for any number of threads.
    #[must_use]
    pub fn train(sessions: &Sessions, options: &SessionItemKnnOptions) -> Self {
        let visits: Vec<Vec<ItemIdx>> = sessions
            .iter()
            .map(|session| session.iter().map(|item| ItemIdx(*item)).collect())
            .collect();
        Self {
            similar: ItemItemModel::train(visits.iter().map(Vec::as_slice), &options.similarity),
            items: sessions.items(),
            position_decay: options.position_decay.clamp(0.0, 1.0),
        }
    }

    fn read(&self, prefix: &[ItemIdx]) -> impl Iterator<Item = (ItemIdx, f32)> {
        let decay = self.position_decay;
        let window = if decay > 0.0 { WINDOW_MAX } else { 1 };
        recent_distinct(prefix, window, self.items)
            .map(move |(recency, item)| (ItemIdx(item), decay.powi(recency as i32)))
    }
}

impl SessionModel for SessionItemKnn {
    fn score(&self, prefix: &[ItemIdx], _: &mut SessionScratch, scores: &mut SessionScores) {
        scores.reset(self.items);
        for (item, weight) in self.read(prefix) {
            for neighbour in self.similar.neighbours(item) {
                scores.add(neighbour.item.0, weight * neighbour.score);
            }
        }
    }

    fn why(&self, prefix: &[ItemIdx], item: ItemIdx, _: &mut SessionScratch) -> Option<SessionWhy> {
        main_source(self.read(prefix).map(|(source, weight)| {
            let neighbours = self.similar.neighbours(source);
            let found = neighbours.iter().find(|neighbour| neighbour.item == item);
            (
                source,
                weight * found.map_or(0.0, |neighbour| neighbour.score),
            )
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::tests::{prefix, sessions};
    use super::*;

    #[test]
    fn similar_items_of_the_visit_add_up() {
        // 0 in three visits, 1 in two, 2 in one: cosines 2 / sqrt 6 and 1 / sqrt 3; 1 and 2 share none.
        let log = sessions(&[&[0, 1], &[1, 0, 1], &[0, 2]], 4);
        let options = SessionItemKnnOptions {
            position_decay: 0.5,
            ..Default::default()
        };
        let model = SessionItemKnn::train(&log, &options);
        let (mut scratch, mut scores) = (SessionScratch::default(), SessionScores::default());
        model.score(&prefix(&[2, 1]), &mut scratch, &mut scores);
        let expected = 0.816_497 + 0.5 * 0.577_350;
        assert!((scores.get(ItemIdx(0)) - expected).abs() < 1e-5);
        assert_eq!(scores.iter().count(), 1);
        let why = model
            .why(&prefix(&[2, 1]), ItemIdx(0), &mut scratch)
            .unwrap();
        assert_eq!(why.because_of, Some(ItemIdx(1)));
        let last = SessionItemKnn::train(&log, &SessionItemKnnOptions::default());
        last.score(&prefix(&[2, 1]), &mut scratch, &mut scores);
        assert!((scores.get(ItemIdx(0)) - 0.816_497).abs() < 1e-5);
        assert_eq!(last.why(&prefix(&[3]), ItemIdx(0), &mut scratch), None);
    }
}
