//! Weights at one byte each: a matrix whose rows are scaled to eight bits. A quarter of the memory
//! of f32, so that a model fits a cache and a file of 50 MB; the error is at most 1/254 of the
//! row's largest weight.

/// A matrix of `i8` with one scale per row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantised {
    pub(crate) columns: usize,
    pub(crate) values: Vec<i8>,
    pub(crate) scales: Vec<f32>,
}

impl Quantised {
    /// Returns a matrix without rows.
    pub(crate) fn with_columns(columns: usize) -> Self {
        Self {
            columns,
            values: Vec::new(),
            scales: Vec::new(),
        }
    }

    /// Rounds every row of a dense matrix.
    pub(crate) fn from_dense(values: &[f32], columns: usize) -> Self {
        let mut matrix = Self::with_columns(columns);
        values.chunks(columns).for_each(|row| matrix.push(row));
        matrix
    }

    /// Appends one row.
    pub(crate) fn push(&mut self, row: &[f32]) {
        debug_assert_eq!(row.len(), self.columns);
        let largest = row.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let scale = largest / f32::from(i8::MAX);
        let steps = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        self.values
            .extend(row.iter().map(|value| (value * steps).round() as i8));
        self.scales.push(scale);
    }

    /// Returns one cell as a number.
    pub(crate) fn get(&self, row: usize, column: usize) -> f32 {
        f32::from(self.values[row * self.columns + column]) * self.scales[row]
    }

    /// Adds each named row times its factor to `into`, shape `[columns]`.
    ///
    /// `factors`, shape of `rows`; `scaled` is scratch. Cost: `O(rows · columns)`; the rows lie all
    /// over memory, so two short loops ask for everything first and the long one finds it in cache.
    pub(crate) fn add_rows(
        &self,
        rows: &[u32],
        factors: &[f32],
        scaled: &mut Vec<f32>,
        into: &mut [f32],
    ) {
        scaled.clear();
        scaled.extend(
            rows.iter()
                .zip(factors)
                .map(|(row, f)| f * self.scales[*row as usize]),
        );
        let ends = rows.iter().map(|row| {
            let start = *row as usize * self.columns;
            i32::from(self.values[start]) + i32::from(self.values[start + self.columns - 1])
        });
        std::hint::black_box(ends.sum::<i32>());
        let mut from = 0;
        while from < self.columns {
            from += match self.columns - from {
                16.. => self.add_block::<16>(rows, scaled, from, into),
                4.. => self.add_block::<4>(rows, scaled, from, into),
                _ => self.add_block::<1>(rows, scaled, from, into),
            };
        }
    }

    /// Adds `N` columns of every row and returns `N`. The sums of so few columns stay in registers
    /// from the first row to the last, which is what the cutting into blocks is for.
    fn add_block<const N: usize>(
        &self,
        rows: &[u32],
        scaled: &[f32],
        from: usize,
        into: &mut [f32],
    ) -> usize {
        let mut sums = [0.0f32; N];
        for (&row, &scale) in rows.iter().zip(scaled) {
            let start = row as usize * self.columns + from;
            let (blocks, _) = self.values[start..start + N].as_chunks::<N>();
            for (sum, value) in sums.iter_mut().zip(blocks[0]) {
                *sum += scale * f32::from(value);
            }
        }
        for (total, sum) in into[from..].iter_mut().zip(sums) {
            *total += sum;
        }
        N
    }
}

#[cfg(test)]
mod tests {
    use super::Quantised;
    use proptest::prelude::*;

    #[test]
    fn largest_weight_is_exact() {
        let matrix = Quantised::from_dense(&[0.5, -1.27, 0.0, 0.0], 2);
        assert_eq!(matrix.values, [50, -127, 0, 0]);
        assert!((matrix.get(0, 1) + 1.27).abs() < 1e-6);
        assert_eq!(matrix.get(1, 0).to_bits(), 0f32.to_bits());
    }

    proptest! {
        #[test]
        fn error_is_within_half_a_step(row in prop::collection::vec(-9.0f32..9.0, 1..40)) {
            let matrix = Quantised::from_dense(&row, row.len());
            let step = row.iter().fold(0.0f32, |most, value| most.max(value.abs())) / 127.0;
            let mut sum = vec![0.0; row.len()];
            matrix.add_rows(&[0], &[1.0], &mut Vec::new(), &mut sum);
            for (exact, rounded) in row.iter().zip(&sum) {
                prop_assert!((exact - rounded).abs() <= step * 0.501 + 1e-6);
            }
        }
    }
}
