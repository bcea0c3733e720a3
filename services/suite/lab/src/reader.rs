//! Reading CSV with the place of everything that is wrong: file, line, column. One record at a time;
//! what the fields mean is the task's.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use csv::{ByteRecord, ErrorKind, ReaderBuilder};
use flate2::read::MultiGzDecoder;

use crate::error::LabError;
use crate::values;

#[cfg(test)]
mod tests;

/// Most rows of one file.
pub(crate) const ROWS_MAX: usize = 200_000_000;
/// Longest field: above it a quote was never closed, or the file is no CSV.
const FIELD_BYTES_MAX: usize = 1 << 20;
/// Most characters of a file that one message quotes in a row.
const QUOTED_CHARS_MAX: usize = 200;
/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 16;
const BOM: [u8; 3] = [0xef, 0xbb, 0xbf];

type Source = BufReader<Box<dyn Read>>;

/// A CSV file with a header, at one of its records.
pub(crate) struct Table {
    origin: Origin,
    reader: csv::Reader<Source>,
    record: ByteRecord,
    rows: usize,
}

/// What an error says about where it is.
struct Origin {
    file: String,
    header: Vec<String>,
    /// Lines by which the reader's count lags: it counts `\r\n` only when the next record begins.
    lag: u64,
}

impl Table {
    /// Opens a file and reads its header; `.gz` is unpacked, a byte order mark skipped.
    pub(crate) fn open(path: &Path) -> Result<Self, LabError> {
        let file = path.display().to_string();
        let unreadable =
            |error: std::io::Error| LabError::input(format!("{file}: cannot be read: {error}"));
        let opened = File::open(path).map_err(unreadable)?;
        let zipped = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
        let bytes: Box<dyn Read> = if zipped {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(
                BUFFER_BYTES,
                opened,
            )))
        } else {
            Box::new(opened)
        };
        let mut source = BufReader::with_capacity(BUFFER_BYTES, bytes);
        let head = source.fill_buf().map_err(unreadable)?;
        let is_marked = head.starts_with(&BOM);
        let lag = head
            .iter()
            .position(|byte| *byte == b'\n')
            .is_some_and(|end| end > 0 && head[end - 1] == b'\r');
        if is_marked {
            source.consume(BOM.len());
        }
        let mut reader = ReaderBuilder::new().from_reader(source);
        let mut origin = Origin {
            file,
            header: Vec::new(),
            lag: u64::from(lag),
        };
        let names = reader
            .byte_headers()
            .map_err(|error| origin.bad_csv(&error, 1))?
            .clone();
        for (column, name) in names.iter().enumerate() {
            let name =
                std::str::from_utf8(name).map_err(|_| origin.place(1, column, "is not UTF-8"))?;
            origin.header.push(name.trim().to_owned());
        }
        if origin.header.is_empty() {
            return Err(origin.place(1, 0, "there is no header"));
        }
        Ok(Self {
            origin,
            reader,
            record: ByteRecord::new(),
            rows: 0,
        })
    }

    /// Returns where the columns of a fixed shape stand: by name if all `needed` names are there, else
    /// all by position. `optional` ones follow the needed ones; `None` for those that are absent.
    pub(crate) fn fixed(
        &self,
        needed: &[&str],
        optional: &[&str],
    ) -> Result<Vec<Option<usize>>, LabError> {
        let find = |name: &&str| {
            self.origin
                .header
                .iter()
                .position(|column| column.eq_ignore_ascii_case(name))
        };
        let all = || needed.iter().chain(optional);
        if needed.iter().all(|name| find(name).is_some()) {
            return Ok(all().map(find).collect());
        }
        if self.origin.header.len() < needed.len() {
            let why = format!(
                "the columns {} are needed, the header has {}",
                needed.join(", "),
                quoted(&self.origin.header.join(", "))
            );
            return Err(self.origin.place(1, self.origin.header.len(), &why));
        }
        Ok(all()
            .enumerate()
            .map(|(at, _)| (at < self.origin.header.len()).then_some(at))
            .collect())
    }

    /// Returns where the column of a name stands.
    pub(crate) fn named(&self, name: &str) -> Result<usize, LabError> {
        let exact = self.origin.header.iter().position(|column| column == name);
        let found = exact.or_else(|| {
            self.origin
                .header
                .iter()
                .position(|column| column.eq_ignore_ascii_case(name))
        });
        found.ok_or_else(|| {
            let why = format!(
                "there is no column {name}; there are {}",
                quoted(&self.origin.header.join(", "))
            );
            self.origin.place(1, 0, &why)
        })
    }

    /// Goes to the next record; false at the end.
    pub(crate) fn advance(&mut self) -> Result<bool, LabError> {
        match self.reader.read_byte_record(&mut self.record) {
            Ok(more) => {
                self.rows += usize::from(more);
                if self.rows > ROWS_MAX {
                    return Err(self.origin.place(
                        self.line(),
                        0,
                        &format!("more than {ROWS_MAX} rows"),
                    ));
                }
                Ok(more)
            }
            Err(error) => Err(self.origin.bad_csv(&error, self.rows as u64 + 2)),
        }
    }

    /// Returns how many columns the header names.
    pub(crate) fn columns(&self) -> usize {
        self.origin.header.len()
    }

    /// Returns the name of a column.
    pub(crate) fn name(&self, column: usize) -> &str {
        &self.origin.header[column]
    }

    /// Returns how many records were read.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns a field, surrounding blanks cut off.
    pub(crate) fn text(&self, column: usize) -> Result<&str, LabError> {
        let field = self.record.get(column).unwrap_or_default();
        if field.len() > FIELD_BYTES_MAX {
            return Err(self.bad(column, &format!("is longer than {FIELD_BYTES_MAX} bytes")));
        }
        let text = std::str::from_utf8(field).map_err(|_| self.bad(column, "is not UTF-8"))?;
        Ok(text.trim())
    }

    /// Returns a field that must say something.
    pub(crate) fn required(&self, column: usize) -> Result<&str, LabError> {
        match self.text(column)? {
            "" => Err(self.bad(column, "is empty")),
            text => Ok(text),
        }
    }

    /// Returns a finite number; truth values are 1 and 0.
    pub(crate) fn number(&self, column: usize) -> Result<f64, LabError> {
        let text = self.required(column)?;
        values::number(text)
            .ok_or_else(|| self.bad(column, &format!("{:?} is no number", quoted(text))))
    }

    /// Returns a moment for ordering; see [`values::moment`].
    pub(crate) fn moment(&self, column: usize) -> Result<f64, LabError> {
        let text = self.required(column)?;
        values::moment(text).ok_or_else(|| {
            self.bad(
                column,
                &format!("{:?} is no time, date or position", quoted(text)),
            )
        })
    }

    /// Returns the error of a field of the current record.
    pub(crate) fn bad(&self, column: usize, why: &str) -> LabError {
        self.origin.place(self.line(), column, why)
    }

    /// Returns the error of a name in the header.
    pub(crate) fn bad_header(&self, column: usize, why: &str) -> LabError {
        self.origin.place(1, column, why)
    }

    /// Returns the error of a file as a whole.
    pub(crate) fn bad_file(&self, why: &str) -> LabError {
        LabError::input(format!("{}: {why}", self.origin.file))
    }

    /// Returns the line of the current record.
    pub(crate) fn line(&self) -> u64 {
        self.record
            .position()
            .map_or(self.rows as u64 + 1, csv::Position::line)
            + self.origin.lag
    }
}

/// Returns a text of a file as a message quotes it: what is too long is cut, and ends in an ellipsis.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

impl Origin {
    fn place(&self, line: u64, column: usize, why: &str) -> LabError {
        let name = self
            .header
            .get(column)
            .map_or(String::new(), |name| format!(" ({})", quoted(name)));
        LabError::input(format!(
            "{}, line {line}, column {}{name}: {why}",
            self.file,
            column + 1
        ))
    }

    fn bad_csv(&self, error: &csv::Error, line: u64) -> LabError {
        let ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } = error.kind()
        else {
            return self.place(line, 0, &format!("cannot be read: {error}"));
        };
        let line = pos.as_ref().map_or(line, |pos| pos.line() + self.lag);
        let column = (*expected_len).min(*len) as usize;
        let why = format!("the line has {len} columns, the header {expected_len}");
        self.place(line, column, &why)
    }
}
