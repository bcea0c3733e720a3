//! The innermost loops, once per instruction set. The plain ones are the truth that tests hold the
//! others to, bit by bit.

use super::{LANES, Lanes, TILE};

/// Calls the first of two functions that the processor has the instructions for, or the plain one.
macro_rules! dispatch {
    ($avx512:ident, $avx2:ident, $plain:expr, $arguments:tt) => {{
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                #[expect(unsafe_code, reason = "the processor has the feature: asked above")]
                return unsafe { x86::$avx512 $arguments };
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                #[expect(unsafe_code, reason = "the processor has the feature: asked above")]
                return unsafe { x86::$avx2 $arguments };
            }
        }
        $plain $arguments
    }};
}

/// Product of one tile of the left matrix and one panel.
pub(super) fn tile(left: &[[f32; TILE]], right: &[Lanes]) -> [Lanes; TILE] {
    dispatch!(tile_avx512, tile_avx2, tile_in_parts::<4>, (left, right))
}

/// Computes for every row the sum of those rows of `values` that it lists.
///
/// * `starts`, shape `[rows + 1]`: row `r` lists `members[starts[r]..starts[r + 1]]`.
/// * `sums`, shape `[rows]`: overwritten.
/// * Cost: one addition of [`LANES`] numbers per member. Members must index `values`.
pub fn gather_sums(starts: &[usize], members: &[u32], values: &[Lanes], sums: &mut [Lanes]) {
    dispatch!(
        gather_avx512,
        gather_avx2,
        gather_plain,
        (starts, members, values, sums)
    );
}

/// Weighs every row by its product with `direction` and adds it up by its weight: all that an
/// iterative solver asks of a matrix, in one walk.
///
/// * `rows`: each `direction.len()` panels wide, one after the other.
/// * `weights`: overwritten with `offset + scale * (row · direction)`.
/// * `sum`, shape of `direction`: the rows times their weights are added.
/// * Cost: two multiplications per number of `rows`.
pub fn weigh_rows(
    rows: &[Lanes],
    direction: &[Lanes],
    offset: f32,
    scale: f32,
    weights: &mut [f32],
    sum: &mut [Lanes],
) {
    dispatch!(
        weigh_avx512,
        weigh_avx2,
        weigh_plain,
        (rows, direction, offset, scale, weights, sum)
    );
}

#[inline(always)]
pub(super) fn weigh_plain(
    rows: &[Lanes],
    direction: &[Lanes],
    offset: f32,
    scale: f32,
    weights: &mut [f32],
    sum: &mut [Lanes],
) {
    for (row, weight) in rows.chunks_exact(direction.len().max(1)).zip(weights) {
        *weight = offset + scale * product(row, direction);
        for (to, from) in sum.iter_mut().zip(row) {
            for lane in 0..LANES {
                to[lane] += *weight * from[lane];
            }
        }
    }
}

/// The product of two rows of panels: lanes first, then halves onto halves.
#[inline(always)]
pub(super) fn product(a: &[Lanes], b: &[Lanes]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
        half /= 2;
    }
    sums[0]
}

#[inline(always)]
pub(super) fn gather_plain(
    starts: &[usize],
    members: &[u32],
    values: &[Lanes],
    sums: &mut [Lanes],
) {
    for (bounds, sum) in starts.windows(2).zip(sums) {
        let mut total = [0.0f32; LANES];
        for member in &members[bounds[0]..bounds[1]] {
            let row = &values[*member as usize];
            for lane in 0..LANES {
                total[lane] += row[lane];
            }
        }
        *sum = total;
    }
}

/// `WIDTH` columns at a time, as many as the registers of the machine hold sums of.
#[inline(always)]
pub(super) fn tile_in_parts<const WIDTH: usize>(
    left: &[[f32; TILE]],
    right: &[Lanes],
) -> [Lanes; TILE] {
    let mut out = [[0.0f32; LANES]; TILE];
    for offset in (0..LANES).step_by(WIDTH) {
        let mut sums = [[0.0f32; WIDTH]; TILE];
        for (a, b) in left.iter().zip(right) {
            if let Some(b) = b[offset..].first_chunk::<WIDTH>() {
                for row in 0..TILE {
                    for column in 0..WIDTH {
                        sums[row][column] += a[row] * b[column];
                    }
                }
            }
        }
        for (to, from) in out.iter_mut().zip(&sums) {
            to[offset..offset + WIDTH].copy_from_slice(from);
        }
    }
    out
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use super::{LANES, Lanes, TILE, gather_plain, tile_in_parts, weigh_plain};
    use std::arch::x86_64::{
        _mm512_add_ps, _mm512_loadu_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    /// Sums of a whole tile stay in sixteen registers.
    #[target_feature(enable = "avx512f")]
    #[expect(unsafe_code, reason = "loads and stores of whole arrays by pointer")]
    pub(in crate::dense) fn tile_avx512(left: &[[f32; TILE]], right: &[Lanes]) -> [Lanes; TILE] {
        let mut sums = [[_mm512_setzero_ps(); 2]; TILE];
        for (a, b) in left.iter().zip(right) {
            // SAFETY: a row has 32 numbers, each load takes 16 of them.
            let (low, high) = unsafe {
                (
                    _mm512_loadu_ps(b.as_ptr()),
                    _mm512_loadu_ps(b[LANES / 2..].as_ptr()),
                )
            };
            for row in 0..TILE {
                let factor = _mm512_set1_ps(a[row]);
                sums[row][0] = _mm512_add_ps(sums[row][0], _mm512_mul_ps(factor, low));
                sums[row][1] = _mm512_add_ps(sums[row][1], _mm512_mul_ps(factor, high));
            }
        }
        let mut out = [[0.0f32; LANES]; TILE];
        for (to, from) in out.iter_mut().zip(&sums) {
            // SAFETY: as above, each store fills 16 of 32 numbers.
            unsafe {
                _mm512_storeu_ps(to.as_mut_ptr(), from[0]);
                _mm512_storeu_ps(to[LANES / 2..].as_mut_ptr(), from[1]);
            }
        }
        out
    }

    #[target_feature(enable = "avx2")]
    pub(in crate::dense) fn tile_avx2(left: &[[f32; TILE]], right: &[Lanes]) -> [Lanes; TILE] {
        tile_in_parts::<8>(left, right)
    }

    #[target_feature(enable = "avx512f")]
    pub(in crate::dense) fn gather_avx512(
        starts: &[usize],
        members: &[u32],
        values: &[Lanes],
        sums: &mut [Lanes],
    ) {
        gather_plain(starts, members, values, sums);
    }

    #[target_feature(enable = "avx2")]
    pub(in crate::dense) fn gather_avx2(
        starts: &[usize],
        members: &[u32],
        values: &[Lanes],
        sums: &mut [Lanes],
    ) {
        gather_plain(starts, members, values, sums);
    }

    #[target_feature(enable = "avx512f")]
    pub(in crate::dense) fn weigh_avx512(
        rows: &[Lanes],
        direction: &[Lanes],
        offset: f32,
        scale: f32,
        weights: &mut [f32],
        sum: &mut [Lanes],
    ) {
        weigh_plain(rows, direction, offset, scale, weights, sum);
    }

    #[target_feature(enable = "avx2")]
    pub(in crate::dense) fn weigh_avx2(
        rows: &[Lanes],
        direction: &[Lanes],
        offset: f32,
        scale: f32,
        weights: &mut [f32],
        sum: &mut [Lanes],
    ) {
        weigh_plain(rows, direction, offset, scale, weights, sum);
    }
}
