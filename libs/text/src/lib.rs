//! Language: normalising, cutting into words (Chinese and English), n-gram features, text
//! classifiers and a small emotion lexicon.
//!
//! Pure: the same text and model give the same answer, on any machine and number of threads. The one
//! exception to "no I/O" is saving and loading a model file. Nothing here knows what a case, a
//! shopper or an RPC is.

mod baselines;
mod calibrate;
mod classifier;
mod dual;
mod features;
mod file;
mod language;
mod lexicon;
mod network;
mod normalise;
mod options;
mod quantised;
mod scope;
mod tokenise;
mod topic;
mod train;
mod typical;
mod validate;
mod vocabulary;

pub use classifier::{Prediction, REASONS_MAX, Reason, TextClassifier};
pub use language::{Language, guess_language};
pub use lexicon::{EVIDENCE_MAX, Emotion, Feeling, feel};
pub use normalise::{TEXT_CHARS_MAX, normalise};
pub use options::{
    Algorithm, LABEL_BYTES_MAX, LABELS_MAX, MODEL_BYTES_MAX, ROWS_MAX, TrainError, TrainOptions,
    TrainReport,
};
pub use rapport_model_file::{LoadError, ModelFileError};
pub use tokenise::words;
