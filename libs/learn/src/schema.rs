//! What the columns mean: found from the training rows without their labels, kept with the model.
//!
//! An encoded cell is one number. A number is itself, a date its days since 1970; missing is NaN. A category is its place: 0 for
//! missing, then the named levels by name, then one level for all others, the unseen among them.

use std::collections::HashMap;
use std::fmt;

use rayon::prelude::*;

use crate::date::date_ms;
use crate::options::LEVELS_MAX;
use crate::table::{Table, kept};

/// A column is one of numbers, or of dates, if so large a share of what it says is; the rest is missing.
const NUMBER_SHARE: f64 = 0.95;
const MS_PER_DAY: f64 = 86_400_000.0;
/// A level of its own needs so many training rows, fewer in small tables.
const LEVEL_ROWS: usize = 5;
/// From so many rows on, texts that never repeat are an identifier.
const IDENTIFIER_ROWS: usize = 20;
/// Rising whole numbers are a row number where they rise by no more than this at a time, on average.
const ROW_NUMBER_STEP: f64 = 10.0;
/// Cells that say that there is nothing to say, in any case.
const MISSING: [&str; 9] = [
    "",
    "na",
    "n/a",
    "nan",
    "null",
    "none",
    "?",
    "-",
    "undefined",
];

/// The meaning of every column that a model looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    pub(crate) columns: Vec<Column>,
    pub(crate) dropped: Vec<Dropped>,
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Numbers; nothing is kept of them here.
    Number,
    /// Dates, of which nothing is kept either.
    Date,
    /// Named levels, sorted, at most [`LEVELS_MAX`].
    Category(Vec<String>),
}

impl Kind {
    /// Returns how many encoded values a category has: missing, levels, others. 0 for numbers and dates.
    pub(crate) fn codes(&self) -> usize {
        match self {
            Self::Number | Self::Date => 0,
            Self::Category(levels) => levels.len() + 2,
        }
    }

    /// Tells whether encoded values have an order, and may be NaN.
    pub(crate) fn is_ordered(&self) -> bool {
        self.codes() == 0
    }

    /// Encodes a cell; see the module comment.
    fn encode(&self, cell: &str) -> f64 {
        match self {
            Self::Number => number(cell).unwrap_or(f64::NAN),
            Self::Date => date_ms(cell).map_or(f64::NAN, |ms| ms as f64 / MS_PER_DAY),
            Self::Category(_) if is_missing(cell) => 0.0,
            Self::Category(levels) => {
                let place = levels.binary_search_by(|level| level.as_str().cmp(cell));
                place.unwrap_or(levels.len()) as f64 + 1.0
            }
        }
    }
}

/// Why a column takes no part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dropped {
    /// It says the same in every training row.
    Constant(String),
    /// Its texts never, or hardly ever, repeat: it names rows.
    Identifier(String),
    /// It counts the rows: order of the file, which the next file does not share.
    RowNumber(String),
}

impl Dropped {
    /// Returns the name of the column.
    #[must_use]
    pub fn column(&self) -> &str {
        match self {
            Self::Constant(name) | Self::Identifier(name) | Self::RowNumber(name) => name,
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(name) => write!(f, "column {name} says the same in every row"),
            Self::Identifier(name) => {
                write!(f, "column {name} names rows: its texts do not repeat")
            }
            Self::RowNumber(name) => write!(f, "column {name} counts the rows"),
        }
    }
}

/// Encoded rows, by column.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub(crate) columns: Vec<Vec<f64>>,
    pub(crate) rows: usize,
}

impl Frame {
    /// Returns the number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns one row, shape `[columns]`, in the order of the schema.
    ///
    /// # Panics
    ///
    /// Where there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> Vec<f64> {
        self.columns.iter().map(|column| column[row]).collect()
    }
}

impl Schema {
    /// Finds out what the columns of training rows mean.
    ///
    /// * Numbers, where at least 95 of 100 cells that say something are; dates likewise (`YYYY-MM-DD` or
    ///   RFC 3339); else categories, each level with at least [`LEVEL_ROWS`] rows by itself, the most
    ///   frequent [`LEVELS_MAX`] at most.
    /// * Columns that say the same everywhere, name the rows or count them are dropped.
    /// * Cost: one pass over the cells; memory for the distinct texts of a column at a time and thread.
    #[must_use]
    pub fn learn(table: &Table) -> Self {
        let found: Vec<Result<Column, Dropped>> = (0..table.names().len())
            .into_par_iter()
            .map(|column| meaning(table, column))
            .collect();
        let mut schema = Self {
            columns: Vec::new(),
            dropped: Vec::new(),
        };
        for column in found {
            match column {
                Ok(column) => schema.columns.push(column),
                Err(dropped) => schema.dropped.push(dropped),
            }
        }
        schema
    }

    /// Returns the names of the columns that the model looks at, in its order.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.columns
            .iter()
            .map(|column| column.name.as_str())
            .collect()
    }

    /// Returns the columns that take no part.
    #[must_use]
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }

    /// Encodes every row. A column that the table lacks is missing in every row.
    #[must_use]
    pub fn encode(&self, table: &Table) -> Frame {
        let columns = self.columns.par_iter().map(|column| {
            let place = table.names().iter().position(|name| *name == column.name);
            (0..table.rows())
                .map(|row| {
                    column
                        .kind
                        .encode(place.map_or("", |place| table.cell(row, place)))
                })
                .collect()
        });
        Frame {
            columns: columns.collect(),
            rows: table.rows(),
        }
    }

    /// Encodes one row given as cells in the order of [`Schema::names`]; absent ones are missing.
    #[must_use]
    pub fn encode_row(&self, cells: &[&str]) -> Vec<f64> {
        let cell = |at: usize| kept(cells.get(at).copied().unwrap_or_default());
        let columns = self.columns.iter().enumerate();
        columns
            .map(|(at, column)| column.kind.encode(cell(at)))
            .collect()
    }
}

fn is_missing(cell: &str) -> bool {
    MISSING.iter().any(|word| cell.eq_ignore_ascii_case(word))
}

fn number(cell: &str) -> Option<f64> {
    cell.parse::<f64>().ok().filter(|value| value.is_finite())
}

fn meaning(table: &Table, at: usize) -> Result<Column, Dropped> {
    let name = table.names()[at].clone();
    let cells = || (0..table.rows()).map(|row| table.cell(row, at));
    let (mut said, mut numbers, mut dates) = (0usize, 0usize, 0usize);
    for cell in cells().filter(|cell| !is_missing(cell)) {
        said += 1;
        numbers += usize::from(number(cell).is_some());
        dates += usize::from(date_ms(cell).is_some());
    }
    let most = |count: usize| count > 0 && count as f64 >= NUMBER_SHARE * said as f64;
    let kind = if most(numbers) {
        if counts_rows(cells().map(number)) {
            return Err(Dropped::RowNumber(name));
        }
        Kind::Number
    } else if most(dates) {
        Kind::Date
    } else {
        match levels(cells().filter(|cell| !is_missing(cell)), table.rows()) {
            Some(levels) => Kind::Category(levels),
            None => return Err(Dropped::Identifier(name)),
        }
    };
    let mut codes = cells().map(|cell| kind.encode(cell).to_bits());
    let first = codes.next();
    if codes.all(|code| Some(code) == first) {
        return Err(Dropped::Constant(name));
    }
    Ok(Column { name, kind })
}

/// Returns the levels with a place of their own, by name; `None` if the texts name rows.
fn levels<'a>(cells: impl Iterator<Item = &'a str>, rows: usize) -> Option<Vec<String>> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut said = 0;
    for cell in cells {
        *counts.entry(cell).or_default() += 1;
        said += 1;
    }
    let distinct = counts.len();
    let least = (1 + rows / IDENTIFIER_ROWS).min(LEVEL_ROWS);
    let mut frequent: Vec<(&str, usize)> = counts
        .into_iter()
        .filter(|(_, count)| *count >= least)
        .collect();
    // `distinct` texts, each once, or none often enough to learn anything from.
    if said >= IDENTIFIER_ROWS && (distinct == said || frequent.is_empty()) {
        return None;
    }
    frequent.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    frequent.truncate(LEVELS_MAX);
    let mut levels: Vec<String> = frequent
        .into_iter()
        .map(|(level, _)| level.to_owned())
        .collect();
    levels.sort_unstable();
    Some(levels)
}

/// Tells whether whole numbers rise row by row in small steps.
fn counts_rows(cells: impl Iterator<Item = Option<f64>>) -> bool {
    let (mut rows, mut first, mut last) = (0usize, 0.0, f64::NEG_INFINITY);
    for cell in cells {
        let Some(value) = cell.filter(|value| *value > last && value.fract() == 0.0) else {
            return false;
        };
        if rows == 0 {
            first = value;
        }
        last = value;
        rows += 1;
    }
    rows >= IDENTIFIER_ROWS && last - first <= ROW_NUMBER_STEP * rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(names: &[&str], rows: &[Vec<String>]) -> Table {
        let mut table = Table::new(names).unwrap();
        rows.iter().for_each(|row| table.push(row).unwrap());
        table
    }

    #[test]
    fn columns_are_told_apart() {
        let names = ["id", "row", "age", "plan", "one", "gone", "mixed", "rare"];
        let rows: Vec<Vec<String>> = (0..100)
            .map(|row| {
                let age = if row == 7 {
                    "?".to_owned()
                } else {
                    (row * 37 % 61).to_string()
                };
                let plan = ["basic", "pro", "NA"][row % 3];
                let mixed = if row % 50 == 0 {
                    "ask".to_owned()
                } else {
                    (row % 9).to_string()
                };
                let rare = ["common", "usual"]
                    .get(row % 4)
                    .map_or(format!("r{}", row / 8), |word| (*word).to_owned());
                vec![
                    format!("u{row}"),
                    (row * 2).to_string(),
                    age,
                    plan.to_owned(),
                    "x".to_owned(),
                    String::new(),
                    mixed,
                    rare,
                ]
            })
            .collect();
        let table = table(&names, &rows);
        let schema = Schema::learn(&table);
        let expected = [
            Dropped::Identifier("id".to_owned()),
            Dropped::RowNumber("row".to_owned()),
            Dropped::Constant("one".to_owned()),
            Dropped::Constant("gone".to_owned()),
        ];
        assert_eq!(schema.dropped(), expected);
        assert_eq!(schema.names(), ["age", "plan", "mixed", "rare"]);
        let levels = Kind::Category(vec!["basic".to_owned(), "pro".to_owned()]);
        assert_eq!(schema.columns[1].kind, levels);
        let levels = Kind::Category(vec!["common".to_owned(), "usual".to_owned()]);
        assert_eq!(schema.columns[3].kind, levels);
        let row = schema.encode_row(&["12.5", "new plan", "ask", "usual"]);
        assert_eq!((row[0], row[1], row[3]), (12.5, 3.0, 2.0));
        assert!(row[2].is_nan());
        assert!(schema.encode_row(&[])[0].is_nan());
        let frame = schema.encode(&table);
        assert_eq!((frame.rows(), frame.row(4)[1]), (100, 2.0));
        assert_eq!(frame.row(5)[1].to_bits(), 0.0f64.to_bits());
    }

    #[test]
    fn dates_have_an_order_in_every_way_to_encode_them() {
        let day = |row: u32| match row {
            7 => "soon".to_owned(),
            9 => String::new(),
            _ => format!("2024-{:02}-{:02}", row * 5 % 12 + 1, row % 28 + 1),
        };
        let rows: Vec<Vec<String>> = (0..100).map(|row| vec![day(row)]).collect();
        let table = table(&["since"], &rows);
        let schema = Schema::learn(&table);
        assert_eq!(schema.columns[0].kind, Kind::Date);
        assert_eq!(schema.encode_row(&["2024-02-01"]), [19_754.0]);
        assert_eq!(schema.encode_row(&["2024-02-01T12:00:00Z"]), [19_754.5]);
        assert!(schema.encode_row(&["soon"])[0].is_nan() && schema.encode_row(&["17"])[0].is_nan());
        let frame = schema.encode(&table);
        assert_eq!(frame.row(0), schema.encode_row(&["2024-01-01"]));
        // Other texts with a minus in that place are no dates.
        let sizes = (0..40).map(|row| vec![["1.5e-05", "2e-05", "1e-05"][row % 3].to_owned()]);
        let schema = Schema::learn(&self::table(&["size"], &sizes.collect::<Vec<_>>()));
        assert_eq!(schema.encode_row(&["1.5e-05"]), [0.000_015]);
    }

    #[test]
    fn levels_are_bounded() {
        let rows: Vec<Vec<String>> = (0..5_000)
            .map(|row| vec![format!("l{}", row % 500)])
            .collect();
        let schema = Schema::learn(&table(&["a"], &rows));
        assert_eq!(schema.columns[0].kind.codes(), LEVELS_MAX + 2);
    }
}
