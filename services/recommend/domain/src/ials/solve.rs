//! One side's vectors given the other's, on axes where the other's Gram matrix is diagonal.

use rapport_math::dense::{LANES, Lanes, add_product};
use rapport_math::{cholesky, cholesky_solve};
use rayon::prelude::*;

use super::{CHUNK, IalsOptions};

/// Dimensions that one step of the block descent solves together.
const BLOCK: usize = 64;
/// Most pairs at which a vector is solved exactly, through the pairs: above, in blocks. The exact way
/// costs the square of them.
const EXACT_MAX: usize = 256;

/// The known side of a half step: its vectors, and what they mean together.
#[derive(Debug, Clone)]
pub(super) struct Solver {
    /// Row by row, shape `[count, width]`.
    pub(super) vectors: Vec<f32>,
    pub(super) width: usize,
    /// The unobserved weight times the Gram matrix, which is diagonal; shape `[width]`.
    pub(super) spectrum: Vec<f32>,
    options: IalsOptions,
}

/// What one thread needs to solve.
#[derive(Debug, Default)]
pub struct SolveScratch {
    /// The known vectors of one unknown, row by row, each over the root of the ridge if exact.
    rows: Vec<f32>,
    panels: Vec<Lanes>,
    products: Vec<Lanes>,
    square: Vec<f64>,
    right: Vec<f64>,
    ridge: Vec<f32>,
    errors: Vec<f32>,
}

impl Solver {
    pub(super) fn new(vectors: Vec<f32>, options: &IalsOptions) -> Self {
        Self {
            vectors,
            width: options.factors,
            spectrum: vec![0.0; options.factors],
            options: *options,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.vectors.len() / self.width
    }

    pub(super) fn vector(&self, at: usize) -> &[f32] {
        &self.vectors[at * self.width..(at + 1) * self.width]
    }

    /// Solves every vector of the other side, whose pairs are listed; those of many pairs start from
    /// what `unknown` holds. Returns the loss but for the known side's own lengths.
    pub(super) fn solve_all(
        &self,
        (starts, members): &(&[usize], &[u32]),
        unknown: &mut [f32],
    ) -> f64 {
        let width = self.width;
        let errors: Vec<f64> = unknown
            .par_chunks_mut(CHUNK * width)
            .enumerate()
            .map_init(SolveScratch::default, |scratch, (chunk, vectors)| {
                let mut error = 0.0;
                for (at, vector) in vectors.chunks_exact_mut(width).enumerate() {
                    let own = chunk * CHUNK + at;
                    let known = &members[starts[own]..starts[own + 1]];
                    self.solve(known, vector, scratch);
                    error += self.error(known, vector) + weighted_square(vector, &scratch.ridge);
                }
                error
            })
            .collect();
        errors.iter().sum()
    }

    /// Solves one vector.
    pub(super) fn solve(&self, known: &[u32], vector: &mut [f32], scratch: &mut SolveScratch) {
        if known.len() > EXACT_MAX {
            return self.descend(known, vector, scratch);
        }
        let weights = self.dual(known, scratch);
        vector.fill(0.0);
        // `dual` left the rows over the root of the ridge; once more gives the ridge itself.
        for (row, weight) in scratch.rows.chunks_exact(self.width).zip(weights) {
            for (to, from) in vector.iter_mut().zip(row) {
                *to += weight * from;
            }
        }
        for (to, ridge) in vector.iter_mut().zip(&scratch.ridge) {
            *to /= ridge.sqrt();
        }
    }

    /// Returns the weights `z` with `w = sum of z_j M^-1 h_j`, where `M` is spectrum plus ridge:
    /// `z = (1 + H M^-1 Hᵀ)^-1 1`, by the push-through identity. Cost: `pairs² * width / 2`.
    pub(super) fn dual(&self, known: &[u32], scratch: &mut SolveScratch) -> Vec<f32> {
        let (count, width) = (known.len(), self.width);
        self.put_ridge(count, &mut scratch.ridge);
        scratch.rows.clear();
        for at in known {
            let scaled = self.vector(*at as usize).iter().zip(&scratch.ridge);
            scratch
                .rows
                .extend(scaled.map(|(value, ridge)| value / ridge.sqrt()));
        }
        let panels = count.div_ceil(LANES);
        scratch.panels.clear();
        scratch.panels.resize(panels * width, [0.0; LANES]);
        for (at, row) in scratch.rows.chunks_exact(width).enumerate() {
            let own = at / LANES * width;
            for (to, from) in scratch.panels[own..own + width].iter_mut().zip(row) {
                to[at % LANES] = *from;
            }
        }
        scratch.products.clear();
        scratch.products.resize(panels * count, [0.0; LANES]);
        let rows = &scratch.rows;
        let left = |row: usize, at: usize| rows[row * width + at];
        add_product(left, count, width, &scratch.panels, &mut scratch.products);
        scratch.square.clear();
        let products = &scratch.products;
        scratch.square.extend((0..count * count).map(|at| {
            let (row, column) = (at / count, at % count);
            let product = products[column / LANES * count + row][column % LANES];
            f64::from(product) + f64::from(u8::from(row == column))
        }));
        scratch.right.clear();
        scratch.right.resize(count, 1.0);
        if !cholesky(&mut scratch.square, count) {
            return vec![0.0; count]; // only what is not finite leads here
        }
        cholesky_solve(&scratch.square, count, &mut scratch.right);
        scratch.right.iter().map(|it| *it as f32).collect()
    }

    /// One sweep of exact solves over blocks of dimensions, the others kept. Cost: `pairs * width *
    /// BLOCK / 2`. Source: iALS++, algorithm 3.
    pub(super) fn descend(&self, known: &[u32], vector: &mut [f32], scratch: &mut SolveScratch) {
        let (count, width) = (known.len(), self.width);
        self.put_ridge(count, &mut scratch.ridge);
        scratch.errors.clear();
        for at in known {
            scratch
                .errors
                .push(1.0 - dot(self.vector(*at as usize), vector));
        }
        for first in (0..width).step_by(BLOCK) {
            let block = BLOCK.min(width - first);
            let panels = &mut scratch.panels;
            panels.clear();
            for panel in (first..first + block).step_by(LANES) {
                panels.extend(known.iter().map(|at| -> Lanes {
                    let row = &self.vector(*at as usize)[panel..panel + LANES];
                    std::array::from_fn(|lane| row[lane])
                }));
            }
            scratch.products.clear();
            scratch.products.resize(block / LANES * block, [0.0; LANES]);
            let value = |row: usize, at: usize| panels[row / LANES * count + at][row % LANES];
            add_product(value, block, count, panels, &mut scratch.products);
            let products = &scratch.products;
            scratch.square.clear();
            scratch.square.extend((0..block * block).map(|at| {
                let (row, column) = (at / block, at % block);
                let ridge = if row == column {
                    scratch.ridge[first + row]
                } else {
                    0.0
                };
                f64::from(products[column / LANES * block + row][column % LANES] + ridge)
            }));
            scratch.right.clear();
            scratch.right.extend((0..block).map(|row| {
                let errors = scratch.errors.iter().enumerate();
                let pull: f32 = errors.map(|(at, error)| value(row, at) * error).sum();
                f64::from(pull - scratch.ridge[first + row] * vector[first + row])
            }));
            if !cholesky(&mut scratch.square, block) {
                return; // only what is not finite leads here
            }
            cholesky_solve(&scratch.square, block, &mut scratch.right);
            for (row, step) in scratch.right.iter().enumerate() {
                vector[first + row] += *step as f32;
                for (at, error) in scratch.errors.iter_mut().enumerate() {
                    *error -= value(row, at) * *step as f32;
                }
            }
        }
    }

    /// `h_j M^-1 h`, for a vector of `count` pairs.
    pub(super) fn likeness(&self, at: usize, other: &[f32], count: usize) -> f32 {
        let mut ridge = Vec::new();
        self.put_ridge(count, &mut ridge);
        let products = self.vector(at).iter().zip(other).zip(&ridge);
        products.map(|((a, b), ridge)| a * b / ridge).sum()
    }

    /// The weighted squared lengths of the other side's vectors, whose pairs are listed.
    pub(super) fn penalty(&self, (starts, _): &(&[usize], &[u32]), others: &[f32]) -> f64 {
        let counts = starts.windows(2).map(|bounds| bounds[1] - bounds[0]);
        let vectors = others.chunks_exact(self.width).zip(counts);
        vectors
            .map(|(vector, count)| f64::from(dot(vector, vector) * self.weight_of_length(count)))
            .sum()
    }

    /// Regularisation of a vector with `count` pairs.
    fn weight_of_length(&self, count: usize) -> f32 {
        let others = self.options.unobserved_weight * self.len() as f32;
        let frequency = (count as f32 + others).powf(self.options.frequency_exponent);
        self.options.regularisation * frequency
    }

    /// Spectrum plus regularisation of a vector with `count` pairs.
    fn put_ridge(&self, count: usize, ridge: &mut Vec<f32>) {
        let length = self.weight_of_length(count);
        ridge.clear();
        ridge.extend(self.spectrum.iter().map(|it| it + length));
    }

    fn error(&self, known: &[u32], vector: &[f32]) -> f64 {
        let error = |at: &u32| f64::from(1.0 - dot(self.vector(*at as usize), vector)).powi(2);
        known.iter().map(error).sum()
    }
}

/// The sum of squares, each times its weight.
fn weighted_square(vector: &[f32], weights: &[f32]) -> f64 {
    let squares = vector.iter().zip(weights);
    squares
        .map(|(value, weight)| f64::from(value * value * weight))
        .sum()
}

/// The product of two vectors, in sixteen sums that a processor can keep apart.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
