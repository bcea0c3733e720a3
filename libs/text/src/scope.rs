//! Which texts belong to no label: what speaks for a text being at home, how much each sign counts, and
//! where the line is. Learned inside the training rows from labels that are held out in turn to play the
//! unknown ones; no test file is ever seen.

use rapport_math::Rng;
use rayon::prelude::*;

use crate::calibrate::{auroc, fit_threshold};
use crate::dual::solve;
use crate::network::{Judgement, Network, largest, softmax};
use crate::train::Task;
use crate::validate::{Choice, Fold, argmax, margins};

/// How many signs there are.
pub(crate) const SIGNALS: usize = 3;

/// What speaks for a text being in scope: the best margin of the linear machines, the best score of the
/// network, the nearness to a label's centre in the network's hidden layers.
pub(crate) type Signals = [f32; SIGNALS];

/// Labels held out at a time, as one part in so many.
const UNKNOWN_PARTS: usize = 4;
/// Rounds of holding labels out: with few rows every label is held out once; many rows need fewer
/// rounds and each costs more.
const ROUNDS_FEW_ROWS: usize = UNKNOWN_PARTS;
const ROUNDS_MANY_ROWS: usize = 2;
/// Sweeps of the logistic fit over its three weights and bias.
const SWEEPS: usize = 60;
/// Pull of each weight towards zero, as so much of one text's worth.
const RIDGE: f64 = 1e-3;

/// The line between known and unknown texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scope {
    /// Not negative: no sign of being at home may count against it.
    pub(crate) weights: Signals,
    pub(crate) bias: f32,
    /// Smallest confidence of a text that is in scope.
    pub(crate) threshold: f32,
}

impl Scope {
    /// Returns the log odds that a text is known, were every second text unknown.
    pub(crate) fn confidence(&self, signals: &Signals) -> f32 {
        let weighed = self.weights.iter().zip(signals).map(|(w, s)| w * s);
        self.bias + weighed.sum::<f32>()
    }
}

/// Puts the signs together; without a network two of them are silent.
pub(crate) fn signals(margin: f32, judgement: Option<&Judgement>) -> Signals {
    judgement.map_or([margin, 0.0, 0.0], |judgement| {
        [margin, judgement.top_score, judgement.nearness]
    })
}

/// A held-out text as a model saw it that may not know its label.
struct Seen {
    signals: Signals,
    /// Whether the answer was right, `None` where the label was unknown.
    known: Option<bool>,
}

impl Task<'_> {
    /// Returns how many rounds of holding labels out there are, 0 if there are too few labels.
    pub(crate) fn scope_rounds(&self, folds: usize) -> usize {
        match (self.classes, folds) {
            (..UNKNOWN_PARTS, _) | (_, 0) => 0,
            (_, 1) => ROUNDS_MANY_ROWS,
            (_, _) => ROUNDS_FEW_ROWS,
        }
    }

    /// Chooses the weights of the signs and the threshold, on the first fold.
    pub(crate) fn choose_scope(&self, folds: &[Fold], choice: &mut Choice) {
        let rounds = self.scope_rounds(folds.len());
        let mut order: Vec<u32> = (0..self.classes as u32).collect();
        Rng::seeded(self.options.seed).fork(2).shuffle(&mut order);
        let seen: Vec<Seen> = (0..rounds)
            .flat_map(|round| {
                let gone = order.iter().skip(round).step_by(UNKNOWN_PARTS).copied();
                self.seen_without(&folds[0], &gone.collect::<Vec<u32>>(), choice)
            })
            .collect();
        let outside = seen.iter().filter(|seen| seen.known.is_none()).count();
        if outside == 0 || outside == seen.len() {
            return;
        }
        let mut scope = fit_weights(&seen);
        let confidence = |seen: &Seen| scope.confidence(&seen.signals);
        let known: Vec<(f32, bool)> = seen
            .iter()
            .filter_map(|seen| Some((confidence(seen), seen.known?)))
            .collect();
        let unknown = seen.iter().filter(|seen| seen.known.is_none());
        let unknown: Vec<f32> = unknown.map(confidence).collect();
        choice.report.out_of_scope_auroc = Some(auroc(&known, &unknown));
        scope.threshold = fit_threshold(&known, &unknown).max(f32::MIN);
        choice.scope = Some(scope);
    }

    /// Fits without some labels and returns what that model sees in every held-out text.
    fn seen_without(&self, fold: &Fold, gone: &[u32], choice: &Choice) -> Vec<Seen> {
        // The labels that stay, renumbered.
        let mut kept = vec![None; self.classes];
        let stays = (0..self.classes as u32).filter(|label| !gone.contains(label));
        for (number, label) in stays.enumerate() {
            kept[label as usize] = Some(number as u32);
        }
        let (classes, features) = (self.classes - gone.len(), fold.vocabulary.len());
        let (places, labels): (Vec<usize>, Vec<u32>) = (0..fold.labels.len())
            .filter_map(|row| Some((row, kept[fold.labels[row] as usize]?)))
            .unzip();
        let rows = fold.rows.select(&places);
        let solver = self.solver(choice.cost, choice.balance);
        let weights = solve(&rows, features, &labels, classes, &solver);
        let margins = margins(&weights, &fold.held_rows, classes);
        let network = choice.network.map(|(share, options)| {
            let network = Network::train(&rows, features, &labels, classes, &options);
            (share, network)
        });
        (0..fold.held_rows.len())
            .into_par_iter()
            .map(|row| {
                let margins = &margins[row * classes..][..classes];
                let (columns, values) = fold.held_rows.row(row);
                let judged = network.as_ref().map(|(share, network)| {
                    let judgement = network.judge(columns, values, &mut Vec::new());
                    (*share, judgement)
                });
                let answer = answer(margins, choice.sharpness, judged.as_ref());
                let judgement = judged.as_ref().map(|(_, judgement)| judgement);
                Seen {
                    signals: signals(largest(margins), judgement),
                    known: kept[fold.held_labels[row] as usize].map(|label| label == answer),
                }
            })
            .collect()
    }
}

/// Returns the class that margins and network name together.
fn answer(margins: &[f32], sharpness: f32, judged: Option<&(f32, Judgement)>) -> u32 {
    let mut mixed: Vec<f32> = margins.iter().map(|margin| margin * sharpness).collect();
    softmax(&mut mixed);
    if let Some((share, judgement)) = judged {
        for (mixed, network) in mixed.iter_mut().zip(&judgement.probabilities) {
            *mixed = (1.0 - share) * *mixed + share * network;
        }
    }
    argmax(&mixed)
}

/// Fits a logistic regression of known against unknown, each kind with half of the weight and no sign
/// with a negative one: coordinate-wise Newton steps cut off at zero, on signs of unit spread.
fn fit_weights(seen: &[Seen]) -> Scope {
    let count = seen.len() as f64;
    let mean_of = |f: &dyn Fn(&Seen) -> f64| seen.iter().map(f).sum::<f64>() / count;
    let means: [f64; SIGNALS] =
        std::array::from_fn(|at| mean_of(&|seen| f64::from(seen.signals[at])));
    let spreads: [f64; SIGNALS] = std::array::from_fn(|at| {
        mean_of(&|seen| (f64::from(seen.signals[at]) - means[at]).powi(2)).sqrt()
    });
    let inside = mean_of(&|seen| f64::from(u8::from(seen.known.is_some())));
    // One more sign that is always 1 is the bias; a sign that never changes is silent.
    let rows: Vec<[f64; SIGNALS + 1]> = seen
        .iter()
        .map(|seen| {
            std::array::from_fn(|at| match at {
                SIGNALS => 1.0,
                _ if spreads[at] > 1e-9 => (f64::from(seen.signals[at]) - means[at]) / spreads[at],
                _ => 0.0,
            })
        })
        .collect();
    let mut weights = [0.0f64; SIGNALS + 1];
    for _ in 0..SWEEPS {
        for at in 0..=SIGNALS {
            let (mut slope, mut bend) = (RIDGE * weights[at], RIDGE);
            for (row, seen) in rows.iter().zip(seen) {
                let odds: f64 = row.iter().zip(&weights).map(|(x, w)| x * w).sum();
                let chance = 1.0 / (1.0 + libm::exp(-odds));
                let (truth, share) = match seen.known {
                    Some(_) => (1.0, 0.5 / inside),
                    None => (0.0, 0.5 / (1.0 - inside)),
                };
                slope += share * (chance - truth) * row[at];
                bend += share * chance * (1.0 - chance) * row[at] * row[at];
            }
            weights[at] -= slope / bend;
            if at < SIGNALS {
                weights[at] = weights[at].max(0.0);
            }
        }
    }
    if weights[..SIGNALS].iter().all(|weight| *weight == 0.0) {
        weights[0] = 1.0;
    }
    let scaled: [f64; SIGNALS] = std::array::from_fn(|at| weights[at] / spreads[at].max(1e-9));
    let shift: f64 = scaled.iter().zip(&means).map(|(w, mean)| w * mean).sum();
    Scope {
        weights: scaled.map(|weight| weight as f32),
        bias: (weights[SIGNALS] - shift) as f32,
        threshold: f32::MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::{Seen, fit_weights};

    fn seen(signals: [f32; 3], known: bool) -> Seen {
        Seen {
            signals,
            known: known.then_some(true),
        }
    }

    #[test]
    fn two_groups_of_one_sign_match_the_solution_worked_by_hand() {
        // The sign is 1 for three known of four and 0 for three unknown of four: the log odds are
        // ±ln 3, so the weight is 2 ln 3 and the bias -ln 3. The other signs never change.
        let texts: Vec<Seen> = [true, true, true, false]
            .into_iter()
            .flat_map(|known| [seen([1.0, 5.0, 0.0], known), seen([0.0, 5.0, 0.0], !known)])
            .collect();
        let scope = fit_weights(&texts);
        let odds = libm::logf(3.0);
        assert!((scope.weights[0] - 2.0 * odds).abs() < 1e-2, "{scope:?}");
        assert!((scope.bias + odds).abs() < 1e-2, "{scope:?}");
        assert_eq!(scope.weights[1..], [0.0, 0.0]);
    }

    #[test]
    fn a_sign_never_counts_against_being_at_home() {
        let texts: Vec<Seen> = (0..40)
            .map(|text| {
                let known = text % 2 == 0;
                let noise = (text % 7) as f32;
                let spoken = if known { 4.0 } else { 0.0 };
                seen([spoken + noise, -spoken, noise], known)
            })
            .collect();
        let scope = fit_weights(&texts);
        assert!(scope.weights[0] > 0.0 && scope.weights.iter().all(|weight| *weight >= 0.0));
    }
}
