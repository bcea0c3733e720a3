//! What a caller may ask of training, and what can be wrong with the rows.

use std::num::NonZeroUsize;

/// Most rows of one training set.
pub const ROWS_MAX: usize = 2_000_000;
/// Most different labels.
pub const LABELS_MAX: usize = 1_000;
/// Longest label, in bytes.
pub const LABEL_BYTES_MAX: usize = 256;
/// Largest model, in bytes, when written to a file.
pub const MODEL_BYTES_MAX: usize = 50_000_000;

/// How a classifier is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// Always the most frequent label: what any model must beat.
    Majority,
    /// Multinomial naive Bayes over counts.
    NaiveBayes,
    /// Linear support vector machines over TF-IDF features, their cost chosen by validation.
    Linear,
    /// `Linear`, and a small neural network averaged with it in the proportion that validation
    /// inside the training rows prefers (which may be none of it).
    Auto,
}

impl Algorithm {
    /// Every algorithm, simplest first.
    pub const ALL: [Self; 4] = [Self::Majority, Self::NaiveBayes, Self::Linear, Self::Auto];

    /// Returns the name that the command line and reports use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Majority => "majority",
            Self::NaiveBayes => "naive-bayes",
            Self::Linear => "linear",
            Self::Auto => "auto",
        }
    }

    /// Returns the algorithm of a name, `None` if there is none.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// Options of [`crate::TextClassifier::train`].
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// Same rows, options and seed give the same model, byte for byte.
    pub seed: u64,
    /// Threads to use, `None` for all; the model does not depend on it.
    pub threads: Option<NonZeroUsize>,
    /// How to train.
    pub algorithm: Algorithm,
    /// Work that training may cost, in CPU-seconds of a 2020s server core. It is turned into counted
    /// steps at a fixed rate before training starts: no measured time changes the result.
    pub budget_cpu_seconds: f64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            threads: None,
            algorithm: Algorithm::Auto,
            budget_cpu_seconds: 600.0,
        }
    }
}

/// Why a classifier could not be trained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// There is nothing to learn from.
    #[error("there are no training rows")]
    NoRows,
    /// Nothing to tell apart.
    #[error("every row has the label {0:?}, training needs two")]
    OneLabel(String),
    /// Over [`ROWS_MAX`].
    #[error("{0} training rows, the maximum is {ROWS_MAX}")]
    TooManyRows(usize),
    /// Over [`LABELS_MAX`]: is the label column the text column?
    #[error("{0} different labels, the maximum is {LABELS_MAX}")]
    TooManyLabels(usize),
    /// An empty label, or one over [`LABEL_BYTES_MAX`].
    #[error("row {row} has a label of {bytes} bytes, 1 to {LABEL_BYTES_MAX} are allowed")]
    BadLabel {
        /// Index of the row, from 0.
        row: usize,
        /// Its length.
        bytes: usize,
    },
    /// The operating system gave no threads.
    #[error("could not start the training threads: {0}")]
    Threads(String),
}

/// What training found out by validation inside the training rows.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainReport {
    /// How the model was trained.
    pub algorithm: Algorithm,
    /// Training rows.
    pub rows: usize,
    /// Features kept.
    pub features: usize,
    /// Rows of the validation, each predicted by a model that had not seen it. 0: too few rows.
    pub validated_rows: usize,
    /// Share of them predicted right.
    pub validated_accuracy: f64,
    /// Mean over the labels of the F1 of the validation.
    pub validated_macro_f1: f64,
    /// Cost of an error that the linear machines were given.
    pub cost: f64,
    /// Exponent of the extra cost of rare labels.
    pub balance: f64,
    /// How much the log-count ratios of the features scaled them for the linear machines.
    pub focus: f64,
    /// Whether the model keeps a network.
    pub has_network: bool,
    /// Share of the network in the answer. 0 with a network: it only tells texts of no label.
    pub network_share: f64,
    /// Area under the ROC curve of known against unknown texts, with labels held out in turn to play
    /// the unknown; `None` if there were too few labels to try.
    pub out_of_scope_auroc: Option<f64>,
}
