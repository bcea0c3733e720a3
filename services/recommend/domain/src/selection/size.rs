//! What a catalogue and its histories are large in, and which algorithm may be tried on them: training
//! shares a process with serving, and has ten minutes.

use super::SimilarAlgorithm;
use crate::item_item::HISTORY_ITEMS_MAX;
use crate::items::ItemIdx;

/// Up to so many items EASE is a matter of seconds; above, SLIM and the graph filter take its place.
const EASE_SERVED_ITEMS_MAX: usize = 4_000;
/// Most bytes that SLIM may hold of pairs of items that share a person, and what one takes: the sum of
/// squared history lengths bounds the pairs.
const SLIM_BYTES_MAX: u64 = 256 << 20;
const SLIM_PAIR_BYTES: u64 = 8;
/// Most items times pairs of person and item for the graph filter, which scores every item over all pairs,
/// in the trial and again for the winner: 3.3e10 took 200 processor seconds of a 2020s server core.
const FILTER_STEPS_MAX: u64 = 40_000_000_000;
/// Most persons and items together for the graph filter, which holds vectors of all of them: 71,000 took
/// 390 MB.
const FILTER_NODES_MAX: usize = 100_000;

/// Sizes that costs depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// One more than the highest index.
    pub(super) items: usize,
    /// Persons with an item.
    pub(super) persons: usize,
    /// Pairs of person and item that learners read.
    pub(super) pairs: u64,
    /// Sum of squared history lengths, as they are read.
    pub(super) squares: u64,
}

impl Size {
    pub(super) fn of(histories: &[Vec<ItemIdx>]) -> Self {
        let items = histories.iter().flatten().map(|item| item.at() + 1);
        let read = || {
            let lengths = histories.iter().map(|it| it.len().min(HISTORY_ITEMS_MAX));
            lengths.map(|length| length as u64)
        };
        Self {
            items: items.max().unwrap_or(0),
            persons: read().filter(|length| *length > 0).count(),
            pairs: read().sum(),
            squares: read().map(|length| length * length).sum(),
        }
    }

    /// Whether an algorithm may be tried.
    pub(super) fn suits(&self, algorithm: SimilarAlgorithm) -> bool {
        let is_large = self.items > EASE_SERVED_ITEMS_MAX;
        match algorithm {
            SimilarAlgorithm::ItemKnn => true,
            SimilarAlgorithm::Ease => !is_large,
            SimilarAlgorithm::Slim => {
                is_large && self.squares.saturating_mul(SLIM_PAIR_BYTES) <= SLIM_BYTES_MAX
            }
            SimilarAlgorithm::Bspm => {
                let steps = self.pairs.saturating_mul(self.items as u64);
                is_large
                    && steps <= FILTER_STEPS_MAX
                    && self.persons.saturating_add(self.items) <= FILTER_NODES_MAX
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_has_its_bounds() {
        use SimilarAlgorithm::{Bspm, Ease, ItemKnn, Slim};
        let check = |size: Size, expected: &[SimilarAlgorithm]| {
            let all = SimilarAlgorithm::ALL.into_iter();
            let found: Vec<_> = all.filter(|it| size.suits(*it)).collect();
            assert_eq!(found, expected, "{size:?}");
        };
        let small = Size {
            items: EASE_SERVED_ITEMS_MAX,
            persons: 10,
            pairs: 100,
            squares: 1_000,
        };
        let large = Size {
            items: EASE_SERVED_ITEMS_MAX + 1,
            ..small
        };
        check(small, &[ItemKnn, Ease]);
        check(large, &[ItemKnn, Slim, Bspm]);
        let squares = SLIM_BYTES_MAX / SLIM_PAIR_BYTES;
        check(Size { squares, ..large }, &[ItemKnn, Slim, Bspm]);
        let squares = squares + 1;
        check(Size { squares, ..large }, &[ItemKnn, Bspm]);
        let (items, pairs) = (40_000, FILTER_STEPS_MAX / 40_000);
        let busy = Size {
            items,
            pairs,
            ..large
        };
        check(busy, &[ItemKnn, Slim, Bspm]);
        let pairs = pairs + 1;
        check(Size { pairs, ..busy }, &[ItemKnn, Slim]);
        let persons = FILTER_NODES_MAX - large.items;
        check(Size { persons, ..large }, &[ItemKnn, Slim, Bspm]);
        let persons = persons + 1;
        check(Size { persons, ..large }, &[ItemKnn, Slim]);
        let squares = u64::MAX;
        check(Size { squares, ..small }, &[ItemKnn, Ease]);
    }

    #[test]
    fn sizes_count_what_is_read() {
        let long: Vec<ItemIdx> = (0..1_100).map(ItemIdx).collect();
        let found = Size::of(&[vec![ItemIdx(7), ItemIdx(2)], Vec::new(), long]);
        let expected = Size {
            items: 1_100,
            persons: 2,
            pairs: 1_002,
            squares: 1_000_004,
        };
        assert_eq!(found, expected);
    }
}
