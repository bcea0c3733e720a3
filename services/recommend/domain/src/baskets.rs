//! What is bought together: pairs of items in one basket with support, confidence and lift.

use crate::incidence::{Incidence, Rows, keep_first};
use crate::items::ItemIdx;

/// Most partners kept per item.
pub const PARTNERS_MAX: usize = 100;
/// Most items read of one basket: a wholesaler's order says little about any pair.
pub const BASKET_ITEMS_MAX: usize = 200;

/// How pairs are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BasketOptions {
    /// Fewest baskets that must hold both items, at least 1.
    pub support_min: u32,
    /// Partners kept per item, 1 to [`PARTNERS_MAX`].
    pub partners: usize,
}

impl Default for BasketOptions {
    fn default() -> Self {
        Self {
            support_min: 3,
            partners: 20,
        }
    }
}

/// One rule "who buys this also buys `item`".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Partner {
    /// The other item.
    pub item: ItemIdx,
    /// Baskets with both.
    pub count: u32,
    /// Share of all baskets that hold both, in `(0, 1]`.
    pub support: f64,
    /// Share of this item's baskets that hold the other, in `(0, 1]`.
    pub confidence: f64,
    /// Confidence over the other's share of all baskets; above 1: more often than by chance.
    pub lift: f64,
}

/// For every item its best partners, as counts; the ratios are computed at read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasketModel {
    pub(crate) rows: Rows<(ItemIdx, u32)>,
    /// Baskets per item.
    pub(crate) counts: Vec<u32>,
    pub(crate) baskets: u32,
}

impl Eq for Rows<(ItemIdx, u32)> {}

impl BasketModel {
    /// Counts pairs. Only those with enough support and a lift above 1 are kept, ordered by how much
    /// the first item raises the chance of the second (confidence minus the base rate), then index.
    ///
    /// Same baskets and options give the same model for any number of threads.
    /// Source of the measures: Brin, Motwani, Ullman and Tsur, SIGMOD 1997, section 3.
    #[must_use]
    pub fn train<'a>(
        baskets: impl Iterator<Item = &'a [ItemIdx]>,
        options: &BasketOptions,
    ) -> Self {
        let incidence = Incidence::new(baskets, BASKET_ITEMS_MAX);
        let mut model = Self {
            rows: Rows::default(),
            counts: (0..incidence.items())
                .map(|item| incidence.item_count(item))
                .collect(),
            baskets: incidence.groups() as u32,
        };
        let (support_min, keep) = (
            options.support_min.max(1),
            options.partners.clamp(1, PARTNERS_MAX),
        );
        let rows = incidence.map_pairs(
            |_| 1.0,
            |item, pairs| {
                let mut row: Vec<Partner> = pairs
                    .iter()
                    .filter(|(_, together)| *together >= support_min as f32)
                    .map(|(other, together)| {
                        model.partner(ItemIdx(item as u32), ItemIdx(*other), *together as u32)
                    })
                    .filter(|partner| partner.lift > 1.0)
                    .collect();
                keep_first(&mut row, keep, |a, b| {
                    let gain = |it: &Partner| it.confidence - it.confidence / it.lift;
                    gain(b)
                        .total_cmp(&gain(a))
                        .then_with(|| a.item.cmp(&b.item))
                });
                row.into_iter()
                    .map(|partner| (partner.item, partner.count))
                    .collect::<Vec<_>>()
            },
        );
        model.rows = rows.into_iter().collect();
        model
    }

    /// Returns up to `k` items bought together with `item`, best first.
    #[must_use]
    pub fn bought_together(&self, item: ItemIdx, k: usize) -> Vec<Partner> {
        self.rows
            .row(item)
            .iter()
            .take(k)
            .map(|(other, count)| self.partner(item, *other, *count))
            .collect()
    }

    /// Returns how many baskets were counted.
    #[must_use]
    pub fn baskets(&self) -> u32 {
        self.baskets
    }

    /// Returns partners and their confidence, best first, without allocating: for the hot path.
    pub(crate) fn confidences(&self, item: ItemIdx) -> impl Iterator<Item = (ItemIdx, f32)> + '_ {
        let own = self.counts.get(item.at()).copied().unwrap_or(0).max(1) as f32;
        self.rows
            .row(item)
            .iter()
            .map(move |(other, count)| (*other, *count as f32 / own))
    }

    fn partner(&self, item: ItemIdx, other: ItemIdx, count: u32) -> Partner {
        let share = |count: u32| f64::from(count) / f64::from(self.baskets.max(1));
        let confidence = f64::from(count) / f64::from(self.counts[item.at()].max(1));
        Partner {
            item: other,
            count,
            support: share(count),
            confidence,
            lift: confidence / share(self.counts[other.at()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn train(rows: &[Vec<u32>], support_min: u32) -> BasketModel {
        let rows: Vec<Vec<_>> = rows
            .iter()
            .map(|row| row.iter().map(|item| ItemIdx(*item)).collect())
            .collect();
        let options = BasketOptions {
            support_min,
            ..BasketOptions::default()
        };
        BasketModel::train(rows.iter().map(Vec::as_slice), &options)
    }

    #[test]
    fn measures_match_values_worked_by_hand() {
        // Ten baskets: bread (0) in 5, butter (1) in 4, both in 3; nails (2) in 6, with bread in 2.
        let rows = [
            vec![0, 1],
            vec![0, 1],
            vec![0, 1],
            vec![0, 2],
            vec![0, 2],
            vec![1, 2],
            vec![2],
            vec![2],
            vec![2],
            vec![3],
        ];
        let model = train(&rows, 2);
        let partners = model.bought_together(ItemIdx(0), 5);
        assert_eq!(partners.len(), 1, "nails have lift 0.667 with bread");
        let butter = partners[0];
        assert_eq!(
            (butter.item, butter.count, butter.support),
            (ItemIdx(1), 3, 0.3)
        );
        assert!((butter.confidence - 0.6).abs() < 1e-12); // 3 / 5
        assert!((butter.lift - 1.5).abs() < 1e-12); // 0.6 / 0.4
        assert!(train(&rows, 4).bought_together(ItemIdx(0), 5).is_empty());
        assert!(model.bought_together(ItemIdx(42), 5).is_empty());
        assert_eq!(model.baskets(), 10);
    }

    proptest! {
        #[test]
        fn measures_keep_their_bounds_and_lift_is_symmetric(
            rows in prop::collection::vec(prop::collection::vec(0u32..6, 0..5), 0..30),
        ) {
            let model = train(&rows, 1);
            for item in (0..6).map(ItemIdx) {
                for partner in model.bought_together(item, 10) {
                    prop_assert!(partner.support > 0.0 && partner.support <= partner.confidence);
                    prop_assert!(partner.confidence <= 1.0 && partner.lift > 1.0);
                    let back = model.bought_together(partner.item, 10).into_iter().find(|it| it.item == item);
                    prop_assert!((back.unwrap().lift - partner.lift).abs() < 1e-9);
                }
            }
        }
    }
}
