//! Which texts belong to no label: what speaks for a text being at home, how much each sign counts, and
//! where the line is. Learned inside the training rows from labels that are held out in turn to play the
//! unknown ones; no test file is ever seen.

use rapport_math::Rng;
use rayon::prelude::*;

use crate::calibrate::{auroc, fit_threshold};
use crate::features::GROUPS;
use crate::train::Task;
use crate::validate::{Choice, Fold, argmax};
use crate::vocabulary::RowBuffer;

/// How many signs there are.
pub(crate) const SIGNALS: usize = 6 + GROUPS;

/// What speaks for a text being in scope. Each sign alone is weak: unknown texts of a near topic score
/// well, known texts that are put oddly score badly, and they do so by different signs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Signs {
    /// The best margin of the linear machines: what speaks for a label (Shu et al., EMNLP 2017).
    pub(crate) margin: f32,
    /// The network's best score before its softmax (Hendrycks et al., ICML 2022); 0 without one.
    pub(crate) top_score: f32,
    /// Cosine to the nearest label's centre in the network's hidden layers (after the distances of Lee
    /// et al., NeurIPS 2018); 0 without a network.
    pub(crate) nearness: f32,
    /// Share of the text that the named label was trained with, see [`crate::typical::Typical`]: the
    /// likelihood of the text under its label, of which classifiers keep the telling part alone (Gangal
    /// et al., AAAI 2020), cut down to what one bit holds.
    pub(crate) typicality: f32,
    /// Typicality less the cosine to the named label's topic, see [`crate::topic::Topic`]: an unknown text
    /// of a near topic shares that and little else.
    pub(crate) beyond_topic: f32,
    /// Share of the text's features, by group, that any training text had.
    pub(crate) known: [f32; GROUPS],
    /// Logarithm of the number of known features. Not a sign of its own, but a cosine or share of many
    /// features is lower by nature, and this makes good for it.
    pub(crate) length: f32,
}

impl Signs {
    fn listed(&self) -> [f32; SIGNALS] {
        let mut listed = [0.0; SIGNALS];
        let (single, known) = listed.split_at_mut(SIGNALS - GROUPS);
        single.copy_from_slice(&[
            self.margin,
            self.top_score,
            self.nearness,
            self.typicality,
            self.beyond_topic,
            self.length,
        ]);
        known.copy_from_slice(&self.known);
        listed
    }
}

/// Labels held out at a time, as one part in so many.
const UNKNOWN_PARTS: usize = 4;
/// Rounds of holding labels out: with few rows every label is held out once; many rows need fewer
/// rounds and each costs more.
const ROUNDS_FEW_ROWS: usize = UNKNOWN_PARTS;
const ROUNDS_MANY_ROWS: usize = 2;
/// Sweeps of the logistic fit over its weights and bias: many, because the signs go together.
const SWEEPS: usize = 200;
/// Pull of each weight towards zero, as so much of one text's worth.
const RIDGE: f64 = 1e-3;

/// The line between known and unknown texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scope {
    /// Not negative: no sign of being at home may count against it.
    pub(crate) weights: [f32; SIGNALS],
    pub(crate) bias: f32,
    /// Smallest confidence of a text that is in scope.
    pub(crate) threshold: f32,
}

impl Scope {
    /// Returns the log odds that a text is known, were every second text unknown.
    pub(crate) fn confidence(&self, signs: &Signs) -> f32 {
        self.weigh(&signs.listed())
    }

    fn weigh(&self, signals: &[f32; SIGNALS]) -> f32 {
        let weighed = self.weights.iter().zip(signals).map(|(w, s)| w * s);
        self.bias + weighed.sum::<f32>()
    }
}

/// A held-out text as a model saw it that may not know its label.
struct Seen {
    signals: [f32; SIGNALS],
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
        let confidence = |seen: &Seen| scope.weigh(&seen.signals);
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

    /// Fits without some labels and returns what that model sees in every held-out text. It is fitted
    /// from the texts on: a vocabulary that had seen the unknown ones would know too much.
    fn seen_without(&self, fold: &Fold, gone: &[u32], choice: &Choice) -> Vec<Seen> {
        // The labels that stay, renumbered.
        let stays: Vec<u32> = (0..self.classes as u32)
            .filter(|label| !gone.contains(label))
            .collect();
        let number = |row: usize| stays.binary_search(&self.labels[row]).ok();
        let names: Vec<String> = stays
            .iter()
            .map(|label| self.names[*label as usize].clone())
            .collect();
        let (texts, labels): (Vec<&str>, Vec<u32>) = fold
            .fitted
            .iter()
            .filter_map(|row| Some((self.texts[*row], number(*row)? as u32)))
            .unzip();
        let task = Task {
            texts: &texts,
            labels: &labels,
            classes: stays.len(),
            names: &names,
            ..*self
        };
        let tilts = stays.iter().map(|label| choice.tilts[*label as usize]);
        let model = task.fit(&Choice {
            tilts: tilts.collect(),
            ..choice.clone()
        });
        fold.held
            .par_iter()
            .map_init(RowBuffer::default, |buffer, row| {
                let (signs, probabilities) = model.judge(self.texts[*row], buffer);
                let answer = argmax(&probabilities) as usize;
                Seen {
                    signals: signs.listed(),
                    known: number(*row).map(|label| label == answer),
                }
            })
            .collect()
    }
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
    use super::{SIGNALS, Seen, fit_weights};

    fn seen(three: [f32; 3], known: bool) -> Seen {
        let mut signals = [0.0; SIGNALS];
        signals[..3].copy_from_slice(&three);
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
        assert_eq!(scope.weights[1..], [0.0; SIGNALS - 1]);
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
