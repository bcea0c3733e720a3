//! What visits have most: the first rung, and what every other model falls back on.

use super::sessions::{Sessions, age};
use super::{SessionModel, SessionScores, SessionScratch, SessionWhy};
use crate::items::ItemIdx;

/// Most items that are scored by popularity: longer lists go on in the same order without scores.
pub const POPULAR_SCORED_MAX: usize = 1_000;

/// Items by how many visits had them.
///
/// Memory: 8 bytes an item.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionPopularity {
    /// All items, most popular first, equal ones by index.
    order: Vec<ItemIdx>,
    /// Weighted visits per item.
    counts: Vec<f32>,
}

impl SessionPopularity {
    /// Counts visits per item, an item once a visit.
    ///
    /// * `age_rate >= 0`: a visit counts `exp(-age_rate * age)`, with its age as a share of the log in
    ///   `[0, 1)`; 0 counts all alike.
    /// * Cost: linear in the clicks, `O(n log n)` in the items.
    #[must_use]
    pub fn train(sessions: &Sessions, age_rate: f32) -> Self {
        let mut counts = vec![0.0f32; sessions.items()];
        let mut last_seen = vec![usize::MAX; sessions.items()];
        for (at, session) in sessions.iter().enumerate() {
            let weight = (-age_rate.max(0.0) * age(at, sessions.len())).exp();
            for item in session {
                if std::mem::replace(&mut last_seen[*item as usize], at) != at {
                    counts[*item as usize] += weight;
                }
            }
        }
        let mut order: Vec<ItemIdx> = (0..sessions.items() as u32).map(ItemIdx).collect();
        order.sort_by(|a, b| {
            counts[b.at()]
                .total_cmp(&counts[a.at()])
                .then_with(|| a.cmp(b))
        });
        Self { order, counts }
    }

    /// Returns all items, most popular first.
    #[must_use]
    pub fn order(&self) -> &[ItemIdx] {
        &self.order
    }

    /// Returns the weighted visits of an item, 0 for one that training never saw.
    #[must_use]
    pub fn count(&self, item: ItemIdx) -> f32 {
        self.counts.get(item.at()).copied().unwrap_or(0.0)
    }
}

impl SessionModel for SessionPopularity {
    fn score(&self, _prefix: &[ItemIdx], _: &mut SessionScratch, scores: &mut SessionScores) {
        scores.reset(self.counts.len());
        for item in self.order.iter().take(POPULAR_SCORED_MAX) {
            let count = self.count(*item);
            if count > 0.0 {
                scores.add(item.0, count);
            }
        }
    }

    fn why(
        &self,
        _prefix: &[ItemIdx],
        item: ItemIdx,
        _: &mut SessionScratch,
    ) -> Option<SessionWhy> {
        let count = self.count(item);
        (count > 0.0).then(|| SessionWhy {
            because_of: None,
            share: 1.0,
            sessions: count.ceil() as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::tests::{prefix, sessions};
    use super::*;

    #[test]
    fn visits_are_counted_once_and_old_ones_less() {
        let log = sessions(&[&[0, 0, 1], &[0], &[2, 1]], 4);
        let plain = SessionPopularity::train(&log, 0.0);
        assert_eq!(plain.order(), prefix(&[0, 1, 2, 3]));
        assert_eq!(
            [plain.count(ItemIdx(0)), plain.count(ItemIdx(3))],
            [2.0, 0.0]
        );
        // Ages 2/3, 1/3 and 0: item 0 counts e^-4 + e^-2 = .154, item 1 e^-4 + 1 = 1.018, item 2 1.
        let fresh = SessionPopularity::train(&log, 6.0);
        assert_eq!(fresh.order(), prefix(&[1, 2, 0, 3]));
        assert!((fresh.count(ItemIdx(0)) - 0.153_65).abs() < 1e-4);
        let why = plain
            .why(&[], ItemIdx(1), &mut SessionScratch::default())
            .unwrap();
        assert_eq!((why.because_of, why.sessions), (None, 2));
        assert_eq!(
            plain.why(&[], ItemIdx(3), &mut SessionScratch::default()),
            None
        );
    }
}
