//! Validation inside the training rows: which cost and focus, which network, how sharp, how much for rare
//! labels. What counts as out of scope is `scope.rs`. Numbers only; nothing is fitted for keeps here.

use std::collections::HashMap;

use rapport_math::Rng;
use rayon::prelude::*;

use crate::calibrate::{accuracy_and_macro_f1, fit_sharpness};
use crate::classifier::spread_binary;
use crate::dual::{SolverOptions, Weights, solve};
use crate::network::{Network, NetworkOptions, softmax};
use crate::options::{Algorithm, TrainReport};
use crate::scope::Scope;
use crate::train::Task;
use crate::vocabulary::{Rows, Vocabulary, Weighing};

/// From this many rows on one fold of a fifth decides; below, every row is validated once.
const ONE_FOLD_ROWS: usize = 20_000;
/// Fewest rows that are worth validating on.
const VALIDATED_ROWS_MIN: usize = 40;
const FOLDS: usize = 5;
/// Costs and balances that validation chooses from: factors of two around the usual 1.
const COSTS: [f32; 4] = [0.25, 0.5, 1.0, 2.0];
const BALANCES: [f32; 3] = [0.0, 0.3, 0.6];
/// How much the log-count ratios scale the features: not at all, or half.
const FOCUSES: [f32; 2] = [0.0, 0.5];
/// Shares of features that a network leaves out, to choose from: for few rows, for many.
const DROPS_FEW_ROWS: &[f32] = &[0.3];
const DROPS_MANY_ROWS: &[f32] = &[0.5, 0.7];
/// Shares of the network in the answer that validation chooses from.
const SHARES: [f32; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// How far the answer may be tilted towards rare labels: exponents of their rarity.
const TILTS: [f32; 4] = [0.0, 0.1, 0.2, 0.3];
/// A network or a tilt must gain this much on validation to be preferred to none: less is luck, and
/// the simpler model is smaller, faster and easier to explain.
const GAIN_MIN: f64 = 0.001;
/// Network multiplications that one CPU-second pays for, measured on a 2020s server core.
const NETWORK_STEPS_PER_SECOND: f64 = 7e8;
/// A network with fewer passes than this is not worth having.
const NETWORK_PASSES_MIN: u32 = 4;
/// Sharpness without validation rows: a margin of one is odds of about e^3.
const SHARPNESS_UNKNOWN: f32 = 3.0;
/// Smallest probability whose logarithm is taken.
const PROBABILITY_MIN: f32 = 1e-9;

/// One fold: rows to fit on, rows to judge by.
pub(crate) struct Fold {
    pub(crate) vocabulary: Vocabulary,
    /// Places of the fitted rows in the task, ascending.
    pub(crate) fitted: Vec<usize>,
    pub(crate) rows: Rows,
    pub(crate) labels: Vec<u32>,
    /// Places of the rows to judge by.
    pub(crate) held: Vec<usize>,
    pub(crate) held_rows: Rows,
    pub(crate) held_labels: Vec<u32>,
}

/// Linear machines that validation may choose, and what they say of the held-out rows.
struct Machines {
    cost: f32,
    balance: f32,
    focus: f32,
    sharpness: f32,
    /// Probabilities, shape `[rows, classes]`.
    held: Vec<f32>,
}

/// What validation chose.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) cost: f32,
    pub(crate) balance: f32,
    pub(crate) focus: f32,
    /// The network and its share of the answer.
    pub(crate) network: Option<(f32, NetworkOptions)>,
    pub(crate) sharpness: f32,
    /// Added to the logarithm of each class's probability.
    pub(crate) tilts: Vec<f32>,
    pub(crate) last_sharpness: f32,
    /// `None` when no label could be held out to find it.
    pub(crate) scope: Option<Scope>,
    pub(crate) report: TrainReport,
}

impl Choice {
    fn take(&mut self, machines: &Machines) {
        (self.cost, self.balance) = (machines.cost, machines.balance);
        (self.focus, self.sharpness) = (machines.focus, machines.sharpness);
    }
}

impl Task<'_> {
    /// Chooses everything by validation; too few rows choose the defaults.
    pub(crate) fn choose(&self) -> Choice {
        let folds = self.folds();
        let mut choice = Choice {
            cost: 1.0,
            balance: 0.0,
            focus: 0.0,
            network: None,
            sharpness: SHARPNESS_UNKNOWN,
            tilts: vec![0.0; self.classes],
            last_sharpness: 1.0,
            scope: None,
            report: self.empty_report(0),
        };
        if folds.is_empty() {
            return choice;
        }
        let truth: Vec<u32> = folds
            .iter()
            .flat_map(|fold| fold.held_labels.clone())
            .collect();
        let machines = FOCUSES.map(|focus| self.best_machines(&folds, &truth, focus));
        let logs = self.choose_mixture(&folds, &truth, &machines, &mut choice);
        choice.last_sharpness = fit_sharpness(&logs, &truth);
        self.choose_scope(&folds, &mut choice);
        let said = argmax_rows(&logs, self.classes);
        let (accuracy, f1) = accuracy_and_macro_f1(&truth, &said, self.classes);
        choice.report.validated_rows = truth.len();
        choice.report.validated_accuracy = accuracy;
        choice.report.validated_macro_f1 = f1;
        choice.report.cost = f64::from(choice.cost);
        choice.report.balance = f64::from(choice.balance);
        choice.report.focus = f64::from(choice.focus);
        choice.report.has_network = choice.network.is_some();
        choice.report.network_share = choice.network.map_or(0.0, |(share, _)| f64::from(share));
        choice
    }

    /// Splits the rows, each label spread evenly over the folds; few rows give no folds. Equal texts stay
    /// together: one that is fitted on would be no test.
    fn folds(&self) -> Vec<Fold> {
        if self.texts.len() < VALIDATED_ROWS_MIN {
            return Vec::new();
        }
        let mut order: Vec<usize> = (0..self.texts.len()).collect();
        Rng::seeded(self.options.seed).fork(1).shuffle(&mut order);
        order.sort_by_key(|row| self.labels[*row]);
        let mut folds: HashMap<&str, usize> = HashMap::new();
        let fold_of: Vec<usize> = order
            .iter()
            .enumerate()
            .map(|(at, row)| *folds.entry(self.texts[*row]).or_insert(at % FOLDS))
            .collect();
        let used = if self.texts.len() >= ONE_FOLD_ROWS {
            1
        } else {
            FOLDS
        };
        let network = self.network_options(0.0);
        let options = self.vocabulary_options(Weighing::TfIdf, network.members * network.hidden);
        let text = |row: &usize| self.texts[*row];
        let label = |row: &usize| self.labels[*row];
        (0..used)
            .map(|fold| {
                let pick = |held: bool| -> Vec<usize> {
                    let places = order.iter().zip(&fold_of);
                    places
                        .filter(|(_, own)| (**own == fold) == held)
                        .map(|(row, _)| *row)
                        .collect()
                };
                let (mut fitted, held) = (pick(false), pick(true));
                fitted.sort_unstable();
                let texts: Vec<&str> = fitted.iter().map(text).collect();
                let vocabulary = Vocabulary::learn(&texts, &options);
                Fold {
                    rows: vocabulary.rows(&texts),
                    labels: fitted.iter().map(label).collect(),
                    held_rows: vocabulary.rows(&held.iter().map(text).collect::<Vec<_>>()),
                    held_labels: held.iter().map(label).collect(),
                    fitted,
                    held,
                    vocabulary,
                }
            })
            .collect()
    }

    /// Chooses the cost, then the balance at that cost, for machines of one focus.
    fn best_machines(&self, folds: &[Fold], truth: &[u32], focus: f32) -> Machines {
        let try_out = |cost: f32, balance: f32| {
            let solver = self.solver(cost, balance, focus);
            let held = folds
                .iter()
                .flat_map(|fold| self.held_margins(fold, &solver));
            let held: Vec<f32> = held.collect();
            let sharpness = SHARPNESS_UNKNOWN;
            let machines = Machines {
                cost,
                balance,
                focus,
                sharpness,
                held,
            };
            (worth(truth, &machines.held, self.classes), machines)
        };
        let better = |best: (f64, Machines), next: (f64, Machines)| {
            if next.0 > best.0 { next } else { best }
        };
        let first = try_out(COSTS[0], BALANCES[0]);
        let costs = COSTS[1..].iter().map(|cost| try_out(*cost, BALANCES[0]));
        let best = costs.fold(first, better);
        let cost = best.1.cost;
        let balances = BALANCES[1..].iter().map(|balance| try_out(cost, *balance));
        let (_, mut machines) = balances.fold(best, better);
        machines.sharpness = fit_sharpness(&machines.held, truth);
        sharpen(&mut machines.held, self.classes, machines.sharpness);
        machines
    }

    fn held_margins(&self, fold: &Fold, solver: &SolverOptions) -> Vec<f32> {
        let features = fold.vocabulary.len();
        let weights = solve(&fold.rows, features, &fold.labels, self.classes, solver);
        margins(&weights, &fold.held_rows, self.classes)
    }

    /// Chooses machines, network, share and tilt, and returns the logarithms of the held-out answers.
    fn choose_mixture(
        &self,
        folds: &[Fold],
        truth: &[u32],
        machines: &[Machines],
        choice: &mut Choice,
    ) -> Vec<f32> {
        let networks = self.held_out_networks(folds);
        let mut best = (f64::NEG_INFINITY, Vec::new());
        for machines in machines {
            let logs = tilted_logs(&machines.held, &self.tilts(0.0));
            let worth = worth(truth, &logs, self.classes) + GAIN_MIN;
            if worth > best.0 {
                best = (worth, logs);
                choice.take(machines);
            }
        }
        let mixtures = machines.iter().flat_map(|machines| {
            let alone = (machines, 0.0, None, machines.held.clone());
            let mixed = networks.iter().flat_map(move |(options, network)| {
                SHARES[1..].iter().map(move |share| {
                    let pairs = machines.held.iter().zip(network);
                    let mixed = pairs.map(|(l, n)| (1.0 - share) * l + share * n).collect();
                    (machines, *share, Some(*options), mixed)
                })
            });
            std::iter::once(alone).chain(mixed)
        });
        for (machines, share, options, mixed) in mixtures {
            let untilted = accuracy(truth, &mixed, self.classes);
            for tilt in TILTS {
                let tilts = self.tilts(tilt);
                let logs = tilted_logs(&mixed, &tilts);
                let worth = worth(truth, &logs, self.classes);
                // Rare labels may not be paid for with right answers.
                if worth > best.0 && accuracy(truth, &logs, self.classes) >= untilted {
                    best = (worth, logs);
                    choice.take(machines);
                    choice.network = options.map(|options| (share, options));
                    choice.tilts = tilts;
                }
            }
        }
        // Even a network that says nothing of the labels may know which texts have none.
        if self.scope_rounds(folds.len()) > 0 && choice.network.is_none() {
            choice.network = networks.first().map(|(options, _)| (0.0, *options));
        }
        best.1
    }

    /// Trains every network that is considered and returns its probabilities for the held-out rows.
    fn held_out_networks(&self, folds: &[Fold]) -> Vec<(NetworkOptions, Vec<f32>)> {
        let drops = match self.options.algorithm {
            Algorithm::Auto if self.texts.len() >= ONE_FOLD_ROWS => DROPS_MANY_ROWS,
            Algorithm::Auto => DROPS_FEW_ROWS,
            Algorithm::Linear | Algorithm::Majority | Algorithm::NaiveBayes => &[],
        };
        let entries = folds[0].rows.entries();
        let affordable = drops.iter().filter_map(|drop| {
            self.affordable(
                self.network_options(*drop),
                entries,
                folds.len() * drops.len() + 1 + self.scope_rounds(folds.len()),
            )
        });
        affordable
            .map(|options| {
                let held = folds.iter().flat_map(|fold| {
                    let (features, labels) = (fold.vocabulary.len(), &fold.labels);
                    let network =
                        Network::train(&fold.rows, features, labels, self.classes, &options);
                    probabilities(&network, &fold.held_rows, self.classes)
                });
                (options, held.collect())
            })
            .collect()
    }

    /// Cuts the passes to what the budget pays for when so many networks are trained, `None` if that
    /// is too few.
    fn affordable(
        &self,
        network: NetworkOptions,
        entries: usize,
        trained: usize,
    ) -> Option<NetworkOptions> {
        let pass = (entries * network.members * network.hidden * trained) as f64;
        let paid = self.options.budget_cpu_seconds * NETWORK_STEPS_PER_SECOND / pass.max(1.0);
        let passes = network.passes.min(paid as u32);
        (passes >= NETWORK_PASSES_MIN).then_some(NetworkOptions { passes, ..network })
    }

    /// Returns what a tilt adds to the logarithm of each class: its rarity to that power.
    fn tilts(&self, tilt: f32) -> Vec<f32> {
        let mut counts = vec![0u32; self.classes];
        self.labels
            .iter()
            .for_each(|label| counts[*label as usize] += 1);
        let even = self.labels.len() as f32 / self.classes as f32;
        counts
            .iter()
            .map(|count| tilt * libm::logf(even / *count as f32))
            .collect()
    }
}

/// What a choice is judged by: accuracy, and a quarter of macro-F1 in it, so that rare labels count.
fn worth(truth: &[u32], scores: &[f32], classes: usize) -> f64 {
    let (accuracy, f1) = accuracy_and_macro_f1(truth, &argmax_rows(scores, classes), classes);
    0.75 * accuracy + 0.25 * f1
}

fn accuracy(truth: &[u32], scores: &[f32], classes: usize) -> f64 {
    accuracy_and_macro_f1(truth, &argmax_rows(scores, classes), classes).0
}

fn argmax_rows(scores: &[f32], classes: usize) -> Vec<u32> {
    scores.chunks(classes).map(argmax).collect()
}

/// Returns the place of the largest score, the first of equals.
pub(crate) fn argmax(scores: &[f32]) -> u32 {
    let mut best = 0;
    for (place, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = place;
        }
    }
    best as u32
}

fn sharpen(scores: &mut [f32], classes: usize, sharpness: f32) {
    for row in scores.chunks_mut(classes) {
        row.iter_mut().for_each(|score| *score *= sharpness);
        softmax(row);
    }
}

/// Computes every row's margin for every class, shape `[rows, classes]`.
pub(crate) fn margins(weights: &Weights, rows: &Rows, classes: usize) -> Vec<f32> {
    let computed: Vec<Vec<f32>> = (0..rows.len())
        .into_par_iter()
        .map(|row| {
            let (columns, values) = rows.row(row);
            let mut scores = weights.bias.clone();
            for (&column, &value) in columns.iter().zip(values) {
                let cells = &weights.values[column as usize * weights.classes..];
                for (score, weight) in scores.iter_mut().zip(cells) {
                    *score += weight * value;
                }
            }
            spread_binary(scores, classes)
        })
        .collect();
    computed.concat()
}

/// Logarithms of probabilities, shape `[rows, classes]`, tilted by class.
fn tilted_logs(probabilities: &[f32], tilts: &[f32]) -> Vec<f32> {
    let rows = probabilities.chunks(tilts.len());
    rows.flat_map(|row| row.iter().zip(tilts).map(|(p, tilt)| log(*p) + tilt))
        .collect()
}

/// The logarithm of a probability that may be 0.
pub(crate) fn log(probability: f32) -> f32 {
    libm::logf(probability.max(PROBABILITY_MIN))
}

fn probabilities(network: &Network, rows: &Rows, classes: usize) -> Vec<f32> {
    let computed: Vec<Vec<f32>> = (0..rows.len())
        .into_par_iter()
        .map(|row| {
            let (columns, values) = rows.row(row);
            let judgement = network.judge(columns, values, &mut Vec::new());
            debug_assert_eq!(judgement.probabilities.len(), classes);
            judgement.probabilities
        })
        .collect();
    computed.concat()
}
