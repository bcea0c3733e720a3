//! Experiments: who sees what, and what it did. Each question has a file of its own; the whole
//! answer for one metric is put together in `analysis.rs`.

mod analysis;
mod assignment;
mod bayes;
mod correction;
mod cuped;
mod effect;
mod exposure;
mod lifecycle;
mod power;
mod sequential;
mod srm;

pub use analysis::{
    AnalysisError, Arm, ArmAnalysis, MetricKind, Question, SRM_ALARM, Verdict, Warning, analyse,
};
pub use assignment::{Allocation, AllocationError, KEY_CHARS_MAX, VARIANTS_MAX, Variant, assign};
pub use bayes::{beta_binomial_beats, normal_beats};
pub use correction::{benjamini_hochberg, holm};
pub use cuped::{Cuped, cuped};
pub use effect::{Estimate, proportions, ratios, welch};
pub use exposure::{Exposure, ExposureCounts, Exposures, count_exposures};
pub use lifecycle::{State, TransitionError};
pub use power::{Plan, minimum_effect, sample_size_means, sample_size_proportions};
pub use sequential::{SEQUENTIAL_TUNED_AT, anytime_interval, confidence_sequence};
pub use srm::{SampleRatio, sample_ratio};
