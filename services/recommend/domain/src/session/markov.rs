//! A Markov chain over clicks: what followed the last items in earlier visits.

use rayon::prelude::*;

use super::index::WINDOW_MAX;
use super::sessions::{Sessions, age};
use super::{SessionModel, SessionScores, SessionScratch, SessionWhy, recent_distinct};
use crate::items::ItemIdx;

/// Most clicks between an item and what counts as following it.
pub const REACH_MAX: usize = 32;
/// Most followers that are kept of one item.
pub const SUCCESSORS_MAX: usize = 400;
/// Items per unit of parallel work. Fixed: the split must not depend on the machine.
const CHUNK_ITEMS: usize = 256;

/// What counts as following.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MarkovOptions {
    /// Clicks ahead that count, 1 to [`REACH_MAX`]; a click `g` ahead counts `1 / g`. 1 is the chain.
    pub reach: usize,
    /// Followers kept per item, 1 to [`SUCCESSORS_MAX`].
    pub successors: usize,
    /// Weight of an item of the visit per distinct item after it, `[0, 1]`; 0 reads the last one only.
    pub position_decay: f32,
    /// A visit counts `exp(-rate * age)`, age a share of the log; `>= 0`.
    pub age_rate: f32,
}

impl Default for MarkovOptions {
    fn default() -> Self {
        Self {
            reach: 1,
            successors: SUCCESSORS_MAX,
            position_decay: 0.0,
            age_rate: 0.0,
        }
    }
}

/// For every item what followed it, as shares.
///
/// `score(j) = sum over items i of the visit of position^r(i) * followed(i, j) / followed(i)`, with `r`
/// the distinct items after `i`, and `followed` summing `1 / gap`.
///
/// * Cost: training `clicks * reach`, an answer the followers of the items that are read.
/// * Memory: 8 bytes a follower, at most [`SUCCESSORS_MAX`] an item.
/// * Sources: Rendle, Freudenthaler and Schmidt-Thieme, "Factorizing personalized Markov chains", WWW
///   2010, section 3 for the chain; Ludewig and Jannach, "Evaluation of session-based recommendation
///   algorithms", UMUAI 2018, section 3.1 for the weights of longer gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct MarkovModel {
    starts: Vec<usize>,
    /// Followers with their shares, best first, equal ones by index.
    followers: Vec<(u32, f32)>,
    position_decay: f32,
}

impl MarkovModel {
    /// Counts what follows what; options out of range are clamped. Same visits and options give the
    /// same model for any number of threads.
    #[must_use]
    pub fn train(sessions: &Sessions, options: &MarkovOptions) -> Self {
        let clicks = Clicks::new(sessions, options.age_rate.max(0.0));
        let reach = options.reach.clamp(1, REACH_MAX);
        let keep = options.successors.clamp(1, SUCCESSORS_MAX);
        let scratch = || (vec![0.0f32; sessions.items()], Vec::new());
        let rows: Vec<Vec<Vec<(u32, f32)>>> = (0..sessions.items().div_ceil(CHUNK_ITEMS))
            .into_par_iter()
            .map_init(scratch, |(sums, seen), chunk| {
                let last = ((chunk + 1) * CHUNK_ITEMS).min(sessions.items());
                (chunk * CHUNK_ITEMS..last)
                    .map(|item| clicks.followers(item, reach, keep, sums, seen))
                    .collect()
            })
            .collect();
        let (mut starts, mut followers) = (vec![0], Vec::new());
        for row in rows.into_iter().flatten() {
            followers.extend(row);
            starts.push(followers.len());
        }
        Self {
            starts,
            followers,
            position_decay: options.position_decay.clamp(0.0, 1.0),
        }
    }

    /// Returns what followed an item with its share, best first; empty for an unknown item.
    #[must_use]
    pub fn followers(&self, item: ItemIdx) -> &[(u32, f32)] {
        match self.starts.get(item.at()..item.at() + 2) {
            Some(ends) => &self.followers[ends[0]..ends[1]],
            None => &[],
        }
    }

    fn items(&self) -> usize {
        self.starts.len() - 1
    }

    /// The items of a prefix that are read, with their weights.
    fn read(&self, prefix: &[ItemIdx]) -> impl Iterator<Item = (ItemIdx, f32)> {
        let decay = self.position_decay;
        let window = if decay > 0.0 { WINDOW_MAX } else { 1 };
        recent_distinct(prefix, window, self.items())
            .map(move |(recency, item)| (ItemIdx(item), decay.powi(recency as i32)))
    }
}

impl SessionModel for MarkovModel {
    fn score(&self, prefix: &[ItemIdx], _: &mut SessionScratch, scores: &mut SessionScores) {
        scores.reset(self.items());
        for (item, weight) in self.read(prefix) {
            for (follower, share) in self.followers(item) {
                scores.add(*follower, weight * share);
            }
        }
    }

    fn why(&self, prefix: &[ItemIdx], item: ItemIdx, _: &mut SessionScratch) -> Option<SessionWhy> {
        let said = self.read(prefix).map(|(source, weight)| {
            let found = self
                .followers(source)
                .iter()
                .find(|(other, _)| *other == item.0);
            (source, weight * found.map_or(0.0, |(_, share)| *share))
        });
        main_source(said)
    }
}

/// Returns the source that says most, the more recent of equals.
pub(super) fn main_source(said: impl Iterator<Item = (ItemIdx, f32)>) -> Option<SessionWhy> {
    let (mut best, mut total) = ((ItemIdx(0), 0.0), 0.0);
    for (source, score) in said {
        total += score;
        if score > best.1 {
            best = (source, score);
        }
    }
    (total > 0.0).then(|| SessionWhy {
        because_of: Some(best.0),
        share: best.1 / total,
        sessions: 0,
    })
}

/// Every click with the end of its visit, found by item.
struct Clicks<'a> {
    all: &'a [u32],
    /// Where the visit of each click ends.
    ends: Vec<u32>,
    /// What the visit of each click counts.
    weights: Vec<f32>,
    item_starts: Vec<usize>,
    /// Places in `all` by item, ascending.
    places: Vec<u32>,
}

impl<'a> Clicks<'a> {
    fn new(sessions: &'a Sessions, age_rate: f32) -> Self {
        let all = sessions.all_clicks();
        let (mut ends, mut weights) =
            (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
        for (at, bounds) in sessions.starts().windows(2).enumerate() {
            let weight = (-age_rate * age(at, sessions.len())).exp();
            ends.resize(bounds[1], bounds[1] as u32);
            weights.resize(bounds[1], weight);
        }
        let mut item_starts = vec![0usize; sessions.items() + 1];
        for item in all {
            item_starts[*item as usize + 1] += 1;
        }
        for item in 0..sessions.items() {
            item_starts[item + 1] += item_starts[item];
        }
        let (mut next, mut places) = (item_starts.clone(), vec![0; all.len()]);
        for (at, item) in all.iter().enumerate() {
            places[next[*item as usize]] = at as u32;
            next[*item as usize] += 1;
        }
        Self {
            all,
            ends,
            weights,
            item_starts,
            places,
        }
    }

    /// Sums what follows one item; `sums` is all zero before and after.
    fn followers(
        &self,
        item: usize,
        reach: usize,
        keep: usize,
        sums: &mut [f32],
        seen: &mut Vec<u32>,
    ) -> Vec<(u32, f32)> {
        seen.clear();
        for place in &self.places[self.item_starts[item]..self.item_starts[item + 1]] {
            let place = *place as usize;
            let end = (self.ends[place] as usize).min(place + 1 + reach);
            for (gap, follower) in self.all[place + 1..end].iter().enumerate() {
                let sum = &mut sums[*follower as usize];
                if *sum == 0.0 {
                    seen.push(*follower);
                }
                *sum += self.weights[place] / (gap + 1) as f32;
            }
        }
        let take = |follower: &u32| (*follower, std::mem::take(&mut sums[*follower as usize]));
        let mut row: Vec<(u32, f32)> = seen.iter().map(take).collect();
        let total: f32 = row.iter().map(|(_, sum)| sum).sum();
        row.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        row.truncate(keep);
        row.iter_mut().for_each(|(_, sum)| *sum /= total);
        row
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::tests::{prefix, sessions};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_match_values_worked_by_hand() {
        let log = sessions(&[&[0, 1, 2], &[0, 1], &[0, 0, 2], &[3]], 4);
        let chain = MarkovModel::train(&log, &MarkovOptions::default());
        // 0 was followed by 1 twice, by itself and by 2 once.
        assert_eq!(
            chain.followers(ItemIdx(0)),
            [(1, 0.5), (0, 0.25), (2, 0.25)]
        );
        assert_eq!(chain.followers(ItemIdx(1)), [(2, 1.0)]);
        assert!(chain.followers(ItemIdx(3)).is_empty() && chain.followers(ItemIdx(9)).is_empty());
        // Two ahead count half: 0 to 1: 2, to 2: .5 + .5 + 1, to itself: 1; in all 5.
        let far = MarkovOptions {
            reach: 2,
            successors: 2,
            ..MarkovOptions::default()
        };
        let rules = MarkovModel::train(&log, &far);
        assert_eq!(rules.followers(ItemIdx(0)), [(1, 0.4), (2, 0.4)]);
        // The oldest visit of four counts e^(-4 * 3/4), the second e^(-4 * 2/4).
        let fresh = MarkovOptions {
            age_rate: 4.0,
            ..MarkovOptions::default()
        };
        let (old, newer, new) = ((-3.0f32).exp(), (-2.0f32).exp(), (-1.0f32).exp());
        let share = new / (old + newer + 2.0 * new);
        let found = MarkovModel::train(&log, &fresh);
        assert!((found.followers(ItemIdx(0))[0].1 - share).abs() < 1e-6);
    }

    #[test]
    fn earlier_items_speak_as_the_decay_lets_them() {
        let log = sessions(&[&[0, 1], &[2, 1], &[2, 3]], 4);
        let options = MarkovOptions {
            position_decay: 0.5,
            ..MarkovOptions::default()
        };
        let model = MarkovModel::train(&log, &options);
        let (mut scratch, mut scores) = (SessionScratch::default(), SessionScores::default());
        model.score(&prefix(&[2, 0]), &mut scratch, &mut scores);
        let mut found: Vec<(u32, f32)> = scores.iter().collect();
        found.sort_by_key(|(item, _)| *item);
        assert_eq!(found, [(1, 1.25), (3, 0.25)]);
        let why = model
            .why(&prefix(&[2, 0]), ItemIdx(1), &mut scratch)
            .unwrap();
        assert_eq!((why.because_of, why.share), (Some(ItemIdx(0)), 0.8));
        assert_eq!(model.why(&prefix(&[2, 0]), ItemIdx(2), &mut scratch), None);
    }

    proptest! {
        #[test]
        fn shares_add_up_to_one(
            rows in prop::collection::vec(prop::collection::vec(0u32..9, 1..8), 1..20),
            reach in 1usize..5,
        ) {
            let slices: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
            let options = MarkovOptions { reach, ..MarkovOptions::default() };
            let model = MarkovModel::train(&sessions(&slices, 9), &options);
            for item in 0..9 {
                let row = model.followers(ItemIdx(item));
                let total: f32 = row.iter().map(|(_, share)| share).sum();
                prop_assert!(row.is_empty() || (total - 1.0).abs() < 1e-4);
                prop_assert!(row.is_sorted_by(|a, b| a.1 >= b.1));
            }
        }
    }
}
