//! V-STAN: neighbouring visits, weighed by order, time and distance.

use super::index::{SAMPLE_MAX, SessionIndex, Shared, WINDOW_MAX, keep_nearest};
use super::sessions::Sessions;
use super::vmis::strongest;
use super::{SessionModel, SessionScores, SessionScratch, SessionWhy, recent_distinct};
use crate::items::ItemIdx;

/// Entries of the table of ages: a visit's age is read to this share of the log.
const AGE_STEPS: usize = 1_024;
/// Distances within a visit above this count as this.
const DISTANCE_MAX: usize = 63;

/// How visits are compared and what their items weigh. Decays are factors per step in `[0, 1]`: the
/// paper's `exp(-1 / lambda)`, so that 1 switches a decay off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StanOptions {
    /// Newest distinct items of the visit that are compared, 1 to [`WINDOW_MAX`].
    pub window: usize,
    /// Newest visits sharing an item that are looked at, 1 to [`SAMPLE_MAX`].
    pub sample: usize,
    /// Most similar of them that are listened to, 1 to `sample`.
    pub neighbours: usize,
    /// Of an item's weight in the similarity, per distinct item after it. STAN's first factor.
    pub position_decay: f32,
    /// How much more a rare shared item says: the exponent of its idf, `[0, 2]`.
    pub rarity: f32,
    /// How much a long neighbour is held back: `items^-damping`, `[0, 1]`; 0.5 is the cosine.
    pub length_damping: f32,
    /// How much an old neighbour is held back: `exp(-rate * age)`, age a share of the log; `>= 0`.
    /// STAN's second factor.
    pub age_rate: f32,
    /// Of a neighbour's weight, per distinct item after the most recent one that it shares.
    pub match_decay: f32,
    /// Of an item's weight, per item between it and the shared one in the neighbour. STAN's third.
    pub distance_decay: f32,
    /// What items count that stand before the shared one, `[0, 1]`; 1 counts both sides alike.
    pub backward: f32,
    /// How much a popular candidate is held back: `visits^-damping`, `[0, 1]`.
    pub popularity_damping: f32,
    /// What the last item's own score is multiplied by, `>= 0`.
    pub repeat: f32,
    /// What the scores of the visit's earlier items are multiplied by, `>= 0`.
    pub revisit: f32,
}

/// Near the middle of what Garg et al. and Ludewig et al. found on four public logs; `auto` chooses on
/// the log at hand.
impl Default for StanOptions {
    fn default() -> Self {
        Self {
            window: 16,
            sample: 2_500,
            neighbours: 1_000,
            position_decay: 0.6,
            rarity: 0.5,
            length_damping: 0.5,
            age_rate: 2.0,
            match_decay: 0.7,
            distance_decay: 0.8,
            backward: 0.8,
            popularity_damping: 0.1,
            repeat: 0.3,
            revisit: 1.0,
        }
    }
}

/// Visits indexed for comparing, with the tables of every decay.
///
/// `similarity(n) = sum over shared items i of position^r(i) * idf(i)^rarity / length(n)^length`, with
/// `r(i)` the distinct items after `i`; the most similar are kept after `exp(-age_rate * age(n))`.
/// `score(j) = visits(j)^-popularity * sum over neighbours n with j of similarity(n) * match^r(n) *
/// distance^(|p_n(j) - p_n(n)| - 1)`, `p_n(n)` being where `n` has the most recent shared item.
///
/// * Cost of an answer: `sample * window` steps of a merge, then the items of the neighbours; nothing
///   is allocated.
/// * Memory: that of [`SessionIndex`], 8 bytes an item, 4 kB of tables.
/// * Sources: Garg, Gupta, Malhotra, Vig and Shroff, "Sequence and Time Aware Neighborhood for
///   Session-based Recommendations: STAN", SIGIR 2019; Ludewig, Mauro, Latifi and Jannach, "Empirical
///   analysis of session-based recommendation algorithms", UMUAI 2020, for idf and match decay. Length
///   and popularity damping, `backward`, `repeat` and `revisit` are ours.
#[derive(Debug, Clone)]
pub struct StanModel {
    index: SessionIndex,
    options: StanOptions,
    /// `idf^rarity` per item.
    rarities: Vec<f32>,
    /// `visits^-popularity_damping` per item.
    factors: Vec<f32>,
    ages: Vec<f32>,
    lengths: Vec<f32>,
    positions: [f32; WINDOW_MAX],
    matches: [f32; WINDOW_MAX],
    distances: [f32; DISTANCE_MAX + 1],
}

impl StanModel {
    /// Indexes visits; options out of range are clamped. Cost: linear in the clicks.
    #[must_use]
    pub fn train(sessions: &Sessions, options: &StanOptions) -> Self {
        Self::with_index(SessionIndex::new(sessions), options)
    }

    /// Takes visits that are indexed already: what a search over options does.
    #[must_use]
    pub fn with_index(index: SessionIndex, options: &StanOptions) -> Self {
        let options = clamped(options);
        let sessions = index.len();
        let counts = (0..index.items()).map(|item| index.rows_of(item as u32).len().max(1));
        let idf = |count: usize| (1.0 + sessions as f32 / count as f32).ln();
        let powers = |base: f32, step: usize| base.powi(step as i32).max(f32::MIN_POSITIVE);
        // The middle of each step stands for it.
        let age_of = |step: usize| 1.0 - (step as f32 + 0.5) / AGE_STEPS as f32;
        Self {
            rarities: counts
                .clone()
                .map(|count| idf(count).powf(options.rarity))
                .collect(),
            factors: counts
                .map(|count| (count as f32).powf(-options.popularity_damping))
                .collect(),
            ages: (0..AGE_STEPS)
                .map(|step| (-options.age_rate * age_of(step)).exp())
                .collect(),
            lengths: (0..=super::SESSION_CLICKS_MAX)
                .map(|length| (length.max(1) as f32).powf(-options.length_damping))
                .collect(),
            positions: std::array::from_fn(|step| powers(options.position_decay, step)),
            matches: std::array::from_fn(|step| powers(options.match_decay, step)),
            distances: std::array::from_fn(|step| {
                powers(options.distance_decay, step.saturating_sub(1))
            }),
            index,
            options,
        }
    }

    /// Returns the indexed visits, to index them once for many options.
    #[must_use]
    pub fn into_index(self) -> SessionIndex {
        self.index
    }

    /// Fills the scratch with the neighbours of a prefix and their weights.
    fn find(&self, prefix: &[ItemIdx], scratch: &mut SessionScratch) {
        let recent = recent_distinct(prefix, self.options.window, self.index.items());
        scratch.shared.clear();
        scratch.shared.extend(recent.map(|(recency, item)| Shared {
            item,
            recency: recency as u32,
            weight: self.positions[recency] * self.rarities[item as usize],
        }));
        self.index
            .newest_sharing(&scratch.shared, self.options.sample, &mut scratch.found);
        let sessions = self.index.len();
        for hit in &mut scratch.found {
            let step = self.index.number(hit.row) * AGE_STEPS / sessions;
            hit.similarity *= self.lengths[hit.length as usize] * self.ages[step];
        }
        keep_nearest(
            &mut scratch.found,
            self.options.neighbours,
            &mut scratch.keys,
        );
    }

    /// Calls `add` with the weight of every item of a neighbour.
    fn spread(&self, hit: &super::Found, shared: &[Shared], mut add: impl FnMut(u32, f32)) {
        let newest = &shared[hit.newest_shared as usize];
        let items = self.index.items_of(hit);
        let Some(place) = items.iter().position(|item| *item == newest.item) else {
            return; // a neighbour has what it shares
        };
        let weight = hit.similarity * self.matches[newest.recency as usize];
        for (at, item) in items[..place].iter().enumerate() {
            let decay = self.distances[(place - at).min(DISTANCE_MAX)];
            if self.options.backward > 0.0 {
                add(*item, weight * decay * self.options.backward);
            }
        }
        for (at, item) in items[place..].iter().enumerate() {
            add(*item, weight * self.distances[at.min(DISTANCE_MAX)]);
        }
    }
}

fn clamped(options: &StanOptions) -> StanOptions {
    let unit = |value: f32| value.clamp(0.0, 1.0);
    let sample = options.sample.clamp(1, SAMPLE_MAX);
    StanOptions {
        window: options.window.clamp(1, WINDOW_MAX),
        sample,
        neighbours: options.neighbours.clamp(1, sample),
        position_decay: unit(options.position_decay),
        rarity: options.rarity.clamp(0.0, 2.0),
        length_damping: unit(options.length_damping),
        age_rate: options.age_rate.clamp(0.0, 50.0),
        match_decay: unit(options.match_decay),
        distance_decay: unit(options.distance_decay),
        backward: unit(options.backward),
        popularity_damping: unit(options.popularity_damping),
        repeat: options.repeat.max(0.0),
        revisit: options.revisit.max(0.0),
    }
}

impl SessionModel for StanModel {
    fn score(&self, prefix: &[ItemIdx], scratch: &mut SessionScratch, scores: &mut SessionScores) {
        scores.reset(self.index.items());
        self.find(prefix, scratch);
        for hit in &scratch.found {
            self.spread(hit, &scratch.shared, |item, weight| {
                scores.add(item, weight)
            });
        }
        scores.scale_all(&self.factors);
        for shared in &scratch.shared {
            let factor = if shared.recency == 0 {
                self.options.repeat
            } else {
                self.options.revisit
            };
            scores.scale(shared.item, factor);
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
            self.spread(hit, &scratch.shared, |other, weight| {
                if other == item.0 {
                    sessions += 1;
                    sums[hit.newest_shared as usize] += weight;
                }
            });
        }
        strongest(&sums, &scratch.shared, sessions)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::tests::{prefix, sessions};
    use super::*;
    use proptest::prelude::*;

    fn scores(model: &StanModel, visit: &[u32]) -> Vec<(u32, f32)> {
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
            let close = (found.1 - expected.1).abs() < 1e-3 * expected.1;
            assert!(
                found.0 == expected.0 && close,
                "{found:?} instead of {expected:?}"
            );
        }
    }

    /// Every decay off: the plain number of visits that share an item.
    const PLAIN: StanOptions = StanOptions {
        window: 32,
        sample: 100,
        neighbours: 100,
        position_decay: 1.0,
        rarity: 0.0,
        length_damping: 0.0,
        age_rate: 0.0,
        match_decay: 1.0,
        distance_decay: 1.0,
        backward: 1.0,
        popularity_damping: 0.0,
        repeat: 1.0,
        revisit: 1.0,
    };

    #[test]
    fn each_factor_matches_values_worked_by_hand() {
        let log = sessions(&[&[3, 0, 1], &[0, 2, 4]], 5);
        let with = |options: StanOptions| scores(&StanModel::train(&log, &options), &[0]);
        check(
            &with(PLAIN),
            &[(0, 2.0), (1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)],
        );
        let found = with(StanOptions {
            distance_decay: 0.5,
            backward: 0.25,
            ..PLAIN
        });
        check(&found, &[(0, 2.0), (1, 1.0), (2, 1.0), (3, 0.25), (4, 0.5)]);
        let found = with(StanOptions {
            length_damping: 0.5,
            repeat: 0.5,
            ..PLAIN
        });
        check(
            &found,
            &[
                (0, 0.5774),
                (1, 0.5774),
                (2, 0.5774),
                (3, 0.5774),
                (4, 0.5774),
            ],
        );
        // The older visit's half of the log is read at its middle step: exp(-2 * (1 - .5 / 1024)).
        let found = with(StanOptions {
            age_rate: 2.0,
            ..PLAIN
        });
        check(
            &found,
            &[
                (0, 0.5036),
                (1, 0.1355),
                (2, 0.3682),
                (3, 0.1355),
                (4, 0.3682),
            ],
        );
        let found = with(StanOptions {
            popularity_damping: 1.0,
            ..PLAIN
        });
        check(&found, &[(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)]);
    }

    #[test]
    fn order_within_the_visit_weighs() {
        let log = sessions(&[&[0, 2], &[1, 3], &[0, 1, 4]], 5);
        let options = StanOptions {
            position_decay: 0.5,
            match_decay: 0.25,
            revisit: 0.5,
            ..PLAIN
        };
        let model = StanModel::train(&log, &options);
        // Visit 0 then 1: similarities .5, 1 and 1.5; the first shares only the item before last.
        let expected = [
            (0, 0.5 * (0.125 + 1.5)),
            (1, 2.5),
            (2, 0.125),
            (3, 1.0),
            (4, 1.5),
        ];
        check(&scores(&model, &[0, 1]), &expected);
        let mut scratch = SessionScratch::default();
        let why = model
            .why(&prefix(&[0, 1]), ItemIdx(0), &mut scratch)
            .unwrap();
        assert_eq!((why.because_of, why.sessions), (Some(ItemIdx(1)), 2));
        assert!((why.share - 1.5 / 1.625).abs() < 1e-6);
        let rare = StanModel::train(
            &log,
            &StanOptions {
                rarity: 1.0,
                ..PLAIN
            },
        );
        // ln(1 + 3/1) = 1.3863 for item 2, in one of three visits.
        check(&scores(&rare, &[2]), &[(0, 1.3863), (2, 1.3863)]);
    }

    proptest! {
        #[test]
        fn scores_are_positive_and_forget_what_was_asked_before(
            rows in prop::collection::vec(prop::collection::vec(0u32..9, 1..6), 1..20),
            visits in prop::collection::vec(prop::collection::vec(0u32..12, 0..6), 1..5),
        ) {
            let slices: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
            let model = StanModel::train(&sessions(&slices, 9), &StanOptions::default());
            let (mut scratch, mut used) = (SessionScratch::default(), SessionScores::default());
            for visit in &visits {
                model.score(&prefix(visit), &mut scratch, &mut used);
                let mut found: Vec<(u32, f32)> = used.iter().collect();
                found.sort_by_key(|(item, _)| *item);
                prop_assert!(found.iter().all(|(_, score)| score.is_finite() && *score > 0.0));
                prop_assert_eq!(&found, &scores(&model, visit));
                for (item, _) in found {
                    let why = model.why(&prefix(visit), ItemIdx(item), &mut scratch).unwrap();
                    prop_assert!(why.share > 0.0 && why.share <= 1.0 + 1e-6 && why.sessions > 0);
                }
            }
        }
    }
}
