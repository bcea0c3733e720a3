//! The file of `lab queue --calls`, and what it leaves open: how long the patience of the answered would
//! have lasted, how long those who hung up would have kept an agent.

use std::collections::BTreeMap;
use std::path::Path;

use care_domain::queueing::{CALLS_MAX, CLASSES_MAX, Call, CallClass, Patience, Traffic, Wait};
use rapport_math::Rng;

use crate::args::QueueArgs;
use crate::error::LabError;
use crate::reader::Table;

/// A type with fewer people who hung up takes its patience from all calls.
const HANG_UPS_MIN: usize = 50;
/// Stream of the seed that draws what the file leaves open.
const STREAM: u64 = 0x6361_6c6c;
const SECONDS_PER_DAY: f64 = 86_400.0;
/// Most days between two calls: eight years. A sum is kept of every day between, and a mistyped date
/// would ask for millions.
const DAYS_MAX: f64 = 3_000.0;

const NEEDED: [&str; 7] = [
    "arrival",
    "service_seconds",
    "priority",
    "type",
    "wait_seconds",
    "outcome",
    "patience_seconds",
];

/// A class of calls: a type at a priority.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClassName {
    pub(super) kind: String,
    pub(super) priority: i64,
}

/// The calls, ready to be played.
#[derive(Debug)]
pub(super) struct Calls {
    /// In order of arrival, time from the first midnight (or from 0 where arrivals are numbers).
    pub(super) played: Vec<Call>,
    pub(super) names: Vec<ClassName>,
    pub(super) classes: Vec<CallClass>,
    /// Days from the first one, of each call.
    pub(super) days: Vec<u32>,
    /// Waiting per person who hung up, over the whole file; `None` if nobody did.
    pub(super) patience_mean: Option<f64>,
}

/// One line of the file.
struct Line {
    arrival: f64,
    service: Option<f64>,
    class: ClassName,
    wait: Wait,
}

impl Calls {
    pub(super) fn read(args: &QueueArgs, file: &Path) -> Result<Self, LabError> {
        let mut table = Table::open(file)?;
        let mut lines = read_lines(&mut table, args, CALLS_MAX)?;
        if lines.is_empty() {
            return Err(table.bad_file("there is no call"));
        }
        // Stable: calls of one second stay in the order of the file.
        lines.sort_by(|a, b| a.arrival.total_cmp(&b.arrival));
        let draws = Draws::new(&lines).ok_or_else(|| {
            table.bad_file("no call was answered: how long service takes is unknown")
        })?;
        let mut names: Vec<ClassName> = lines.iter().map(|line| line.class.clone()).collect();
        names.sort();
        names.dedup();
        if names.len() > CLASSES_MAX {
            return Err(table.bad_file(&format!(
                "type and priority make more than {CLASSES_MAX} classes"
            )));
        }
        let start = midnight_before(lines[0].arrival);
        let rng = Rng::seeded(args.common.seed).fork(STREAM);
        let played = lines.iter().enumerate().map(|(number, line)| {
            let mut rng = rng.fork(number as u64);
            Call {
                arrival_seconds: line.arrival - start,
                service_seconds: line
                    .service
                    .unwrap_or_else(|| draws.service(&line.class.kind, &mut rng)),
                patience_seconds: if line.wait.gave_up {
                    line.wait.seconds
                } else {
                    draws.patience(&line.class.kind, line.wait.seconds, &mut rng)
                },
                class: names.binary_search(&line.class).unwrap_or_default(),
            }
        });
        let played: Vec<Call> = played.collect();
        let day = |call: &Call| (call.arrival_seconds / SECONDS_PER_DAY) as u32;
        Ok(Self {
            days: played.iter().map(day).collect(),
            classes: classes(&names, &draws),
            names,
            played,
            patience_mean: draws.all.mean_seconds(),
        })
    }

    /// Mean arrivals and service of the file, as if they were the same at every hour.
    pub(super) fn traffic(&self) -> Traffic {
        let last = self.played.last().map_or(0.0, |call| call.arrival_seconds);
        let first = self.played.first().map_or(0.0, |call| call.arrival_seconds);
        let n = self.played.len() as f64;
        let work: f64 = self.played.iter().map(|call| call.service_seconds).sum();
        Traffic {
            arrivals_per_second: n / (last - first).max(1.0),
            handling_seconds: work / n,
        }
    }
}

fn midnight_before(arrival: f64) -> f64 {
    (arrival / SECONDS_PER_DAY).floor() * SECONDS_PER_DAY
}

/// Refuses a file of more than `calls_max` calls, unless `--limit` asks for fewer.
fn read_lines(
    table: &mut Table,
    args: &QueueArgs,
    calls_max: usize,
) -> Result<Vec<Line>, LabError> {
    let columns = table.fixed(&NEEDED, &[])?;
    let at = |which: usize| columns[which].unwrap_or(which);
    let limit = args.common.limit.map_or(usize::MAX, usize::from);
    let mut lines = Vec::new();
    let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
    while table.rows() < limit && table.advance()? {
        if lines.len() == calls_max {
            return Err(table.bad(at(0), &format!("more than {calls_max} calls")));
        }
        let arrival = arrival(table, at(0))?;
        (first, last) = (first.min(arrival), last.max(arrival));
        if last - first > DAYS_MAX * SECONDS_PER_DAY {
            let why = format!("is more than {DAYS_MAX} days from another call");
            return Err(table.bad(at(0), &why));
        }
        let outcome = table.required(at(5))?;
        let gave_up = match outcome.to_ascii_lowercase().as_str() {
            "agent" => false,
            "hang" => true,
            _ => return Err(table.bad(at(5), &format!("{outcome:?} is neither agent nor hang"))),
        };
        let waited = seconds(table, at(4))?;
        let known = !table.text(at(6))?.is_empty() && gave_up;
        let class = ClassName {
            kind: table.required(at(3))?.to_owned(),
            priority: priority(table, at(2))?,
        };
        lines.push(Line {
            arrival,
            service: match table.text(at(1))? {
                "" if gave_up => None,
                _ => Some(seconds(table, at(1))?),
            },
            class,
            wait: Wait {
                seconds: if known {
                    seconds(table, at(6))?
                } else {
                    waited
                },
                gave_up,
            },
        });
    }
    Ok(lines)
}

/// Seconds of a number, or of a date.
fn arrival(table: &Table, column: usize) -> Result<f64, LabError> {
    let moment = table.moment(column)?;
    let is_number = table.text(column)?.parse::<f64>().is_ok();
    Ok(if is_number { moment } else { moment / 1e3 })
}

fn seconds(table: &Table, column: usize) -> Result<f64, LabError> {
    let seconds = table.number(column)?;
    if seconds < 0.0 {
        return Err(table.bad(column, "is below 0"));
    }
    Ok(seconds)
}

fn priority(table: &Table, column: usize) -> Result<i64, LabError> {
    let number = table.number(column)?;
    if number.fract() != 0.0 || number.abs() > 1e9 {
        return Err(table.bad(column, "must be a whole number up to a thousand million"));
    }
    Ok(number as i64)
}

/// A wait costs `1 + priority above the lowest`, times its square.
fn classes(names: &[ClassName], draws: &Draws) -> Vec<CallClass> {
    let lowest = names.iter().map(|name| name.priority).min().unwrap_or(0);
    let class = |name: &ClassName| {
        let served = draws.served(&name.kind);
        let mean = served.iter().sum::<f64>() / served.len() as f64;
        CallClass {
            priority: name.priority,
            cost: (name.priority - lowest) as f64 + 1.0,
            // Where every service took no time at all, a second stands in for it.
            mean_service_seconds: if mean > 0.0 { mean } else { 1.0 },
        }
    };
    names.iter().map(class).collect()
}

/// What the file says about services and patience.
struct Draws {
    services: BTreeMap<String, Vec<f64>>,
    every_service: Vec<f64>,
    patience: BTreeMap<String, Patience>,
    all: Patience,
}

impl Draws {
    /// `None` if no call was answered.
    fn new(lines: &[Line]) -> Option<Self> {
        let mut services: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut waits: BTreeMap<String, Vec<Wait>> = BTreeMap::new();
        let mut every_service = Vec::new();
        for line in lines {
            let kind = &line.class.kind;
            waits.entry(kind.clone()).or_default().push(line.wait);
            if let (Some(service), false) = (line.service, line.wait.gave_up) {
                services.entry(kind.clone()).or_default().push(service);
                every_service.push(service);
            }
        }
        let all: Vec<Wait> = lines.iter().map(|line| line.wait).collect();
        let known =
            |waits: &[Wait]| waits.iter().filter(|wait| wait.gave_up).count() >= HANG_UPS_MIN;
        let patience = waits.into_iter().filter(|(_, waits)| known(waits));
        let patience =
            patience.filter_map(|(kind, waits)| Some((kind, Patience::estimate(&waits)?)));
        (!every_service.is_empty()).then_some(Self {
            services,
            patience: patience.collect(),
            all: Patience::estimate(&all)?,
            every_service,
        })
    }

    /// Services of a type, or of all where nobody of the type was served.
    fn served(&self, kind: &str) -> &[f64] {
        self.services.get(kind).unwrap_or(&self.every_service)
    }

    fn service(&self, kind: &str, rng: &mut Rng) -> f64 {
        let served = self.served(kind);
        served[rng.below(served.len() as u64) as usize]
    }

    fn patience(&self, kind: &str, waited: f64, rng: &mut Rng) -> f64 {
        let curve = self.patience.get(kind).unwrap_or(&self.all);
        curve.draw_beyond(waited, rng)
    }
}

/// Reads a file of calls as if so many were the most.
#[cfg(test)]
pub(super) fn count_at_most(
    args: &QueueArgs,
    file: &Path,
    calls_max: usize,
) -> Result<usize, LabError> {
    let lines = read_lines(&mut Table::open(file)?, args, calls_max)?;
    Ok(lines.len())
}
