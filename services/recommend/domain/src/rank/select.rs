//! From a pool in score order to the list shown: diversity by category, and one explored place.

use super::{CANDIDATES_MAX, Candidate};
use crate::catalogue::Catalogue;
use crate::draw;
use crate::items::ItemIdx;
use rapport_types::Probability;

/// The salt of the exploration draw, so that other uses of one key draw other numbers.
const SALT_EXPLORE: u64 = 1;

/// Returns positions of `pool` in list order: the greedy maximum of
/// `(1 - diversity) * score / best score - diversity * likeness to the nearest chosen item`,
/// the earlier position first where equal. Cost: `O(limit * pool)`.
/// Source: maximal marginal relevance, Carbonell and Goldstein, SIGIR 1998.
pub(super) fn diversify(
    pool: &[(f32, ItemIdx)],
    limit: usize,
    diversity: f32,
    catalogue: &Catalogue,
) -> Vec<usize> {
    let limit = limit.min(pool.len());
    if diversity <= 0.0 {
        return (0..limit).collect();
    }
    let best = pool
        .first()
        .map_or(1.0, |(score, _)| score.max(f32::MIN_POSITIVE));
    let categories: Vec<_> = pool
        .iter()
        .map(|(_, item)| catalogue.category(*item))
        .collect();
    let mut likeness = vec![0.0f32; pool.len()];
    let mut is_chosen = vec![false; pool.len()];
    let mut list = Vec::with_capacity(limit);
    while list.len() < limit {
        let worth = |at: usize| (1.0 - diversity) * pool[at].0 / best - diversity * likeness[at];
        let free = (0..pool.len()).filter(|at| !is_chosen[*at]);
        // `max_by` keeps the last of equals, so the order of positions is reversed.
        let Some(next) = free.max_by(|a, b| worth(*a).total_cmp(&worth(*b)).then(b.cmp(a))) else {
            break;
        };
        is_chosen[next] = true;
        list.push(next);
        for (at, nearest) in likeness.iter_mut().enumerate() {
            *nearest = nearest.max(catalogue.category_similarity(categories[at], categories[next]));
        }
    }
    list
}

/// The list after exploration, with what the decision log keeps.
#[derive(Debug)]
pub(super) struct Drawn {
    /// Positions of the pool, in list order.
    pub(super) shown: Vec<usize>,
    /// The position that chance put into the last place.
    pub(super) explored: Option<usize>,
    pub(super) candidates: Vec<Candidate>,
}

/// Gives the last place, with probability `exploration`, to one of its own item and the best of the
/// rest, each with equal chance: so every logged candidate has a known propensity.
pub(super) fn explore(
    pool: &[(f32, ItemIdx)],
    list: Vec<usize>,
    key: u64,
    exploration: Probability,
) -> Drawn {
    let mut is_listed = vec![false; pool.len()];
    list.iter().for_each(|at| is_listed[*at] = true);
    let rest: Vec<usize> = (0..pool.len())
        .filter(|at| !is_listed[*at])
        .take(CANDIDATES_MAX.saturating_sub(list.len()))
        .collect();
    // A list of one place is not explored: the best answer is all that was asked for.
    let rate = if rest.is_empty() || list.len() < 2 {
        0.0
    } else {
        exploration.get()
    };
    let each = rate / (rest.len() + 1) as f64;
    let mut shown = list;
    let mut explored = None;
    let mut candidates = Vec::with_capacity(CANDIDATES_MAX);
    let candidate = |at: usize, propensity: f64, is_shown: bool| Candidate {
        item: pool[at].1,
        score: pool[at].0,
        propensity: Probability::saturating(propensity),
        is_shown,
    };
    if let Some(last) = shown.pop() {
        candidates.extend(
            shown
                .iter()
                .take(CANDIDATES_MAX)
                .map(|at| candidate(*at, 1.0, true)),
        );
        let draw = draw::unit(key, SALT_EXPLORE);
        // One draw decides both: below the rate it is uniform again, and picks among the equals.
        let pick = if draw < rate {
            (draw / each) as usize
        } else {
            0
        };
        let winner = if pick == 0 {
            last
        } else {
            rest[(pick - 1).min(rest.len() - 1)]
        };
        explored = (winner != last).then_some(winner);
        shown.push(winner);
        let keeps = 1.0 - rate + each;
        let others = rest.iter().map(|at| (*at, each));
        let contenders: Vec<_> = std::iter::once((last, keeps)).chain(others).collect();
        let of = |is_shown: bool| move |(at, _): &&(usize, f64)| (*at == winner) == is_shown;
        for is_shown in [true, false] {
            let places = CANDIDATES_MAX.saturating_sub(candidates.len());
            let some = contenders.iter().filter(of(is_shown)).take(places);
            candidates.extend(some.map(|(at, propensity)| candidate(*at, *propensity, is_shown)));
        }
    }
    Drawn {
        shown,
        explored,
        candidates,
    }
}
