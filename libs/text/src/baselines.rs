//! The two models that a real one must beat: the most frequent class, and naive Bayes.

use crate::dual::Weights;
use crate::vocabulary::Rows;

/// Added to every count, so that an unseen feature is unlikely but not impossible (Lidstone's rule
/// with the customary 0.1 for many features and short texts).
const SMOOTHING: f64 = 0.1;

/// Returns one score per class: the log of its share of the training rows, whatever the text.
pub(crate) fn majority(features: usize, labels: &[u32], classes: usize) -> Weights {
    Weights {
        classes,
        values: vec![0.0; features * classes],
        bias: log_shares(labels, classes),
    }
}

/// Fits multinomial naive Bayes.
///
/// * `rows` hold counts of features, `labels` a class below `classes` for each.
/// * Source: McCallum and Nigam, AAAI workshop 1998, section 2.
pub(crate) fn naive_bayes(rows: &Rows, features: usize, labels: &[u32], classes: usize) -> Weights {
    let mut counts = vec![SMOOTHING; features * classes];
    let mut totals = vec![SMOOTHING * features as f64; classes];
    for (index, label) in labels.iter().enumerate() {
        let (columns, values) = rows.row(index);
        for (&column, &value) in columns.iter().zip(values) {
            counts[column as usize * classes + *label as usize] += f64::from(value);
            totals[*label as usize] += f64::from(value);
        }
    }
    let values = counts
        .chunks(classes)
        .flat_map(|row| {
            row.iter()
                .zip(&totals)
                .map(|(c, total)| libm::log(c / total) as f32)
        })
        .collect();
    Weights {
        classes,
        values,
        bias: log_shares(labels, classes),
    }
}

fn log_shares(labels: &[u32], classes: usize) -> Vec<f32> {
    let mut counts = vec![0u32; classes];
    labels.iter().for_each(|label| counts[*label as usize] += 1);
    let total = labels.len().max(1) as f64;
    counts
        .iter()
        .map(|count| libm::log(f64::from((*count).max(1)) / total) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::naive_bayes;
    use crate::vocabulary::Rows;

    #[test]
    fn naive_bayes_matches_values_worked_by_hand() {
        // Class 0 saw feature 0 twice, class 1 feature 1 once; 0.1 is added to each of two counts.
        let rows = Rows::from_rows(&[&[(0, 2.0)], &[(1, 1.0)]]);
        let weights = naive_bayes(&rows, 2, &[0, 1], 2);
        let expected = [2.1 / 2.2, 0.1 / 1.2, 0.1 / 2.2, 1.1 / 1.2];
        for (found, share) in weights.values.iter().zip(expected) {
            assert!((found - libm::log(share) as f32).abs() < 1e-6);
        }
        assert!((weights.bias[0] - libm::log(0.5) as f32).abs() < 1e-6);
    }
}
