//! A trained model: probability, logit, and what each column adds to it.

use crate::forest::Forest;
use crate::logistic::Logistic;
use crate::options::Algorithm;
use crate::schema::{Frame, Schema};
use crate::sigmoid;

/// A model of a yes or no, over the columns of its [`Schema`].
///
/// The logit is `bias`, plus a share of a logistic regression, plus a share of boosted trees; the shares
/// hold the blend and the calibration. Memory: at most [`crate::MODEL_BYTES_MAX`] on disk, about twice
/// that loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub(crate) algorithm: Algorithm,
    pub(crate) schema: Schema,
    pub(crate) bias: f64,
    pub(crate) logistic: Option<(f64, Logistic)>,
    pub(crate) trees: Option<(f64, Forest)>,
}

/// Why a row has the logit that it has.
#[derive(Debug, Clone, PartialEq)]
pub struct Reasons {
    /// The logit where no column says anything: the mean over the training rows of the regression's
    /// part, and of each tree's over the rows that were drawn to grow it, which is near their mean and not
    /// equal to it.
    pub base: f64,
    /// What each column of the schema adds, shape `[columns]`; `base` and they sum to the logit.
    pub contributions: Vec<f64>,
}

impl Reasons {
    /// Returns up to `most` columns by falling size of what they add, the first of equals first, each
    /// with what it adds. Columns that add nothing are left out.
    #[must_use]
    pub fn strongest(&self, most: usize) -> Vec<(usize, f64)> {
        let columns = self.contributions.iter().copied().enumerate();
        let mut columns: Vec<(usize, f64)> = columns.filter(|(_, added)| *added != 0.0).collect();
        columns.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        columns.truncate(most);
        columns
    }
}

impl Model {
    /// Returns how it was trained.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the columns that it looks at, and how to encode rows of them.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Returns the logit of an encoded row, shape `[columns]`: the log of the odds of yes, finite.
    ///
    /// Cost: one lookup per column and one path per tree, no allocation.
    ///
    /// # Panics
    ///
    /// Where the row is not one of this model's schema.
    #[must_use]
    pub fn logit(&self, row: &[f64]) -> f64 {
        let mut logit = self.bias;
        if let Some((share, logistic)) = &self.logistic {
            logit += share * logistic.logit(row);
        }
        if let Some((share, trees)) = &self.trees {
            logit += share * trees.logit(row);
        }
        logit
    }

    /// Returns the probability of yes, in `(0, 1)` up to rounding.
    ///
    /// # Panics
    ///
    /// As [`Model::logit`].
    #[must_use]
    pub fn probability(&self, row: &[f64]) -> f64 {
        sigmoid(self.logit(row))
    }

    /// Returns the logits of all rows, shape `[rows]`, side by side on the threads of the caller's pool.
    ///
    /// # Panics
    ///
    /// As [`Model::logit`].
    #[must_use]
    pub fn logits(&self, frame: &Frame) -> Vec<f64> {
        use rayon::prelude::*;
        let rows = (0..frame.rows()).into_par_iter();
        rows.map_init(Vec::new, |row, at| {
            row.clear();
            row.extend(frame.columns.iter().map(|column| column[at]));
            self.logit(row)
        })
        .collect()
    }

    /// Returns what each column adds to the logit of an encoded row.
    ///
    /// The logistic regression's part is what the column adds beyond its mean over the training rows;
    /// the trees' is its Shapley value. Both sum exactly, so their blend does, up to rounding.
    /// Cost: `trees · leaves · depth²`, under a millisecond for the trees that validation picks.
    ///
    /// # Panics
    ///
    /// As [`Model::logit`].
    #[must_use]
    pub fn reasons(&self, row: &[f64]) -> Reasons {
        let mut reasons = Reasons {
            base: self.bias,
            contributions: vec![0.0; row.len()],
        };
        if let Some((share, logistic)) = &self.logistic {
            reasons.base += share * logistic.base;
            logistic.explain(row, *share, &mut reasons.contributions);
        }
        if let Some((share, trees)) = &self.trees {
            reasons.base += share * trees.mean();
            trees.explain(row, *share, &mut reasons.contributions);
        }
        reasons
    }
}
