//! The files of `lab classify`: texts with labels, and which of them belong to no label.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use rapport_math::Rng;
use rapport_text::LABEL_BYTES_MAX;

use crate::args::ClassifyArgs;
use crate::error::LabError;
use crate::overlap::overlap_warning;
use crate::reader::Table;

/// A text and its label.
pub(crate) type Labelled = (String, String);

/// The label that held-out test rows get.
const HELD_OUT: &str = "out_of_scope";
/// Stream of the seed that draws labels to hold out.
const STREAM_LABELS: u64 = 0x6c61_6265;

/// Both files, read.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) train: Vec<Labelled>,
    pub(crate) test: Vec<Labelled>,
    /// The label of test rows that must be rejected; training has no row of it.
    pub(crate) rejected: Option<String>,
    pub(crate) warnings: Vec<String>,
}

impl Data {
    pub(crate) fn read(args: &ClassifyArgs) -> Result<Self, LabError> {
        let mut data = Self {
            train: read(&args.train)?,
            test: read(&args.test)?,
            rejected: args.out_of_scope.clone(),
            warnings: Vec::new(),
        };
        data.count_overlap(args.common.drop_overlap)?;
        if let Some(count) = args.hold_out_labels {
            data.hold_out(count.get(), args.common.seed)?;
        }
        if let Some(limit) = args.common.limit {
            data.test.truncate(limit.get());
        }
        if let Some(rejected) = &data.rejected {
            data.train.retain(|(_, label)| label != rejected);
            if !data.test.iter().any(|(_, label)| label == rejected) {
                data.warnings.push(format!(
                    "no test row has the label {rejected}: nothing is out of scope"
                ));
            }
        }
        Ok(data)
    }

    fn count_overlap(&mut self, drop: bool) -> Result<(), LabError> {
        let known: HashSet<&str> = self.train.iter().map(|(text, _)| text.as_str()).collect();
        let read = self.test.len();
        let overlap = self
            .test
            .iter()
            .filter(|(text, _)| known.contains(text.as_str()))
            .count();
        if overlap == 0 {
            return Ok(());
        }
        if drop && overlap == read {
            return Err(LabError::input("--drop-overlap leaves no test row"));
        }
        self.warnings
            .push(overlap_warning(overlap, read, "test texts", drop));
        if drop {
            self.test.retain(|(text, _)| !known.contains(text.as_str()));
        }
        Ok(())
    }

    /// Draws `count` of the training labels: their test rows are to be rejected, their training rows go.
    fn hold_out(&mut self, count: usize, seed: u64) -> Result<(), LabError> {
        let labels: BTreeSet<&str> = self.train.iter().map(|(_, label)| label.as_str()).collect();
        if labels.contains(HELD_OUT) {
            return Err(LabError::input(format!(
                "--hold-out-labels: the file has a label {HELD_OUT}; use --out-of-scope"
            )));
        }
        if count + 2 > labels.len() {
            let left = labels.len();
            return Err(LabError::input(format!(
                "--hold-out-labels {count}: of {left} labels two must stay"
            )));
        }
        let mut drawn: Vec<String> = labels.into_iter().map(str::to_owned).collect();
        Rng::seeded(seed).fork(STREAM_LABELS).shuffle(&mut drawn);
        drawn.truncate(count);
        self.train.retain(|(_, label)| !drawn.contains(label));
        for (_, label) in &mut self.test {
            if drawn.contains(label) {
                HELD_OUT.clone_into(label);
            }
        }
        self.rejected = Some(HELD_OUT.to_owned());
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<Labelled>, LabError> {
    let mut table = Table::open(path)?;
    let columns = table.fixed(&["text", "label"], &[])?;
    let (text_column, label_column) = (columns[0].unwrap_or(0), columns[1].unwrap_or(1));
    let mut rows = Vec::new();
    while table.advance()? {
        let label = table.required(label_column)?;
        if label.len() > LABEL_BYTES_MAX {
            return Err(table.bad(
                label_column,
                &format!("a label has at most {LABEL_BYTES_MAX} bytes"),
            ));
        }
        rows.push((table.text(text_column)?.to_owned(), label.to_owned()));
    }
    if rows.is_empty() {
        return Err(table.bad_file("there is no row below the header"));
    }
    Ok(rows)
}
