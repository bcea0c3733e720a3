//! Logistic regression with an L2 penalty over standardised numbers and one weight per category.

#[cfg(test)]
mod tests;

use rapport_math::Moments;
use rayon::prelude::*;

use crate::schema::{Frame, Schema};
use crate::{constant_logit, log_loss, sigmoid};

/// Rows that one task sums: fixed, so that sums are the same for any number of threads.
const CHUNK: usize = 2_048;
/// Newton steps; near the end each squares the error.
const STEPS_MAX: usize = 60;
/// Conjugate-gradient steps inside one Newton step.
const INNER_MAX: usize = 250;
/// Halvings of a step that does not lower the loss.
const HALVINGS_MAX: usize = 30;

/// How a column enters the linear sum.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Term {
    /// Adds `weight * (x - mean) / deviation` with `x` cut to the training range, or `absent`.
    Number {
        low: f64,
        high: f64,
        mean: f64,
        deviation: f64,
        weight: f64,
        absent: f64,
    },
    /// Adds the weight of the encoded category.
    Category(Vec<f64>),
}

impl Term {
    /// Returns what a cell adds to the logit.
    fn add(&self, cell: f64) -> f64 {
        match self {
            Self::Number { absent, .. } if cell.is_nan() => *absent,
            Self::Number {
                low,
                high,
                mean,
                deviation,
                weight,
                ..
            } => weight * (cell.clamp(*low, *high) - mean) / deviation,
            Self::Category(weights) => weights[cell as usize],
        }
    }
}

/// A fitted logistic regression.
///
/// The logit is `bias` plus what each column adds; a column's contribution is what it adds beyond its
/// mean over the training rows, and `base` is the logit where every column adds its mean.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Logistic {
    pub(crate) base: f64,
    pub(crate) terms: Vec<Term>,
    /// Shape `[columns]`.
    pub(crate) centres: Vec<f64>,
}

impl Logistic {
    /// Returns the logit of an encoded row. Cost: one lookup per column.
    pub(crate) fn logit(&self, row: &[f64]) -> f64 {
        let columns = self.terms.iter().zip(&self.centres).zip(row);
        let added = columns.map(|((term, centre), cell)| term.add(*cell) - centre);
        self.base + added.sum::<f64>()
    }

    /// Adds `share` times each column's contribution; they and `base` sum to the logit.
    pub(crate) fn explain(&self, row: &[f64], share: f64, contributions: &mut [f64]) {
        let columns = self.terms.iter().zip(&self.centres).zip(row);
        for (sum, ((term, centre), cell)) in contributions.iter_mut().zip(columns) {
            *sum += share * (term.add(*cell) - centre);
        }
    }
}

/// Rows of a frame as the regression sees them: scaled, each cell with the place of its weight.
///
/// Weights, shape `[width]`: the bias, then per column of numbers its weight and that of a missing
/// cell, per category one weight for each of its codes.
#[derive(Debug)]
pub(crate) struct Design<'a> {
    frame: &'a Frame,
    rows: &'a [u32],
    labels: &'a [bool],
    columns: Vec<Scale>,
    width: usize,
}

#[derive(Debug, Clone, Copy)]
struct Scale {
    start: usize,
    /// 0 for numbers.
    codes: usize,
    low: f64,
    high: f64,
    mean: f64,
    deviation: f64,
}

impl Scale {
    /// Returns the place of a cell's weight and what multiplies it.
    fn place(&self, cell: f64) -> (usize, f64) {
        if self.codes > 0 {
            (self.start + cell as usize, 1.0)
        } else if cell.is_nan() {
            (self.start + 1, 1.0)
        } else {
            let scaled = (cell.clamp(self.low, self.high) - self.mean) / self.deviation;
            (self.start, scaled)
        }
    }
}

impl<'a> Design<'a> {
    /// Scales the columns by mean and deviation over the given rows of the frame; labels are by row of
    /// the frame.
    pub(crate) fn new(
        schema: &Schema,
        frame: &'a Frame,
        rows: &'a [u32],
        labels: &'a [bool],
    ) -> Self {
        let mut width = 1;
        let mut columns = Vec::with_capacity(schema.columns.len());
        for (column, cells) in schema.columns.iter().zip(&frame.columns) {
            let mut scale = Scale {
                start: width,
                codes: column.kind.codes(),
                low: 0.0,
                high: 0.0,
                mean: 0.0,
                deviation: 1.0,
            };
            if column.kind.is_ordered() {
                scale.measure(rows.iter().map(|row| cells[*row as usize]));
            }
            width += scale.codes.max(2);
            columns.push(scale);
        }
        Self {
            frame,
            rows,
            labels,
            columns,
            width,
        }
    }

    /// Returns cells per pass over the rows, the unit of work.
    pub(crate) fn cells(&self) -> f64 {
        (self.rows.len() * (self.columns.len() + 1)) as f64
    }

    /// Computes `X w` for the rows of one chunk.
    fn margins(&self, rows: &[u32], weights: &[f64]) -> Vec<f64> {
        let mut sums = vec![weights[0]; rows.len()];
        for (scale, cells) in self.columns.iter().zip(&self.frame.columns) {
            for (sum, row) in sums.iter_mut().zip(rows) {
                let (at, value) = scale.place(cells[*row as usize]);
                *sum += weights[at] * value;
            }
        }
        sums
    }

    /// Adds `Xᵀ r`, or with squared values, of one chunk.
    fn gather(&self, rows: &[u32], factors: &[f64], squared: bool, sums: &mut [f64]) {
        sums[0] += factors.iter().sum::<f64>();
        for (scale, cells) in self.columns.iter().zip(&self.frame.columns) {
            for (factor, row) in factors.iter().zip(rows) {
                let (at, value) = scale.place(cells[*row as usize]);
                sums[at] += factor * if squared { value * value } else { value };
            }
        }
    }

    /// Sums over chunks, side by side, added up in the order of rows.
    fn sum(&self, of_chunk: impl Fn(usize, &[u32], &mut [f64]) + Sync) -> Vec<f64> {
        let chunks = self.rows.par_chunks(CHUNK).enumerate().map(|(at, rows)| {
            let mut sums = vec![0.0; self.width + 1];
            of_chunk(at * CHUNK, rows, &mut sums);
            sums
        });
        let mut total = vec![0.0; self.width + 1];
        for sums in chunks.collect::<Vec<_>>() {
            total
                .iter_mut()
                .zip(sums)
                .for_each(|(all, one)| *all += one);
        }
        total
    }

    /// Returns loss and gradient of the mean penalised log-loss, and the curvature of every row.
    fn slope(&self, weights: &[f64], penalty: f64) -> (f64, Vec<f64>) {
        let n = self.rows.len() as f64;
        let mut sums = self.sum(|_, rows, sums| {
            let margins = self.margins(rows, weights);
            let mut loss = 0.0;
            let residuals: Vec<f64> = rows
                .iter()
                .zip(&margins)
                .map(|(row, margin)| {
                    let label = self.labels[*row as usize];
                    loss += log_loss(*margin, label);
                    sigmoid(*margin) - f64::from(u8::from(label))
                })
                .collect();
            self.gather(rows, &residuals, false, sums);
            sums[self.width] = loss;
        });
        let loss = sums.pop().unwrap_or(0.0) / n;
        sums.iter_mut().for_each(|sum| *sum /= n);
        let mut squares = 0.0;
        for (gradient, weight) in sums.iter_mut().zip(weights).skip(1) {
            *gradient += penalty * weight;
            squares += weight * weight;
        }
        (loss + 0.5 * penalty * squares, sums)
    }

    /// Returns the curvature `p (1 - p)` of every row and the diagonal of the Hessian.
    fn curvature(&self, weights: &[f64], penalty: f64) -> (Vec<f64>, Vec<f64>) {
        let n = self.rows.len() as f64;
        let curves: Vec<f64> = self
            .rows
            .par_chunks(CHUNK)
            .flat_map_iter(|rows| {
                let margins = self.margins(rows, weights);
                margins.into_iter().map(|margin| {
                    let p = sigmoid(margin);
                    p * (1.0 - p)
                })
            })
            .collect();
        let mut diagonal = self.sum(|from, rows, sums| {
            self.gather(rows, &curves[from..from + rows.len()], true, sums);
        });
        diagonal.truncate(self.width);
        diagonal.iter_mut().for_each(|sum| *sum /= n);
        diagonal.iter_mut().skip(1).for_each(|sum| *sum += penalty);
        (curves, diagonal)
    }

    /// Computes the Hessian times a vector.
    fn bend(&self, curves: &[f64], penalty: f64, vector: &[f64]) -> Vec<f64> {
        let n = self.rows.len() as f64;
        let mut product = self.sum(|from, rows, sums| {
            let mut margins = self.margins(rows, vector);
            margins
                .iter_mut()
                .zip(&curves[from..])
                .for_each(|(margin, curve)| *margin *= curve);
            self.gather(rows, &margins, false, sums);
        });
        product.truncate(self.width);
        product.iter_mut().for_each(|sum| *sum /= n);
        for (sum, value) in product.iter_mut().zip(vector).skip(1) {
            *sum += penalty * value;
        }
        product
    }

    /// Minimises mean log-loss plus `penalty / 2` times the squared weights, the bias apart.
    ///
    /// * `start`: weights to begin from, `None` for the constant model.
    /// * Ends when no derivative of the mean loss is above `tolerance`: the loss is convex, so that is
    ///   the optimum to that tolerance, wherever it began.
    /// * Cost: two passes over the cells per conjugate-gradient step, some dozens of steps in all.
    /// * Source: Newton's method with truncated conjugate gradients: Lin, Weng and Keerthi, "Trust
    ///   region Newton method for large-scale logistic regression", JMLR 2008; a line search in place
    ///   of the trust region.
    ///
    /// Returns the weights and the passes over the cells that they cost.
    pub(crate) fn fit(
        &self,
        penalty: f64,
        start: Option<Vec<f64>>,
        tolerance: f64,
    ) -> (Vec<f64>, usize) {
        let mut weights = start.unwrap_or_else(|| self.constant());
        let (mut loss, mut gradient) = self.slope(&weights, penalty);
        let mut passes = 2;
        for _ in 0..STEPS_MAX {
            if gradient.iter().all(|slope| slope.abs() <= tolerance) {
                break;
            }
            let (step, bends) = self.newton_step(&weights, penalty, &gradient);
            passes += 2 + 2 * bends;
            let descent: f64 = step.iter().zip(&gradient).map(|(a, b)| a * b).sum();
            let mut length = 1.0;
            let mut halvings = 0;
            loop {
                let next: Vec<f64> = weights
                    .iter()
                    .zip(&step)
                    .map(|(weight, step)| weight - length * step)
                    .collect();
                let (next_loss, next_gradient) = self.slope(&next, penalty);
                passes += 2;
                if next_loss <= loss - 1e-4 * length * descent + 1e-15 {
                    (weights, loss, gradient) = (next, next_loss, next_gradient);
                    break;
                }
                halvings += 1;
                if halvings == HALVINGS_MAX {
                    return (weights, passes); // as good as the numbers' precision allows
                }
                length *= 0.5;
            }
        }
        (weights, passes)
    }

    /// Returns the weights of the constant model.
    fn constant(&self) -> Vec<f64> {
        let yes = self.rows.iter().filter(|row| self.labels[**row as usize]);
        let mut weights = vec![0.0; self.width];
        weights[0] = constant_logit(yes.count(), self.rows.len());
        weights
    }

    /// Solves Hessian times step = gradient by conjugate gradients, scaled by the diagonal;
    /// returns how many steps that took, too.
    fn newton_step(&self, weights: &[f64], penalty: f64, gradient: &[f64]) -> (Vec<f64>, usize) {
        let (curves, diagonal) = self.curvature(weights, penalty);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let scaled = |residual: &[f64]| -> Vec<f64> {
            let pairs = residual.iter().zip(&diagonal);
            pairs.map(|(rest, scale)| rest / scale.max(1e-12)).collect()
        };
        let mut step = vec![0.0; self.width];
        let mut residual = gradient.to_vec();
        let mut direction = scaled(&residual);
        let mut size = dot(&residual, &direction);
        // Looser far from the optimum, where Newton's direction is rough anyway.
        let norm = dot(gradient, gradient).sqrt();
        let enough = size * norm.sqrt().min(0.1).powi(2);
        let mut bends = 0;
        while bends < INNER_MAX && size > enough {
            let bent = self.bend(&curves, penalty, &direction);
            bends += 1;
            let length = size / dot(&direction, &bent);
            if !length.is_finite() {
                break;
            }
            for at in 0..self.width {
                step[at] += length * direction[at];
                residual[at] -= length * bent[at];
            }
            let next = scaled(&residual);
            let next_size = dot(&residual, &next);
            let keep = next_size / size;
            size = next_size;
            direction
                .iter_mut()
                .zip(next)
                .for_each(|(old, new)| *old = new + keep * *old);
        }
        (step, bends)
    }

    /// Returns the logits of other rows of the same frame.
    pub(crate) fn logits(&self, weights: &[f64], rows: &[u32]) -> Vec<f64> {
        let chunks = rows.par_chunks(CHUNK);
        chunks
            .flat_map_iter(|rows| self.margins(rows, weights))
            .collect()
    }

    /// Returns the model of fitted weights.
    pub(crate) fn model(&self, weights: &[f64]) -> Logistic {
        let n = self.rows.len() as f64;
        let term = |scale: &Scale| match scale.codes {
            0 => Term::Number {
                low: scale.low,
                high: scale.high,
                mean: scale.mean,
                deviation: scale.deviation,
                weight: weights[scale.start],
                absent: weights[scale.start + 1],
            },
            codes => Term::Category(weights[scale.start..scale.start + codes].to_vec()),
        };
        let terms: Vec<Term> = self.columns.iter().map(term).collect();
        let columns = terms.iter().zip(&self.frame.columns);
        let centres: Vec<f64> = columns
            .map(|(term, cells)| {
                let added = self.rows.iter().map(|row| term.add(cells[*row as usize]));
                added.sum::<f64>() / n
            })
            .collect();
        Logistic {
            base: weights[0] + centres.iter().sum::<f64>(),
            terms,
            centres,
        }
    }
}

impl Scale {
    fn measure(&mut self, cells: impl Iterator<Item = f64>) {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut moments = Moments::default();
        for cell in cells.filter(|cell| !cell.is_nan()) {
            low = low.min(cell);
            high = high.max(cell);
            moments.push(cell);
        }
        let Some(mean) = moments.mean() else {
            return; // nothing but missing cells among these rows
        };
        (self.low, self.high, self.mean) = (low, high, mean);
        let n = moments.count() as f64;
        let variance = moments.variance().unwrap_or(0.0) * (n - 1.0) / n;
        if variance > 0.0 && variance.is_finite() {
            self.deviation = variance.sqrt();
        } else if !variance.is_finite() {
            // Numbers whose squares overflow: scaled by the largest instead.
            (self.mean, self.deviation) = (0.0, low.abs().max(high.abs()));
        }
    }
}
