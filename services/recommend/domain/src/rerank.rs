//! From a pool in score order to a list with less of the same: two ways to trade scores for variety.

use crate::bounds::bounded;

/// Most items of a pool: both ways compare every pair of them at worst.
pub const POOL_MAX: usize = 500;

/// Which trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rerank {
    /// Maximal marginal relevance.
    Mmr,
    /// The likeliest set of a determinantal point process, found greedily.
    Dpp,
}

/// Returns the places of `scores` in list order, `limit` at most, each once.
///
/// * `scores`, shape `[pool]`, finite, best first; only the first [`POOL_MAX`] are read. Scaled to
///   `[0, 1]` over the pool.
/// * `similarity(a, b)`: symmetric, in `[0, 1]`, asked for places `a != b`.
/// * `strength`, clamped to `[0, 1]`: 0 keeps the order of scores.
/// * Equal choices go to the earlier place. Cost: `limit * pool` similarities; for DPP
///   `limit² * pool` products besides.
#[must_use]
pub fn rerank(
    kind: Rerank,
    scores: &[f32],
    similarity: impl Fn(usize, usize) -> f32,
    limit: usize,
    strength: f32,
) -> Vec<usize> {
    let scores = &scores[..scores.len().min(POOL_MAX)];
    let limit = limit.min(scores.len());
    let strength = bounded(strength, 0.0, 1.0);
    if strength == 0.0 {
        return (0..limit).collect();
    }
    let scaled = to_unit_range(scores);
    match kind {
        Rerank::Mmr => mmr(&scaled, similarity, limit, strength),
        Rerank::Dpp => dpp(&scaled, similarity, limit, strength),
    }
}

fn to_unit_range(scores: &[f32]) -> Vec<f32> {
    let low = scores.iter().copied().fold(f32::INFINITY, f32::min);
    let high = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let spread = high - low;
    let scale = |score: &f32| {
        if spread > 0.0 {
            (score - low) / spread
        } else {
            1.0
        }
    };
    scores.iter().map(scale).collect()
}

/// Greedy maximum of `(1 - strength) * score - strength * likeness to the nearest chosen`.
/// Source: Carbonell and Goldstein, "The use of MMR", SIGIR 1998.
fn mmr(
    scores: &[f32],
    similarity: impl Fn(usize, usize) -> f32,
    limit: usize,
    strength: f32,
) -> Vec<usize> {
    let mut nearest = vec![0.0f32; scores.len()];
    let mut list: Vec<usize> = Vec::with_capacity(limit);
    let mut is_chosen = vec![false; scores.len()];
    while list.len() < limit {
        let worth = |at: usize| (1.0 - strength) * scores[at] - strength * nearest[at];
        let Some(next) = first_best(&is_chosen, worth) else {
            break;
        };
        is_chosen[next] = true;
        list.push(next);
        for (at, nearest) in nearest.iter_mut().enumerate() {
            if !is_chosen[at] {
                *nearest = nearest.max(similarity(at, next));
            }
        }
    }
    list
}

/// Greedy maximum of the log-determinant of `q_a q_b similarity(a, b)`, where log q is
/// `score * (1 - strength) / strength / 2`: each step adds what is left of an item once those before it
/// are subtracted. Items of which nothing is left follow in order of score.
/// Source: Chen, Zhang and Zhou, "Fast greedy MAP inference for determinantal point process", NeurIPS
/// 2018, algorithm 1 and section 4.1.
fn dpp(
    scores: &[f32],
    similarity: impl Fn(usize, usize) -> f32,
    limit: usize,
    strength: f32,
) -> Vec<usize> {
    /// What single precision cannot tell from nothing.
    const NOTHING: f32 = 1e-6;
    let mut rests = vec![1.0f32; scores.len()];
    let mut rows: Vec<Vec<f32>> = Vec::with_capacity(limit);
    let mut list: Vec<usize> = Vec::with_capacity(limit);
    let mut is_chosen = vec![false; scores.len()];
    while list.len() < limit {
        let worth = |at: usize| {
            let rest = rests[at].max(NOTHING);
            (1.0 - strength) * scores[at] + strength * rest.ln()
        };
        let Some(next) = first_best(&is_chosen, worth) else {
            break;
        };
        is_chosen[next] = true;
        list.push(next);
        let length = rests[next].max(NOTHING).sqrt();
        let row: Vec<f32> = (0..scores.len())
            .map(|at| {
                if is_chosen[at] {
                    return 0.0;
                }
                let known: f32 = rows.iter().map(|row| row[at] * row[next]).sum();
                (similarity(at, next) - known) / length
            })
            .collect();
        for (rest, part) in rests.iter_mut().zip(&row) {
            *rest -= part * part;
        }
        rows.push(row);
    }
    list
}

/// The place of the largest worth that is not chosen yet, the first of equals.
fn first_best(is_chosen: &[bool], worth: impl Fn(usize) -> f32) -> Option<usize> {
    let mut best: Option<(f32, usize)> = None;
    for at in (0..is_chosen.len()).filter(|at| !is_chosen[*at]) {
        let worth = worth(at);
        if best.is_none_or(|(highest, _)| worth > highest) {
            best = Some((worth, at));
        }
    }
    best.map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Places 0, 1 and 2 are nearly one; 3 is alone.
    fn likeness(a: usize, b: usize) -> f32 {
        if a.max(b) < 3 { 0.9 } else { 0.0 }
    }

    const SCORES: [f32; 4] = [1.0, 0.9, 0.8, 0.0];

    #[test]
    fn lists_match_those_worked_by_hand() {
        for kind in [Rerank::Mmr, Rerank::Dpp] {
            let list = |strength| rerank(kind, &SCORES, likeness, 4, strength);
            assert_eq!(list(0.0), [0, 1, 2, 3], "{kind:?}");
            // After 0: 1 is worth .5 * .9 - .5 * .9 = 0 or .45 + .5 ln .19 = -.38; 3 is worth 0. The
            // earlier of equals is 1 for the first way.
            let second = if kind == Rerank::Mmr { 1 } else { 3 };
            assert_eq!(list(0.5)[..2], [0, second], "{kind:?}");
            assert_eq!(list(0.9)[..2], [0, 3], "{kind:?}");
            assert_eq!(rerank(kind, &[], likeness, 4, 0.5), [0usize; 0]);
            assert_eq!(rerank(kind, &[2.0, 2.0], |_, _| 1.0, 5, 1.0), [0, 1]);
        }
    }

    #[test]
    fn what_is_left_of_an_item_is_its_part_outside_those_chosen() {
        // Unit vectors at 0, 60 and 90 degrees: squared sines .75 and 1 against the first, and against
        // the first two nothing is left of the third.
        let angle = [0.0f32, 60.0, 90.0].map(f32::to_radians);
        let cosine = |a: usize, b: usize| (angle[a] - angle[b]).cos();
        let list = rerank(Rerank::Dpp, &[1.0, 1.0, 1.0], cosine, 3, 1.0);
        assert_eq!(list, [0, 2, 1]);
    }

    proptest! {
        #[test]
        fn a_list_is_distinct_and_begins_with_the_best(
            mut scores in prop::collection::vec(0.0f32..1.0, 1..30),
            strength in 0.0f32..0.9,
            limit in 1usize..40,
        ) {
            scores.sort_by(|a, b| b.total_cmp(a));
            for kind in [Rerank::Mmr, Rerank::Dpp] {
                let list = rerank(kind, &scores, likeness, limit, strength);
                let distinct: std::collections::BTreeSet<_> = list.iter().collect();
                prop_assert_eq!((list.len(), distinct.len()), (limit.min(scores.len()), list.len()));
                prop_assert_eq!(list[0], 0);
            }
        }
    }
}
