//! Training: checks the rows, fits the model on all of them with what validation chose. The choosing
//! is in `validate.rs`; no test file is ever seen in either.

use crate::baselines;
use crate::classifier::{Mixture, TextClassifier};
use crate::dual::{SolverOptions, Weights, solve};
use crate::features::FeatureOptions;
use crate::network::{Network, NetworkOptions};
use crate::options::{
    Algorithm, LABEL_BYTES_MAX, LABELS_MAX, MODEL_BYTES_MAX, ROWS_MAX, TrainError, TrainOptions,
    TrainReport,
};
use crate::quantised::Quantised;
use crate::typical::Typical;
use crate::validate::Choice;
use crate::vocabulary::{FEATURES_MAX, Vocabulary, VocabularyOptions, Weighing};

/// From this many rows on a feature must occur twice to be kept.
const PAIRED_ROWS: usize = 5_000;
/// Passes of the solver; it usually stops long before, by its tolerance.
const PASSES_MAX: u32 = 50;
const TOLERANCE: f32 = 0.05;
/// Passes of a network over the rows.
const NETWORK_PASSES: u32 = 15;

/// The rows of a task with their labels as numbers.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    pub(crate) texts: &'a [&'a str],
    /// Class of each text, below `classes`; classes are the labels in byte order.
    pub(crate) labels: &'a [u32],
    pub(crate) classes: usize,
    /// The labels, in byte order.
    pub(crate) names: &'a [String],
    /// Fewest texts that a kept feature occurs in. What is fitted to a part of the rows keeps that of
    /// all: how much of a text is known must mean the same in both.
    pub(crate) texts_min: u32,
    pub(crate) options: &'a TrainOptions,
}

/// Trains a classifier; see [`TextClassifier::train_watched`].
pub(crate) fn train(
    rows: &[(String, String)],
    options: &TrainOptions,
    on_chosen: impl FnOnce() + Send,
) -> Result<(TextClassifier, TrainReport), TrainError> {
    let names = checked_labels(rows)?;
    let texts: Vec<&str> = rows.iter().map(|(text, _)| text.as_str()).collect();
    let labels: Vec<u32> = rows
        .iter()
        .map(|(_, label)| names.partition_point(|name| name < label) as u32)
        .collect();
    let task = Task {
        texts: &texts,
        labels: &labels,
        classes: names.len(),
        names: &names,
        texts_min: if rows.len() >= PAIRED_ROWS { 2 } else { 1 },
        options,
    };
    let threads = options.threads.map_or(0, std::num::NonZeroUsize::get);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| TrainError::Threads(error.to_string()))?;
    Ok(pool.install(|| match options.algorithm {
        Algorithm::Majority | Algorithm::NaiveBayes => {
            on_chosen();
            task.train_baseline()
        }
        Algorithm::Linear | Algorithm::Auto => task.train_chosen(on_chosen),
    }))
}

/// Returns the labels in order, or what is wrong with the rows.
fn checked_labels(rows: &[(String, String)]) -> Result<Vec<String>, TrainError> {
    let first = rows.first().ok_or(TrainError::NoRows)?;
    if rows.len() > ROWS_MAX {
        return Err(TrainError::TooManyRows(rows.len()));
    }
    for (row, (_, label)) in rows.iter().enumerate() {
        if label.is_empty() || label.len() > LABEL_BYTES_MAX {
            return Err(TrainError::BadLabel {
                row,
                bytes: label.len(),
            });
        }
    }
    let names: std::collections::BTreeSet<&String> = rows.iter().map(|(_, label)| label).collect();
    match names.len() {
        1 => Err(TrainError::OneLabel(first.1.clone())),
        count if count > LABELS_MAX => Err(TrainError::TooManyLabels(count)),
        _ => Ok(names.into_iter().cloned().collect()),
    }
}

impl Task<'_> {
    pub(crate) fn vocabulary_options(
        &self,
        weighing: Weighing,
        network_width: usize,
    ) -> VocabularyOptions {
        // Bytes of one feature in the file: key, idf, two scales, one per class and hidden unit, and
        // a bit per class.
        let numbers = 8 + 4 + 4 + 4 + self.classes + network_width;
        let bytes = numbers + Typical::stride(self.classes);
        VocabularyOptions {
            features: FeatureOptions::default(),
            weighing,
            texts_min: self.texts_min,
            features_max: (MODEL_BYTES_MAX / 100 * 96 / bytes).min(FEATURES_MAX),
        }
    }

    pub(crate) fn solver(&self, cost: f32, balance: f32, focus: f32) -> SolverOptions {
        SolverOptions {
            cost,
            balance,
            focus,
            passes_max: PASSES_MAX,
            tolerance: TOLERANCE,
            seed: self.options.seed,
        }
    }

    /// The network's shape: many narrow members for few classes, two wide ones for many.
    pub(crate) fn network_options(&self, drop_input: f32) -> NetworkOptions {
        let (members, hidden) = match self.classes {
            ..=4 => (6, 16),
            5..=32 => (2, 64),
            33.. => (2, 128),
        };
        NetworkOptions {
            members,
            hidden,
            passes: NETWORK_PASSES,
            drop_input,
            seed: self.options.seed,
        }
    }

    fn train_baseline(&self) -> (TextClassifier, TrainReport) {
        let vocabulary =
            Vocabulary::learn(self.texts, &self.vocabulary_options(Weighing::Counts, 0));
        let features = vocabulary.len();
        let naive = self.options.algorithm == Algorithm::NaiveBayes;
        let weights = if naive {
            let rows = vocabulary.rows(self.texts);
            baselines::naive_bayes(&rows, features, self.labels, self.classes)
        } else {
            baselines::majority(features, self.labels, self.classes)
        };
        let mixture = Mixture {
            sharpness: 1.0,
            network: None,
            tilts: vec![0.0; self.classes],
            last_sharpness: 1.0,
        };
        let model = self.assemble(vocabulary, &weights, mixture);
        (model, self.empty_report(features))
    }

    pub(crate) fn empty_report(&self, features: usize) -> TrainReport {
        TrainReport {
            algorithm: self.options.algorithm,
            rows: self.texts.len(),
            features,
            validated_rows: 0,
            validated_accuracy: 0.0,
            validated_macro_f1: 0.0,
            cost: 1.0,
            balance: 0.0,
            focus: 0.0,
            has_network: false,
            network_share: 0.0,
            out_of_scope_auroc: None,
        }
    }

    fn train_chosen(&self, on_chosen: impl FnOnce()) -> (TextClassifier, TrainReport) {
        let choice = self.choose();
        on_chosen();
        let mut model = self.fit(&choice);
        if choice.scope.is_none() {
            model.typical = None;
        }
        model.scope = choice.scope;
        let report = TrainReport {
            features: model.vocabulary.len(),
            ..choice.report
        };
        (model, report)
    }

    /// Fits a model to every row with what was chosen; where its scope ends is left open.
    pub(crate) fn fit(&self, choice: &Choice) -> TextClassifier {
        let width = choice
            .network
            .map_or(0, |(_, network)| network.members * network.hidden);
        let options = self.vocabulary_options(Weighing::TfIdf, width);
        let vocabulary = Vocabulary::learn(self.texts, &options);
        let rows = vocabulary.rows(self.texts);
        let (features, classes) = (vocabulary.len(), self.classes);
        let solver = self.solver(choice.cost, choice.balance, choice.focus);
        let weights = solve(&rows, features, self.labels, classes, &solver);
        let network = choice.network.map(|(share, network)| {
            (
                share,
                Network::train(&rows, features, self.labels, classes, &network),
            )
        });
        let mixture = Mixture {
            sharpness: choice.sharpness,
            network,
            tilts: choice.tilts.clone(),
            last_sharpness: choice.last_sharpness,
        };
        let mut model = self.assemble(vocabulary, &weights, mixture);
        model.typical = Some(Typical::learn(&rows, features, self.labels, classes));
        model
    }

    fn assemble(
        &self,
        vocabulary: Vocabulary,
        weights: &Weights,
        mixture: Mixture,
    ) -> TextClassifier {
        TextClassifier {
            algorithm: self.options.algorithm,
            labels: self.names.to_vec(),
            vocabulary,
            weights: Quantised::from_dense(&weights.values, weights.classes),
            bias: weights.bias.clone(),
            mixture,
            typical: None,
            scope: None,
        }
    }
}
