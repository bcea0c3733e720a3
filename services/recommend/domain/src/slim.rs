//! SLIM where items are too many for dense weights: each item explained by the few that are had with it.

use rapport_math::{cholesky, cholesky_solve};
use rayon::prelude::*;

use crate::bounds::bounded;
use crate::distil::model_of;
use crate::incidence::{Incidence, Rows, keep_first};
use crate::item::Violation;
use crate::item_item::{HISTORY_ITEMS_MAX, ItemItemModel, NEIGHBOURS_MAX, Neighbour};
use crate::items::ItemIdx;

/// Most items that one is explained by.
pub const SLIM_SUPPORT_MAX: usize = 400;
/// Items of one parallel task. Fixed: the split must not depend on the machine.
const CHUNK: usize = 64;

/// How SLIM is fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlimOptions {
    /// Items that one is explained by, 1 to [`SLIM_SUPPORT_MAX`]: those with the highest cosine.
    pub support: usize,
    /// Weight of the squared weights, in people; `[0.001, 1e6]`.
    pub regularisation: f32,
    /// How little a person with many items says: each counts `items^-damping`, `[0, 1]`; 0 is SLIM's.
    pub activity_damping: f32,
}

impl Default for SlimOptions {
    fn default() -> Self {
        Self {
            support: 100,
            regularisation: 10.0,
            activity_damping: 0.0,
        }
    }
}

impl SlimOptions {
    /// Checks every range.
    ///
    /// # Errors
    /// Every violation at once.
    pub fn validate(&self) -> Result<(), Vec<Violation>> {
        let mut bad = Vec::new();
        if !(1..=SLIM_SUPPORT_MAX).contains(&self.support) {
            let why = format!("must be between 1 and {SLIM_SUPPORT_MAX}");
            bad.push(Violation::new("support", why));
        }
        if !(1e-3..=1e6).contains(&self.regularisation) {
            bad.push(Violation::new(
                "regularisation",
                "must be between 0.001 and 1000000",
            ));
        }
        if !(0.0..=1.0).contains(&self.activity_damping) {
            bad.push(Violation::new(
                "activity_damping",
                "must be between 0 and 1",
            ));
        }
        if bad.is_empty() { Ok(()) } else { Err(bad) }
    }
}

/// Trains item-item weights from histories folded by person; duplicates in one count once, the newest
/// [`HISTORY_ITEMS_MAX`] of each are read. Options out of range are clamped.
///
/// * Each item's column solves `min |x_j - X_S w|² + regularisation |w|²` over its support `S`, exactly;
///   only positive weights are kept, and at most [`NEIGHBOURS_MAX`] per source.
/// * Sources: Ning and Karypis, "SLIM: sparse linear methods for top-N recommender systems", ICDM 2011,
///   section IV.C, with neighbours as features; the closed form without their absolute values is
///   Steck's, "Markov random fields for collaborative filtering", NeurIPS 2019, section 3.2.
/// * Cost: the sum of squared history lengths, then `support³ / 6` and a merge of `support` lists per
///   item. Memory: 8 bytes per pair of items that share a person while training. The same bytes for any
///   number of threads.
#[must_use]
pub fn train_slim<'a>(
    histories: impl Iterator<Item = &'a [ItemIdx]>,
    options: &SlimOptions,
) -> ItemItemModel {
    let incidence = Incidence::new(histories, HISTORY_ITEMS_MAX);
    let damping = bounded(options.activity_damping, 0.0, 1.0);
    let together = together(&incidence, damping);
    let items = incidence.items();
    let chunks: Vec<Vec<Vec<(u32, f32)>>> = (0..items.div_ceil(CHUNK))
        .into_par_iter()
        .map_init(Column::default, |column, chunk| {
            column.place.resize(items, 0);
            (chunk * CHUNK..((chunk + 1) * CHUNK).min(items))
                .map(|item| column.solve(&together, item, options))
                .collect()
        })
        .collect();
    let mut rows: Vec<Vec<Neighbour>> = vec![Vec::new(); items];
    for (candidate, weights) in chunks.into_iter().flatten().enumerate() {
        for (source, score) in weights.into_iter().filter(|(_, weight)| *weight > 0.0) {
            rows[source as usize].push(Neighbour {
                item: ItemIdx(candidate as u32),
                score,
            });
        }
    }
    for row in &mut rows {
        keep_first(row, NEIGHBOURS_MAX, |a, b| {
            b.score
                .total_cmp(&a.score)
                .then_with(|| a.item.cmp(&b.item))
        });
    }
    let counts = (0..items).map(|item| incidence.item_count(item)).collect();
    model_of(rows.into_iter().collect::<Rows<_>>(), counts)
}

/// The weighted Gram matrix: per item its own sum, and every item it shares a person with, ascending.
struct Together {
    own: Vec<f32>,
    pairs: Vec<Vec<(u32, f32)>>,
}

fn together(incidence: &Incidence, damping: f32) -> Together {
    let weight = |items: usize| (items as f32).powf(-damping);
    let own = (0..incidence.items())
        .map(|item| {
            let people = incidence.item_groups(item).iter();
            people
                .map(|user| weight(incidence.group(*user as usize).len()))
                .sum()
        })
        .collect();
    let pairs = incidence.map_pairs(weight, |_, pairs| {
        pairs.sort_unstable_by_key(|(item, _)| *item);
        pairs.clone()
    });
    Together { own, pairs }
}

/// What one thread needs to solve a column.
#[derive(Debug, Default)]
struct Column {
    /// One more than the place of an item in the support, 0 for all others.
    place: Vec<u32>,
    support: Vec<(f32, u32, f32)>,
    square: Vec<f64>,
    right: Vec<f64>,
}

impl Column {
    /// Returns the weights of an item's support.
    fn solve(&mut self, all: &Together, item: usize, options: &SlimOptions) -> Vec<(u32, f32)> {
        let cosine = |(other, shared): &(u32, f32)| {
            (
                shared / (all.own[*other as usize] * all.own[item]).sqrt(),
                *other,
                *shared,
            )
        };
        self.support.clear();
        self.support.extend(all.pairs[item].iter().map(cosine));
        let keep = options.support.clamp(1, SLIM_SUPPORT_MAX);
        keep_first(&mut self.support, keep, |a, b| {
            b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1))
        });
        let count = self.support.len();
        for (at, (_, other, _)) in self.support.iter().enumerate() {
            self.place[*other as usize] = at as u32 + 1;
        }
        self.square.clear();
        self.square.resize(count * count, 0.0);
        self.right.clear();
        let ridge = bounded(options.regularisation, 1e-3, 1e6);
        for (at, (_, other, shared)) in self.support.iter().enumerate() {
            let line = &mut self.square[at * count..(at + 1) * count];
            for (third, shared) in &all.pairs[*other as usize] {
                let place = self.place[*third as usize];
                if place > 0 {
                    line[place as usize - 1] = f64::from(*shared);
                }
            }
            line[at] = f64::from(all.own[*other as usize] + ridge);
            self.right.push(f64::from(*shared));
        }
        for (_, other, _) in &self.support {
            self.place[*other as usize] = 0;
        }
        if !cholesky(&mut self.square, count) {
            return Vec::new(); // a Gram matrix with a ridge is positive: only what is not finite is not
        }
        cholesky_solve(&self.square, count, &mut self.right);
        let weights = self.support.iter().zip(&self.right);
        weights
            .map(|((_, other, _), weight)| (*other, *weight as f32))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ease::EaseModel;
    use proptest::prelude::*;

    fn histories(rows: &[Vec<u32>]) -> Vec<Vec<ItemIdx>> {
        rows.iter()
            .map(|row| row.iter().map(|item| ItemIdx(*item)).collect())
            .collect()
    }

    fn train(rows: &[Vec<u32>], options: &SlimOptions) -> ItemItemModel {
        let rows = histories(rows);
        train_slim(rows.iter().map(Vec::as_slice), options)
    }

    #[test]
    fn weights_match_values_worked_by_hand() {
        // Item 1 by item 0 alone: 1 together / (2 of item 0 + 1).
        let options = SlimOptions {
            support: 5,
            regularisation: 1.0,
            activity_damping: 0.0,
        };
        let rows = [vec![0, 1], vec![0], vec![1]];
        let model = train(&rows, &options);
        let only = model.neighbours(ItemIdx(0));
        assert!(only.len() == 1 && (only[0].score - 1.0 / 3.0).abs() < 1e-6);
        // With damping 1 the first person counts a half: 0.5 / (1.5 + 1).
        let damped = SlimOptions {
            activity_damping: 1.0,
            ..options
        };
        let only = train(&rows, &damped).neighbours(ItemIdx(0))[0];
        assert!((only.score - 0.2).abs() < 1e-6);
        let bad = SlimOptions {
            support: 0,
            regularisation: 0.0,
            activity_damping: f32::NAN,
        };
        assert_eq!(bad.validate().unwrap_err().len(), 3);
        assert!(train(&[], &options).is_empty());
    }

    proptest! {
        #[test]
        fn a_support_of_everything_is_ease_where_positive(
            rows in prop::collection::vec(prop::collection::vec(0u32..10, 1..5), 1..25),
        ) {
            let options = SlimOptions { support: 50, regularisation: 2.0, activity_damping: 0.0 };
            let sparse = train(&rows, &options);
            let slices = histories(&rows);
            let dense = EaseModel::train(slices.iter().map(Vec::as_slice), 2.0).unwrap();
            // An item without any shared person stays out of the support, but may have a weight through
            // others: only items that are all had together compare.
            let everybody: std::collections::BTreeSet<u32> = rows.iter().flatten().copied().collect();
            let is_complete = everybody.iter().all(|a| everybody.iter().all(|b| {
                rows.iter().any(|row| row.contains(a) && row.contains(b))
            }));
            if is_complete {
                for source in everybody.iter().map(|item| ItemIdx(*item)) {
                    for neighbour in sparse.neighbours(source) {
                        let expected = dense.weight(source, neighbour.item);
                        prop_assert!((neighbour.score - expected).abs() < 1e-4);
                    }
                }
            }
            for item in (0..10).map(ItemIdx) {
                prop_assert!(sparse.neighbours(item).iter().all(|it| it.score > 0.0));
            }
        }
    }
}
