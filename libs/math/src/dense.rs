//! Dense products over panels: the few kernels that matrix models spend their time in.
//!
//! A matrix is a list of panels, each [`LANES`] columns of it, row by row: `panel[row][lane]`. Every
//! sum runs in the order of its index, with a multiplication and an addition and never a fused one,
//! so every instruction set gives the same bytes. One thread each; callers split the panels.

mod kernel;
#[cfg(test)]
mod tests;

pub use kernel::{gather_sums, row_products, weigh_rows};

/// Columns of a panel.
pub const LANES: usize = 32;
/// One row of a panel: one cache line pair, two registers of the widest machines.
pub type Lanes = [f32; LANES];
/// Rows that the kernel works on at once.
const TILE: usize = 8;

/// Adds to `out` the product of `left`, shape `[rows, depth]`, and `right`, shape `[depth, columns]`.
///
/// * `left(row, at)` is read once per element, that of the last row up to 8 times.
/// * `right` holds its panels one after the other, `depth` rows each; `out` likewise, `rows` each.
/// * Cost: `rows * depth * columns` multiplications; one buffer of `8 * depth` numbers.
pub fn add_product(
    left: impl Fn(usize, usize) -> f32,
    rows: usize,
    depth: usize,
    right: &[Lanes],
    out: &mut [Lanes],
) {
    add_product_from(left, 0, rows, depth, right, out);
}

/// Is [`add_product`] for the rows from `first` on; those before are neither read nor written.
pub fn add_product_from(
    left: impl Fn(usize, usize) -> f32,
    first: usize,
    rows: usize,
    depth: usize,
    right: &[Lanes],
    out: &mut [Lanes],
) {
    debug_assert!(right.len() * rows == out.len() * depth);
    if rows == 0 || depth == 0 {
        return;
    }
    let mut tile = vec![[0.0f32; TILE]; depth];
    for top in (first..rows).step_by(TILE) {
        let height = TILE.min(rows - top);
        for (at, column) in tile.iter_mut().enumerate() {
            // Rows past the last give numbers that nobody reads: those of the last.
            for (row, value) in column.iter_mut().enumerate() {
                *value = left((top + row).min(rows - 1), at);
            }
        }
        for (panel, target) in right.chunks_exact(depth).zip(out.chunks_exact_mut(rows)) {
            let sums = kernel::tile(&tile, panel);
            for (to, from) in target[top..top + height].iter_mut().zip(&sums) {
                for (to, from) in to.iter_mut().zip(from) {
                    *to += from;
                }
            }
        }
    }
}

/// Computes `Xᵀ X` of a matrix of panels, shape `[columns, columns]`, row by row, in double precision.
///
/// Sums of [`GRAM_ROWS`] rows are single precision, their sum is double.
/// Cost: `rows * columns²`, split over rayon's threads by pairs of panels.
#[must_use]
pub fn gram(panels: &[Lanes], rows: usize) -> Vec<f64> {
    use rayon::prelude::*;
    let count = panels.len().checked_div(rows).unwrap_or(0);
    let pairs: Vec<(usize, usize)> = (0..count)
        .flat_map(|row| (0..=row).map(move |column| (row, column)))
        .collect();
    let of = |panel: usize| &panels[panel * rows..(panel + 1) * rows];
    let blocks: Vec<[[f64; LANES]; LANES]> = pairs
        .par_iter()
        .map(|(row, column)| gram_block(of(*row), of(*column)))
        .collect();
    let width = count * LANES;
    let mut all = vec![0.0; width * width];
    for ((row, column), block) in pairs.iter().zip(&blocks) {
        for (a, line) in block.iter().enumerate() {
            for (b, value) in line.iter().enumerate() {
                let (a, b) = (row * LANES + a, column * LANES + b);
                all[a * width + b] = *value;
                all[b * width + a] = *value;
            }
        }
    }
    all
}

/// Rows that [`gram`] sums in single precision.
const GRAM_ROWS: usize = 1_024;

fn gram_block(a: &[Lanes], b: &[Lanes]) -> [[f64; LANES]; LANES] {
    let mut sums = [[0.0f64; LANES]; LANES];
    for (a, b) in a.chunks(GRAM_ROWS).zip(b.chunks(GRAM_ROWS)) {
        let mut part = [[0.0f32; LANES]; LANES];
        add_product(|lane, row| a[row][lane], LANES, a.len(), b, &mut part);
        for (to, from) in sums.iter_mut().flatten().zip(part.iter().flatten()) {
            *to += f64::from(*from);
        }
    }
    sums
}
