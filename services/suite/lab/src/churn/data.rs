//! The files of `lab churn`: cells of any columns, and who left.

use std::collections::HashSet;
use std::path::Path;

use rapport_learn::Table as Cells;
use rapport_math::stable_hash64;

use crate::args::ChurnArgs;
use crate::error::LabError;
use crate::overlap::overlap_warning;
use crate::reader::Table;
use crate::values;

/// One file, read.
#[derive(Debug, Clone)]
pub(crate) struct Labelled {
    pub(crate) cells: Cells,
    /// Did this person leave?
    pub(crate) labels: Vec<bool>,
}

/// What is to be measured.
#[derive(Debug)]
pub(crate) struct Data {
    /// The training file, or the only one.
    pub(crate) train: Labelled,
    /// The test file; `None` with `--data`.
    pub(crate) test: Option<Labelled>,
    pub(crate) warnings: Vec<String>,
}

impl Data {
    pub(crate) fn read(args: &ChurnArgs) -> Result<Self, LabError> {
        let mut data = match (&args.train, &args.test, &args.data) {
            (Some(train), Some(test), None) => Self {
                train: read(train, args, Ignored::MustStand)?,
                test: Some(read(test, args, Ignored::MayLack)?),
                warnings: Vec::new(),
            },
            (_, _, Some(file)) => Self {
                train: read(file, args, Ignored::MustStand)?,
                test: None,
                warnings: Vec::new(),
            },
            _ => {
                return Err(LabError::input(
                    "--train and --test, or --data and --cv, are needed",
                ));
            }
        };
        if let (Some(test), Some(path)) = (&mut data.test, &args.test) {
            let warnings = agree(&data.train, test, path)?;
            data.warnings.extend(warnings);
            let overlap = overlap(&data.train, test, args.common.drop_overlap)?;
            data.warnings.extend(overlap);
            if let Some(limit) = args.common.limit {
                *test = test.first(limit.get());
            }
        }
        Ok(data)
    }
}

impl Labelled {
    /// Returns the rows of the given places, in that order.
    pub(crate) fn select(&self, rows: &[u32]) -> Self {
        Self {
            cells: self.cells.select(rows),
            labels: rows.iter().map(|row| self.labels[*row as usize]).collect(),
        }
    }

    /// Returns the first rows, all if there are no more.
    pub(crate) fn first(&self, limit: usize) -> Self {
        let rows = limit.min(self.labels.len()) as u32;
        self.select(&(0..rows).collect::<Vec<_>>())
    }

    /// Returns what tells a row from others: a hash of its cells, so that wide files fit into memory.
    fn key(&self, row: usize, columns: &[usize]) -> u64 {
        let cells = columns
            .iter()
            .map(|column| self.cells.cell(row, *column).as_bytes());
        stable_hash64(&cells.collect::<Vec<_>>())
    }
}

/// What becomes of a name of `--ignore` that a file does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ignored {
    /// In the file to learn from it is a mistake.
    MustStand,
    /// A test file need not have what nobody looks at.
    MayLack,
}

fn read(path: &Path, args: &ChurnArgs, absent: Ignored) -> Result<Labelled, LabError> {
    let mut table = Table::open(path)?;
    names_differ(&table)?;
    let label = table.named(&args.label)?;
    let mut ignored = vec![label];
    for name in &args.ignore {
        match (table.named(name), absent) {
            (Ok(column), _) => ignored.push(column),
            (Err(why), Ignored::MustStand) => return Err(why),
            (Err(_), Ignored::MayLack) => {}
        }
    }
    let columns: Vec<usize> = (0..table.columns())
        .filter(|column| !ignored.contains(column))
        .collect();
    let names: Vec<&str> = columns.iter().map(|column| table.name(*column)).collect();
    let refuse =
        |error: &dyn std::fmt::Display| LabError::input(format!("{}: {error}", path.display()));
    let mut cells = Cells::new(&names).map_err(|error| refuse(&error))?;
    let mut labels = Vec::new();
    let mut row: Vec<String> = vec![String::new(); columns.len()];
    while table.advance()? {
        let truth = table.required(label)?;
        let left = values::truth(truth).or_else(|| values::number(truth).and_then(zero_or_one));
        let why = || {
            table.bad(
                label,
                &format!("{truth:?} is no truth value: write 1 or 0, yes or no"),
            )
        };
        labels.push(left.ok_or_else(why)?);
        for (cell, column) in row.iter_mut().zip(&columns) {
            cell.clear();
            cell.push_str(table.text(*column)?);
        }
        cells.push(&row).map_err(|error| refuse(&error))?;
    }
    if labels.is_empty() {
        return Err(table.bad_file("there is no row below the header"));
    }
    Ok(Labelled { cells, labels })
}

/// A name that stands twice is refused: which of both is the label, or left out, nobody could tell, and
/// a second label among the features would answer for the model.
fn names_differ(table: &Table) -> Result<(), LabError> {
    let mut seen = HashSet::new();
    for column in 0..table.columns() {
        if !seen.insert(table.name(column)) {
            return Err(table.bad_header(column, "another column has this name"));
        }
    }
    Ok(())
}

/// `1.0` and `0.0` are truth values as well.
fn zero_or_one(value: f64) -> Option<bool> {
    [(0.0, false), (1.0, true)]
        .into_iter()
        .find(|(number, _)| *number == value)
        .map(|(_, truth)| truth)
}

/// Columns that only one file has say so; a test file without any column of training is refused.
fn agree(train: &Labelled, test: &Labelled, path: &Path) -> Result<Vec<String>, LabError> {
    let lacks = |names: &[String], name: &&String| !names.contains(name);
    let (ours, theirs) = (train.cells.names(), test.cells.names());
    let absent: Vec<&str> = ours
        .iter()
        .filter(|name| lacks(theirs, name))
        .map(String::as_str)
        .collect();
    if !absent.is_empty() && absent.len() == ours.len() {
        return Err(LabError::input(format!(
            "{}: it has no column of the training file",
            path.display()
        )));
    }
    let mut warnings = Vec::new();
    if !absent.is_empty() {
        let names = absent.join(", ");
        warnings.push(format!("the test file lacks {names}: missing in every row"));
    }
    let more = theirs.iter().filter(|name| lacks(ours, name)).count();
    if more > 0 {
        warnings.push(format!(
            "{more} columns of the test file are unknown to training: left out"
        ));
    }
    Ok(warnings)
}

/// Counts test rows that stand in training cell by cell, and leaves them out if asked to.
fn overlap(train: &Labelled, test: &mut Labelled, drop: bool) -> Result<Option<String>, LabError> {
    let place = |labelled: &Labelled, name: &String| {
        labelled
            .cells
            .names()
            .iter()
            .position(|other| other == name)
    };
    let shared: Vec<&String> = train
        .cells
        .names()
        .iter()
        .filter(|name| place(test, name).is_some())
        .collect();
    let columns = |labelled: &Labelled| -> Vec<usize> {
        shared
            .iter()
            .filter_map(|name| place(labelled, name))
            .collect()
    };
    let (ours, theirs) = (columns(train), columns(test));
    if ours.is_empty() {
        return Ok(None);
    }
    let known: HashSet<u64> = (0..train.labels.len())
        .map(|row| train.key(row, &ours))
        .collect();
    let fresh: Vec<u32> = (0..test.labels.len() as u32)
        .filter(|row| !known.contains(&test.key(*row as usize, &theirs)))
        .collect();
    let read = test.labels.len();
    let found = read - fresh.len();
    if found == 0 {
        return Ok(None);
    }
    if drop {
        if fresh.is_empty() {
            return Err(LabError::input("--drop-overlap leaves no test row"));
        }
        *test = test.select(&fresh);
    }
    Ok(Some(overlap_warning(found, read, "test rows", drop)))
}
