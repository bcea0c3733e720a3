//! VMIS-kNN: visits like this one, found among the newest that share an item.

use super::index::{SAMPLE_MAX, SessionIndex, Shared, WINDOW_MAX, keep_nearest};
use super::sessions::Sessions;
use super::{SessionModel, SessionScores, SessionScratch, SessionWhy};
use crate::items::ItemIdx;

/// How visits are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VmisOptions {
    /// Newest clicks of the visit that are read, 1 to [`WINDOW_MAX`].
    pub window: usize,
    /// Newest visits sharing an item that are looked at, 1 to [`SAMPLE_MAX`]; `m` of the paper.
    pub sample: usize,
    /// Most similar of them that are listened to, 1 to `sample`; `k` of the paper.
    pub neighbours: usize,
    /// What the score of the last item itself is multiplied by, `>= 0`; 0 never shows it again, as the
    /// authors' program does.
    pub repeat: f32,
}

/// The defaults of the authors' program but for `repeat`: a visit does return to its last item.
impl Default for VmisOptions {
    fn default() -> Self {
        Self {
            window: 9,
            sample: 500,
            neighbours: 500,
            repeat: 0.2,
        }
    }
}

/// Visits indexed for comparing.
///
/// `score(i) = idf(i) * sum over the neighbours n with i of (1 - r(n) / 10) * similarity(n)`, where
/// `similarity(n) = sum over shared items of (L - p) / D` for a visit of `L` clicks and `D` distinct
/// items, `p` being the clicks after the item, and `r(n)` is 1 + the clicks after the most recent item
/// that is shared. `idf(i) = ln(pairs / visits with i)`.
///
/// * Cost of an answer: `sample * window` steps of a merge, then the items of the neighbours. Only flat
///   arrays are read, nothing is allocated.
/// * Memory: that of [`SessionIndex`], 4 bytes an item.
/// * Source: Kersbergen, Sprangers and Schelter, "Serenade: Low-Latency Session-Based Recommendation in
///   e-Commerce at Scale", SIGMOD 2022, section 3, with weights as in their program (Apache-2.0).
#[derive(Debug, Clone)]
pub struct VmisModel {
    index: SessionIndex,
    idf: Vec<f32>,
    options: VmisOptions,
}

impl VmisModel {
    /// Indexes visits; options out of range are clamped. Cost: linear in the clicks.
    #[must_use]
    pub fn train(sessions: &Sessions, options: &VmisOptions) -> Self {
        let index = SessionIndex::new(sessions);
        let pairs = index.pairs() as f32;
        let idf = |item: usize| {
            let count = index.rows_of(item as u32).len().max(1) as f32;
            // With one item in all there is nothing to tell apart; scores must stay positive.
            (pairs / count).ln().max(f32::MIN_POSITIVE)
        };
        let sample = options.sample.clamp(1, SAMPLE_MAX);
        Self {
            idf: (0..index.items()).map(idf).collect(),
            options: VmisOptions {
                window: options.window.clamp(1, WINDOW_MAX),
                sample,
                neighbours: options.neighbours.clamp(1, sample),
                repeat: options.repeat.max(0.0),
            },
            index,
        }
    }

    /// Fills the scratch with the neighbours of a prefix.
    fn find(&self, prefix: &[ItemIdx], scratch: &mut SessionScratch) {
        let prefix = &prefix[prefix.len().saturating_sub(self.options.window)..];
        let (clicks, mut distinct) = (prefix.len(), 0.0);
        scratch.shared.clear();
        for (at, item) in prefix.iter().enumerate().rev() {
            if prefix[at + 1..].contains(item) {
                continue;
            }
            distinct += 1.0;
            if item.at() < self.index.items() {
                scratch.shared.push(Shared {
                    item: item.0,
                    recency: (clicks - 1 - at) as u32,
                    weight: (at + 1) as f32,
                });
            }
        }
        scratch
            .shared
            .iter_mut()
            .for_each(|shared| shared.weight /= distinct);
        self.index
            .newest_sharing(&scratch.shared, self.options.sample, &mut scratch.found);
        keep_nearest(
            &mut scratch.found,
            self.options.neighbours,
            &mut scratch.keys,
        );
    }

    fn match_weight(shared: &Shared) -> f32 {
        1.0 - 0.1 * (shared.recency + 1) as f32
    }
}

impl SessionModel for VmisModel {
    fn score(&self, prefix: &[ItemIdx], scratch: &mut SessionScratch, scores: &mut SessionScores) {
        scores.reset(self.index.items());
        self.find(prefix, scratch);
        for hit in &scratch.found {
            let weight = Self::match_weight(&scratch.shared[hit.newest_shared as usize]);
            if weight > 0.0 {
                scores.add_each(self.index.items_of(hit), weight * hit.similarity);
            }
        }
        scores.scale_all(&self.idf);
        if let Some(last) = prefix.last() {
            scores.scale(last.0, self.options.repeat);
        }
    }

    fn why(
        &self,
        prefix: &[ItemIdx],
        item: ItemIdx,
        scratch: &mut SessionScratch,
    ) -> Option<SessionWhy> {
        self.find(prefix, scratch);
        let mut sums = [0.0f32; WINDOW_MAX];
        let mut sessions = 0;
        for hit in &scratch.found {
            if self.index.items_of(hit).contains(&item.0) {
                sessions += 1;
                let at = hit.newest_shared as usize;
                sums[at] += Self::match_weight(&scratch.shared[at]).max(0.0) * hit.similarity;
            }
        }
        strongest(&sums, &scratch.shared, sessions)
    }
}

/// Returns the shared item that the largest of `sums`, one per place of the query, belongs to.
pub(crate) fn strongest(sums: &[f32], shared: &[Shared], sessions: u32) -> Option<SessionWhy> {
    let total: f32 = sums.iter().sum();
    let best = sums
        .iter()
        .zip(shared)
        .reduce(|best, next| if next.0 > best.0 { next } else { best })?;
    (total > 0.0).then(|| SessionWhy {
        because_of: Some(ItemIdx(best.1.item)),
        share: best.0 / total,
        sessions,
    })
}

#[cfg(test)]
mod tests {
    use super::super::sessions::tests::{prefix, sessions};
    use super::*;

    fn scores(model: &VmisModel, visit: &[u32]) -> Vec<(u32, f32)> {
        let mut scores = SessionScores::default();
        model.score(&prefix(visit), &mut SessionScratch::default(), &mut scores);
        let mut found: Vec<(u32, f32)> = scores.iter().collect();
        found.sort_by_key(|(item, _)| *item);
        found
    }

    #[track_caller]
    fn check(found: &[(u32, f32)], expected: &[(u32, f32)]) {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                found.0 == expected.0 && (found.1 - expected.1).abs() < 1e-4,
                "{found:?}"
            );
        }
    }

    /// The authors' own test: two visits, four items suggested after 920005, 920004 first. Here the
    /// items 920002 to 920006 are 0 to 4; the scores follow from the formula.
    #[test]
    fn the_authors_example_comes_out() {
        let log = sessions(&[&[4, 3, 2], &[3, 2, 1, 0]], 5);
        let options = VmisOptions {
            repeat: 0.0,
            ..VmisOptions::default()
        };
        let model = VmisModel::train(&log, &options);
        // Similarity 1, match weight 0.9; ln 7 = 1.9459 for one visit, 2 * ln 3.5 = 2.5055 for both.
        let found = scores(&model, &[3]);
        check(
            &found,
            &[(0, 1.7513), (1, 1.7513), (2, 2.2550), (4, 1.7513)],
        );
    }

    #[test]
    fn similarity_leans_on_recency_and_the_last_item_is_held_back() {
        let log = sessions(&[&[0, 2], &[1, 3], &[0, 1, 4]], 5);
        let options = VmisOptions {
            repeat: 0.5,
            ..VmisOptions::default()
        };
        let model = VmisModel::train(&log, &options);
        // Visit 0 then 1: item 1 weighs 2/2, item 0 weighs 1/2. Similarities .5, 1 and 1.5; match
        // weights .8, .9, .9. Seven pairs: ln 7 = 1.9459, ln 3.5 = 1.2528.
        let found = scores(&model, &[0, 1]);
        let expected = [
            (0, (0.4 + 1.35) * 1.2528),
            (1, 0.5 * (0.9 + 1.35) * 1.2528),
            (2, 0.4 * 1.9459),
            (3, 0.9 * 1.9459),
            (4, 1.35 * 1.9459),
        ];
        check(&found, &expected);
        let why = model
            .why(&prefix(&[0, 1]), ItemIdx(0), &mut SessionScratch::default())
            .unwrap();
        assert_eq!((why.because_of, why.sessions), (Some(ItemIdx(1)), 2));
        assert!((why.share - 1.35 / 1.75).abs() < 1e-6);
        let mut scratch = SessionScratch::default();
        assert_eq!(model.why(&prefix(&[0]), ItemIdx(3), &mut scratch), None);
        assert!(scores(&model, &[9]).is_empty() && scores(&model, &[]).is_empty());
    }
}
