//! Choosing by rows that a model has not seen: folds, the penalty of the logistic regression, the size
//! and number of trees. Everything here happens inside the training rows.

use rapport_math::Rng;
use rayon::prelude::*;

use crate::binned::Binned;
use crate::boost::{Booster, tree_cells};
use crate::logistic::Design;
use crate::options::{Algorithm, Tried};
use crate::schema::{Frame, Schema};
use crate::tree::Growth;
use crate::{constant_logit, log_loss};

/// Parts of the training rows, each held out once.
const FOLDS: usize = 5;
/// Penalties of the mean loss, strongest first.
const PENALTIES: [f64; 9] = [1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 1e-4, 1e-5];
/// The penalty where nothing can be validated.
const PENALTY_DEFAULT: f64 = 0.03;
/// Penalties tried past the best one.
const PENALTY_PATIENCE: usize = 2;
/// Tolerance while choosing, on derivatives of the mean loss; the final fit is exact.
const CHOOSING_TOLERANCE: f64 = 1e-6;
/// Most leaves of a tree, fewest first: the next is tried while the last one helped.
const LEAVES: [usize; 6] = [2, 4, 8, 16, 32, 64];
/// Trees between two looks at the held-out rows.
const BLOCK: usize = 10;
/// Most trees at shrinkage 1; at shrinkage `r` it is this over `r`.
const TREES_MAX: f64 = 50.0;
/// Trees past the best number before giving up, times the shrinkage.
const TREES_PATIENCE: f64 = 3.0;
/// Trees that a fit is expected to take, times the shrinkage: only the plan of the budget uses it.
const TREES_EXPECTED: f64 = 12.0;
/// Sizes of trees that are expected to be tried.
const LEAVES_EXPECTED: [usize; 3] = [2, 4, 8];
/// Folds that are held out, and shrinkage: the first plan that the budget pays for.
const PLANS: [(usize, f64); 5] = [(FOLDS, 0.05), (FOLDS, 0.1), (2, 0.1), (1, 0.15), (1, 0.3)];
/// Cells that a CPU-second of a 2020s server core is taken to touch: what turns a budget into steps.
const CELLS_PER_SECOND: f64 = 2.5e8;
/// The share of the budget that choosing may use; the final fit gets the rest.
const CHOOSING_SHARE: f64 = 0.8;
/// The share of what is left that the logistic regression may use: the trees need theirs.
const LOGISTIC_SHARE: f64 = 0.4;
/// Stream of the seed that draws folds.
const STREAM_FOLDS: u64 = 0x666f_6c64;

/// Growth that no validation changes: second-order regularisation as the cited systems use it.
pub(crate) fn growth(leaves_max: usize, rate: f64) -> Growth {
    Growth {
        leaves_max,
        rate,
        l2: 2.0,
        hessian_min: 2.0,
    }
}

/// Training rows with what is held out of them.
#[derive(Debug)]
pub(crate) struct Validation<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) frame: &'a Frame,
    pub(crate) labels: &'a [bool],
    pub(crate) folds: Vec<Fold>,
    /// Labels of the held-out rows, fold after fold.
    pub(crate) held_labels: Vec<bool>,
    pub(crate) rate: f64,
    seed: u64,
    /// Cells that choosing may still touch.
    left: f64,
}

/// Rows to learn from and rows to judge by.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) kept: Vec<u32>,
    pub(crate) held: Vec<u32>,
}

/// The best setting of one algorithm.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Penalty, or most leaves.
    pub(crate) setting: f64,
    pub(crate) rounds: usize,
    /// Logits of the held-out rows, fold after fold, by models that had not seen them; empty without
    /// validation.
    pub(crate) logits: Vec<f64>,
    pub(crate) tried: Vec<Tried>,
}

impl<'a> Validation<'a> {
    /// Draws folds with equal shares of yes, by seed, and plans the work.
    pub(crate) fn new(
        schema: &'a Schema,
        frame: &'a Frame,
        labels: &'a [bool],
        seed: u64,
        budget_cpu_seconds: f64,
    ) -> Self {
        let cells = budget_cpu_seconds * CELLS_PER_SECOND * CHOOSING_SHARE;
        let columns = schema.columns.len();
        let expected = |(folds, rate): (usize, f64)| {
            let trees = LEAVES_EXPECTED.map(|leaves| tree_cells(frame.rows, columns, leaves));
            folds as f64 * trees.iter().sum::<f64>() * TREES_EXPECTED / rate
        };
        let fits = PLANS.into_iter().find(|plan| expected(*plan) <= cells);
        let (used, rate) = fits.unwrap_or(PLANS[PLANS.len() - 1]);
        let folds = draw_folds(labels, seed, used);
        let held = folds.iter().flat_map(|fold| &fold.held);
        let held_labels = held.map(|row| labels[*row as usize]).collect();
        Self {
            schema,
            frame,
            labels,
            folds,
            held_labels,
            rate,
            seed,
            left: cells,
        }
    }

    /// Returns the mean log-loss of logits of the held-out rows.
    pub(crate) fn loss(&self, logits: &[f64]) -> f64 {
        let rows = logits.iter().zip(&self.held_labels);
        rows.map(|(logit, label)| log_loss(*logit, *label))
            .sum::<f64>()
            / self.held_labels.len() as f64
    }

    /// Returns the logits of the constant model.
    pub(crate) fn constant(&self) -> Vec<f64> {
        let folds = self.folds.iter().flat_map(|fold| {
            let yes = fold.kept.iter().filter(|row| self.labels[**row as usize]);
            let logit = constant_logit(yes.count(), fold.kept.len());
            std::iter::repeat_n(logit, fold.held.len())
        });
        folds.collect()
    }

    /// Chooses the penalty of the logistic regression, from strong to weak, each fit beginning at the
    /// weights of the one before, until weaker ones stop helping.
    pub(crate) fn penalty(&mut self) -> Found {
        let mut best = Found {
            setting: PENALTY_DEFAULT,
            rounds: 0,
            logits: Vec::new(),
            tried: Vec::new(),
        };
        if self.folds.is_empty() {
            return best;
        }
        let folds = self.folds.iter();
        let mut fits: Vec<(Design<'_>, Option<Vec<f64>>)> = folds
            .map(|fold| {
                (
                    Design::new(self.schema, self.frame, &fold.kept, self.labels),
                    None,
                )
            })
            .collect();
        let floor = self.left * (1.0 - LOGISTIC_SHARE);
        let (mut lowest, mut past) = (f64::INFINITY, 0);
        for penalty in PENALTIES {
            let work = fits
                .par_iter_mut()
                .zip(&self.folds)
                .map(|((design, weights), fold)| {
                    let (found, passes) = design.fit(penalty, weights.take(), CHOOSING_TOLERANCE);
                    let logits = design.logits(&found, &fold.held);
                    *weights = Some(found);
                    (logits, passes as f64 * design.cells())
                });
            let (logits, cells): (Vec<Vec<f64>>, Vec<f64>) =
                work.collect::<Vec<_>>().into_iter().unzip();
            self.left -= cells.iter().sum::<f64>();
            let logits = logits.concat();
            let loss = self.loss(&logits);
            best.tried.push(Tried {
                algorithm: Algorithm::Logistic,
                setting: penalty,
                rounds: 0,
                log_loss: loss,
            });
            if loss < lowest {
                (lowest, past) = (loss, 0);
                (best.setting, best.logits) = (penalty, logits);
            } else {
                past += 1;
            }
            if past == PENALTY_PATIENCE || self.left <= floor {
                break;
            }
        }
        best
    }

    /// Chooses size and number of trees: larger trees while they help, as many as help.
    pub(crate) fn trees(&mut self, data: &Binned) -> Found {
        let mut best = Found {
            setting: LEAVES[1] as f64,
            rounds: (TREES_EXPECTED / self.rate / 4.0) as usize,
            logits: Vec::new(),
            tried: Vec::new(),
        };
        if self.folds.is_empty() {
            return best;
        }
        let mut lowest = f64::INFINITY;
        for leaves in LEAVES {
            let (rounds, logits) = self.rounds(data, leaves);
            let loss = self.loss(&logits);
            best.tried.push(Tried {
                algorithm: Algorithm::Trees,
                setting: leaves as f64,
                rounds,
                log_loss: loss,
            });
            let better = loss < lowest;
            if better {
                lowest = loss;
                (best.setting, best.rounds, best.logits) = (leaves as f64, rounds, logits);
            }
            if !better || self.left <= 0.0 {
                break;
            }
        }
        best
    }

    /// Boosts on every fold in step; returns the number of trees with the lowest loss and its logits.
    fn rounds(&mut self, data: &Binned, leaves: usize) -> (usize, Vec<f64>) {
        let columns = self.schema.columns.len();
        let folds = self.folds.iter();
        let mut boosters: Vec<Booster<'_>> = folds
            .map(|fold| {
                let growth = growth(leaves, self.rate);
                Booster::new(data, self.labels, fold.kept.clone(), growth, self.seed)
            })
            .collect();
        let per_tree = self
            .folds
            .iter()
            .map(|fold| tree_cells(fold.kept.len(), columns, leaves));
        let per_block = BLOCK as f64 * per_tree.sum::<f64>();
        let (mut best, mut lowest, mut kept) = (0, f64::INFINITY, Vec::new());
        let most = (TREES_MAX / self.rate) as usize;
        let patience = (TREES_PATIENCE / self.rate) as usize;
        for rounds in (BLOCK..=most).step_by(BLOCK) {
            boosters
                .par_iter_mut()
                .for_each(|booster| booster.step(BLOCK));
            self.left -= per_block;
            let pairs = boosters.iter().zip(&self.folds);
            let logits: Vec<f64> = pairs
                .flat_map(|(booster, fold)| {
                    fold.held.iter().map(|row| booster.logits[*row as usize])
                })
                .collect();
            let loss = self.loss(&logits);
            if loss < lowest {
                (best, lowest, kept) = (rounds, loss, logits);
            }
            if rounds >= best + patience || self.left <= 0.0 {
                break;
            }
        }
        (best, kept)
    }
}

/// Deals the rows of each kind out to folds, so that every fold holds its share of both, and returns the
/// fold of each row: of the yes as of the no, two folds differ by one row at most.
///
/// * `folds`: 1 to 255.
/// * Same labels, folds and generator, same answer.
#[must_use]
pub fn deal_folds(labels: &[bool], folds: usize, rng: &Rng) -> Vec<u8> {
    debug_assert!((1..=usize::from(u8::MAX)).contains(&folds));
    let mut place = vec![0; labels.len()];
    for (stream, kind) in [(0, false), (1, true)] {
        let mut rows: Vec<usize> = (0..labels.len())
            .filter(|row| labels[*row] == kind)
            .collect();
        rng.fork(stream).shuffle(&mut rows);
        rows.iter()
            .enumerate()
            .for_each(|(at, row)| place[*row] = (at % folds) as u8);
    }
    place
}

/// Deals rows of each kind out to folds by seed and returns the first `used`; none where a kind has but
/// one row.
fn draw_folds(labels: &[bool], seed: u64, used: usize) -> Vec<Fold> {
    let yes = labels.iter().filter(|label| **label).count();
    let all = FOLDS.min(yes).min(labels.len() - yes);
    if all < 2 {
        return Vec::new();
    }
    let place = deal_folds(labels, all, &Rng::seeded(seed).fork(STREAM_FOLDS));
    let of = |fold: usize| {
        let rows = 0..labels.len() as u32;
        let (held, kept) = rows.partition(|row| usize::from(place[*row as usize]) == fold);
        Fold { kept, held }
    };
    (0..all.min(used)).map(of).collect()
}
