//! iALS: people and items as vectors whose product says how likely one has the other, by exact least
//! squares over all pairs, had and not.

mod solve;
#[cfg(test)]
mod tests;

use rapport_math::dense::{LANES, Lanes, add_product, gram};
use rapport_math::{Rng, symmetric_eigen};
use rayon::prelude::*;

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
///   RecSys 2022, for the loss; Rendle et al., "iALS++: speeding up matrix factorization with subspace
///   optimization", 2021, for the blocks that vectors with many pairs are solved in.
/// * Memory: `4 * factors` bytes per item, while training per person too, and twice that in between.
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
    /// threads. Cost per epoch and side: for a vector of `m` pairs the cheaper of `m² factors / 2` and
    /// `32 m factors` products, and `factors³` once.
    #[must_use]
    pub fn train<'a>(
        histories: impl Iterator<Item = &'a [ItemIdx]>,
        options: &IalsOptions,
        seed: u64,
    ) -> Self {
        let options = options.clamped();
        let incidence = Incidence::new(histories, HISTORY_ITEMS_MAX);
        let (users, items, width) = (incidence.groups(), incidence.items(), options.factors);
        let mut people = Solver::new(vec![0.0; users * width], &options);
        let mut things = Solver::new(starting_vectors(items, width, seed), &options);
        let mut epochs_loss = Vec::with_capacity(options.epochs);
        for _ in 0..options.epochs {
            turn(
                &mut things.vectors,
                &mut things.spectrum,
                &mut people.vectors,
                &options,
            );
            things.solve_all(&incidence.by_group(), &mut people.vectors);
            turn(
                &mut people.vectors,
                &mut people.spectrum,
                &mut things.vectors,
                &options,
            );
            let loss = people.solve_all(&incidence.by_item(), &mut things.vectors);
            epochs_loss.push(loss + things.penalty(&incidence.by_group(), &people.vectors));
        }
        turn(
            &mut things.vectors,
            &mut things.spectrum,
            &mut people.vectors,
            &options,
        );
        Self {
            solver: things,
            epochs_loss,
        }
    }

    /// Returns how many items training saw.
    #[must_use]
    pub fn items(&self) -> usize {
        self.solver.len()
    }

    /// Returns the loss at the end of every epoch; it never rises but by rounding.
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

/// Small random numbers, so that the first people see every dimension.
fn starting_vectors(count: usize, width: usize, seed: u64) -> Vec<f32> {
    let (rng, size) = (Rng::seeded(seed), 0.1 / (width as f64).sqrt());
    let mut vectors = vec![0.0; count * width];
    vectors
        .par_chunks_mut(CHUNK * width)
        .enumerate()
        .for_each(|(chunk, values)| {
            let mut stream = rng.fork(chunk as u64);
            values
                .iter_mut()
                .for_each(|value| *value = (size * stream.normal()) as f32);
        });
    vectors
}

/// Turns both sides onto the axes of `vectors`' Gram matrix, which becomes diagonal: `spectrum`, times
/// the unobserved weight. No product of a person and an item changes.
fn turn(vectors: &mut [f32], spectrum: &mut Vec<f32>, others: &mut [f32], options: &IalsOptions) {
    let width = options.factors;
    let count = vectors.len() / width;
    let mut panels = vec![[0.0; LANES]; width / LANES * count];
    panels
        .par_chunks_mut(count.max(1))
        .enumerate()
        .for_each(|(panel, rows)| {
            for (row, from) in rows.iter_mut().zip(vectors.chunks_exact(width)) {
                row.copy_from_slice(&from[panel * LANES..(panel + 1) * LANES]);
            }
        });
    let small = gram(&panels, count);
    drop(panels);
    let Some(eigen) = symmetric_eigen(&small, width) else {
        spectrum.fill(0.0); // no vectors, or none that are finite
        return;
    };
    let weight = f64::from(options.unobserved_weight);
    spectrum.clear();
    spectrum.extend(eigen.values.iter().map(|it| (it.max(0.0) * weight) as f32));
    let axes: Vec<Lanes> = (0..width / LANES * width)
        .map(|at| {
            let (panel, row) = (at / width, at % width);
            std::array::from_fn(|lane| eigen.vectors[(panel * LANES + lane) * width + row] as f32)
        })
        .collect();
    turn_rows(vectors, width, &axes);
    turn_rows(others, width, &axes);
}

fn turn_rows(vectors: &mut [f32], width: usize, axes: &[Lanes]) {
    vectors.par_chunks_mut(CHUNK * width).for_each(|rows| {
        let count = rows.len() / width;
        let mut turned = vec![[0.0; LANES]; width / LANES * count];
        add_product(
            |row, at| rows[row * width + at],
            count,
            width,
            axes,
            &mut turned,
        );
        for (row, to) in rows.chunks_exact_mut(width).enumerate() {
            for (panel, to) in to.chunks_exact_mut(LANES).enumerate() {
                to.copy_from_slice(&turned[panel * count + row]);
            }
        }
    });
}
