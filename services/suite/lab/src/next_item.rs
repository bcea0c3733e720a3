//! `lab next-item`: every proper prefix of a test session is a query for its next item.

mod choose;
mod data;
mod models;
#[cfg(test)]
mod tests;

use rapport_math::quantile_sorted;
use rayon::prelude::*;
use recommend_domain::{
    AttentionOptions, SessionModel, SessionPopularity, SessionScores, SessionScratch, Sessions,
};

use self::choose::{ATTENTION_STEPS_PER_SECOND, Validation, choose};
use self::data::{Data, UNKNOWN, Visit};
use self::models::Spec;
use crate::args::NextItemArgs;
use crate::conduct::{Answer, Job, Plan, Rule, begin_row, finish_row};
use crate::cost::{thread_cpu_seconds, timed};
use crate::error::LabError;
use crate::overlap::overlap_warning;
use crate::resample::intervals;
use crate::row::Row;

/// Every algorithm, simplest first.
pub(crate) const ALGORITHMS: [&str; 7] = [
    "popularity",
    "item-knn",
    "markov",
    "vmis",
    "v-stan",
    "attention",
    "auto",
];
/// Those that only run when they are named, because they take long.
const NAMED_ONLY: [&str; 1] = ["attention"];

/// Requests that the time of serving is measured on, after as many as [`WARM_UP`] that are not.
const SERVED: usize = 2_000;
const WARM_UP: usize = 50;

/// How one session was served: the sum of hits and of reciprocal ranks over its queries, and their
/// number.
pub(crate) type Judged = [f64; 3];

/// Checks the flags.
pub(crate) fn plan(args: &NextItemArgs) -> Result<Plan, LabError> {
    let mut algorithms = args.common.algorithms(&ALGORITHMS)?;
    if args.common.algorithm.is_empty() {
        algorithms.retain(|name| !NAMED_ONLY.contains(name));
    }
    if args.common.save.is_some() {
        return Err(LabError::input(
            "--save: the services do not load session models yet",
        ));
    }
    let rule = Rule::validated(&algorithms);
    Ok(Plan { algorithms, rule })
}

/// Measures one algorithm.
pub(crate) fn measure(args: &NextItemArgs, job: &Job) -> Result<Answer, LabError> {
    let common = &args.common;
    let limit = common.limit.map(std::num::NonZeroUsize::get);
    let data = Data::read(&args.train, &args.test, limit, common.drop_overlap)?;
    let k = args.k as usize;
    let mut row = begin_row("next-item", job, common, (data.train_rows, data.test_rows));
    let mut validation = None;
    let budget = common.budget_cpu_seconds;
    let (spec, selected) = match Spec::named(&job.algorithm, common.seed) {
        Some(spec) => {
            let spec = within_budget(spec, &data, budget);
            if job.validate {
                validation = Validation::new(&data, k, common.seed).and_then(|it| it.score(&spec));
            }
            (spec, None)
        }
        None => {
            let (choice, seconds) = timed(|| choose(&data, k, common.seed, budget));
            (choice.spec, Some((choice.explain, seconds)))
        }
    };
    let (fitted, train_seconds) = timed(|| Fitted::new(&spec, &data.sessions()));
    let (judged, score_seconds) = timed(|| serve(&fitted, &data.test, k));
    finish_row(&mut row, train_seconds, score_seconds);
    put_metrics(&mut row, &judged, k, common.seed);
    put_serving_time(&mut row, &fitted, &data.test, k);
    if let Some((explain, seconds)) = selected {
        row.number("select_cpu_seconds", Some(seconds));
        row.put("explain", explain);
    }
    Ok(Answer {
        rows: vec![row],
        validation,
        warnings: warnings(&data, &judged, common.drop_overlap),
    })
}

/// Cuts the epochs of a learned model to what the budget pays for, at least one.
fn within_budget(spec: Spec, data: &Data, budget: f64) -> Spec {
    let Spec::Attention(options) = spec else {
        return spec;
    };
    let epochs = budget * ATTENTION_STEPS_PER_SECOND / options.epoch_steps(&data.sessions());
    Spec::Attention(AttentionOptions {
        epochs: options.epochs.min(epochs as usize).max(1),
        ..options
    })
}

/// A model with what follows where it has nothing to say.
#[derive(Debug)]
pub(crate) struct Fitted {
    model: Box<dyn SessionModel>,
    popular: SessionPopularity,
}

impl Fitted {
    pub(crate) fn new(spec: &Spec, sessions: &Sessions) -> Self {
        Self {
            model: spec.fit(sessions),
            popular: SessionPopularity::train(sessions, 0.0),
        }
    }
}

/// Scores and judges every query of every session, in order, whatever the number of threads.
pub(crate) fn serve(fitted: &Fitted, visits: &[Visit], k: usize) -> Vec<Judged> {
    let work = || (SessionScratch::default(), SessionScores::default());
    visits
        .par_iter()
        .map_init(work, |(scratch, scores), visit| {
            let mut judged = [0.0; 3];
            for at in 1..visit.len() {
                judged[2] += 1.0;
                if visit[at] == UNKNOWN {
                    continue; // a miss, whatever is shown
                }
                fitted.model.score(&visit[..at], scratch, scores);
                if let Some(rank) = scores.rank(visit[at], k, &fitted.popular) {
                    judged[0] += 1.0;
                    judged[1] += 1.0 / rank as f64;
                }
            }
            judged
        })
        .collect()
}

/// Returns hit rate and mean reciprocal rank over the queries of some sessions; NaN without queries.
pub(crate) fn rates<'a>(judged: impl Iterator<Item = &'a Judged>) -> [f64; 2] {
    let sums = judged.fold([0.0; 3], |sums, one| {
        std::array::from_fn(|at| sums[at] + one[at])
    });
    [sums[0] / sums[2], sums[1] / sums[2]]
}

fn put_metrics(row: &mut Row, judged: &[Judged], k: usize, seed: u64) {
    let asked: Vec<Judged> = judged.iter().filter(|one| one[2] > 0.0).copied().collect();
    let [hit_rate, mrr] = rates(asked.iter());
    let found: [_; 2] = intervals(asked.len(), seed, |drawn| {
        rates(drawn.iter().map(|session| &asked[*session as usize]))
    });
    row.put("k", k);
    row.put(
        "queries",
        asked.iter().map(|one| one[2]).sum::<f64>() as u64,
    );
    row.metric("hit_rate", Some(hit_rate), found[0]);
    row.metric("mrr", Some(mrr), found[1]);
}

/// One request, one thread, whole catalogue, from the prefix to the top k.
fn put_serving_time(row: &mut Row, fitted: &Fitted, visits: &[Visit], k: usize) {
    let (mut scratch, mut scores) = (SessionScratch::default(), SessionScores::default());
    let mut top = Vec::new();
    let queries: Vec<&[_]> = visits
        .iter()
        .flat_map(|visit| (1..visit.len()).map(|end| &visit[..end]))
        .take(SERVED)
        .collect();
    let served = queries
        .iter()
        .cycle()
        .take(WARM_UP.min(queries.len() * WARM_UP));
    let mut times: Vec<f64> = served
        .chain(&queries)
        .map(|prefix| {
            let before = thread_cpu_seconds();
            fitted.model.score(prefix, &mut scratch, &mut scores);
            scores.top(k, &fitted.popular, &mut top);
            std::hint::black_box(&top);
            (thread_cpu_seconds() - before) * 1e6
        })
        .skip(WARM_UP)
        .collect();
    times.sort_by(f64::total_cmp);
    row.number("serve_us_p50", quantile_sorted(&times, 0.5));
    row.number("serve_us_p99", quantile_sorted(&times, 0.99));
}

fn warnings(data: &Data, judged: &[Judged], dropped: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if data.overlap > 0 {
        let (found, read) = (data.overlap, data.test_rows_read);
        warnings.push(overlap_warning(
            found,
            read,
            "test pairs of session and item",
            dropped,
        ));
    }
    if judged.iter().all(|one| one[2] == 0.0) {
        warnings.push("no test session has a second item: there is nothing to predict".to_owned());
    }
    warnings
}
