//! Scores of one request: a vector over the catalogue of which mostly a few entries are set.

use std::cmp::Reverse;

use super::popularity::SessionPopularity;
use crate::items::ItemIdx;

/// Scores by item, reused between requests: resetting costs what the last request touched.
///
/// Memory: 8 bytes an item of the catalogue.
#[derive(Debug, Clone, Default)]
pub struct SessionScores {
    values: Vec<f32>,
    /// First the items whose value was set, each once, in the order of their first score; then room for
    /// all others and one more, so that noting an item takes no branch.
    touched: Vec<u32>,
    count: usize,
}

impl SessionScores {
    /// Empties the vector and sizes it for a catalogue.
    pub fn reset(&mut self, items: usize) {
        if self.count * 4 > self.values.len() {
            self.values.fill(0.0);
        } else {
            for item in &self.touched[..self.count] {
                self.values[*item as usize] = 0.0;
            }
        }
        self.count = 0;
        self.values.resize(items, 0.0);
        self.touched.resize(items + 1, 0);
    }

    /// Adds to one item; `score >= 0`, `item` below the size of the catalogue.
    #[inline]
    pub(crate) fn add(&mut self, item: u32, score: f32) {
        let value = &mut self.values[item as usize];
        // Whether an item is new is a coin toss to the processor: it is written down in any case.
        self.touched[self.count] = item;
        self.count += usize::from((*value == 0.0) & (score > 0.0));
        *value += score;
    }

    /// Adds the same score to every item of a visit.
    #[inline]
    pub(crate) fn add_each(&mut self, items: &[u32], score: f32) {
        for item in items {
            self.add(*item, score);
        }
    }

    /// Sets every score at once: `fill` gets the zeroed vector and must leave no 0 behind.
    pub(crate) fn set_all(&mut self, fill: impl FnOnce(&mut [f32])) {
        fill(&mut self.values);
        debug_assert!(self.values.iter().all(|value| *value > 0.0));
        self.count = self.values.len();
        for (place, item) in self.touched.iter_mut().zip(0..self.count as u32) {
            *place = item;
        }
    }

    /// Multiplies one item's score; 0 takes the item out of the list.
    pub(crate) fn scale(&mut self, item: u32, factor: f32) {
        if let Some(value) = self.values.get_mut(item as usize)
            && *value != 0.0
        {
            *value *= factor;
            if *value == 0.0 {
                let place = self.touched[..self.count].iter().position(|at| *at == item);
                if let Some(place) = place {
                    self.touched.copy_within(place + 1..self.count, place);
                    self.count -= 1;
                }
            }
        }
    }

    /// Multiplies every score by its item's factor; factors are positive, one per item.
    pub(crate) fn scale_all(&mut self, factors: &[f32]) {
        for item in &self.touched[..self.count] {
            self.values[*item as usize] *= factors[*item as usize];
        }
    }

    /// Returns the score of an item, 0 where there is none.
    #[must_use]
    pub fn get(&self, item: ItemIdx) -> f32 {
        self.values.get(item.at()).copied().unwrap_or(0.0)
    }

    /// Returns the scored items with their scores, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (u32, f32)> {
        self.touched[..self.count]
            .iter()
            .map(|item| (*item, self.values[*item as usize]))
    }

    /// Returns the sum of all scores.
    #[must_use]
    pub fn total(&self) -> f32 {
        self.iter().map(|(_, score)| score).sum()
    }

    /// Puts the best `k` into `top`, best first, equal scores by index; then, at score 0, what is
    /// popular. Shorter than `k` only if the catalogue is. Cost: one pass over the scored items.
    pub fn top(&self, k: usize, popular: &SessionPopularity, top: &mut Vec<(ItemIdx, f32)>) {
        top.clear();
        if k == 0 {
            return;
        }
        let (mut floor, room) = (0.0, 4 * k + 64);
        for (item, score) in self.iter() {
            if score > floor {
                top.push((ItemIdx(item), score));
                if top.len() == room {
                    keep_best(k, top);
                    // What equals the k-th best from now on has met it in no fixed order, so it must
                    // still come in: the floor is just below.
                    floor = top[k - 1].1.next_down().max(0.0);
                }
            }
        }
        keep_best(k, top);
        top.sort_unstable_by_key(|scored| Reverse(key(scored)));
        for item in popular.order() {
            if top.len() >= k {
                break;
            }
            if self.get(*item) == 0.0 {
                top.push((*item, 0.0));
            }
        }
    }

    /// Returns the rank of an item, 1 for the best, ties against it; `None` if it is beyond `k`.
    #[must_use]
    pub fn rank(&self, item: ItemIdx, k: usize, popular: &SessionPopularity) -> Option<usize> {
        let score = self.get(item);
        let rank = if score > 0.0 {
            if self.count == self.values.len() {
                self.values.iter().filter(|other| **other >= score).count()
            } else {
                self.iter().filter(|(_, other)| *other >= score).count()
            }
        } else {
            let count = popular.count(item);
            let rivals = popular
                .order()
                .iter()
                .take_while(|other| popular.count(**other) >= count)
                .filter(|other| self.get(**other) == 0.0)
                .take(k + 1);
            self.count + rivals.count()
        };
        (rank <= k).then_some(rank)
    }
}

/// Cuts a list down to its best `k`, the last of which ends up last.
fn keep_best(k: usize, list: &mut Vec<(ItemIdx, f32)>) {
    if list.len() > k {
        list.select_nth_unstable_by_key(k - 1, |scored| Reverse(key(scored)));
        list.truncate(k);
    }
}

/// Returns a number that is larger for the better of two, the lower index of equal scores: one
/// comparison without a branch. The bits of floats `>= 0` are in the order of their values.
fn key((item, score): &(ItemIdx, f32)) -> u64 {
    (u64::from(score.to_bits()) << 32) | u64::from(!item.0)
}

#[cfg(test)]
mod tests {
    use super::super::sessions::tests::sessions;
    use super::*;
    use proptest::prelude::*;

    fn scored(values: &[f32]) -> SessionScores {
        let mut scores = SessionScores::default();
        scores.reset(values.len());
        for (item, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
            scores.add(item as u32, *value);
        }
        scores
    }

    #[test]
    fn what_has_no_score_follows_by_popularity() {
        // 3 in three visits, 0 in two, 1 and 2 in one.
        let popular = SessionPopularity::train(&sessions(&[&[3, 0, 1], &[3, 0, 2], &[3]], 5), 0.0);
        let scores = scored(&[0.0, 0.5, 0.0, 0.0, 0.5]);
        let mut top = Vec::new();
        scores.top(5, &popular, &mut top);
        let items: Vec<u32> = top.iter().map(|(item, _)| item.0).collect();
        assert_eq!(items, [1, 4, 3, 0, 2]);
        let rank = |item: u32| scores.rank(ItemIdx(item), 5, &popular);
        assert_eq!(
            [rank(1), rank(4)],
            [Some(2), Some(2)],
            "ties go against both"
        );
        assert_eq!([rank(3), rank(0), rank(2)], [Some(3), Some(4), Some(5)]);
        assert_eq!(scores.rank(ItemIdx(0), 3, &popular), None);
    }

    #[test]
    fn a_scaled_out_item_is_gone_and_a_reset_leaves_nothing() {
        let mut scores = scored(&[0.2, 0.4, 0.6]);
        scores.scale(1, 0.0);
        scores.add(1, 0.1);
        scores.scale(2, 0.5);
        assert_eq!(
            scores.iter().collect::<Vec<_>>(),
            [(0, 0.2), (2, 0.3), (1, 0.1)]
        );
        scores.reset(4);
        assert_eq!((scores.iter().count(), scores.get(ItemIdx(2))), (0, 0.0));
    }

    proptest! {
        #[test]
        fn the_list_is_sorted_and_ranks_are_not_better_than_places(
            values in prop::collection::vec(prop_oneof![Just(0.0f32), (1u8..6).prop_map(f32::from)], 1..300),
            k in 1usize..30,
        ) {
            let popular = SessionPopularity::train(&sessions(&[&[0]], values.len()), 0.0);
            let scores = scored(&values);
            let mut top = Vec::new();
            scores.top(k, &popular, &mut top);
            prop_assert_eq!(top.len(), k.min(values.len()));
            let mut best: Vec<(ItemIdx, f32)> =
                values.iter().enumerate().map(|(at, value)| (ItemIdx(at as u32), *value)).collect();
            best.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            for (at, ((item, score), expected)) in top.iter().zip(&best).enumerate() {
                prop_assert_eq!(*score, expected.1);
                prop_assert!(*score == 0.0 || item == &expected.0);
                let rank = scores.rank(*item, k, &popular);
                prop_assert!(rank.is_none_or(|rank| rank > at));
            }
        }
    }
}
