//! The text classifier as callers see it: train, predict, explain. How it is fitted is `train.rs`,
//! how it is written to a file is `file.rs`.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::features::Occurrence;
use crate::network::{Judgement, Network, largest, softmax};
use crate::options::{Algorithm, TrainError, TrainOptions, TrainReport};
use crate::quantised::Quantised;
use crate::scope::{Scope, Signs};
use crate::typical::Typical;
use crate::validate::{argmax, log};
use crate::vocabulary::{RowBuffer, Vocabulary};

thread_local! {
    /// Extraction buffers, so that a warm prediction allocates little.
    static BUFFER: RefCell<RowBuffer> = RefCell::default();
}

/// Assigns one of the labels it was trained with to a text, in Chinese, English or both.
///
/// Immutable once trained: share it between threads behind an `Arc`. Under 50 MB as a file.
#[derive(Debug, Clone)]
pub struct TextClassifier {
    pub(crate) algorithm: Algorithm,
    /// In byte order.
    pub(crate) labels: Vec<String>,
    pub(crate) vocabulary: Vocabulary,
    /// Shape `[features, labels]`, or `[features, 1]` when there are two labels.
    pub(crate) weights: Quantised,
    pub(crate) bias: Vec<f32>,
    pub(crate) mixture: Mixture,
    /// What each label was trained with; kept in a file only together with `scope`.
    pub(crate) typical: Option<Typical>,
    /// What tells texts of no label; `None` when no label could be held out to find it.
    pub(crate) scope: Option<Scope>,
}

/// How margins and the network become probabilities.
#[derive(Debug, Clone)]
pub(crate) struct Mixture {
    /// Factor on the margins before the softmax.
    pub(crate) sharpness: f32,
    /// The network and its share of the answer.
    pub(crate) network: Option<(f32, Network)>,
    /// Added to the logarithm of each label's mixed probability: what it gets for being rare.
    pub(crate) tilts: Vec<f32>,
    /// Factor on the tilted logarithms of the mixed probabilities before the last softmax.
    pub(crate) last_sharpness: f32,
}

/// What a classifier says about one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction<'a> {
    /// The most likely label.
    pub label: &'a str,
    /// Its probability, in `[0, 1]`, calibrated on rows that training had held out.
    pub probability: f64,
    /// Every label with its probability, most likely first, ties by label. Sums to 1.
    pub ranked: Vec<(&'a str, f64)>,
    /// True if the text is unlike everything that any label was trained with. `label` is then the
    /// least bad guess.
    pub out_of_scope: bool,
    /// How much at home the text is: the log odds, even at the start, that one of the labels fits. What
    /// `out_of_scope` compares with the threshold. Unbounded; without labels to learn this from, the
    /// best label's margin.
    pub confidence: f64,
}

/// One reason for a prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    /// The piece of the normalised text: a word, a run of words or characters, a part of a word, or
    /// two words joined by ` + `.
    pub feature: String,
    /// How much it speaks for the label against the average label, in margins.
    pub weight: f64,
}

/// Most reasons that [`TextClassifier::why`] returns.
pub const REASONS_MAX: usize = 50;

impl TextClassifier {
    /// Trains a classifier from rows of text and label, choosing its settings by validation inside
    /// these rows.
    ///
    /// * Same rows, options and seed give the same model, whatever the number of threads.
    /// * Cost: seconds for 10,000 short texts in 77 labels on two cores, linear in rows and labels;
    ///   memory is about 2 kB per row and label-free.
    ///
    /// # Errors
    ///
    /// [`TrainError`], before any work, when the rows cannot be learned from.
    pub fn train(rows: &[(String, String)], options: &TrainOptions) -> Result<Self, TrainError> {
        Self::train_reported(rows, options).map(|(model, _)| model)
    }

    /// [`TextClassifier::train`], and what validation found on the way.
    ///
    /// # Errors
    ///
    /// As [`TextClassifier::train`].
    pub fn train_reported(
        rows: &[(String, String)],
        options: &TrainOptions,
    ) -> Result<(Self, TrainReport), TrainError> {
        crate::train::train(rows, options, || {})
    }

    /// [`TextClassifier::train_reported`], which says when it has chosen and begins to fit for good, so
    /// that what choosing costs can be told from what fitting costs.
    ///
    /// # Errors
    ///
    /// As [`TextClassifier::train`]; `on_chosen` was not called then.
    pub fn train_watched(
        rows: &[(String, String)],
        options: &TrainOptions,
        on_chosen: impl FnOnce() + Send,
    ) -> Result<(Self, TrainReport), TrainError> {
        crate::train::train(rows, options, on_chosen)
    }

    /// Returns how the model was trained.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the labels, in byte order.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Says which label a text has. Never fails: a text of nothing known gets the average answer.
    ///
    /// Cost: tens of microseconds for a short text, one thread.
    #[must_use]
    pub fn predict(&self, text: &str) -> Prediction<'_> {
        let (signs, probabilities) = BUFFER.with_borrow_mut(|buffer| self.judge(text, buffer));
        let mut ranked: Vec<(&str, f64)> = self
            .labels
            .iter()
            .map(String::as_str)
            .zip(probabilities.into_iter().map(f64::from))
            .collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let (label, probability) = ranked[0];
        let confidence = self
            .scope
            .as_ref()
            .map_or(signs.margin, |scope| scope.confidence(&signs));
        Prediction {
            label,
            probability,
            ranked,
            out_of_scope: self
                .scope
                .as_ref()
                .is_some_and(|scope| confidence < scope.threshold),
            confidence: f64::from(confidence),
        }
    }

    /// Returns the `k` features (at most [`REASONS_MAX`]) that speak most for a text's most likely
    /// label, strongest first, ties by feature. The linear part of the model alone is explained.
    #[must_use]
    pub fn why(&self, text: &str, k: usize) -> Vec<Reason> {
        let label = self.predict(text).label;
        let label = self.labels.partition_point(|name| name.as_str() < label);
        let mut places: BTreeMap<u32, Occurrence> = BTreeMap::new();
        BUFFER.with_borrow_mut(|buffer| {
            buffer
                .extractor
                .each(text, &self.vocabulary.options, |occurrence| {
                    if let Some(column) = self.vocabulary.column(occurrence.key) {
                        places.entry(column).or_insert(occurrence);
                    }
                });
            let normal = buffer.extractor.normal.clone();
            self.vocabulary.fill(text, buffer);
            let mut reasons: Vec<Reason> = buffer
                .columns
                .iter()
                .zip(&buffer.values)
                .map(|(column, value)| Reason {
                    feature: surface(&normal, &places[column]),
                    weight: f64::from(value * self.lean(*column as usize, label)),
                })
                .filter(|reason| reason.weight > 0.0)
                .collect();
            reasons.sort_by(|a, b| {
                b.weight
                    .total_cmp(&a.weight)
                    .then_with(|| a.feature.cmp(&b.feature))
            });
            // A word and the piece that is all of it read the same: keep the stronger.
            let mut seen = std::collections::BTreeSet::new();
            reasons.retain(|reason| seen.insert(reason.feature.clone()));
            reasons.truncate(k.min(REASONS_MAX));
            reasons
        })
    }

    /// How much a feature speaks for a label against the average label.
    fn lean(&self, column: usize, label: usize) -> f32 {
        let columns = self.weights.columns;
        if columns == 1 {
            let weight = self.weights.get(column, 0);
            return if label == 1 { weight } else { -weight };
        }
        let all: f32 = (0..columns)
            .map(|other| self.weights.get(column, other))
            .sum();
        self.weights.get(column, label) - all / columns as f32
    }

    /// Returns what speaks for the text being in scope, and the probability of every label.
    pub(crate) fn judge(&self, text: &str, buffer: &mut RowBuffer) -> (Signs, Vec<f32>) {
        self.vocabulary.fill(text, buffer);
        let margins = self.margins(buffer);
        let network = self.mixture.network.as_ref();
        let judgement = network
            .map(|(_, network)| network.judge(&buffer.columns, &buffer.values, &mut buffer.scaled));
        let probabilities = self.probabilities(&margins, judgement.as_ref());
        let (typicality, topic) = self.typical.as_ref().map_or((0.0, 0.0), |typical| {
            let (columns, values) = (&buffer.columns, &buffer.values);
            let answer = argmax(&probabilities);
            let topic = &typical.topics[answer as usize];
            (
                typical.share(columns, values, answer),
                topic.cosine(columns, values),
            )
        });
        let signs = Signs {
            margin: largest(&margins),
            top_score: judgement.as_ref().map_or(0.0, |it| it.top_score),
            nearness: judgement.as_ref().map_or(0.0, |it| it.nearness),
            typicality,
            beyond_topic: typicality - topic,
            known: buffer.known,
            length: libm::logf(1.0 + buffer.columns.len() as f32),
        };
        (signs, probabilities)
    }

    fn margins(&self, buffer: &mut RowBuffer) -> Vec<f32> {
        let mut margins = self.bias.clone();
        let RowBuffer {
            columns,
            values,
            scaled,
            ..
        } = buffer;
        self.weights.add_rows(columns, values, scaled, &mut margins);
        spread_binary(margins, self.labels.len())
    }

    fn probabilities(&self, margins: &[f32], judgement: Option<&Judgement>) -> Vec<f32> {
        let mixture = &self.mixture;
        let mut mixed: Vec<f32> = margins
            .iter()
            .map(|margin| margin * mixture.sharpness)
            .collect();
        softmax(&mut mixed);
        if let (Some((share, _)), Some(judgement)) = (&mixture.network, judgement) {
            for (probability, network) in mixed.iter_mut().zip(&judgement.probabilities) {
                *probability = (1.0 - share) * *probability + share * network;
            }
        }
        for (probability, tilt) in mixed.iter_mut().zip(&mixture.tilts) {
            *probability = (log(*probability) + tilt) * mixture.last_sharpness;
        }
        softmax(&mut mixed);
        mixed
    }
}

/// One machine tells two labels apart: its margin speaks for the second and against the first.
pub(crate) fn spread_binary(margins: Vec<f32>, classes: usize) -> Vec<f32> {
    match margins[..] {
        [margin] if classes == 2 => vec![-margin, margin],
        _ => margins,
    }
}

fn surface(normal: &str, occurrence: &Occurrence) -> String {
    let cut = |(start, end): (u32, u32)| &normal[start as usize..end as usize];
    if occurrence.first == occurrence.last {
        cut(occurrence.first).to_owned()
    } else {
        format!("{} + {}", cut(occurrence.first), cut(occurrence.last))
    }
}
