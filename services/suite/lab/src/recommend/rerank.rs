//! Lists made more various: the best of each user, ranked anew at every strength.

use recommend_domain::{POOL_MAX, Rerank, rerank};

use super::Lists;
use super::data::Data;
use super::metrics::{Judged, Variety, gather, judge_list, put_held_last};
use super::models::Model;
use super::serve::map_scores;
use crate::args::{RecommendArgs, RerankKind};

/// Items that a list of one is picked from.
const POOL_PER_ITEM: usize = 5;
/// Items that every list is picked from at least.
const POOL_MIN: usize = 100;

/// Serves every query at every strength: name of the way, strength, lists. Items are alike by the cosine
/// of their users.
pub(super) fn serve_reranked(
    model: &Model,
    data: &Data,
    variety: &Variety,
    k: usize,
    args: &RecommendArgs,
) -> Vec<(&'static str, f32, Lists)> {
    let pool = (k * POOL_PER_ITEM).max(POOL_MIN).clamp(k, POOL_MAX.max(k));
    let ways: Vec<(&'static str, Rerank, f32)> = args
        .rerank
        .iter()
        .map(|kind| match kind {
            RerankKind::Mmr => ("mmr", Rerank::Mmr),
            RerankKind::Dpp => ("dpp", Rerank::Dpp),
        })
        .flat_map(|(name, kind)| args.strengths.iter().map(move |it| (name, kind, *it)))
        .collect();
    let judged: Vec<Vec<Judged>> = map_scores(
        model,
        &data.training,
        &data.queries,
        |query, scores, top| {
            gather(scores, pool, top);
            put_held_last(top, query);
            top.truncate(pool);
            let alike = variety.likeness(&top.iter().map(|(_, item)| *item).collect::<Vec<_>>());
            let scores: Vec<f32> = top.iter().map(|(score, _)| *score).collect();
            let likeness = |a: usize, b: usize| alike[a * scores.len() + b];
            ways.iter()
                .map(|(_, kind, strength)| {
                    let mut list: Vec<u32> = rerank(*kind, &scores, likeness, k, *strength)
                        .into_iter()
                        .map(|at| top[at].1)
                        .collect();
                    // A list longer than a pool ends as it began to: by score.
                    let rest = top.iter().map(|(_, item)| *item).skip(POOL_MAX);
                    list.extend(rest.take(k - list.len().min(k)));
                    judge_list(&list, query, k)
                })
                .collect()
        },
    );
    let mut lists: Vec<Lists> = vec![Vec::with_capacity(judged.len()); ways.len()];
    for user in judged {
        for (all, one) in lists.iter_mut().zip(user) {
            all.push(one);
        }
    }
    ways.into_iter()
        .zip(lists)
        .map(|((name, _, strength), lists)| (name, strength, lists))
        .collect()
}
