//! iALS: people and items as vectors whose product says how likely one has the other, by exact least
//! squares over all pairs, had and not.

mod fit;
mod solve;
#[cfg(test)]
mod tests;

use rapport_math::dense::{LANES, Lanes, add_product};

use self::fit::Fit;
pub use self::solve::SolveScratch;
use self::solve::Solver;
use crate::bounds::bounded;
use crate::graph_filter::BLOCK_HISTORIES;
use crate::incidence::Incidence;
use crate::item::Violation;
use crate::item_item::HISTORY_ITEMS_MAX;
use crate::items::ItemIdx;

/// Most dimensions of a vector.
pub const IALS_FACTORS_MAX: usize = 1_024;
/// Most rounds over people and items.
pub const IALS_EPOCHS_MAX: usize = 100;
/// People or items of one parallel task. Fixed: the split must not depend on the machine.
const CHUNK: usize = 256;

/// How iALS is fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IalsOptions {
    /// Dimensions, 1 to [`IALS_FACTORS_MAX`]; rounded up to a multiple of 32.
    pub factors: usize,
    /// Weight of every pair, had or not, where a pair that is had counts 1 besides: `(0, 10]`.
    pub unobserved_weight: f32,
    /// Weight of the squared length of a vector per unit of its weight in the loss: `(0, 10]`.
    pub regularisation: f32,
    /// How much of that unit counts: `(pairs + unobserved_weight * others)^exponent`, `[0, 1]`;
    /// 1 is frequency scaling, 0 the same for all.
    pub frequency_exponent: f32,
    /// Rounds, 1 to [`IALS_EPOCHS_MAX`].
    pub epochs: usize,
}

impl Default for IalsOptions {
    /// The middle of the ranges that Rendle et al. search (2022, section 4.2), exponent 1.
    fn default() -> Self {
        Self {
            factors: 128,
            unobserved_weight: 0.01,
            regularisation: 0.01,
            frequency_exponent: 1.0,
            epochs: 8,
        }
    }
}

impl IalsOptions {
    /// Checks every range.
    ///
    /// # Errors
    /// Every violation at once.
    pub fn validate(&self) -> Result<(), Vec<Violation>> {
        let mut bad = Vec::new();
        let mut check = |holds: bool, field: &str, why: String| {
            if !holds {
                bad.push(Violation::new(field, why));
            }
        };
        let count = |max: usize| format!("must be between 1 and {max}");
        let is_weight = |value: f32| value > 0.0 && value <= 10.0;
        let weight = || "must be above 0 and at most 10".to_owned();
        check(
            (1..=IALS_FACTORS_MAX).contains(&self.factors),
            "factors",
            count(IALS_FACTORS_MAX),
        );
        check(
            is_weight(self.unobserved_weight),
            "unobserved_weight",
            weight(),
        );
        check(is_weight(self.regularisation), "regularisation", weight());
        check(
            (0.0..=1.0).contains(&self.frequency_exponent),
            "frequency_exponent",
            "must be between 0 and 1".to_owned(),
        );
        check(
            (1..=IALS_EPOCHS_MAX).contains(&self.epochs),
            "epochs",
            count(IALS_EPOCHS_MAX),
        );
        if bad.is_empty() { Ok(()) } else { Err(bad) }
    }

    /// Moves every setting into its range; what is not a number becomes the lower end.
    fn clamped(&self) -> Self {
        let weight = |value: f32| bounded(value, 1e-9, 10.0);
        Self {
            factors: self
                .factors
                .clamp(1, IALS_FACTORS_MAX)
                .next_multiple_of(LANES),
            unobserved_weight: weight(self.unobserved_weight),
            regularisation: weight(self.regularisation),
            frequency_exponent: bounded(self.frequency_exponent, 0.0, 1.0),
            epochs: self.epochs.clamp(1, IALS_EPOCHS_MAX),
        }
    }
}

/// Vectors of items, and all that finding a person's vector takes.
///
/// * Loss: `sum over pairs had of (1 - w h)² + a * sum over all pairs of (w h)² + sum of l |w|² + l |h|²`
///   with `l = regularisation * (pairs + a * others)^exponent`.
/// * Sources: Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM
///   2008; Rendle et al., "Revisiting the performance of iALS on item recommendation benchmarks",
///   RecSys 2022, for the loss; Takács, Pilászy and Tikk, "Applications of the conjugate gradient method
///   for implicit feedback collaborative filtering", RecSys 2011, for the steps.
/// * Memory: `4 * factors` bytes per item, while training twice that and once per person, and as much
///   again in between.
#[derive(Debug, Clone)]
pub struct IalsModel {
    solver: Solver,
    epochs_loss: Vec<f64>,
}

impl IalsModel {
    /// Trains from histories folded by person; duplicates in one count once, the newest
    /// [`HISTORY_ITEMS_MAX`] of each are read. Options out of range are clamped.
    ///
    /// Same histories in the same order, options and seed give the same bytes for any number of
    /// threads. Cost per epoch: `12 factors` products for each pair, `3 factors²` for each person and
    /// each item, and `factors³` twice.
    #[must_use]
    pub fn train<'a>(
        histories: impl Iterator<Item = &'a [ItemIdx]>,
        options: &IalsOptions,
        seed: u64,
    ) -> Self {
        let options = options.clamped();
        let incidence = Incidence::new(histories, HISTORY_ITEMS_MAX);
        let (solver, epochs_loss) = Fit::start(&incidence, &options, seed).run();
        Self {
            solver,
            epochs_loss,
        }
    }

    /// Returns how many items training saw.
    #[must_use]
    pub fn items(&self) -> usize {
        self.solver.len()
    }

    /// Returns the loss at the end of every epoch. Momentum may let it rise for an epoch on the way down.
    #[must_use]
    pub fn epochs_loss(&self) -> &[f64] {
        &self.epochs_loss
    }

    /// Computes the scores of every item for up to [`BLOCK_HISTORIES`] histories, each folded in anew.
    ///
    /// Returns panels as [`crate::GraphFilter::score_block`] does; unknown items are skipped. Cost per
    /// panel: the solves, and `items * factors` products of [`LANES`] numbers.
    pub fn score_block<'s>(
        &self,
        histories: &[&[ItemIdx]],
        scratch: &'s mut IalsScratch,
    ) -> &'s [Lanes] {
        let histories = &histories[..histories.len().min(BLOCK_HISTORIES)];
        let (items, width) = (self.items(), self.solver.width);
        let panels = histories.len().div_ceil(LANES);
        scratch.people.clear();
        scratch.people.resize(panels * width, [0.0; LANES]);
        for (at, history) in histories.iter().enumerate() {
            let vector = self.fold_in(history, scratch);
            let own = at / LANES * width;
            for (row, value) in scratch.people[own..own + width].iter_mut().zip(vector) {
                row[at % LANES] = value;
            }
        }
        scratch.scores.clear();
        scratch.scores.resize(panels * items, [0.0; LANES]);
        let vectors = &self.solver.vectors;
        let left = |item: usize, at: usize| vectors[item * width + at];
        add_product(left, items, width, &scratch.people, &mut scratch.scores);
        &scratch.scores
    }

    /// Returns how much each item of a history adds to the score of `item`; they add up to it.
    ///
    /// Source: Hu, Koren and Volinsky, section 5.
    #[must_use]
    pub fn contributions(&self, history: &[ItemIdx], item: ItemIdx) -> Vec<(ItemIdx, f32)> {
        let known = self.known(history);
        if item.at() >= self.items() {
            return Vec::new();
        }
        let weights = self.solver.dual(&known, &mut SolveScratch::default());
        let own = self.solver.vector(item.at());
        known
            .iter()
            .zip(weights)
            .map(|(source, weight)| {
                let likeness = self.solver.likeness(*source as usize, own, known.len());
                (ItemIdx(*source), weight * likeness)
            })
            .collect()
    }

    fn fold_in(&self, history: &[ItemIdx], scratch: &mut IalsScratch) -> Vec<f32> {
        let mut vector = vec![0.0; self.solver.width];
        self.solver
            .solve(&self.known(history), &mut vector, &mut scratch.solve);
        vector
    }

    fn known(&self, history: &[ItemIdx]) -> Vec<u32> {
        let newest = &history[history.len().saturating_sub(HISTORY_ITEMS_MAX)..];
        let is_known = |item: &&ItemIdx| item.at() < self.items();
        let mut known: Vec<u32> = newest.iter().filter(is_known).map(|item| item.0).collect();
        known.sort_unstable();
        known.dedup();
        known
    }
}

/// What one thread needs to score a block.
#[derive(Debug, Default)]
pub struct IalsScratch {
    solve: SolveScratch,
    people: Vec<Lanes>,
    scores: Vec<Lanes>,
}
