//! Symmetric matrices in double precision: all eigenvectors of a small one, and its Cholesky factor.

/// Largest matrix that [`symmetric_eigen`] takes: its cost is cubic.
pub const EIGEN_MAX: usize = 4_096;
/// Steps per eigenvalue before giving up. Two or three are usual.
const STEPS_MAX: usize = 60;

/// Eigenvalues and eigenvectors of a symmetric matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigen {
    /// Largest first, shape `[n]`.
    pub values: Vec<f64>,
    /// Row `i` is the unit vector of `values[i]`, shape `[n, n]`. Its largest entry is positive.
    pub vectors: Vec<f64>,
}

/// Computes all eigenvalues and eigenvectors of a symmetric matrix.
///
/// * `matrix`, shape `[n, n]`, `n <= EIGEN_MAX`, finite; only its symmetric part counts.
/// * `None` for a larger matrix, one of another shape, or one whose values do not settle (not finite).
/// * Cost: about `9 n³`, one copy. Householder tridiagonalisation, then implicit QL: Bowdler, Martin,
///   Reinsch and Wilkinson, Handbook for Automatic Computation II, 1971, contributions II/2 and II/3.
#[must_use]
pub fn symmetric_eigen(matrix: &[f64], n: usize) -> Option<Eigen> {
    if n > EIGEN_MAX || matrix.len() != n * n {
        return None;
    }
    if n == 0 {
        return Some(Eigen {
            values: Vec::new(),
            vectors: Vec::new(),
        });
    }
    // Stored by columns: every inner loop below runs along one.
    let mut columns: Vec<f64> = (0..n * n)
        .map(|at| 0.5 * (matrix[at] + matrix[at % n * n + at / n]))
        .collect();
    let (mut diagonal, mut off) = (vec![0.0; n], vec![0.0; n]);
    tridiagonalise(&mut columns, &mut diagonal, &mut off, n);
    accumulate(&mut columns, &mut diagonal, n);
    diagonalise(&mut columns, &mut diagonal, &mut off, n)?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]));
    let mut vectors = Vec::with_capacity(n * n);
    for at in &order {
        let column = &columns[at * n..(at + 1) * n];
        let largest = column.iter().fold(
            0.0f64,
            |best, it| if it.abs() > best.abs() { *it } else { best },
        );
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        vectors.extend(column.iter().map(|it| sign * it));
    }
    Some(Eigen {
        values: order.iter().map(|at| diagonal[*at]).collect(),
        vectors,
    })
}

/// Reduces to three diagonals; leaves the reflections in `v` for [`accumulate`].
fn tridiagonalise(v: &mut [f64], d: &mut [f64], e: &mut [f64], n: usize) {
    for j in 0..n {
        d[j] = v[j * n + n - 1];
    }
    for i in (1..n).rev() {
        let scale: f64 = d[..i].iter().map(|it| it.abs()).sum();
        let mut h = 0.0;
        if scale == 0.0 {
            e[i] = d[i - 1];
            for j in 0..i {
                d[j] = v[j * n + i - 1];
                v[j * n + i] = 0.0;
                v[i * n + j] = 0.0;
            }
        } else {
            for it in &mut d[..i] {
                *it /= scale;
                h += *it * *it;
            }
            let f = d[i - 1];
            let g = if f > 0.0 { -h.sqrt() } else { h.sqrt() };
            e[i] = scale * g;
            h -= f * g;
            d[i - 1] = f - g;
            reflect(v, d, e, n, i, h);
        }
        d[i] = h;
    }
}

/// Applies the reflection of row `i`, whose vector is `d[..i]` and half its square `h`, from both sides.
fn reflect(v: &mut [f64], d: &mut [f64], e: &mut [f64], n: usize, i: usize, h: f64) {
    e[..i].fill(0.0);
    for j in 0..i {
        let f = d[j];
        v[i * n + j] = f;
        let column = &v[j * n..j * n + i];
        let mut g = e[j] + column[j] * f;
        for k in j + 1..i {
            g += column[k] * d[k];
            e[k] += column[k] * f;
        }
        e[j] = g;
    }
    let mut f = 0.0;
    for j in 0..i {
        e[j] /= h;
        f += e[j] * d[j];
    }
    let half = f / (h + h);
    for j in 0..i {
        e[j] -= half * d[j];
    }
    for j in 0..i {
        let (f, g) = (d[j], e[j]);
        let column = &mut v[j * n..j * n + i];
        for k in j..i {
            column[k] -= f * e[k] + g * d[k];
        }
        d[j] = v[j * n + i - 1];
        v[j * n + i] = 0.0;
    }
}

/// Multiplies the reflections out; `d` becomes the diagonal.
fn accumulate(v: &mut [f64], d: &mut [f64], n: usize) {
    for i in 0..n - 1 {
        v[i * n + n - 1] = v[i * n + i];
        v[i * n + i] = 1.0;
        let h = d[i + 1];
        let (left, right) = v.split_at_mut((i + 1) * n);
        let next = &mut right[..=i];
        if h != 0.0 {
            for k in 0..=i {
                d[k] = next[k] / h;
            }
            for column in left.chunks_exact_mut(n) {
                let g: f64 = next.iter().zip(&*column).map(|(a, b)| a * b).sum();
                for k in 0..=i {
                    column[k] -= g * d[k];
                }
            }
        }
        next.fill(0.0);
    }
    for j in 0..n {
        d[j] = v[j * n + n - 1];
        v[j * n + n - 1] = 0.0;
    }
    v[n * n - 1] = 1.0;
}

/// Implicit QL over the three diagonals; turns the columns of `v` into eigenvectors.
fn diagonalise(v: &mut [f64], d: &mut [f64], e: &mut [f64], n: usize) -> Option<()> {
    e.rotate_left(1);
    e[n - 1] = 0.0;
    let (mut shift, mut size) = (0.0, 0.0f64);
    for l in 0..n {
        size = size.max(d[l].abs() + e[l].abs());
        let small = |value: f64| value.abs() <= f64::EPSILON * size;
        let m = (l..n).find(|m| small(e[*m]))?;
        for step in 0.. {
            if m == l || (step > 0 && small(e[l])) {
                break;
            }
            if step == STEPS_MAX {
                return None;
            }
            shift += chase(v, d, e, n, l, m);
        }
        d[l] += shift;
        e[l] = 0.0;
    }
    Some(())
}

/// One implicit step between `l` and `m`; returns by how much the diagonal was shifted.
fn chase(v: &mut [f64], d: &mut [f64], e: &mut [f64], n: usize, l: usize, m: usize) -> f64 {
    let g = d[l];
    let mut p = (d[l + 1] - g) / (2.0 * e[l]);
    let r = if p < 0.0 {
        -libm::hypot(p, 1.0)
    } else {
        libm::hypot(p, 1.0)
    };
    d[l] = e[l] / (p + r);
    d[l + 1] = e[l] * (p + r);
    let (next, after) = (d[l + 1], e[l + 1]);
    let h = g - d[l];
    d[l + 2..].iter_mut().for_each(|it| *it -= h);
    p = d[m];
    let (mut c, mut c2, mut c3, mut s, mut s2) = (1.0, 1.0, 1.0, 0.0, 0.0);
    for i in (l..m).rev() {
        (c3, c2, s2) = (c2, c, s);
        let (g, h) = (c * e[i], c * p);
        let r = libm::hypot(p, e[i]);
        e[i + 1] = s * r;
        s = e[i] / r;
        c = p / r;
        p = c * d[i] - s * g;
        d[i + 1] = h + s * (c * g + s * d[i]);
        let (low, high) = v[i * n..(i + 2) * n].split_at_mut(n);
        for (a, b) in low.iter_mut().zip(high) {
            let h = *b;
            *b = s * *a + c * h;
            *a = c * *a - s * h;
        }
    }
    p = -s * s2 * c3 * after * e[l] / next;
    e[l] = s * p;
    d[l] = c * p;
    h
}

/// Replaces a symmetric positive matrix by its Cholesky factor `L`, `L Lᵀ = matrix`.
///
/// * `matrix`, shape `[n, n]`: only the lower triangle is read and written.
/// * Returns whether it was positive definite; if not, it is left half done.
/// * Cost: `n³ / 6` multiplications.
#[must_use]
pub fn cholesky(matrix: &mut [f64], n: usize) -> bool {
    for row in 0..n {
        let (above, line) = matrix.split_at_mut(row * n);
        for column in 0..row {
            let other = &above[column * n..column * n + column + 1];
            line[column] = (line[column] - dot(&line[..column], other)) / other[column];
        }
        let rest = line[row] - dot(&line[..row], &line[..row]);
        if rest.is_nan() || rest <= 0.0 {
            return false;
        }
        line[row] = rest.sqrt();
    }
    true
}

/// The product of the numbers that both have, in eight sums that a processor can keep apart.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let shared = a.len().min(b.len());
    let (a, a_rest) = a[..shared].as_chunks::<8>();
    let (b, b_rest) = b[..shared].as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// Solves `L Lᵀ x = b` in place for the factor of [`cholesky`]. Cost: `n²`.
pub fn cholesky_solve(factor: &[f64], n: usize, b: &mut [f64]) {
    for row in 0..n {
        let line = &factor[row * n..row * n + row];
        b[row] = (b[row] - dot(line, b)) / factor[row * n + row];
    }
    for row in (0..n).rev() {
        let solved = b[row] / factor[row * n + row];
        b[row] = solved;
        for (at, value) in b[..row].iter_mut().enumerate() {
            *value -= factor[row * n + at] * solved;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use proptest::prelude::*;

    #[test]
    fn values_worked_by_hand() {
        let eigen = symmetric_eigen(&[2.0, 1.0, 1.0, 2.0], 2).unwrap();
        let half = 0.5f64.sqrt();
        let expected = [half, half];
        assert!((eigen.values[0] - 3.0).abs() < 1e-12 && (eigen.values[1] - 1.0).abs() < 1e-12);
        for (found, expected) in eigen.vectors.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12);
        }
        assert_eq!(symmetric_eigen(&[7.0], 1).unwrap().values, [7.0]);
        assert_eq!(symmetric_eigen(&[], 0).unwrap().values, []);
        assert_eq!(symmetric_eigen(&[1.0], 2), None);
        assert_eq!(symmetric_eigen(&[f64::NAN; 4], 2), None);
        let diagonal = symmetric_eigen(&[1.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 3.0], 3).unwrap();
        assert_eq!(diagonal.values, [3.0, 3.0, 1.0]);
    }

    #[test]
    fn a_factor_matches_values_worked_by_hand() {
        let mut matrix = [4.0, 0.0, 2.0, 5.0];
        assert!(cholesky(&mut matrix, 2));
        assert_eq!((matrix[0], matrix[2], matrix[3]), (2.0, 1.0, 2.0));
        let mut b = [8.0, 14.0]; // 4x + 2y, 2x + 5y
        cholesky_solve(&matrix, 2, &mut b);
        assert!((b[0] - 0.75).abs() < 1e-12 && (b[1] - 2.5).abs() < 1e-12);
        assert!(!cholesky(&mut [1.0, 0.0, 2.0, 1.0], 2));
    }

    proptest! {
        #[test]
        fn vectors_are_orthonormal_and_give_the_matrix_back(seed: u64, n in 1usize..24) {
            let mut rng = Rng::seeded(seed);
            let mut matrix = vec![0.0; n * n];
            for row in 0..n {
                for column in 0..=row {
                    let value = rng.range(-1.0, 1.0);
                    (matrix[row * n + column], matrix[column * n + row]) = (value, value);
                }
            }
            let eigen = symmetric_eigen(&matrix, n).unwrap();
            prop_assert!(eigen.values.windows(2).all(|pair| pair[0] >= pair[1]));
            let dot = |a: usize, b: usize| -> f64 {
                (0..n).map(|k| eigen.vectors[a * n + k] * eigen.vectors[b * n + k]).sum()
            };
            for a in 0..n {
                for b in 0..n {
                    prop_assert!((dot(a, b) - f64::from(u8::from(a == b))).abs() < 1e-10);
                    let back: f64 = (0..n)
                        .map(|k| eigen.values[k] * eigen.vectors[k * n + a] * eigen.vectors[k * n + b])
                        .sum();
                    prop_assert!((back - matrix[a * n + b]).abs() < 1e-10);
                }
            }
        }
    }
}
