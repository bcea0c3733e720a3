//! The innermost loops, once per instruction set. The plain ones are the truth that tests hold the
//! others to, bit by bit.

use super::{LANES, Lanes, TILE};

/// Rows whose products are taken before their lanes are summed.
const MANY: usize = 16;
/// Lanes of a sum of products: one register of the widest machines.
const PART: usize = 16;

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

/// Weighs rows by their products with `direction` and adds them up by their weights: all that an
/// iterative solver asks of a matrix, in one walk.
///
/// * `table`: rows of `direction.len()` panels, one after the other; `members` lists those meant.
/// * `weights`, shape of `members`: overwritten with `offset + scale * (row · direction)`.
/// * `sum`, shape of `direction`: the rows times their weights are added.
/// * Cost: two multiplications per number of the rows listed. Members must index rows.
pub fn weigh_rows(
    table: &[Lanes],
    members: &[u32],
    direction: &[Lanes],
    (offset, scale): (f32, f32),
    weights: &mut [f32],
    sum: &mut [Lanes],
) {
    dispatch!(
        weigh_avx512,
        weigh_avx2,
        weigh_plain,
        (table, members, direction, (offset, scale), weights, sum)
    );
}

/// Computes the product of each row listed with `direction`: half of [`weigh_rows`], at half its cost.
pub fn row_products(table: &[Lanes], members: &[u32], direction: &[Lanes], products: &mut [f32]) {
    dispatch!(
        products_avx512,
        products_avx2,
        products_plain,
        (table, members, direction, products)
    );
}

#[inline(always)]
pub(super) fn weigh_plain(
    table: &[Lanes],
    members: &[u32],
    direction: &[Lanes],
    (offset, scale): (f32, f32),
    weights: &mut [f32],
    sum: &mut [Lanes],
) {
    products_plain(table, members, direction, weights);
    for weight in weights.iter_mut() {
        *weight = offset + scale * *weight;
    }
    let (width, sum) = (direction.len() * LANES, sum.as_flattened_mut());
    let row = |member| row_of(table, member, width);
    // Four at a time, one after the other: a number of the sum is read and written once for four.
    let (fours, rest) = members.as_chunks::<4>();
    let (four_weights, rest_weights) = weights.as_chunks::<4>();
    for ([a, b, c, d], [v, w, x, y]) in fours.iter().zip(four_weights) {
        let rows = row(*a).iter().zip(row(*b)).zip(row(*c)).zip(row(*d));
        for (to, (((a, b), c), d)) in sum.iter_mut().zip(rows) {
            *to = *to + v * a + w * b + x * c + y * d;
        }
    }
    for (member, weight) in rest.iter().zip(rest_weights) {
        for (to, from) in sum.iter_mut().zip(row(*member)) {
            *to += weight * from;
        }
    }
}

#[inline(always)]
pub(super) fn products_plain(
    table: &[Lanes],
    members: &[u32],
    direction: &[Lanes],
    products: &mut [f32],
) {
    let (width, direction) = (direction.len() * LANES, direction.as_flattened());
    let mut parts = [[0.0f32; PART]; MANY];
    for (members, products) in members.chunks(MANY).zip(products.chunks_mut(MANY)) {
        for (member, part) in members.iter().zip(&mut parts) {
            let mut sums = [0.0f32; PART];
            let row = row_of(table, *member, width).as_chunks::<PART>().0;
            for (a, b) in row.iter().zip(direction.as_chunks::<PART>().0) {
                for lane in 0..PART {
                    sums[lane] += a[lane] * b[lane];
                }
            }
            *part = sums;
        }
        sum_parts(&parts, products);
    }
}

/// Sums the lanes of each part: quarters onto quarters, then halves.
///
/// Not inlined: with wide instructions the compiler gathers the lanes one by one from memory, which
/// takes as long as the products.
#[inline(never)]
fn sum_parts(parts: &[[f32; PART]; MANY], sums: &mut [f32]) {
    let mut quarters = [[0.0f32; PART / 4]; MANY];
    for (part, quarter) in parts.iter().zip(&mut quarters).take(sums.len()) {
        for lane in 0..PART / 4 {
            quarter[lane] = (part[lane] + part[lane + 8]) + (part[lane + 4] + part[lane + 12]);
        }
    }
    for (quarter, sum) in quarters.iter().zip(sums) {
        *sum = (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
    }
}

#[inline(always)]
fn row_of(table: &[Lanes], member: u32, width: usize) -> &[f32] {
    &table.as_flattened()[member as usize * width..][..width]
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
    use super::{LANES, Lanes, TILE, gather_plain, products_plain, tile_in_parts, weigh_plain};
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
        table: &[Lanes],
        members: &[u32],
        direction: &[Lanes],
        affine: (f32, f32),
        weights: &mut [f32],
        sum: &mut [Lanes],
    ) {
        weigh_plain(table, members, direction, affine, weights, sum);
    }

    #[target_feature(enable = "avx512f")]
    pub(in crate::dense) fn products_avx512(
        table: &[Lanes],
        members: &[u32],
        direction: &[Lanes],
        out: &mut [f32],
    ) {
        products_plain(table, members, direction, out);
    }

    #[target_feature(enable = "avx2")]
    pub(in crate::dense) fn weigh_avx2(
        table: &[Lanes],
        members: &[u32],
        direction: &[Lanes],
        affine: (f32, f32),
        weights: &mut [f32],
        sum: &mut [Lanes],
    ) {
        weigh_plain(table, members, direction, affine, weights, sum);
    }

    #[target_feature(enable = "avx2")]
    pub(in crate::dense) fn products_avx2(
        table: &[Lanes],
        members: &[u32],
        direction: &[Lanes],
        out: &mut [f32],
    ) {
        products_plain(table, members, direction, out);
    }
}
