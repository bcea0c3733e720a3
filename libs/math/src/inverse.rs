//! The inverse of a large symmetric positive matrix, in place and in single precision.

use rayon::prelude::*;

use crate::dense::{LANES, Lanes, add_product, add_product_from};
use crate::eigen::{cholesky, cholesky_solve};

/// Rows and columns that one step inverts: a multiple of [`LANES`].
const BLOCK: usize = 128;
/// Panels of one parallel task, so that the left factor is gathered once for several.
const TASK_PANELS: usize = 4;

/// Replaces a symmetric positive matrix by its inverse.
///
/// * `matrix`: panels of `n` rows each, `n` a multiple of [`LANES`]; fill up with ones on the diagonal.
///   Only the lower triangle is read; the answer is written to both.
/// * Returns whether the matrix was positive definite to single precision; if not, it is spoilt.
/// * Cost: about `n³ / 2` multiplications over rayon's threads; beside the matrix two buffers of
///   `128 n` numbers. The same bytes for any number of threads.
/// * Source: the sweep operator, Goodnight, The American Statistician 33(3), 1979, a block at a time.
#[must_use]
pub fn invert_positive(matrix: &mut [Lanes], n: usize) -> bool {
    debug_assert!(n.is_multiple_of(LANES) && matrix.len() * LANES == n * n);
    for first in (0..n).step_by(BLOCK) {
        let width = BLOCK.min(n - first);
        let column = whole_column(matrix, n, first, width);
        let Some(inverse) = invert_small(&column[first * width..], width) else {
            return false;
        };
        let row = times_column(&inverse, &column, n, width);
        matrix
            .par_chunks_mut(n * TASK_PANELS)
            .enumerate()
            .for_each(|(task, panels)| {
                let from = task * TASK_PANELS;
                let count = panels.len() / n;
                let right = &row[from * width..(from + count) * width];
                let left = |row: usize, at: usize| -column[row * width + at];
                add_product_from(left, from * LANES, n, width, right, panels);
                for (at, panel) in panels.chunks_exact_mut(n).enumerate() {
                    let own = &right[at * width..(at + 1) * width];
                    put_block(panel, from + at, own, &row, &inverse, (first, width));
                }
            });
    }
    mirror(matrix, n);
    true
}

/// Writes what the swept block leaves in one panel, whose part of `D A` is `own`.
fn put_block(
    panel: &mut [Lanes],
    at: usize,
    own: &[Lanes],
    row: &[Lanes],
    inverse: &[f64],
    (first, width): (usize, usize),
) {
    let column = at * LANES;
    if !(first..first + width).contains(&column) {
        panel[first..first + width].copy_from_slice(own);
        return;
    }
    let inside = column - first;
    for (below, target) in panel.iter_mut().enumerate() {
        for (lane, value) in target.iter_mut().enumerate() {
            *value = if (first..first + width).contains(&below) {
                -inverse[(below - first) * width + inside + lane] as f32
            } else {
                row[below / LANES * width + inside + lane][below % LANES]
            };
        }
    }
}

/// The columns of a block over all rows, row by row; above the diagonal by symmetry.
fn whole_column(matrix: &[Lanes], n: usize, first: usize, width: usize) -> Vec<f32> {
    let entry = |row: usize, column: usize| {
        let (row, column) = (row.max(column), row.min(column));
        matrix[column / LANES * n + row][column % LANES]
    };
    (0..n * width)
        .into_par_iter()
        .with_min_len(1 << 14)
        .map(|at| entry(at / width, first + at % width))
        .collect()
}

fn invert_small(block: &[f32], width: usize) -> Option<Vec<f64>> {
    let mut factor: Vec<f64> = block[..width * width]
        .iter()
        .map(|value| f64::from(*value))
        .collect();
    if !cholesky(&mut factor, width) {
        return None;
    }
    let mut inverse = vec![0.0; width * width];
    for (at, column) in inverse.chunks_exact_mut(width).enumerate() {
        column[at] = 1.0;
        cholesky_solve(&factor, width, column);
    }
    Some(inverse)
}

/// `D A` of the block's rows, as panels of `width` rows.
fn times_column(inverse: &[f64], column: &[f32], n: usize, width: usize) -> Vec<Lanes> {
    let mut row = vec![[0.0; LANES]; n / LANES * width];
    row.par_chunks_mut(width)
        .enumerate()
        .for_each(|(panel, out)| {
            let mut right = vec![[0.0; LANES]; width];
            for (lane, line) in column[panel * LANES * width..(panel + 1) * LANES * width]
                .chunks_exact(width)
                .enumerate()
            {
                for (to, from) in right.iter_mut().zip(line) {
                    to[lane] = *from;
                }
            }
            add_product(
                |row, at| inverse[row * width + at] as f32,
                width,
                width,
                &right,
                out,
            );
        });
    row
}

/// Turns the swept lower triangle, minus the inverse, into the whole inverse.
fn mirror(matrix: &mut [Lanes], n: usize) {
    for panel in 0..n / LANES {
        for row in panel * LANES..n {
            for lane in 0..LANES.min(row - panel * LANES + 1) {
                let value = -matrix[panel * n + row][lane];
                matrix[panel * n + row][lane] = value;
                matrix[row / LANES * n + panel * LANES + lane][row % LANES] = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// `A + A^T + a large diagonal`, positive by Gershgorin.
    fn positive(n: usize, seed: u64) -> Vec<Lanes> {
        let mut rng = Rng::seeded(seed);
        let mut matrix = vec![[0.0f32; LANES]; n / LANES * n];
        for row in 0..n {
            for column in 0..=row {
                let value = if row == column {
                    n as f32
                } else {
                    rng.range(-1.0, 1.0) as f32
                };
                matrix[column / LANES * n + row][column % LANES] = value;
                matrix[row / LANES * n + column][row % LANES] = value;
            }
        }
        matrix
    }

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        for n in [32, 128, 160, 320] {
            let matrix = positive(n, n as u64);
            let mut inverse = matrix.clone();
            assert!(invert_positive(&mut inverse, n));
            let at = |m: &[Lanes], row: usize, column: usize| {
                f64::from(m[column / LANES * n + row][column % LANES])
            };
            for (row, column) in [(0, 0), (n - 1, 0), (3, n - 1), (n / 2, n / 2), (31, 1)] {
                let sum: f64 = (0..n)
                    .map(|k| at(&matrix, row, k) * at(&inverse, k, column))
                    .sum();
                let expected = f64::from(u8::from(row == column));
                assert!((sum - expected).abs() < 1e-5, "{n}: {row} {column} {sum}");
                assert_eq!(at(&inverse, row, column), at(&inverse, column, row));
            }
        }
    }

    #[test]
    fn what_is_not_positive_is_refused_and_threads_change_nothing() {
        let mut zero = vec![[0.0; LANES]; LANES];
        assert!(!invert_positive(&mut zero, LANES));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let mut matrix = positive(320, 5);
            pool.unwrap()
                .install(|| assert!(invert_positive(&mut matrix, 320)));
            matrix
        };
        assert_eq!(run(1), run(3));
    }
}
