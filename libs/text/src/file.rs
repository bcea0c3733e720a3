//! A model as one file: a header with length and checksum, then the fields in order, little endian.
//! A file that is damaged, cut short, too large or from another version is refused, never half read.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::classifier::{Mixture, TextClassifier};
use crate::features::FeatureOptions;
use crate::network::Network;
use crate::options::{Algorithm, LABEL_BYTES_MAX, LABELS_MAX, MODEL_BYTES_MAX};
use crate::quantised::Quantised;
use crate::scope::{SIGNALS, Scope};
use crate::vocabulary::{FEATURES_MAX, Vocabulary, Weighing};

/// First bytes of a model file.
const MAGIC: [u8; 8] = *b"RPTTEXT\0";
/// Version of the layout below; another one is refused, because feature keys may differ too.
const VERSION: u32 = 2;
/// Magic, version, checksum of the body, length of the body.
const HEADER_BYTES: usize = 8 + 4 + 4 + 8;
/// Most hidden units of all members of a network together.
const WIDTH_MAX: usize = 4_096;

/// Why a model file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ModelFileError {
    /// The file could not be read or written.
    #[error("could not access the model file")]
    Io(#[from] io::Error),
    /// Not a model file at all.
    #[error("not a text model: the file does not start with its mark")]
    NotAModel,
    /// Written by another version of the program.
    #[error("text model of version {0}, this program reads version {VERSION}: train it again")]
    OtherVersion(u32),
    /// Longer than [`MODEL_BYTES_MAX`].
    #[error("text model of {0} bytes, the maximum is {MODEL_BYTES_MAX}")]
    TooLarge(u64),
    /// Cut short or with bytes added: the length is not what the header says.
    #[error("damaged text model: {found} bytes, the header says {expected}")]
    WrongLength {
        /// What the header says.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// Changed since it was written.
    #[error("damaged text model: the checksum does not match")]
    WrongChecksum,
    /// The checksum holds but a field is impossible: written by a faulty program.
    #[error("damaged text model: {0} is out of range")]
    BadField(&'static str),
}

impl TextClassifier {
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
        let mut header = Reader(header);
        if header.take(8)? != MAGIC {
            return Err(ModelFileError::NotAModel);
        }
        let version = header.u32()?;
        if version != VERSION {
            return Err(ModelFileError::OtherVersion(version));
        }
        let checksum = header.u32()?;
        let expected = header.u64()?;
        if expected != body.len() as u64 {
            return Err(ModelFileError::WrongLength {
                expected,
                found: body.len() as u64,
            });
        }
        if crc32fast::hash(body) != checksum {
            return Err(ModelFileError::WrongChecksum);
        }
        let mut body = Reader(body);
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

    fn f32s(&mut self, values: &[f32]) {
        values
            .iter()
            .for_each(|value| self.0.extend_from_slice(&value.to_le_bytes()));
    }

    fn matrix(&mut self, matrix: &Quantised) {
        self.u32(matrix.columns);
        self.f32s(&matrix.scales);
        self.0
            .extend(matrix.values.iter().map(|value| value.to_le_bytes()[0]));
    }

    fn model(&mut self, model: &TextClassifier) {
        let algorithm = Algorithm::ALL.iter().position(|a| *a == model.algorithm);
        self.u32(algorithm.expect("every algorithm is in the list of all"));
        self.u32(model.labels.len());
        for label in &model.labels {
            self.u32(label.len());
            self.0.extend_from_slice(label.as_bytes());
        }
        let vocabulary = &model.vocabulary;
        let options = &vocabulary.options;
        self.0.extend_from_slice(&[
            options.word_ngrams,
            options.character_ngrams,
            options.subword_min,
            options.subword_max,
            options.segment_ngrams,
            options.pair_window,
            u8::from(vocabulary.weighing == Weighing::TfIdf),
        ]);
        self.f32s(&options.weights);
        self.u32(vocabulary.len());
        vocabulary
            .keys
            .iter()
            .for_each(|key| self.0.extend_from_slice(&key.to_le_bytes()));
        self.f32s(&vocabulary.idf);
        self.matrix(&model.weights);
        self.f32s(&model.bias);
        self.u32(usize::from(model.scope.is_some()));
        if let Some(scope) = &model.scope {
            self.f32s(&scope.weights);
            self.f32s(&[scope.bias, scope.threshold]);
        }
        let mixture = &model.mixture;
        self.f32s(&[mixture.sharpness, mixture.last_sharpness]);
        self.f32s(&mixture.tilts);
        match &mixture.network {
            None => self.u32(0),
            Some((share, network)) => {
                self.u32(network.members);
                self.u32(network.hidden);
                self.f32s(&[*share]);
                self.matrix(&network.first);
                self.f32s(&network.first_bias);
                self.f32s(&network.second);
                self.f32s(&network.second_bias);
                self.matrix(&network.centres);
            }
        }
    }
}

/// Takes fields off the front of the body.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], ModelFileError> {
        let (front, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or(ModelFileError::BadField("length"))?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelFileError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, ModelFileError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, ModelFileError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Reads a count that must lie in a range.
    fn count(
        &mut self,
        name: &'static str,
        least: usize,
        most: usize,
    ) -> Result<usize, ModelFileError> {
        let value = self.u32()? as usize;
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(ModelFileError::BadField(name))
        }
    }

    /// Reads finite numbers; a NaN would spread to every probability.
    fn f32s(&mut self, name: &'static str, count: usize) -> Result<Vec<f32>, ModelFileError> {
        let bytes = self.take(count * 4)?;
        let (numbers, _) = bytes.as_chunks::<4>();
        let values: Vec<f32> = numbers
            .iter()
            .map(|four| f32::from_le_bytes(*four))
            .collect();
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(ModelFileError::BadField(name))
        }
    }

    fn matrix(&mut self, rows: usize, columns: usize) -> Result<Quantised, ModelFileError> {
        let columns = self.count("matrix width", columns, columns)?;
        let scales = self.f32s("matrix scale", rows)?;
        let values = self
            .take(rows * columns)?
            .iter()
            .map(|byte| i8::from_le_bytes([*byte]))
            .collect();
        Ok(Quantised {
            columns,
            values,
            scales,
        })
    }

    fn vocabulary(&mut self) -> Result<Vocabulary, ModelFileError> {
        let [
            word_ngrams,
            character_ngrams,
            subword_min,
            subword_max,
            rest @ ..,
        ] = self.array::<7>()?;
        let [segment_ngrams, pair_window, tfidf] = rest;
        let mut options = FeatureOptions {
            word_ngrams,
            character_ngrams,
            subword_min,
            subword_max,
            segment_ngrams,
            pair_window,
            ..FeatureOptions::default()
        };
        let weights = self.f32s("group weight", options.weights.len())?;
        options.weights.copy_from_slice(&weights);
        let weighing = if tfidf == 0 {
            Weighing::Counts
        } else {
            Weighing::TfIdf
        };
        let features = self.count("number of features", 0, FEATURES_MAX)?;
        let (keys, _) = self.take(features * 8)?.as_chunks::<8>();
        let keys: Vec<u64> = keys
            .iter()
            .map(|eight| u64::from_le_bytes(*eight))
            .collect();
        if !keys.is_sorted_by(|a, b| a < b) {
            return Err(ModelFileError::BadField("order of features"));
        }
        let idf = self.f32s("idf", features)?;
        Ok(Vocabulary::from_parts(options, weighing, keys, idf))
    }

    fn model(&mut self) -> Result<TextClassifier, ModelFileError> {
        let algorithm = Algorithm::ALL[self.count("algorithm", 0, Algorithm::ALL.len() - 1)?];
        let classes = self.count("number of labels", 2, LABELS_MAX)?;
        let mut labels: Vec<String> = Vec::with_capacity(classes);
        for _ in 0..classes {
            let bytes = self.count("length of a label", 1, LABEL_BYTES_MAX)?;
            let label = std::str::from_utf8(self.take(bytes)?);
            labels.push(
                label
                    .map_err(|_| ModelFileError::BadField("label"))?
                    .to_owned(),
            );
        }
        if !labels.is_sorted_by(|a, b| a < b) {
            return Err(ModelFileError::BadField("order of labels"));
        }
        let vocabulary = self.vocabulary()?;
        let linear = matches!(algorithm, Algorithm::Linear | Algorithm::Auto);
        let machines = if classes == 2 && linear { 1 } else { classes };
        let weights = self.matrix(vocabulary.len(), machines)?;
        let bias = self.f32s("bias", machines)?;
        let scope = self.count("scope", 0, 1)?;
        let scope = (scope == 1).then(|| self.scope()).transpose()?;
        let sharpness = self.f32s("sharpness", 2)?;
        let tilts = self.f32s("tilt", classes)?;
        let members = self.count("number of networks", 0, WIDTH_MAX)?;
        let network = (members > 0).then(|| self.network(members, classes, vocabulary.len()));
        let mixture = Mixture {
            sharpness: sharpness[0],
            network: network.transpose()?,
            tilts,
            last_sharpness: sharpness[1],
        };
        Ok(TextClassifier {
            algorithm,
            labels,
            vocabulary,
            weights,
            bias,
            mixture,
            scope,
        })
    }

    fn scope(&mut self) -> Result<Scope, ModelFileError> {
        let mut weights = [0.0; SIGNALS];
        weights.copy_from_slice(&self.f32s("scope weight", SIGNALS)?);
        let rest = self.f32s("scope threshold", 2)?;
        Ok(Scope {
            weights,
            bias: rest[0],
            threshold: rest[1],
        })
    }

    fn network(
        &mut self,
        members: usize,
        classes: usize,
        features: usize,
    ) -> Result<(f32, Network), ModelFileError> {
        let hidden = self.count("network width", 1, WIDTH_MAX / members)?;
        let share = self.f32s("network share", 1)?[0];
        let network = Network {
            members,
            hidden,
            classes,
            first: self.matrix(features, members * hidden)?,
            first_bias: self.f32s("network bias", members * hidden)?,
            second: self.f32s("network weight", members * hidden * classes)?,
            second_bias: self.f32s("network bias", members * classes)?,
            centres: self.matrix(members * hidden, classes)?,
        };
        Ok((share, network))
    }
}
