//! Scoring and judging every query, in blocks; the order of queries is kept, whatever the number of
//! threads.

use rayon::prelude::*;
use recommend_domain::ItemIdx;

use super::Lists;
use super::data::{Query, Training};
use super::metrics::judge;
use super::models::{Asked, BLOCK, Model, Scratch, add_weighted};

/// Whom a query is for.
pub(crate) fn asked<'a>(training: &'a Training, query: &'a Query) -> Asked<'a> {
    let history: &[ItemIdx] = query
        .user
        .map_or(&[], |user| &training.histories[user as usize]);
    Asked {
        history,
        friends: &query.friends,
    }
}

/// Calls `judge` with every query and its scores, and returns what it says.
pub(crate) fn map_scores<T: Send>(
    model: &Model,
    training: &Training,
    queries: &[Query],
    judge: impl Fn(&Query, &[f32], &mut Vec<(f32, u32)>) -> T + Sync,
) -> Vec<T> {
    let blocks: Vec<Vec<T>> = queries
        .par_chunks(BLOCK)
        .map_init(
            || (Scratch::default(), Vec::new(), Vec::new()),
            |(scratch, rows, top), block| {
                let asked: Vec<Asked<'_>> =
                    block.iter().map(|query| asked(training, query)).collect();
                model.score_block(&asked, scratch, rows);
                let rows = rows.chunks_exact(model.items());
                block
                    .iter()
                    .zip(rows)
                    .map(|(query, scores)| judge(query, scores, top))
                    .collect()
            },
        )
        .collect();
    blocks.into_iter().flatten().collect()
}

/// Serves every query.
pub(crate) fn serve(model: &Model, training: &Training, queries: &[Query], k: usize) -> Lists {
    map_scores(model, training, queries, |query, scores, top| {
        judge(scores, query, k, top)
    })
}

/// Serves every query by several weightings of a blend's parts, each scored once: lists by weighting.
pub(crate) fn serve_mixes(
    model: &Model,
    training: &Training,
    queries: &[Query],
    k: usize,
    mixes: &[Vec<f32>],
) -> Vec<Lists> {
    let blocks: Vec<Vec<Lists>> = queries
        .par_chunks(BLOCK)
        .map_init(
            || (Scratch::default(), Vec::new(), Vec::new(), Vec::new()),
            |(scratch, parts, rows, top), block| {
                let asked: Vec<Asked<'_>> =
                    block.iter().map(|query| asked(training, query)).collect();
                model.score_parts(&asked, scratch, parts);
                let mut judged = Vec::with_capacity(mixes.len());
                for mix in mixes {
                    rows.clear();
                    rows.resize(asked.len() * model.items(), 0.0);
                    for (part, weight) in parts.iter().zip(mix).filter(|(_, it)| **it != 0.0) {
                        add_weighted(rows, part, *weight);
                    }
                    model.finish(&asked, rows);
                    let each = block.iter().zip(rows.chunks_exact(model.items()));
                    judged.push(each.map(|(query, row)| judge(row, query, k, top)).collect());
                }
                judged
            },
        )
        .collect();
    let mut lists: Vec<Lists> = vec![Vec::with_capacity(queries.len()); mixes.len()];
    for block in blocks {
        for (all, some) in lists.iter_mut().zip(block) {
            all.extend(some);
        }
    }
    lists
}
