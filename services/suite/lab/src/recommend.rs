//! `lab recommend`: full ranking of the whole catalogue for every test user.

mod choose;
mod data;
mod metrics;
mod models;
#[cfg(test)]
mod tests;

use rapport_math::quantile_sorted;
use rayon::prelude::*;

use self::choose::{Validation, choose};
use self::data::{Data, Query, Training};
use self::metrics::{Judged, Variety, gather, judge};
use self::models::{Model, Scratch, Spec};
use crate::args::RecommendArgs;
use crate::conduct::{Answer, Job, Plan, Rule, begin_row, finish_row, save};
use crate::cost::{thread_cpu_seconds, timed};
use crate::error::LabError;
use crate::resample::{intervals, mean};
use crate::row::Row;

/// Every algorithm, simplest first.
pub(crate) const ALGORITHMS: [&str; 4] = ["popularity", "user-knn", "item-knn", "auto"];

/// Requests that the time of serving is measured on, after as many as [`WARM_UP`] that are not.
const SERVED: usize = 2_000;
const WARM_UP: usize = 50;

type Lists = Vec<Judged>;

/// Checks the flags.
pub(crate) fn plan(args: &RecommendArgs) -> Result<Plan, LabError> {
    let algorithms = args.common.algorithms(&ALGORITHMS)?;
    let never_loaded = |name: &&str| Spec::named(name).is_some_and(|spec| !spec.is_loadable());
    if args.common.save.is_some()
        && !algorithms.contains(&"auto")
        && let Some(name) = algorithms.iter().find(|name| never_loaded(name))
    {
        return Err(LabError::input(format!(
            "--save: the services do not load {name}; they load item-knn and popularity"
        )));
    }
    let rule = Rule::validated(&algorithms);
    Ok(Plan { algorithms, rule })
}

/// Measures one algorithm.
pub(crate) fn measure(args: &RecommendArgs, job: &Job) -> Result<Answer, LabError> {
    let common = &args.common;
    let limit = common.limit.map(std::num::NonZeroUsize::get);
    let data = Data::read(&args.train, &args.test, limit, common.drop_overlap)?;
    let k = args.k as usize;
    let mut row = begin_row("recommend", job, common, (data.train_rows, data.test_rows));
    let mut validation = None;
    let (spec, selected) = match Spec::named(&job.algorithm) {
        Some(spec) => {
            if job.validate {
                validation = Validation::new(&data.training, k, common.seed).ndcg(&spec);
            }
            (spec, None)
        }
        None => {
            let (choice, seconds) = timed(|| {
                let validation = Validation::new(&data.training, k, common.seed);
                choose(
                    &validation,
                    common.budget_cpu_seconds,
                    common.save.is_some(),
                )
            });
            (choice.spec, Some((choice.explain, seconds)))
        }
    };
    let (model, train_seconds) = timed(|| Model::fit(&spec, &data.training));
    let (lists, score_seconds) = timed(|| serve(&model, &data.training, &data.queries, k));
    finish_row(&mut row, train_seconds, score_seconds);
    put_metrics(&mut row, &data, &lists, k, common.seed);
    put_serving_time(&mut row, &model, &data, k);
    if let Some((explain, seconds)) = selected {
        row.number("select_cpu_seconds", Some(seconds));
        row.put("explain", explain);
    }
    save(job, || model.to_bytes(&data.training))?;
    Ok(Answer {
        rows: vec![row],
        validation,
        warnings: warnings(&data, common.drop_overlap),
    })
}

/// Scores and judges every query. The order of queries is kept, whatever the number of threads.
fn serve(model: &Model, training: &Training, queries: &[Query], k: usize) -> Lists {
    queries
        .par_iter()
        .map_init(
            || (Scratch::default(), Vec::new(), Vec::new()),
            |(scratch, scores, top), query| {
                model.score(history(training, query), scratch, scores);
                judge(scores, query, k, top)
            },
        )
        .collect()
}

fn history<'a>(training: &'a Training, query: &Query) -> &'a [recommend_domain::ItemIdx] {
    query
        .user
        .map_or(&[], |user| &training.histories[user as usize])
}

fn put_metrics(row: &mut Row, data: &Data, lists: &Lists, k: usize, seed: u64) {
    let variety = Variety::new(&data.training);
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

/// One request, one thread, whole catalogue, from the user's history to the top k.
fn put_serving_time(row: &mut Row, model: &Model, data: &Data, k: usize) {
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
            model.score(history(&data.training, query), &mut scratch, &mut scores);
            gather(&scores, k, &mut top);
            std::hint::black_box(&top);
            (thread_cpu_seconds() - before) * 1e6
        })
        .skip(WARM_UP)
        .collect();
    times.sort_by(f64::total_cmp);
    row.number("serve_us_p50", quantile_sorted(&times, 0.5));
    row.number("serve_us_p99", quantile_sorted(&times, 0.99));
}

fn warnings(data: &Data, dropped: bool) -> Vec<String> {
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
