//! A model as one file: which fields its body has, in which order, and which values they may have.

use std::io;
use std::path::Path;

use rapport_model_file::{Format, LoadError, ModelFileError, Reader, Refusal, Writer};

use crate::classifier::{Mixture, TextClassifier};
use crate::features::FeatureOptions;
use crate::network::Network;
use crate::options::{Algorithm, LABEL_BYTES_MAX, LABELS_MAX, MODEL_BYTES_MAX};
use crate::quantised::Quantised;
use crate::scope::{SIGNALS, Scope};
use crate::topic::{TOPIC_FEATURES_MAX, Topic};
use crate::typical::Typical;
use crate::vocabulary::{FEATURES_MAX, Vocabulary, Weighing};

/// Its version changes with the layout below and with how features are keyed.
const FORMAT: Format = Format {
    what: "text model",
    mark: *b"RPTTEXT\0",
    version: 5,
    bytes_max: MODEL_BYTES_MAX,
};
/// Most hidden units of all members of a network together.
const WIDTH_MAX: usize = 4_096;

impl TextClassifier {
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
        FORMAT.read(file, read_model)
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
        FORMAT.load(path, read_model)
    }
}

fn write_model(body: &mut Writer, model: &TextClassifier) {
    let algorithm = Algorithm::ALL.iter().position(|a| *a == model.algorithm);
    body.count(algorithm.expect("every algorithm is in the list of all"));
    body.count(model.labels.len());
    model.labels.iter().for_each(|label| body.text(label));
    let vocabulary = &model.vocabulary;
    let options = &vocabulary.options;
    body.bytes(&[
        options.word_ngrams,
        options.character_ngrams,
        options.subword_min,
        options.subword_max,
        options.segment_ngrams,
        options.pair_window,
    ]);
    body.flag(vocabulary.weighing == Weighing::TfIdf);
    body.f32s(&options.weights);
    body.count(vocabulary.len());
    body.u64s(&vocabulary.keys);
    body.f32s(&vocabulary.idf);
    write_matrix(body, &model.weights);
    body.f32s(&model.bias);
    body.flag(model.scope.is_some());
    if let (Some(scope), Some(typical)) = (&model.scope, &model.typical) {
        body.f32s(&scope.weights);
        body.f32s(&[scope.bias, scope.threshold]);
        body.bytes(&typical.bits);
        typical
            .topics
            .iter()
            .for_each(|topic| write_topic(body, topic));
    }
    let mixture = &model.mixture;
    body.f32s(&[mixture.sharpness, mixture.last_sharpness]);
    body.f32s(&mixture.tilts);
    match &mixture.network {
        None => body.count(0),
        Some((share, network)) => {
            body.count(network.members);
            body.count(network.hidden);
            body.f32s(&[*share]);
            write_matrix(body, &network.first);
            body.f32s(&network.first_bias);
            body.f32s(&network.second);
            body.f32s(&network.second_bias);
            write_matrix(body, &network.centres);
        }
    }
}

fn write_topic(body: &mut Writer, topic: &Topic) {
    body.count(topic.columns.len());
    topic.columns.iter().for_each(|column| body.u32(*column));
    body.f32s(&topic.weights);
}

fn write_matrix(body: &mut Writer, matrix: &Quantised) {
    body.count(matrix.columns);
    body.f32s(&matrix.scales);
    let values: Vec<u8> = matrix.values.iter().map(|it| it.cast_unsigned()).collect();
    body.bytes(&values);
}

fn read_model(body: &mut Reader<'_>) -> Result<TextClassifier, Refusal> {
    let algorithm = Algorithm::ALL[body.count("algorithm", 0..=Algorithm::ALL.len() - 1)?];
    let classes = body.count("number of labels", 2..=LABELS_MAX)?;
    let labels = (0..classes).map(|_| body.text("label", 1..=LABEL_BYTES_MAX));
    let labels: Vec<String> = labels.collect::<Result<_, _>>()?;
    if !labels.is_sorted_by(|a, b| a < b) {
        return Err(Refusal::BadField("order of labels"));
    }
    let vocabulary = read_vocabulary(body)?;
    let linear = matches!(algorithm, Algorithm::Linear | Algorithm::Auto);
    let machines = if classes == 2 && linear { 1 } else { classes };
    let weights = read_matrix(body, vocabulary.len(), machines)?;
    let bias = body.f32s("bias", machines)?;
    let scope = body.flag("scope")?;
    let scope = scope.then(|| read_scope(body, vocabulary.len(), classes));
    let (scope, typical) = scope.transpose()?.unzip();
    let sharpness = body.f32s("sharpness", 2)?;
    let tilts = body.f32s("tilt", classes)?;
    let members = body.count("number of networks", 0..=WIDTH_MAX)?;
    let network = (members > 0).then(|| read_network(body, members, classes, vocabulary.len()));
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
        typical,
        scope,
    })
}

fn read_vocabulary(body: &mut Reader<'_>) -> Result<Vocabulary, Refusal> {
    let [
        word_ngrams,
        character_ngrams,
        subword_min,
        subword_max,
        segment_ngrams,
        pair_window,
    ] = body.array()?;
    let mut options = FeatureOptions {
        word_ngrams,
        character_ngrams,
        subword_min,
        subword_max,
        segment_ngrams,
        pair_window,
        ..FeatureOptions::default()
    };
    let weighing = match body.flag("weighing")? {
        false => Weighing::Counts,
        true => Weighing::TfIdf,
    };
    let weights = body.f32s("group weight", options.weights.len())?;
    options.weights.copy_from_slice(&weights);
    let features = body.count("number of features", 0..=FEATURES_MAX)?;
    let keys = body.u64s(features)?;
    if !keys.is_sorted_by(|a, b| a < b) {
        return Err(Refusal::BadField("order of features"));
    }
    let idf = body.f32s("idf", features)?;
    Ok(Vocabulary::from_parts(options, weighing, keys, idf))
}

fn read_matrix(body: &mut Reader<'_>, rows: usize, columns: usize) -> Result<Quantised, Refusal> {
    let columns = body.count("matrix width", columns..=columns)?;
    let scales = body.f32s("matrix scale", rows)?;
    let values = body.bytes(rows * columns)?.iter();
    Ok(Quantised {
        columns,
        values: values.map(|byte| byte.cast_signed()).collect(),
        scales,
    })
}

fn read_scope(
    body: &mut Reader<'_>,
    features: usize,
    classes: usize,
) -> Result<(Scope, Typical), Refusal> {
    let mut weights = [0.0; SIGNALS];
    weights.copy_from_slice(&body.f32s("scope weight", SIGNALS)?);
    let rest = body.f32s("scope threshold", 2)?;
    let scope = Scope {
        weights,
        bias: rest[0],
        threshold: rest[1],
    };
    let bits = body.bytes(features * Typical::stride(classes))?.to_vec();
    let topics = (0..classes).map(|_| read_topic(body, features));
    let topics = topics.collect::<Result<_, _>>()?;
    Ok((scope, Typical::from_parts(bits, topics)))
}

fn read_topic(body: &mut Reader<'_>, features: usize) -> Result<Topic, Refusal> {
    let length = body.count("features of a topic", 0..=TOPIC_FEATURES_MAX)?;
    let columns = (0..length).map(|_| body.u32());
    let columns: Vec<u32> = columns.collect::<Result<_, _>>()?;
    let known = columns.iter().all(|column| (*column as usize) < features);
    if !known || !columns.is_sorted_by(|a, b| a < b) {
        return Err(Refusal::BadField("features of a topic"));
    }
    let weights = body.f32s("topic weight", length)?;
    Ok(Topic { columns, weights })
}

fn read_network(
    body: &mut Reader<'_>,
    members: usize,
    classes: usize,
    features: usize,
) -> Result<(f32, Network), Refusal> {
    let hidden = body.count("network width", 1..=WIDTH_MAX / members)?;
    let share = body.f32s("network share", 1)?[0];
    let network = Network {
        members,
        hidden,
        classes,
        first: read_matrix(body, features, members * hidden)?,
        first_bias: body.f32s("network bias", members * hidden)?,
        second: body.f32s("network weight", members * hidden * classes)?,
        second_bias: body.f32s("network bias", members * classes)?,
        centres: read_matrix(body, members * hidden, classes)?,
    };
    Ok((share, network))
}
