//! Who had what, as two compressed sparse rows, and the co-occurrence counts walked from them.
//!
//! Both learners of this crate (item-item and baskets) count pairs through here. Work is split in
//! fixed chunks of items and every item is summed in one order, so the same numbers come out for any
//! count of threads.

use crate::items::ItemIdx;
use rayon::prelude::*;

/// Items per unit of parallel work. Fixed: the split must not depend on the machine.
const CHUNK_ITEMS: usize = 256;

/// Groups (people or baskets) by items, and items by groups.
#[derive(Debug)]
pub(crate) struct Incidence {
    group_starts: Vec<usize>,
    group_items: Vec<u32>,
    item_starts: Vec<usize>,
    item_groups: Vec<u32>,
}

impl Incidence {
    /// Takes the last `items_max` entries of every group; duplicates count once, empty groups not.
    pub(crate) fn new<'a>(groups: impl Iterator<Item = &'a [ItemIdx]>, items_max: usize) -> Self {
        let (mut group_starts, mut group_items) = (vec![0], Vec::new());
        let mut group = Vec::new();
        for entries in groups {
            let newest = &entries[entries.len().saturating_sub(items_max)..];
            group.clear();
            group.extend(newest.iter().map(|item| item.0));
            group.sort_unstable();
            group.dedup();
            if !group.is_empty() {
                group_items.extend_from_slice(&group);
                group_starts.push(group_items.len());
            }
        }
        let (item_starts, item_groups) = transpose(&group_starts, &group_items);
        Self {
            group_starts,
            group_items,
            item_starts,
            item_groups,
        }
    }

    pub(crate) fn items(&self) -> usize {
        self.item_starts.len() - 1
    }

    pub(crate) fn groups(&self) -> usize {
        self.group_starts.len() - 1
    }

    /// Groups that hold the item.
    pub(crate) fn item_count(&self, item: usize) -> u32 {
        self.item_groups(item).len() as u32
    }

    /// All groups as starts and members, for products with a panel.
    pub(crate) fn by_group(&self) -> (&[usize], &[u32]) {
        (&self.group_starts, &self.group_items)
    }

    /// All items as starts and the groups that hold them.
    pub(crate) fn by_item(&self) -> (&[usize], &[u32]) {
        (&self.item_starts, &self.item_groups)
    }

    /// The items of a group, ascending.
    pub(crate) fn group(&self, group: usize) -> &[u32] {
        &self.group_items[self.group_starts[group]..self.group_starts[group + 1]]
    }

    /// The groups of an item, ascending.
    pub(crate) fn item_groups(&self, item: usize) -> &[u32] {
        &self.item_groups[self.item_starts[item]..self.item_starts[item + 1]]
    }

    /// Computes `finish(item, pairs)` for every item, in item order, where `pairs` holds every other
    /// item that shares a group with it and the sum of `weight(group size)` over the shared groups.
    ///
    /// Cost: the sum of squared group sizes, over all threads; one dense row per thread.
    pub(crate) fn map_pairs<T: Send>(
        &self,
        weight: impl Fn(usize) -> f32 + Sync,
        finish: impl Fn(usize, &mut Vec<(u32, f32)>) -> T + Sync,
    ) -> Vec<T> {
        let weights: Vec<f32> = (0..self.groups())
            .map(|group| weight(self.group(group).len()))
            .collect();
        let chunks = self.items().div_ceil(CHUNK_ITEMS);
        let scratch = || (vec![0.0f32; self.items()], Vec::new());
        let parts: Vec<Vec<T>> = (0..chunks)
            .into_par_iter()
            .map_init(scratch, |(sums, pairs), chunk| {
                let last = ((chunk + 1) * CHUNK_ITEMS).min(self.items());
                (chunk * CHUNK_ITEMS..last)
                    .map(|item| {
                        self.sum_pairs(item, &weights, sums, pairs);
                        finish(item, pairs)
                    })
                    .collect()
            })
            .collect();
        parts.into_iter().flatten().collect()
    }

    /// Fills `pairs` in ascending order of first meeting; leaves `sums` all zero again.
    fn sum_pairs(
        &self,
        item: usize,
        weights: &[f32],
        sums: &mut [f32],
        pairs: &mut Vec<(u32, f32)>,
    ) {
        pairs.clear();
        for group in self.item_groups(item) {
            let weight = weights[*group as usize];
            for other in self.group(*group as usize) {
                let sum = &mut sums[*other as usize];
                if *sum == 0.0 {
                    pairs.push((*other, 0.0));
                }
                *sum += weight;
            }
        }
        for (other, sum) in pairs.iter_mut() {
            *sum = std::mem::take(&mut sums[*other as usize]);
        }
        pairs.retain(|(other, _)| *other as usize != item);
    }
}

fn transpose(group_starts: &[usize], group_items: &[u32]) -> (Vec<usize>, Vec<u32>) {
    let items = group_items
        .iter()
        .max()
        .map_or(0, |highest| *highest as usize + 1);
    let mut item_starts = vec![0; items + 1];
    for item in group_items {
        item_starts[*item as usize + 1] += 1;
    }
    for item in 0..items {
        item_starts[item + 1] += item_starts[item];
    }
    let mut next = item_starts.clone();
    let mut item_groups = vec![0; group_items.len()];
    for (group, bounds) in group_starts.windows(2).enumerate() {
        for item in &group_items[bounds[0]..bounds[1]] {
            item_groups[next[*item as usize]] = group as u32;
            next[*item as usize] += 1;
        }
    }
    (item_starts, item_groups)
}

/// Rows of different lengths in one allocation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows<T> {
    pub(crate) starts: Vec<u32>,
    pub(crate) entries: Vec<T>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            starts: vec![0],
            entries: Vec::new(),
        }
    }
}

impl<T> Rows<T> {
    pub(crate) fn push(&mut self, row: impl IntoIterator<Item = T>) {
        self.entries.extend(row);
        self.starts.push(self.entries.len() as u32);
    }

    /// The row, empty for an item that training never saw.
    pub(crate) fn row(&self, item: ItemIdx) -> &[T] {
        match self.starts.get(item.at()..item.at() + 2) {
            Some(bounds) => &self.entries[bounds[0] as usize..bounds[1] as usize],
            None => &[],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }
}

impl<T> FromIterator<Vec<T>> for Rows<T> {
    fn from_iter<I: IntoIterator<Item = Vec<T>>>(rows: I) -> Self {
        let mut all = Self::default();
        rows.into_iter().for_each(|row| all.push(row));
        all
    }
}

/// Keeps the `k` first of `list` by `order`, sorted. Cost: `O(n + k log k)`.
pub(crate) fn keep_first<T>(
    list: &mut Vec<T>,
    k: usize,
    mut order: impl FnMut(&T, &T) -> std::cmp::Ordering,
) {
    if k == 0 {
        list.clear();
    } else if list.len() > k {
        list.select_nth_unstable_by(k - 1, &mut order);
        list.truncate(k);
    }
    list.sort_unstable_by(order);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(rows: &[&[u32]]) -> Vec<Vec<ItemIdx>> {
        rows.iter()
            .map(|row| row.iter().map(|item| ItemIdx(*item)).collect())
            .collect()
    }

    #[test]
    fn pairs_are_counted_once_per_group() {
        let rows = groups(&[&[0, 2, 2], &[2, 0, 1], &[], &[1]]);
        let incidence = Incidence::new(rows.iter().map(Vec::as_slice), 10);
        assert_eq!((incidence.items(), incidence.groups()), (3, 3));
        assert_eq!(
            (0..3)
                .map(|item| incidence.item_count(item))
                .collect::<Vec<_>>(),
            [2, 2, 2]
        );
        let pairs = incidence.map_pairs(|_| 1.0, |_, pairs| pairs.clone());
        assert_eq!(
            pairs,
            [
                vec![(2, 2.0), (1, 1.0)],
                vec![(0, 1.0), (2, 1.0)],
                vec![(0, 2.0), (1, 1.0)]
            ]
        );
    }

    #[test]
    fn only_the_newest_entries_of_a_long_group_count() {
        let rows = groups(&[&[5, 0, 1]]);
        let incidence = Incidence::new(rows.iter().map(Vec::as_slice), 2);
        assert_eq!(incidence.items(), 2);
    }

    #[test]
    fn keep_first_is_sorted_and_cut() {
        let mut list = vec![3, 1, 2];
        keep_first(&mut list, 2, |a, b| b.cmp(a));
        assert_eq!(list, [3, 2]);
        keep_first(&mut list, 0, |a, b| b.cmp(a));
        assert!(list.is_empty());
    }
}
