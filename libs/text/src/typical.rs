//! Which features each label was trained with. A text may hold a label's telling words and be about
//! something else: then much of the rest of it was never said under that label.

use crate::topic::Topic;
use crate::vocabulary::Rows;

/// What each label was trained with: one bit per feature and label, whether a training text of the label
/// has the feature; and the label's topic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Typical {
    /// Bytes of one feature, [`Typical::stride`] of the labels.
    stride: usize,
    /// Shape `[features, stride]`; label `l` is bit `l % 8` of byte `l / 8`.
    pub(crate) bits: Vec<u8>,
    /// One per label.
    pub(crate) topics: Vec<Topic>,
}

impl Typical {
    /// Returns how many bytes the bits of one feature take.
    pub(crate) fn stride(classes: usize) -> usize {
        classes.div_ceil(8)
    }

    /// Notes what the training rows hold. Cost: `O(entries · log entries)`.
    pub(crate) fn learn(rows: &Rows, features: usize, labels: &[u32], classes: usize) -> Self {
        let topics = Topic::learn(rows, labels, classes);
        let mut typical = Self::from_parts(vec![0; features * Self::stride(classes)], topics);
        for (row, &label) in labels.iter().enumerate() {
            for &column in rows.row(row).0 {
                let (place, bit) = typical.place(column, label);
                typical.bits[place] |= bit;
            }
        }
        typical
    }

    /// Puts together what a file holds: bits of shape `[features, stride]` and one topic per label.
    pub(crate) fn from_parts(bits: Vec<u8>, topics: Vec<Topic>) -> Self {
        Self {
            stride: Self::stride(topics.len()),
            bits,
            topics,
        }
    }

    /// Returns the share of a row's squared length that lies in features of the label, in `[0, 1]`, 0
    /// for a row of nothing.
    pub(crate) fn share(&self, columns: &[u32], values: &[f32], label: u32) -> f32 {
        let (mut of_label, mut all) = (0.0, 0.0);
        for (&column, value) in columns.iter().zip(values) {
            let (place, bit) = self.place(column, label);
            let square = value * value;
            all += square;
            of_label += if self.bits[place] & bit == 0 {
                0.0
            } else {
                square
            };
        }
        if all > 0.0 { of_label / all } else { 0.0 }
    }

    fn place(&self, column: u32, label: u32) -> (usize, u8) {
        let place = column as usize * self.stride + label as usize / 8;
        (place, 1 << (label % 8))
    }
}

#[cfg(test)]
mod tests {
    use super::Typical;
    use crate::vocabulary::Rows;

    #[test]
    fn share_is_the_squared_weight_of_features_that_the_label_has() {
        // Label 0 has features 0 and 1, label 9 (in the second byte) features 1 and 2.
        let rows = Rows::from_rows(&[&[(0, 0.5), (1, 0.5)], &[(1, 1.0), (2, 1.0)]]);
        let typical = Typical::learn(&rows, 3, &[0, 9], 10);
        let share = |label| typical.share(&[0, 1, 2], &[0.6, 0.0, 0.8], label);
        assert!((share(0) - 0.36).abs() < 1e-6);
        assert!((share(9) - 0.64).abs() < 1e-6);
        assert_eq!(share(5).to_bits(), 0f32.to_bits());
        assert_eq!(typical.share(&[], &[], 0).to_bits(), 0f32.to_bits());
    }
}
