//! A model as one file: a header with length and checksum, then the fields in order, little endian.
//! A file that is damaged, cut short, too large or from another version is refused, never half read.

mod read;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::forest::{Rule, Tree};
use crate::logistic::{Logistic, Term};
use crate::model::Model;
use crate::options::{Algorithm, MODEL_BYTES_MAX};
use crate::schema::{Dropped, Kind, Schema};

/// First bytes of a model file.
const MAGIC: [u8; 8] = *b"RPTLERN\0";
/// Version of the layout below; another one is refused.
const VERSION: u32 = 1;
/// Magic, version, checksum of the body, length of the body.
const HEADER_BYTES: usize = 8 + 4 + 4 + 8;

/// Why a model file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// The file could not be read or written.
    #[error("could not access the model file")]
    Io(#[from] io::Error),
    /// Not a model file at all.
    #[error("not a model of a table: the file does not start with its mark")]
    NotAModel,
    /// Written by another version of the program.
    #[error("model of version {0}, this program reads version {VERSION}: train it again")]
    OtherVersion(u32),
    /// Longer than [`MODEL_BYTES_MAX`].
    #[error("model of {0} bytes, the maximum is {MODEL_BYTES_MAX}")]
    TooLarge(u64),
    /// Cut short or with bytes added: the length is not what the header says.
    #[error("damaged model: {found} bytes, the header says {expected}")]
    WrongLength {
        /// What the header says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// Changed since it was written.
    #[error("damaged model: the checksum does not match")]
    WrongChecksum,
    /// The checksum holds but a field is impossible: written by a faulty program.
    #[error("damaged model: {0} is out of range")]
    BadField(&'static str),
}

impl Model {
    /// Returns the model as the bytes of its file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Writer(Vec::new());
        body.model(self);
        let body = body.0;
        let mut file = Vec::with_capacity(HEADER_BYTES + body.len());
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&VERSION.to_le_bytes());
        file.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        file.extend_from_slice(&(body.len() as u64).to_le_bytes());
        file.extend_from_slice(&body);
        file
    }

    /// Reads a model from the bytes of its file.
    ///
    /// # Errors
    ///
    /// Any [`ModelFileError`] but `Io`; nothing is allocated from a length that was not checked.
    pub fn from_bytes(file: &[u8]) -> Result<Self, ModelFileError> {
        if file.len() > MODEL_BYTES_MAX {
            return Err(ModelFileError::TooLarge(file.len() as u64));
        }
        let Some((header, body)) = file.split_at_checked(HEADER_BYTES) else {
            return Err(ModelFileError::NotAModel);
        };
        let mut header = read::Reader(header);
        if header.array::<8>()? != MAGIC {
            return Err(ModelFileError::NotAModel);
        }
        let version = header.u32()?;
        if version != VERSION {
            return Err(ModelFileError::OtherVersion(version));
        }
        let checksum = header.u32()?;
        let expected = u64::from_le_bytes(header.array()?);
        if expected != body.len() as u64 {
            return Err(ModelFileError::WrongLength {
                expected,
                found: body.len() as u64,
            });
        }
        if crc32fast::hash(body) != checksum {
            return Err(ModelFileError::WrongChecksum);
        }
        let mut body = read::Reader(body);
        let model = body.model()?;
        if body.0.is_empty() {
            Ok(model)
        } else {
            Err(ModelFileError::BadField("length"))
        }
    }

    /// Writes the model to a file, whole or not at all: a new file beside it takes its name last.
    ///
    /// # Errors
    ///
    /// [`ModelFileError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), ModelFileError> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        let mut file = fs::File::create(&beside)?;
        file.write_all(&self.to_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        Ok(())
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    ///
    /// Any [`ModelFileError`]. At most [`MODEL_BYTES_MAX`] bytes are read.
    pub fn load(path: &Path) -> Result<Self, ModelFileError> {
        let mut bytes = Vec::new();
        fs::File::open(path)?
            .take(MODEL_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)?;
        Self::from_bytes(&bytes)
    }
}

/// Appends fields to the body.
struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, value: usize) {
        self.0.extend_from_slice(&(value as u32).to_le_bytes());
    }

    fn f64s(&mut self, values: &[f64]) {
        values
            .iter()
            .for_each(|value| self.0.extend_from_slice(&value.to_le_bytes()));
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn model(&mut self, model: &Model) {
        let algorithm = Algorithm::ALL.iter().position(|a| *a == model.algorithm);
        self.u32(algorithm.expect("every algorithm is in the list of all"));
        self.schema(&model.schema);
        self.f64s(&[model.bias]);
        self.u32(usize::from(model.logistic.is_some()));
        if let Some((share, logistic)) = &model.logistic {
            self.f64s(&[*share]);
            self.logistic(logistic);
        }
        self.u32(usize::from(model.trees.is_some()));
        if let Some((share, forest)) = &model.trees {
            self.f64s(&[*share, forest.base]);
            self.u32(forest.trees.len());
            forest.trees.iter().for_each(|tree| self.tree(tree));
        }
    }

    fn schema(&mut self, schema: &Schema) {
        self.u32(schema.columns.len());
        for column in &schema.columns {
            self.text(&column.name);
            match &column.kind {
                Kind::Number => self.u32(0),
                Kind::Category(levels) => {
                    self.u32(1);
                    self.u32(levels.len());
                    levels.iter().for_each(|level| self.text(level));
                }
            }
        }
        self.u32(schema.dropped.len());
        for dropped in &schema.dropped {
            self.u32(match dropped {
                Dropped::Constant(_) => 0,
                Dropped::Identifier(_) => 1,
                Dropped::RowNumber(_) => 2,
            });
            self.text(dropped.column());
        }
    }

    /// The kinds of terms are those of the schema.
    fn logistic(&mut self, logistic: &Logistic) {
        self.f64s(&[logistic.base]);
        for (term, centre) in logistic.terms.iter().zip(&logistic.centres) {
            self.f64s(&[*centre]);
            match term {
                Term::Number {
                    low,
                    high,
                    mean,
                    deviation,
                    weight,
                    absent,
                } => self.f64s(&[*low, *high, *mean, *deviation, *weight, *absent]),
                Term::Category(weights) => self.f64s(weights),
            }
        }
    }

    fn tree(&mut self, tree: &Tree) {
        self.u32(tree.nodes.len());
        for node in &tree.nodes {
            self.f64s(&[node.cover]);
            match &node.rule {
                Rule::Leaf(value) => {
                    self.u32(0);
                    self.f64s(&[*value]);
                    continue;
                }
                Rule::Below { cut, missing_left } => {
                    self.u32(1 + usize::from(*missing_left));
                    self.f64s(&[*cut]);
                }
                Rule::Among(mask) => {
                    self.u32(3);
                    for word in mask {
                        self.0.extend_from_slice(&word.to_le_bytes());
                    }
                }
            }
            self.u32(node.column as usize);
            self.u32(node.left as usize);
            self.u32(node.right as usize);
        }
    }
}
