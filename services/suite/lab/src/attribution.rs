//! `lab attribution`: which channels deserve the credit. The models are evaluate's own.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use evaluate_domain::attribution::{
    Attribution, JourneyError, Journeys, Model, attribute, synergy,
};
use serde_json::Value;

use crate::args::AttributionArgs;
use crate::conduct::{Answer, Job, Plan, Rule, begin_row, finish_row};
use crate::cost::timed;
use crate::error::LabError;
use crate::reader::Table;
use crate::row::Row;

/// Every model, simplest first.
pub(crate) const ALGORITHMS: [&str; 7] = [
    "first",
    "last",
    "linear",
    "position",
    "time-decay",
    "markov",
    "shapley",
];

/// What stands between two steps.
const ARROW: &str = " > ";
/// Whole numbers up to here are exact as floating-point numbers.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;

/// Checks the flags.
pub(crate) fn plan(args: &AttributionArgs) -> Result<Plan, LabError> {
    let named = !args.common.algorithm.is_empty();
    let algorithms = args.common.algorithms_or_default(&ALGORITHMS, "markov")?;
    if args.common.save.is_some() {
        return Err(LabError::input(
            "--save: attribution has no model that a service loads",
        ));
    }
    let markov = algorithms.iter().position(|name| *name == "markov");
    let all = args.common.algorithm.iter().any(|name| name == "all");
    let chosen = if named && !all {
        0
    } else {
        markov.unwrap_or(0)
    };
    Ok(Plan {
        algorithms,
        rule: Rule::Known(chosen),
    })
}

/// Measures one model.
pub(crate) fn measure(args: &AttributionArgs, job: &Job) -> Result<Answer, LabError> {
    let model = model_of(&job.algorithm, args.order as usize)
        .ok_or_else(|| LabError::failed(format!("there is no model {}", job.algorithm)))?;
    let (paths, read_seconds) = timed(|| Paths::read(args));
    let paths = paths?;
    // From text to credit, as a rival is timed: splitting and counting paths belong to the fit.
    let (fitted, fit_seconds) = timed(|| fit(&paths, model));
    let (journeys, found) = fitted?;
    let (pairs, score_seconds) = timed(|| synergy(&journeys));
    let mut row = begin_row("attribution", job, &args.common, (paths.rows.len(), 0));
    finish_row(&mut row, read_seconds + fit_seconds, score_seconds);
    put(&mut row, &found, pairs);
    row.number("fit_ms", Some(fit_seconds * 1e3));
    row.put("order", args.order);
    row.number("conversions", Some(journeys.conversions()));
    row.number("value", Some(journeys.value()));
    Ok(Answer {
        rows: vec![row],
        validation: None,
        warnings: Vec::new(),
    })
}

fn model_of(name: &str, order: usize) -> Option<Model> {
    Model::parse(name).map(|model| match model {
        Model::Markov { .. } => Model::Markov { order },
        Model::First
        | Model::Last
        | Model::Linear
        | Model::Position
        | Model::TimeDecay
        | Model::Shapley => model,
    })
}

fn fit(paths: &Paths, model: Model) -> Result<(Journeys, Attribution), LabError> {
    let mut journeys = Journeys::default();
    for (at, row) in paths.rows.iter().enumerate() {
        let steps = row.path.split(ARROW).map(str::trim);
        let added = journeys.add(steps, row.conversions, row.value, row.nulls);
        added.map_err(|error| paths.refused(at, &error))?;
    }
    let found = attribute(&journeys, model)
        .map_err(|error| LabError::input(format!("{}: {error}", paths.file)))?;
    Ok((journeys, found))
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq)]
struct PathRow {
    path: String,
    conversions: u64,
    value: f64,
    nulls: u64,
}

/// The file, read and not yet counted.
#[derive(Debug)]
struct Paths {
    file: String,
    rows: Vec<PathRow>,
    /// Line of each row, for what is found wrong only while counting.
    lines: Vec<u64>,
    path_column: usize,
}

impl Paths {
    fn read(args: &AttributionArgs) -> Result<Self, LabError> {
        let mut table = Table::open(&args.paths)?;
        let columns = table.fixed(&["path", "conversions"], &["value", "null"])?;
        let at = |column: usize| columns.get(column).copied().flatten();
        let (path_column, conversions_column) = (at(0).unwrap_or(0), at(1).unwrap_or(1));
        let limit = args
            .common
            .limit
            .map_or(usize::MAX, std::num::NonZeroUsize::get);
        let (mut rows, mut lines) = (Vec::new(), Vec::new());
        while table.rows() < limit && table.advance()? {
            rows.push(PathRow {
                path: table.required(path_column)?.to_owned(),
                conversions: count(&table, conversions_column)?,
                value: at(2).map_or(Ok(0.0), |column| table.number(column))?,
                nulls: at(3).map_or(Ok(0), |column| count(&table, column))?,
            });
            lines.push(table.line());
        }
        if rows.is_empty() {
            return Err(table.bad_file("there is no path"));
        }
        Ok(Self {
            file: args.paths.display().to_string(),
            rows,
            lines,
            path_column,
        })
    }

    fn refused(&self, row: usize, error: &JourneyError) -> LabError {
        LabError::input(format!(
            "{}, line {}, column {}: {error}",
            self.file,
            self.lines[row],
            self.path_column + 1
        ))
    }
}

/// Returns a whole number, 0 or above, however it is written.
fn count(table: &Table, column: usize) -> Result<u64, LabError> {
    let number = table.number(column)?;
    if !(0.0..=COUNT_MAX).contains(&number) || number.fract() != 0.0 {
        return Err(table.bad(column, "must be a whole number, 0 or above"));
    }
    Ok(number as u64)
}

fn put(row: &mut Row, found: &Attribution, pairs: BTreeMap<String, Option<f64>>) {
    row.put("credit", by_channel(&found.credit));
    row.put("value_credit", by_channel(&found.value_credit));
    let effects = found.removal_effects.as_ref();
    row.put("removal_effects", effects.map_or(Value::Null, by_channel));
    let pairs = pairs
        .into_iter()
        .map(|(pair, value)| (pair, Value::from(value)));
    row.put("synergy", Value::Object(pairs.collect()));
}

fn by_channel(values: &BTreeMap<String, f64>) -> Value {
    let entries = values
        .iter()
        .map(|(channel, value)| (channel.clone(), Value::from(*value)));
    Value::Object(entries.collect())
}
