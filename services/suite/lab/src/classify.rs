//! `lab classify`: labels of texts, and texts that belong to no label.

mod data;
mod metrics;
#[cfg(test)]
mod tests;

use rapport_math::{Rng, quantile_sorted};
use rapport_text::{Algorithm, TextClassifier, TrainOptions, TrainReport};
use rayon::prelude::*;
use serde_json::json;

use self::data::{Data, Labelled};
use self::metrics::{Said, put_metrics};
use crate::args::ClassifyArgs;
use crate::conduct::{Answer, Job, Plan, Rule, begin_row, finish_row, save};
use crate::cost::{process_cpu_seconds, thread_cpu_seconds, timed};
use crate::error::LabError;

/// Every algorithm, simplest first.
pub(crate) const ALGORITHMS: [&str; 4] = ["majority", "naive-bayes", "linear", "auto"];

/// Passes over the test texts of which the time of one text is the median.
const PASSES: usize = 5;
/// One of so many training rows is held out to choose by, where `auto` does not run.
const HELD_OUT_ONE_IN: usize = 5;
/// Stream of the seed that holds rows out.
const STREAM_ROWS: u64 = 0x726f_7773;

/// Checks the flags.
pub(crate) fn plan(args: &ClassifyArgs) -> Result<Plan, LabError> {
    let algorithms = args.common.algorithms(&ALGORITHMS)?;
    let rule = Rule::validated(&algorithms);
    Ok(Plan { algorithms, rule })
}

/// Measures one algorithm.
pub(crate) fn measure(args: &ClassifyArgs, job: &Job) -> Result<Answer, LabError> {
    let common = &args.common;
    let data = Data::read(args)?;
    let algorithm = Algorithm::from_name(&job.algorithm)
        .ok_or_else(|| LabError::failed(format!("there is no algorithm {}", job.algorithm)))?;
    let options = TrainOptions {
        seed: common.seed,
        threads: common.threads,
        algorithm,
        budget_cpu_seconds: common.budget_cpu_seconds,
    };
    let mut chosen_at = process_cpu_seconds();
    let train = |rows: &[Labelled], chosen_at: &mut f64| {
        TextClassifier::train_watched(rows, &options, || *chosen_at = process_cpu_seconds())
            .map_err(|error| LabError::input(format!("{}: {error}", args.train.display())))
    };
    let mut row = begin_row("classify", job, common, (data.train.len(), data.test.len()));
    let validation = if job.validate {
        validate(&data.train, common.seed, |rows| train(rows, &mut 0.0))?
    } else {
        None
    };
    let began_at = process_cpu_seconds();
    let (trained, both_seconds) = timed(|| train(&data.train, &mut chosen_at));
    let (model, report) = trained?;
    // The other algorithms choose too, a little: theirs counts as training.
    let select_seconds = match algorithm {
        Algorithm::Auto => (chosen_at - began_at).clamp(0.0, both_seconds),
        Algorithm::Majority | Algorithm::NaiveBayes | Algorithm::Linear => 0.0,
    };
    let train_seconds = both_seconds - select_seconds;
    let rejected = data.rejected.as_deref();
    let (said, score_seconds) = timed(|| {
        let texts = data.test.par_iter();
        texts
            .map(|(text, _)| say(&model, text, rejected.is_some()))
            .collect::<Vec<Said<'_>>>()
    });
    finish_row(&mut row, train_seconds, score_seconds);
    put_metrics(&mut row, &data.test, &said, rejected, common.seed);
    row.number("us_per_text", microseconds_per_text(&model, &data.test));
    row.put("model_bytes", model.to_bytes().len());
    if algorithm == Algorithm::Auto {
        row.number("select_cpu_seconds", Some(select_seconds));
        row.put("explain", explain(&report));
    }
    save(job, || Ok(model.to_bytes()))?;
    Ok(Answer {
        rows: vec![row],
        validation,
        warnings: data.warnings,
    })
}

fn say<'a>(model: &'a TextClassifier, text: &str, may_reject: bool) -> Said<'a> {
    let prediction = model.predict(text);
    Said {
        label: prediction.label,
        rejects: may_reject && prediction.out_of_scope,
        confidence: prediction.confidence,
    }
}

/// Returns the accuracy on a fifth of the training rows, learned from the others; `None` where the
/// others cannot be learned from.
fn validate(
    rows: &[Labelled],
    seed: u64,
    train: impl Fn(&[Labelled]) -> Result<(TextClassifier, TrainReport), LabError>,
) -> Result<Option<f64>, LabError> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    Rng::seeded(seed).fork(STREAM_ROWS).shuffle(&mut order);
    let (held, kept) = order.split_at(rows.len() / HELD_OUT_ONE_IN);
    let kept: Vec<Labelled> = kept.iter().map(|row| rows[*row].clone()).collect();
    let one_label = kept.windows(2).all(|pair| pair[0].1 == pair[1].1);
    if held.is_empty() || one_label {
        return Ok(None);
    }
    let (model, _) = train(&kept)?;
    let right = held
        .par_iter()
        .filter(|row| model.predict(&rows[**row].0).label == rows[**row].1);
    Ok(Some(right.count() as f64 / held.len() as f64))
}

/// One thread, one text at a time, features included; the median of five passes.
fn microseconds_per_text(model: &TextClassifier, test: &[Labelled]) -> Option<f64> {
    let mut passes: Vec<f64> = (0..PASSES)
        .map(|_| {
            let before = thread_cpu_seconds();
            for (text, _) in test {
                std::hint::black_box(model.predict(text));
            }
            (thread_cpu_seconds() - before) * 1e6 / test.len() as f64
        })
        .collect();
    passes.sort_by(f64::total_cmp);
    quantile_sorted(&passes, 0.5)
}

fn explain(report: &TrainReport) -> serde_json::Value {
    json!({
        "model": match (report.has_network, report.network_share > 0.0) {
            (false, _) => "linear",
            (true, true) => "linear with a network",
            (true, false) => "linear, and a network that only tells texts of no label",
        },
        "cost": report.cost,
        "balance": report.balance,
        "focus": report.focus,
        "network_share": report.network_share,
        "features": report.features,
        "validation_rows": report.validated_rows,
        "validation_accuracy": report.validated_accuracy,
        "validation_macro_f1": report.validated_macro_f1,
        "validation_oos_auroc": report.out_of_scope_auroc,
    })
}
