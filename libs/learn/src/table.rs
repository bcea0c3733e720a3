//! Cells of any columns as they came: text, one arena per column. What they mean is the schema's.

use crate::options::{CELL_BYTES_MAX, CELLS_MAX, COLUMNS_MAX, NAME_BYTES_MAX};

/// Why a table was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Over [`COLUMNS_MAX`].
    #[error("{0} columns, the maximum is {COLUMNS_MAX}")]
    TooManyColumns(usize),
    /// Over [`CELLS_MAX`].
    #[error("more than {CELLS_MAX} cells")]
    TooManyCells,
    /// Over [`NAME_BYTES_MAX`].
    #[error("a column name of {0} bytes, the maximum is {NAME_BYTES_MAX}")]
    LongName(usize),
    /// Two columns of one name could not be told apart by a reader.
    #[error("two columns are named {0}")]
    SameName(String),
    /// A row with more or fewer cells than columns.
    #[error("a row of {found} cells, the table has {expected} columns")]
    WrongWidth {
        /// Columns of the table.
        expected: usize,
        /// Cells of the row.
        found: usize,
    },
}

/// A table of text cells with named columns.
///
/// Memory: the text, cut to [`CELL_BYTES_MAX`] bytes a cell, and 8 bytes per cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    names: Vec<String>,
    columns: Vec<Column>,
    rows: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Column {
    text: String,
    /// Where each cell ends.
    ends: Vec<usize>,
}

impl Column {
    fn cell(&self, row: usize) -> &str {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[row]]
    }
}

impl Table {
    /// Returns an empty table.
    ///
    /// # Errors
    ///
    /// [`TableError`] for too many, too long or equal names.
    pub fn new(names: &[&str]) -> Result<Self, TableError> {
        if names.len() > COLUMNS_MAX {
            return Err(TableError::TooManyColumns(names.len()));
        }
        if let Some(long) = names.iter().find(|name| name.len() > NAME_BYTES_MAX) {
            return Err(TableError::LongName(long.len()));
        }
        let mut sorted = names.to_vec();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(TableError::SameName(pair[0].to_owned()));
        }
        Ok(Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            columns: vec![Column::default(); names.len()],
            rows: 0,
        })
    }

    /// Appends a row; blanks around a cell and bytes past [`CELL_BYTES_MAX`] are cut off.
    ///
    /// # Errors
    ///
    /// [`TableError::WrongWidth`], [`TableError::TooManyCells`]; the table is as it was then.
    pub fn push<S: AsRef<str>>(&mut self, cells: &[S]) -> Result<(), TableError> {
        if cells.len() != self.columns.len() {
            return Err(TableError::WrongWidth {
                expected: self.columns.len(),
                found: cells.len(),
            });
        }
        if (self.rows + 1).saturating_mul(cells.len().max(1)) > CELLS_MAX {
            return Err(TableError::TooManyCells);
        }
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.text.push_str(kept(cell.as_ref()));
            column.ends.push(column.text.len());
        }
        self.rows += 1;
        Ok(())
    }

    /// Returns the names of the columns.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns a cell.
    ///
    /// # Panics
    ///
    /// Where the table has no such row or column.
    #[must_use]
    pub fn cell(&self, row: usize, column: usize) -> &str {
        self.columns[column].cell(row)
    }

    /// Returns the rows of the given places as a table of their own, in that order.
    ///
    /// # Panics
    ///
    /// Where the table has no such row.
    #[must_use]
    pub fn select(&self, rows: &[u32]) -> Self {
        let pick = |column: &Column| {
            let mut picked = Column::default();
            picked.ends.reserve(rows.len());
            for row in rows {
                picked.text.push_str(column.cell(*row as usize));
                picked.ends.push(picked.text.len());
            }
            picked
        };
        Self {
            names: self.names.clone(),
            columns: self.columns.iter().map(pick).collect(),
            rows: rows.len(),
        }
    }
}

/// Returns what is kept of a cell.
pub(crate) fn kept(cell: &str) -> &str {
    let cell = cell.trim();
    cell[..cell.floor_char_boundary(CELL_BYTES_MAX)].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_kept_as_they_came() {
        let mut table = Table::new(&["a", "b"]).unwrap();
        table.push(&[" 1 ", "汉字"]).unwrap();
        table.push(&["", "x"]).unwrap();
        assert_eq!((table.cell(0, 0), table.cell(0, 1)), ("1", "汉字"));
        assert_eq!((table.cell(1, 0), table.cell(1, 1)), ("", "x"));
        let twice = table.select(&[1, 0, 1]);
        assert_eq!((twice.rows(), twice.cell(2, 1)), (3, "x"));
        let long = "字".repeat(200);
        table.push(&[long.as_str(), "y"]).unwrap();
        assert_eq!(table.cell(2, 0), "字".repeat(CELL_BYTES_MAX / 3));
    }

    #[test]
    fn bad_tables_are_refused() {
        assert_eq!(
            Table::new(&["a", "b", "a"]),
            Err(TableError::SameName("a".to_owned()))
        );
        let long = "n".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(
            Table::new(&[&long]),
            Err(TableError::LongName(NAME_BYTES_MAX + 1))
        );
        let names: Vec<String> = (0..=COLUMNS_MAX).map(|name| name.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(
            Table::new(&names),
            Err(TableError::TooManyColumns(COLUMNS_MAX + 1))
        );
        let mut table = Table::new(&["a"]).unwrap();
        let expected = TableError::WrongWidth {
            expected: 1,
            found: 2,
        };
        assert_eq!(table.push(&["1", "2"]), Err(expected));
        assert_eq!(table.rows(), 0);
    }
}
