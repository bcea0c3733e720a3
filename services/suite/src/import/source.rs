//! Reading a CSV file line by line, with the place of everything that is wrong.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use rapport_api::profile::v1::Identifier;
use ring::digest;

use crate::failure::Failure;
use crate::progress::Progress;

/// Bytes read ahead.
const BUFFER_BYTES: usize = 64 * 1024;
/// Characters of a header that an error quotes.
const QUOTED_CHARS_MAX: usize = 200;
/// Distinct identifiers and items of one file, kept in memory for consent and the catalogue.
const DISTINCT_MAX: usize = 20_000_000;

/// What one line says.
#[derive(Debug, Clone)]
pub struct Line {
    /// Whom it is about.
    pub identifier: Option<Identifier>,
    /// When it happened.
    pub occurred_at_ms: i64,
    /// The payload.
    pub payload: prost_types::Any,
    /// The catalogue item it names, if the file says more than its id.
    pub item: Option<Item>,
}

/// A catalogue item as a line describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its id.
    pub item_id: String,
    /// Its title.
    pub title: String,
    /// Its price in millionths.
    pub price_micros: i64,
    /// ISO 4217 code.
    pub currency: String,
}

/// Something is wrong in one column of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// The column's number, from 1; 0 for the whole line.
    pub column: usize,
    /// What is wrong, worded to follow the place.
    pub why: String,
}

/// Turns the records of one format into lines.
pub trait Mapper: Send + Sync {
    /// Returns the columns that are needed, by name.
    fn columns(&self) -> Vec<String>;

    /// Maps one record whose fields are in the order of [`Self::columns`]; `number` counts lines from 1.
    ///
    /// # Errors
    /// [`BadLine`] with `column` as an index into [`Self::columns`], from 1.
    fn map(&self, fields: &[&str], number: u64) -> Result<Line, BadLine>;
}

/// A file of which every line was read and found good.
#[derive(Debug)]
pub struct Imported {
    /// Its SHA-256.
    pub hash: [u8; 32],
    /// Lines, the header apart.
    pub lines: u64,
    /// Distinct identifiers, sorted.
    pub identifiers: Vec<(i32, String)>,
    /// Catalogue items by id, with the title that came first and the last price above zero.
    pub items: BTreeMap<String, Item>,
    /// The last event's time.
    pub last_event_ms: i64,
}

/// Reads the whole file and checks every line.
///
/// # Errors
/// [`Failure::Usage`] with file, line and column of the first wrong line.
pub(super) fn check(path: &Path, mapper: &dyn Mapper) -> Result<Imported, Failure> {
    let hash = hash_of(path)?;
    let mut progress = Progress::new("checking", 0);
    let mut identifiers: HashSet<(i32, String)> = HashSet::new();
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    let (mut lines, mut last_event_ms) = (0, i64::MIN);
    for line in read(path, mapper)? {
        let line = line?;
        lines += 1;
        last_event_ms = last_event_ms.max(line.occurred_at_ms);
        if let Some(identifier) = line.identifier {
            identifiers.insert((identifier.kind, identifier.value));
        }
        if let Some(item) = line.item {
            let known = items
                .entry(item.item_id.clone())
                .or_insert_with(|| item.clone());
            if known.title.is_empty() {
                known.title = item.title;
            }
            if item.price_micros > 0 {
                known.price_micros = item.price_micros;
            }
        }
        if identifiers.len() + items.len() > DISTINCT_MAX {
            return Err(Failure::Usage(format!(
                "{}: more than {DISTINCT_MAX} people and items: split the file",
                path.display()
            )));
        }
        progress.advance(1);
    }
    if lines == 0 {
        return Err(Failure::Usage(format!(
            "{}: has no line below its header",
            path.display()
        )));
    }
    progress.finish();
    let mut identifiers: Vec<(i32, String)> = identifiers.into_iter().collect();
    identifiers.sort_unstable();
    Ok(Imported {
        hash,
        lines,
        identifiers,
        items,
        last_event_ms,
    })
}

/// Returns the lines of a file, mapped.
///
/// # Errors
/// [`Failure::Usage`] when the file cannot be opened or a column is missing; each line is then a
/// [`Failure::Usage`] of its own when it is wrong.
pub(super) fn read<'a>(
    path: &Path,
    mapper: &'a dyn Mapper,
) -> Result<impl Iterator<Item = Result<Line, Failure>> + use<'a>, Failure> {
    let (source, lag) = open(path)?;
    let mut reader = csv::ReaderBuilder::new()
        .buffer_capacity(BUFFER_BYTES)
        .from_reader(source);
    let file = path.display().to_string();
    let header = reader
        .headers()
        .map_err(|error| bad_csv(&file, &error, lag))?
        .clone();
    let places = places(&file, &header, &mapper.columns())?;
    let mut record = csv::StringRecord::new();
    let mut number = 0;
    Ok(std::iter::from_fn(move || {
        match reader.read_record(&mut record) {
            Ok(false) => return None,
            Ok(true) => number += 1,
            Err(error) => return Some(Err(bad_csv(&file, &error, lag))),
        }
        let fields: Vec<&str> = places
            .iter()
            .map(|place| record.get(*place).unwrap_or(""))
            .collect();
        Some(mapper.map(&fields, number).map_err(|bad| {
            // Line 1 is the header; a quoted line break makes the true line a later one.
            let position = record.position();
            let line = position.map_or(number + 1, |place| place.line() + lag);
            let column = bad
                .column
                .checked_sub(1)
                .and_then(|index| places.get(index));
            let place = column.map_or(String::new(), |place| {
                format!(
                    ", column {} ({})",
                    place + 1,
                    header.get(*place).unwrap_or("?")
                )
            });
            Failure::Usage(format!(
                "{file}, line {line}{place}: {}; nothing was sent",
                bad.why
            ))
        }))
    }))
}

/// Returns the records of a CSV file, each with the line that it begins on, from 1, and the wanted columns in
/// their order.
///
/// # Errors
/// As [`read`].
pub fn open_csv(
    path: &Path,
    wanted: &[&str],
) -> Result<impl Iterator<Item = Result<(u64, Vec<String>), Failure>> + use<>, Failure> {
    let (source, lag) = open(path)?;
    let mut reader = csv::ReaderBuilder::new().from_reader(source);
    let file = path.display().to_string();
    let header = reader
        .headers()
        .map_err(|error| bad_csv(&file, &error, lag))?
        .clone();
    let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    let places = places(&file, &header, &wanted)?;
    Ok(reader.into_records().map(move |record| {
        let record = record.map_err(|error| bad_csv(&file, &error, lag))?;
        // A quoted line break makes a record's line a later one than its number.
        let line = record.position().map_or(0, |place| place.line() + lag);
        let fields = places
            .iter()
            .map(|place| record.get(*place).unwrap_or("").to_owned());
        Ok((line, fields.collect()))
    }))
}

/// Returns where each wanted column stands, by name.
fn places(
    file: &str,
    header: &csv::StringRecord,
    wanted: &[String],
) -> Result<Vec<usize>, Failure> {
    let find = |name: &String| {
        header
            .iter()
            .position(|column| column.trim_start_matches('\u{feff}').trim() == name)
    };
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|name| find(name).is_none())
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(wanted.iter().filter_map(find).collect());
    }
    let found: Vec<&str> = header.iter().collect();
    let found: String = found.join(", ").chars().take(QUOTED_CHARS_MAX).collect();
    Err(Failure::Usage(format!(
        "{file}, line 1: the header lacks {}; it has {}; nothing was sent",
        missing.join(", "),
        found
    )))
}

/// Opens a file, and says by how many lines its reader's count lags: of `\r\n` the reader counts the end
/// only when the next record begins.
fn open(path: &Path) -> Result<(Box<dyn Read + Send>, u64), Failure> {
    let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
    let file = BufReader::with_capacity(1 << 20, file);
    let zipped = path.extension().is_some_and(|extension| extension == "gz");
    let bytes: Box<dyn Read + Send> = if zipped {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut source = BufReader::with_capacity(BUFFER_BYTES, bytes);
    let head = source
        .fill_buf()
        .map_err(|error| cannot_read(path, &error))?;
    let mut ends = head.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let is_windows = ends
        .next()
        .is_some_and(|(at, _)| at > 0 && head[at - 1] == b'\r');
    Ok((Box::new(source), u64::from(is_windows)))
}

fn hash_of(path: &Path) -> Result<[u8; 32], Failure> {
    let mut file = File::open(path).map_err(|error| cannot_read(path, &error))?;
    let kind = file.metadata().map_err(|error| cannot_read(path, &error))?;
    if !kind.is_file() {
        return Err(Failure::Usage(format!(
            "{}: is no file: an import reads it more than once",
            path.display()
        )));
    }
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(|error| cannot_read(path, &error))?;
        if read == 0 {
            break;
        }
        context.update(&buffer[..read]);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Ok(hash)
}

fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!("{} cannot be read: {error}", path.display()))
}

fn bad_csv(file: &str, error: &csv::Error, lag: u64) -> Failure {
    let line = error.position().map_or(String::new(), |place| {
        format!(", line {}", place.line() + lag)
    });
    Failure::Usage(format!(
        "{file}{line}: not CSV in UTF-8: {error}; nothing was sent"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::online_retail::OnlineRetail;

    #[test]
    fn the_wrong_line_is_named_whatever_ends_the_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.csv");
        let lines = [
            "invoice,item,description,quantity,timestamp,unit_price,customer",
            "5,A,TEA,1,2010-12-01 08:26:00,1,17850",
            "5,A,TEA,six,2010-12-01 08:26:00,1,17850",
            "",
        ];
        for end in ["\n", "\r\n"] {
            std::fs::write(&path, lines.join(end)).unwrap();
            let Err(Failure::Usage(why)) = check(&path, &OnlineRetail) else {
                panic!("a quantity of six is taken");
            };
            assert!(
                why.contains("shop.csv, line 3, column 4 (quantity)"),
                "{why}"
            );
        }
    }

    #[test]
    fn what_can_be_read_only_once_is_refused() {
        let Err(Failure::Usage(why)) = check(Path::new("/dev/null"), &OnlineRetail) else {
            panic!("a device is taken");
        };
        assert!(why.contains("is no file"), "{why}");
    }
}
