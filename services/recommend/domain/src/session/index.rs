//! Visits by item: finds the newest visits that share something with the one at hand.

use super::sessions::Sessions;

/// Most items of the visit at hand that are compared.
pub const WINDOW_MAX: usize = 32;
/// Most visits that one request looks at.
pub const SAMPLE_MAX: usize = 100_000;

/// Words of a visit's row before its items: its number and how many items follow.
const ROW_HEAD: usize = 2;

/// For every visit its distinct items, for every item its visits.
///
/// A visit goes by its row, the place of its words in one array: rows grow with the visits' numbers, and
/// one look into memory brings the length and the first items together.
///
/// Memory: 8 bytes a click, 8 a visit, 12 an item. Flat arrays: a request reads, never allocates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionIndex {
    sessions: usize,
    /// After one idle word, so that no row is 0, the visits, oldest first: the number, how many items,
    /// and the distinct items in the order of their last click. 32 bits reach every row, since
    /// `CLICKS_MAX + 2 * SESSIONS_MAX < 2^32`.
    rows: Vec<u32>,
    item_starts: Vec<usize>,
    /// After one 0, the rows of each item's visits, newest first, closed by a 0.
    item_rows: Vec<u32>,
}

/// An item of the visit at hand, with what it adds to the similarity of a visit that shares it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shared {
    pub(crate) item: u32,
    /// Distinct items after it in the visit at hand; 0 for the last one.
    pub(crate) recency: u32,
    pub(crate) weight: f32,
}

/// A visit that shares something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    /// Newer visits have larger rows.
    pub(crate) row: u32,
    /// How many distinct items it has.
    pub(crate) length: u32,
    /// Which of the shared items is the most recent, by its place in the query.
    pub(crate) newest_shared: u32,
    pub(crate) similarity: f32,
}

impl Found {
    /// Describes a visit whose length is still to be read.
    fn new(row: u32, newest_shared: u32, similarity: f32) -> Self {
        Self {
            row,
            length: 0,
            newest_shared,
            similarity,
        }
    }
}

impl SessionIndex {
    /// Indexes visits. Cost: linear in the clicks, but for the square of a visit's length in finding
    /// repeats.
    #[must_use]
    pub fn new(sessions: &Sessions) -> Self {
        let mut rows = vec![0];
        // Where each item's list begins, once the counts before it are added up.
        let mut starts = vec![1usize; sessions.items() + 1];
        for (number, session) in sessions.iter().enumerate() {
            let head = rows.len();
            rows.extend([number as u32, 0]);
            for (at, item) in session.iter().enumerate() {
                if !session[at + 1..].contains(item) {
                    rows.push(*item);
                    starts[*item as usize + 1] += 1;
                }
            }
            rows[head + 1] = (rows.len() - head - ROW_HEAD) as u32;
        }
        for item in 0..sessions.items() {
            starts[item + 1] += starts[item];
        }
        let mut index = Self {
            sessions: sessions.len(),
            item_rows: vec![0; starts[sessions.items()]],
            item_starts: starts,
            rows,
        };
        index.fill_lists();
        index
    }

    /// Writes every visit into the lists of its items, the oldest at the end of each.
    fn fill_lists(&mut self) {
        let mut ends: Vec<usize> = self.item_starts.iter().skip(1).map(|end| end - 1).collect();
        let mut row = 1;
        while row < self.rows.len() {
            let next = row + ROW_HEAD + self.rows[row + 1] as usize;
            for item in &self.rows[row + ROW_HEAD..next] {
                let end = &mut ends[*item as usize];
                *end -= 1;
                self.item_rows[*end] = row as u32;
            }
            row = next;
        }
    }

    /// Returns how many items the catalogue has.
    #[must_use]
    pub fn items(&self) -> usize {
        self.item_starts.len().saturating_sub(1)
    }

    /// Returns how many visits there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions
    }

    /// Returns whether there is no visit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many pairs of a visit and an item there are.
    pub(crate) fn pairs(&self) -> usize {
        self.item_rows.len().saturating_sub(1 + self.items())
    }

    /// Returns the number of a visit, 0 for the oldest.
    pub(crate) fn number(&self, row: u32) -> usize {
        self.rows[row as usize] as usize
    }

    /// Returns the distinct items of a visit in the order of their last click.
    #[inline]
    pub(crate) fn items_of(&self, found: &Found) -> &[u32] {
        let start = found.row as usize + ROW_HEAD;
        &self.rows[start..start + found.length as usize]
    }

    /// Returns the rows of an item's visits, newest first.
    pub(crate) fn rows_of(&self, item: u32) -> &[u32] {
        let at = item as usize;
        &self.item_rows[self.item_starts[at]..self.item_starts[at + 1] - 1]
    }

    /// Fills `found` with the `sample` newest visits that share an item of the query, newest first,
    /// each with the sum of the weights of what it shares.
    ///
    /// The visits of each item are sorted, so this is a merge: no hash table, no heap, and it stops at
    /// the last visit it needs. Cost: `sample * query.len()` at most.
    pub(crate) fn newest_sharing(&self, query: &[Shared], sample: usize, found: &mut Vec<Found>) {
        found.clear();
        match query.len() {
            0 => {}
            1 => {
                let newest = self.rows_of(query[0].item).iter().take(sample);
                found.extend(newest.map(|row| Found::new(*row, 0, query[0].weight)));
            }
            // How many lists there are is known where the loop is compiled, which then unrolls.
            2 => self.merge::<2>(query, sample, found),
            3 => self.merge::<3>(query, sample, found),
            4 => self.merge::<4>(query, sample, found),
            5 | 6 => self.merge::<6>(query, sample, found),
            7..=9 => self.merge::<9>(query, sample, found),
            10..=16 => self.merge::<16>(query, sample, found),
            _ => self.merge::<WINDOW_MAX>(query, sample, found),
        }
        // A loop that does nothing else lets the processor wait for many rows at once, where whoever
        // needs their items would wait for one after another.
        for hit in found {
            hit.length = self.rows[hit.row as usize + 1];
        }
    }

    /// Merges the lists of up to `LISTS` items; those that the query does not fill are empty.
    ///
    /// Which lists hold the next visit is anybody's guess, the processor's too: no branch asks for it.
    fn merge<const LISTS: usize>(&self, query: &[Shared], sample: usize, found: &mut Vec<Found>) {
        let (mut places, mut weights) = ([0usize; LISTS], [0.0f32; LISTS]);
        for (at, shared) in query.iter().take(LISTS).enumerate() {
            places[at] = self.item_starts[shared.item as usize];
            weights[at] = shared.weight;
        }
        let mut heads = places.map(|place| self.item_rows[place]);
        while found.len() < sample {
            let newest = heads.iter().fold(0, |newest, head| newest.max(*head));
            if newest == 0 {
                break;
            }
            let (mut similarity, mut holders) = (0.0, 0u32);
            for (at, (head, place)) in heads.iter_mut().zip(&mut places).enumerate() {
                let holds = *head == newest;
                similarity += if holds { weights[at] } else { 0.0 };
                holders |= u32::from(holds) << at;
                *place += usize::from(holds);
                *head = self.item_rows[*place];
            }
            found.push(Found::new(newest, holders.trailing_zeros(), similarity));
        }
    }
}

/// Cuts `found` down to the `keep` most similar visits, the newer of equals, in the order they have:
/// sums of scores depend on the order of addition. `keys` is room to work in.
pub(crate) fn keep_nearest(found: &mut Vec<Found>, keep: usize, keys: &mut Vec<u64>) {
    if found.len() > keep {
        // One comparison without a branch: the bits of floats `>= 0` are in the order of their values.
        let key = |hit: &Found| (u64::from(hit.similarity.to_bits()) << 32) | u64::from(hit.row);
        keys.clear();
        keys.extend(found.iter().map(key));
        let (_, least, _) = keys.select_nth_unstable(found.len() - keep);
        found.retain(|hit| key(hit) >= *least);
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::tests::sessions;
    use super::*;
    use proptest::prelude::*;

    fn query(items: &[u32]) -> Vec<Shared> {
        let shared = items.iter().enumerate().map(|(at, item)| Shared {
            item: *item,
            recency: at as u32,
            weight: 1.0 / (at + 1) as f32,
        });
        shared.collect()
    }

    fn found(index: &SessionIndex, items: &[u32], sample: usize) -> Vec<(u32, u32, f32)> {
        let mut found = Vec::new();
        index.newest_sharing(&query(items), sample, &mut found);
        found
            .iter()
            .map(|it| (index.number(it.row) as u32, it.newest_shared, it.similarity))
            .collect()
    }

    #[test]
    fn the_newest_visits_that_share_come_first() {
        let index = SessionIndex::new(&sessions(&[&[0, 1, 0], &[2], &[1, 2], &[0, 3]], 5));
        // Rows of 2 + 2, 2 + 1, 2 + 2 and 2 + 2 words, the first after one idle word.
        assert_eq!([index.rows_of(0), index.rows_of(4)], [&[12, 1][..], &[]]);
        let mut all = Vec::new();
        index.newest_sharing(&query(&[0]), 9, &mut all);
        let items: Vec<&[u32]> = all.iter().map(|hit| index.items_of(hit)).collect();
        assert_eq!(items, [&[0, 3], &[1, 0]]);
        assert_eq!((index.len(), index.items(), index.pairs()), (4, 5, 7));
        assert_eq!(
            found(&index, &[1, 0], 9),
            [(3, 1, 0.5), (2, 0, 1.0), (0, 0, 1.5)]
        );
        assert_eq!(found(&index, &[1, 0], 2), [(3, 1, 0.5), (2, 0, 1.0)]);
        assert_eq!(found(&index, &[2], 1), [(2, 0, 1.0)]);
        assert_eq!(found(&index, &[4], 1), []);
        assert_eq!(found(&index, &[], 1), []);
        let mut kept = Vec::new();
        index.newest_sharing(&query(&[1, 0]), 9, &mut kept);
        keep_nearest(&mut kept, 2, &mut Vec::new());
        assert_eq!(
            kept.iter()
                .map(|it| index.number(it.row))
                .collect::<Vec<_>>(),
            [2, 0]
        );
    }

    proptest! {
        #[test]
        fn the_merge_finds_what_a_full_scan_finds(
            rows in prop::collection::vec(prop::collection::vec(0u32..12, 1..6), 1..40),
            mut wanted in prop::collection::vec(0u32..12, 1..20),
            sample in 1usize..20,
        ) {
            wanted.sort_unstable();
            wanted.dedup();
            let slices: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
            let index = SessionIndex::new(&sessions(&slices, 12));
            let mut expected = Vec::new();
            for (at, row) in rows.iter().enumerate().rev() {
                let places: Vec<usize> =
                    (0..wanted.len()).filter(|place| row.contains(&wanted[*place])).collect();
                if let Some(first) = places.first() {
                    let sum = places.iter().fold(0.0, |sum, place| sum + 1.0 / (place + 1) as f32);
                    expected.push((at as u32, *first as u32, sum));
                }
            }
            expected.truncate(sample);
            prop_assert_eq!(found(&index, &wanted, sample), expected);
        }
    }
}
