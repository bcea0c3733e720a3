//! Training: alternating least squares, each half a few steps from where the last one ended, with
//! momentum from epoch to epoch.

use rapport_math::dense::{LANES, Lanes, add_product, gram};
use rapport_math::{Rng, symmetric_eigen};
use rayon::prelude::*;

use super::solve::Solver;
use super::{CHUNK, IalsOptions};
use crate::incidence::Incidence;

/// Epochs after which momentum is half of its limit of 1, from the start or its last fall to 0.
const MOMENTUM_EPOCHS: f32 = 3.0;

/// Both sides while they are fitted. They share axes, which [`Fit::turn`] moves.
pub(super) struct Fit<'a> {
    incidence: &'a Incidence,
    options: IalsOptions,
    people: Solver,
    things: Solver,
    /// The things' vectors as the epoch before left them, but for the last turn to the things' axes.
    before: Vec<f32>,
    /// That turn, row by row, if `before` still lacks it: two turns in one cost half.
    owed: Option<Vec<f32>>,
    /// Epochs since momentum was 0.
    running: usize,
}

/// Which side the axes are turned to.
#[derive(Clone, Copy)]
enum Side {
    People,
    Things,
}

impl<'a> Fit<'a> {
    pub(super) fn start(incidence: &'a Incidence, options: &IalsOptions, seed: u64) -> Self {
        let (people, things) = (incidence.groups(), incidence.items());
        let vectors = starting_vectors(things, options.factors, seed);
        Self {
            incidence,
            options: *options,
            people: Solver::new(vec![0.0; people * options.factors], options),
            before: vectors.clone(),
            things: Solver::new(vectors, options),
            owed: None,
            running: 0,
        }
    }

    /// Runs every epoch; returns the things, turned to their axes, and the loss after each epoch.
    pub(super) fn run(mut self) -> (Solver, Vec<f64>) {
        let mut losses = Vec::with_capacity(self.options.epochs);
        for _ in 0..self.options.epochs {
            let loss = self.epoch();
            // Momentum that has gone too far starts anew: O'Donoghue and Candès, "Adaptive restart for
            // accelerated gradient schemes", 2015.
            let rises = losses.last().is_some_and(|last| loss > *last);
            self.running = if rises { 0 } else { self.running + 1 };
            losses.push(loss);
        }
        self.turn(Side::Things);
        (self.things, losses)
    }

    fn epoch(&mut self) -> f64 {
        self.balance();
        self.stride();
        self.turn(Side::Things);
        self.things
            .improve_all(&self.incidence.by_group(), &mut self.people.vectors);
        self.turn(Side::People);
        let loss = self
            .people
            .improve_all(&self.incidence.by_item(), &mut self.things.vectors);
        let (starts, _) = self.incidence.by_group();
        loss + self
            .things
            .penalties(starts, &self.people.vectors)
            .iter()
            .sum::<f64>()
    }

    /// Scales every axis so that both sides' penalties on it are equal, where their sum is least and no
    /// product changes. By itself the descent takes many epochs to even them out.
    fn balance(&mut self) {
        let people = self
            .things
            .penalties(self.incidence.by_group().0, &self.people.vectors);
        let things = self
            .people
            .penalties(self.incidence.by_item().0, &self.things.vectors);
        let scales: Vec<f32> = people
            .iter()
            .zip(&things)
            .map(|(people, things)| {
                let ratio = (people / things).powf(0.25) as f32;
                if ratio.is_normal() { ratio } else { 1.0 } // an axis that one side does not use
            })
            .collect();
        let inverse: Vec<f32> = scales.iter().map(|scale| 1.0 / scale).collect();
        scale_axes(&mut self.things.vectors, &scales);
        scale_axes(&mut self.before, &scales);
        scale_axes(&mut self.people.vectors, &inverse);
    }

    /// Goes on in the direction of the last epoch: Mitchell, Ye and De Sterck, "Nesterov acceleration of
    /// alternating least squares for canonical tensor decomposition", 2020.
    fn stride(&mut self) {
        let epochs = self.running as f32;
        let momentum = epochs / (epochs + MOMENTUM_EPOCHS);
        self.things
            .vectors
            .par_iter_mut()
            .zip(&mut self.before)
            .for_each(|(now, before)| {
                let next = *now + momentum * (*now - *before);
                *before = std::mem::replace(now, next);
            });
    }

    /// Turns both sides onto the axes of one side's Gram matrix, which becomes diagonal: its `spectrum`,
    /// times the unobserved weight. No product of a person and an item changes.
    fn turn(&mut self, side: Side) {
        let (to, other) = match side {
            Side::People => (&mut self.people, &mut self.things),
            Side::Things => (&mut self.things, &mut self.people),
        };
        let width = self.options.factors;
        let panels = panels_of(&to.vectors, width);
        let small = gram(&panels, to.len());
        drop(panels);
        let Some(eigen) = symmetric_eigen(&small, width) else {
            to.spectrum.fill(0.0); // no vectors, or none that are finite
            return;
        };
        let weight = f64::from(self.options.unobserved_weight);
        let spectrum = eigen.values.iter().map(|it| (it.max(0.0) * weight) as f32);
        to.spectrum = spectrum.collect();
        let axes: Vec<Lanes> = (0..width / LANES * width)
            .map(|at| {
                let (panel, row) = (at / width, at % width);
                let value = |lane| eigen.vectors[(panel * LANES + lane) * width + row];
                std::array::from_fn(|lane| value(lane) as f32)
            })
            .collect();
        turn_rows(&mut to.vectors, width, &axes);
        turn_rows(&mut other.vectors, width, &axes);
        let mut both = self.owed.take().unwrap_or_else(|| identity(width));
        turn_rows(&mut both, width, &axes);
        match side {
            Side::Things => self.owed = Some(both),
            Side::People => turn_rows(&mut self.before, width, &panels_of(&both, width)),
        }
    }
}

fn identity(width: usize) -> Vec<f32> {
    let mut square = vec![0.0; width * width];
    let diagonal = square.iter_mut().step_by(width + 1);
    diagonal.for_each(|it| *it = 1.0);
    square
}

/// Small random numbers, so that the first people see every dimension; [`Fit::balance`] finds the size.
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
                .for_each(|value| *value = stream.range(-size, size) as f32);
        });
    vectors
}

fn scale_axes(vectors: &mut [f32], scales: &[f32]) {
    vectors.par_chunks_mut(scales.len()).for_each(|row| {
        for (value, scale) in row.iter_mut().zip(scales) {
            *value *= scale;
        }
    });
}

/// Rows as panels, each panel's rows together.
fn panels_of(vectors: &[f32], width: usize) -> Vec<Lanes> {
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
    panels
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
