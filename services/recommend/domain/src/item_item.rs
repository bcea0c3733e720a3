//! Item-item similarity by co-occurrence: trained from people's histories, bounded per item.

use crate::incidence::{Incidence, Rows, keep_first};
use crate::item::Violation;
use crate::items::ItemIdx;
use std::collections::HashMap;

/// Most neighbours kept per item.
pub const NEIGHBOURS_MAX: usize = 400;
/// Most items of one person that training reads. Bounds the cost of a bot to its square.
pub const HISTORY_ITEMS_MAX: usize = 1_000;
/// Most items that have live neighbours between two trainings.
pub const LIVE_ITEMS_MAX: usize = 20_000;
/// Most live neighbours of one item.
pub const LIVE_NEIGHBOURS_MAX: usize = 32;
/// Most of a subject's recent items that a new one is paired with.
pub const LIVE_RECENT_MAX: usize = 10;

/// How item-item similarity is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ItemItemOptions {
    /// Neighbours kept per item, 1 to [`NEIGHBOURS_MAX`].
    pub neighbours: usize,
    /// Newest items read per person, 2 to [`HISTORY_ITEMS_MAX`].
    pub history_max: usize,
    /// Added to the denominator: the evidence at which a similarity is believed by half. `>= 0`.
    pub shrinkage: f32,
    /// How much a popular candidate is held back: the exponent of its count, in `[0, 1]`; the source
    /// item gets the rest, so 0.5 is the cosine.
    pub popularity_damping: f32,
    /// How little a person with many items says about each pair: they count `items^-damping`, `[0, 1]`.
    pub activity_damping: f32,
}

/// Chosen by validation inside the training files of two public logs, a sparse and a dense one
/// (Gowalla check-ins, Last.fm listening): NDCG at 20 on a tenth of every user's training items, by
/// `rapport lab recommend --train train.csv.gz --test test.csv.gz --algorithm auto --json`, whose
/// `explain` lists every trial. Both choose the same dampings and shrinkage.
impl Default for ItemItemOptions {
    fn default() -> Self {
        Self {
            // 400 are best on both, by 1.6 %, for four times the memory.
            neighbours: 100,
            history_max: 500,
            shrinkage: 1.0,
            // Between the cosine (0.5) and the plain conditional probability (0).
            popularity_damping: 0.3,
            activity_damping: 0.6,
        }
    }
}

impl ItemItemOptions {
    /// Checks every range.
    ///
    /// # Errors
    /// Every violation at once.
    pub fn validate(&self) -> Result<(), Vec<Violation>> {
        let mut bad = Vec::new();
        let mut check = |holds: bool, field: &str, why: String| {
            if !holds {
                bad.push(Violation::new(field, why));
            }
        };
        let range = |max: usize, min: usize| format!("must be between {min} and {max}");
        check(
            (1..=NEIGHBOURS_MAX).contains(&self.neighbours),
            "neighbours",
            range(NEIGHBOURS_MAX, 1),
        );
        check(
            (2..=HISTORY_ITEMS_MAX).contains(&self.history_max),
            "history_max",
            range(HISTORY_ITEMS_MAX, 2),
        );
        let is_shrinkage = self.shrinkage.is_finite() && self.shrinkage >= 0.0;
        check(
            is_shrinkage,
            "shrinkage",
            "must be finite and not negative".to_owned(),
        );
        let unit = 0.0..=1.0;
        check(
            unit.contains(&self.popularity_damping),
            "popularity_damping",
            range(1, 0),
        );
        check(
            unit.contains(&self.activity_damping),
            "activity_damping",
            range(1, 0),
        );
        if bad.is_empty() { Ok(()) } else { Err(bad) }
    }
}

/// One neighbour of an item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// The other item.
    pub item: ItemIdx,
    /// How strongly one suggests the other; positive, only comparable within one model.
    pub score: f32,
}

/// For every item its best neighbours.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ItemItemModel {
    pub(crate) rows: Rows<Neighbour>,
    /// People per item.
    pub(crate) counts: Vec<u32>,
    pub(crate) shrinkage: f32,
    pub(crate) popularity_damping: f32,
}

impl ItemItemModel {
    /// Trains from histories folded by person, each oldest first; duplicates in one count once.
    ///
    /// `score(i -> j) = sum over people with both of items^-activity / (n_i^(1-d) n_j^d + shrinkage)`,
    /// equal scores ordered by index, so intern in order of identifier where bytes must be equal
    /// between machines. Same histories and options give the same model for any number of threads.
    /// Options out of range are clamped. Cost: the sum of squared history lengths.
    /// Source: Deshpande and Karypis, TOIS 22(1), 2004, section 4.
    #[must_use]
    pub fn train<'a>(
        histories: impl Iterator<Item = &'a [ItemIdx]>,
        options: &ItemItemOptions,
    ) -> Self {
        let incidence = Incidence::new(histories, options.history_max.clamp(2, HISTORY_ITEMS_MAX));
        let counts: Vec<u32> = (0..incidence.items())
            .map(|item| incidence.item_count(item))
            .collect();
        let keep = options.neighbours.clamp(1, NEIGHBOURS_MAX);
        let mut model = Self {
            rows: Rows::default(),
            counts,
            shrinkage: options.shrinkage.max(0.0),
            popularity_damping: options.popularity_damping.clamp(0.0, 1.0),
        };
        let rows = incidence.map_pairs(
            |items| (items as f32).powf(-options.activity_damping.clamp(0.0, 1.0)),
            |item, pairs| {
                let mut row: Vec<Neighbour> = pairs
                    .iter()
                    .map(|(other, together)| {
                        let score = together / model.denominator(item, *other as usize, 0.0);
                        Neighbour {
                            item: ItemIdx(*other),
                            score,
                        }
                    })
                    .collect();
                keep_first(&mut row, keep, |a, b| {
                    b.score
                        .total_cmp(&a.score)
                        .then_with(|| a.item.cmp(&b.item))
                });
                row
            },
        );
        model.rows = rows.into_iter().collect();
        model
    }

    /// Returns the neighbours of an item, best first; empty for an item that training never saw.
    #[must_use]
    pub fn neighbours(&self, item: ItemIdx) -> &[Neighbour] {
        self.rows.row(item)
    }

    /// Returns how many items training saw.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether training saw nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds to `scores` (by item index) what a history suggests: the sum over its items of their
    /// neighbours' scores times the item's weight. Items beyond `scores` are skipped.
    ///
    /// For offline measurement over whole catalogues; serving uses [`crate::rank`].
    pub fn score_into(&self, history: &[(ItemIdx, f32)], scores: &mut [f32]) {
        for (source, weight) in history {
            for neighbour in self.neighbours(*source) {
                if let Some(score) = scores.get_mut(neighbour.item.at()) {
                    *score += weight * neighbour.score;
                }
            }
        }
    }

    /// Computes the score of a pair seen `together` times since training, on the model's own scale.
    pub(crate) fn live_score(&self, source: ItemIdx, other: ItemIdx, together: u32) -> f32 {
        let together = together as f32;
        together / self.denominator(source.at(), other.at(), together)
    }

    /// `added` keeps live scores at most 1 for items that training never saw.
    fn denominator(&self, source: usize, other: usize, added: f32) -> f32 {
        let count = |item: usize| self.counts.get(item).copied().unwrap_or(0) as f32 + added;
        let damping = self.popularity_damping;
        let product = count(source).powf(1.0 - damping) * count(other).powf(damping);
        product + self.shrinkage
    }
}

/// Pairs seen since the last training, one subject's at a time: what is bought together today shows
/// today. Bounded, so a copy for lock-free serving is cheap; emptied at each training.
#[derive(Debug, Clone, Default)]
pub struct LivePairs {
    rows: HashMap<ItemIdx, Vec<(ItemIdx, u32)>>,
    dropped: u64,
}

impl LivePairs {
    /// Pairs `item`, new in one subject's timeline, with that subject's `recent` other items, newest
    /// first; at most [`LIVE_RECENT_MAX`] are read. What is already in `recent` was paired before.
    pub fn add(&mut self, recent: &[ItemIdx], item: ItemIdx) {
        let recent = &recent[..recent.len().min(LIVE_RECENT_MAX)];
        if recent.contains(&item) {
            return;
        }
        for other in recent {
            self.count(item, *other);
            self.count(*other, item);
        }
    }

    /// Returns the pairs of an item with their counts, in order of first sight.
    #[must_use]
    pub fn pairs(&self, item: ItemIdx) -> &[(ItemIdx, u32)] {
        self.rows.get(&item).map_or(&[], |row| row)
    }

    /// Returns whether nothing was added since training.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns how many pairs found no room; they enter at the next training.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn count(&mut self, from: ItemIdx, to: ItemIdx) {
        if !self.rows.contains_key(&from) && self.rows.len() >= LIVE_ITEMS_MAX {
            self.dropped += 1;
            return;
        }
        let row = self.rows.entry(from).or_default();
        match row.iter().position(|(other, _)| *other == to) {
            Some(at) => row[at].1 = row[at].1.saturating_add(1),
            None if row.len() >= LIVE_NEIGHBOURS_MAX => self.dropped += 1,
            None => row.push((to, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histories(rows: &[Vec<u32>]) -> Vec<Vec<ItemIdx>> {
        rows.iter()
            .map(|row| row.iter().map(|item| ItemIdx(*item)).collect())
            .collect()
    }

    fn train(rows: &[Vec<u32>], options: &ItemItemOptions) -> ItemItemModel {
        let rows = histories(rows);
        ItemItemModel::train(rows.iter().map(Vec::as_slice), options)
    }

    const COSINE: ItemItemOptions = ItemItemOptions {
        neighbours: 10,
        history_max: 10,
        shrinkage: 0.0,
        popularity_damping: 0.5,
        activity_damping: 0.0,
    };

    #[track_caller]
    fn check(model: &ItemItemModel, item: u32, expected: &[(u32, f32)]) {
        let row = model.neighbours(ItemIdx(item));
        assert_eq!(
            row.iter().map(|it| it.item.0).collect::<Vec<_>>(),
            expected.iter().map(|it| it.0).collect::<Vec<_>>()
        );
        for (neighbour, (_, score)) in row.iter().zip(expected) {
            assert!(
                (neighbour.score - score).abs() < 1e-4,
                "{neighbour:?} instead of {score}"
            );
        }
    }

    #[test]
    fn scores_match_values_worked_by_hand() {
        // 0 in three histories, 1 in two, 2 in one; 0 and 1 together twice, 0 and 2 once.
        let rows = [vec![0, 1], vec![0, 1], vec![0, 2]];
        let model = train(&rows, &COSINE);
        check(&model, 0, &[(1, 0.8165), (2, 0.5774)]); // 2 / sqrt 6, 1 / sqrt 3
        check(&model, 1, &[(0, 0.8165)]);
        let shrunk = train(
            &rows,
            &ItemItemOptions {
                shrinkage: 1.0,
                ..COSINE
            },
        );
        check(&shrunk, 0, &[(1, 0.5798), (2, 0.3660)]); // 2 / (sqrt 6 + 1), 1 / (sqrt 3 + 1)
        let conditional = train(
            &rows,
            &ItemItemOptions {
                popularity_damping: 0.0,
                ..COSINE
            },
        );
        check(&conditional, 0, &[(1, 0.6667), (2, 0.3333)]); // P(other | 0)
        let damped = train(
            &rows,
            &ItemItemOptions {
                activity_damping: 1.0,
                ..COSINE
            },
        );
        check(&damped, 0, &[(1, 0.4082), (2, 0.2887)]); // every history has two items: half
    }

    #[test]
    fn rows_are_cut_and_ties_go_to_the_lower_index() {
        let model = train(
            &[vec![3, 0, 1, 2]],
            &ItemItemOptions {
                neighbours: 2,
                ..COSINE
            },
        );
        check(&model, 3, &[(0, 1.0), (1, 1.0)]);
        assert!(model.neighbours(ItemIdx(99)).is_empty());
    }

    #[test]
    fn live_pairs_are_bounded_and_scored_like_trained_ones() {
        let mut live = LivePairs::default();
        live.add(&[ItemIdx(1), ItemIdx(2)], ItemIdx(0));
        live.add(&[ItemIdx(1), ItemIdx(0)], ItemIdx(0)); // was there already
        assert_eq!(live.pairs(ItemIdx(0)), [(ItemIdx(1), 1), (ItemIdx(2), 1)]);
        assert_eq!(live.pairs(ItemIdx(1)), [(ItemIdx(0), 1)]);
        let model = train(&[vec![0, 1], vec![0], vec![0]], &COSINE);
        let score = model.live_score(ItemIdx(0), ItemIdx(1), 1);
        assert!((score - 0.3536).abs() < 1e-4); // 1 / sqrt((3 + 1)(1 + 1))
        let unseen = model.live_score(ItemIdx(7), ItemIdx(8), 3);
        assert!((unseen - 1.0).abs() < 1e-6);
        for item in 0..LIVE_NEIGHBOURS_MAX as u32 + 5 {
            live.add(&[ItemIdx(1_000)], ItemIdx(2_000 + item));
        }
        assert_eq!(live.pairs(ItemIdx(1_000)).len(), LIVE_NEIGHBOURS_MAX);
        assert_eq!(live.dropped(), 5);
    }

    #[test]
    fn options_name_every_bad_field() {
        let options = ItemItemOptions {
            neighbours: 0,
            history_max: 1,
            shrinkage: f32::NAN,
            popularity_damping: 1.5,
            activity_damping: -0.1,
        };
        let bad = options.validate().unwrap_err();
        let fields: Vec<_> = bad
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        assert_eq!(
            fields,
            [
                "neighbours",
                "history_max",
                "shrinkage",
                "popularity_damping",
                "activity_damping"
            ]
        );
        assert_eq!(ItemItemOptions::default().validate(), Ok(()));
    }

    proptest! {
        #[test]
        fn the_cosine_is_symmetric_and_at_most_one(
            rows in prop::collection::vec(prop::collection::vec(0u32..8, 0..6), 0..20),
        ) {
            let model = train(&rows, &COSINE);
            for item in (0..8).map(ItemIdx) {
                for neighbour in model.neighbours(item) {
                    prop_assert!(neighbour.score > 0.0 && neighbour.score <= 1.0 + 1e-6);
                    let back = model.neighbours(neighbour.item).iter().find(|it| it.item == item);
                    prop_assert_eq!(back.map(|it| it.score), Some(neighbour.score));
                }
            }
        }

        #[test]
        fn threads_and_the_order_of_people_change_nothing_in_the_counts(
            mut rows in prop::collection::vec(prop::collection::vec(0u32..700, 0..9), 0..80),
        ) {
            let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
            let one = alone.install(|| train(&rows, &COSINE));
            prop_assert_eq!(&train(&rows, &COSINE), &one);
            rows.reverse(); // whole counts: sums are exact in any order
            prop_assert_eq!(&train(&rows, &COSINE), &one);
        }
    }
}
