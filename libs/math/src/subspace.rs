//! The leading singular vectors of a large sparse matrix, given as a way to multiply by it.

use rayon::prelude::*;

use crate::Rng;
use crate::dense::{LANES, Lanes, add_product, gram};
use crate::eigen::{Eigen, cholesky, symmetric_eigen};

/// Most columns at which the whole matrix `AᵀA` is diagonalised instead.
const DENSE_MAX: usize = 512;
/// Most vectors wanted: the small dense problem is cubic in them.
pub const LEADING_MAX: usize = 2_048;
/// Vectors iterated beside those wanted; they settle last and are thrown away.
const SPARE: usize = LANES;
/// Rounds of filter, orthonormalisation and rotation after the first.
const ROUNDS: usize = 4;
/// Added to the diagonal of a Gram matrix whose columns have length 1: what single precision hides.
const SHIFT: f64 = 1e-6;

/// A real matrix `A`, shape `[rows, columns]`, as products of one panel on one thread.
pub trait Operator: Sync {
    /// Returns the shape, rows first.
    fn shape(&self) -> (usize, usize);
    /// Overwrites `out`, `rows` long, with `A x` for `x`, `columns` long.
    fn forward(&self, x: &[Lanes], out: &mut [Lanes]);
    /// Overwrites `out`, `columns` long, with `Aᵀ x` for `x`, `rows` long.
    fn backward(&self, x: &[Lanes], out: &mut [Lanes]);
}

/// Leading right singular vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct Leading {
    /// Squares of the singular values, largest first, shape `[count]`.
    pub squares: Vec<f64>,
    /// Panels of `columns` rows: the vectors, with zeros from `count` on.
    pub vectors: Vec<Lanes>,
}

/// Computes the `count` leading right singular vectors of `A`: eigenvectors of `AᵀA`.
///
/// * `count` is cut to [`LEADING_MAX`] and to what the shape allows; the last few are approximate.
/// * Same operator, count and seed give the same bytes for any number of threads.
/// * Cost: about 34 products with `A` of `count + 32` vectors, 10 Gram matrices, 5 small dense problems.
///   Memory: four times `(count + 32) * (rows + columns)` numbers at most.
/// * Source: Chebyshev-filtered subspace iteration, Zhou, Saad, Tiago and Chelikowsky, Journal of
///   Computational Physics 219, 2006, from a random start as Halko, Martinsson and Tropp, SIAM Review
///   53(2), 2011, section 4.4.
#[must_use]
pub fn leading_singular(operator: &impl Operator, count: usize, seed: u64) -> Leading {
    let (_, n) = operator.shape();
    if n <= DENSE_MAX {
        return dense(operator, count.min(n));
    }
    // Half of the columns at most: filtered vectors must stay apart from each other.
    let room = n / 2 / LANES * LANES;
    let count = count.clamp(1, LEADING_MAX.min(room - SPARE));
    let width = (count + SPARE).next_multiple_of(LANES).min(room);
    let mut x = vec![[0.0f32; LANES]; width / LANES * n];
    let rng = Rng::seeded(seed);
    x.par_chunks_mut(n).enumerate().for_each(|(panel, rows)| {
        let mut stream = rng.fork(panel as u64);
        for value in rows.iter_mut().flatten() {
            *value = stream.range(-1.0, 1.0) as f32;
        }
    });
    let work = |x: &mut Vec<Lanes>, cut: Option<f64>| {
        x.par_chunks_mut(n)
            .for_each(|panel| filter(operator, panel, cut));
        orthonormalise(x, n);
        rotate(operator, x, n)
    };
    let mut squares = work(&mut x, None);
    for _ in 0..ROUNDS {
        let (largest, smallest) = (squares[0], squares[squares.len() - 1]);
        if smallest <= 1e-4 * largest {
            break; // the rest of the spectrum is nothing
        }
        squares = work(&mut x, Some(smallest));
    }
    squares.truncate(count);
    let panels = count.div_ceil(LANES);
    x.truncate(panels * n);
    for row in x.iter_mut().skip(panels.saturating_sub(1) * n) {
        row[count - (panels - 1) * LANES..].fill(0.0);
    }
    Leading {
        squares,
        vectors: x,
    }
}

/// Multiplies a panel by a polynomial of `AᵀA`: by its square, or, with a `cut`, by the Chebyshev
/// polynomial of degree 3 that is at most 1 on `[0, cut]` and grows as fast as can be above.
fn filter(operator: &impl Operator, panel: &mut [Lanes], cut: Option<f64>) {
    let (m, n) = operator.shape();
    let (mut between, mut next) = (vec![[0.0; LANES]; m], vec![[0.0; LANES]; n]);
    let mut apply = |x: &[Lanes], out: &mut [Lanes]| {
        operator.forward(x, &mut between);
        operator.backward(&between, out);
    };
    let Some(cut) = cut else {
        apply(panel, &mut next);
        apply(&next, panel);
        return;
    };
    let slope = (2.0 / cut) as f32;
    // Before = T0, panel = T1; then twice T(i + 1) = 2 (slope AᵀA - 1) T(i) - T(i - 1).
    let mut before = panel.to_vec();
    apply(&before, &mut next);
    combine(panel, &next, slope, -1.0, &before, 0.0);
    for _ in 0..2 {
        apply(panel, &mut next);
        let current = panel.to_vec();
        combine(panel, &next, 2.0 * slope, -2.0, &before, -1.0);
        before = current;
    }
}

/// `panel = a * next + b * panel + c * before`, number by number.
fn combine(panel: &mut [Lanes], next: &[Lanes], a: f32, b: f32, before: &[Lanes], c: f32) {
    for ((to, next), before) in panel.iter_mut().zip(next).zip(before) {
        for lane in 0..LANES {
            to[lane] = a * next[lane] + b * to[lane] + c * before[lane];
        }
    }
}

/// Makes the columns orthonormal, twice over: the first pass leaves what single precision loses.
fn orthonormalise(x: &mut Vec<Lanes>, n: usize) {
    for _ in 0..2 {
        let width = x.len() / n * LANES;
        let mut gram = gram(x, n);
        let lengths: Vec<f64> = (0..width)
            .map(|at| gram[at * width + at].max(f64::MIN_POSITIVE).sqrt())
            .collect();
        for row in 0..width {
            for column in 0..width {
                gram[row * width + column] /= lengths[row] * lengths[column];
            }
            gram[row * width + row] += SHIFT;
        }
        if !cholesky(&mut gram, width) {
            return; // not finite: nothing can help, and rotation says so
        }
        // X S^-1 L^-T: the transposed inverse factor, its rows over the lengths.
        let inverse = invert_lower(&gram, width);
        *x = times(x, n, width, |row, column| {
            inverse[column * width + row] / lengths[row]
        });
    }
}

/// The inverse of a lower triangle, row by row. Cost: `n³ / 6`.
fn invert_lower(factor: &[f64], n: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; n * n];
    for row in 0..n {
        let (above, line) = inverse.split_at_mut(row * n);
        let line = &mut line[..n];
        line[row] = 1.0;
        for (at, other) in above.chunks_exact(n).enumerate() {
            let factor = factor[row * n + at];
            for (to, from) in line[..=at].iter_mut().zip(other) {
                *to -= factor * from;
            }
        }
        let diagonal = factor[row * n + row];
        line[..=row].iter_mut().for_each(|value| *value /= diagonal);
    }
    inverse
}

/// Turns orthonormal columns into the best approximate eigenvectors of `AᵀA` within their span.
fn rotate(operator: &impl Operator, x: &mut Vec<Lanes>, n: usize) -> Vec<f64> {
    let (m, width) = (operator.shape().0, x.len() / n * LANES);
    let mut image = vec![[0.0; LANES]; x.len() / n * m];
    image
        .par_chunks_mut(m)
        .zip(x.par_chunks(n))
        .for_each(|(out, panel)| operator.forward(panel, out));
    let small = gram(&image, m);
    drop(image);
    let Some(Eigen { values, vectors }) = symmetric_eigen(&small, width) else {
        return vec![0.0; width];
    };
    *x = times(x, n, width, |row, column| vectors[column * width + row]);
    values
}

/// The product of a tall matrix of panels and a small square one.
fn times(
    x: &[Lanes],
    n: usize,
    width: usize,
    small: impl Fn(usize, usize) -> f64 + Sync,
) -> Vec<Lanes> {
    let mut out = vec![[0.0; LANES]; x.len()];
    out.par_chunks_mut(n).enumerate().for_each(|(panel, out)| {
        let right: Vec<Lanes> = (0..width)
            .map(|row| std::array::from_fn(|lane| small(row, panel * LANES + lane) as f32))
            .collect();
        let left = |row: usize, at: usize| x[at / LANES * n + row][at % LANES];
        add_product(left, n, width, &right, out);
    });
    out
}

/// The exact answer for few columns.
fn dense(operator: &impl Operator, count: usize) -> Leading {
    let (m, n) = operator.shape();
    let panels = n.div_ceil(LANES);
    let mut image = vec![[0.0; LANES]; panels * m];
    image
        .par_chunks_mut(m.max(1))
        .enumerate()
        .for_each(|(panel, out)| {
            let mut unit = vec![[0.0; LANES]; n];
            for (lane, row) in unit.iter_mut().skip(panel * LANES).take(LANES).enumerate() {
                row[lane] = 1.0;
            }
            operator.forward(&unit, out);
        });
    let (whole, width) = (gram(&image, m), panels * LANES);
    let small: Vec<f64> = (0..n * n)
        .map(|at| whole.get(at / n * width + at % n).copied().unwrap_or(0.0))
        .collect();
    let mut leading = Leading {
        squares: vec![0.0; count],
        vectors: vec![[0.0; LANES]; count.div_ceil(LANES) * n],
    };
    if let Some(Eigen { values, vectors }) = symmetric_eigen(&small, n) {
        leading.squares.copy_from_slice(&values[..count]);
        for (at, vector) in vectors.chunks_exact(n.max(1)).take(count).enumerate() {
            for (row, value) in vector.iter().enumerate() {
                leading.vectors[at / LANES * n + row][at % LANES] = *value as f32;
            }
        }
    }
    leading
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A diagonal matrix between two reflections would hide nothing that a diagonal one does not show.
    struct Diagonal(Vec<f32>);

    impl Operator for Diagonal {
        fn shape(&self) -> (usize, usize) {
            (self.0.len(), self.0.len())
        }
        fn forward(&self, x: &[Lanes], out: &mut [Lanes]) {
            for ((to, from), by) in out.iter_mut().zip(x).zip(&self.0) {
                *to = from.map(|value| value * by);
            }
        }
        fn backward(&self, x: &[Lanes], out: &mut [Lanes]) {
            self.forward(x, out);
        }
    }

    fn spectrum(n: usize) -> Diagonal {
        Diagonal((0..n).map(|at| 1.0 / (1.0 + at as f32 / 20.0)).collect())
    }

    #[test]
    fn the_exact_and_the_iterated_answer_find_the_leading_vectors() {
        for n in [40, 1_500] {
            let diagonal = spectrum(n);
            let found = leading_singular(&diagonal, 33, 1);
            assert_eq!((found.squares.len(), found.vectors.len()), (33, 2 * n));
            for at in 0..33 {
                let expected = f64::from(diagonal.0[at]).powi(2);
                let square = found.squares[at];
                assert!(
                    (square - expected).abs() < 1e-4,
                    "{n}: {at} {square} {expected}"
                );
                let own = found.vectors[at / LANES * n + at][at % LANES];
                assert!(own.abs() > 0.98, "{n}: {at} {own}");
            }
            assert!(
                found.vectors[n..]
                    .iter()
                    .all(|row| row[1..].iter().all(|it| *it == 0.0))
            );
        }
    }

    #[test]
    fn a_matrix_of_low_rank_and_threads_are_no_trouble() {
        let mut diagonal = spectrum(1_200);
        diagonal.0[9..].fill(0.0);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| leading_singular(&diagonal, 20, 7))
        };
        let found = run(1);
        assert_eq!(found, run(3));
        assert!(found.squares[8] > 0.3 && found.squares[9].abs() < 1e-5);
        assert!(
            found
                .vectors
                .iter()
                .flatten()
                .all(|value| value.is_finite())
        );
    }
}
