//! `rapport lab`: measures every model on anybody's own files, with no server.
//!
//! Every algorithm runs in a child process of its own, so that each peak of memory is its own. Same
//! files, flags and seed give the same answers for any number of threads; times and sizes apart. No
//! network, no clock but that of the processor; the only files written are those of `--save`.

mod args;
mod attribution;
mod churn;
mod classify;
mod clv;
mod conduct;
mod cost;
mod error;
mod experiment;
mod next_item;
mod overlap;
mod print;
mod queue;
mod reader;
mod recommend;
mod resample;
mod row;
#[cfg(test)]
mod support;
mod values;

pub use args::{
    ALGORITHMS_MAX, AttributionArgs, ChurnArgs, ClassifyArgs, ClvArgs, CommonArgs, ExperimentArgs,
    FOLDS_MAX, Folds, K_MAX, LabArgs, NULL_RUNS_MAX, NextItemArgs, ORDER_MAX, QueueArgs,
    RecommendArgs, RerankKind, STRENGTHS_MAX, THREADS_MAX, Task,
};
pub use conduct::run;
pub use error::LabError;
