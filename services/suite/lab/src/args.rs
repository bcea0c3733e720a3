//! The command line of `rapport lab`. Doc comments are the help text.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// Largest `--k`.
pub const K_MAX: u64 = 1_000;
/// Largest `--threads`.
pub const THREADS_MAX: usize = 1_024;
/// Largest `--null-runs`.
pub const NULL_RUNS_MAX: u64 = 100_000;
/// Largest `--order`.
pub const ORDER_MAX: u64 = evaluate_domain::attribution::ORDER_MAX as u64;
/// Most folds, and most repeats, of `--cv`.
pub const FOLDS_MAX: usize = 50;
/// Most values of `--strengths`.
pub const STRENGTHS_MAX: usize = 21;
/// Most names in one `--algorithm`.
pub const ALGORITHMS_MAX: usize = 32;

/// What `rapport lab` measures.
#[derive(Debug, Clone, clap::Args)]
pub struct LabArgs {
    /// The task.
    #[command(subcommand)]
    pub task: Task,
}

/// A task of the laboratory.
#[derive(Debug, Clone, clap::Subcommand, Serialize, Deserialize)]
pub enum Task {
    /// Ranks every item for every test user: recall, NDCG, coverage, diversity, novelty.
    Recommend(RecommendArgs),
    /// Predicts the next item of sessions: hit rate, reciprocal rank.
    NextItem(NextItemArgs),
    /// Assigns labels to texts: accuracy, macro-F1, microseconds per text.
    Classify(ClassifyArgs),
    /// Compares the arms of an experiment: effects, intervals, health, verdict.
    Experiment(ExperimentArgs),
    /// Credits channels with the conversions of journeys: seven models, removal effects, synergy.
    Attribution(AttributionArgs),
    /// Foretells who leaves: area under the curve, Brier score, calibration, reasons per person.
    Churn(ChurnArgs),
    /// Foretells what each customer will buy and is worth: BG/NBD and Gamma-Gamma.
    Clv(ClvArgs),
    /// Says what a queue does and needs, by theory, by simulation, or by playing real calls again.
    Queue(QueueArgs),
    /// Measures one algorithm for a parent process, which speaks JSON to it.
    #[command(hide = true)]
    Child,
}

impl Task {
    /// Returns the flags that every task has; `None` for a child, whose parent sends them.
    pub(crate) fn common(&self) -> Option<&CommonArgs> {
        match self {
            Self::Recommend(args) => Some(&args.common),
            Self::NextItem(args) => Some(&args.common),
            Self::Classify(args) => Some(&args.common),
            Self::Experiment(args) => Some(&args.common),
            Self::Attribution(args) => Some(&args.common),
            Self::Churn(args) => Some(&args.common),
            Self::Clv(args) => Some(&args.common),
            Self::Queue(args) => Some(&args.common),
            Self::Child => None,
        }
    }
}

/// The flags of every task.
#[derive(Debug, Clone, clap::Args, Serialize, Deserialize)]
pub struct CommonArgs {
    /// Print one JSON object per line instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Same files, flags and seed give the same answers.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads to use, all by default; the answers do not depend on it.
    #[arg(long)]
    pub threads: Option<NonZeroUsize>,
    /// What to measure: names, `auto` or `all`; every one by default.
    #[arg(long, value_delimiter = ',')]
    pub algorithm: Vec<String>,
    /// Work that training and choosing may cost, counted in steps and not by the clock.
    #[arg(long, default_value_t = 600.0)]
    pub budget_cpu_seconds: f64,
    /// Write the chosen model to this file, as the services load it.
    #[arg(long)]
    pub save: Option<PathBuf>,
    /// Only the first N test users, texts or rows.
    #[arg(long)]
    pub limit: Option<NonZeroUsize>,
    /// Leave out test rows that stand in the training file too.
    #[arg(long)]
    pub drop_overlap: bool,
}

/// Flags of `lab recommend`.
#[derive(Debug, Clone, clap::Args, Serialize, Deserialize)]
pub struct RecommendArgs {
    /// Training file: `user,item[,timestamp][,weight]`.
    #[arg(long)]
    pub train: PathBuf,
    /// Test file of the same columns, read only to measure.
    #[arg(long)]
    pub test: PathBuf,
    /// Length of the lists.
    #[arg(long, default_value_t = 20, value_parser = RangedU64ValueParser::<u64>::new().range(1..=K_MAX))]
    pub k: u64,
    /// What is written about items: `item,text…`; enables `content`.
    #[arg(long)]
    pub items: Option<PathBuf>,
    /// Who is whose friend: `user,friend`; friends' histories join every model at the share that
    /// validation chooses, and each row says what that gained.
    #[arg(long)]
    pub social: Option<PathBuf>,
    /// Makes lists more various, by maximal marginal relevance or a determinantal point process: one row
    /// per way and strength.
    #[arg(long, value_enum, value_delimiter = ',', requires = "strengths")]
    pub rerank: Vec<RerankKind>,
    /// From 0, the order of scores, to 1, variety alone.
    #[arg(long, value_delimiter = ',', requires = "rerank")]
    pub strengths: Vec<f32>,
    /// Flags of every task.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Flags of `lab next-item`.
#[derive(Debug, Clone, clap::Args, Serialize, Deserialize)]
pub struct NextItemArgs {
    /// Training file: `session,item,timestamp`; the timestamp may be a position.
    #[arg(long)]
    pub train: PathBuf,
    /// Test file of the same columns, read only to measure.
    #[arg(long)]
    pub test: PathBuf,
    /// Length of the lists.
    #[arg(long, default_value_t = 20, value_parser = RangedU64ValueParser::<u64>::new().range(1..=K_MAX))]
    pub k: u64,
    /// Flags of every task.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// How `lab recommend` makes lists more various.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RerankKind {
    /// Maximal marginal relevance.
    Mmr,
    /// A determinantal point process.
    Dpp,
}

/// Flags of `lab classify`.
#[derive(Debug, Clone, clap::Args, Serialize, Deserialize)]
pub struct ClassifyArgs {
    /// Training file: `text,label`.
    #[arg(long)]
    pub train: PathBuf,
    /// Test file of the same columns, read only to measure.
    #[arg(long)]
    pub test: PathBuf,
    /// The label of texts that belong to no other; the model must reject them.
    #[arg(long, conflicts_with = "hold_out_labels")]
    pub out_of_scope: Option<String>,
    /// Draws N labels by seed: their test rows become out of scope, their training rows go.
    #[arg(long, value_name = "N")]
    pub hold_out_labels: Option<NonZeroUsize>,
    /// Flags of every task.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Flags of `lab experiment`.
#[derive(Debug, Clone, clap::Args, Serialize, Deserialize)]
pub struct ExperimentArgs {
    /// The file: any columns, one row per unit unless `--unit` says otherwise.
    #[arg(long)]
    pub data: PathBuf,
    /// Column with the arm.
    #[arg(long)]
    pub variant: String,
    /// Column with the metric: a number or a truth value.
    #[arg(long)]
    pub metric: String,
    /// Column that names the unit: its rows' metrics are added up, its covariate is their mean, its
    /// arm is that of its first row.
    #[arg(long)]
    pub unit: Option<String>,
    /// Column with a number from before the experiment, for CUPED.
    #[arg(long)]
    pub covariate: Option<String>,
    /// The arm to compare with. Required above two arms; of two it is the other than `--treated`, else
    /// the one named `control`, else the first by name.
    #[arg(long)]
    pub control: Option<String>,
    /// The treated arm whose row is the chosen one; the largest by default.
    #[arg(long)]
    pub treated: Option<String>,
    /// Shares that the arms were promised, such as `a=1,b=1,c=2`; equal by default.
    #[arg(long, value_delimiter = ',', value_name = "V=W")]
    pub allocation: Vec<String>,
    /// Also simulate N experiments without effect on this file's metric, and count false alarms.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1..=NULL_RUNS_MAX))]
    pub null_runs: Option<u64>,
    /// Units between two looks at each of them.
    #[arg(long, value_name = "N", requires = "null_runs", default_value = "100")]
    pub look_every: NonZeroUsize,
    /// Flags of every task.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Flags of `lab attribution`.
#[derive(Debug, Clone, clap::Args, Serialize, Deserialize)]
pub struct AttributionArgs {
    /// The file: `path,conversions[,value][,null]`, the steps of a path joined by ` > `.
    #[arg(long)]
    pub paths: PathBuf,
    /// Steps that the Markov chain remembers.
    #[arg(long, default_value_t = 1, value_parser = RangedU64ValueParser::<u64>::new().range(1..=ORDER_MAX))]
    pub order: u64,
    /// Flags of every task.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Flags of `lab churn`.
#[derive(Debug, Clone, clap::Args, Serialize, Deserialize)]
pub struct ChurnArgs {
    /// Training file: any columns, one row per person.
    #[arg(long, requires = "test", required_unless_present = "data")]
    pub train: Option<PathBuf>,
    /// Test file of the same columns, read only to measure.
    #[arg(long, requires = "train")]
    pub test: Option<PathBuf>,
    /// The one file of a cross-validation, in place of `--train` and `--test`.
    #[arg(long, requires = "cv", conflicts_with_all = ["train", "test"])]
    pub data: Option<PathBuf>,
    /// Column with the truth value: did this person leave?
    #[arg(long)]
    pub label: String,
    /// Folds and how often to fold anew, such as `5x5`.
    #[arg(long, value_name = "FxR", requires = "data", value_parser = folds)]
    pub cv: Option<Folds>,
    /// Columns to leave out, such as a customer's number.
    #[arg(long, value_delimiter = ',')]
    pub ignore: Vec<String>,
    /// Flags of every task.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// A cross-validation: in how many parts, how many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folds {
    /// Parts, 2 to [`FOLDS_MAX`].
    pub folds: usize,
    /// Repeats, 1 to [`FOLDS_MAX`].
    pub repeats: usize,
}

fn folds(text: &str) -> Result<Folds, String> {
    let parse = |part: &str| part.trim().parse::<usize>().ok();
    let (folds, repeats) = match text.split_once(['x', 'X']) {
        Some((folds, repeats)) => (parse(folds), parse(repeats)),
        None => (parse(text), Some(1)),
    };
    match (folds, repeats) {
        (Some(folds @ 2..=FOLDS_MAX), Some(repeats @ 1..=FOLDS_MAX)) => {
            Ok(Folds { folds, repeats })
        }
        _ => Err(format!(
            "write folds x repeats, such as 5x5, the folds from 2 and both to {FOLDS_MAX}"
        )),
    }
}

/// Flags of `lab clv`.
#[derive(Debug, Clone, clap::Args, Serialize, Deserialize)]
pub struct ClvArgs {
    /// Transactions: `customer,date[,quantity],amount`; the last column is the amount.
    #[arg(long)]
    pub transactions: PathBuf,
    /// Last day that the model may learn from, `YYYY-MM-DD` or `YYYYMMDD`; what follows is the hold-out.
    #[arg(long, value_name = "DATE")]
    pub calibration_end: String,
    /// Flags of every task.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Flags of `lab queue`.
#[derive(Debug, Clone, clap::Args, Serialize, Deserialize)]
pub struct QueueArgs {
    /// Cases that arrive in an hour.
    #[arg(long, required_unless_present = "calls", conflicts_with = "calls")]
    pub per_hour: Option<f64>,
    /// Mean time that one case keeps one agent.
    #[arg(long, required_unless_present = "calls", conflicts_with = "calls")]
    pub handle_seconds: Option<f64>,
    /// Agents on duty, always.
    #[arg(long)]
    pub agents: NonZeroU32,
    /// Within how long an answer counts for the service level.
    #[arg(long)]
    pub target_seconds: f64,
    /// Mean time after which a waiting case gives up; by default nobody does.
    #[arg(long, conflicts_with = "calls")]
    pub patience_seconds: Option<f64>,
    /// Also simulate the queue, call by call.
    #[arg(long, conflicts_with = "calls")]
    pub simulate: bool,
    /// Plays these calls instead:
    /// `arrival,service_seconds,priority,type,wait_seconds,outcome,patience_seconds`.
    #[arg(long)]
    pub calls: Option<PathBuf>,
    /// Which policies to play: another name for `--algorithm`.
    #[arg(
        long,
        value_delimiter = ',',
        requires = "calls",
        conflicts_with = "algorithm"
    )]
    pub policy: Vec<String>,
    /// Flags of every task.
    #[command(flatten)]
    pub common: CommonArgs,
}

impl CommonArgs {
    /// Checks what the parser cannot.
    pub(crate) fn validate(&self) -> Result<(), LabError> {
        if !(self.budget_cpu_seconds.is_finite() && self.budget_cpu_seconds > 0.0) {
            return Err(LabError::input("--budget-cpu-seconds must be above 0"));
        }
        if self
            .threads
            .is_some_and(|threads| threads.get() > THREADS_MAX)
        {
            return Err(LabError::input(format!(
                "--threads must be at most {THREADS_MAX}"
            )));
        }
        Ok(())
    }

    /// Returns the algorithms asked for in a task that has no `auto` of its own, because it validates
    /// nothing: the name means the one that such a task chooses by itself.
    pub(crate) fn algorithms_or_default(
        &self,
        known: &[&'static str],
        default: &'static str,
    ) -> Result<Vec<&'static str>, LabError> {
        let meant = |name: &String| match name.as_str() {
            "auto" => default.to_owned(),
            _ => name.clone(),
        };
        let algorithm = self.algorithm.iter().map(meant).collect();
        Self {
            algorithm,
            ..self.clone()
        }
        .algorithms(known)
    }

    /// Returns the algorithms asked for: in the order of `known`, or as named, each once.
    pub(crate) fn algorithms(&self, known: &[&'static str]) -> Result<Vec<&'static str>, LabError> {
        if self.algorithm.len() > ALGORITHMS_MAX {
            return Err(LabError::input(format!(
                "--algorithm takes at most {ALGORITHMS_MAX} names"
            )));
        }
        let is_all = |name: &&String| *name == "all";
        let mut chosen = Vec::new();
        for name in self.algorithm.iter().filter(|name| !is_all(name)) {
            let Some(found) = known.iter().find(|other| *other == name) else {
                let names = known.join(", ");
                return Err(LabError::input(format!(
                    "--algorithm {name}: unknown here; there are {names}, and `all`"
                )));
            };
            if !chosen.contains(found) {
                chosen.push(*found);
            }
        }
        let everything = self.algorithm.is_empty() || self.algorithm.iter().any(|it| is_all(&it));
        Ok(if everything { known.to_vec() } else { chosen })
    }
}
