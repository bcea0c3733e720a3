//! `lab experiment`: every treated arm against the control. The statistics are evaluate's own.

mod data;
mod null;
#[cfg(test)]
mod tests;

use evaluate_domain::experiment::{
    ArmAnalysis, Estimate, MetricKind, Question, Verdict, Warning, analyse, anytime_interval,
    beta_binomial_beats, holm, normal_beats,
};
use rapport_math::{Interval, Moments, two_sided_z};
use serde_json::Value;

use self::data::Data;
use crate::args::ExperimentArgs;
use crate::conduct::{Answer, Job, Plan, Rule, begin_row, finish_row};
use crate::cost::timed;
use crate::error::LabError;
use crate::row::Row;

/// Every algorithm, simplest first.
pub(crate) const ALGORITHMS: [&str; 3] = ["welch", "cuped", "bayes"];

const CONFIDENCE: f64 = 0.95;
const ALPHA: f64 = 1.0 - CONFIDENCE;

/// How an effect is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Welch,
    Cuped,
    Bayes,
}

/// Checks the flags.
pub(crate) fn plan(args: &ExperimentArgs) -> Result<Plan, LabError> {
    let named = !args.common.algorithm.is_empty();
    let mut algorithms = args.common.algorithms(&ALGORITHMS)?;
    if args.covariate.is_none() {
        if args.common.algorithm.iter().any(|name| name == "cuped") {
            return Err(LabError::input("--algorithm cuped needs --covariate"));
        }
        algorithms.retain(|name| *name != "cuped");
    }
    if args.common.save.is_some() {
        return Err(LabError::input(
            "--save: an experiment has no model that a service loads",
        ));
    }
    let welch = algorithms.iter().position(|name| *name == "welch");
    let all = args.common.algorithm.iter().any(|name| name == "all");
    let chosen = if named && !all { 0 } else { welch.unwrap_or(0) };
    Ok(Plan {
        algorithms,
        rule: Rule::Known(chosen),
    })
}

/// Measures one algorithm: one row per treated arm.
pub(crate) fn measure(args: &ExperimentArgs, job: &Job) -> Result<Answer, LabError> {
    let method = match job.algorithm.as_str() {
        "cuped" => Method::Cuped,
        "bayes" => Method::Bayes,
        _ => Method::Welch,
    };
    let (data, read_seconds) = timed(|| Data::read(args));
    let data = data?;
    let (found, score_seconds) = timed(|| compare(&data, args.covariate.is_some(), method));
    let found = found?;
    let alarms = args.null_runs.map(|runs| {
        let look_every = args.look_every.get();
        null::false_alarms(&data, method, runs, look_every, args.common.seed)
    });
    let mut rows = Vec::new();
    for arm in &found {
        let mut row = begin_row("experiment", job, &args.common, (data.rows, 0));
        finish_row(&mut row, read_seconds, score_seconds);
        row.put(
            "chosen",
            arm.plain.variant == data.arms[data.treated].variant,
        );
        put(&mut row, arm, &data.arms[data.control].variant);
        row.put("units", data.units.len());
        if args.unit.is_some() {
            row.put("crossovers", data.crossovers);
        }
        if let Some(alarms) = &alarms {
            row.put("null_runs", args.null_runs);
            row.put("look_every", args.look_every.get());
            row.metric(
                "sequential_type_1_error",
                alarms.sequential,
                alarms.sequential_interval,
            );
            row.metric("naive_type_1_error", alarms.naive, alarms.naive_interval);
        }
        rows.push(row);
    }
    let mut warnings = Vec::new();
    if data.crossovers > 0 {
        let (crossed, all) = (data.crossovers, data.units.len());
        warnings.push(format!(
            "{crossed} of {all} units have rows in several arms; each counts in its first"
        ));
    }
    Ok(Answer {
        rows,
        validation: None,
        warnings,
    })
}

/// A treated arm as one method sees it.
#[derive(Debug, Clone)]
struct Compared {
    /// What the service would say: health, the plain effect, CUPED beside it.
    plain: ArmAnalysis,
    /// The method's own effect.
    estimate: Option<Estimate>,
    /// Two-sided p; `None` for a method without one.
    p: Option<f64>,
    sequential: Option<Interval>,
    beats_control: Option<f64>,
    p_corrected: Option<f64>,
    verdict: Verdict,
    warnings: Vec<Warning>,
}

fn compare(data: &Data, covariate: bool, method: Method) -> Result<Vec<Compared>, LabError> {
    let question = Question {
        arms: &data.arms,
        control: &data.arms[data.control].variant,
        shares: data.shares.as_deref(),
        kind: data.kind,
        covariate,
        confidence: CONFIDENCE,
    };
    let analysed = analyse(&question).map_err(|error| LabError::input(error.to_string()))?;
    let plain = analysed.into_iter().map(|plain| Compared {
        estimate: plain.estimate,
        p: plain.estimate.map(|found| found.p),
        sequential: plain.sequential,
        beats_control: plain.beats_control,
        p_corrected: plain.p_corrected,
        verdict: plain.verdict,
        warnings: plain.warnings.clone(),
        plain,
    });
    let mut found: Vec<Compared> = plain.collect();
    match method {
        Method::Welch => {}
        Method::Cuped => adjust(&mut found, data),
        Method::Bayes => believe(&mut found, data),
    }
    Ok(found)
}

/// Puts CUPED's effect in the place of the plain one.
fn adjust(found: &mut [Compared], data: &Data) {
    let p: Vec<Option<f64>> = found
        .iter()
        .map(|arm| Some(arm.plain.cuped?.estimate.p))
        .collect();
    let mut corrected = holm(&p.iter().flatten().copied().collect::<Vec<f64>>()).into_iter();
    for (arm, p) in found.iter_mut().zip(p) {
        arm.estimate = arm.plain.cuped.map(|cuped| cuped.estimate);
        arm.p = p;
        arm.p_corrected = p.and_then(|_| corrected.next());
        arm.sequential = arm
            .estimate
            .and_then(|it| anytime_interval(&it, units(data, &arm.plain.variant), ALPHA));
        arm.beats_control = arm.estimate.and_then(|it| normal_beats(it.effect, it.se));
        judge(arm, p.is_some_and(|p| p < ALPHA));
    }
}

/// Puts the posterior in the place of the plain effect: uniform priors for the rates of a two-valued
/// metric, no prior opinion about means. The interval is the posterior's, taken as normal.
fn believe(found: &mut [Compared], data: &Data) {
    let control = *data.arms[data.control].units.x();
    for arm in found {
        arm.p = None;
        arm.p_corrected = None;
        if let (MetricKind::TwoValued { low, high }, Some(_)) = (data.kind, arm.estimate)
            && let Some(treated) = data
                .arms
                .iter()
                .find(|other| other.variant == arm.plain.variant)
        {
            let (control, treated) = (
                successes(&control, low, high),
                successes(treated.units.x(), low, high),
            );
            arm.beats_control = Some(beta_binomial_beats(control, treated));
            arm.estimate = Some(posterior(control, treated, (low, high)));
        }
        judge(
            arm,
            arm.estimate.is_some_and(|it| !it.interval.contains(0.0)),
        );
    }
}

fn successes(arm: &Moments, low: f64, high: f64) -> (u64, u64) {
    let share = arm.mean().map_or(0.0, |mean| (mean - low) / (high - low));
    (
        (share * arm.count() as f64).round().max(0.0) as u64,
        arm.count(),
    )
}

fn posterior(control: (u64, u64), treated: (u64, u64), (low, high): (f64, f64)) -> Estimate {
    let width = high - low;
    let beta = |(successes, trials): (u64, u64)| {
        let (a, b) = (
            successes as f64 + 1.0,
            (trials - successes.min(trials)) as f64 + 1.0,
        );
        let sum = a + b;
        (
            low + width * a / sum,
            width * width * a * b / (sum * sum * (sum + 1.0)),
        )
    };
    let ((control_mean, control_variance), (treated_mean, treated_variance)) =
        (beta(control), beta(treated));
    let (effect, se) = (
        treated_mean - control_mean,
        (control_variance + treated_variance).sqrt(),
    );
    Estimate {
        control_mean,
        treated_mean,
        effect,
        relative_effect: (control_mean != 0.0).then(|| effect / control_mean),
        se,
        p: f64::NAN, // a posterior has none; the row says null
        interval: Interval::around(effect, two_sided_z(CONFIDENCE) * se),
    }
}

/// Says what the method's own numbers say, as evaluate does for the plain ones.
fn judge(arm: &mut Compared, significant: bool) {
    arm.warnings
        .retain(|warning| matches!(warning, Warning::SampleRatioMismatch | Warning::SmallSample));
    if arm.estimate.is_none() {
        arm.warnings.push(Warning::Undefined);
    }
    if significant && arm.sequential.is_none_or(|interval| interval.contains(0.0)) {
        arm.warnings.push(Warning::NotIfPeeked);
    }
    if significant && arm.p_corrected.is_some_and(|p| p >= ALPHA) {
        arm.warnings.push(Warning::NotAfterCorrection);
    }
    arm.verdict = match arm.estimate {
        _ if arm.warnings.contains(&Warning::SampleRatioMismatch) => Verdict::Invalid,
        Some(it) if significant && it.effect > 0.0 => Verdict::Increase,
        Some(_) if significant => Verdict::Decrease,
        Some(_) | None => Verdict::Inconclusive,
    };
}

/// Units of the control and of a treated arm.
fn units(data: &Data, variant: &str) -> (u64, u64) {
    let size = |arm: &evaluate_domain::experiment::Arm| arm.units.x().count();
    let treated = data.arms.iter().find(|arm| arm.variant == variant);
    (size(&data.arms[data.control]), treated.map_or(0, size))
}

fn put(row: &mut Row, arm: &Compared, control: &str) {
    let of = |pick: fn(&Estimate) -> f64| arm.estimate.as_ref().map(pick);
    row.put("variant", arm.plain.variant.as_str());
    row.put("control", control);
    row.number("control_mean", of(|it| it.control_mean));
    row.number("treated_mean", of(|it| it.treated_mean));
    row.number("effect", of(|it| it.effect));
    row.number(
        "relative_effect",
        arm.estimate.and_then(|it| it.relative_effect),
    );
    row.number("se", of(|it| it.se));
    row.number("p", arm.p);
    row.number("p_corrected", arm.p_corrected);
    row.number("ci_low", of(|it| it.interval.low));
    row.number("ci_high", of(|it| it.interval.high));
    row.number(
        "sequential_low",
        arm.sequential.map(|interval| interval.low),
    );
    row.number(
        "sequential_high",
        arm.sequential.map(|interval| interval.high),
    );
    row.number(
        "cuped_effect",
        arm.plain.cuped.map(|cuped| cuped.estimate.effect),
    );
    row.number("cuped_se", arm.plain.cuped.map(|cuped| cuped.estimate.se));
    row.number("beats_control", arm.beats_control);
    row.number("srm_p", arm.plain.sample_ratio.map(|ratio| ratio.p));
    row.put("verdict", arm.verdict.as_str());
    let warnings = arm
        .warnings
        .iter()
        .map(|warning| Value::from(warning.as_str()));
    row.put("warnings", warnings.collect::<Vec<Value>>());
}
