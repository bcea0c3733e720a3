//! `lab clv`: what each customer will buy and is worth. The models are profile's own.

mod data;
#[cfg(test)]
mod tests;

use profile_domain::clv::{ClvModel, Customer};
use rapport_math::PairMoments;
use rayon::prelude::*;
use serde_json::{Value, json};

use self::data::{Data, Person};
use crate::args::ClvArgs;
use crate::conduct::{Answer, Job, Plan, Rule, begin_row, finish_row, save};
use crate::cost::timed;
use crate::error::LabError;
use crate::resample::{intervals, mean};
use crate::row::Row;

/// Every algorithm, simplest first.
pub(crate) const ALGORITHMS: [&str; 1] = ["bgnbd"];

/// Customers shown with the reasons of their forecast: the most valuable.
const SHOWN: usize = 3;
/// What is shown of them: a year ahead, a tenth a year taken off.
const YEAR_WEEKS: f64 = 52.0;
const DISCOUNT: f64 = 0.1;

/// Checks the flags.
pub(crate) fn plan(args: &ClvArgs) -> Result<Plan, LabError> {
    data::calibration_end(args)?;
    Ok(Plan {
        algorithms: args
            .common
            .algorithms_or_default(&ALGORITHMS, ALGORITHMS[0])?,
        rule: Rule::Known(0),
    })
}

/// Measures one algorithm.
pub(crate) fn measure(args: &ClvArgs, job: &Job) -> Result<Answer, LabError> {
    let (data, read_seconds) = timed(|| Data::read(args));
    let data = data?;
    let customers: Vec<Customer> = data.people.iter().map(|it| it.customer).collect();
    let (model, fit_seconds) = timed(|| ClvModel::fit(&customers));
    let model = model.map_err(|why| {
        let (file, end) = (&data.file, &args.calibration_end);
        LabError::input(format!("{file}: until --calibration-end {end}, {why}"))
    })?;
    let limit = args.common.limit.map_or(usize::MAX, usize::from);
    let measured = &data.people[..data.people.len().min(limit)];
    let (forecasts, score_seconds) = timed(|| foretell(&model, measured, data.held_out_weeks));
    let later: usize = measured.iter().map(|it| it.later_rows).sum();
    let mut row = begin_row("clv", job, &args.common, (data.calibration_rows, later));
    finish_row(&mut row, read_seconds + fit_seconds, score_seconds);
    row.put("customers", customers.len());
    row.put("newcomers", data.newcomers);
    row.put("holdout_weeks", data.held_out_weeks);
    put_models(&mut row, &model, &customers);
    put_errors(&mut row, &data, measured, &forecasts, args.common.seed);
    row.number("fit_ms", Some(fit_seconds * 1e3));
    row.put("top_customers", top(&model, measured, &forecasts));
    save(job, || Ok(model.to_bytes()))?;
    let mut warnings = data.warnings;
    warnings.extend(doubts(&model));
    Ok(Answer {
        rows: vec![row],
        validation: None,
        warnings,
    })
}

/// Purchases expected of each within the weeks held out, or a year if none are, and what they are worth:
/// money where there is a model of spend, else the purchases themselves. `None` where money is asked
/// for and the spend expected has no bound: a number of purchases beside sums of money ranks nothing.
fn foretell(model: &ClvModel, people: &[Person], held_out_weeks: f64) -> Vec<(f64, Option<f64>)> {
    let horizon = if held_out_weeks > 0.0 {
        held_out_weeks
    } else {
        YEAR_WEEKS
    };
    let of = |person: &Person| {
        let purchases = &model.purchases.model;
        let expected = purchases.expected_purchases(&person.customer.history, horizon);
        let worth = match &model.spend {
            Some(_) => model.expected_spend(&person.customer),
            None => Some(1.0),
        };
        (expected, worth.map(|worth| worth * expected))
    };
    people.par_iter().map(of).collect()
}

fn put_models(row: &mut Row, model: &ClvModel, customers: &[Customer]) {
    let purchases = &model.purchases;
    for (key, value) in ["r", "alpha", "a", "b"]
        .into_iter()
        .zip(purchases.model.parameters())
    {
        row.number(key, Some(value));
    }
    row.number("log_likelihood", Some(purchases.log_likelihood));
    row.put("repeat_customers", purchases.repeaters);
    let spend = model.spend.as_ref();
    for (at, key) in ["gg_p", "gg_q", "gg_v"].into_iter().enumerate() {
        row.number(key, spend.map(|spend| spend.model.parameters()[at]));
    }
    row.number("gg_log_likelihood", spend.map(|spend| spend.log_likelihood));
    row.put("gg_customers", spend.map_or(0, |spend| spend.spenders));
    row.number("frequency_spend_correlation", correlation(customers));
}

/// Gamma-Gamma takes spend for unrelated to frequency: how far from the truth is that?
fn correlation(customers: &[Customer]) -> Option<f64> {
    let mut pairs = PairMoments::default();
    for it in customers {
        if it.history.frequency() > 0 && it.mean_spend > 0.0 {
            pairs.push(f64::from(it.history.frequency()), it.mean_spend);
        }
    }
    let spread = pairs.x().variance()? * pairs.y().variance()?;
    (spread > 0.0).then_some(pairs.covariance()? / libm::sqrt(spread))
}

/// Mean absolute errors per customer, beside the forecast that everybody goes on buying as often.
fn put_errors(
    row: &mut Row,
    data: &Data,
    people: &[Person],
    forecasts: &[(f64, Option<f64>)],
    seed: u64,
) {
    let weeks = data.held_out_weeks;
    if weeks <= 0.0 {
        for key in ["holdout_mae", "naive_mae", "holdout_mean", "expected_mean"] {
            row.metric(key, None, None);
        }
        return;
    }
    let measured: Vec<[f64; 4]> = people
        .iter()
        .zip(forecasts)
        .map(|(person, (expected, _))| {
            let (bought, history) = (f64::from(person.later), &person.customer.history);
            let rate = f64::from(history.frequency()) / history.age().max(f64::MIN_POSITIVE);
            [
                (expected - bought).abs(),
                (rate * weeks - bought).abs(),
                bought,
                *expected,
            ]
        })
        .collect();
    let means = |drawn: &[u32]| {
        let mut sums = [0.0; 4];
        for unit in drawn {
            let errors = &measured[*unit as usize];
            (0..4).for_each(|at| sums[at] += errors[at]);
        }
        sums.map(|sum| sum / drawn.len() as f64)
    };
    let found = intervals(measured.len(), seed, means);
    let keys = ["holdout_mae", "naive_mae", "holdout_mean", "expected_mean"];
    for (at, key) in keys.into_iter().enumerate() {
        row.metric(key, mean(measured.iter().map(|it| it[at])), found[at]);
    }
}

/// The most valuable customers and why: the earlier in the file of equals, those whose worth has no bound
/// last.
fn top(model: &ClvModel, people: &[Person], forecasts: &[(f64, Option<f64>)]) -> Value {
    let mut order: Vec<usize> = (0..people.len()).collect();
    let worth = |at: usize| forecasts[at].1.unwrap_or(f64::NEG_INFINITY);
    order.sort_by(|a, b| worth(*b).total_cmp(&worth(*a)).then(a.cmp(b)));
    let shown = order.into_iter().take(SHOWN).map(|at| {
        let person = &people[at];
        let why = model.forecast(&person.customer, YEAR_WEEKS, DISCOUNT);
        json!({
            "customer": person.name,
            "frequency": why.frequency,
            "recency_weeks": why.recency_weeks,
            "age_weeks": why.age_weeks,
            "alive": why.alive.get(),
            "purchases_a_year": why.purchases,
            "spend": why.spend,
            "value_a_year": why.value,
        })
    });
    shown.collect()
}

/// What a reader should know about the parameters.
fn doubts(model: &ClvModel) -> Vec<String> {
    let mut doubts = Vec::new();
    let spend = model.spend.as_ref();
    let bounds = [
        &model.purchases.at_bound[..],
        spend.map_or(&[], |spend| &spend.at_bound[..]),
    ]
    .concat();
    if !bounds.is_empty() {
        doubts.push(format!(
            "the file does not tell {}: the likelihood rises to the end of the range searched",
            bounds.join(", ")
        ));
    }
    let settled = [
        ("r, alpha, a, b", model.purchases.converged),
        (
            "gg_p, gg_q, gg_v",
            spend.is_none_or(|spend| spend.converged),
        ),
    ];
    for (names, _) in settled.iter().filter(|(_, settled)| !settled) {
        doubts.push(format!(
            "the search for {names} ended before a maximum: others may be likelier"
        ));
    }
    match spend {
        None => doubts.push(
            "too few customers spent something again: there is no model of spend".to_owned(),
        ),
        Some(spend) if spend.model.expected_spend(0, 0.0).is_none() => doubts.push(
            "gg_q is not above 1: the mean spend of a customer without repeat purchases is infinite"
                .to_owned(),
        ),
        Some(_) => {}
    }
    doubts
}
