//! A model as one file: which fields its body has, in which order, and which values they may have.

mod read;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use rapport_model_file::{Format, LoadError, ModelFileError, Writer};

use crate::forest::{Rule, Tree};
use crate::logistic::{Logistic, Term};
use crate::model::Model;
use crate::options::{Algorithm, MODEL_BYTES_MAX};
use crate::schema::{Dropped, Kind, Schema};

/// Its version changes with the layout below.
const FORMAT: Format = Format {
    what: "table model",
    mark: *b"RPTLERN\0",
    version: 3,
    bytes_max: MODEL_BYTES_MAX,
};

impl Model {
    /// Returns the model as the bytes of its file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Writer::default();
        write_model(&mut body, self);
        FORMAT.seal(&body.finish())
    }

    /// Reads a model from the bytes of its file.
    ///
    /// # Errors
    ///
    /// [`ModelFileError`]; nothing is allocated from a length that was not checked.
    pub fn from_bytes(file: &[u8]) -> Result<Self, ModelFileError> {
        FORMAT.read(file, read::model)
    }

    /// Writes the model to a file, whole or not at all: see [`rapport_model_file::save`].
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        rapport_model_file::save(path, &self.to_bytes())
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    ///
    /// Any [`LoadError`]. At most one byte more than [`MODEL_BYTES_MAX`] is read.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        FORMAT.load(path, read::model)
    }
}

fn write_model(body: &mut Writer, model: &Model) {
    let algorithm = Algorithm::ALL.iter().position(|a| *a == model.algorithm);
    body.count(algorithm.expect("every algorithm is in the list of all"));
    write_schema(body, &model.schema);
    body.f64s(&[model.bias]);
    body.flag(model.logistic.is_some());
    if let Some((share, logistic)) = &model.logistic {
        body.f64s(&[*share]);
        write_logistic(body, logistic);
    }
    body.flag(model.trees.is_some());
    if let Some((share, forest)) = &model.trees {
        body.f64s(&[*share, forest.base]);
        body.count(forest.trees.len());
        forest.trees.iter().for_each(|tree| write_tree(body, tree));
    }
}

fn write_schema(body: &mut Writer, schema: &Schema) {
    body.count(schema.columns.len());
    for column in &schema.columns {
        body.text(&column.name);
        match &column.kind {
            Kind::Number => body.count(0),
            Kind::Date => body.count(2),
            Kind::Category(levels) => {
                body.count(1);
                body.count(levels.len());
                levels.iter().for_each(|level| body.text(level));
            }
        }
    }
    body.count(schema.dropped.len());
    for dropped in &schema.dropped {
        body.count(match dropped {
            Dropped::Constant(_) => 0,
            Dropped::Identifier(_) => 1,
            Dropped::RowNumber(_) => 2,
        });
        body.text(dropped.column());
    }
}

/// The kinds of terms are those of the schema.
fn write_logistic(body: &mut Writer, logistic: &Logistic) {
    body.f64s(&[logistic.base]);
    for (term, centre) in logistic.terms.iter().zip(&logistic.centres) {
        body.f64s(&[*centre]);
        match term {
            Term::Number {
                low,
                high,
                mean,
                deviation,
                weight,
                absent,
            } => body.f64s(&[*low, *high, *mean, *deviation, *weight, *absent]),
            Term::Category(weights) => body.f64s(weights),
        }
    }
}

fn write_tree(body: &mut Writer, tree: &Tree) {
    body.count(tree.nodes.len());
    for node in &tree.nodes {
        body.f64s(&[node.cover]);
        match &node.rule {
            Rule::Leaf(value) => {
                body.count(0);
                body.f64s(&[*value]);
                continue;
            }
            Rule::Below { cut, missing_left } => {
                body.count(1 + usize::from(*missing_left));
                body.f64s(&[*cut]);
            }
            Rule::Among(mask) => {
                body.count(3);
                body.u64s(mask);
            }
        }
        body.u32(node.column);
        body.u32(node.left);
        body.u32(node.right);
    }
}
