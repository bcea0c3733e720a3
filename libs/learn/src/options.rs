//! What a caller may ask of training, what can be wrong with the rows, what training found.

/// Most rows of one training set.
pub const ROWS_MAX: usize = 20_000_000;
/// Most columns of one table.
pub const COLUMNS_MAX: usize = 10_000;
/// Most cells of one table: with [`CELL_BYTES_MAX`] what bounds its memory.
pub const CELLS_MAX: usize = 400_000_000;
/// Longest cell that is kept; the rest of a longer one is cut off.
pub const CELL_BYTES_MAX: usize = 256;
/// Longest name of a column.
pub const NAME_BYTES_MAX: usize = 1_024;
/// Most named levels of a categorical column; rarer ones share one level.
pub const LEVELS_MAX: usize = 250;
/// Largest model, in bytes, when written to a file.
pub const MODEL_BYTES_MAX: usize = 50_000_000;

/// How a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// The share of yes among the training rows, for everybody: what any model must beat.
    Constant,
    /// Logistic regression.
    Logistic,
    /// Boosted trees.
    Trees,
    /// Whichever of these, or of a blend, is best on rows that it has not seen; the simpler of
    /// near-equals.
    Auto,
}

impl Algorithm {
    /// Every algorithm, simplest first.
    pub const ALL: [Self; 4] = [Self::Constant, Self::Logistic, Self::Trees, Self::Auto];

    /// Returns the name that the command line and reports use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Logistic => "logistic",
            Self::Trees => "trees",
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

/// Options of [`crate::Model::train`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainOptions {
    /// Same rows, options and seed give the same model, byte for byte.
    pub seed: u64,
    /// How to train.
    pub algorithm: Algorithm,
    /// Work that training and choosing may cost, in CPU-seconds of a 2020s server core. It is turned
    /// into counted steps at a fixed rate before training starts: no measured time changes the result.
    pub budget_cpu_seconds: f64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            algorithm: Algorithm::Auto,
            budget_cpu_seconds: 600.0,
        }
    }
}

/// Why a model could not be trained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// There is nothing to learn from.
    #[error("there are no training rows")]
    NoRows,
    /// One label per row is needed.
    #[error("{labels} labels for {rows} rows")]
    Labels {
        /// Rows of the table.
        rows: usize,
        /// Labels that came with them.
        labels: usize,
    },
    /// Nothing to tell apart.
    #[error("the label is {} in every training row, training needs both", if *.0 { "yes" } else { "no" })]
    OneLabel(bool),
    /// Over [`ROWS_MAX`].
    #[error("{0} training rows, the maximum is {ROWS_MAX}")]
    TooManyRows(usize),
    /// Over [`MODEL_BYTES_MAX`]: no service could load it.
    #[error("the model would have {0} bytes, the maximum is {MODEL_BYTES_MAX}")]
    TooLarge(usize),
}

/// One setting that validation tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// Which part of the model it belongs to.
    pub algorithm: Algorithm,
    /// The setting: mean-loss L2 penalty of the logistic regression, most leaves of a tree.
    pub setting: f64,
    /// Trees at which the loss was lowest; 0 for the logistic regression.
    pub rounds: usize,
    /// Mean log-loss over the validated rows.
    pub log_loss: f64,
}

/// What training found out by validation inside the training rows.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainReport {
    /// Training rows.
    pub rows: usize,
    /// Rows of the validation, each predicted by a model that had not seen it. 0: too few rows.
    pub validated_rows: usize,
    /// Mean log-loss over them of the model as it was chosen, calibrated; `None` without validation.
    pub log_loss: Option<f64>,
    /// The same of the constant model.
    pub constant_log_loss: Option<f64>,
    /// Share of the trees in the blended logit, 0 for none.
    pub trees_share: f64,
    /// L2 penalty of the logistic regression per row, `None` where it takes no part.
    pub penalty: Option<f64>,
    /// Trees of the model.
    pub trees: usize,
    /// Most leaves of one of them.
    pub leaves: usize,
    /// Shrinkage of each tree.
    pub rate: f64,
    /// Slope and intercept of the calibration, 1 and 0 where nothing was to be calibrated.
    pub calibration: [f64; 2],
    /// Every setting tried, in the order of trying.
    pub tried: Vec<Tried>,
}
