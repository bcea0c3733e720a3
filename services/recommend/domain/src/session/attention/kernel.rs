//! The arithmetic that training and serving spend their time in, in single precision.
//!
//! Every function is written once, in plain Rust with fused multiply-adds in a fixed order. On x86 with
//! AVX2 and FMA the same source is compiled for them: the same bits come out, only sooner.

/// Columns that a tile of [`gemm`] works on at once: two registers of eight.
const COLUMNS: usize = 16;
/// Rows of a tile: twelve accumulators, two columns and one factor fill the sixteen registers.
const ROWS: usize = 6;
/// Items of a block of [`scan`]: eight independent sums hide the latency of an addition.
pub(super) const BLOCK: usize = 64;

/// A matrix of any layout: element `(i, k)` is at `i * row + k * step`.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) data: &'a [f32],
    pub(super) row: usize,
    pub(super) step: usize,
}

/// A matrix whose rows of `width` numbers follow each other.
pub(super) fn rows(data: &[f32], width: usize) -> View<'_> {
    View {
        data,
        row: width,
        step: 1,
    }
}

/// The transpose of a matrix whose rows of `width` numbers follow each other.
pub(super) fn columns(data: &[f32], width: usize) -> View<'_> {
    View {
        data,
        row: 1,
        step: width,
    }
}

/// Defines a function twice, for any processor and for AVX2 with FMA, and one that picks.
macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident = $body:ident($($arg:ident: $type:ty),+ $(,)?)) => {
        $(#[$doc])*
        pub(super) fn $name($($arg: $type),+) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn fast($($arg: $type),+) {
                    $body($($arg),+);
                }
                if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                    #[expect(unsafe_code, reason = "the processor has what the function is compiled for")]
                    // SAFETY: both features were found just above.
                    unsafe {
                        fast($($arg),+);
                    }
                    return;
                }
            }
            $body($($arg),+);
        }
    };
}

kernel! {
    /// Adds the product of two matrices to a third: `c[i][j] += sum over k of a[i][k] * b[k][j]`.
    ///
    /// * `shape`: rows of `a`, columns of `b`, inner size. `b` and `c` are given with the distance of
    ///   their rows. Sums run over `k` upwards, so a row's result does not depend on its neighbours.
    /// * Cost: one multiply-add per element of `shape`; `6 * inner` numbers of memory.
    gemm = gemm_body(shape: [usize; 3], a: View<'_>, b: (&[f32], usize), c: (&mut [f32], usize))
}

kernel! {
    /// Turns scores into probabilities: `exp(scale * s - offset)` over its sum. `offsets` may be empty,
    /// else one for each.
    softmax = softmax_body(scores: &mut [f32], scale: f32, offsets: &[f32])
}

kernel! {
    /// Replaces `x` by `1 / (1 + exp(-x))`.
    sigmoid = sigmoid_body(values: &mut [f32])
}

kernel! {
    /// Replaces `x` by `exp(scale * (x - 1))`, at least the smallest normal number.
    exp_below_one = exp_below_one_body(values: &mut [f32], scale: f32)
}

kernel! {
    /// Computes the dot product of a vector with every item of a blocked matrix (see [`blocked`]).
    scan = scan_body(vector: &[f32], blocks: &[f32], scores: &mut [f32])
}

#[inline(always)]
fn gemm_body(shape: [usize; 3], a: View<'_>, b: (&[f32], usize), c: (&mut [f32], usize)) {
    let [height, width, inner] = shape;
    let (out, out_row) = c;
    let mut panel = vec![0.0; ROWS * inner];
    for top in (0..height).step_by(ROWS) {
        let count = ROWS.min(height - top);
        for k in 0..inner {
            for i in 0..count {
                panel[k * count + i] = a.data[(top + i) * a.row + k * a.step];
            }
        }
        let panel = &panel[..count * inner];
        let out = &mut out[top * out_row..];
        match count {
            6 => strip::<6>(width, panel, b, out, out_row),
            5 => strip::<5>(width, panel, b, out, out_row),
            4 => strip::<4>(width, panel, b, out, out_row),
            3 => strip::<3>(width, panel, b, out, out_row),
            2 => strip::<2>(width, panel, b, out, out_row),
            _ => strip::<1>(width, panel, b, out, out_row),
        }
    }
}

/// `COUNT` rows of the product; `panel` holds their factors, those of one `k` together.
#[inline(always)]
fn strip<const COUNT: usize>(
    width: usize,
    panel: &[f32],
    (b, b_row): (&[f32], usize),
    out: &mut [f32],
    out_row: usize,
) {
    let whole = width - width % COLUMNS;
    for left in (0..whole).step_by(COLUMNS) {
        let mut sums = [[0.0f32; COLUMNS]; COUNT];
        for (factors, line) in panel.chunks_exact(COUNT).zip(b[left..].chunks(b_row)) {
            let (Some(factors), Some(line)) = (
                factors.first_chunk::<COUNT>(),
                line.first_chunk::<COLUMNS>(),
            ) else {
                continue;
            };
            for i in 0..COUNT {
                for j in 0..COLUMNS {
                    sums[i][j] = factors[i].mul_add(line[j], sums[i][j]);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            let place = &mut out[i * out_row + left..][..COLUMNS];
            place
                .iter_mut()
                .zip(sums)
                .for_each(|(out, sum)| *out += sum);
        }
    }
    for j in whole..width {
        for i in 0..COUNT {
            let factors = panel.iter().skip(i).step_by(COUNT);
            let line = b[j..].iter().step_by(b_row);
            let sum = factors
                .zip(line)
                .fold(0.0f32, |sum, (a, b)| a.mul_add(*b, sum));
            out[i * out_row + j] += sum;
        }
    }
}

/// `e^x` within three units in the last place, between the smallest normal number and 1.6e38.
///
/// Source: Cody and Waite, "Software Manual for the Elementary Functions", 1980, chapter 6: reduction
/// by a two-part ln 2, here with a Taylor polynomial of degree 7.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the nearest whole number below
    let x = if x < -87.3 { -87.3 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let rest = whole.mul_add(-0.693_359_4, x);
    let rest = whole.mul_add(2.121_944_4e-4, rest);
    let mut sum = 1.0 / 5_040.0;
    for factor in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        sum = rest.mul_add(sum, factor);
    }
    let power = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127);
    sum * f32::from_bits(power << 23)
}

#[inline(always)]
fn softmax_body(scores: &mut [f32], scale: f32, offsets: &[f32]) {
    if offsets.is_empty() {
        scores.iter_mut().for_each(|score| *score *= scale);
    }
    for (score, offset) in scores.iter_mut().zip(offsets) {
        *score = score.mul_add(scale, -offset);
    }
    let mut highest = [f32::NEG_INFINITY; COLUMNS];
    for part in scores.chunks(COLUMNS) {
        for (highest, score) in highest.iter_mut().zip(part) {
            *highest = if *score > *highest { *score } else { *highest };
        }
    }
    let top = highest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0f32; COLUMNS];
    for part in scores.chunks_mut(COLUMNS) {
        for (sum, score) in sums.iter_mut().zip(part) {
            *score = exp(*score - top);
            *sum += *score;
        }
    }
    let share = 1.0 / sums.into_iter().sum::<f32>();
    scores.iter_mut().for_each(|score| *score *= share);
}

#[inline(always)]
fn sigmoid_body(values: &mut [f32]) {
    for value in values {
        *value = 1.0 / (1.0 + exp(-*value));
    }
}

#[inline(always)]
fn exp_below_one_body(values: &mut [f32], scale: f32) {
    for value in values {
        *value = exp(scale * (*value - 1.0));
    }
}

#[inline(always)]
fn scan_body(vector: &[f32], blocks: &[f32], scores: &mut [f32]) {
    let blocks = blocks.chunks_exact(vector.len() * BLOCK);
    for (block, scores) in blocks.zip(scores.chunks_mut(BLOCK)) {
        let mut sums = [0.0f32; BLOCK];
        for (factor, line) in vector.iter().zip(block.chunks_exact(BLOCK)) {
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum = factor.mul_add(*value, *sum);
            }
        }
        scores.copy_from_slice(&sums[..scores.len()]);
    }
}

/// Lays rows of `width` numbers out for [`scan`]: blocks of [`BLOCK`] rows, each transposed, the last
/// one filled up with zeros.
pub(super) fn blocked(data: &[f32], width: usize) -> Vec<f32> {
    let count = data.len() / width;
    let mut blocks = vec![0.0; count.div_ceil(BLOCK) * BLOCK * width];
    for (at, row) in data.chunks_exact(width).enumerate() {
        let block = &mut blocks[at / BLOCK * BLOCK * width..];
        for (k, value) in row.iter().enumerate() {
            block[k * BLOCK + at % BLOCK] = *value;
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use rapport_math::Rng;

    fn drawn(count: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::seeded(seed);
        (0..count).map(|_| rng.range(-2.0, 2.0) as f32).collect()
    }

    #[test]
    fn products_match_values_worked_by_hand() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        let mut c = [1.0; 4];
        gemm([2, 2, 2], rows(&a, 2), (&b, 2), (&mut c, 2));
        assert_eq!(c, [20.0, 23.0, 44.0, 51.0]);
        let mut c = [0.0; 4];
        gemm([2, 2, 2], columns(&a, 2), (&b, 2), (&mut c, 2));
        assert_eq!(c, [26.0, 30.0, 38.0, 44.0]);
    }

    #[test]
    fn every_shape_equals_the_plain_twin_to_the_bit_and_the_definition_closely() {
        for (height, width, inner) in [(1, 1, 1), (7, 33, 5), (13, 16, 64), (6, 50, 17)] {
            let (a, b) = (drawn(height * inner, 1), drawn(inner * width, 2));
            let (mut fast, mut plain) = (drawn(height * width, 3), drawn(height * width, 3));
            let start = plain.clone();
            let shape = [height, width, inner];
            gemm(shape, rows(&a, inner), (&b, width), (&mut fast, width));
            gemm_body(shape, rows(&a, inner), (&b, width), (&mut plain, width));
            assert_eq!(fast, plain);
            for i in 0..height {
                for j in 0..width {
                    let product =
                        |k: usize| f64::from(a[i * inner + k]) * f64::from(b[k * width + j]);
                    let sum: f64 = (0..inner).map(product).sum();
                    let expected = f64::from(start[i * width + j]) + sum;
                    assert!((f64::from(fast[i * width + j]) - expected).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn exponentials_are_close_and_bounded() {
        for step in -8_700..8_800 {
            let x = step as f32 / 100.0;
            let expected = f64::from(x).exp();
            assert!(
                (f64::from(exp(x)) - expected).abs() < 4e-7 * expected,
                "{x}"
            );
        }
        assert!(exp(f32::NEG_INFINITY) >= f32::MIN_POSITIVE && exp(f32::INFINITY).is_finite());
        let (mut fast, mut plain) = (drawn(37, 4), drawn(37, 4));
        softmax(&mut fast, 3.0, &[]);
        softmax_body(&mut plain, 3.0, &[]);
        assert_eq!(fast, plain);
        assert!((fast.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let mut pair = [0.0, 1.0];
        softmax(&mut pair, 2.0, &[0.0, 2.0]);
        assert_eq!(pair, [0.5, 0.5]);
        let mut values = [0.0, 3.0f32.ln()];
        sigmoid(&mut values);
        assert!((values[0] - 0.5).abs() < 1e-7 && (values[1] - 0.75).abs() < 1e-6);
    }

    #[test]
    fn a_scan_is_the_dot_product_with_every_row() {
        let (data, vector) = (drawn(130 * 8, 5), drawn(8, 6));
        let blocks = blocked(&data, 8);
        let (mut fast, mut plain) = (vec![0.0; 130], vec![0.0; 130]);
        scan(&vector, &blocks, &mut fast);
        scan_body(&vector, &blocks, &mut plain);
        assert_eq!(fast, plain);
        for (row, score) in data.chunks_exact(8).zip(&fast) {
            let expected: f32 = row.iter().zip(&vector).map(|(a, b)| a * b).sum();
            assert!((score - expected).abs() < 1e-4);
        }
    }
}
