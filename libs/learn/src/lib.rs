//! Models over tables of any columns that several services share: a calibrated logistic regression,
//! boosted trees, and a choice or blend of both, each with the reasons of every answer.
//!
//! Pure: same rows, options and seed give the same model for any number of threads. The one exception
//! to "no I/O" is saving and loading a model file. Nothing here knows what a shopper or an ad is.
//!
//! A [`Table`] holds cells as text; a [`Model`] finds out from its training rows which columns are
//! numbers and which are categories ([`Schema`]), learns, and answers with a probability whose logit is
//! the exact sum of one contribution per column.

mod binned;
mod boost;
mod calibrate;
mod date;
mod file;
mod forest;
mod logistic;
mod model;
mod options;
mod schema;
mod shap;
mod table;
mod train;
mod tree;
mod validate;

pub use calibrate::logit_slope;
pub use date::date_ms;
pub use model::{Model, Reasons};
pub use options::{
    Algorithm, CELL_BYTES_MAX, CELLS_MAX, COLUMNS_MAX, LEVELS_MAX, MODEL_BYTES_MAX, NAME_BYTES_MAX,
    ROWS_MAX, TrainError, TrainOptions, TrainReport, Tried,
};
pub use rapport_model_file::{LoadError, ModelFileError};
pub use schema::{Dropped, Frame, Schema};
pub use table::{Table, TableError};
pub use validate::deal_folds;

/// Returns `ln(1 + exp(x))` without overflow: the log-loss of a logit against a no, of its negative
/// against a yes. Relative error of a few ulp.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

/// Returns `1 / (1 + exp(-x))` without overflow.
pub(crate) fn sigmoid(x: f64) -> f64 {
    let small = libm::exp(-x.abs());
    (if x >= 0.0 { 1.0 } else { small }) / (1.0 + small)
}

/// Returns the log-loss of one logit.
pub(crate) fn log_loss(logit: f64, label: bool) -> f64 {
    softplus(if label { -logit } else { logit })
}

/// Returns the logit of the share of yes, half a row of each kind added so that it is finite.
pub(crate) fn constant_logit(yes: usize, rows: usize) -> f64 {
    libm::log((yes as f64 + 0.5) / ((rows - yes) as f64 + 0.5))
}
