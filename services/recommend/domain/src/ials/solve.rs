//! One side's vectors given the other's, on axes where the other's Gram matrix is diagonal.

use rapport_math::dense::{LANES, Lanes, add_product, row_products, weigh_rows};
use rapport_math::{cholesky, cholesky_solve};
use rayon::prelude::*;

use super::{CHUNK, IalsOptions};

/// Steps of conjugate gradients that training takes for a vector in an epoch. With two an epoch gains
/// as much as with exact solves, with one it does not.
const TRAIN_STEPS: usize = 2;
/// Most steps for a vector that is solved once and from nothing.
const FOLD_STEPS: usize = 64;
/// Part of the first force at which no further step is worth taking.
const FORCE_MIN: f32 = 1e-10;
/// Most pairs at which a vector is solved exactly, through the pairs: above, by steps. The exact way
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
    /// Of each pair: what is missing to 1, and what a step along the direction adds.
    pub(super) errors: Vec<f32>,
    pulls: Vec<f32>,
    /// Of each dimension: what the descent is at.
    residual: Vec<Lanes>,
    direction: Vec<Lanes>,
    image: Vec<Lanes>,
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

    /// Moves every vector of the other side, whose pairs are listed, towards its solution. Returns the
    /// loss but for the known side's own lengths.
    pub(super) fn improve_all(
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
                    self.descend(known, vector, TRAIN_STEPS, scratch);
                    let misses = scratch.errors.iter().map(|it| f64::from(it * it));
                    error += misses.sum::<f64>() + weighted_square(vector, &scratch.ridge);
                }
                error
            })
            .collect();
        errors.iter().sum()
    }

    /// Solves one vector from nothing.
    pub(super) fn solve(&self, known: &[u32], vector: &mut [f32], scratch: &mut SolveScratch) {
        if known.len() > EXACT_MAX {
            vector.fill(0.0);
            return self.descend(known, vector, FOLD_STEPS, scratch);
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

    /// Takes some steps of conjugate gradients from where `vector` stands, on axes scaled by the ridge;
    /// leaves what then is missing to 1 at each pair in `scratch.errors`.
    ///
    /// Cost of the start and of each step but the last: two products per pair and dimension; of the
    /// last one.
    pub(super) fn descend(
        &self,
        known: &[u32],
        vector: &mut [f32],
        steps: usize,
        scratch: &mut SolveScratch,
    ) {
        self.put_ridge(known.len(), &mut scratch.ridge);
        scratch.errors.resize(known.len(), 0.0);
        scratch.pulls.resize(known.len(), 0.0);
        let SolveScratch {
            errors,
            pulls,
            residual,
            direction,
            image,
            ..
        } = scratch;
        let (rows, ridge) = (panels(&self.vectors), panels(&scratch.ridge));
        let (vector, _) = vector.as_chunks_mut::<LANES>();
        // Downhill: the pairs' errors pull, the ridge holds back.
        residual.clear();
        residual.extend(lanes(vector, ridge, |value, ridge| -value * ridge));
        weigh_rows(rows, known, vector, (1.0, -1.0), errors, residual);
        direction.clear();
        direction.extend(lanes(residual, ridge, |force, ridge| force / ridge));
        let mut force = product(residual, direction);
        let enough = force * FORCE_MIN;
        for left in (0..steps).rev() {
            if force <= enough || force.is_nan() {
                return;
            }
            image.clear();
            image.extend(lanes(direction, ridge, |value, ridge| value * ridge));
            // The last step asks how far, no longer where to go from there: the image is not needed.
            let resistance = if left == 0 {
                row_products(rows, known, direction, pulls);
                product(direction, image) + pulls.iter().map(|it| it * it).sum::<f32>()
            } else {
                weigh_rows(rows, known, direction, (0.0, 1.0), pulls, image);
                product(direction, image)
            };
            let step = force / resistance;
            add_scaled(vector, direction, step);
            for (error, pull) in errors.iter_mut().zip(&*pulls) {
                *error -= step * pull;
            }
            if left == 0 {
                return;
            }
            add_scaled(residual, image, -step);
            image.clear();
            image.extend(lanes(residual, ridge, |force, ridge| force / ridge));
            let before = std::mem::replace(&mut force, product(residual, image));
            add_scaled(image, direction, force / before);
            std::mem::swap(direction, image);
        }
    }

    /// `h_j M^-1 h`, for a vector of `count` pairs.
    pub(super) fn likeness(&self, at: usize, other: &[f32], count: usize) -> f32 {
        let mut ridge = Vec::new();
        self.put_ridge(count, &mut ridge);
        let products = self.vector(at).iter().zip(other).zip(&ridge);
        products.map(|((a, b), ridge)| a * b / ridge).sum()
    }

    /// The other side's weighted squares summed by axis; `starts` bounds the pairs of its vectors.
    pub(super) fn penalties(&self, starts: &[usize], others: &[f32]) -> Vec<f64> {
        let mut sums = vec![0.0; self.width];
        for (vector, bounds) in others.chunks_exact(self.width).zip(starts.windows(2)) {
            let weight = self.weight_of_length(bounds[1] - bounds[0]);
            for (sum, value) in sums.iter_mut().zip(vector) {
                *sum += f64::from(value * value * weight);
            }
        }
        sums
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
}

/// The sum of squares, each times its weight.
fn weighted_square(vector: &[f32], weights: &[f32]) -> f64 {
    let squares = vector.iter().zip(weights);
    squares
        .map(|(value, weight)| f64::from(value * value * weight))
        .sum()
}

/// A vector, or several, as panels; their widths are multiples of one.
fn panels(values: &[f32]) -> &[Lanes] {
    values.as_chunks::<LANES>().0
}

/// Combines two vectors number by number.
fn lanes(a: &[Lanes], b: &[Lanes], of: impl Fn(f32, f32) -> f32) -> impl Iterator<Item = Lanes> {
    let pairs = a.iter().zip(b);
    pairs.map(move |(a, b)| std::array::from_fn(|lane| of(a[lane], b[lane])))
}

fn add_scaled(into: &mut [Lanes], from: &[Lanes], scale: f32) {
    for (into, from) in into.iter_mut().zip(from) {
        for (into, from) in into.iter_mut().zip(from) {
            *into += scale * from;
        }
    }
}

/// The product of two vectors, each lane summed before the lanes are.
fn product(a: &[Lanes], b: &[Lanes]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}
