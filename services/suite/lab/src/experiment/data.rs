//! The file of `lab experiment`: units with an arm, a metric and perhaps a covariate.

use std::collections::{BTreeMap, HashMap};

use evaluate_domain::experiment::{Arm, MetricKind};

use crate::args::ExperimentArgs;
use crate::error::LabError;
use crate::reader::Table;

/// Most arms of one file: more, and the column is not that of the arm.
const ARMS_MAX: usize = 64;

/// One unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Unit {
    /// Index of its arm.
    pub(crate) arm: usize,
    pub(crate) metric: f64,
    /// 0 without a covariate.
    pub(crate) covariate: f64,
}

/// The file, read, with the roles of its arms.
#[derive(Debug)]
pub(crate) struct Data {
    /// In the order of the file.
    pub(crate) units: Vec<Unit>,
    /// By name, with the moments of their units.
    pub(crate) arms: Vec<Arm>,
    pub(crate) control: usize,
    /// The treated arm whose row is the chosen one.
    pub(crate) treated: usize,
    /// Promised shares by arm; `None`: equal.
    pub(crate) shares: Option<Vec<f64>>,
    pub(crate) kind: MetricKind,
    pub(crate) rows: usize,
    /// Units with rows in more than one arm; they count in that of their first row.
    pub(crate) crossovers: usize,
}

/// A unit while its rows come in.
struct Open {
    arm: usize,
    metric: f64,
    covariate_sum: f64,
    rows: f64,
    crossed: bool,
}

impl Data {
    pub(crate) fn read(args: &ExperimentArgs) -> Result<Self, LabError> {
        let (names, open, rows) = read_units(args)?;
        // Arms in order of name, whatever the order of rows.
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by(|a, b| names[*a].cmp(&names[*b]));
        let mut place = vec![0; names.len()];
        order
            .iter()
            .enumerate()
            .for_each(|(new, old)| place[*old] = new);
        let crossovers = open.iter().filter(|unit| unit.crossed).count();
        let units: Vec<Unit> = open
            .iter()
            .map(|unit| Unit {
                arm: place[unit.arm],
                metric: unit.metric,
                covariate: unit.covariate_sum / unit.rows,
            })
            .collect();
        let mut arms: Vec<Arm> = order
            .iter()
            .map(|old| Arm {
                variant: names[*old].clone(),
                units: Default::default(),
            })
            .collect();
        for unit in &units {
            arms[unit.arm].units.push(unit.metric, unit.covariate);
        }
        let (control, treated) = roles(args, &arms)?;
        let shares = shares(args, &arms)?;
        let kind = kind_of(&units);
        Ok(Self {
            units,
            arms,
            control,
            treated,
            shares,
            kind,
            rows,
            crossovers,
        })
    }
}

fn read_units(args: &ExperimentArgs) -> Result<(Vec<String>, Vec<Open>, usize), LabError> {
    let mut table = Table::open(&args.data)?;
    let variant_column = table.named(&args.variant)?;
    let metric_column = table.named(&args.metric)?;
    let unit_column = args
        .unit
        .as_deref()
        .map(|name| table.named(name))
        .transpose()?;
    let covariate_column = args
        .covariate
        .as_deref()
        .map(|name| table.named(name))
        .transpose()?;
    let limit = args
        .common
        .limit
        .map_or(usize::MAX, std::num::NonZeroUsize::get);
    let mut arms: BTreeMap<String, usize> = BTreeMap::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut open: Vec<Open> = Vec::new();
    while table.rows() < limit && table.advance()? {
        let variant = table.required(variant_column)?;
        let count = arms.len();
        let arm = match arms.get(variant) {
            Some(arm) => *arm,
            None if count >= ARMS_MAX => {
                return Err(table.bad(
                    variant_column,
                    &format!("an experiment has at most {ARMS_MAX} arms"),
                ));
            }
            None => *arms.entry(variant.to_owned()).or_insert(count),
        };
        let metric = table.number(metric_column)?;
        let covariate = covariate_column.map_or(Ok(0.0), |column| table.number(column))?;
        let at = match unit_column {
            None => open.len(),
            Some(column) => {
                let unit = table.required(column)?;
                let next = open.len();
                match known.get(unit) {
                    Some(at) => *at,
                    None => *known.entry(unit.to_owned()).or_insert(next),
                }
            }
        };
        match open.get_mut(at) {
            None => open.push(Open {
                arm,
                metric,
                covariate_sum: covariate,
                rows: 1.0,
                crossed: false,
            }),
            Some(unit) => {
                unit.metric += metric;
                unit.covariate_sum += covariate;
                unit.rows += 1.0;
                unit.crossed |= unit.arm != arm;
            }
        }
    }
    if arms.len() < 2 {
        let name = arms.keys().next().map_or("none", String::as_str);
        return Err(table.bad_file(&format!(
            "column {} must hold two arms at least, it holds {name}",
            args.variant
        )));
    }
    let mut names = vec![String::new(); arms.len()];
    arms.into_iter().for_each(|(name, at)| names[at] = name);
    Ok((names, open, table.rows()))
}

/// Returns control and chosen treated arm.
fn roles(args: &ExperimentArgs, arms: &[Arm]) -> Result<(usize, usize), LabError> {
    let find = |flag: &str, name: &str| {
        arms.iter()
            .position(|arm| arm.variant == name)
            .ok_or_else(|| {
                LabError::input(format!(
                    "{flag} {name}: there is no such arm; there are {}",
                    listed(arms)
                ))
            })
    };
    let wanted = args
        .treated
        .as_deref()
        .map(|name| find("--treated", name))
        .transpose()?;
    let control = match &args.control {
        Some(name) => find("--control", name)?,
        None if arms.len() > 2 => {
            return Err(LabError::input(format!(
                "--control is required above two arms; there are {}",
                listed(arms)
            )));
        }
        None => match wanted {
            Some(treated) => 1 - treated,
            None => arms
                .iter()
                .position(|arm| arm.variant.eq_ignore_ascii_case("control"))
                .unwrap_or(0),
        },
    };
    if wanted == Some(control) {
        return Err(LabError::input(format!(
            "--treated {} is the control",
            arms[control].variant
        )));
    }
    let size = |arm: &usize| arms[*arm].units.x().count();
    // The largest, the first by name among equals.
    let largest = (0..arms.len())
        .rev()
        .filter(|arm| *arm != control)
        .max_by_key(size);
    Ok((control, wanted.or(largest).unwrap_or(control)))
}

fn shares(args: &ExperimentArgs, arms: &[Arm]) -> Result<Option<Vec<f64>>, LabError> {
    if args.allocation.is_empty() {
        return Ok(None);
    }
    let mut shares = vec![0.0; arms.len()];
    for part in &args.allocation {
        let bad = |why: &str| LabError::input(format!("--allocation {part}: {why}"));
        let (name, weight) = part.rsplit_once('=').ok_or_else(|| bad("must read V=W"))?;
        let arm = arms.iter().position(|arm| arm.variant == name);
        let arm =
            arm.ok_or_else(|| bad(&format!("there is no such arm; there are {}", listed(arms))))?;
        let weight = weight
            .parse::<f64>()
            .ok()
            .filter(|weight| weight.is_finite() && *weight > 0.0);
        shares[arm] = weight.ok_or_else(|| bad("the weight must be above 0"))?;
    }
    match shares.iter().position(|share| *share == 0.0) {
        Some(arm) => Err(LabError::input(format!(
            "--allocation: arm {} has no weight",
            arms[arm].variant
        ))),
        None => Ok(Some(shares)),
    }
}

fn listed(arms: &[Arm]) -> String {
    arms.iter()
        .map(|arm| arm.variant.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Two different numbers make a metric two-valued.
fn kind_of(units: &[Unit]) -> MetricKind {
    let Some(first) = units.first() else {
        return MetricKind::Numeric;
    };
    let (mut low, mut high) = (first.metric, first.metric);
    for unit in units {
        if low == high {
            (low, high) = (low.min(unit.metric), high.max(unit.metric));
        } else if unit.metric != low && unit.metric != high {
            return MetricKind::Numeric;
        }
    }
    if low < high {
        MetricKind::TwoValued { low, high }
    } else {
        MetricKind::Numeric
    }
}
