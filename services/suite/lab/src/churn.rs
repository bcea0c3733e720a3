//! `lab churn`: who leaves, how sure we are, and why.
//!
//! With `--cv FxR` the rows are dealt to F stratified folds by seed, R times. A row's answer comes from a
//! model that learned, chose and calibrated without its fold. Each metric is computed over all rows
//! once per repeat and the repeats' values are averaged: averaging the answers themselves would measure
//! an ensemble that nobody deploys. The saved model is trained on all rows. `--limit N` measures by the
//! first N rows; folds and training have all.

mod data;
mod metrics;
#[cfg(test)]
mod tests;

use rapport_learn::{Algorithm, Model, TrainOptions, TrainReport, deal_folds};
use rapport_math::Rng;
use rayon::prelude::*;
use serde_json::{Value, json};

use self::data::{Data, Labelled};
use self::metrics::{Scored, put_metrics};
use crate::args::{ChurnArgs, Folds};
use crate::conduct::{Answer, Job, Plan, Rule, begin_row, finish_row, save};
use crate::cost::{process_cpu_seconds, timed};
use crate::error::LabError;

/// Every algorithm, simplest first.
pub(crate) const ALGORITHMS: [&str; 4] = ["constant", "logistic", "trees", "auto"];

/// Columns of `top_reasons`.
const REASONS: usize = 10;
/// Test rows whose reasons are averaged, evenly spread.
const REASONED_ROWS: usize = 1_000;
/// Stream of the seed that deals folds.
const STREAM_FOLDS: u64 = 0x6376_666f;

/// Checks the flags.
pub(crate) fn plan(args: &ChurnArgs) -> Result<Plan, LabError> {
    let algorithms = args.common.algorithms(&ALGORITHMS)?;
    let rule = Rule::validated(&algorithms);
    Ok(Plan { algorithms, rule })
}

/// A trained model with its answers.
struct Fitted {
    model: Model,
    report: TrainReport,
    logits: Vec<f64>,
    cost: Cost,
}

/// Measures one algorithm.
pub(crate) fn measure(args: &ChurnArgs, job: &Job) -> Result<Answer, LabError> {
    let data = Data::read(args)?;
    match args.cv {
        Some(folds) => cross_validate(args, job, &data, folds),
        None => hold_out(args, job, &data),
    }
}

/// What training and scoring cost, of one fit or of all.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// What choosing cost; the rest of training is in `train_seconds`.
    select_seconds: f64,
    train_seconds: f64,
    score_seconds: f64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.select_seconds += other.select_seconds;
        self.train_seconds += other.train_seconds;
        self.score_seconds += other.score_seconds;
    }
}

/// Trains on one file and answers for the other.
fn hold_out(args: &ChurnArgs, job: &Job, data: &Data) -> Result<Answer, LabError> {
    let Some(test) = &data.test else {
        return Err(LabError::input("--data needs --cv"));
    };
    let mut fitted = fit(args, job, &data.train, test, args.common.budget_cpu_seconds)?;
    let scored = Scored::new(std::mem::take(&mut fitted.logits), test.labels.clone());
    let cost = fitted.cost;
    answer(args, job, data, test, &[scored], &fitted, cost)
}

/// Trains and answers fold by fold, and once on every row.
fn cross_validate(
    args: &ChurnArgs,
    job: &Job,
    data: &Data,
    folds: Folds,
) -> Result<Answer, LabError> {
    let all = &data.train;
    let cut = args.common.limit.map(|limit| all.first(limit.get()));
    let measured = cut.as_ref().unwrap_or(all);
    let rows = 0..all.labels.len() as u32;
    let fits = folds.folds * folds.repeats + 1;
    let budget = args.common.budget_cpu_seconds / fits as f64;
    let mut cost = Cost::default();
    let mut answers = Vec::with_capacity(folds.repeats);
    for repeat in 0..folds.repeats {
        let place = deal(&all.labels, folds.folds, args.common.seed, repeat)?;
        let mut logits = vec![0.0; all.labels.len()];
        for fold in 0..folds.folds {
            let (held, kept): (Vec<u32>, Vec<u32>) = rows
                .clone()
                .partition(|row| usize::from(place[*row as usize]) == fold);
            let fitted = fit(args, job, &all.select(&kept), &all.select(&held), budget)?;
            cost.add(fitted.cost);
            for (row, logit) in held.iter().zip(fitted.logits) {
                logits[*row as usize] = logit;
            }
        }
        logits.truncate(measured.labels.len());
        answers.push(Scored::new(logits, measured.labels.clone()));
    }
    let last = fit(args, job, all, all, budget)?;
    // Its answers are to rows that it has seen: nobody measures them.
    cost.add(Cost {
        score_seconds: 0.0,
        ..last.cost
    });
    answer(args, job, data, measured, &answers, &last, cost)
}

/// Puts together the row of one algorithm.
fn answer(
    args: &ChurnArgs,
    job: &Job,
    data: &Data,
    test: &Labelled,
    answers: &[Scored],
    last: &Fitted,
    cost: Cost,
) -> Result<Answer, LabError> {
    let rows = (data.train.labels.len(), test.labels.len());
    let mut row = begin_row("churn", job, &args.common, rows);
    let chooses = job.algorithm == "auto";
    // Of a single algorithm, choosing its settings is training.
    let settings = if chooses { 0.0 } else { cost.select_seconds };
    finish_row(&mut row, cost.train_seconds + settings, cost.score_seconds);
    put_metrics(&mut row, answers, args.common.seed);
    row.put("top_reasons", top_reasons(&last.model, test));
    if chooses {
        row.number("select_cpu_seconds", Some(cost.select_seconds));
    }
    row.put("explain", explain(&last.report));
    save(job, || Ok(last.model.to_bytes()))?;
    let mut warnings = data.warnings.clone();
    let dropped = last.model.schema().dropped().iter();
    warnings.extend(dropped.map(|dropped| format!("{dropped}: left out")));
    Ok(Answer {
        rows: vec![row],
        validation: last.report.log_loss.map(|loss| -loss),
        warnings,
    })
}

fn fit(
    args: &ChurnArgs,
    job: &Job,
    train: &Labelled,
    test: &Labelled,
    budget_cpu_seconds: f64,
) -> Result<Fitted, LabError> {
    let algorithm = Algorithm::from_name(&job.algorithm)
        .ok_or_else(|| LabError::failed(format!("there is no algorithm {}", job.algorithm)))?;
    let options = TrainOptions {
        seed: args.common.seed,
        algorithm,
        budget_cpu_seconds,
    };
    let begun = process_cpu_seconds();
    let mut chosen = begun;
    let (cells, labels) = (&train.cells, &train.labels);
    let trained = Model::train_watched(cells, labels, &options, || chosen = process_cpu_seconds());
    let train_seconds = process_cpu_seconds() - chosen;
    let (model, report) = trained.map_err(|error| {
        let file = args.train.as_ref().or(args.data.as_ref());
        let file = file.map_or(String::new(), |file| format!("{}: ", file.display()));
        LabError::input(format!("{file}column {}: {error}", args.label))
    })?;
    let (logits, score_seconds) = timed(|| model.logits(&model.schema().encode(&test.cells)));
    Ok(Fitted {
        model,
        report,
        logits,
        cost: Cost {
            select_seconds: chosen - begun,
            train_seconds,
            score_seconds,
        },
    })
}

/// Deals rows of each kind out to folds by seed and repeat; returns the fold of each row.
fn deal(labels: &[bool], folds: usize, seed: u64, repeat: usize) -> Result<Vec<u8>, LabError> {
    let yes = labels.iter().filter(|label| **label).count();
    let rarest = yes.min(labels.len() - yes);
    if rarest < folds {
        let kind = if yes == rarest { "yes" } else { "no" };
        return Err(LabError::input(format!(
            "--cv: {folds} folds need as many rows of each label, {rarest} say {kind}"
        )));
    }
    let rng = Rng::seeded(seed).fork(STREAM_FOLDS).fork(repeat as u64);
    Ok(deal_folds(labels, folds, &rng))
}

/// Returns the columns by falling mean size of what they add to the logit, over rows spread evenly.
fn top_reasons(model: &Model, test: &Labelled) -> Value {
    let frame = model.schema().encode(&test.cells);
    let step = frame.rows().div_ceil(REASONED_ROWS).max(1);
    let rows: Vec<usize> = (0..frame.rows()).step_by(step).collect();
    let reasons: Vec<Vec<f64>> = rows
        .par_iter()
        .map(|row| model.reasons(&frame.row(*row)).contributions)
        .collect();
    let names = model.schema().names();
    let mean = |column: usize| {
        let sizes = reasons.iter().map(|row| row[column].abs());
        sizes.sum::<f64>() / rows.len() as f64
    };
    let mut columns: Vec<(usize, f64)> = (0..names.len())
        .map(|column| (column, mean(column)))
        .collect();
    columns.retain(|(_, size)| *size > 0.0);
    columns.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    columns.truncate(REASONS);
    columns.iter().map(|(column, _)| names[*column]).collect()
}

fn explain(report: &TrainReport) -> Value {
    let blended = report.trees_share > 0.0 && report.trees_share < 1.0;
    let model = match (report.penalty, report.trees) {
        (None, 0) => "constant",
        (Some(_), 0) => "logistic",
        _ if blended => "logistic with trees",
        _ => "trees",
    };
    let tried = report.tried.iter().map(|tried| {
        json!({
            "model": tried.algorithm.name(),
            "setting": tried.setting,
            "trees": tried.rounds,
            "log_loss": tried.log_loss,
        })
    });
    json!({
        "model": model,
        "trees_share": report.trees_share,
        "penalty": report.penalty,
        "trees": report.trees,
        "leaves": report.leaves,
        "rate": report.rate,
        "calibration_slope": report.calibration[0],
        "calibration_intercept": report.calibration[1],
        "validation_rows": report.validated_rows,
        "validation_log_loss": report.log_loss,
        "constant_log_loss": report.constant_log_loss,
        "tried": tried.collect::<Vec<_>>(),
    })
}
