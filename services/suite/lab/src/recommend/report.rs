//! From lists to the keys of a row.

use rapport_math::{StudentT, quantile_sorted};
use rayon::prelude::*;

use super::Lists;
use super::data::Data;
use super::metrics::{Variety, gather};
use super::models::{Model, Scratch};
use super::serve::asked;
use crate::cost::thread_cpu_seconds;
use crate::resample::{intervals, mean};
use crate::row::Row;

/// Requests that the time of serving is measured on, after as many as [`WARM_UP`] that are not.
const SERVED: usize = 500;
const WARM_UP: usize = 20;

pub(super) fn put_metrics(row: &mut Row, variety: &Variety, lists: &Lists, k: usize, seed: u64) {
    let per_user: Vec<[f64; 5]> = lists
        .par_iter()
        .map_init(Vec::new, |sums, it| {
            let (diversity, novelty) = (
                variety.diversity(&it.shown, sums),
                variety.novelty(&it.shown),
            );
            [it.recall, it.ndcg, it.hit, diversity, novelty]
        })
        .collect();
    let of = |metric: usize| mean(per_user.iter().map(|values| values[metric]));
    let found: [_; 5] = intervals(per_user.len(), seed, |drawn| {
        let (mut sums, mut counts) = ([0.0; 5], [0.0; 5]);
        for user in drawn {
            for (metric, value) in per_user[*user as usize].iter().enumerate() {
                if value.is_finite() {
                    sums[metric] += value;
                    counts[metric] += 1.0;
                }
            }
        }
        std::array::from_fn(|metric| sums[metric] / counts[metric])
    });
    row.put("k", k);
    row.put("users", lists.len());
    row.metric("recall", of(0), found[0]);
    row.metric("ndcg", of(1), found[1]);
    row.metric("hit_rate", of(2), found[2]);
    let shown = lists.iter().map(|it| it.shown.as_slice());
    row.number(
        "coverage",
        (!lists.is_empty()).then(|| variety.coverage(shown)),
    );
    row.metric("diversity", of(3), found[3]);
    row.metric("novelty", of(4), found[4]);
}

/// What friends gained, user by user, with the two-sided p of a paired t-test; where no list changed
/// the p is 1.
pub(super) fn put_gain(row: &mut Row, without: &Lists, with: &Lists) {
    let gains: Vec<f64> = without
        .iter()
        .zip(with)
        .map(|(without, with)| with.ndcg - without.ndcg)
        .collect();
    let gain = mean(gains.iter().copied());
    row.number("ndcg_gain", gain);
    row.number("ndcg_gain_p", gain.and_then(|gain| paired_p(&gains, gain)));
}

fn paired_p(gains: &[f64], mean: f64) -> Option<f64> {
    if gains.len() < 2 {
        return None;
    }
    let freedom = gains.len() as f64 - 1.0;
    let variance = gains.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / freedom;
    if variance == 0.0 {
        return (mean == 0.0).then_some(1.0);
    }
    let t = mean / (variance / gains.len() as f64).sqrt();
    Some(StudentT::new(freedom)?.two_sided(t))
}

/// One request, one thread, whole catalogue, from the user's history to the top k.
pub(super) fn put_serving_time(rows: &mut [Row], model: &Model, data: &Data, k: usize) {
    let (mut scratch, mut scores, mut top) = (Scratch::default(), Vec::new(), Vec::new());
    let served = data
        .queries
        .iter()
        .cycle()
        .take(WARM_UP)
        .chain(data.queries.iter().take(SERVED));
    let mut times: Vec<f64> = served
        .map(|query| {
            let before = thread_cpu_seconds();
            model.score_block(&[asked(&data.training, query)], &mut scratch, &mut scores);
            gather(&scores, k, &mut top);
            std::hint::black_box(&top);
            (thread_cpu_seconds() - before) * 1e6
        })
        .skip(WARM_UP)
        .collect();
    times.sort_by(f64::total_cmp);
    for row in rows {
        row.number("serve_us_p50", quantile_sorted(&times, 0.5));
        row.number("serve_us_p99", quantile_sorted(&times, 0.99));
    }
}

pub(super) fn warnings(data: &Data, dropped: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if data.overlap > 0 {
        let fate = if dropped {
            "dropped"
        } else {
            "kept, each a miss; --drop-overlap leaves them out"
        };
        warnings.push(format!(
            "{} of {} test pairs stand in the training file too ({fate})",
            data.overlap, data.test_rows_read
        ));
    }
    if data.queries.is_empty() {
        warnings.push("no test user is left to measure".to_owned());
    }
    warnings
}
