//! Visits by item: finds the newest visits that share something with the one at hand.

use super::sessions::Sessions;

/// Most items of the visit at hand that are compared.
pub const WINDOW_MAX: usize = 32;
/// Most visits that one request looks at.
pub const SAMPLE_MAX: usize = 100_000;

/// For every visit its distinct items, for every item its visits.
///
/// Memory: 8 bytes a click, 8 a visit, 8 an item. Flat arrays: a request reads, never allocates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionIndex {
    session_starts: Vec<usize>,
    /// Distinct items of each visit in the order of their last click.
    session_items: Vec<u32>,
    item_starts: Vec<usize>,
    /// Visits of each item, newest first.
    item_sessions: Vec<u32>,
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
    pub(crate) session: u32,
    /// Which of the shared items is the most recent, by its place in the query.
    pub(crate) newest_shared: u32,
    pub(crate) similarity: f32,
}

impl SessionIndex {
    /// Indexes visits. Cost: linear in the clicks, but for the square of a visit's length in finding
    /// repeats.
    #[must_use]
    pub fn new(sessions: &Sessions) -> Self {
        let (mut session_starts, mut session_items) = (vec![0], Vec::new());
        let mut counts = vec![0usize; sessions.items() + 1];
        for session in sessions.iter() {
            for (at, item) in session.iter().enumerate() {
                if !session[at + 1..].contains(item) {
                    session_items.push(*item);
                    counts[*item as usize + 1] += 1;
                }
            }
            session_starts.push(session_items.len());
        }
        for item in 0..sessions.items() {
            counts[item + 1] += counts[item];
        }
        let item_starts = counts.clone();
        let mut item_sessions = vec![0; session_items.len()];
        for session in (0..session_starts.len() - 1).rev() {
            for item in &session_items[session_starts[session]..session_starts[session + 1]] {
                let place = &mut counts[*item as usize];
                item_sessions[*place] = session as u32;
                *place += 1;
            }
        }
        Self {
            session_starts,
            session_items,
            item_starts,
            item_sessions,
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
        self.session_starts.len().saturating_sub(1)
    }

    /// Returns whether there is no visit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many pairs of a visit and an item there are.
    pub(crate) fn pairs(&self) -> usize {
        self.session_items.len()
    }

    /// Returns the distinct items of a visit in the order of their last click.
    pub(crate) fn session(&self, session: u32) -> &[u32] {
        let at = session as usize;
        &self.session_items[self.session_starts[at]..self.session_starts[at + 1]]
    }

    /// Returns the visits of an item, newest first.
    pub(crate) fn sessions_of(&self, item: u32) -> &[u32] {
        let at = item as usize;
        &self.item_sessions[self.item_starts[at]..self.item_starts[at + 1]]
    }

    /// Fills `found` with the `sample` newest visits that share an item of the query, newest first,
    /// each with the sum of the weights of what it shares.
    ///
    /// The visits of each item are sorted, so this is a merge: no hash table, no heap, and it stops at
    /// the last visit it needs. Cost: `sample * query.len()` at most.
    pub(crate) fn newest_sharing(&self, query: &[Shared], sample: usize, found: &mut Vec<Found>) {
        found.clear();
        let query = &query[..query.len().min(WINDOW_MAX)];
        if let [only] = query {
            let newest = self.sessions_of(only.item).iter().take(sample);
            found.extend(newest.map(|session| Found {
                session: *session,
                newest_shared: 0,
                similarity: only.weight,
            }));
            return;
        }
        let mut rests: [&[u32]; WINDOW_MAX] = [&[]; WINDOW_MAX];
        // The next visit of each item plus one, so that 0 says that none is left.
        let mut heads = [0u32; WINDOW_MAX];
        for (at, shared) in query.iter().enumerate() {
            let sessions = self.sessions_of(shared.item);
            heads[at] = sessions.first().map_or(0, |session| session + 1);
            rests[at] = sessions.get(1..).unwrap_or(&[]);
        }
        while found.len() < sample {
            let newest = heads[..query.len()].iter().copied().max().unwrap_or(0);
            if newest == 0 {
                break;
            }
            let mut hit = Found {
                session: newest - 1,
                newest_shared: u32::MAX,
                similarity: 0.0,
            };
            for (at, shared) in query.iter().enumerate() {
                if heads[at] == newest {
                    hit.similarity += shared.weight;
                    hit.newest_shared = hit.newest_shared.min(at as u32);
                    let next = rests[at].split_first();
                    heads[at] = next.map_or(0, |(session, _)| session + 1);
                    rests[at] = next.map_or(&[], |(_, rest)| rest);
                }
            }
            found.push(hit);
        }
    }
}

/// Cuts `found` down to the `keep` most similar visits, the newer of equals, in no order.
pub(crate) fn keep_nearest(found: &mut Vec<Found>, keep: usize) {
    if found.len() > keep {
        found.select_nth_unstable_by(keep, |a, b| {
            let similar = b.similarity.total_cmp(&a.similarity);
            similar.then_with(|| b.session.cmp(&a.session))
        });
        found.truncate(keep);
        // Sums of scores depend on the order of addition: newest first, as they were found.
        found.sort_unstable_by_key(|hit| std::cmp::Reverse(hit.session));
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
            .map(|it| (it.session, it.newest_shared, it.similarity))
            .collect()
    }

    #[test]
    fn the_newest_visits_that_share_come_first() {
        let index = SessionIndex::new(&sessions(&[&[0, 1, 0], &[2], &[1, 2], &[0, 3]], 5));
        assert_eq!(
            (index.session(0), index.sessions_of(0)),
            (&[1, 0][..], &[3, 0][..])
        );
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
        keep_nearest(&mut kept, 2);
        assert_eq!(kept.iter().map(|it| it.session).collect::<Vec<_>>(), [2, 0]);
    }

    proptest! {
        #[test]
        fn the_merge_finds_what_a_full_scan_finds(
            rows in prop::collection::vec(prop::collection::vec(0u32..12, 1..6), 1..40),
            mut wanted in prop::collection::vec(0u32..12, 1..6),
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
