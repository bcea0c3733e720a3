//! Training: what the columns mean, what validation chooses, one last fit on every row.

use rayon::prelude::*;

use crate::binned::Binned;
use crate::boost::Booster;
use crate::calibrate::Calibration;
use crate::logistic::{Design, Logistic};
use crate::model::Model;
use crate::options::{Algorithm, MODEL_BYTES_MAX, ROWS_MAX, TrainError, TrainOptions, TrainReport};
use crate::schema::Schema;
use crate::table::Table;
use crate::validate::{Found, Validation, growth};
use crate::{constant_logit, log_loss};

/// Shares of the trees that a blend may have, in tenths.
const BLENDS: std::ops::Range<u32> = 1..10;
/// A less simple model is taken if it is better by more than so many standard errors of the difference.
const ERRORS_TO_BEAT: f64 = 1.0;
/// Largest derivative of the mean loss where the final logistic regression ends.
const TOLERANCE: f64 = 1e-9;

/// What validation chose.
struct Choice {
    /// Share of the trees, 0 to 1; `None`: the constant model.
    share: Option<f64>,
    /// Fitted on the logits below.
    calibration: Calibration,
    /// Mean log-loss, calibrated.
    log_loss: Option<f64>,
}

impl Model {
    /// Trains a model to tell yes from no, and reports what was tried.
    ///
    /// * `labels`, shape `[rows]`.
    /// * Everything that is chosen is chosen by stratified folds of these rows: the penalty of the
    ///   logistic regression, size and number of trees, the blend, and the calibration, which is fitted
    ///   on scores that no model gave to its own training rows.
    /// * `auto` begins at the constant model and moves to logistic regression, trees and their blend,
    ///   in this order, where the next is better by more than one standard error of the difference.
    /// * Cost: about `folds · settings · trees · rows · columns`, cut to the budget; memory: 9 bytes per
    ///   cell beside the table, and 24 per row and fold.
    ///
    /// # Errors
    ///
    /// [`TrainError`]: no rows, one label only, too many rows, a model too large to load.
    pub fn train(
        table: &Table,
        labels: &[bool],
        options: &TrainOptions,
    ) -> Result<(Self, TrainReport), TrainError> {
        Self::train_watched(table, labels, options, || ())
    }

    /// Trains as [`Model::train`] does and calls `chosen` once, when all is chosen and the last fit
    /// begins: a caller with a clock can tell what choosing cost.
    ///
    /// # Errors
    ///
    /// As [`Model::train`].
    pub fn train_watched(
        table: &Table,
        labels: &[bool],
        options: &TrainOptions,
        chosen: impl FnOnce(),
    ) -> Result<(Self, TrainReport), TrainError> {
        check(table, labels)?;
        let schema = Schema::learn(table);
        let frame = schema.encode(table);
        let budget = options.budget_cpu_seconds;
        let mut validation = Validation::new(&schema, &frame, labels, options.seed, budget);
        // With nothing to look at, every model is the constant one.
        let blind = schema.columns.is_empty();
        let wants =
            |part| !blind && (options.algorithm == part || options.algorithm == Algorithm::Auto);
        let linear = wants(Algorithm::Logistic).then(|| validation.penalty());
        let binned = wants(Algorithm::Trees).then(|| Binned::new(&schema, &frame));
        let boosted = binned.as_ref().map(|binned| validation.trees(binned));
        let choice = choose(&validation, linear.as_ref(), boosted.as_ref());
        chosen();

        let rows: Vec<u32> = (0..labels.len() as u32).collect();
        let share = choice.share.unwrap_or(0.0);
        let logistic = linear
            .as_ref()
            .filter(|_| choice.share.is_some() && share < 1.0);
        let fit = |found: &Found| {
            let design = Design::new(&schema, &frame, &rows, labels);
            let (weights, _) = design.fit(found.setting, None, TOLERANCE);
            design.model(&weights)
        };
        let fitted: Option<Logistic> = logistic.map(fit);
        let chosen_trees = boosted.as_ref().filter(|_| share > 0.0);
        let forest = chosen_trees.zip(binned.as_ref()).map(|(found, binned)| {
            let growth = growth(found.setting as usize, validation.rate);
            let mut booster = Booster::new(binned, labels, rows.clone(), growth, options.seed);
            booster.step(found.rounds);
            booster.finish()
        });
        let report = report(&validation, &choice, linear.as_ref(), boosted.as_ref());
        let slope = choice.calibration.slope;
        let yes = labels.iter().filter(|label| **label).count();
        let model = Self {
            algorithm: options.algorithm,
            bias: match choice.share {
                Some(_) => choice.calibration.intercept,
                None => constant_logit(yes, labels.len()),
            },
            logistic: fitted.map(|logistic| (slope * (1.0 - share), logistic)),
            trees: forest.map(|forest| (slope * share, forest)),
            schema,
        };
        match model.to_bytes().len() {
            bytes if bytes > MODEL_BYTES_MAX => Err(TrainError::TooLarge(bytes)),
            _ => Ok((model, report)),
        }
    }
}

fn check(table: &Table, labels: &[bool]) -> Result<(), TrainError> {
    if table.rows() != labels.len() {
        return Err(TrainError::Labels {
            rows: table.rows(),
            labels: labels.len(),
        });
    }
    if labels.len() > ROWS_MAX {
        return Err(TrainError::TooManyRows(labels.len()));
    }
    let first = labels.first().ok_or(TrainError::NoRows)?;
    if labels.iter().all(|label| label == first) {
        return Err(TrainError::OneLabel(*first));
    }
    Ok(())
}

/// Chooses the share of the trees; see [`Model::train`].
fn choose(validation: &Validation<'_>, linear: Option<&Found>, boosted: Option<&Found>) -> Choice {
    let labels = &validation.held_labels;
    let alone = match (linear, boosted) {
        (Some(_), None) => Some(0.0),
        (None, Some(_)) => Some(1.0),
        (None, None) => None,
        (Some(linear), Some(boosted)) if !labels.is_empty() => {
            return compare(validation, &linear.logits, &boosted.logits);
        }
        // Too few rows to compare: the simpler of what was asked for.
        (Some(_), Some(_)) => Some(0.0),
    };
    let Some(share) = alone else {
        let log_loss = (!labels.is_empty()).then(|| validation.loss(&validation.constant()));
        return Choice {
            share: None,
            calibration: Calibration::NONE,
            log_loss,
        };
    };
    let logits = linear.or(boosted).map_or(&[][..], |found| &found.logits);
    let (calibration, losses) = calibrated(logits, labels);
    Choice {
        share: Some(share),
        calibration,
        log_loss: mean(&losses),
    }
}

/// Walks from the constant model to the blend.
fn compare(validation: &Validation<'_>, linear: &[f64], boosted: &[f64]) -> Choice {
    let labels = &validation.held_labels;
    let constant = validation.constant();
    let rows = constant.iter().zip(labels);
    let mut losses: Vec<f64> = rows
        .map(|(logit, label)| log_loss(*logit, *label))
        .collect();
    let mut choice = Choice {
        share: None,
        calibration: Calibration::NONE,
        log_loss: mean(&losses),
    };
    let of = |share: f64| -> Vec<f64> {
        let pairs = linear.iter().zip(boosted);
        pairs
            .map(|(linear, boosted)| (1.0 - share) * linear + share * boosted)
            .collect()
    };
    let blends = BLENDS.map(|tenth| f64::from(tenth) / 10.0);
    let best = blends
        .map(|share| (share, validation.loss(&of(share))))
        .min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.total_cmp(&b.0)));
    for share in [Some(0.0), Some(1.0), best.map(|(share, _)| share)]
        .into_iter()
        .flatten()
    {
        let (calibration, next) = calibrated(&of(share), labels);
        if is_better(&next, &losses) {
            losses = next;
            choice = Choice {
                share: Some(share),
                calibration,
                log_loss: mean(&losses),
            };
        }
    }
    choice
}

/// Tells whether losses are lower by more than the noise of their difference, row by row.
fn is_better(losses: &[f64], than: &[f64]) -> bool {
    let n = losses.len() as f64;
    let gains: Vec<f64> = than
        .iter()
        .zip(losses)
        .map(|(old, new)| old - new)
        .collect();
    let mean = gains.iter().sum::<f64>() / n;
    let squares: f64 = gains.iter().map(|gain| (gain - mean).powi(2)).sum();
    let error = (squares / (n * (n - 1.0).max(1.0))).sqrt();
    mean > ERRORS_TO_BEAT * error
}

/// Calibrates held-out logits; returns how, and the losses after it.
fn calibrated(logits: &[f64], labels: &[bool]) -> (Calibration, Vec<f64>) {
    let calibration = Calibration::fit(logits, labels);
    let rows = logits.par_iter().zip(labels);
    let losses = rows.map(|(logit, label)| log_loss(calibration.apply(*logit), *label));
    (calibration, losses.collect())
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn report(
    validation: &Validation<'_>,
    choice: &Choice,
    linear: Option<&Found>,
    boosted: Option<&Found>,
) -> TrainReport {
    let validated = !validation.held_labels.is_empty();
    let share = choice.share.unwrap_or(0.0);
    let used_linear = linear.filter(|_| choice.share.is_some_and(|share| share < 1.0));
    let used_trees = boosted.filter(|_| share > 0.0);
    let tried = [linear, boosted].into_iter().flatten();
    TrainReport {
        rows: validation.labels.len(),
        validated_rows: validation.held_labels.len(),
        log_loss: choice.log_loss,
        constant_log_loss: validated.then(|| validation.loss(&validation.constant())),
        trees_share: share,
        penalty: used_linear.map(|found| found.setting),
        trees: used_trees.map_or(0, |found| found.rounds),
        leaves: used_trees.map_or(0, |found| found.setting as usize),
        rate: validation.rate,
        calibration: [choice.calibration.slope, choice.calibration.intercept],
        tried: tried
            .flat_map(|found| found.tried.iter().cloned())
            .collect(),
    }
}
